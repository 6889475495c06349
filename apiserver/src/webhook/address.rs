//! Where a webhook is: a URL, or a port of a Service. A Service is reached at its pods, not at its cluster address: this server
//! knows which are ready, and the machine it runs on need not take part in the Service network.

use std::net::{IpAddr, SocketAddr};

use kontiki_model::{Head, Key, Scope};
use kontiki_raft::{ListOptions, Log, Stored};
use rand::seq::SliceRandom as _;
use serde_json::Value;

use super::{connect::DialError, limits::ADDRESSES_TRIED_MAX};
use crate::rest::object::text;

const DEFAULT_PORT: u16 = 443;
const SERVICE_NAME: &str = "kubernetes.io/service-name";

/// `clientConfig` of a webhook: where it listens, and whose certificates it shows.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct ClientConfig {
    pub place: Place,
    /// With a leading slash.
    pub path: String,
    /// PEM; none: what this machine trusts.
    pub ca_bundle: Option<Vec<u8>>,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// `named` says whether the URL names the port.
    Host {
        host: String,
        port: u16,
        named: bool,
    },
    Service {
        namespace: String,
        name: String,
        port: u16,
    },
}

/// A configuration that leads nowhere.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct UnusableConfig(pub String);

impl ClientConfig {
    pub fn read(config: &Value) -> Result<Self, UnusableConfig> {
        let unusable = |why: &str| UnusableConfig(why.to_owned());
        let ca_bundle = match text(config, "/caBundle") {
            "" => None,
            encoded => Some(super::decode_base64(encoded).ok_or_else(|| unusable("the caBundle is not base64"))?),
        };
        if config["service"].is_object() {
            let port = config.pointer("/service/port").and_then(Value::as_u64).map_or(Ok(DEFAULT_PORT), u16::try_from);
            let place = Place::Service {
                namespace: text(config, "/service/namespace").to_owned(),
                name: text(config, "/service/name").to_owned(),
                port: port.map_err(|_| unusable("the port of the service is none"))?,
            };
            return Ok(ClientConfig { place, path: rooted(text(config, "/service/path")), ca_bundle });
        }
        let url = text(config, "/url");
        if url.is_empty() {
            return Err(unusable("webhook configuration must have either service or URL"));
        }
        let uri: http::Uri = url.parse().map_err(|error| UnusableConfig(format!("Unparsable URL: {error}")))?;
        let host = uri.host().ok_or_else(|| unusable("Unparsable URL: no host"))?;
        let (port, named) = (uri.port_u16().unwrap_or(DEFAULT_PORT), uri.port_u16().is_some());
        let place = Place::Host { host: host.to_owned(), port, named };
        Ok(ClientConfig { place, path: rooted(uri.path()), ca_bundle })
    }

    /// The name that the certificate must be for.
    pub fn server_name(&self) -> String {
        match &self.place {
            Place::Host { host, .. } => host.trim_matches(['[', ']']).to_owned(),
            Place::Service { namespace, name, .. } => format!("{name}.{namespace}.svc"),
        }
    }

