//! Whom a webhook's certificate must satisfy, and how a refused one is told: in the words of Go's TLS.

use std::{io, sync::Arc};

use rustls::{
    CertificateError, ClientConfig, DigitallySignedStruct, Error, RootCertStore, SignatureScheme,
    client::{
        WebPkiServerVerifier,
        danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
        verify_server_name,
    },
    crypto::CryptoProvider,
    server::ParsedCertificate,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime, pem::PemObject as _};
use tokio_rustls::TlsConnector;

use super::connect::DialError;

/// TLS that trusts a bundle of certificates (PEM), or what this machine trusts.
pub async fn connector(ca_bundle: Option<Vec<u8>>) -> Result<TlsConnector, DialError> {
    let trusted = match ca_bundle {
        Some(bundle) => {
            let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(&bundle).collect();
            all.ok().filter(|all| !all.is_empty()).ok_or_else(|| {
                DialError("unable to load root certificates: unable to parse bytes as PEM block".to_owned())
            })?
        }
        // Reads files: not on a thread that others wait for.
        None => {
            let loaded = tokio::task::spawn_blocking(rustls_native_certs::load_native_certs).await;
            loaded.map_err(|error| DialError(error.to_string()))?.certs
        }
    };
    config(trusted).map(|config| TlsConnector::from(Arc::new(config))).map_err(|error| DialError(error.to_string()))
}

fn config(trusted: Vec<CertificateDer<'static>>) -> Result<ClientConfig, Error> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(Trusted::new(trusted, provider.clone())?);
    let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions()?;
    let mut config = config.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth();
    config.alpn_protocols = vec![b"http/1.1".to_vec()];
    Ok(config)
}

/// Trusts what the certificates vouch for, and each of them itself. Many webhooks show a certificate that signed itself and says
/// it is a CA, which is their whole bundle; Go takes it, and webpki alone would not.
#[derive(Debug)]
struct Trusted {
    certificates: Vec<CertificateDer<'static>>,
    /// None where none of the certificates can vouch for others.
    chains: Option<Arc<WebPkiServerVerifier>>,
    provider: Arc<CryptoProvider>,
}

impl Trusted {
    fn new(certificates: Vec<CertificateDer<'static>>, provider: Arc<CryptoProvider>) -> Result<Self, Error> {
        let mut roots = RootCertStore::empty();
        let (taken, _) = roots.add_parsable_certificates(certificates.iter().cloned());
        let chains = match taken {
            0 => None,
            _ => {
                let verifier = WebPkiServerVerifier::builder_with_provider(Arc::new(roots), provider.clone());
                Some(verifier.build().map_err(|error| Error::General(error.to_string()))?)
            }
        };
        Ok(Trusted { certificates, chains, provider })
    }
}

impl ServerCertVerifier for Trusted {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        if self.certificates.iter().any(|one| one == end_entity) {
            is_current(end_entity, now)?;
            verify_server_name(&ParsedCertificate::try_from(end_entity)?, server_name)?;
            return Ok(ServerCertVerified::assertion());
        }
        let chains = self.chains.as_ref().ok_or(CertificateError::UnknownIssuer)?;
        chains.verify_server_cert(end_entity, intermediates, server_name, ocsp_response, now)
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        let algorithms = &self.provider.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.provider.signature_verification_algorithms.supported_schemes()
    }
}

fn is_current(certificate: &CertificateDer<'_>, now: UnixTime) -> Result<(), Error> {
    let (_, parsed) = x509_parser::parse_x509_certificate(certificate).map_err(|_| CertificateError::BadEncoding)?;
    let now = i64::try_from(now.as_secs()).unwrap_or(i64::MAX);
    if now > parsed.validity.not_after.timestamp() {
        return Err(CertificateError::Expired.into());
    }
    if now < parsed.validity.not_before.timestamp() {
        return Err(CertificateError::NotValidYet.into());
    }
    Ok(())
}

