//! Leaving HTTP: which protocol the client wants to go on in, and the answer that agrees to it.

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use hyper::{body::Incoming, upgrade::Upgraded};
use tokio_tungstenite::tungstenite::handshake::derive_accept_key;

use crate::server::{
    body::{self, Body},
    failure::{self, Refused},
    service::Service,
};

/// Over SPDY, the header that sub-protocols are agreed on by.
const SPDY_PROTOCOL: HeaderName = HeaderName::from_static("x-stream-protocol-version");

/// What a client and this server have agreed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Agreed {
    WebSocket(&'static str),
    Spdy(&'static str),
}

/// The sub-protocols that an endpoint speaks.
pub struct Offer {
    pub websocket: &'static [&'static str],
    pub spdy: &'static [&'static str],
}

impl Offer {
    /// The client's order of preference counts; one that names none means the sub-protocol without a name.
    pub fn agree(&self, headers: &HeaderMap) -> Result<Agreed, Refused> {
        let asks = |protocol: &str| words(headers, &header::UPGRADE).any(|word| word.eq_ignore_ascii_case(protocol));
        let (name, ours) = match (asks("websocket"), asks("spdy/3.1")) {
            (true, _) => (&header::SEC_WEBSOCKET_PROTOCOL, self.websocket),
            (false, true) => (&SPDY_PROTOCOL, self.spdy),
            (false, false) => {
                let message =
                    "unable to upgrade: ask for it by the headers Connection and Upgrade (websocket or SPDY/3.1)";
                return Err(failure::bad_request(message));
            }
        };
        let mut theirs: Vec<&str> = words(headers, name).collect();
        if theirs.is_empty() {
            theirs.push("");
        }
        match theirs.iter().find_map(|theirs| ours.iter().find(|ours| *ours == theirs)) {
            Some(protocol) if name == SPDY_PROTOCOL => Ok(Agreed::Spdy(protocol)),
            Some(protocol) => Ok(Agreed::WebSocket(protocol)),
            None => {
                let message = format!(
                    "unable to upgrade: unable to negotiate protocol: client supports {theirs:?}, server accepts {ours:?}"
                );
                Err(failure::bad_request(message))
            }
        }
    }
}

/// Answers that the protocol is switched, and runs `session` once it is. It ends with the server.
pub fn switch<W: Future<Output = ()> + Send + 'static>(
    service: &Service,
    agreed: Agreed,
    request: Request<Incoming>,
    session: impl FnOnce(Upgraded) -> W + Send + 'static,
) -> Result<Response<Body>, Refused> {
    let mut response = Response::new(body::empty());
    *response.status_mut() = StatusCode::SWITCHING_PROTOCOLS;
    let headers = response.headers_mut();
    headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
    match agreed {
        Agreed::WebSocket(protocol) => {
            let key = request.headers().get(header::SEC_WEBSOCKET_KEY);
            let key = key.ok_or_else(|| failure::bad_request("unable to upgrade: no Sec-WebSocket-Key"))?;
            let accept = HeaderValue::from_str(&derive_accept_key(key.as_bytes()));
            headers.insert(header::SEC_WEBSOCKET_ACCEPT, accept.map_err(|error| failure::internal(&error))?);
            if !protocol.is_empty() {
                headers.insert(header::SEC_WEBSOCKET_PROTOCOL, HeaderValue::from_static(protocol));
            }
            headers.insert(header::UPGRADE, HeaderValue::from_static("websocket"));
        }
        Agreed::Spdy(protocol) => {
            headers.insert(SPDY_PROTOCOL, HeaderValue::from_static(protocol));
            headers.insert(header::UPGRADE, HeaderValue::from_static("SPDY/3.1"));
        }
    }
    let stopping = service.stopping.clone();
    service.tasks.spawn(stopping.run_until_cancelled_owned(async move {
        match hyper::upgrade::on(request).await {
            Ok(upgraded) => session(upgraded).await,
            Err(error) => tracing::debug!(%error, "the client did not go on in another protocol"),
        }
    }));
    Ok(response)
}

/// The words of a header's comma-separated list, in all its lines.
fn words<'a>(headers: &'a HeaderMap, name: &HeaderName) -> impl Iterator<Item = &'a str> {
    let lines = headers.get_all(name).into_iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(',')).map(str::trim)
}

#[cfg(test)]
mod tests {
    use super::*;

    const OFFER: Offer = Offer { websocket: &["v5", "v4", ""], spdy: &["v4", "v3"] };

    fn agree(headers: &[(&HeaderName, &'static str)]) -> Option<Agreed> {
        let headers = headers.iter().map(|(name, value)| ((*name).clone(), HeaderValue::from_static(value)));
        OFFER.agree(&headers.collect()).ok()
    }

    #[test]
    fn the_client_s_first_choice_is_taken() {
        let (upgrade, websocket, spdy) = (&header::UPGRADE, &header::SEC_WEBSOCKET_PROTOCOL, &SPDY_PROTOCOL);
        let table: [(&[_], _); 9] = [
            (&[(upgrade, "websocket"), (websocket, "v4, v5")], Some(Agreed::WebSocket("v4"))),
            (&[(upgrade, "WebSocket"), (websocket, "v9,v5")], Some(Agreed::WebSocket("v5"))),
            (&[(upgrade, "websocket"), (websocket, "v9")], None),
            (&[(upgrade, "websocket"), (spdy, "v4")], Some(Agreed::WebSocket(""))),
            (&[(upgrade, "SPDY/3.1")], None),
            (&[(upgrade, "SPDY/3.1"), (spdy, "v3")], Some(Agreed::Spdy("v3"))),
            (&[(upgrade, "SPDY/3.1"), (websocket, "v4")], None),
            (&[(upgrade, "h2c"), (websocket, "v4")], None),
            (&[(websocket, "v4")], None),
        ];
        for (headers, expected) in table {
            assert_eq!(agree(headers), expected, "{headers:?}");
        }
    }
}
