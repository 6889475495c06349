//! Who is calling: TLS with the cluster's certificates, and what a client's certificate says about it.
//! A client without a certificate gets a connection, but only for what is open to all; one with a certificate that another
//! CA has signed gets none.

use std::sync::Arc;

use rustls::{RootCertStore, ServerConfig as TlsConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject};
use tokio_rustls::TlsAcceptor;
use x509_parser::{certificate::X509Certificate, prelude::FromDer};

use super::{
    ServerConfig, ServerError,
    failure::{self, Refused},
};

/// Members of these groups may call; nobody else.
const GROUPS: &[&str] = &["kontiki:apiservers", "system:masters"];

/// What a client's certificate says: its common name and its organizations.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    pub user: String,
    pub groups: Vec<String>,
}

pub fn acceptor(config: &ServerConfig<'_>) -> Result<TlsAcceptor, ServerError> {
    let unusable = |what| move |error: &dyn std::fmt::Display| ServerError::Tls { what, reason: error.to_string() };
    let provider = Arc::new(rustls::crypto::ring::default_provider());

    let mut roots = RootCertStore::empty();
    for certificate in CertificateDer::pem_slice_iter(config.client_ca_pem) {
        let certificate = certificate.map_err(|error| unusable("client CA")(&error))?;
        roots.add(certificate).map_err(|error| unusable("client CA")(&error))?;
    }
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone())
        .allow_unauthenticated()
        .build()
        .map_err(|error| unusable("client CA")(&error))?;

    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(config.certificate_pem).collect();
    let chain = chain.map_err(|error| unusable("certificate")(&error))?;
    let key = PrivateKeyDer::from_pem_slice(config.key_pem).map_err(|error| unusable("private key")(&error))?;
    let mut tls = TlsConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| unusable("TLS versions")(&error))?
        .with_client_cert_verifier(verifier)
        .with_single_cert(chain, key)
        .map_err(|error| unusable("certificate")(&error))?;
    tls.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(tls)))
}

/// The subject of a certificate that TLS has verified already.
pub fn caller(certificate: &[u8]) -> Option<Caller> {
    let (_, certificate) = X509Certificate::from_der(certificate).ok()?;
    let subject = certificate.subject();
    let user = subject.iter_common_name().next()?.as_str().ok()?.to_owned();
    let groups = subject.iter_organization().filter_map(|name| name.as_str().ok()).map(str::to_owned).collect();
    Some(Caller { user, groups })
}

pub fn authorize(caller: Option<&Caller>) -> Result<(), Refused> {
    match caller {
        None => Err(failure::unauthorized()),
        Some(caller) if caller.groups.iter().any(|group| GROUPS.contains(&group.as_str())) => Ok(()),
        Some(caller) => Err(failure::forbidden(&caller.user)),
    }
}
