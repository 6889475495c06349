//! An issuer's public keys, from its JSON Web Key Set (RFC 7517), and the algorithms that count. Which algorithm a signature is
//! checked with is never the token's choice alone: the configuration must allow it, and the key must be one for it.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::Deserialize;
use serde_json::Value;

use crate::{
    authn::{algorithm::Algorithm, jws::Jws, public_key::PublicKey},
    limits::ISSUER_KEYS_MAX,
};

/// A key, and what may be checked with it.
#[derive(Clone, Debug)]
pub struct IssuerKey {
    id: Option<String>,
    algorithm: Option<Algorithm>,
    public: PublicKey,
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
        named && meant && self.public.signed(jws, algorithm)
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
            ("RSA", _) => PublicKey::rsa(&number(self.n)?, &number(self.e)?),
            ("EC", Some("P-256")) => PublicKey::p256(&point(&number(self.x)?, &number(self.y)?)?),
            ("EC", Some("P-384")) => PublicKey::p384(&point(&number(self.x)?, &number(self.y)?)?),
            _ => None,
        }?;
        Some(IssuerKey { id: self.kid, algorithm, public })
    }
}

/// An uncompressed point; its coordinates are of one length, as the standard wants them (RFC 7518, section 6.2.1.2).
fn point(x: &[u8], y: &[u8]) -> Option<Vec<u8>> {
    (x.len() == y.len()).then(|| [&[4], x, y].concat())
}
