//! The cluster's identities on disk: one CA, the certificates it issued, the key that signs service account tokens.
//!
//! Everything is made on first use and kept. A file is complete or absent: it is written aside, synced and renamed, the
//! key before its certificate, so a crash leaves at worst a key that has no certificate yet. Such a leaf is issued
//! anew; a CA certificate is signed again by the key that is there, which keeps whatever it signed valid. A CA whose key
//! is missing, or that does not fit its key, is refused: making another one would cut off every client silently.
mod certificate;
mod kubeconfig;
mod node;
mod signing;
mod store;
mod tokens;

use std::{
    net::IpAddr,
    path::{Path, PathBuf},
};

pub(crate) use certificate::{ends_soon, uid_of};
pub use kubeconfig::{Cluster, kubeconfig};
pub use node::{NodeCertificates, NodeKeys, NodePki, NodeRequests};
use rcgen::{CertificateSigningRequestParams, Issuer, KeyPair};
use serde::{Deserialize, Serialize};
pub use signing::Terms;
pub use tokens::{JoinRole, JoinToken, JoinTokens, TokenError, der_digest};

use self::{
    certificate::{Leaf, Purpose},
    store::Store,
};

#[derive(Debug, thiserror::Error)]
pub enum PkiError {
    #[error("cannot {action} {path}")]
    File { action: &'static str, path: PathBuf, source: std::io::Error },
    #[error("{path} does not hold a usable key")]
    Key { path: PathBuf, source: rcgen::Error },
    #[error("cannot make certificate {name}")]
    Issue { name: String, source: rcgen::Error },
    #[error("{path} does not hold a usable certificate: {reason}")]
    Certificate { path: PathBuf, reason: String },
    #[error(
        "{certificate} is there but {key} is missing: restore the key from a backup, or remove the whole directory to make a new cluster identity"
    )]
    KeyMissing { certificate: PathBuf, key: PathBuf },
    #[error(
        "{certificate} does not belong to {key}: restore both from the same backup, or remove the whole directory to make a new cluster identity"
    )]
    Mismatch { certificate: PathBuf, key: PathBuf },
    #[error("{0:?} cannot be part of a certificate")]
    Name(String),
    #[error("the certificate request cannot be signed: {0}")]
    Request(String),
}

/// A certificate and its key, and where they lie.
#[derive(Clone)]
pub struct Credential {
    pub certificate_pem: String,
    pub key_pem: String,
    pub certificate_path: PathBuf,
    pub key_path: PathBuf,
}

/// What a node agent needs: one identity to talk to the API server, one to be talked to.
#[derive(Clone)]
pub struct NodeCredentials {
    pub client: Credential,
    pub server: Credential,
}

/// The keys that all servers of a cluster share: whoever holds them is the cluster.
#[derive(Clone, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct SharedIdentity {
    pub ca_certificate: String,
    pub ca_key: String,
    pub service_account_key: String,
    /// Absent where a server of an older version tells it; each server then has an authority of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub front_proxy: Option<Authority>,
}

/// A certificate authority, with what makes it one.
#[derive(Clone, Serialize, Deserialize)]
pub struct Authority {
    pub certificate: String,
    pub key: String,
}

/// The organization of servers' certificates.
pub const SERVERS: &str = "kontiki:servers";
/// The organization of the certificate with which servers talk to node agents.
pub const APISERVERS: &str = "kontiki:apiservers";
/// The name in the certificate that each server shows its clients.
pub const SERVER_USER: &str = "kube-apiserver";
const NODES: &[&str] = &["system:nodes"];
/// The name in the certificate under which servers tell the servers of aggregated APIs who asks.
pub const FRONT_PROXY_USER: &str = "front-proxy-client";
const FRONT_PROXY_CA: &str = "front-proxy-ca";

