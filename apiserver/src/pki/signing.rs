//! Certificates for those who asked through the certificates API: the request says whom they are for, the API's object how they
//! may be used and for how long, and the CA of the cluster signs. Whether it should is judged before.

use std::{
    net::IpAddr,
    time::{Duration, SystemTime},
};

use rcgen::{
    CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose as Extended, IsCa, KeyPair,
    KeyUsagePurpose as Basic, SanType, SerialNumber, SigningKey as _, SubjectPublicKeyInfo,
};
use rustls_pki_types::{CertificateDer, pem::PemObject as _};
use x509_parser::{
    asn1_rs::{Any, BitString, FromDer as _, Sequence, Set, ToDer as _},
    certificate::X509Certificate,
    certification_request::X509CertificationRequest,
    extensions::{GeneralName, ParsedExtension},
    pem::Pem,
    x509::X509Name,
};

use super::{APISERVERS, Pki, PkiError, SERVERS};

/// What a certificate says besides whom it is for.
#[derive(Clone, Copy, Debug)]
pub struct Terms<'a> {
    /// As the certificates API calls them: `client auth`, `digital signature`.
    pub usages: &'a [String],
    /// How long it is wanted for; a year, if it is not said, and at most.
    pub lifetime: Option<Duration>,
}

const LIFETIME_MAX: Duration = Duration::from_secs(365 * 24 * 3600);
const LIFETIME_MIN: Duration = Duration::from_secs(10 * 60);
/// Clocks of other machines may be behind.
const BACKDATE: Duration = Duration::from_secs(5 * 60);
/// What is wanted for less than this does not end earlier for being backdated.
const SHORT: Duration = Duration::from_secs(8 * 3600);
const SERIAL_BYTES: usize = 16;

const _: () = assert!(BACKDATE.as_secs() < LIFETIME_MIN.as_secs() && SHORT.as_secs() < LIFETIME_MAX.as_secs());

/// Groups whose certificates this server makes itself, and nobody is given.
const OWN_GROUPS: [&str; 2] = [SERVERS, APISERVERS];

/// What a subject may say, by the last octet of attribute types below 2.5.4: common name, serial number, country, locality,
/// province, street, organization, unit, postal code. Anything else in it is left out.
const SUBJECT: [u8; 9] = [3, 5, 6, 7, 8, 9, 10, 11, 17];

impl Pki {
    /// Signs a request (PEM of PKCS#10) and returns the certificate in PEM.
    pub fn sign_request(&self, request_pem: &[u8], terms: Terms<'_>) -> Result<String, PkiError> {
        let block = Pem::iter_from_buffer(request_pem).next().and_then(Result::ok);
        let block = block.ok_or_else(|| unsound("it is no PEM"))?;
        let (_, request) =
            X509CertificationRequest::from_der(&block.contents).map_err(|error| unsound(&error.to_string()))?;
        request.verify_signature().map_err(|error| unsound(&format!("its signature: {error}")))?;
        let info = &request.certification_request_info;
        readable(&info.subject)?;
        let mut groups = info.subject.iter_organization().filter_map(|name| name.as_str().ok());
        if let Some(own) = groups.find(|group| OWN_GROUPS.contains(group)) {
            return Err(PkiError::Name(own.to_owned()));
        }
        let name = info.subject.to_string();
        let failed = |source| PkiError::Issue { name: name.clone(), source };
        let public_key = SubjectPublicKeyInfo::from_der(info.subject_pki.raw).map_err(failed)?;
        let parameters = self.parameters(&request, terms)?;
        let issued = parameters.signed_by(&public_key, &self.ca).map_err(failed)?;
        let der = with_subject(issued.der(), &subject(info.subject.as_raw())?, self.ca.key())?;
        tracing::info!(subject = name, "certificate issued on request");
        Ok(to_pem(der))
    }

