//! Whom this server believes behind a Service: those a bundle of certificates vouches for, those the system does, or anybody.

use std::sync::Arc;

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::{CryptoProvider, verify_tls12_signature, verify_tls13_signature},
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime, pem::PemObject as _};
use tokio_rustls::TlsConnector;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

use crate::pki::Credential;

/// Whose certificate is accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Trust<'a> {
    /// PEM certificates: authorities, or the very certificate that is shown.
    Bundle(&'a [u8]),
    /// The machine's own authorities.
    System,
    Anybody,
}

/// Why nobody can be trusted.
#[derive(Clone, Debug, thiserror::Error)]
pub(crate) enum TrustError {
    #[error("unable to load root certificates: {0}")]
    Roots(String),
    #[error("unable to load the client certificate: {0}")]
    Identity(String),
    #[error("cannot set up TLS: {0}")]
    Tls(#[from] rustls::Error),
}

/// TLS as a client, under this identity if there is one, in HTTP/1.1.
pub(crate) fn client_tls(trust: Trust<'_>, identity: Option<&Credential>) -> Result<TlsConnector, TrustError> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Verifier::new(trust, provider.clone())?);
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let config = config.dangerous().with_custom_certificate_verifier(verifier);
    let mut config = match identity {
        None => config.with_no_client_auth(),
        Some(credential) => {
            let unusable = |error: rustls_pki_types::pem::Error| TrustError::Identity(error.to_string());
            let chain = CertificateDer::pem_slice_iter(credential.certificate_pem.as_bytes());
            let chain = chain.collect::<Result<Vec<_>, _>>().map_err(unusable)?;
            let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).map_err(unusable)?;
            config.with_client_auth_cert(chain, key)?
        }
    };
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}

#[derive(Debug)]
pub(super) struct Verifier {
    /// `None`: anybody is believed.
    known: Option<Known>,
    provider: Arc<CryptoProvider>,
}

#[derive(Debug)]
struct Known {
    authorities: Arc<WebPkiServerVerifier>,
    /// What was given, certificate by certificate.
    certificates: Vec<CertificateDer<'static>>,
}

impl Verifier {
    pub fn new(trust: Trust<'_>, provider: Arc<CryptoProvider>) -> Result<Self, TrustError> {
        let certificates = match trust {
            Trust::Anybody => return Ok(Verifier { known: None, provider }),
            Trust::Bundle(pem) => {
                let read = CertificateDer::pem_slice_iter(pem).collect::<Result<Vec<_>, _>>();
                read.map_err(|error| TrustError::Roots(error.to_string()))?
            }
            Trust::System => rustls_native_certs::load_native_certs().certs,
        };
        let mut roots = RootCertStore::empty();
        roots.add_parsable_certificates(certificates.iter().cloned());
        if roots.is_empty() {
            return Err(TrustError::Roots("no certificate in it".to_owned()));
        }
        let authorities = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
        let authorities = authorities.build().map_err(|error| TrustError::Roots(error.to_string()))?;
        Ok(Verifier { known: Some(Known { authorities, certificates }), provider })
    }
}

impl Known {
    /// A certificate that was given as it is: people make one that is its own authority and hand it out as the bundle.
    fn is_itself_given(&self, shown: &CertificateDer<'_>) -> bool {
        self.certificates.iter().any(|one| one == shown)
    }

    fn verify_given(shown: &CertificateDer<'_>, name: &ServerName<'_>, now: UnixTime) -> Result<(), Error> {
        let parsed = X509Certificate::from_der(shown);
        let (_, parsed) = parsed.map_err(|_| Error::InvalidCertificate(CertificateError::BadEncoding))?;
        let at = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
        if parsed.validity().not_before.timestamp() > at {
            return Err(CertificateError::NotValidYet.into());
        }
        if parsed.validity().not_after.timestamp() < at {
            return Err(CertificateError::Expired.into());
        }
        verify_server_name(&ParsedCertificate::try_from(shown)?, name)
    }
}

impl ServerCertVerifier for Verifier {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let Some(known) = &self.known else { return Ok(ServerCertVerified::assertion()) };
        if known.is_itself_given(end_entity) {
            return Known::verify_given(end_entity, server_name, now).map(|()| ServerCertVerified::assertion());
        }
        known.authorities.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls12_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        verify_tls13_signature(message, certificate, signature, &self.provider.signature_verification_algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}
