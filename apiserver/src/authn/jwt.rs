//! Signed tokens (JWS, ES256): making and checking them. Knows claims, not who is in the cluster.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    },
};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

/// The claims of a service account token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    #[serde(default, deserialize_with = "one_or_many")]
    pub aud: Vec<String>,
    /// Seconds since the epoch, as all times here.
    pub exp: i64,
    pub iat: i64,
    pub iss: String,
    #[serde(default)]
    pub jti: String,
    #[serde(rename = "kubernetes.io")]
    pub kubernetes: KubernetesClaims,
    pub nbf: i64,
    pub sub: String,
}

/// What the token is bound to: it dies with any of these.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct KubernetesClaims {
    pub namespace: String,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub node: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub pod: Option<Reference>,
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub secret: Option<Reference>,
    pub serviceaccount: Reference,
}

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Reference {
    pub name: String,
    pub uid: String,
}

/// Why a token is not believed. Never told to the client in detail.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenFault {
    #[error("not a token of this server")]
    Malformed,
    #[error("signed by somebody else")]
    Signature,
    #[error("issued by {0}")]
    Issuer(String),
    #[error("expired")]
    Expired,
    #[error("not valid yet")]
    NotYet,
    #[error("token audiences {found:?} is invalid for the target audiences {wanted:?}")]
    Audience { found: Vec<String>, wanted: Vec<String> },
    #[error("{0}")]
    Unbound(String),
    #[error("the signing key is unusable")]
    Key,
}

/// The key of service account tokens.
pub struct TokenSigner {
    key: EcdsaKeyPair,
    random: SystemRandom,
    key_id: String,
    issuer: String,
}

/// Clocks of other servers may be this many seconds ahead.
const CLOCK_LEEWAY_S: i64 = 60;

impl TokenSigner {
    /// `pkcs8` is an ECDSA P-256 key.
    pub fn new(pkcs8: &[u8], issuer: String) -> Result<Self, TokenFault> {
        let random = SystemRandom::new();
        let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &random);
        let key = key.map_err(|_| TokenFault::Key)?;
        let key_id = BASE64URL.encode(Sha256::digest(key.public_key().as_ref()));
        Ok(TokenSigner { key, random, key_id, issuer })
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub fn sign(&self, claims: &Claims) -> Result<String, TokenFault> {
        let header = json!({"alg": "ES256", "kid": self.key_id});
        let claims = serde_json::to_vec(claims).map_err(|_| TokenFault::Malformed)?;
        let mut token = BASE64URL.encode(header.to_string());
        token.push('.');
        token.push_str(&BASE64URL.encode(claims));
        let signature = self.key.sign(&self.random, token.as_bytes()).map_err(|_| TokenFault::Key)?;
        token.push('.');
        token.push_str(&BASE64URL.encode(signature.as_ref()));
        Ok(token)
    }

    /// Checks everything the token itself can show: signature, issuer, times. `now` in seconds since the epoch.
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenFault> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenFault::Malformed)?;
        let header: Value = serde_json::from_slice(&decode(header)?).map_err(|_| TokenFault::Malformed)?;
        if header["alg"] != "ES256" {
            return Err(TokenFault::Malformed);
        }
        let public = UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, self.key.public_key().as_ref());
        public.verify(signed.as_bytes(), &decode(signature)?).map_err(|_| TokenFault::Signature)?;
        let claims: Claims = serde_json::from_slice(&decode(claims)?).map_err(|_| TokenFault::Malformed)?;
        if claims.iss != self.issuer {
            return Err(TokenFault::Issuer(claims.iss));
        }
        if claims.nbf > now + CLOCK_LEEWAY_S {
            return Err(TokenFault::NotYet);
        }
        if claims.exp <= now {
            return Err(TokenFault::Expired);
        }
        Ok(claims)
    }

    /// The public key as a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        // An uncompressed point: 0x04, x, y.
        let point = self.key.public_key().as_ref();
        assert!(point.len() == 65 && point[0] == 4, "a P-256 key has an uncompressed point of 65 bytes");
        let (x, y) = (BASE64URL.encode(&point[1..33]), BASE64URL.encode(&point[33..]));
        json!({"keys": [{"use": "sig", "kty": "EC", "kid": self.key_id, "crv": "P-256", "alg": "ES256", "x": x, "y": y}]})
    }
}

