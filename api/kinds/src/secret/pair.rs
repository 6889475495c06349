//! Whether a private key is that of a certificate, in Go's words (`tls.X509KeyPair`). What cannot be told without computing
//! with keys is not told: a key on an elliptic curve that leaves out its public part, and Ed25519.

use x509_parser::der_parser::asn1_rs::{Class, Tag};
use x509_parser::der_parser::der::{DerObject, parse_der};
use x509_parser::oid_registry::{OID_KEY_TYPE_EC_PUBLIC_KEY, OID_PKCS1_RSAENCRYPTION, OID_SIG_ED25519};
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use x509_parser::public_key::PublicKey;

/// The first thing that is wrong with the two.
pub fn fault(certificates: &[u8], key: &[u8]) -> Option<String> {
    let certificate = match certificate(blocks(certificates)?) {
        Ok(certificate) => certificate,
        Err(wrong) => return Some(wrong),
    };
    let key = match private_key(blocks(key)?) {
        Ok(key) => key,
        Err(wrong) => return Some(wrong),
    };
    let (_, certificate) = X509Certificate::from_der(&certificate).ok()?;
    let info = certificate.public_key();
    let public = match info.parsed().ok()? {
        PublicKey::RSA(rsa) => Key::Rsa(significant(rsa.modulus)),
        PublicKey::EC(_) => Key::Curve(Some(&info.subject_public_key.data)),
        _ if info.algorithm.algorithm == OID_SIG_ED25519 => Key::Ed25519,
        _ => return None,
    };
    let wrong = match (public, Key::of_private(&key)?) {
        (Key::Rsa(public), Key::Rsa(private)) => (public != private).then_some("private key does not match public key"),
        (Key::Curve(public), Key::Curve(private)) => {
            let (public, private) = public.zip(private)?;
            (public != private).then_some("private key does not match public key")
        }
        (Key::Ed25519, Key::Ed25519) => None,
        (Key::Rsa(_) | Key::Curve(_) | Key::Ed25519, _) => Some("private key type does not match public key type"),
    };
    wrong.map(|wrong| format!("tls: {wrong}"))
}

/// What is public of a key.
enum Key<'a> {
    Rsa(&'a [u8]),
    /// The point on the curve, where the key tells it.
    Curve(Option<&'a [u8]>),
    Ed25519,
}

impl<'a> Key<'a> {
    /// A private key by itself (RFC 8017, RFC 5915), or in an envelope that says its kind (RFC 5208).
    fn of_private(der: &'a [u8]) -> Option<Self> {
        let parts = sequence(der)?;
        match parts.as_slice() {
            [_, algorithm, inner, ..] if algorithm.header.tag() == Tag::Sequence => {
                let kind = algorithm.as_sequence().ok()?.first()?.as_oid().ok()?.clone();
                let inner = inner.as_slice().ok()?;
                match kind {
                    kind if kind == OID_SIG_ED25519 => Some(Key::Ed25519),
                    kind if kind == OID_PKCS1_RSAENCRYPTION => Key::of_rsa(&sequence(inner)?),
                    kind if kind == OID_KEY_TYPE_EC_PUBLIC_KEY => Some(Key::of_curve(&sequence(inner)?)),
                    _ => None,
                }
            }
            [_, second, ..] if second.header.tag() == Tag::Integer => Key::of_rsa(&parts),
            [_, second, ..] if second.header.tag() == Tag::OctetString => Some(Key::of_curve(&parts)),
            _ => None,
        }
    }

    fn of_rsa(parts: &[DerObject<'a>]) -> Option<Self> {
        parts.get(1)?.as_slice().ok().map(|modulus| Key::Rsa(significant(modulus)))
    }

    fn of_curve(parts: &[DerObject<'a>]) -> Self {
        let public =
            parts.iter().find(|part| part.header.class() == Class::ContextSpecific && part.header.tag() == Tag(1));
        let point = public.and_then(|part| {
            let (_, bits) = parse_der(part.as_slice().ok()?).ok()?;
            bits.as_slice().ok()
        });
        // Others are compressed.
        Key::Curve(point.filter(|point| point.first() == Some(&4)))
    }
}

fn sequence(der: &[u8]) -> Option<Vec<DerObject<'_>>> {
    parse_der(der).ok()?.1.as_sequence().ok().cloned()
}

/// Without what only says that a number is positive.
fn significant(number: &[u8]) -> &[u8] {
    let zeros = number.iter().take_while(|byte| **byte == 0).count();
    &number[zeros..]
}

/// None where one is there that cannot be read: Go may read more.
fn blocks(text: &[u8]) -> Option<Vec<Pem>> {
    Pem::iter_from_buffer(text).collect::<Result<_, _>>().ok()
}

fn certificate(blocks: Vec<Pem>) -> Result<Vec<u8>, String> {
    let (found, skipped): (Vec<_>, Vec<_>) = blocks.into_iter().partition(|block| block.label == "CERTIFICATE");
    let labels: Vec<&str> = skipped.iter().map(|block| block.label.as_str()).collect();
    let wrong = match (found.into_iter().next(), labels.as_slice()) {
        (Some(first), _) => return Ok(first.contents),
        (None, []) => "tls: failed to find any PEM data in certificate input".to_owned(),
        (None, [only]) if only.ends_with("PRIVATE KEY") => {
            "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been switched"
                .to_owned()
        }
        (None, labels) => format!(
            "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: [{}]",
            labels.join(" ")
        ),
    };
    Err(wrong)
}

fn private_key(blocks: Vec<Pem>) -> Result<Vec<u8>, String> {
    let is_key = |label: &str| label == "PRIVATE KEY" || label.ends_with(" PRIVATE KEY");
    let labels: Vec<String> = blocks.iter().map(|block| block.label.clone()).collect();
    if let Some(key) = blocks.into_iter().find(|block| is_key(&block.label)) {
        return Ok(key.contents);
    }
    Err(match labels.as_slice() {
        [] => "tls: failed to find any PEM data in key input".to_owned(),
        [only] if only == "CERTIFICATE" => {
            "tls: found a certificate rather than a key in the PEM for the private key".to_owned()
        }
        labels => format!(
            "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the following \
             types: [{}]",
            labels.join(" ")
        ),
    })
}
