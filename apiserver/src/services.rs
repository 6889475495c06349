//! Services as this server itself reaches them: a reference becomes addresses, and one of them a connection.
//!
//! What answers behind a Service is taken from its EndpointSlices, never from its cluster address: a server need not have
//! a node's rules, and the next endpoint is tried where one does not answer.
mod trust;
mod words;

use std::{io, net::IpAddr};

use futures::{StreamExt as _, stream::FuturesUnordered};
use kontiki_model::{Key, Scope, Status};
use kontiki_raft::{ListOptions, Log};
use rand::seq::SliceRandom as _;
use serde_json::Value;
use tokio::net::TcpStream;

pub(crate) use self::{
    trust::{Trust, TrustError, client_tls},
    words::{no_handshake, not_connected},
};
use crate::{core::unreadable, failure, limits, sockets};

/// The label of an EndpointSlice that names its Service.
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// A Service and one of its ports.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Reference {
    pub namespace: String,
    pub name: String,
    pub port: u16,
}

/// Somewhere to connect to: an address or a name, and a port.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Address {
    pub host: String,
    pub port: u16,
}

/// Why there is nobody to connect to.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unresolved {
    #[error("service \"{0}\" not found")]
    NoService(String),
    #[error("no service port {port} found for service {name:?}")]
    NoPort { port: u16, name: String },
    #[error("no endpoints available for service {0:?}")]
    NoEndpoints(String),
    #[error("{}", .0.message)]
    Unreadable(Status),
}

/// What a Service and its EndpointSlices say about one of its ports.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Backends {
    /// The port's name; nothing for a Service that is another name.
    pub port_name: String,
    /// There is any slice at all.
    pub slices: bool,
    /// Those that are ready.
    pub addresses: Vec<Address>,
}

impl std::fmt::Display for Address {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.host.parse() {
            Ok(IpAddr::V6(address)) => write!(formatter, "[{address}]:{}", self.port),
            Ok(IpAddr::V4(_)) | Err(_) => write!(formatter, "{}:{}", self.host, self.port),
        }
    }
}

impl Reference {
    /// The reference at a member of an object; the port is 443 where none is given.
    pub fn read(holder: &Value) -> Option<Self> {
        let text = |member: &str| holder[member].as_str().filter(|text| !text.is_empty()).map(str::to_owned);
        let port = holder["port"].as_u64().map_or(Some(443), |port| u16::try_from(port).ok())?;
        Some(Reference { namespace: text("namespace")?, name: text("name")?, port })
    }

    /// The name that the certificate behind the Service must carry.
    pub fn server_name(&self) -> String {
        format!("{}.{}.svc", self.name, self.namespace)
    }
}

/// Everybody who is ready behind the Service, in an order of chance; never empty.
pub(crate) fn resolve(log: &Log, reference: &Reference) -> Result<Vec<Address>, Unresolved> {
    let mut addresses = backends(log, reference)?.addresses;
    if addresses.is_empty() {
        return Err(Unresolved::NoEndpoints(reference.name.clone()));
    }
    addresses.shuffle(&mut rand::rng());
    Ok(addresses)
}

/// What is behind the Service, as far as this server knows.
pub(crate) fn backends(log: &Log, reference: &Reference) -> Result<Backends, Unresolved> {
    let Reference { namespace, name, port } = reference;
    let service = log.get(&Key::new("services", namespace, name));
    let service = service.map_err(|error| Unresolved::Unreadable(unreadable(&error)))?;
    let service = service.ok_or_else(|| Unresolved::NoService(name.clone()))?;
    let service = parse(&service.body)?;
    if service["spec"]["type"] == "ExternalName" {
        let host = service["spec"]["externalName"].as_str().unwrap_or_default().to_owned();
        let addresses = vec![Address { host, port: *port }];
        return Ok(Backends { addresses, slices: true, port_name: String::new() });
    }
    let found = list(&service["spec"]["ports"]).find(|one| one["port"] == *port);
    let found = found.ok_or_else(|| Unresolved::NoPort { port: *port, name: name.clone() })?;
    let port_name = found["name"].as_str().unwrap_or_default().to_owned();
    let slices = slices(log, namespace, name)?;
    let addresses = slices.iter().flat_map(|slice| ready(slice, &port_name)).map(|(address, _)| address).collect();
    Ok(Backends { port_name, slices: !slices.is_empty(), addresses })
}

/// The EndpointSlices of a Service.
pub(crate) fn slices(log: &Log, namespace: &str, service: &str) -> Result<Vec<Value>, Unresolved> {
    let scope = Scope { resource: "endpointslices.discovery.k8s.io".to_owned(), namespace: Some(namespace.to_owned()) };
    let page = log.list(&scope, ListOptions::default());
    let page = page.map_err(|error| Unresolved::Unreadable(unreadable(&error)))?;
    let of_service = |head: &kontiki_model::Head| head.labels.get(SERVICE_NAME).is_some_and(|name| name == service);
    page.items.iter().filter(|stored| of_service(&stored.head)).map(|stored| parse(&stored.body)).collect()
}

