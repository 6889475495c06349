//! What a registry that answers 401 wants to be shown, and what a token server gives for it.

use http_auth::parser::ChallengeParser;
use reqwest::header::{HeaderMap, HeaderValue, WWW_AUTHENTICATE};
use serde::Deserialize;

/// What `WWW-Authenticate` asks for.
#[derive(Debug, PartialEq, Eq)]
pub enum Challenge {
    /// A token that the server at `realm` gives.
    Bearer { realm: String, service: Option<String> },
    /// Something else: a name and a password are all there is to show.
    Basic,
}

impl Challenge {
    pub fn of(headers: &HeaderMap<HeaderValue>) -> Option<Self> {
        let values = || headers.get_all(WWW_AUTHENTICATE).iter().filter_map(|value| value.to_str().ok());
        values().find_map(bearer).or_else(|| values().next().map(|_| Self::Basic))
    }
}

fn bearer(value: &str) -> Option<Challenge> {
    ChallengeParser::new(value).filter_map(Result::ok).find_map(|challenge| {
        let parameter = |name: &str| {
            let found = challenge.params.iter().find(|(key, _)| key.eq_ignore_ascii_case(name));
            found.map(|(_, value)| value.to_unescaped())
        };
        let realm = challenge.scheme.eq_ignore_ascii_case("bearer").then(|| parameter("realm"))??;
        Some(Challenge::Bearer { realm, service: parameter("service") })
    })
}

/// A token server's answer: some say `token`, some `access_token`, some both.
#[derive(Deserialize)]
pub struct Granted {
    token: Option<String>,
    access_token: Option<String>,
}

impl Granted {
    pub fn token(self) -> Option<String> {
        self.token.or(self.access_token)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_token_is_preferred() {
        let bearer = |service: Option<&str>| {
            Some(Challenge::Bearer { realm: "https://auth.example/token".into(), service: service.map(Into::into) })
        };
        let table: [(&[&str], Option<Challenge>); 8] = [
            (&[], None),
            (&[r#"Basic realm="x""#], Some(Challenge::Basic)),
            (&["Basic"], Some(Challenge::Basic)),
            (&[r#"Negotiate"#], Some(Challenge::Basic)),
            (
                &[r#"Bearer realm="https://auth.example/token",service="reg",scope="repository:a:pull""#],
                bearer(Some("reg")),
            ),
            (&[r#"bearer REALM="https://auth.example/token""#], bearer(None)),
            (&[r#"Basic realm="x", Bearer realm="https://auth.example/token""#], bearer(None)),
            (&[r#"Basic realm="x""#, r#"Bearer realm="https://auth.example/token""#], bearer(None)),
        ];
        for (values, expected) in table {
            let mut headers = HeaderMap::new();
            for value in values {
                headers.append(WWW_AUTHENTICATE, HeaderValue::from_str(value).unwrap());
            }
            assert_eq!(Challenge::of(&headers), expected, "{values:?}");
        }
    }
}
