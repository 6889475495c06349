//! Answers of the kubelet API.

use std::{convert::Infallible, io};

use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http::{Response, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt, Full, StreamBody, combinators::UnsyncBoxBody};
use serde::Serialize;

use crate::containers::{Refusal, RefusalKind};

pub type Body = UnsyncBoxBody<Bytes, io::Error>;
pub type Answer = Response<Body>;

/// A request that gets no more than a message.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    pub status: StatusCode,
    pub reason: &'static str,
    pub message: String,
}

impl Problem {
    pub fn bad_request(message: impl Into<String>) -> Problem {
        Problem { status: StatusCode::BAD_REQUEST, reason: "BadRequest", message: message.into() }
    }

    pub fn not_found(message: impl Into<String>) -> Problem {
        Problem { status: StatusCode::NOT_FOUND, reason: "NotFound", message: message.into() }
    }

    pub fn internal(message: impl Into<String>) -> Problem {
        Problem { status: StatusCode::INTERNAL_SERVER_ERROR, reason: "InternalError", message: message.into() }
    }
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Problem {
        let (status, reason) = match refusal.kind {
            RefusalKind::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
            RefusalKind::InUse => (StatusCode::CONFLICT, "Conflict"),
            RefusalKind::InvalidReference
            | RefusalKind::Invalid
            | RefusalKind::CannotExecute
            | RefusalKind::NotExecutable => (StatusCode::BAD_REQUEST, "BadRequest"),
            RefusalKind::Other => (StatusCode::INTERNAL_SERVER_ERROR, "InternalError"),
        };
        Problem { status, reason, message: refusal.message }
    }
}

impl From<Problem> for Answer {
    fn from(problem: Problem) -> Answer {
        let body = serde_json::json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": problem.message, "reason": problem.reason, "code": problem.status.as_u16(),
        });
        with(problem.status, "application/json", body.to_string())
    }
}

pub fn text(body: impl Into<Bytes>) -> Answer {
    with(StatusCode::OK, "text/plain; charset=utf-8", body)
}

pub fn json(value: &impl Serialize) -> Answer {
    match serde_json::to_vec(value) {
        Ok(body) => with(StatusCode::OK, "application/json", body),
        Err(error) => Problem::internal(error.to_string()).into(),
    }
}

pub fn forbidden(client: Option<&str>) -> Answer {
    let client = client.unwrap_or("unknown");
    let message = format!("{client:?} may not use this node's API: only the API server may");
    Problem { status: StatusCode::FORBIDDEN, reason: "Forbidden", message }.into()
}

/// Text that comes as it is produced.
pub fn stream(chunks: impl Stream<Item = io::Result<Bytes>> + Send + 'static) -> Answer {
    let body = StreamBody::new(chunks.map_ok(Frame::data));
    let mut answer = Response::new(BodyExt::boxed_unsync(body));
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static("text/plain"));
    answer
}

pub fn empty() -> Body {
    full(Bytes::new())
}

fn full(bytes: Bytes) -> Body {
    BodyExt::boxed_unsync(Full::new(bytes).map_err(|never: Infallible| match never {}))
}

fn with(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Answer {
    let mut answer = Response::new(full(body.into()));
    *answer.status_mut() = status;
    answer.headers_mut().insert(header::CONTENT_TYPE, header::HeaderValue::from_static(content_type));
    answer
}