    fn parameters(
        &self,
        request: &X509CertificationRequest<'_>,
        terms: Terms<'_>,
    ) -> Result<CertificateParams, PkiError> {
        let mut parameters = CertificateParams::default();
        let ended = || PkiError::Certificate { path: self.ca_path(), reason: "it has ended".to_owned() };
        let (not_before, not_after) = validity(terms.lifetime, SystemTime::now(), self.ends()?).ok_or_else(ended)?;
        parameters.not_before = not_before.into();
        parameters.not_after = not_after.into();
        // The subject is put in later; where there is none, the names are critical.
        parameters.distinguished_name = DistinguishedName::new();
        if request.certification_request_info.subject.iter().next().is_some() {
            parameters.distinguished_name.push(DnType::CommonName, "subject");
        }
        let mut serial = rand::random::<[u8; SERIAL_BYTES]>();
        serial[0] &= 0x7f;
        parameters.serial_number = Some(SerialNumber::from_slice(&serial));
        parameters.subject_alt_names = alternative_names(request)?;
        parameters.is_ca = IsCa::ExplicitNoCa;
        parameters.use_authority_key_identifier_extension = true;
        for usage in terms.usages {
            match usage_of(usage).ok_or_else(|| unsound(&format!("unrecognized usage {usage:?}")))? {
                Usage::Basic(basic) => parameters.key_usages.push(basic),
                Usage::Extended(extended) => parameters.insert_extended_key_usage(extended),
            }
        }
        Ok(parameters)
    }

    /// When the CA's own certificate ends.
    fn ends(&self) -> Result<SystemTime, PkiError> {
        let refused = |reason: String| PkiError::Certificate { path: self.ca_path(), reason };
        let der = CertificateDer::from_pem_slice(self.ca_pem.as_bytes()).map_err(|error| refused(error.to_string()))?;
        let (_, ca) = X509Certificate::from_der(&der).map_err(|error| refused(error.to_string()))?;
        let seconds = u64::try_from(ca.validity().not_after.timestamp()).unwrap_or_default();
        Ok(SystemTime::UNIX_EPOCH + Duration::from_secs(seconds))
    }
}

/// What is signed must mean the same to everybody: one common name, and nothing that some cannot read.
fn readable(subject: &X509Name<'_>) -> Result<(), PkiError> {
    if subject.iter_common_name().count() > 1 {
        return Err(unsound("subject has more than one common name"));
    }
    for attribute in subject.iter_attributes() {
        attribute.as_str().map_err(|error| unsound(&format!("its subject: {error}")))?;
    }
    Ok(())
}

fn unsound(reason: &str) -> PkiError {
    PkiError::Request(reason.to_owned())
}

/// From when and until when, the signer itself ending at `ends`; `None` if it has ended.
fn validity(wanted: Option<Duration>, now: SystemTime, ends: SystemTime) -> Option<(SystemTime, SystemTime)> {
    let lifetime = wanted.unwrap_or(LIFETIME_MAX).clamp(LIFETIME_MIN, LIFETIME_MAX);
    let until = if lifetime < SHORT { now + lifetime } else { now + lifetime - BACKDATE };
    (now < ends).then(|| (now - BACKDATE, until.min(ends)))
}

/// Names, addresses, mail addresses and URIs that the request asks for; other kinds of names are left out.
fn alternative_names(request: &X509CertificationRequest<'_>) -> Result<Vec<SanType>, PkiError> {
    let mut names = Vec::new();
    for extension in request.requested_extensions().into_iter().flatten() {
        let ParsedExtension::SubjectAlternativeName(asked) = extension else { continue };
        for name in &asked.general_names {
            let text = |name: &str| name.try_into().map_err(|_| PkiError::Name(name.to_owned()));
            names.push(match name {
                GeneralName::DNSName(name) => SanType::DnsName(text(name)?),
                GeneralName::RFC822Name(name) => SanType::Rfc822Name(text(name)?),
                GeneralName::URI(name) => SanType::URI(text(name)?),
                GeneralName::IPAddress(octets) => SanType::IpAddress(address(octets)?),
                _ => continue,
            });
        }
    }
    Ok(names)
}

fn address(octets: &[u8]) -> Result<IpAddr, PkiError> {
    let four = <[u8; 4]>::try_from(octets).map(IpAddr::from);
    let any = four.or_else(|_| <[u8; 16]>::try_from(octets).map(IpAddr::from));
    any.map_err(|_| unsound("an address is neither of four nor of sixteen octets"))
}

enum Usage {
    Basic(Basic),
    Extended(Extended),
}