/// The ready endpoints of a slice at the port of this name, each with what it stands for (`targetRef`, or null).
pub(crate) fn ready<'a>(slice: &'a Value, port_name: &str) -> Vec<(Address, &'a Value)> {
    let named = |port: &&Value| port["name"].as_str().unwrap_or_default() == port_name;
    let number = list(&slice["ports"]).find(named).and_then(|port| port["port"].as_u64());
    let Some(port) = number.and_then(|port| u16::try_from(port).ok()) else { return Vec::new() };
    let endpoints = list(&slice["endpoints"]).filter(|endpoint| endpoint["conditions"]["ready"] != false);
    endpoints
        .filter_map(|endpoint| {
            // All addresses of an endpoint lead to the same place.
            let host = endpoint["addresses"][0].as_str()?.to_owned();
            Some((Address { host, port }, &endpoint["targetRef"]))
        })
        .collect()
}

/// Connects to the first that answers; one that is silent does not hold up the others. The error is that of the first.
pub(crate) async fn connect(addresses: &[Address]) -> io::Result<(TcpStream, Address)> {
    let (mut left, mut attempts) = (addresses.iter(), FuturesUnordered::new());
    let mut failed = None;
    loop {
        match left.next() {
            Some(address) => attempts.push(attempt(address)),
            None if attempts.is_empty() => {
                return Err(failed.unwrap_or_else(|| io::Error::new(io::ErrorKind::NotFound, "nobody to connect to")));
            }
            None => {}
        }
        tokio::select! {
            Some(outcome) = attempts.next() => match outcome {
                Ok(connected) => return Ok(connected),
                Err(error) => _ = failed.get_or_insert(error),
            },
            () = tokio::time::sleep(limits::NEXT_ADDRESS_DELAY), if left.len() > 0 => {}
        }
    }
}

async fn attempt(address: &Address) -> io::Result<(TcpStream, Address)> {
    let connecting = TcpStream::connect((address.host.as_str(), address.port));
    let outcome = tokio::time::timeout(limits::SERVICE_CONNECT_TIME_MAX, connecting).await;
    let outcome = outcome.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
    let stream = outcome.and_then(|stream| sockets::prepare(&stream).map(|()| stream));
    let stream = stream.map_err(|error| io::Error::new(error.kind(), not_connected(address, &error)))?;
    Ok((stream, address.clone()))
}

fn parse(body: &[u8]) -> Result<Value, Unresolved> {
    serde_json::from_slice(body).map_err(|error| Unresolved::Unreadable(failure::internal(error)))
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn references_are_read_with_their_default() {
        let reference = Reference { namespace: "n".to_owned(), name: "s".to_owned(), port: 443 };
        assert_eq!(Reference::read(&json!({"namespace": "n", "name": "s"})), Some(reference.clone()));
        assert_eq!(reference.server_name(), "s.n.svc");
        let other = Reference::read(&json!({"namespace": "n", "name": "s", "port": 8443}));
        assert_eq!(other.map(|reference| reference.port), Some(8443));
        assert_eq!(Reference::read(&json!({"namespace": "n", "name": "s", "port": 70_000})), None);
        assert_eq!(Reference::read(&Value::Null), None);
    }

    #[test]
    fn only_what_is_ready_at_the_port_counts() {
        let slice = json!({
            "ports": [{"name": "https", "port": 8443}, {"port": 80}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}, "targetRef": {"name": "a"}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["fd00::3"]},
            ],
        });
        let told = |name: &str| ready(&slice, name).iter().map(|(one, _)| one.to_string()).collect::<Vec<_>>();
        assert_eq!(told("https"), ["10.0.0.1:8443", "[fd00::3]:8443"]);
        assert_eq!(told(""), ["10.0.0.1:80", "[fd00::3]:80"]);
        assert_eq!(told("other"), Vec::<String>::new());
    }

    #[tokio::test]
    async fn an_address_that_refuses_gives_way_to_the_next() {
        let bound = || async { tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap() };
        let (listener, gone) = (bound().await, bound().await.local_addr().unwrap());
        let address = |port: u16| Address { host: "127.0.0.1".to_owned(), port };
        let (there, gone) = (address(listener.local_addr().unwrap().port()), address(gone.port()));
        assert_eq!(connect(&[gone.clone(), there.clone()]).await.unwrap().1, there);
        let refused = connect(std::slice::from_ref(&gone)).await.unwrap_err();
        assert_eq!(refused.to_string(), format!("dial tcp {gone}: connect: connection refused"));
        assert_eq!(connect(&[]).await.unwrap_err().to_string(), "nobody to connect to");
    }
}
