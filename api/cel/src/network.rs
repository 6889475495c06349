//! Addresses, ranges, URLs and versions, as expressions see them.

use std::cmp::Ordering;
use std::net::IpAddr;

/// An address range.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Cidr {
    pub address: IpAddr,
    pub length: u8,
}

/// A URL in its parts; escaped parts stay escaped.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Url {
    pub scheme: String,
    pub host: String,
    pub path: String,
    pub query: String,
}

/// A semantic version.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Semver {
    pub numbers: [u64; 3],
    pub pre: Vec<String>,
    pub text: String,
}

/// An address, without a zone and not IPv4 in IPv6's clothes.
pub fn ip(text: &str) -> Result<IpAddr, String> {
    match text.parse::<IpAddr>() {
        Ok(IpAddr::V6(six)) if six.to_ipv4_mapped().is_some() => {
            Err(format!("IPv4-mapped IPv6 address {text:?} is not allowed"))
        }
        Ok(address) => Ok(address),
        Err(_) if text.contains('%') => Err(format!("IP address {text:?} with zone value is not allowed")),
        Err(_) => Err(format!("IP Address {text:?} parse error during conversion from string: unable to parse IP")),
    }
}

impl Cidr {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("network address parse error during conversion from string: {text:?}");
        let (address, length) = text.split_once('/').ok_or_else(wrong)?;
        let address = ip(address).map_err(|_| wrong())?;
        let plain = length == "0" || !length.starts_with('0');
        let length: u8 = length.parse().map_err(|_| wrong())?;
        let bits = if address.is_ipv4() { 32 } else { 128 };
        if length <= bits && plain { Ok(Cidr { address, length }) } else { Err(wrong()) }
    }

    pub fn masked(self) -> Self {
        let address = match self.address {
            IpAddr::V4(four) => {
                let mask = u32::MAX.checked_shl(32 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V4((u32::from(four) & mask).into())
            }
            IpAddr::V6(six) => {
                let mask = u128::MAX.checked_shl(128 - u32::from(self.length)).unwrap_or(0);
                IpAddr::V6((u128::from(six) & mask).into())
            }
        };
        Cidr { address, ..self }
    }

    pub fn holds(self, address: IpAddr) -> bool {
        self.address.is_ipv4() == address.is_ipv4()
            && Cidr { address, ..self }.masked().address == self.masked().address
    }

    pub fn holds_all(self, other: Cidr) -> bool {
        self.length <= other.length && self.holds(other.address)
    }
}

impl std::fmt::Display for Cidr {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{}/{}", self.address, self.length)
    }
}

impl Url {
    /// An absolute URL, or an absolute path.
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong =
            || format!("URL parse error during conversion from string: parse {text:?}: invalid URI for request");
        if text.contains(|one: char| one.is_control() || one == ' ') {
            return Err(wrong());
        }
        let text_without_fragment = text.split('#').next().unwrap_or_default();
        let (before, query) = text_without_fragment.split_once('?').unwrap_or((text_without_fragment, ""));
        if before.starts_with('/') {
            let own = |path: &str| Url {
                scheme: String::new(),
                host: String::new(),
                path: path.to_owned(),
                query: query.to_owned(),
            };
            return Ok(own(before));
        }
        let (scheme, rest) = before.split_once(':').ok_or_else(wrong)?;
        let legal = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
        let sound = scheme.starts_with(|first: char| first.is_ascii_alphabetic()) && scheme.bytes().all(legal);
        if !sound {
            return Err(wrong());
        }
        let (host, path) = match rest.strip_prefix("//") {
            Some(rest) => {
                let end = rest.find('/').unwrap_or(rest.len());
                (&rest[..end], &rest[end..])
            }
            None => ("", rest),
        };
        let host = host.rsplit('@').next().unwrap_or_default();
        let port = host.rsplit_once(':').map(|(_, port)| port).filter(|port| !port.contains(']'));
        if port.is_some_and(|port| !port.bytes().all(|byte| byte.is_ascii_digit())) {
            return Err(wrong());
        }
        Ok(Url {
            scheme: scheme.to_ascii_lowercase(),
            host: host.to_owned(),
            path: path.to_owned(),
            query: query.to_owned(),
        })
    }

    /// The host without its port, and without the brackets of an address.
    pub fn hostname(&self) -> &str {
        if let Some(inner) = self.host.strip_prefix('[') {
            return inner.split(']').next().unwrap_or_default();
        }
        self.host.split(':').next().unwrap_or_default()
    }

    pub fn port(&self) -> &str {
        let behind = self.host.rsplit(']').next().unwrap_or_default();
        behind.split_once(':').map_or("", |(_, port)| port)
    }

    /// The parameters by name, each with all its values, decoded.
    pub fn parameters(&self) -> Vec<(String, Vec<String>)> {
        let mut out: Vec<(String, Vec<String>)> = Vec::new();
        for part in self.query.split('&').filter(|part| !part.is_empty()) {
            let (name, value) = part.split_once('=').unwrap_or((part, ""));
            let (name, value) = (unescape(name), unescape(value));
            match out.iter_mut().find(|(known, _)| *known == name) {
                Some((_, values)) => values.push(value),
                None => out.push((name, vec![value])),
            }
        }
        out
    }
}

