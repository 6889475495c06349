//! Where a webhook is: a URL, or a port of a Service.

use kontiki_raft::Log;
use serde_json::Value;

use super::limits::ADDRESSES_TRIED_MAX;
use crate::{
    rest::object::text,
    services::{self, Address, Reference, Unresolved},
};

const DEFAULT_PORT: u16 = 443;

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
    Service(Reference),
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
            let reference = Reference::read(&config["service"]);
            let place =
                Place::Service(reference.ok_or_else(|| unusable("the service has no name, or a port that is none"))?);
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
            Place::Service(reference) => reference.server_name(),
        }
    }

    /// What is asked, as messages repeat it.
    pub fn url(&self, query: &str) -> String {
        let authority = match &self.place {
            Place::Host { host, port, named: true } => format!("{host}:{port}"),
            Place::Host { host, named: false, .. } => host.clone(),
            Place::Service(Reference { port, .. }) => format!("{}:{port}", self.server_name()),
        };
        format!("https://{authority}{}?{query}", self.path)
    }
}

fn rooted(path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { format!("/{path}") }
}

impl Place {
    /// The addresses to try, in this order.
    pub fn resolve(&self, log: &Log) -> Result<Vec<Address>, Unresolved> {
        let mut found = match self {
            Place::Host { host, port, .. } => {
                vec![Address { host: host.trim_matches(['[', ']']).to_owned(), port: *port }]
            }
            Place::Service(reference) => services::resolve(log, reference)?,
        };
        found.truncate(ADDRESSES_TRIED_MAX);
        Ok(found)
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
}
