//! Why there is no connection, as Go's programs say it: people search for these texts.

use std::io;

use rustls::{CertificateError, Error};
use rustls_pki_types::ServerName;

use super::Address;

/// Why an address was not reached.
pub(crate) fn not_connected(address: &Address, error: &io::Error) -> String {
    let host = &address.host;
    let why = match error.kind() {
        io::ErrorKind::ConnectionRefused => "connect: connection refused".to_owned(),
        io::ErrorKind::HostUnreachable => "connect: no route to host".to_owned(),
        io::ErrorKind::NetworkUnreachable => "connect: network is unreachable".to_owned(),
        io::ErrorKind::TimedOut => "i/o timeout".to_owned(),
        // The resolver's words differ from machine to machine.
        _ if host.parse::<std::net::IpAddr>().is_err() && error.raw_os_error().is_none() => {
            return format!("dial tcp: lookup {host}: no such host");
        }
        _ => error.to_string(),
    };
    format!("dial tcp {address}: {why}")
}

/// Why a handshake failed.
pub(crate) fn no_handshake(error: &io::Error) -> String {
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
    use std::{sync::Arc, time::Duration};

    use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
    use rustls::client::danger::ServerCertVerifier as _;
    use rustls_pki_types::{CertificateDer, UnixTime};

    use super::{
        super::trust::{Trust, Verifier},
        *,
    };

    /// A certificate that signed itself, and its PEM form.
    fn certificate(names: &[&str], is_ca: bool) -> (CertificateDer<'static>, String) {
        let names: Vec<String> = names.iter().map(|name| (*name).to_owned()).collect();
        let mut params = CertificateParams::new(names).unwrap();
        if is_ca {
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        }
        let certificate = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
        (certificate.der().clone(), certificate.pem())
    }

    fn verdict(bundle: &str, shown: &CertificateDer<'_>, name: &str, now: UnixTime) -> String {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier = Verifier::new(Trust::Bundle(bundle.as_bytes()), provider).unwrap();
        match verifier.verify_server_cert(shown, &[], &ServerName::try_from(name).unwrap(), &[], now) {
            Ok(_) => "trusted".to_owned(),
            Err(error) => no_handshake(&io::Error::other(error)),
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
            (&leaf, &ca, "s.n.svc", now, failed("certificate signed by unknown authority")),
            (&ca, &ca, "t.n.svc", now, failed("certificate is valid for s.n.svc, 127.0.0.1, not t.n.svc")),
            (&ca, &ca, "s.n.svc", late, failed("certificate has expired or is not yet valid")),
        ];
        for ((_, bundle), (shown, _), name, now, expected) in table {
            assert_eq!(verdict(bundle, shown, name, now), expected, "{name}");
        }
    }

    #[test]
    fn names_that_nobody_knows_are_told_as_such() {
        let address = Address { host: "nowhere.invalid".to_owned(), port: 443 };
        let error = io::Error::other("failed to lookup address information");
        assert_eq!(not_connected(&address, &error), "dial tcp: lookup nowhere.invalid: no such host");
    }
}
