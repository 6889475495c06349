//! Aggregated APIs: groups and versions that an APIService gives to another server. Requests below them are passed on, in the name
//! of whoever asks; what the other server says of itself becomes part of what this one says.
//!
//! `keep` follows the APIServices on every server and asks the others for their documents. `lead` is what the leading server
//! writes: whether each is available, one APIService for each group and version that definitions make, and what other servers need to
//! believe this one.
mod answer;
mod apis;
mod availability;
mod converted;
mod documents;
mod forward;
mod keep;
mod lead;
mod openapi;
mod trusted;
mod waiting;

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
};

use tokio_rustls::TlsConnector;

use self::{apis::Backing, waiting::Waiting};
pub(crate) use self::{
    apis::{Api, Apis},
    converted::v3_of,
    forward::forward,
    keep::keep,
    lead::lead,
    openapi::{Known, joining},
};
use crate::{
    core::Core,
    pki::{self, Credential, Pki, PkiError},
    route::Target,
    services::{Trust, TrustError, client_tls},
};

/// This server's ways to the others.
pub(crate) struct Aggregation {
    pki: Arc<Pki>,
    ways: Mutex<Ways>,
}

struct Ways {
    /// Under which this server speaks for those who ask.
    identity: Credential,
    /// By what each depends on: whom to believe.
    connectors: HashMap<Belief, TlsConnector>,
    /// By whom they reach.
    waiting: HashMap<Backing, Arc<Waiting>>,
}

#[derive(Clone, PartialEq, Eq, Hash)]
enum Belief {
    Anybody,
    System,
    Bundle(Vec<u8>),
}

/// Beliefs kept ready: one for each APIService, commonly.
const CONNECTORS_MAX: usize = 256;

impl Aggregation {
    pub fn new(pki: Arc<Pki>) -> Result<Self, PkiError> {
        let ways = Ways { identity: pki.front_proxy_client()?, connectors: HashMap::new(), waiting: HashMap::new() };
        Ok(Aggregation { pki, ways: Mutex::new(ways) })
    }

    /// TLS to the server of an API.
    fn connector(&self, api: &Api) -> Result<TlsConnector, TrustError> {
        let belief = match &api.backing {
            Some(backing) if backing.insecure => Belief::Anybody,
            Some(backing) if !backing.bundle.is_empty() => Belief::Bundle(backing.bundle.clone()),
            Some(_) | None => Belief::System,
        };
        self.believing(belief)
    }

    /// The connections to a server that wait for the next request.
    fn waiting(&self, backing: &Backing) -> Arc<Waiting> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(waiting) = ways.waiting.get(backing) {
            return waiting.clone();
        }
        if ways.waiting.len() >= CONNECTORS_MAX {
            ways.waiting.clear();
        }
        ways.waiting.entry(backing.clone()).or_default().clone()
    }

    /// The identity is looked at each time, and issued anew when it nears its end.
    fn believing(&self, belief: Belief) -> Result<TlsConnector, TrustError> {
        let mut ways = self.ways.lock().unwrap_or_else(PoisonError::into_inner);
        if pki::ends_soon(&ways.identity.certificate_pem) {
            let renewed = self.pki.front_proxy_client().map_err(|error| TrustError::Identity(error.to_string()))?;
            *ways = Ways { identity: renewed, connectors: HashMap::new(), waiting: HashMap::new() };
        }
        if let Some(kept) = ways.connectors.get(&belief) {
            return Ok(kept.clone());
        }
        let trust = match &belief {
            Belief::Anybody => Trust::Anybody,
            Belief::System => Trust::System,
            Belief::Bundle(pem) => Trust::Bundle(pem),
        };
        let made = client_tls(trust, Some(&ways.identity))?;
        if ways.connectors.len() >= CONNECTORS_MAX {
            ways.connectors.clear();
        }
        ways.connectors.insert(belief, made.clone());
        Ok(made)
    }
}

/// The other server's API that a request is for, if it is.
pub(crate) fn find(core: &Core, target: &Target) -> Option<Arc<Api>> {
    let registry = core.registry();
    match target {
        Target::Resource(info) if info.astray => None,
        Target::Resource(info) => registry.apis().remote(&info.group, &info.version),
        Target::Path(path) => match path.trim_matches('/').split('/').collect::<Vec<_>>()[..] {
            ["apis", group, version] => registry.apis().remote(group, version),
            ["api", version] => registry.apis().remote("", version),
            // What the other server's OpenAPI document says is its own, too.
            ["openapi", "v3", "apis", group, version] => {
                registry.apis().remote(group, version).filter(|api| api.v2_alone().is_none())
            }
            _ => None,
        },
    }
}