    /// What is asked, as messages repeat it.
    pub fn url(&self, query: &str) -> String {
        let authority = match &self.place {
            Place::Host { host, port, named: true } => format!("{host}:{port}"),
            Place::Host { host, named: false, .. } => host.clone(),
            Place::Service { port, .. } => format!("{}:{port}", self.server_name()),
        };
        format!("https://{authority}{}?{query}", self.path)
    }
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

impl Place {
    /// The addresses to try, in this order.
    pub async fn resolve(&self, log: &Log) -> Result<Vec<SocketAddr>, DialError> {
        let mut found = match self {
            Place::Host { host, port, .. } => looked_up(host, *port).await?,
            Place::Service { namespace, name, port } => match service(log, namespace, name, *port)? {
                Backend::Endpoints(addresses) => addresses,
                Backend::External(host) => looked_up(&host, *port).await?,
            },
        };
        found.truncate(ADDRESSES_TRIED_MAX);
        Ok(found)
    }
}

async fn looked_up(host: &str, port: u16) -> Result<Vec<SocketAddr>, DialError> {
    let bare = host.trim_matches(['[', ']']);
    match tokio::net::lookup_host((bare, port)).await {
        Ok(found) => Ok(found.collect()),
        Err(_) => Err(DialError(format!("dial tcp: lookup {bare}: no such host"))),
    }
}

/// What stands behind a Service.
#[derive(Debug, PartialEq, Eq)]
enum Backend {
    Endpoints(Vec<SocketAddr>),
    External(String),
}

fn service(log: &Log, namespace: &str, name: &str, port: u16) -> Result<Backend, DialError> {
    let failed = |error: &dyn std::fmt::Display| DialError(error.to_string());
    let found = log.get(&Key::new("services", namespace, name)).map_err(|error| failed(&error))?;
    let service = found.ok_or_else(|| DialError(format!("service {name:?} not found")))?;
    let tree = |stored: &Stored| serde_json::from_slice::<Value>(&stored.body).map_err(|error| failed(&error));
    let service = tree(&service)?;
    if text(&service, "/spec/type") == "ExternalName" {
        return Ok(Backend::External(text(&service, "/spec/externalName").to_owned()));
    }
    let scope = Scope { resource: "endpointslices.discovery.k8s.io".to_owned(), namespace: Some(namespace.to_owned()) };
    let of_service = |_: &Key, head: &Head| head.labels.get(SERVICE_NAME).is_some_and(|of| of == name);
    let options = ListOptions { filter: Some(&of_service), ..ListOptions::default() };
    let slices = log.list(&scope, options).map_err(|error| failed(&error))?.items;
    let slices = slices.iter().map(tree).collect::<Result<Vec<_>, _>>()?;
    let mut addresses = endpoints(&service, name, port, &slices)?;
    addresses.shuffle(&mut rand::rng());
    Ok(Backend::Endpoints(addresses))
}

/// The ready endpoints behind a port of a Service.
fn endpoints(service: &Value, name: &str, port: u16, slices: &[Value]) -> Result<Vec<SocketAddr>, DialError> {
    let list = |object: &Value, member: &str| object[member].as_array().cloned().unwrap_or_default();
    let ports = list(&service["spec"], "ports");
    let wanted = ports.iter().find(|one| one["port"] == port);
    let wanted = wanted.ok_or_else(|| DialError(format!("no service port {port} found for service {name:?}")))?;
    let mut addresses = Vec::new();
    for slice in slices {
        let here = list(slice, "ports");
        let target = here.iter().find(|one| text(one, "/name") == text(wanted, "/name"));
        let target = target.and_then(|one| one["port"].as_u64()).and_then(|port| u16::try_from(port).ok());
        let Some(target) = target else { continue };
        // What says nothing of its condition is ready.
        let ready = |endpoint: &Value| endpoint.pointer("/conditions/ready") != Some(&Value::Bool(false));
        for endpoint in list(slice, "endpoints").iter().filter(|endpoint| ready(endpoint)) {
            let all = list(endpoint, "addresses");
            let address = all.first().and_then(Value::as_str).and_then(|address| address.parse::<IpAddr>().ok());
            addresses.extend(address.map(|address| SocketAddr::new(address, target)));
        }
    }
    match addresses.is_empty() {
        true => Err(DialError(format!("no endpoints available for service {name:?}"))),
        false => Ok(addresses),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn configurations_are_read_and_told() {
        let table = [
            (
                json!({"url": "https://hooks.example.com/a/b"}),
                "https://hooks.example.com/a/b?timeout=3s",
                "hooks.example.com",
            ),
            (json!({"url": "https://127.0.0.1:8443"}), "https://127.0.0.1:8443/?timeout=3s", "127.0.0.1"),
            (json!({"url": "https://[::1]:8443/x"}), "https://[::1]:8443/x?timeout=3s", "::1"),
            (
                json!({"service": {"namespace": "n", "name": "s", "path": "/x", "port": 8443}}),
                "https://s.n.svc:8443/x?timeout=3s",
                "s.n.svc",
            ),
            (json!({"service": {"namespace": "n", "name": "s"}}), "https://s.n.svc:443/?timeout=3s", "s.n.svc"),
        ];
        for (config, url, name) in table {
            let read = ClientConfig::read(&config).unwrap();
            assert_eq!((read.url("timeout=3s").as_str(), read.server_name().as_str()), (url, name));
        }
    }

    #[test]
    fn configurations_that_lead_nowhere_say_why() {
        let table = [
            (json!({}), "webhook configuration must have either service or URL"),
            (json!({"url": "https://x/", "caBundle": "%"}), "the caBundle is not base64"),
        ];
        for (config, why) in table {
            assert_eq!(ClientConfig::read(&config).unwrap_err().to_string(), why);
        }
    }

    #[test]
    fn ready_endpoints_of_the_named_port_are_tried() {
        let service = json!({"spec": {"ports": [{"name": "metrics", "port": 80}, {"name": "hooks", "port": 443}]}});
        let slice = json!({
            "ports": [{"name": "metrics", "port": 9000}, {"name": "hooks", "port": 9443}],
            "endpoints": [
                {"addresses": ["10.0.0.1"], "conditions": {"ready": true}},
                {"addresses": ["10.0.0.2"], "conditions": {"ready": false}},
                {"addresses": ["fd00::3"]},
            ],
        });
        let found = |port, slices: &[Value]| endpoints(&service, "s", port, slices).map_err(|error| error.0);
        let expected: Vec<SocketAddr> = vec!["10.0.0.1:9443".parse().unwrap(), "[fd00::3]:9443".parse().unwrap()];
        assert_eq!(found(443, std::slice::from_ref(&slice)), Ok(expected));
        assert_eq!(found(443, &[]), Err("no endpoints available for service \"s\"".to_owned()));
        assert_eq!(found(1, &[slice]), Err("no service port 1 found for service \"s\"".to_owned()));
    }
}
