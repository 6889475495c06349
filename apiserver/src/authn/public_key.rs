//! A public key whose signatures of tokens count, and the forms others know it in: a JSON Web Key (RFC 7517), an X.509
//! SubjectPublicKeyInfo, and the name that Kubernetes makes of that.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RsaPublicKeyComponents, UnparsedPublicKey, VerificationAlgorithm,
};
use rustls_pki_types::alg_id;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use super::{algorithm::Algorithm, jws::Jws};

/// Numbers are big-endian without leading zeros, points of curves uncompressed: 4, x, y.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PublicKey {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

const INTEGER: u8 = 0x02;
const BIT_STRING: u8 = 0x03;
const SEQUENCE: u8 = 0x30;

impl PublicKey {
    /// `None` if one of the numbers is zero.
    pub fn rsa(n: &[u8], e: &[u8]) -> Option<Self> {
        let unsigned = |number: &[u8]| -> Vec<u8> { number.iter().copied().skip_while(|byte| *byte == 0).collect() };
        let (n, e) = (unsigned(n), unsigned(e));
        (!n.is_empty() && !e.is_empty()).then_some(PublicKey::Rsa { n, e })
    }

    pub fn p256(point: &[u8]) -> Option<Self> {
        uncompressed(point, 32).map(PublicKey::P256)
    }

    pub fn p384(point: &[u8]) -> Option<Self> {
        uncompressed(point, 48).map(PublicKey::P384)
    }

    /// How the cluster's own tokens are signed with such a key, as Kubernetes has it.
    pub fn algorithm(&self) -> Algorithm {
        match self {
            PublicKey::Rsa { .. } => Algorithm::Rs256,
            PublicKey::P256(_) => Algorithm::Es256,
            PublicKey::P384(_) => Algorithm::Es384,
        }
    }

    /// Whether this key signed the token in this way.
    pub fn signed(&self, jws: &Jws<'_>, algorithm: Algorithm) -> bool {
        let on_curve = |how: &'static dyn VerificationAlgorithm, point: &[u8]| {
            UnparsedPublicKey::new(how, point).verify(jws.signed, &jws.signature).is_ok()
        };
        match (self, algorithm) {
            (PublicKey::P256(point), Algorithm::Es256) => on_curve(&ECDSA_P256_SHA256_FIXED, point),
            (PublicKey::P384(point), Algorithm::Es384) => on_curve(&ECDSA_P384_SHA384_FIXED, point),
            (PublicKey::Rsa { n, e }, algorithm) => algorithm.rsa().is_some_and(|parameters| {
                RsaPublicKeyComponents { n, e }.verify(parameters, jws.signed, &jws.signature).is_ok()
            }),
            (PublicKey::P256(_) | PublicKey::P384(_), _) => false,
        }
    }

    /// SubjectPublicKeyInfo (RFC 5280) in DER.
    pub fn pkix(&self) -> Vec<u8> {
        let (algorithm, key) = match self {
            PublicKey::Rsa { n, e } => {
                let numbers = [element(INTEGER, &positive(n)), element(INTEGER, &positive(e))].concat();
                (alg_id::RSA_ENCRYPTION, element(SEQUENCE, &numbers))
            }
            PublicKey::P256(point) => (alg_id::ECDSA_P256, point.clone()),
            PublicKey::P384(point) => (alg_id::ECDSA_P384, point.clone()),
        };
        // No bits of the last byte are unused.
        let key = [&[0], key.as_slice()].concat();
        element(SEQUENCE, &[element(SEQUENCE, &algorithm), element(BIT_STRING, &key)].concat())
    }

    /// The name under which tokens and key sets know it (`kid`).
    pub fn id(&self) -> String {
        BASE64URL.encode(Sha256::digest(self.pkix()))
    }

    /// The key as a set of keys lists it.
    pub fn json(&self) -> Value {
        let number = |bytes: &[u8]| BASE64URL.encode(bytes);
        let (id, algorithm) = (self.id(), self.algorithm().name());
        let on_curve = |curve: &str, point: &[u8]| {
            let (x, y) = point[1..].split_at(point.len() / 2);
            json!({"use": "sig", "kty": "EC", "kid": id, "crv": curve, "alg": algorithm, "x": number(x), "y": number(y)})
        };
        match self {
            PublicKey::Rsa { n, e } => {
                json!({"use": "sig", "kty": "RSA", "kid": id, "alg": algorithm, "n": number(n), "e": number(e)})
            }
            PublicKey::P256(point) => on_curve("P-256", point),
            PublicKey::P384(point) => on_curve("P-384", point),
        }
    }
}

/// The point, if it is one of a curve whose coordinates have so many bytes.
fn uncompressed(point: &[u8], coordinate: usize) -> Option<Vec<u8>> {
    (point.len() == 1 + 2 * coordinate && point[0] == 4).then(|| point.to_owned())
}

/// The number as DER writes one that is not negative.
fn positive(number: &[u8]) -> Vec<u8> {
    let sign: &[u8] = if number.first().is_some_and(|byte| byte & 0x80 != 0) { &[0] } else { &[] };
    [sign, number].concat()
}

fn element(tag: u8, contents: &[u8]) -> Vec<u8> {
    let length = contents.len();
    let mut der = vec![tag];
    match u8::try_from(length) {
        Ok(short) if short < 0x80 => der.push(short),
        _ => {
            let bytes: Vec<u8> = length.to_be_bytes().into_iter().skip_while(|byte| *byte == 0).collect();
            der.push(0x80 | u8::try_from(bytes.len()).expect("a length has eight bytes at most"));
            der.extend(bytes);
        }
    }
    der.extend(contents);
    der
}
