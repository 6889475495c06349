//! Addresses, ranges of them, and URLs.

use std::sync::Arc;

use super::Outcome;
use crate::budget::RunError;
use crate::network::{self, Cidr};
use crate::url::Url;
use crate::value::Value;

pub fn call<'a>(name: &str, values: &[Value<'a>]) -> Option<Outcome<'a>> {
    let text = |text: &str| Ok(Value::text(text));
    let made = |made: Result<Value<'a>, String>| made.map_err(RunError::Failed);
    Some(match (name, values) {
        ("ip", [Value::String(given)]) => made(network::ip(given).map(Value::Ip)),
        ("isIP", [Value::String(given)]) => Ok(Value::Bool(network::ip(given).is_ok())),
        ("ip.isCanonical", [Value::String(given)]) => {
            made(network::ip(given).map(|ip| Value::Bool(ip.to_string() == **given)))
        }
        ("family", [Value::Ip(ip)]) => Ok(Value::Int(if ip.is_ipv4() { 4 } else { 6 })),
        ("isUnspecified", [Value::Ip(ip)]) => Ok(Value::Bool(ip.is_unspecified())),
        ("isLoopback", [Value::Ip(ip)]) => Ok(Value::Bool(ip.is_loopback())),
        ("isLinkLocalMulticast", [Value::Ip(ip)]) => Ok(Value::Bool(match ip {
            std::net::IpAddr::V4(four) => four.octets()[..3] == [224, 0, 0],
            std::net::IpAddr::V6(six) => six.segments()[0] & 0xff0f == 0xff02,
        })),
        ("isLinkLocalUnicast", [Value::Ip(ip)]) => Ok(Value::Bool(match ip {
            std::net::IpAddr::V4(four) => four.is_link_local(),
            std::net::IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
        })),
        ("isGlobalUnicast", [Value::Ip(ip)]) => {
            let local = match ip {
                std::net::IpAddr::V4(four) => four.is_link_local() || four.is_broadcast(),
                std::net::IpAddr::V6(six) => six.segments()[0] & 0xffc0 == 0xfe80,
            };
            Ok(Value::Bool(!(local || ip.is_loopback() || ip.is_multicast() || ip.is_unspecified())))
        }
        ("cidr", [Value::String(given)]) => made(Cidr::parse(given).map(Value::Cidr)),
        ("isCIDR", [Value::String(given)]) => Ok(Value::Bool(Cidr::parse(given).is_ok())),
        ("containsIP", [Value::Cidr(range), Value::Ip(ip)]) => Ok(Value::Bool(range.holds(*ip))),
        ("containsIP", [Value::Cidr(range), Value::String(given)]) => {
            made(network::ip(given).map(|ip| Value::Bool(range.holds(ip))))
        }
        ("containsCIDR", [Value::Cidr(range), Value::Cidr(other)]) => Ok(Value::Bool(range.holds_all(*other))),
        ("containsCIDR", [Value::Cidr(range), Value::String(given)]) => {
            made(Cidr::parse(given).map(|other| Value::Bool(range.holds_all(other))))
        }
        ("ip", [Value::Cidr(range)]) => Ok(Value::Ip(range.address)),
        ("masked", [Value::Cidr(range)]) => Ok(Value::Cidr(range.masked())),
        ("prefixLength", [Value::Cidr(range)]) => Ok(Value::Int(i64::from(range.length))),
        ("url", [Value::String(given)]) => made(Url::parse(given).map(|url| Value::Url(Arc::new(url)))),
        ("isURL", [Value::String(given)]) => Ok(Value::Bool(Url::parse(given).is_ok())),
        ("getScheme", [Value::Url(url)]) => text(&url.scheme),
        ("getHost", [Value::Url(url)]) => text(&url.host),
        ("getHostname", [Value::Url(url)]) => text(url.hostname()),
        ("getPort", [Value::Url(url)]) => text(url.port()),
        ("getEscapedPath", [Value::Url(url)]) => text(&url.path),
        ("getQuery", [Value::Url(url)]) => {
            let entry = |(name, values): (String, Vec<String>)| {
                (Value::text(name), Value::list(values.into_iter().map(Value::text).collect()))
            };
            Ok(Value::Map(url.parameters().into_iter().map(entry).collect::<Vec<_>>().into()))
        }
        _ => return None,
    })
}
