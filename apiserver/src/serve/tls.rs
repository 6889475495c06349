//! TLS: the server's certificate, replaced while running, and client certificates of the cluster's CA, which are optional.

use std::sync::{Arc, PoisonError, RwLock};

use rustls::{
    RootCertStore, ServerConfig,
    server::{ClientHello, ResolvesServerCert, WebPkiClientVerifier},
    sign::CertifiedKey,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use tokio_rustls::TlsAcceptor;

use crate::{
    peers::RAFT_PROTOCOL,
    pki::{Credential, Pki},
};

#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    #[error("a certificate or key is not PEM: {0}")]
    Pem(#[from] rustls_pki_types::pem::Error),
    #[error(transparent)]
    Tls(#[from] rustls::Error),
    #[error("client certificates cannot be verified")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
}

/// The server's side of TLS.
pub(crate) struct ServerTls {
    current: Arc<Current>,
    config: Arc<ServerConfig>,
    ca: CertificateDer<'static>,
}

/// The certificate that new connections get.
#[derive(Debug)]
struct Current(RwLock<Arc<CertifiedKey>>);

impl ServerTls {
    pub fn new(pki: &Pki, credential: &Credential) -> Result<Self, TlsError> {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let ca = CertificateDer::from_pem_slice(pki.ca_pem().as_bytes())?;
        let current = Arc::new(Current(RwLock::new(Arc::new(certified(credential, &ca)?))));
        let mut roots = RootCertStore::empty();
        roots.add(ca.clone())?;
        let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let verifier = verifier.allow_unauthenticated().build()?;
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
        let mut config = config.with_client_cert_verifier(verifier).with_cert_resolver(current.clone());
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec(), RAFT_PROTOCOL.to_vec()];
        Ok(ServerTls { current, config: Arc::new(config), ca })
    }

    pub fn acceptor(&self) -> TlsAcceptor {
        TlsAcceptor::from(self.config.clone())
    }

    /// From the next connection on, this certificate.
    pub fn replace(&self, credential: &Credential) -> Result<(), TlsError> {
        let certified = Arc::new(certified(credential, &self.ca)?);
        *self.current.0.write().unwrap_or_else(PoisonError::into_inner) = certified;
        Ok(())
    }
}

/// The chain ends in the CA: who joins knows no more of the cluster than the CA's digest.
fn certified(credential: &Credential, ca: &CertificateDer<'static>) -> Result<CertifiedKey, TlsError> {
    let mut chain: Vec<_> =
        CertificateDer::pem_slice_iter(credential.certificate_pem.as_bytes()).collect::<Result<_, _>>()?;
    chain.push(ca.clone());
    let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes())?;
    let key = rustls::crypto::ring::sign::any_supported_type(&key)?;
    Ok(CertifiedKey::new(chain, key))
}

impl ResolvesServerCert for Current {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.0.read().unwrap_or_else(PoisonError::into_inner).clone())
    }
}