impl Claims {
    /// The audiences that are both the token's and wanted; none is a refusal.
    pub fn audiences(&self, wanted: &[String]) -> Result<Vec<String>, TokenFault> {
        let both: Vec<String> = self.aud.iter().filter(|one| wanted.contains(one)).cloned().collect();
        if both.is_empty() {
            return Err(TokenFault::Audience { found: self.aud.clone(), wanted: wanted.to_vec() });
        }
        Ok(both)
    }
}

impl fmt::Debug for TokenSigner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("TokenSigner").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    BASE64URL.decode(part).map_err(|_| TokenFault::Malformed)
}

/// `aud` may be a string or a list (RFC 7519, section 4.1.3).
fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    #[derive(Deserialize)]
    #[serde(untagged)]
    enum OneOrMany {
        One(String),
        Many(Vec<String>),
    }
    Ok(match OneOrMany::deserialize(deserializer)? {
        OneOrMany::One(one) => vec![one],
        OneOrMany::Many(many) => many,
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn signer() -> TokenSigner {
        let document = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &SystemRandom::new()).unwrap();
        TokenSigner::new(document.as_ref(), "https://issuer".to_owned()).unwrap()
    }

    fn claims() -> Claims {
        let serviceaccount = Reference { name: "robot".to_owned(), uid: "u1".to_owned() };
        Claims {
            aud: vec!["a".to_owned(), "b".to_owned()],
            exp: 2000,
            iat: 1000,
            iss: "https://issuer".to_owned(),
            jti: "j".to_owned(),
            kubernetes: KubernetesClaims {
                namespace: "ns".to_owned(),
                node: None,
                pod: None,
                secret: None,
                serviceaccount,
            },
            nbf: 1000,
            sub: "system:serviceaccount:ns:robot".to_owned(),
        }
    }

    #[test]
    fn a_token_is_believed_while_it_lives() {
        let signer = signer();
        let token = signer.sign(&claims()).unwrap();
        assert_eq!(signer.verify(&token, 1500), Ok(claims()));
        assert_eq!(signer.verify(&token, 1999), Ok(claims()));
        assert_eq!(signer.verify(&token, 2000), Err(TokenFault::Expired));
        assert_eq!(signer.verify(&token, 939), Err(TokenFault::NotYet));
    }

    #[test]
    fn forgeries_are_refused() {
        let signer = signer();
        let token = signer.sign(&claims()).unwrap();
        let parts: Vec<&str> = token.split('.').collect();
        let mut other = claims();
        other.sub = "system:serviceaccount:kube-system:admin".to_owned();
        let payload = BASE64URL.encode(serde_json::to_vec(&other).unwrap());
        let unsigned = BASE64URL.encode(r#"{"alg":"none"}"#);
        let cases = [
            (String::new(), TokenFault::Malformed),
            ("a.b".to_owned(), TokenFault::Malformed),
            (format!("{}.{payload}.{}", parts[0], parts[2]), TokenFault::Signature),
            (format!("{unsigned}.{payload}."), TokenFault::Malformed),
            (format!("{}.{}.", parts[0], parts[1]), TokenFault::Signature),
            (super::tests::signer().sign(&claims()).unwrap(), TokenFault::Signature),
        ];
        for (token, fault) in cases {
            assert_eq!(signer.verify(&token, 1500), Err(fault), "{token}");
        }
        other.iss = "https://elsewhere".to_owned();
        let elsewhere = signer.sign(&other).unwrap();
        assert_eq!(signer.verify(&elsewhere, 1500), Err(TokenFault::Issuer("https://elsewhere".to_owned())));
    }

    #[test]
    fn audiences_must_meet() {
        let wanted = |names: &[&str]| names.iter().map(|name| (*name).to_owned()).collect::<Vec<_>>();
        assert_eq!(claims().audiences(&wanted(&["b", "c"])), Ok(wanted(&["b"])));
        assert!(claims().audiences(&wanted(&["c"])).is_err());
    }
}
