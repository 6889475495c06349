//! Keys in PEM files, in every form that kube-apiserver takes: PKCS#1, PKCS#8 and SEC 1 private ones, PKCS#1 and PKIX public
//! ones, certificates.

use pem::Pem;
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED_SIGNING, ECDSA_P384_SHA384_FIXED_SIGNING, EcdsaKeyPair, EcdsaSigningAlgorithm,
        KeyPair as _, RSA_PKCS1_SHA256, RsaKeyPair, RsaPublicKeyComponents,
    },
};
use x509_parser::{
    asn1_rs::{Any, BitString, Class, FromDer, Integer, OctetString, Oid, Sequence},
    certificate::X509Certificate,
    public_key::{PublicKey as Parsed, RSAPublicKey},
    x509::SubjectPublicKeyInfo,
};

use super::public_key::PublicKey;

/// Why a file's keys cannot be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum KeyFault {
    #[error("it is no PEM")]
    NotPem,
    #[error("it holds no {0} key")]
    Absent(&'static str),
    #[error("its {0:?} is malformed")]
    Malformed(String),
    #[error("RSA keys of 2048 to 4096 bits and elliptic ones on P-256 and P-384 are supported, this one is not: {0}")]
    Unsupported(String),
    #[error("signing failed")]
    Signing,
}

/// A key that signs.
pub struct PrivateKey {
    pair: Pair,
    public: PublicKey,
}

enum Pair {
    Rsa(RsaKeyPair),
    Ecdsa(EcdsaKeyPair),
}

/// A curve by the name that key files give it.
struct Curve {
    id: &'static str,
    signing: &'static EcdsaSigningAlgorithm,
    public: fn(&[u8]) -> Option<PublicKey>,
}

static CURVES: [Curve; 2] = [
    Curve { id: "1.2.840.10045.3.1.7", signing: &ECDSA_P256_SHA256_FIXED_SIGNING, public: PublicKey::p256 },
    Curve { id: "1.3.132.0.34", signing: &ECDSA_P384_SHA384_FIXED_SIGNING, public: PublicKey::p384 },
];

impl PrivateKey {
    /// The first private key in a PEM file.
    pub fn read(text: &str) -> Result<Self, KeyFault> {
        let blocks = pem::parse_many(text).map_err(|_| KeyFault::NotPem)?;
        blocks.iter().find_map(private).unwrap_or(Err(KeyFault::Absent("private")))
    }

    pub fn pkcs8(der: &[u8]) -> Result<Self, KeyFault> {
        // What is no key of a curve is refused for that; the last word is RSA's.
        for curve in &CURVES {
            if let Ok(pair) = EcdsaKeyPair::from_pkcs8(curve.signing, der, &SystemRandom::new()) {
                return PrivateKey::elliptic(curve, pair);
            }
        }
        RsaKeyPair::from_pkcs8(der).map_err(unsupported).and_then(PrivateKey::rsa)
    }

    fn rsa(pair: RsaKeyPair) -> Result<Self, KeyFault> {
        let RsaPublicKeyComponents { n, e }: RsaPublicKeyComponents<Vec<u8>> = pair.public().into();
        let public = PublicKey::rsa(&n, &e).ok_or_else(|| KeyFault::Unsupported("its numbers are zero".to_owned()))?;
        Ok(PrivateKey { pair: Pair::Rsa(pair), public })
    }

    fn elliptic(curve: &Curve, pair: EcdsaKeyPair) -> Result<Self, KeyFault> {
        let public = (curve.public)(pair.public_key().as_ref());
        let public = public.ok_or_else(|| KeyFault::Unsupported("its point is compressed".to_owned()))?;
        Ok(PrivateKey { pair: Pair::Ecdsa(pair), public })
    }

    /// ECPrivateKey of RFC 5915.
    fn sec1(der: &[u8]) -> Result<Self, KeyFault> {
        let malformed = || KeyFault::Malformed(SEC1.to_owned());
        let (_, sequence) = Sequence::from_der(der).map_err(|_| malformed())?;
        let (rest, _version) = Integer::from_der(&sequence.content).map_err(|_| malformed())?;
        let (mut rest, private) = OctetString::from_der(rest).map_err(|_| malformed())?;
        let (mut curve, mut point) = (None, None);
        while !rest.is_empty() {
            let (behind, member) = Any::from_der(rest).map_err(|_| malformed())?;
            match (member.header.class(), member.header.tag().0) {
                (Class::ContextSpecific, 0) => curve = Some(Oid::from_der(member.data).map_err(|_| malformed())?.1),
                (Class::ContextSpecific, 1) => {
                    point = Some(BitString::from_der(member.data).map_err(|_| malformed())?.1)
                }
                _ => return Err(malformed()),
            }
            rest = behind;
        }
        let curve = curve.ok_or_else(|| KeyFault::Unsupported("it does not name its curve".to_owned()))?;
        let curve = known(&curve)?;
        let point = point.ok_or_else(|| KeyFault::Unsupported("its public half is left out".to_owned()))?;
        let pair = EcdsaKeyPair::from_private_key_and_public_key(
            curve.signing,
            private.as_ref(),
            &point.data,
            &SystemRandom::new(),
        );
        PrivateKey::elliptic(curve, pair.map_err(unsupported)?)
    }

