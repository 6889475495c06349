//! A signed token in compact form (RFC 7515), taken apart. Nothing in it is believed: who checks the signature with which keys
//! and algorithms is the business of those who know the issuer.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use serde::{Deserialize, de::DeserializeOwned};
use serde_json::Value;

use super::TokenFault;

/// Clocks of others may be this many seconds ahead.
pub const CLOCK_LEEWAY_S: i64 = 60;

#[derive(Debug)]
pub struct Jws<'a> {
    pub header: Header,
    /// What the signature is of.
    pub signed: &'a [u8],
    pub signature: Vec<u8>,
    claims: Vec<u8>,
}

#[derive(Debug, Deserialize)]
pub struct Header {
    pub alg: String,
    /// The name of the key that signed.
    pub kid: Option<String>,
    /// Extensions that must be understood, and none is.
    crit: Option<Value>,
}

impl<'a> Jws<'a> {
    pub fn split(token: &'a str) -> Result<Self, TokenFault> {
        let (signed, signature) = token.rsplit_once('.').ok_or(TokenFault::Malformed)?;
        let (header, claims) = signed.split_once('.').ok_or(TokenFault::Malformed)?;
        let header: Header = serde_json::from_slice(&decode(header)?).map_err(|_| TokenFault::Malformed)?;
        if header.crit.is_some() {
            return Err(TokenFault::Malformed);
        }
        Ok(Jws { header, signed: signed.as_bytes(), signature: decode(signature)?, claims: decode(claims)? })
    }

    pub fn claims<T: DeserializeOwned>(&self) -> Result<T, TokenFault> {
        serde_json::from_slice(&self.claims).map_err(|_| TokenFault::Malformed)
    }
}

fn decode(part: &str) -> Result<Vec<u8>, TokenFault> {
    BASE64URL.decode(part).map_err(|_| TokenFault::Malformed)
}

/// `aud` may be a string or a list (RFC 7519, section 4.1.3).
pub fn one_or_many<'de, D: serde::Deserializer<'de>>(deserializer: D) -> Result<Vec<String>, D::Error> {
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
