//! Signed tokens of service accounts: making and checking them. One key signs; those of others before and after it count too, so
//! that keys can be changed while tokens live, and so do issuers. Knows claims, not who is in the cluster.

use std::{collections::BTreeSet, fmt};

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::{
    algorithm::Algorithm,
    jws::{CLOCK_LEEWAY_S, Jws},
    key_file::{KeyFault, PrivateKey},
    public_key::PublicKey,
};

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
}

/// The keys and issuers of service account tokens.
pub struct TokenSigner {
    key: PrivateKey,
    /// The first one's name is in new tokens; tokens of all count.
    issuers: Vec<String>,
    /// The signing key's first.
    verification: Vec<VerificationKey>,
}

/// A key whose signatures count, and the name tokens know it by.
#[derive(Clone, Debug, PartialEq, Eq)]
struct VerificationKey {
    id: String,
    key: PublicKey,
}

impl TokenSigner {
    /// Signatures of `others` count as the key's own. There is an issuer.
    pub fn new(key: PrivateKey, others: Vec<PublicKey>, issuers: Vec<String>) -> Self {
        assert!(!issuers.is_empty(), "tokens name who issued them");
        let mut verification: Vec<VerificationKey> = Vec::new();
        for key in std::iter::once(key.public().clone()).chain(others) {
            if verification.iter().all(|known| known.key != key) {
                verification.push(VerificationKey { id: key.id(), key });
            }
        }
        TokenSigner { key, issuers, verification }
    }

    /// Who issues new tokens.
    pub fn issuer(&self) -> &str {
        &self.issuers[0]
    }

    /// Whose tokens count.
    pub fn issuers(&self) -> &[String] {
        &self.issuers
    }

    pub fn sign(&self, claims: &Claims) -> Result<String, KeyFault> {
        let own = &self.verification[0];
        let header = json!({"alg": own.key.algorithm().name(), "kid": own.id});
        let claims = serde_json::to_vec(claims).expect("claims are plain members");
        let mut token = BASE64URL.encode(header.to_string());
        token.push('.');
        token.push_str(&BASE64URL.encode(claims));
        let signature = self.key.sign(token.as_bytes())?;
        token.push('.');
        token.push_str(&BASE64URL.encode(signature));
        Ok(token)
    }

    /// Checks everything the token itself can show: signature, issuer, times. `now` in seconds since the epoch.
    pub fn verify(&self, token: &str, now: i64) -> Result<Claims, TokenFault> {
        let jws = Jws::split(token)?;
        let algorithm = Algorithm::named(&jws.header.alg).ok_or(TokenFault::Malformed)?;
        let signed = |one: &VerificationKey| one.key.algorithm() == algorithm && one.key.signed(&jws, algorithm);
        let named = |one: &&VerificationKey| jws.header.kid.as_ref() == Some(&one.id);
        // A name that nobody knows may be one that the key had elsewhere.
        let by_one = match self.verification.iter().find(named) {
            Some(named) => signed(named),
            None => self.verification.iter().any(signed),
        };
        if !by_one {
            return Err(TokenFault::Signature);
        }
        let claims: Claims = jws.claims()?;
        if !self.issuers.contains(&claims.iss) {
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
        json!({"keys": self.verification.iter().map(|one| one.key.json()).collect::<Vec<_>>()})
    }

    /// How tokens may be signed, in alphabetical order.
    pub fn algorithms(&self) -> BTreeSet<&'static str> {
        self.verification.iter().map(|one| one.key.algorithm().name()).collect()
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
        f.debug_struct("TokenSigner").field("verification", &self.verification).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::authn::key_file::public_keys;

    const ISSUER: &str = "https://issuer";

    fn signer() -> TokenSigner {
        signer_of(&rcgen::KeyPair::generate().unwrap(), &[])
    }

    fn signer_of(key: &rcgen::KeyPair, others: &[&str]) -> TokenSigner {
        let others = others.iter().flat_map(|pem| public_keys(pem).unwrap()).collect();
        TokenSigner::new(PrivateKey::read(&key.serialize_pem()).unwrap(), others, vec![ISSUER.to_owned()])
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
    }

    #[test]
    fn a_key_is_found_under_a_name_that_it_has_nowhere_here() {
        let signer = signer();
        let token = signer.sign(&claims()).unwrap();
        let payload = token.split('.').nth(1).unwrap();
        let signed = format!("{}.{payload}", BASE64URL.encode(r#"{"alg":"ES256","kid":"its former name"}"#));
        let signature = BASE64URL.encode(signer.key.sign(signed.as_bytes()).unwrap());
        assert_eq!(signer.verify(&format!("{signed}.{signature}"), 1500), Ok(claims()));
    }

    #[test]
    fn the_first_issuer_signs_and_tokens_of_all_count() {
        let key = rcgen::KeyPair::generate().unwrap().serialize_pem();
        let issuers = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect::<Vec<_>>();
        let of = |names: &[&str]| TokenSigner::new(PrivateKey::read(&key).unwrap(), Vec::new(), issuers(names));
        let token = of(&[ISSUER]).sign(&claims()).unwrap();
        let moved = of(&["https://new", ISSUER]);
        assert_eq!(moved.issuer(), "https://new");
        assert_eq!(moved.verify(&token, 1500), Ok(claims()));
        assert_eq!(of(&["https://new"]).verify(&token, 1500), Err(TokenFault::Issuer(ISSUER.to_owned())));
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
