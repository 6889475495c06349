//! What the certificates say, and whether one on disk still says it.

use std::{
    collections::BTreeSet,
    net::IpAddr,
    path::Path,
    time::{Duration, SystemTime},
};

use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, KeyPair,
    KeyUsagePurpose,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{
    certificate::X509Certificate,
    der_parser::oid::Oid,
    extensions::GeneralName,
    prelude::{FromDer as _, ParsedExtension},
};

use super::PkiError;

const DAY: Duration = Duration::from_secs(24 * 3600);
const CA_LIFETIME: Duration = Duration::from_secs(3650 * 24 * 3600);
const LEAF_LIFETIME: Duration = Duration::from_secs(365 * 24 * 3600);
/// A certificate with less than this left is issued anew.
const RENEW_BEFORE: Duration = Duration::from_secs(60 * 24 * 3600);
/// Clocks of other machines may be behind.
const BACKDATE: Duration = Duration::from_secs(3600);

/// Attribute of a subject that holds the user's uid.
const USER_UID: &[u64] = &[1, 3, 6, 1, 4, 1, 57683, 2];

const _: () =
    assert!(RENEW_BEFORE.as_secs() < LEAF_LIFETIME.as_secs() && LEAF_LIFETIME.as_secs() < CA_LIFETIME.as_secs());
const _: () = assert!(BACKDATE.as_secs() < DAY.as_secs());

#[derive(Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    Client,
    Server,
}

/// A certificate to be: who (common name and organizations, as Kubernetes reads them), reached under which names.
pub struct Leaf<'a> {
    pub user: &'a str,
    /// What tells it from others that had the name before; empty for who needs none.
    pub uid: &'a str,
    pub groups: &'a [&'a str],
    pub names: &'a [String],
    pub purpose: Purpose,
}

pub fn ca_parameters(common_name: &str) -> CertificateParams {
    let mut parameters = lasting(CA_LIFETIME);
    parameters.distinguished_name = subject(common_name, &[]);
    parameters.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    parameters.key_usages =
        vec![KeyUsagePurpose::DigitalSignature, KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    parameters
}

impl Leaf<'_> {
    pub fn parameters(&self) -> Result<CertificateParams, PkiError> {
        let named = CertificateParams::new(self.names.to_vec());
        let named = named.map_err(|_| PkiError::Name(self.names.join(", ")))?;
        let mut parameters = lasting(LEAF_LIFETIME);
        parameters.subject_alt_names = named.subject_alt_names;
        parameters.distinguished_name = subject(self.user, self.groups);
        if !self.uid.is_empty() {
            parameters.distinguished_name.push(DnType::CustomDnType(USER_UID.to_vec()), self.uid);
        }
        parameters.use_authority_key_identifier_extension = true;
        parameters.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        parameters.extended_key_usages = match self.purpose {
            Purpose::Client => vec![ExtendedKeyUsagePurpose::ClientAuth],
            Purpose::Server => vec![ExtendedKeyUsagePurpose::ServerAuth],
        };
        Ok(parameters)
    }
}

fn subject(common_name: &str, organizations: &[&str]) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    // A distinguished name of rcgen holds one value per type; Kontiki's own identities are in one group at most.
    debug_assert!(organizations.len() <= 1, "one group per certificate");
    for organization in organizations {
        name.push(DnType::OrganizationName, *organization);
    }
    name.push(DnType::CommonName, common_name);
    name
}

fn lasting(lifetime: Duration) -> CertificateParams {
    let now = SystemTime::now();
    let mut parameters = CertificateParams::default();
    parameters.not_before = (now - BACKDATE).into();
    parameters.not_after = (now + lifetime).into();
    parameters
}

/// Whether the certificate was made for this key.
pub fn belongs_to(pem: &str, key: &KeyPair, path: &Path) -> Result<bool, PkiError> {
    let refused = |reason: String| PkiError::Certificate { path: path.to_owned(), reason };
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).map_err(|error| refused(error.to_string()))?;
    let (_, parsed) = X509Certificate::from_der(&der).map_err(|error| refused(error.to_string()))?;
    Ok(parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw())
}

/// Whether the certificate on disk is the one that `leaf` asks for, fits its key and this CA, and lasts for a while.
pub fn still_good(pem: &str, key_pem: &str, leaf: &Leaf<'_>, ca_pem: &str) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return false };
    let Ok(ca_der) = CertificateDer::from_pem_slice(ca_pem.as_bytes()) else { return false };
    let Ok((_, parsed)) = X509Certificate::from_der(&der) else { return false };
    let Ok((_, ca)) = X509Certificate::from_der(&ca_der) else { return false };
    let Ok(key) = KeyPair::from_pem(key_pem) else { return false };
    let wanted: BTreeSet<String> = leaf.names.iter().map(|name| canonical(name)).collect();
    let common_name = parsed.subject().iter_common_name().next().and_then(|name| name.as_str().ok());
    renewed_from(&parsed) > now_s()
        && common_name == Some(leaf.user)
        && uid_of(&parsed).unwrap_or_default() == leaf.uid
        && parsed.public_key().subject_public_key.data.as_ref() == key.public_key_raw()
        && parsed.issuer() == ca.subject()
        && parsed.verify_signature(Some(ca.public_key())).is_ok()
        && alternative_names(&parsed) == wanted
}

/// The uid that a certificate's subject carries, as Kubernetes reads it (KEP-4760).
pub fn uid_of<'a>(certificate: &'a X509Certificate<'_>) -> Option<&'a str> {
    let oid = Oid::from(USER_UID).ok()?;
    certificate.subject().iter_by_oid(&oid).next()?.as_str().ok()
}

/// The same of a certificate as it is kept.
pub fn uid_in(pem: &str) -> Option<String> {
    let der = CertificateDer::from_pem_slice(pem.as_bytes()).ok()?;
    let (_, parsed) = X509Certificate::from_der(&der).ok()?;
    uid_of(&parsed).map(str::to_owned)
}

/// Whether the certificate should be issued anew; one that cannot be read should.
pub fn ends_soon(pem: &str) -> bool {
    let Ok(der) = CertificateDer::from_pem_slice(pem.as_bytes()) else { return true };
    let Ok((_, parsed)) = X509Certificate::from_der(&der) else { return true };
    renewed_from(&parsed) <= now_s()
}

fn renewed_from(certificate: &X509Certificate<'_>) -> i64 {
    certificate.validity().not_after.timestamp().saturating_sub(RENEW_BEFORE.as_secs().cast_signed())
}

fn now_s() -> i64 {
    SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs().cast_signed()
}

fn canonical(name: &str) -> String {
    name.parse::<IpAddr>().map_or_else(|_| name.to_owned(), |address| address.to_string())
}

fn alternative_names(certificate: &X509Certificate<'_>) -> BTreeSet<String> {
    let mut names = BTreeSet::new();
    for extension in certificate.extensions() {
        let ParsedExtension::SubjectAlternativeName(alternatives) = extension.parsed_extension() else { continue };
        for name in &alternatives.general_names {
            match name {
                GeneralName::DNSName(name) => names.insert((*name).to_owned()),
                GeneralName::IPAddress(octets) => names.insert(address(octets)),
                _ => false,
            };
        }
    }
    names
}

fn address(octets: &[u8]) -> String {
    if let Ok(four) = <[u8; 4]>::try_from(octets) {
        return IpAddr::from(four).to_string();
    }
    <[u8; 16]>::try_from(octets).map_or_else(|_| String::new(), |sixteen| IpAddr::from(sixteen).to_string())
}
