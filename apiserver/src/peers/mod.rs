//! The other servers, and how one is reached: TLS on the one port that each has, told apart by ALPN.
//!
//! `kontiki-raft/1` is the log's own protocol, for holders of a server's certificate; `http/1.1` asks the other's API. Neither is for
//! a server that was removed.
pub(crate) mod former;
mod https;
mod pin;
mod renewing;

use std::{
    io,
    sync::{Arc, OnceLock},
};

use futures::{FutureExt as _, future::BoxFuture};
use kontiki_raft::{Dial, Member, PeerStream};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio_rustls::TlsConnector;

pub(crate) use self::https::user;
pub use self::https::{Answer, Question, ask, connect};
use self::pin::PinnedCa;
pub(crate) use self::renewing::Renewing;
use crate::{
    limits,
    pki::{Credential, Pki, PkiError},
};

/// The protocol that the log's servers speak among themselves.
pub const RAFT_PROTOCOL: &[u8] = b"kontiki-raft/1";

/// A server's way to the others: mutual TLS under the identity of a server.
#[derive(Clone)]
pub struct Peers {
    raft: Arc<Renewing>,
    api: Arc<Renewing>,
    /// This server's number in the log.
    node: Arc<OnceLock<u64>>,
}

impl Peers {
    /// `name` is this server's own. Nobody is reached before the log has introduced this server by its number.
    pub fn new(pki: Arc<Pki>, name: &str) -> Self {
        let node = Arc::new(OnceLock::new());
        let identity = |protocols: &'static [&'static [u8]]| {
            let (name, node) = (name.to_owned(), node.clone());
            let issue = move |pki: &Pki| {
                let node: &u64 = node.get().ok_or_else(|| PkiError::Name(format!("{name}, of unknown number")))?;
                pki.peer(&name, *node)
            };
            Arc::new(Renewing::new(pki.clone(), protocols, issue))
        };
        Peers { raft: identity(&[RAFT_PROTOCOL]), api: identity(&[b"http/1.1"]), node }
    }

    /// Asks another server's API, as a server.
    pub async fn ask(&self, question: Question) -> io::Result<Answer> {
        ask(&self.api.connector().map_err(io::Error::other)?, question).await
    }
}

impl Dial for Peers {
    fn introduce(&self, node: u64) {
        let known = *self.node.get_or_init(|| node);
        assert_eq!(known, node, "a server has one number");
    }

    fn dial(&self, member: &Member) -> BoxFuture<'static, io::Result<Box<dyn PeerStream>>> {
        let (tls, address) = (self.raft.connector().map_err(io::Error::other), member.address.clone());
        async move {
            let tls = tls?;
            let late = |_| io::Error::new(io::ErrorKind::TimedOut, "no connection in time");
            let connected = tokio::time::timeout(limits::PEER_CONNECT_TIME_MAX, https::connect(&tls, &address));
            let stream = connected.await.map_err(late)??;
            if stream.get_ref().1.alpn_protocol() != Some(RAFT_PROTOCOL) {
                return Err(io::Error::other(format!("{address} does not speak kontiki-raft/1")));
            }
            Ok(Box::new(stream) as Box<dyn PeerStream>)
        }
        .boxed()
    }
}

/// TLS as a client with a certificate.
pub fn client_tls(ca_pem: &str, credential: &Credential, protocols: &[&[u8]]) -> Result<TlsConnector, PkiError> {
    let unusable = |reason: String| PkiError::Certificate { path: credential.certificate_path.clone(), reason };
    let mut roots = RootCertStore::empty();
    let ca = CertificateDer::from_pem_slice(ca_pem.as_bytes()).map_err(|error| unusable(error.to_string()))?;
    roots.add(ca).map_err(|error| unusable(error.to_string()))?;
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(credential.certificate_pem.as_bytes()).collect();
    let chain = chain.map_err(|error| unusable(error.to_string()))?;
    let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes());
    let key = key.map_err(|error| unusable(error.to_string()))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
    let config = config.map_err(|error| unusable(error.to_string()))?.with_root_certificates(roots);
    let mut config = config.with_client_auth_cert(chain, key).map_err(|error| unusable(error.to_string()))?;
    config.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
    Ok(TlsConnector::from(Arc::new(config)))
}

/// TLS as a machine that has nothing yet but the digest of the cluster's CA.
pub fn pinned_tls(ca_digest: &str) -> Result<TlsConnector, rustls::Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(PinnedCa::new(ca_digest.to_owned(), provider.clone()));
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.dangerous().with_custom_certificate_verifier(verifier);
    Ok(TlsConnector::from(Arc::new(config.with_no_client_auth())))
}