fn usage_of(name: &str) -> Option<Usage> {
    // Below id-kp, and of those who came before it.
    let other = |oid: &[u64]| Usage::Extended(Extended::Other(oid.to_vec()));
    Some(match name {
        "signing" | "digital signature" => Usage::Basic(Basic::DigitalSignature),
        "content commitment" => Usage::Basic(Basic::ContentCommitment),
        "key encipherment" => Usage::Basic(Basic::KeyEncipherment),
        "key agreement" => Usage::Basic(Basic::KeyAgreement),
        "data encipherment" => Usage::Basic(Basic::DataEncipherment),
        "cert sign" => Usage::Basic(Basic::KeyCertSign),
        "crl sign" => Usage::Basic(Basic::CrlSign),
        "encipher only" => Usage::Basic(Basic::EncipherOnly),
        "decipher only" => Usage::Basic(Basic::DecipherOnly),
        "any" => Usage::Extended(Extended::Any),
        "server auth" => Usage::Extended(Extended::ServerAuth),
        "client auth" => Usage::Extended(Extended::ClientAuth),
        "code signing" => Usage::Extended(Extended::CodeSigning),
        "email protection" | "s/mime" => Usage::Extended(Extended::EmailProtection),
        "timestamping" => Usage::Extended(Extended::TimeStamping),
        "ocsp signing" => Usage::Extended(Extended::OcspSigning),
        "ipsec end system" => other(&[1, 3, 6, 1, 5, 5, 7, 3, 5]),
        "ipsec tunnel" => other(&[1, 3, 6, 1, 5, 5, 7, 3, 6]),
        "ipsec user" => other(&[1, 3, 6, 1, 5, 5, 7, 3, 7]),
        "microsoft sgc" => other(&[1, 3, 6, 1, 4, 1, 311, 10, 3, 3]),
        "netscape sgc" => other(&[2, 16, 840, 1, 113730, 4, 1]),
        _ => return None,
    })
}

/// The request's subject with what a subject may say. rcgen's names hold one value of each type, and groups are many.
fn subject(requested: &[u8]) -> Result<Vec<u8>, PkiError> {
    let mut kept = Vec::new();
    for set in members(requested)? {
        for attribute in members(set)? {
            let kind = members(attribute)?.first().copied().unwrap_or_default();
            if let [0x06, 0x03, 0x55, 0x04, last] = kind
                && SUBJECT.contains(last)
            {
                kept.extend(encoded(Set::new(attribute.into()).to_der_vec())?);
            }
        }
    }
    sequence(&kept)
}

/// The certificate with another subject, signed anew. `Certificate ::= SEQUENCE { tbsCertificate, algorithm, signature }`, and the
/// subject is the sixth member of what is signed (RFC 5280, 4.1).
fn with_subject(certificate: &[u8], subject: &[u8], key: &KeyPair) -> Result<Vec<u8>, PkiError> {
    const SUBJECT_AT: usize = 5;
    let outer = members(certificate)?;
    let [signed, algorithm, _] = outer.as_slice() else { return Err(unsound("no certificate")) };
    let mut inner = members(signed)?;
    *inner.get_mut(SUBJECT_AT).ok_or_else(|| unsound("no certificate"))? = subject;
    let signed = sequence(&inner.concat())?;
    let signature = key.sign(&signed).map_err(|source| PkiError::Issue { name: "requested".to_owned(), source })?;
    let signature = encoded(BitString::new(0, &signature).to_der_vec())?;
    sequence(&[&*signed, *algorithm, &*signature].concat())
}

/// The members of a SEQUENCE or SET, each whole.
fn members(der: &[u8]) -> Result<Vec<&[u8]>, PkiError> {
    let read = |der| Any::from_der(der).map_err(|error| unsound(&error.to_string()));
    let mut rest = read(der)?.1.data;
    let mut members = Vec::new();
    while !rest.is_empty() {
        let (after, _) = read(rest)?;
        members.push(&rest[..rest.len() - after.len()]);
        rest = after;
    }
    Ok(members)
}

fn sequence(content: &[u8]) -> Result<Vec<u8>, PkiError> {
    encoded(Sequence::new(content.into()).to_der_vec())
}

fn encoded<E: std::fmt::Display>(der: Result<Vec<u8>, E>) -> Result<Vec<u8>, PkiError> {
    der.map_err(|error| unsound(&error.to_string()))
}