fn unescape(text: &str) -> String {
    let bytes = text.as_bytes();
    let (mut out, mut at) = (Vec::new(), 0);
    while let Some(byte) = bytes.get(at) {
        let code = (*byte == b'%')
            .then(|| text.get(at + 1..at + 3))
            .flatten()
            .and_then(|hex| u8::from_str_radix(hex, 16).ok());
        match (code, byte) {
            (Some(code), _) => {
                out.push(code);
                at += 2;
            }
            (None, b'+') => out.push(b' '),
            (None, byte) => out.push(*byte),
        }
        at += 1;
    }
    String::from_utf8_lossy(&out).into_owned()
}

impl Semver {
    pub fn parse(text: &str) -> Result<Self, String> {
        let wrong = || format!("semver parse error during conversion from string: {text:?}");
        let (without_build, build) = text.split_once('+').map_or((text, None), |(before, build)| (before, Some(build)));
        let (core, pre) = without_build.split_once('-').map_or((without_build, None), |(core, pre)| (core, Some(pre)));
        let sound =
            |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
        let number = |part: &str| match part.len() > 1 && part.starts_with('0') {
            true => None,
            false => part.parse::<u64>().ok(),
        };
        let numbers: Vec<u64> = core.split('.').map(number).collect::<Option<_>>().ok_or_else(wrong)?;
        let numbers: [u64; 3] = numbers.try_into().map_err(|_| wrong())?;
        let pre: Vec<String> = pre.map(|pre| pre.split('.').map(str::to_owned).collect()).unwrap_or_default();
        if pre.iter().any(|part| !sound(part)) || build.is_some_and(|build| !build.split('.').all(sound)) {
            return Err(wrong());
        }
        Ok(Semver { numbers, pre, text: text.to_owned() })
    }

    /// A lenient reading takes a `v` in front, zeros in front of numbers, and versions that end early.
    pub fn parse_as(text: &str, lenient: bool) -> Result<Self, String> {
        if !lenient {
            return Semver::parse(text);
        }
        let plain = text.strip_prefix('v').unwrap_or(text);
        let mut parts: Vec<String> = plain.splitn(3, '.').map(without_zeros).collect();
        if parts.len() < 3 && parts.last().is_some_and(|last| last.contains(['+', '-'])) {
            return Err("short version cannot contain PreRelease/Build meta data".to_owned());
        }
        parts.resize(3, "0".to_owned());
        Semver::parse(&parts.join("."))
    }

    /// A version comes after its own pre-releases; builds do not count.
    pub fn compare(&self, other: &Semver) -> Ordering {
        let part = |one: &String, other: &String| match (one.parse::<u64>(), other.parse::<u64>()) {
            (Ok(one), Ok(other)) => one.cmp(&other),
            (Ok(_), Err(_)) => Ordering::Less,
            (Err(_), Ok(_)) => Ordering::Greater,
            (Err(_), Err(_)) => one.cmp(other),
        };
        let pre = || match (self.pre.is_empty(), other.pre.is_empty()) {
            (true, true) => Ordering::Equal,
            (true, false) => Ordering::Greater,
            (false, true) => Ordering::Less,
            (false, false) => {
                let first =
                    self.pre.iter().zip(&other.pre).map(|(one, other)| part(one, other)).find(|order| order.is_ne());
                first.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            }
        };
        self.numbers.cmp(&other.numbers).then_with(pre)
    }
}

fn without_zeros(part: &str) -> String {
    let rest = part.trim_start_matches('0');
    let bare = part.len() > 1 && !rest.starts_with(|next: char| next.is_ascii_digit());
    if part.len() < 2 { part.to_owned() } else { format!("{}{rest}", if bare { "0" } else { "" }) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_hold_what_is_in_them() {
        let range = Cidr::parse("10.1.0.0/16").unwrap();
        assert!(range.holds("10.1.2.3".parse().unwrap()) && !range.holds("10.2.0.0".parse().unwrap()));
        assert!(
            range.holds_all(Cidr::parse("10.1.4.0/24").unwrap())
                && !range.holds_all(Cidr::parse("10.0.0.0/8").unwrap())
        );
        assert!(Cidr::parse("::/0").unwrap().holds("fe80::1".parse().unwrap()));
        assert!(Cidr::parse("10.0.0.0/33").is_err() && Cidr::parse("10.0.0.0").is_err());
    }

    #[test]
    fn urls_fall_into_their_parts() {
        let url = Url::parse("https://user@[::1]:8443/a%20b?x=1&y=%41&x=2#frag").unwrap();
        assert_eq!(
            (url.scheme.as_str(), url.hostname(), url.port(), url.path.as_str()),
            ("https", "::1", "8443", "/a%20b")
        );
        let expected = [("x".to_owned(), vec!["1".to_owned(), "2".to_owned()]), ("y".to_owned(), vec!["A".to_owned()])];
        assert_eq!(url.parameters(), expected);
        assert!(Url::parse("../relative").is_err() && Url::parse("/absolute").is_ok());
    }

    #[test]
    fn versions_have_their_order() {
        let sorted = ["1.0.0-alpha", "1.0.0-alpha.1", "1.0.0-beta.2", "1.0.0-beta.11", "1.0.0", "1.0.1", "2.0.0"];
        for pair in sorted.windows(2) {
            let [one, other] = pair else { continue };
            assert!(Semver::parse(one).unwrap().compare(&Semver::parse(other).unwrap()).is_lt(), "{one} {other}");
        }
        assert!(Semver::parse("1.0").is_err() && Semver::parse("01.0.0").is_err());
    }
}
