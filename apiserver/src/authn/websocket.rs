//! The token of a client that cannot set Authorization on a WebSocket: a browser puts it among the protocols that it offers.

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use http::{HeaderMap, HeaderValue, header};
use kontiki_model::Status;

use crate::{failure, websocket};

const PREFIX: &str = "base64url.bearer.authorization.k8s.io.";

/// Moves the token to where tokens stand: whoever the request is passed on to is offered it no more. Another protocol must be left to
/// agree on.
pub fn take_token(headers: &mut HeaderMap) -> Result<(), Status> {
    if !websocket::is_asked_for(headers) {
        return Ok(());
    }
    let offered = websocket::offered(headers).into_iter().map(str::to_owned);
    let (tokens, others): (Vec<_>, Vec<_>) = offered.partition(|protocol| protocol.starts_with(PREFIX));
    if tokens.is_empty() {
        return Ok(());
    }
    let [token] = &tokens[..] else { return Err(failure::unauthorized()) };
    let token = BASE64URL.decode(&token[PREFIX.len()..]).ok().and_then(|token| String::from_utf8(token).ok());
    let bearer = token.and_then(|token| HeaderValue::from_str(&format!("Bearer {token}")).ok());
    let left = HeaderValue::from_str(&others.join(",")).ok().filter(|_| !others.is_empty());
    let (Some(bearer), Some(left)) = (bearer, left) else { return Err(failure::unauthorized()) };
    headers.insert(header::SEC_WEBSOCKET_PROTOCOL, left);
    headers.entry(header::AUTHORIZATION).or_insert(bearer);
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// What stands in both headers afterwards, or nothing where the request is refused.
    fn taken(upgrade: &'static str, offered: &[&str]) -> Option<(String, String)> {
        let mut headers = HeaderMap::new();
        headers.insert(header::UPGRADE, HeaderValue::from_static(upgrade));
        for one in offered {
            headers.append(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_str(one).unwrap());
        }
        take_token(&mut headers).ok()?;
        let text = |name: header::HeaderName| {
            let all = headers.get_all(name).iter().map(|value| value.to_str().unwrap());
            all.collect::<Vec<_>>().join("|")
        };
        Some((text(header::AUTHORIZATION), text(header::SEC_WEBSOCKET_PROTOCOL)))
    }

    #[test]
    fn a_token_among_the_protocols_is_one_of_the_request() {
        let token = format!("{PREFIX}YWJj");
        let some = |authorization: &str, left: &str| Some((authorization.to_owned(), left.to_owned()));
        assert_eq!(
            taken("websocket", &[&format!("{token}, v5.channel.k8s.io")]),
            some("Bearer abc", "v5.channel.k8s.io")
        );
        assert_eq!(taken("WebSocket", &["a", &token, "b,c"]), some("Bearer abc", "a,b,c"));
        assert_eq!(taken("websocket", &["a, b"]), some("", "a, b"));
        assert_eq!(taken("SPDY/3.1", &[&token]), some("", &token));
        let wrong = format!("{PREFIX}Y!");
        let (token, wrong) = (token.as_str(), wrong.as_str());
        for refused in [&[token][..], &[token, token, "a"], &[wrong, "a"]] {
            assert_eq!(taken("websocket", refused), None, "{refused:?}");
        }
    }
}
