//! An issuer's public keys, from its JSON Web Key Set (RFC 7517), and the algorithms that count. Which algorithm a signature is
//! checked with is never the token's choice alone: the configuration must allow it, and the key must be one for it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P384_SHA384_FIXED, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384, RSA_PSS_2048_8192_SHA512,
    RsaParameters, RsaPublicKeyComponents, UnparsedPublicKey,
};
use serde::Deserialize;
use serde_json::Value;

use crate::{authn::jws::Jws, limits::ISSUER_KEYS_MAX};

/// How tokens may be signed: what ring has of Kubernetes' list, which is all but ES512.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Algorithm {
    Es256,
    Es384,
    Ps256,
    Ps384,
    Ps512,
    Rs256,
    Rs384,
    Rs512,
}

/// A key, and what may be checked with it.
#[derive(Clone, Debug)]
pub struct IssuerKey {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    public: Public,
}

#[derive(Clone, Debug)]
enum Public {
    Rsa { n: Vec<u8>, e: Vec<u8> },
    P256(Vec<u8>),
    P384(Vec<u8>),
}

/// A key as a set lists it. Sets hold keys of other kinds and for other uses too: those are passed over.
#[derive(Deserialize)]
struct Jwk {
    kty: String,
    kid: Option<String>,
    #[serde(rename = "use")]
    purpose: Option<String>,
    alg: Option<String>,
    crv: Option<String>,
    n: Option<String>,
    e: Option<String>,
    x: Option<String>,
    y: Option<String>,
}

impl Algorithm {
    pub const ALL: [Algorithm; 8] = [
        Algorithm::Es256,
        Algorithm::Es384,
        Algorithm::Ps256,
        Algorithm::Ps384,
        Algorithm::Ps512,
        Algorithm::Rs256,
        Algorithm::Rs384,
        Algorithm::Rs512,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Algorithm::Es256 => "ES256",
            Algorithm::Es384 => "ES384",
            Algorithm::Ps256 => "PS256",
            Algorithm::Ps384 => "PS384",
            Algorithm::Ps512 => "PS512",
            Algorithm::Rs256 => "RS256",
            Algorithm::Rs384 => "RS384",
            Algorithm::Rs512 => "RS512",
        }
    }

    pub fn named(name: &str) -> Option<Self> {
        Algorithm::ALL.into_iter().find(|one| one.name() == name)
    }

    fn rsa(self) -> Option<&'static RsaParameters> {
        match self {
            Algorithm::Ps256 => Some(&RSA_PSS_2048_8192_SHA256),
            Algorithm::Ps384 => Some(&RSA_PSS_2048_8192_SHA384),
            Algorithm::Ps512 => Some(&RSA_PSS_2048_8192_SHA512),
            Algorithm::Rs256 => Some(&RSA_PKCS1_2048_8192_SHA256),
            Algorithm::Rs384 => Some(&RSA_PKCS1_2048_8192_SHA384),
            Algorithm::Rs512 => Some(&RSA_PKCS1_2048_8192_SHA512),
            Algorithm::Es256 | Algorithm::Es384 => None,
        }
    }
}

impl IssuerKey {
    /// The keys of a set that signatures can be checked with; `None` if it is no set.
    pub fn read(set: &[u8]) -> Option<Vec<Self>> {
        let set: Value = serde_json::from_slice(set).ok()?;
        let keys = set["keys"].as_array()?.iter().take(ISSUER_KEYS_MAX);
        Some(keys.filter_map(|key| Jwk::deserialize(key).ok()?.key()).collect())
    }

    /// Whether this key signed the token in this way.
    pub fn signed(&self, jws: &Jws<'_>, algorithm: Algorithm) -> bool {
        let named = jws.header.kid.is_none() || jws.header.kid == self.id;
        let meant = self.algorithm.is_none_or(|own| own == algorithm);
        if !named || !meant {
            return false;
        }
        let verified = match (&self.public, algorithm) {
            (Public::P256(point), Algorithm::Es256) => {
                UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, point).verify(jws.signed, &jws.signature)
            }
            (Public::P384(point), Algorithm::Es384) => {
                UnparsedPublicKey::new(&ECDSA_P384_SHA384_FIXED, point).verify(jws.signed, &jws.signature)
            }
            (Public::Rsa { n, e }, algorithm) => match algorithm.rsa() {
                Some(parameters) => RsaPublicKeyComponents { n, e }.verify(parameters, jws.signed, &jws.signature),
                None => return false,
            },
            (Public::P256(_) | Public::P384(_), _) => return false,
        };
        verified.is_ok()
    }
}

impl Jwk {
    fn key(self) -> Option<IssuerKey> {
        if self.purpose.is_some_and(|purpose| purpose != "sig") {
            return None;
        }
        let algorithm = match &self.alg {
            Some(name) => Some(Algorithm::named(name)?),
            None => None,
        };
        let number = |text: Option<String>| BASE64URL.decode(text?).ok();
        let public = match (self.kty.as_str(), self.crv.as_deref()) {
            ("RSA", _) => Public::Rsa { n: unsigned(number(self.n)?), e: unsigned(number(self.e)?) },
            ("EC", Some("P-256")) => Public::P256(point(&number(self.x)?, &number(self.y)?, 32)?),
            ("EC", Some("P-384")) => Public::P384(point(&number(self.x)?, &number(self.y)?, 48)?),
            _ => return None,
        };
        Some(IssuerKey { id: self.kid, algorithm, public })
    }
}

/// Without leading zeros, as ring wants numbers.
fn unsigned(number: Vec<u8>) -> Vec<u8> {
    number.into_iter().skip_while(|byte| *byte == 0).collect()
}

/// An uncompressed point of a curve whose coordinates have so many bytes.
fn point(x: &[u8], y: &[u8], length: usize) -> Option<Vec<u8>> {
    (x.len() == length && y.len() == length).then(|| [&[4], x, y].concat())
}
