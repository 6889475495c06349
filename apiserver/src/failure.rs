//! The failures this server tells, each as Kubernetes words it. The one place where a Status is put together.

use kontiki_model::{Cause, Faults, Status, StatusDetails};
use kontiki_raft::Unopened;

use crate::{encryption::path, limits::RETRY_AFTER_S};

/// A group and a resource (or kind), as Kubernetes prints them: `deployments.apps`, `pods`.
#[derive(Clone, Copy, Debug)]
pub struct Qualified<'a> {
    pub group: &'a str,
    pub resource: &'a str,
}

impl std::fmt::Display for Qualified<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.resource)?;
        if !self.group.is_empty() {
            write!(f, ".{}", self.group)?;
        }
        Ok(())
    }
}

fn plain(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
    Status { code, reason: reason.into(), message: message.into(), details: None, warnings: Vec::new() }
}

/// As [`plain`], with the empty `details` that Kubernetes' generic answers carry.
fn generic(code: u16, reason: &'static str, message: impl Into<String>) -> Status {
    Status { details: Some(StatusDetails::default()), ..plain(code, reason, message) }
}

fn details(of: Qualified<'_>, name: &str) -> StatusDetails {
    StatusDetails {
        name: name.to_owned(),
        group: of.group.to_owned(),
        kind: of.resource.to_owned(),
        ..StatusDetails::default()
    }
}

pub fn bad_request(message: impl Into<String>) -> Status {
    plain(400, "BadRequest", message)
}

pub fn unauthorized() -> Status {
    plain(401, "Unauthorized", "Unauthorized")
}

/// A server that is a member no more shows the certificate it had as one.
pub fn removed_server(user: &str) -> Status {
    plain(401, "Unauthorized", format!("Unauthorized: {user} was removed from this cluster"))
}

/// An object request that the authorizer or an admission rule refuses. `why` completes the sentence.
pub fn forbidden(of: Qualified<'_>, name: &str, why: &str) -> Status {
    let message = match name {
        "" => format!("{of} is forbidden: {why}"),
        name => format!("{of} \"{name}\" is forbidden: {why}"),
    };
    Status { details: Some(details(of, name)), ..plain(403, "Forbidden", message) }
}

/// A refused request that is about no resource.
pub fn forbidden_path(why: &str) -> Status {
    generic(403, "Forbidden", format!("forbidden: {why}"))
}

pub fn not_found(of: Qualified<'_>, name: &str) -> Status {
    Status { details: Some(details(of, name)), ..plain(404, "NotFound", format!("{of} \"{name}\" not found")) }
}

/// The path names nothing this server has.
pub fn no_such_resource() -> Status {
    generic(404, "NotFound", "the server could not find the requested resource")
}

pub fn method_not_allowed() -> Status {
    generic(405, "MethodNotAllowed", "the server does not allow this method on the requested resource")
}

/// None of the accepted media types is one the route offers at all.
pub fn not_representable(offered: &[&str]) -> Status {
    let message = format!("406: Not Acceptable\n\nAvailable representations: {}", offered.join(", "));
    generic(406, "NotAcceptable", message)
}

/// The media type is offered, but not with these parameters.
pub fn not_acceptable(offered: &[&str]) -> Status {
    not_acceptable_because(format!("only the following media types are accepted: {}", offered.join(", ")))
}

pub fn not_acceptable_because(message: impl Into<String>) -> Status {
    plain(406, "NotAcceptable", message)
}

pub fn already_exists(of: Qualified<'_>, name: &str) -> Status {
    let message = format!("{of} \"{name}\" already exists");
    Status { details: Some(details(of, name)), ..plain(409, "AlreadyExists", message) }
}

/// Of an object that has a prefix for its name: Kubernetes takes it for a generated one, also where it was given.
pub fn generated_name_exists(of: Qualified<'_>, name: &str) -> Status {
    let exists = already_exists(of, name);
    let message = format!("{}, the server was not able to generate a unique name for the object", exists.message);
    retry_after(Status { message, ..exists }, RETRY_AFTER_S)
}

pub fn conflict(of: Qualified<'_>, name: &str, why: &str) -> Status {
    let message = format!("Operation cannot be fulfilled on {of} \"{name}\": {why}");
    Status { details: Some(details(of, name)), ..plain(409, "Conflict", message) }
}

/// A configuration that says fields otherwise than others do: each is a cause, a reason and the field.
pub fn apply_conflict(message: String, fields: impl Iterator<Item = (String, String)>) -> Status {
    let cause = |(message, field)| Cause { reason: "FieldManagerConflict".to_owned(), message, field };
    let details = StatusDetails { causes: fields.map(cause).collect(), ..StatusDetails::default() };
    Status { details: Some(details), ..plain(409, "Conflict", message) }
}

/// `message` is the whole sentence; Kubernetes says `resourceVersion too old` in several ways.
pub fn expired(message: impl Into<String>) -> Status {
    plain(410, "Expired", message)
}

pub fn too_large(limit_bytes: usize) -> Status {
    plain(413, "RequestEntityTooLarge", format!("Request entity too large: limit is {limit_bytes}"))
}

/// Kubernetes has no reason for it.
pub fn uri_too_long(limit_bytes: usize) -> Status {
    plain(414, "RequestURITooLong", format!("Request URI too long: limit is {limit_bytes}"))
}

/// Kubernetes has no reason for it.
pub fn headers_too_large(limit_bytes: usize) -> Status {
    plain(431, "RequestHeaderFieldsTooLarge", format!("Request header fields too large: limit is {limit_bytes}"))
}