    pub fn public(&self) -> &PublicKey {
        &self.public
    }

    /// Signs as [`PublicKey::algorithm`] says.
    pub fn sign(&self, text: &[u8]) -> Result<Vec<u8>, KeyFault> {
        let random = SystemRandom::new();
        match &self.pair {
            Pair::Rsa(pair) => {
                let mut signature = vec![0; pair.public().modulus_len()];
                let signed = pair.sign(&RSA_PKCS1_SHA256, &random, text, &mut signature);
                signed.map(|()| signature).map_err(|_| KeyFault::Signing)
            }
            Pair::Ecdsa(pair) => {
                let signature = pair.sign(&random, text).map_err(|_| KeyFault::Signing)?;
                Ok(signature.as_ref().to_owned())
            }
        }
    }
}

/// What signatures are checked with.
const RSA_BITS: std::ops::RangeInclusive<usize> = 2048..=8192;
const PKCS1: &str = "RSA PRIVATE KEY";
const SEC1: &str = "EC PRIVATE KEY";

/// The keys in a PEM file, public ones, or the public halves of private ones.
pub fn public_keys(text: &str) -> Result<Vec<PublicKey>, KeyFault> {
    let blocks = pem::parse_many(text).map_err(|_| KeyFault::NotPem)?;
    let mut keys = Vec::new();
    for block in &blocks {
        let malformed = || KeyFault::Malformed(block.tag().to_owned());
        match block.tag() {
            "PUBLIC KEY" => {
                let (_, info) = SubjectPublicKeyInfo::from_der(block.contents()).map_err(|_| malformed())?;
                keys.push(verifiable(of_info(&info)?)?);
            }
            "RSA PUBLIC KEY" => {
                let (_, key) = RSAPublicKey::from_der(block.contents()).map_err(|_| malformed())?;
                keys.push(verifiable(PublicKey::rsa(key.modulus, key.exponent).ok_or_else(malformed)?)?);
            }
            "CERTIFICATE" => {
                let (_, certificate) = X509Certificate::from_der(block.contents()).map_err(|_| malformed())?;
                keys.push(verifiable(of_info(certificate.public_key())?)?);
            }
            // What is neither is passed over, as the parameters that openssl puts before an elliptic key.
            _ => keys.extend(private(block).transpose()?.map(|key| key.public)),
        }
    }
    if keys.is_empty() { Err(KeyFault::Absent("usable")) } else { Ok(keys) }
}

/// A key of another length would be told to relying parties, and no token of it would ever be believed.
fn verifiable(key: PublicKey) -> Result<PublicKey, KeyFault> {
    match &key {
        PublicKey::Rsa { n, .. } if !RSA_BITS.contains(&(n.len() * 8)) => {
            Err(KeyFault::Unsupported(format!("{} bits, not {} to {}", n.len() * 8, RSA_BITS.start(), RSA_BITS.end())))
        }
        PublicKey::Rsa { .. } | PublicKey::P256(_) | PublicKey::P384(_) => Ok(key),
    }
}

/// The private key that a block is, if it is one.
fn private(block: &Pem) -> Option<Result<PrivateKey, KeyFault>> {
    match block.tag() {
        "PRIVATE KEY" => Some(PrivateKey::pkcs8(block.contents())),
        PKCS1 => Some(RsaKeyPair::from_der(block.contents()).map_err(unsupported).and_then(PrivateKey::rsa)),
        SEC1 => Some(PrivateKey::sec1(block.contents())),
        _ => None,
    }
}

fn of_info(info: &SubjectPublicKeyInfo<'_>) -> Result<PublicKey, KeyFault> {
    let malformed = || KeyFault::Malformed("PUBLIC KEY".to_owned());
    match info.parsed().map_err(|_| malformed())? {
        Parsed::RSA(key) => PublicKey::rsa(key.modulus, key.exponent).ok_or_else(malformed),
        Parsed::EC(point) => {
            let parameters = info.algorithm.parameters.as_ref().ok_or_else(malformed)?;
            let curve = known(&parameters.as_oid().map_err(|_| malformed())?)?;
            (curve.public)(point.data()).ok_or_else(malformed)
        }
        Parsed::DSA(_) | Parsed::GostR3410(_) | Parsed::GostR3410_2012(_) | Parsed::Unknown(_) => {
            Err(KeyFault::Unsupported(format!("algorithm {}", info.algorithm.algorithm)))
        }
    }
}

fn known(id: &Oid<'_>) -> Result<&'static Curve, KeyFault> {
    let id = id.to_id_string();
    CURVES.iter().find(|curve| curve.id == id).ok_or_else(|| KeyFault::Unsupported(format!("curve {id}")))
}

fn unsupported(why: impl std::fmt::Display) -> KeyFault {
    KeyFault::Unsupported(why.to_string())
}

#[cfg(test)]
mod tests;