/// The directory of the cluster's identities.
pub struct Pki {
    store: Store,
    ca: Issuer<'static, KeyPair>,
    ca_pem: String,
    /// Vouches for nothing but that a server of the cluster says who asks.
    front_proxy: (Issuer<'static, KeyPair>, String),
}

impl Pki {
    /// Opens the directory, and makes the CA if there is none yet.
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        let store = Store::open(dir)?;
        let _lock = store.lock()?;
        store.remove_leftovers()?;
        let (ca, ca_pem) = open_authority(&store, "ca")?;
        let front_proxy = open_authority(&store, FRONT_PROXY_CA)?;
        drop(_lock);
        Ok(Pki { store, ca, ca_pem, front_proxy })
    }

    pub fn ca_pem(&self) -> &str {
        &self.ca_pem
    }

    /// Where the CA certificate lies, for clients that want a file.
    pub fn ca_path(&self) -> PathBuf {
        self.store.path("ca.crt")
    }

    /// The API server's own certificate; issued anew when other names are asked for or it nears its end.
    pub fn server(&self, names: &[String]) -> Result<Credential, PkiError> {
        self.leaf("apiserver", &Leaf { user: SERVER_USER, uid: "", groups: &[], names, purpose: Purpose::Server })
    }

    /// The identity with which this server, of this number in the log, meets the others.
    pub fn peer(&self, name: &str, node: u64) -> Result<Credential, PkiError> {
        let (user, uid) = (format!("kontiki:server:{name}"), node.to_string());
        self.leaf("peer", &Leaf { user: &user, uid: &uid, groups: &[SERVERS], names: &[], purpose: Purpose::Client })
    }

    /// The number under which this server met the others last.
    pub fn peer_number(&self) -> Result<Option<u64>, PkiError> {
        let kept = self.store.read("peer.crt")?;
        Ok(kept.and_then(|pem| certificate::uid_in(&pem)).and_then(|uid| uid.parse().ok()))
    }

    /// The operator's identity: it may do everything.
    pub fn admin(&self) -> Result<Credential, PkiError> {
        let groups = &["system:masters"];
        self.leaf("admin", &Leaf { user: "kubernetes-admin", uid: "", groups, names: &[], purpose: Purpose::Client })
    }

    /// The identity with which the API server talks to node agents.
    pub fn kubelet_client(&self) -> Result<Credential, PkiError> {
        let groups = &[APISERVERS];
        let user = "kube-apiserver-kubelet-client";
        self.leaf("apiserver-kubelet-client", &Leaf { user, uid: "", groups, names: &[], purpose: Purpose::Client })
    }

    /// The identity with which this server speaks for others to the servers of aggregated APIs.
    ///
    /// Its authority is not the cluster's: who gets a certificate of the cluster may not speak for others by it.
    pub fn front_proxy_client(&self) -> Result<Credential, PkiError> {
        let leaf = Leaf { user: FRONT_PROXY_USER, uid: "", groups: &[], names: &[], purpose: Purpose::Client };
        self.issue_by(&self.front_proxy.0, &self.front_proxy.1, FRONT_PROXY_USER, &leaf)
    }

    /// The certificate of that identity's authority.
    pub fn front_proxy_ca_pem(&self) -> &str {
        &self.front_proxy.1
    }

    /// The identities of the node agent on `name`, reached under `addresses`.
    pub fn node(&self, name: &str, addresses: &[IpAddr]) -> Result<NodeCredentials, PkiError> {
        check_node_name(name)?;
        let (user, names) = node_names(name, addresses);
        let client = Leaf { user: &user, uid: "", groups: NODES, names: &[], purpose: Purpose::Client };
        let server = Leaf { user: &user, uid: "", groups: NODES, names: &names, purpose: Purpose::Server };
        Ok(NodeCredentials {
            client: self.leaf(&format!("nodes/{name}/kubelet-client"), &client)?,
            server: self.leaf(&format!("nodes/{name}/kubelet-server"), &server)?,
        })
    }