pub fn unsupported_media(accepted: &[&str]) -> Status {
    let list = accepted.join(", ");
    let message = format!("the body of the request was in an unknown format - accepted media types include: {list}");
    plain(415, "UnsupportedMediaType", message)
}

/// A PATCH whose content type is no patch type.
pub fn unsupported_patch() -> Status {
    generic(415, "UnsupportedMediaType", "415: Unsupported Media Type")
}

/// A PATCH of a custom object whose content type is none of theirs: they have no strategic merge.
pub fn unsupported_custom_patch() -> Status {
    unsupported_media(&["application/json-patch+json", "application/merge-patch+json", "application/apply-patch+yaml"])
}

/// Nothing new comes into a kind whose definition is being removed.
pub fn terminating_definition() -> Status {
    let message = "create not allowed while custom resource definition is terminating";
    plain(405, "MethodNotAllowed", message)
}

/// A patch with more operations than are allowed.
pub fn too_many_operations(message: impl Into<String>) -> Status {
    plain(413, "RequestEntityTooLarge", message)
}

/// A patch that cannot be applied to the object; Kubernetes does not say why.
pub fn unprocessable() -> Status {
    generic(422, "Invalid", "the server rejected our request due to an error in our request")
}

/// What a node agent answered instead of doing it. `said` is its own text.
pub fn agent(code: u16, reason: &'static str, message: impl Into<String>, said: String) -> Status {
    let cause = Cause { reason: "UnexpectedServerResponse".to_owned(), message: said, field: String::new() };
    let details = StatusDetails { causes: vec![cause], ..StatusDetails::default() };
    Status { details: Some(details), ..plain(code, reason, message) }
}

/// A controller of a former leader, which must not write any more.
pub fn stale_term(why: &str) -> Status {
    plain(409, "Conflict", format!("the write is fenced: {why}"))
}

/// An object that breaks its kind's rules: every fault is a cause. `of` names the *kind* here, as Kubernetes does.
pub fn invalid(of: Qualified<'_>, name: &str, faults: &Faults) -> Status {
    let causes = faults.causes();
    // What is wrong twice is one cause each time, and told once.
    let mut told: Vec<String> = Vec::with_capacity(causes.len());
    for fault in causes.iter().map(|Cause { field, message, .. }| format!("{field}: {message}")) {
        if !told.contains(&fault) {
            told.push(fault);
        }
    }
    let list = match told.as_slice() {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    };
    let message = format!("{of} \"{name}\" is invalid: {list}");
    Status { details: Some(StatusDetails { causes, ..details(of, name) }), ..plain(422, "Invalid", message) }
}

pub fn too_many_requests(retry_after_s: i32) -> Status {
    let message = "Too many requests, please try again later.";
    retry_after(plain(429, "TooManyRequests", message), retry_after_s)
}

/// An eviction that a disruption budget does not allow now.
pub fn too_many_disruptions(message: &str, cause: Cause, retry_after_s: Option<i32>) -> Status {
    let details = StatusDetails { causes: vec![cause], retry_after_seconds: retry_after_s, ..StatusDetails::default() };
    Status { details: Some(details), ..plain(429, "TooManyRequests", message) }
}

/// Objects that are encrypted at rest with a key that is not there.
pub fn sealed(unopened: &Unopened) -> Status {
    let named = unopened.objects.iter().map(|(key, fault)| format!("unable to transform key {:?}: {fault}", path(key)));
    let mut text = named.collect::<Vec<_>>().join("; ");
    if unopened.more > 0 {
        text.push_str(&format!("; and {} more", unopened.more));
    }
    internal(text)
}

pub fn internal(error: impl std::fmt::Display) -> Status {
    let message = format!("Internal error occurred: {error}");
    let cause = Cause { message: error.to_string(), ..Cause::default() };
    let details = StatusDetails { causes: vec![cause], ..StatusDetails::default() };
    Status { details: Some(details), ..plain(500, "InternalError", message) }
}

/// A failure that Kubernetes tells with code 500 and no reason.
pub fn unexpected(message: impl Into<String>) -> Status {
    plain(500, "", message)
}

/// What this request needs does not answer: what is behind a proxy, or most servers of the cluster. Nobody knows when it will, and
/// clients repeat by themselves what says so.
pub fn unreachable(message: impl Into<String>) -> Status {
    plain(503, "ServiceUnavailable", message)
}

/// Something this request needs is not there yet, and soon will be.
pub fn unavailable(message: impl Into<String>, retry_after_s: i32) -> Status {
    retry_after(plain(503, "ServiceUnavailable", message), retry_after_s)
}

/// What a write of a custom object was read and judged by has changed.
pub fn definition_changed() -> Status {
    unavailable("the definition of the object's kind has changed meanwhile: try again", RETRY_AFTER_S)
}

/// The log's disk is full. Kubernetes has no word for it. Nobody is asked to try again soon: clients would, without telling anybody,
/// and it takes somebody to free some space.
pub fn disk_full(message: impl Into<String>) -> Status {
    plain(507, "InsufficientStorage", message)
}

/// What became of the request is not known, and clients repeat by themselves what they are told to try again.
pub fn timeout(message: impl Into<String>) -> Status {
    plain(504, "Timeout", format!("Timeout: {}", message.into()))
}

/// Nothing was done, or it may be done twice.
pub fn timeout_to_repeat(message: impl Into<String>, retry_after_s: i32) -> Status {
    retry_after(timeout(message), retry_after_s)
}

fn retry_after(status: Status, seconds: i32) -> Status {
    let details = status.details.clone().unwrap_or_default();
    Status { details: Some(StatusDetails { retry_after_seconds: Some(seconds), ..details }), ..status }
}
