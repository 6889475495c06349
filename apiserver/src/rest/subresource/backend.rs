//! `pods/proxy` and `services/proxy`: any request, for whoever listens in a pod or behind a Service.
//!
//! Only addresses that pods of the cluster have are connected to, and none that would
//! lead to this machine itself: a path may not become a way into the network that this server stands in.

use std::{net::IpAddr, sync::Arc};

use http::{HeaderValue, Method, StatusCode, header};
use kontiki_kinds::Subresource;
use kontiki_model::{Key, Status};
use rand::seq::SliceRandom as _;
use rustls_pki_types::ServerName;
use serde_json::Value;

use super::{
    super::{
        call::Call,
        object::{self, text},
        store,
    },
    connection,
    named::Named,
};
use crate::{
    Core, content,
    failure::{self, Qualified},
    limits::SERVICE_CONNECT_TIME_MAX,
    proxy::{Outgoing, Rewrite, correct_links},
    request::{ApiRequest, ApiResponse, ResourceRequest},
    services::{self, Address},
};

const PODS: Qualified<'static> = Qualified { group: "", resource: "pods" };
const ENDPOINTS: Qualified<'static> = Qualified { group: "", resource: "endpoints" };

pub async fn forward(
    core: &Arc<Core>,
    route: &ResourceRequest,
    request: ApiRequest,
    subresource: Subresource,
) -> Result<ApiResponse, Status> {
    let call = Call::new(core, route, &request);
    let named = Named::of(&call)?;
    let warnings = connection::admit(&call, subresource).await?;
    let addresses = match subresource {
        Subresource::ServiceProxy => of_service(&call, named).await?,
        _ => vec![of_pod(&call, named).await?],
    };
    let path = clean(&route.rest, request.path.ends_with('/'));
    if path.is_empty() && matches!(request.method, Method::GET | Method::HEAD) && request.upgrade.is_none() {
        return Ok(to_the_root(&request));
    }
    let mut response = pass(core, named.https, &addresses, &path, &route.rest, request).await?;
    warnings.iter().for_each(|warning| content::warn(&mut response, warning));
    Ok(response)
}

/// Links of a page without a slash at its end would lead beside the proxied path.
fn to_the_root(request: &ApiRequest) -> ApiResponse {
    let query = if request.raw_query.is_empty() { String::new() } else { format!("?{}", request.raw_query) };
    let mut response = content::response(StatusCode::MOVED_PERMANENTLY, "text/plain; charset=utf-8", "");
    if let Ok(place) = HeaderValue::from_str(&format!("{}/{query}", request.path)) {
        response.headers_mut().insert(header::LOCATION, place);
    }
    response
}

async fn pass(
    core: &Arc<Core>,
    https: bool,
    addresses: &[Address],
    path: &str,
    rest: &str,
    request: ApiRequest,
) -> Result<ApiResponse, Status> {
    let unreachable =
        |error: &dyn std::fmt::Display| failure::unreachable(format!("error trying to reach service: {error}"));
    let (stream, address) = services::connect(addresses).await.map_err(|error| unreachable(&error))?;
    let host_address = address.to_string();
    let asked = request.header(header::HOST).unwrap_or_default().to_owned();
    let prefix = request.path.strip_suffix(rest).unwrap_or(&request.path).trim_end_matches('/').to_owned();
    let rewrite = Rewrite { prefix: &prefix, asked: &asked, host: &host_address };
    let target = if path.is_empty() { "/" } else { path };
    let query = if request.raw_query.is_empty() { String::new() } else { format!("?{}", request.raw_query) };
    let host = if asked.is_empty() { &host_address } else { &asked };
    let mut outgoing = Outgoing::new(request, &format!("{target}{query}"), host)?;
    rewrite.request(target, outgoing.request.headers_mut());
    let answered = if https {
        let name: IpAddr = address.host.parse().map_err(failure::internal)?;
        // A pod has no name that a certificate could be for.
        let tls = services::client_tls(services::Trust::Anybody, None).map_err(failure::internal)?;
        let shaking = tokio::time::timeout(SERVICE_CONNECT_TIME_MAX, tls.connect(ServerName::from(name), stream));
        let late = |_| unreachable(&std::io::Error::new(std::io::ErrorKind::TimedOut, "no TLS handshake in time"));
        let stream = shaking.await.map_err(late)?.map_err(|error| unreachable(&error))?;
        outgoing.exchange(core, stream).await
    } else {
        outgoing.exchange(core, stream).await
    };
    let mut response = answered.map_err(|error| unreachable(&error))?;
    rewrite.response(response.headers_mut());
    Ok(correct_links(response, &rewrite).await)
}

/// The pod's own address, and the port asked for or else the first that it declares.
async fn of_pod(call: &Call<'_>, named: Named<'_>) -> Result<Address, Status> {
    let pod = connection::object(call, PODS, named.name).await?;
    let declared = || {
        let containers = pod.pointer("/spec/containers").and_then(Value::as_array);
        let ports = containers.into_iter().flatten().find_map(|container| container.pointer("/ports/0/containerPort"));
        ports.and_then(Value::as_u64).map(|port| port.to_string())
    };
    let port = match named.port {
        "" => declared().unwrap_or_else(|| if named.https { "443" } else { "80" }.to_owned()),
        port => port.to_owned(),
    };
    let port = port.parse::<u16>().ok().filter(|port| *port > 0);
    let port = port.ok_or_else(|| failure::bad_request(format!("invalid pod port {:?}", named.port)))?;
    let host = text(&pod, "/status/podIPs/0/ip").to_owned();
    if has_ended(&pod) || !leads_to_a_pod(&host) {
        return Err(failure::bad_request("address not allowed"));
    }
    Ok(Address { host, port })
}