    /// Signs what the agent of node `name`, reached under `addresses`, asked for.
    pub fn sign_node(
        &self,
        name: &str,
        addresses: &[IpAddr],
        requests: &NodeRequests,
    ) -> Result<NodeCertificates, PkiError> {
        check_node_name(name)?;
        let (user, names) = node_names(name, addresses);
        let signed = |request: &str, names: &[String], purpose: Purpose| {
            let failed = |source| PkiError::Issue { name: user.clone(), source };
            let request = CertificateSigningRequestParams::from_pem(request).map_err(failed)?;
            let leaf = Leaf { user: &user, uid: "", groups: NODES, names, purpose };
            let issued = leaf.parameters()?.signed_by(&request.public_key, &self.ca).map_err(failed)?;
            Ok(issued.pem())
        };
        let certificates = NodeCertificates {
            client: signed(&requests.client, &[], Purpose::Client)?,
            server: signed(&requests.server, &names, Purpose::Server)?,
        };
        tracing::info!(node = name, "node certificates issued");
        Ok(certificates)
    }

    /// What another server of the same cluster needs to be one.
    pub fn shared(&self) -> Result<SharedIdentity, PkiError> {
        self.token_key()?;
        let read = |name: &str| {
            let missing =
                || PkiError::KeyMissing { certificate: self.store.path("ca.crt"), key: self.store.path(name) };
            self.store.read(name)?.ok_or_else(missing)
        };
        let key = read(&format!("{FRONT_PROXY_CA}.key"))?;
        Ok(SharedIdentity {
            ca_certificate: self.ca_pem.clone(),
            ca_key: read("ca.key")?,
            service_account_key: read("sa.key")?,
            front_proxy: Some(Authority { certificate: self.front_proxy.1.clone(), key }),
        })
    }

    /// Makes a directory that holds the identity of a cluster which this server joins. Refuses one that holds another's.
    pub fn adopt(dir: &Path, shared: &SharedIdentity) -> Result<(), PkiError> {
        let store = Store::open(dir)?;
        let _lock = store.lock()?;
        store.remove_leftovers()?;
        let path = store.path("ca.crt");
        if store.read("ca.crt")?.is_some_and(|kept| kept != shared.ca_certificate) {
            return Err(PkiError::Certificate { path, reason: "it is another cluster's".to_owned() });
        }
        let key = parse_key(&store.path("ca.key"), &shared.ca_key)?;
        if !certificate::belongs_to(&shared.ca_certificate, &key, &path)? {
            return Err(PkiError::Mismatch { certificate: path, key: store.path("ca.key") });
        }
        store.write("ca.key", &shared.ca_key)?;
        store.write("sa.key", &shared.service_account_key)?;
        if let Some(Authority { certificate, key }) = &shared.front_proxy {
            store.write(&format!("{FRONT_PROXY_CA}.key"), key)?;
            store.write(&format!("{FRONT_PROXY_CA}.crt"), certificate)?;
        }
        store.write("ca.crt", &shared.ca_certificate)
    }

    /// The key that signs service account tokens (ECDSA P-256), in PKCS#8 DER.
    pub fn token_key(&self) -> Result<Vec<u8>, PkiError> {
        let _lock = self.store.lock()?;
        let path = self.store.path("sa.key");
        let key = match self.store.read("sa.key")? {
            Some(pem) => parse_key(&path, &pem)?,
            None => {
                let made = new_key("sa")?;
                self.store.write("sa.key", &made.serialize_pem())?;
                made
            }
        };
        Ok(key.serialize_der())
    }

    fn leaf(&self, file: &str, leaf: &Leaf<'_>) -> Result<Credential, PkiError> {
        self.issue_by(&self.ca, &self.ca_pem, file, leaf)
    }

    fn issue_by(
        &self,
        ca: &Issuer<'static, KeyPair>,
        ca_pem: &str,
        file: &str,
        leaf: &Leaf<'_>,
    ) -> Result<Credential, PkiError> {
        let (certificate, key) = (format!("{file}.crt"), format!("{file}.key"));
        let _lock = self.store.lock()?;
        let kept = match (self.store.read(&certificate)?, self.store.read(&key)?) {
            (Some(certificate_pem), Some(key_pem)) => Some((certificate_pem, key_pem)),
            _ => None,
        };
        let good = |(certificate_pem, key_pem): &(String, String)| {
            certificate::still_good(certificate_pem, key_pem, leaf, ca_pem)
        };
        let (certificate_pem, key_pem) = match kept.filter(good) {
            Some(kept) => kept,
            None => self.issue(ca, file, leaf)?,
        };
        let (certificate_path, key_path) = (self.store.path(&certificate), self.store.path(&key));
        Ok(Credential { certificate_pem, key_pem, certificate_path, key_path })
    }

