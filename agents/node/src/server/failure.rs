//! The failures this API tells, as `metav1.Status`. The one place here where a Status is put together.

use super::body::{self, Body};
use crate::containers::{Refusal, RefusalKind};
use http::{HeaderValue, Response, StatusCode, header};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Status, StatusCause, StatusDetails};

/// Why a request is not done.
#[derive(Clone, Debug)]
pub struct Refused {
    pub code: StatusCode,
    pub message: String,
    reason: &'static str,
    details: Option<Box<StatusDetails>>,
}

impl Refused {
    pub fn status(&self) -> Status {
        Status {
            code: Some(i32::from(self.code.as_u16())),
            reason: Some(self.reason.to_owned()),
            message: Some(self.message.clone()),
            status: Some("Failure".to_owned()),
            details: self.details.as_deref().cloned(),
            ..Status::default()
        }
    }

    fn with(self, details: StatusDetails) -> Refused {
        Refused { details: Some(Box::new(details)), ..self }
    }
}

pub fn response(refused: &Refused) -> Response<Body> {
    let mut response = body::json(refused.code, &refused.status());
    if let Some(seconds) = refused.details.as_deref().and_then(|details| details.retry_after_seconds) {
        response.headers_mut().insert(header::RETRY_AFTER, HeaderValue::from(seconds));
    }
    response
}

fn failure(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Refused {
    Refused { code, message: message.into(), reason, details: None }
}

pub fn bad_request(message: impl Into<String>) -> Refused {
    failure(StatusCode::BAD_REQUEST, "BadRequest", message)
}

pub fn unauthorized() -> Refused {
    failure(
        StatusCode::UNAUTHORIZED,
        "Unauthorized",
        "a client certificate signed by the cluster's CA is required, or for figures a token",
    )
}

pub fn forbidden(user: &str) -> Refused {
    let message = format!("user {user:?} may not use the node's API: ask the API server");
    failure(StatusCode::FORBIDDEN, "Forbidden", message)
}

pub fn too_many_reviews() -> Refused {
    let details = StatusDetails { retry_after_seconds: Some(1), ..StatusDetails::default() };
    let message = "too many tokens at a time that the node does not know yet, please try again later";
    failure(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message).with(details)
}

/// In the kubelet's words.
pub fn may_not_get(user: &str, node: &str, subresource: &str) -> Refused {
    let message = format!("Forbidden (user={user}, verb=get, resource=nodes/{node}, subresource(s)=[{subresource}])");
    failure(StatusCode::FORBIDDEN, "Forbidden", message)
}

pub fn no_such_path() -> Refused {
    failure(StatusCode::NOT_FOUND, "NotFound", "the server could not find the requested resource")
}

pub fn method_not_allowed() -> Refused {
    let message = "the server does not allow this method on the requested resource";
    failure(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message)
}

pub fn no_such_pod(name: &str) -> Refused {
    let details =
        StatusDetails { name: Some(name.to_owned()), kind: Some("pods".to_owned()), ..StatusDetails::default() };
    failure(StatusCode::NOT_FOUND, "NotFound", format!("pods {name:?} not found")).with(details)
}

pub fn not_found(message: impl Into<String>) -> Refused {
    failure(StatusCode::NOT_FOUND, "NotFound", message)
}

/// Options of a request that break a rule: `field: why`.
pub fn invalid(kind: &str, field: &str, why: &str) -> Refused {
    let cause = StatusCause {
        field: Some(field.to_owned()),
        message: Some(why.to_owned()),
        reason: Some("FieldValueInvalid".to_owned()),
    };
    let details = StatusDetails { kind: Some(kind.to_owned()), causes: Some(vec![cause]), ..StatusDetails::default() };
    let message = format!("{kind} \"\" is invalid: {field}: {why}");
    failure(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with(details)
}

pub fn internal(error: &dyn std::fmt::Display) -> Refused {
    let cause = StatusCause { message: Some(error.to_string()), ..StatusCause::default() };
    let details = StatusDetails { causes: Some(vec![cause]), ..StatusDetails::default() };
    let message = format!("Internal error occurred: {error}");
    failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message).with(details)
}

/// In the kubelet's words: they are told as they are to who wants streams.
pub fn not_running(container: &str) -> Refused {
    failure(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", format!("container not found ({container:?})"))
}

/// What the runtime says about a container or an image.
pub fn of_refusal(refusal: &Refusal) -> Refused {
    let (code, reason) = match refusal.kind {
        RefusalKind::NotFound => (StatusCode::NOT_FOUND, "NotFound"),
        RefusalKind::InvalidReference => (StatusCode::BAD_REQUEST, "BadRequest"),
        RefusalKind::Invalid => (StatusCode::UNPROCESSABLE_ENTITY, "Invalid"),
        RefusalKind::InUse => (StatusCode::CONFLICT, "Conflict"),
        RefusalKind::CannotExecute | RefusalKind::NotExecutable | RefusalKind::Other => {
            (StatusCode::INTERNAL_SERVER_ERROR, "InternalError")
        }
    };
    failure(code, reason, refusal.message.clone())
}