/// Those endpoints of the Service that are pods, in an order of chance.
async fn of_service(call: &Call<'_>, named: Named<'_>) -> Result<Vec<Address>, Status> {
    let service = connection::object(call, call.resource(), named.name).await?;
    let port_name = match named.port.parse::<u64>() {
        Err(_) => named.port.to_owned(),
        Ok(number) => {
            let ports = service.pointer("/spec/ports").and_then(Value::as_array);
            let found = ports.into_iter().flatten().find(|port| port["port"] == number);
            let none = || failure::unreachable(format!("no service port {number} found for service {:?}", named.name));
            text(found.ok_or_else(none)?, "/name").to_owned()
        }
    };
    let slices = services::slices(&call.core.log, call.namespace(), named.name);
    let slices = slices.map_err(|error| failure::unreachable(error.to_string()))?;
    if slices.is_empty() {
        return Err(failure::not_found(ENDPOINTS, named.name));
    }
    let mut addresses = Vec::new();
    for (address, stands_for) in slices.iter().flat_map(|slice| services::ready(slice, &port_name)) {
        if leads_to_a_pod(&address.host) && is_address_of(call, &address.host, stands_for)? {
            addresses.push(address);
        }
    }
    addresses.shuffle(&mut rand::rng());
    match addresses.is_empty() {
        true => Err(failure::unreachable(format!("no endpoints available for service {:?}", call.name()?))),
        false => Ok(addresses),
    }
}

/// Whether a pod of this namespace has the address: anybody who may write endpoints could name another's.
fn is_address_of(call: &Call<'_>, address: &str, stands_for: &Value) -> Result<bool, Status> {
    let name = text(stands_for, "/name");
    if text(stands_for, "/namespace") != call.namespace() || name.is_empty() {
        return Ok(false);
    }
    let key = Key::new(PODS.resource, call.namespace(), name);
    let Some(stored) = call.core.log.get(&key).map_err(|error| store::read_failed(&error))? else { return Ok(false) };
    let pod = object::open(&stored)?;
    let addresses = pod.pointer("/status/podIPs").and_then(Value::as_array);
    Ok(!has_ended(&pod) && addresses.into_iter().flatten().any(|one| text(one, "/ip") == address))
}

/// The addresses of a pod that has ended stay in its status, but may be another one's by now.
fn has_ended(pod: &Value) -> bool {
    matches!(text(pod, "/status/phase"), "Succeeded" | "Failed")
}

/// Neither this machine itself, nor what only its own link has, nor many at once.
fn leads_to_a_pod(address: &str) -> bool {
    match address.parse() {
        Ok(IpAddr::V4(ip)) => {
            !(ip.is_unspecified() || ip.is_broadcast() || ip.is_loopback() || ip.is_multicast() || ip.is_link_local())
        }
        Ok(IpAddr::V6(ip)) => {
            let mapped = ip.to_ipv4_mapped().is_some();
            !(mapped || ip.is_unspecified() || ip.is_loopback() || ip.is_multicast() || ip.is_unicast_link_local())
        }
        Err(_) => false,
    }
}

/// The path behind `proxy`, without steps back or empty parts; a slash at its end is kept.
fn clean(rest: &str, slash: bool) -> String {
    let mut parts: Vec<&str> = Vec::new();
    for part in rest.split('/').filter(|part| !part.is_empty()) {
        match part.to_ascii_lowercase().replace("%2e", ".").as_str() {
            "." => {}
            ".." => drop(parts.pop()),
            _ => parts.push(part),
        }
    }
    let mut path: String = parts.iter().flat_map(|part| ["/", part]).collect();
    if slash && !path.ends_with('/') {
        path.push('/');
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_addresses_of_pods_are_led_to() {
        for address in ["10.244.0.7", "192.168.1.1", "fd00::1", "203.0.113.9"] {
            assert!(leads_to_a_pod(address), "{address}");
        }
        for address in [
            "127.0.0.1",
            "0.0.0.0",
            "169.254.169.254",
            "224.0.0.1",
            "255.255.255.255",
            "::1",
            "::",
            "fe80::1",
            "ff02::1",
            "::ffff:127.0.0.1",
            "",
            "localhost",
        ] {
            assert!(!leads_to_a_pod(address), "{address}");
        }
    }

    #[test]
    fn paths_take_no_step_back() {
        for (rest, slash, expected) in [
            ("", false, ""),
            ("", true, "/"),
            ("/a/b", false, "/a/b"),
            ("/a/b", true, "/a/b/"),
            ("/a/../../b", false, "/b"),
            ("/a/%2e%2E/b%20c", false, "/b%20c"),
            ("//a/./b", false, "/a/b"),
        ] {
            assert_eq!(clean(rest, slash), expected, "{rest}");
        }
    }
}
