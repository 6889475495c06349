//! What a node agent refused, as its client expects to be told.
//!
//! Who asks for streams gets the agent's words as they are: clients put "unable to upgrade connection: " before them. Who asks for
//! streams over a WebSocket whose protocol has a channel for errors is told there.

use http::StatusCode;
use http_body_util::BodyExt as _;
use kontiki_model::Status;
use serde_json::Value;

use super::super::{limits::NODE_ERROR_BYTES_MAX, object::text};
use crate::{
    content, failure,
    request::{ApiBody, ApiRequest, ApiResponse},
    websocket::{self, Handshake, Payload},
};

/// The protocol in which Kubernetes' own server agrees to a WebSocket before it asks the agent.
const AGREED_TO_FIRST: &str = "v5.channel.k8s.io";
const ERROR_CHANNEL: u8 = 3;

/// How a client is told that it gets no streams.
pub struct Streams {
    errors_have_a_channel: Option<Handshake>,
}

impl Streams {
    /// `None` for requests that ask for no streams.
    pub fn asked_for(request: &ApiRequest) -> Result<Option<Self>, Status> {
        if request.upgrade.is_none() {
            return Ok(None);
        }
        let has_channel = websocket::offered(&request.headers).contains(&AGREED_TO_FIRST);
        let handshake = match has_channel {
            true => Handshake::of_known(request, &[(AGREED_TO_FIRST, Payload::Binary)])?,
            false => None,
        };
        Ok(Some(Streams { errors_have_a_channel: handshake.map(|(handshake, _)| handshake) }))
    }

    pub async fn refuse(self, response: ApiResponse) -> ApiResponse {
        let code = response.status();
        let said = words(&beginning(response.into_body()).await);
        let Some(handshake) = self.errors_have_a_channel else {
            return content::response(code, "text/plain; charset=utf-8", said);
        };
        let status = failure::internal(format!("unable to upgrade connection: {said}"));
        let mut message = vec![ERROR_CHANNEL];
        message.extend(content::status_value(&status).to_string().into_bytes());
        handshake.answer(content::full(message), Payload::Binary)
    }
}

/// What the agent refused, as a failure in Kubernetes' form. A 400 of an agent is meant for people and passed on.
pub async fn told(response: ApiResponse, method: &str, of: &str, name: &str) -> Status {
    let code = response.status();
    let said = beginning(response.into_body()).await;
    let message = words(&said);
    match code {
        StatusCode::BAD_REQUEST => failure::bad_request(message),
        StatusCode::NOT_FOUND => failure::agent(
            404,
            "NotFound",
            format!("the server could not find the requested resource ({method} {of} {name})"),
            message,
        ),
        StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => failure::agent(
            500,
            "InternalError",
            format!("the node agent does not accept this server's identity ({method} {of} {name})"),
            message,
        ),
        code => failure::agent(
            code.as_u16(),
            "InternalError",
            format!(
                "an error on the server ({message:?}) has prevented the request from succeeding ({method} {of} {name})"
            ),
            message,
        ),
    }
}

/// An agent's words: plain text from a kubelet, the message of a `Status` from ours.
fn words(said: &[u8]) -> String {
    let status = serde_json::from_slice::<Value>(said).ok().filter(|status| text(status, "/kind") == "Status");
    match status {
        Some(status) => text(&status, "/message").to_owned(),
        None => String::from_utf8_lossy(said).trim().to_owned(),
    }
}

/// The beginning of a body, as far as it comes.
async fn beginning(mut body: ApiBody) -> Vec<u8> {
    let mut said = Vec::new();
    while said.len() < NODE_ERROR_BYTES_MAX
        && let Some(Ok(frame)) = body.frame().await
    {
        said.extend_from_slice(frame.data_ref().map_or(&[], |data| data));
    }
    said.truncate(NODE_ERROR_BYTES_MAX);
    said
}

#[cfg(test)]
mod tests {
    #[test]
    fn what_an_agent_says_is_passed_on_in_its_words() {
        for (said, expected) in [
            ("is waiting to start\n", "is waiting to start"),
            (r#"{"kind":"Status","message":"is waiting to start"}"#, "is waiting to start"),
            (r#"{"kind":"Other"}"#, r#"{"kind":"Other"}"#),
        ] {
            assert_eq!(super::words(said.as_bytes()), expected);
        }
    }
}
