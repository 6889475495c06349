//! `continue` tokens of lists: where the next page begins, and the revision all pages show. The same encoding as
//! Kubernetes': base64url of a small JSON document.

use base64::{Engine as _, alphabet, engine};
use chrono::{DateTime, Utc};
use kontiki_model::{Key, Revision, Scope, Status};
use kontiki_raft::Rest;
use kontiki_schema::decode_json;
use serde::{Deserialize, Serialize};

use super::limits::CONTINUE_TIME_MAX;
use crate::failure;

const VERSION: &str = "meta.k8s.io/v1";
/// As Go's RawURLEncoding, which does not look at trailing bits.
const BASE64: engine::GeneralPurpose = engine::GeneralPurpose::new(
    &alphabet::URL_SAFE,
    engine::GeneralPurposeConfig::new()
        .with_encode_padding(false)
        .with_decode_padding_mode(engine::DecodePaddingMode::RequireNone)
        .with_decode_allow_trailing_bits(true),
);

/// Where a list goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Token {
    pub rest: Rest,
    /// The revision of the first page; `None` goes on with the present state (an inconsistent continuation).
    pub revision: Option<Revision>,
    /// When it was given out.
    pub made: Option<DateTime<Utc>>,
}

#[derive(Serialize, Deserialize)]
struct Wire {
    #[serde(default)]
    v: String,
    #[serde(default)]
    rv: i64,
    #[serde(default)]
    start: String,
    /// How many objects are left: a member of this server's own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    left: Option<u64>,
    /// When it was given out, in Unix' seconds: another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    made: Option<i64>,
}

impl Token {
    /// Whether the state that it shows counts as forgotten.
    pub fn is_expired(&self, now: DateTime<Utc>) -> bool {
        self.revision.is_some() && self.made.is_some_and(|made| now - made > CONTINUE_TIME_MAX)
    }

    pub fn encode(&self) -> String {
        let Key { namespace, name, .. } = &self.rest.after;
        let place = if namespace.is_empty() { name.clone() } else { format!("{namespace}/{name}") };
        let revision = self.revision.map_or(-1, |revision| i64::try_from(revision).unwrap_or(-1));
        // The zero byte makes the start exclusive: the first key behind the last one told.
        let wire = Wire {
            v: VERSION.to_owned(),
            rv: revision,
            start: format!("{place}\0"),
            left: self.rest.left,
            made: self.made.map(|made| made.timestamp()),
        };
        BASE64.encode(serde_json::to_vec(&wire).expect("plain members serialize"))
    }

    pub fn decode(text: &str, scope: &Scope) -> Result<Self, Status> {
        let refused =
            |why: &str| failure::bad_request(format!("invalid continue token: continue key is not valid: {why}"));
        let bytes = BASE64.decode(text).map_err(|error| refused(&base64_error(&error, text)))?;
        if let Some(byte) = bytes.first().filter(|byte| !byte.is_ascii()) {
            // Go's scanner looks at bytes, not at characters.
            return Err(refused(&format!("invalid character '\\u{byte:04x}' looking for beginning of value")));
        }
        let document = decode_json(&bytes).map_err(|error| refused(&error.0))?;
        let wire: Wire = serde_json::from_value(document.value).map_err(|error| refused(&error.to_string()))?;
        if wire.v != VERSION {
            return Err(refused("server does not recognize this encoded version"));
        }
        let revision = match wire.rv {
            0 => return Err(refused(&format!("incorrect encoded start resourceVersion (version {VERSION})"))),
            rv => Revision::try_from(rv).ok(),
        };
        let start = wire.start.trim_end_matches('\0');
        if start.contains('\0') {
            return Err(refused(&format!("encoded start key holds a zero byte (version {VERSION})")));
        }
        if start.is_empty() {
            return Err(refused(&format!("encoded start key empty (version {VERSION})")));
        }
        let (namespace, name) = start.split_once('/').unwrap_or(("", start));
        if scope.namespace.as_deref().is_some_and(|wanted| wanted != namespace) {
            return Err(refused(&format!("encoded start key does not belong to this list (version {VERSION})")));
        }
        let after = Key::new(scope.resource.as_str(), namespace, name);
        let made = wire.made.and_then(|seconds| DateTime::from_timestamp(seconds, 0));
        Ok(Token { rest: Rest { after, left: wire.left.filter(|_| revision.is_some()) }, revision, made })
    }
}

fn base64_error(error: &base64::DecodeError, text: &str) -> String {
    let at = match error {
        base64::DecodeError::InvalidByte(at, _) | base64::DecodeError::InvalidLastSymbol(at, _) => *at,
        base64::DecodeError::InvalidLength(_) | base64::DecodeError::InvalidPadding => text.len() / 4 * 4,
    };
    format!("illegal base64 data at input byte {at}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn tokens_come_back_as_they_went() {
        let scope =
            |namespace: Option<&str>| Scope { resource: "pods".into(), namespace: namespace.map(str::to_owned) };
        for (namespace, name, revision) in [("a", "b.c", Some(7)), ("", "node", Some(1)), ("a", "b", None)] {
            let rest = Rest { after: Key::new("pods", namespace, name), left: revision.map(|_| 3) };
            let token = Token { rest, revision, made: revision.and_then(|_| DateTime::from_timestamp(1_000, 0)) };
            assert_eq!(Token::decode(&token.encode(), &scope(None)).unwrap(), token);
        }
        let rest = Rest { after: Key::new("pods", "a", "b"), left: None };
        let other = Token { rest, revision: Some(7), made: None }.encode();
        assert!(Token::decode(&other, &scope(Some("z"))).is_err());
    }

    #[test]
    fn tokens_show_their_state_for_a_while() {
        let at = |seconds: i64| DateTime::from_timestamp(seconds, 0).unwrap();
        let rest = Rest { after: Key::new("pods", "a", "b"), left: None };
        let token = |revision, made| Token { rest: rest.clone(), revision, made };
        let minutes = CONTINUE_TIME_MAX.num_seconds();
        for (token, now, expired) in [
            (token(Some(7), Some(at(1_000))), at(1_000 + minutes), false),
            (token(Some(7), Some(at(1_000))), at(1_001 + minutes), true),
            (token(Some(7), None), at(1_000_000), false),
            (token(None, Some(at(1_000))), at(1_000_000), false),
        ] {
            assert_eq!(token.is_expired(now), expired, "{token:?} at {now}");
        }
    }

    #[test]
    fn what_is_no_token_is_refused_in_kubernetes_words() {
        let scope = Scope { resource: "pods".into(), namespace: None };
        let told = |text: &str| Token::decode(text, &scope).unwrap_err().message;
        let start = "invalid continue token: continue key is not valid: ";
        assert_eq!(told("x"), format!("{start}illegal base64 data at input byte 0"));
        assert_eq!(told("garbage"), format!("{start}invalid character '\\u0081' looking for beginning of value"));
        let foreign = BASE64.encode(r#"{"v":"v9","rv":1,"start":"a\u0000"}"#);
        let split = BASE64.encode(r#"{"v":"meta.k8s.io/v1","rv":1,"start":"a/b\u0000c\u0000"}"#);
        assert_eq!(told(&split), format!("{start}encoded start key holds a zero byte (version meta.k8s.io/v1)"));
        assert_eq!(told(&foreign), format!("{start}server does not recognize this encoded version"));
    }
}