    fn issue(&self, ca: &Issuer<'static, KeyPair>, name: &str, leaf: &Leaf<'_>) -> Result<(String, String), PkiError> {
        let (certificate, key) = (format!("{name}.crt"), format!("{name}.key"));
        let made = new_key(name)?;
        let issued = leaf.parameters()?.signed_by(&made, ca);
        let issued = issued.map_err(|source| PkiError::Issue { name: name.to_owned(), source })?;
        let pair = (issued.pem(), made.serialize_pem());
        self.store.remove(&certificate)?;
        self.store.write(&key, &pair.1)?;
        self.store.write(&certificate, &pair.0)?;
        tracing::info!(certificate = name, "certificate issued");
        Ok(pair)
    }
}

fn check_node_name(name: &str) -> Result<(), PkiError> {
    let sound = !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '.'));
    if sound && !name.starts_with('.') { Ok(()) } else { Err(PkiError::Name(name.to_owned())) }
}

/// The user that a node agent is, and the names it is reached under.
fn node_names(name: &str, addresses: &[IpAddr]) -> (String, Vec<String>) {
    let mut names = vec![name.to_owned(), "localhost".to_owned()];
    names.extend(addresses.iter().map(IpAddr::to_string));
    (node_user(name), names)
}

/// As whom the agent of a node is certified.
pub fn node_user(name: &str) -> String {
    format!("system:node:{name}")
}

/// The authority of this name, and its certificate; made where there is none yet.
fn open_authority(store: &Store, name: &str) -> Result<(Issuer<'static, KeyPair>, String), PkiError> {
    let (certificate, key) = (store.path(&format!("{name}.crt")), store.path(&format!("{name}.key")));
    let (pem, key_pair) = match (store.read(&format!("{name}.crt"))?, store.read(&format!("{name}.key"))?) {
        (Some(pem), Some(key_pem)) => {
            let key_pair = parse_key(&key, &key_pem)?;
            if !certificate::belongs_to(&pem, &key_pair, &certificate)? {
                return Err(PkiError::Mismatch { certificate, key });
            }
            (pem, key_pair)
        }
        (Some(_), None) => return Err(PkiError::KeyMissing { certificate, key }),
        (None, Some(key_pem)) => {
            let key_pair = parse_key(&key, &key_pem)?;
            (make_ca(store, name, &key_pair)?, key_pair)
        }
        (None, None) => {
            let made = new_key(name)?;
            store.write(&format!("{name}.key"), &made.serialize_pem())?;
            (make_ca(store, name, &made)?, made)
        }
    };
    let issuer = Issuer::from_ca_cert_pem(&pem, key_pair);
    let issuer = issuer.map_err(|source| PkiError::Certificate { path: certificate, reason: source.to_string() })?;
    Ok((issuer, pem))
}

fn make_ca(store: &Store, name: &str, key: &KeyPair) -> Result<String, PkiError> {
    let made = certificate::ca_parameters(&format!("kontiki-{name}")).self_signed(key);
    let pem = made.map_err(|source| PkiError::Issue { name: name.to_owned(), source })?.pem();
    store.write(&format!("{name}.crt"), &pem)?;
    tracing::info!(name, "certificate authority made");
    Ok(pem)
}

fn new_key(name: &str) -> Result<KeyPair, PkiError> {
    KeyPair::generate().map_err(|source| PkiError::Issue { name: name.to_owned(), source })
}

fn parse_key(path: &Path, pem: &str) -> Result<KeyPair, PkiError> {
    KeyPair::from_pem(pem).map_err(|source| PkiError::Key { path: path.to_owned(), source })
}

#[cfg(test)]
mod tests;