/// Why a handshake failed.
pub fn words(error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Error>());
    match inner {
        Some(Error::InvalidCertificate(why)) => format!("tls: failed to verify certificate: x509: {}", fault(why)),
        Some(Error::InvalidMessage(_)) => "tls: first record does not look like a TLS handshake".to_owned(),
        Some(Error::AlertReceived(alert)) => format!("remote error: tls: {alert:?}"),
        Some(other) => format!("tls: {other}"),
        None if error.kind() == io::ErrorKind::UnexpectedEof => "EOF".to_owned(),
        None if error.kind() == io::ErrorKind::ConnectionReset => "read: connection reset by peer".to_owned(),
        None => error.to_string(),
    }
}

fn fault(why: &CertificateError) -> String {
    match why {
        CertificateError::UnknownIssuer | CertificateError::BadSignature => {
            "certificate signed by unknown authority".to_owned()
        }
        CertificateError::Expired
        | CertificateError::ExpiredContext { .. }
        | CertificateError::NotValidYet
        | CertificateError::NotValidYetContext { .. } => "certificate has expired or is not yet valid".to_owned(),
        CertificateError::NotValidForNameContext { expected, presented } => {
            let wanted = expected.to_str();
            let names: Vec<&str> = presented.iter().filter_map(|name| bare(name)).collect();
            match (expected, names.as_slice()) {
                (ServerName::IpAddress(_), []) => {
                    format!("cannot validate certificate for {wanted} because it doesn't contain any IP SANs")
                }
                (_, []) => format!("certificate is not valid for any names, but wanted to match {wanted}"),
                (_, names) => format!("certificate is valid for {}, not {wanted}", names.join(", ")),
            }
        }
        // A CA that shows itself, and is nobody's we know.
        CertificateError::Other(_) => "certificate signed by unknown authority".to_owned(),
        other => other.to_string(),
    }
}

/// A name of a certificate as webpki tells it (`DnsName("a")`, `IpAddress(10.0.0.1)`) without its kind.
fn bare(presented: &str) -> Option<&str> {
    let (_, rest) = presented.split_once('(')?;
    Some(rest.trim_end_matches(')').trim_matches('"'))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::time::Duration;

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};

    use super::*;

    fn certificate(names: &[&str], is_ca: bool) -> CertificateDer<'static> {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        params.self_signed(&KeyPair::generate().unwrap()).unwrap().der().clone()
    }

    fn verdict(trusted: &[CertificateDer<'static>], shown: &CertificateDer<'_>, name: &str, now: UnixTime) -> String {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Trusted::new(trusted.to_vec(), provider).unwrap();
        let name = ServerName::try_from(name).unwrap();
        match verifier.verify_server_cert(shown, &[], &name, &[], now) {
            Ok(_) => "trusted".to_owned(),
            Err(error) => words(&io::Error::other(error)),
        }
    }

    #[test]
    fn certificates_that_signed_themselves_are_their_own_bundle() {
        let now = UnixTime::now();
        let late = UnixTime::since_unix_epoch(Duration::from_secs(1 << 37));
        let (leaf, ca) = (certificate(&["s.n.svc"], false), certificate(&["s.n.svc", "127.0.0.1"], true));
        let failed = |why: &str| format!("tls: failed to verify certificate: x509: {why}");
        let table = [
            (&leaf, &leaf, "s.n.svc", now, "trusted".to_owned()),
            (&ca, &ca, "s.n.svc", now, "trusted".to_owned()),
            (&ca, &ca, "127.0.0.1", now, "trusted".to_owned()),
            (&ca, &leaf, "s.n.svc", now, failed("certificate signed by unknown authority")),
            (&ca, &ca, "t.n.svc", now, failed("certificate is valid for s.n.svc, 127.0.0.1, not t.n.svc")),
            (&ca, &ca, "s.n.svc", late, failed("certificate has expired or is not yet valid")),
        ];
        for (trusted, shown, name, now, expected) in table {
            assert_eq!(verdict(std::slice::from_ref(trusted), shown, name, now), expected, "{name}");
        }
    }
}