fn to_pem(der: Vec<u8>) -> String {
    let unix = pem::EncodeConfig::new().set_line_ending(pem::LineEnding::LF);
    pem::encode_config(&pem::Pem::new("CERTIFICATE", der), unix)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn strings(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_owned()).collect()
    }

    fn request(set: impl FnOnce(&mut CertificateParams)) -> (String, KeyPair) {
        let key = KeyPair::generate().unwrap();
        let mut parameters = CertificateParams::default();
        parameters.distinguished_name = DistinguishedName::new();
        set(&mut parameters);
        (parameters.serialize_request(&key).unwrap().pem().unwrap(), key)
    }

    #[test]
    fn a_certificate_says_what_was_asked_and_is_the_cas() {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::open(folder.path()).unwrap();
        let (asked, key) = request(|parameters| {
            let name = &mut parameters.distinguished_name;
            name.push(DnType::CommonName, "jane");
            name.push(DnType::OrganizationName, "devs");
            // The same type to X.509, another to rcgen: two groups.
            name.push(DnType::CustomDnType(vec![2, 5, 4, 10]), "ops");
            name.push(DnType::CustomDnType(vec![1, 3, 6, 1, 4, 1, 57683, 2]), "not for a subject");
            parameters.subject_alt_names = vec![
                SanType::DnsName("a.example".try_into().unwrap()),
                SanType::IpAddress(IpAddr::from([10, 0, 0, 7])),
                SanType::URI("spiffe://x/y".try_into().unwrap()),
            ];
        });
        let usages = strings(&["client auth", "digital signature", "ipsec user"]);
        let terms = Terms { usages: &usages, lifetime: Some(HOUR) };
        let issued = pki.sign_request(asked.as_bytes(), terms).unwrap();
        let der = CertificateDer::from_pem_slice(issued.as_bytes()).unwrap();
        let (_, parsed) = X509Certificate::from_der(&der).unwrap();
        let ca_der = CertificateDer::from_pem_slice(pki.ca_pem().as_bytes()).unwrap();
        let (_, ca) = X509Certificate::from_der(&ca_der).unwrap();
        assert!(parsed.verify_signature(Some(ca.public_key())).is_ok());
        assert_eq!(parsed.subject().to_string(), "CN=jane, O=devs, O=ops");
        assert_eq!(parsed.public_key().subject_public_key.data.as_ref(), key.public_key_raw());
        let names = &parsed.subject_alternative_name().unwrap().unwrap().value.general_names;
        assert_eq!(names.len(), 3);
        let extended = parsed.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.client_auth && !extended.server_auth && extended.other.len() == 1);
        assert!(parsed.key_usage().unwrap().unwrap().value.digital_signature());
        assert!(!parsed.basic_constraints().unwrap().unwrap().value.ca);
        let lasts = parsed.validity().not_after.timestamp() - parsed.validity().not_before.timestamp();
        assert_eq!(lasts, (HOUR + BACKDATE).as_secs().cast_signed());
        let again = pki.sign_request(asked.as_bytes(), terms).unwrap();
        let again = CertificateDer::from_pem_slice(again.as_bytes()).unwrap();
        assert_ne!(X509Certificate::from_der(&again).unwrap().1.serial, parsed.serial, "the same key asked twice");
    }

    #[test]
    fn nobody_becomes_a_server_of_the_cluster_by_asking() {
        let folder = tempfile::tempdir().unwrap();
        let pki = Pki::open(folder.path()).unwrap();
        let usages = strings(&["client auth"]);
        for group in OWN_GROUPS {
            let (asked, _) = request(|parameters| parameters.distinguished_name.push(DnType::OrganizationName, group));
            let refused = pki.sign_request(asked.as_bytes(), Terms { usages: &usages, lifetime: None });
            assert!(matches!(refused, Err(PkiError::Name(name)) if name == group));
        }
        let (asked, _) = request(|_| {});
        let unknown = strings(&["flying"]);
        assert!(pki.sign_request(asked.as_bytes(), Terms { usages: &unknown, lifetime: None }).is_err());
        assert!(pki.sign_request(b"no request", Terms { usages: &usages, lifetime: None }).is_err());
    }

    #[test]
    fn a_certificate_lasts_as_long_as_asked_within_bounds_and_never_longer_than_its_signer() {
        let now = SystemTime::UNIX_EPOCH + 1000 * HOUR;
        let far = now + 100_000 * HOUR;
        let cases = [
            (None, far, Some(LIFETIME_MAX - BACKDATE)),
            (Some(2 * LIFETIME_MAX), far, Some(LIFETIME_MAX - BACKDATE)),
            (Some(SHORT), far, Some(SHORT - BACKDATE)),
            (Some(HOUR), far, Some(HOUR)),
            (Some(Duration::ZERO), far, Some(LIFETIME_MIN)),
            (Some(HOUR), now + HOUR / 2, Some(HOUR / 2)),
            (Some(HOUR), now, None),
        ];
        for (wanted, ends, expected) in cases {
            let found = validity(wanted, now, ends);
            let expected = expected.map(|lasts| (now - BACKDATE, now + lasts));
            assert_eq!(found, expected, "{wanted:?}");
        }
    }
}
