//! Signed tokens (JWS, ES256): making and checking them. One key signs; those of others before and after it count too, so
//! that keys can be changed while tokens live. Knows claims, not who is in the cluster.

use std::fmt;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use ring::{
    rand::SystemRandom,
    signature::{
        ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair as _, UnparsedPublicKey,
    },
};
use rustls_pki_types::{PrivatePkcs8KeyDer, SubjectPublicKeyInfoDer, pem::PemObject as _};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use x509_parser::{prelude::FromDer as _, x509::SubjectPublicKeyInfo};

use super::jws::{CLOCK_LEEWAY_S, Jws};

/// The claims of a service account token.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claims {
    #[serde(default, deserialize_with = "super::jws::one_or_many")]
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

/// The keys of service account tokens.
pub struct TokenSigner {
    key: EcdsaKeyPair,
    random: SystemRandom,
    issuer: String,
    /// The signing key's first.
    verification: Vec<VerificationKey>,
}

/// A public key whose signatures count: an uncompressed point of P-256 (0x04, x, y), and the name tokens know it by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct VerificationKey {
    point: Vec<u8>,
    id: String,
}

impl TokenSigner {
    /// `pkcs8` is an ECDSA P-256 key; signatures of `others` count as its own.
    pub fn new(pkcs8: &[u8], others: Vec<VerificationKey>, issuer: String) -> Result<Self, TokenFault> {
        let random = SystemRandom::new();
        let key = key_pair(pkcs8)?;
        let mut verification = vec![VerificationKey::new(key.public_key().as_ref())?];
        for other in others {
            if !verification.contains(&other) {
                verification.push(other);
            }
        }
        Ok(TokenSigner { key, random, issuer, verification })
    }

    pub fn issuer(&self) -> &str {
        &self.issuer
    }

    pub fn sign(&self, claims: &Claims) -> Result<String, TokenFault> {
        let header = json!({"alg": "ES256", "kid": self.verification[0].id});
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
        let jws = Jws::split(token)?;
        if jws.header.alg != "ES256" {
            return Err(TokenFault::Malformed);
        }
        let named = |key: &&VerificationKey| jws.header.kid.as_ref().is_none_or(|kid| *kid == key.id);
        if !self.verification.iter().filter(named).any(|key| key.signed(jws.signed, &jws.signature)) {
            return Err(TokenFault::Signature);
        }
        let claims: Claims = jws.claims()?;
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

    /// The public keys as a JSON Web Key Set.
    pub fn key_set(&self) -> Value {
        json!({"keys": self.verification.iter().map(VerificationKey::json).collect::<Vec<_>>()})
    }
}

impl VerificationKey {
    fn new(point: &[u8]) -> Result<Self, TokenFault> {
        if point.len() != 65 || point[0] != 4 {
            return Err(TokenFault::Key);
        }
        Ok(VerificationKey { point: point.to_owned(), id: BASE64URL.encode(Sha256::digest(point)) })
    }

    /// The public half of a private key, in PKCS#8 DER.
    pub fn of_private(pkcs8: &[u8]) -> Result<Self, TokenFault> {
        VerificationKey::new(key_pair(pkcs8)?.public_key().as_ref())
    }

    /// The keys in a PEM file, public ones or private ones.
    pub fn read(pem: &str) -> Result<Vec<Self>, TokenFault> {
        let mut keys = Vec::new();
        for one in SubjectPublicKeyInfoDer::pem_slice_iter(pem.as_bytes()) {
            let der = one.map_err(|_| TokenFault::Key)?;
            let (_, info) = SubjectPublicKeyInfo::from_der(&der).map_err(|_| TokenFault::Key)?;
            keys.push(VerificationKey::new(&info.subject_public_key.data)?);
        }
        for one in PrivatePkcs8KeyDer::pem_slice_iter(pem.as_bytes()) {
            let der = one.map_err(|_| TokenFault::Key)?;
            keys.push(VerificationKey::of_private(der.secret_pkcs8_der())?);
        }
        if keys.is_empty() { Err(TokenFault::Key) } else { Ok(keys) }
    }

    fn signed(&self, text: &[u8], signature: &[u8]) -> bool {
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, &self.point).verify(text, signature).is_ok()
    }

    fn json(&self) -> Value {
        let (x, y) = (BASE64URL.encode(&self.point[1..33]), BASE64URL.encode(&self.point[33..]));
        json!({"use": "sig", "kty": "EC", "kid": self.id, "crv": "P-256", "alg": "ES256", "x": x, "y": y})
    }
}

fn key_pair(pkcs8: &[u8]) -> Result<EcdsaKeyPair, TokenFault> {
    EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8, &SystemRandom::new()).map_err(|_| TokenFault::Key)
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
        f.debug_struct("TokenSigner").field("verification", &self.verification).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn signer() -> TokenSigner {
        signer_of(&rcgen::KeyPair::generate().unwrap(), &[])
    }

    fn signer_of(key: &rcgen::KeyPair, others: &[&str]) -> TokenSigner {
        let others = others.iter().flat_map(|pem| VerificationKey::read(pem).unwrap()).collect();
        TokenSigner::new(&key.serialize_der(), others, "https://issuer".to_owned()).unwrap()
    }

    #[test]
    fn tokens_outlive_the_change_of_the_key_that_signed_them() {
        let (old, new) = (rcgen::KeyPair::generate().unwrap(), rcgen::KeyPair::generate().unwrap());
        let token = signer_of(&old, &[]).sign(&claims()).unwrap();
        assert_eq!(signer_of(&new, &[]).verify(&token, 1500), Err(TokenFault::Signature));
        for pem in [old.public_key_pem(), old.serialize_pem()] {
            let changed = signer_of(&new, &[&pem, &new.public_key_pem()]);
            assert_eq!(changed.verify(&token, 1500), Ok(claims()));
            assert_eq!(changed.verify(&changed.sign(&claims()).unwrap(), 1500), Ok(claims()));
            assert_eq!(changed.key_set()["keys"].as_array().unwrap().len(), 2, "each key once");
        }
        assert_eq!(VerificationKey::read("no key"), Err(TokenFault::Key));
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
