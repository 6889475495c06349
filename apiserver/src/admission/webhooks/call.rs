//! One webhook asked about one request.

use std::fmt::Display;

use serde_json::Value;
use uuid::Uuid;

use super::{
    hooks::Hook,
    review::{self, Answer, GroupVersionKind, GroupVersionResource, Question},
};
use crate::{
    admission::{Attributes, Told},
    rest::Refusal,
};

/// What a webhook is shown: the objects in the form that its rules name.
pub struct Shown<'a> {
    pub kind: GroupVersionKind<'a>,
    pub resource: GroupVersionResource<'a>,
    pub request_kind: GroupVersionKind<'a>,
    pub request_resource: GroupVersionResource<'a>,
    /// Of a Namespace, its own name.
    pub namespace: &'a str,
    pub object: Option<&'a Value>,
    pub old: Option<&'a Value>,
    pub options: Option<&'a Value>,
}

/// Why a webhook did not say yes.
#[derive(Debug)]
pub enum Failed {
    /// It could not be asked, or what it said makes no sense: what that means, its configuration says. The code is what counts it.
    Unasked { why: String, code: u16 },
    /// It said no.
    Denied(Refusal),
    /// This server could not do its part.
    Internal(Refusal),
}

/// What is counted where nobody answered, and where this server cannot even ask.
pub const UNANSWERED: u16 = 503;
const UNASKABLE: u16 = 400;

/// Asks a webhook, and takes what it wants to be told.
pub async fn ask(
    attributes: &Attributes<'_>,
    hook: &Hook,
    shown: &Shown<'_>,
    mutating: bool,
    told: &mut Told,
) -> Result<Answer, Failed> {
    if attributes.view.dry_run && !hook.takes_dry_runs {
        return Err(Failed::Internal(Refusal::Final(review::no_dry_run(&hook.name))));
    }
    let unasked = |step: &str, why: &dyn Display| Failed::Unasked { why: format!("{step}: {why}"), code: UNASKABLE };
    let unknown = "webhook does not accept known AdmissionReview versions (v1, v1beta1)";
    let version = hook.version.ok_or_else(|| unasked("could not create admission objects", &unknown))?;
    let client = hook.client.as_ref().map_err(|error| unasked("could not get REST client", error))?;
    let uid = Uuid::new_v4().to_string();
    let body = review::body(version, &question(attributes, shown, &uid));
    let body = body.map_err(|error| unasked("could not create admission objects", &error))?;
    let answer = attributes.call.core.webhooks.ask(client, body, hook.patience).await;
    let answer = answer.map_err(|error| {
        let why = format!("failed to call webhook: {error}");
        Failed::Unasked { why, code: error.code.unwrap_or(UNANSWERED) }
    })?;
    let answer = review::read(version, &uid, mutating, &answer);
    let answer = answer.map_err(|why| Failed::Unasked { why, code: UNANSWERED })?;
    for (key, value) in &answer.audit_annotations {
        attributes.call.request.annotate(&format!("{}/{key}", hook.name), value.as_str());
    }
    told.warnings.extend(answer.warnings.iter().filter(|warning| !warning.is_empty()).cloned());
    if answer.allowed {
        return Ok(answer);
    }
    let status = review::denial(&hook.name, &answer.status);
    // What there was before may have been out of date.
    Err(Failed::Denied(if shown.old.is_some() { Refusal::Judged(status) } else { Refusal::Final(status) }))
}

/// The review's request.
pub fn question<'q>(attributes: &'q Attributes<'_>, shown: &Shown<'q>, uid: &'q str) -> Question<'q> {
    Question {
        uid,
        kind: shown.kind,
        resource: shown.resource,
        sub_resource: attributes.subresource,
        request_kind: shown.request_kind,
        request_resource: shown.request_resource,
        request_sub_resource: attributes.subresource,
        name: attributes.name,
        namespace: shown.namespace,
        operation: attributes.operation.name(),
        user_info: attributes.identity.into(),
        object: shown.object,
        old_object: shown.old,
        dry_run: attributes.view.dry_run,
        options: shown.options,
    }
}
