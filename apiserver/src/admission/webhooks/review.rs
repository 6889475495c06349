//! AdmissionReview: the question to a webhook and what its answer says. Pure.

use std::borrow::Cow;

use kontiki_model::{Status, StatusDetails};
use kontiki_schema::{Document, builtin, decode_json, ids};
use serde::Serialize;
use serde_json::{Map, Value};

use crate::{failure, request::Identity, rest::object::text, webhook};

const GROUP: &str = "admission.k8s.io";
const KIND: &str = "AdmissionReview";

/// The form of the review that a webhook takes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReviewVersion {
    V1,
    /// Asks the same; its answers are believed with less scrutiny.
    V1Beta1,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GroupVersionKind<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub kind: &'a str,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct GroupVersionResource<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
}

/// What a webhook is asked.
#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Question<'a> {
    pub uid: &'a str,
    /// As the webhook knows it; `request_kind` as the request named it.
    pub kind: GroupVersionKind<'a>,
    pub resource: GroupVersionResource<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub sub_resource: &'a str,
    pub request_kind: GroupVersionKind<'a>,
    pub request_resource: GroupVersionResource<'a>,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub request_sub_resource: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub name: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    pub namespace: &'a str,
    pub operation: &'a str,
    pub user_info: UserInfo<'a>,
    pub object: Option<&'a Value>,
    pub old_object: Option<&'a Value>,
    pub dry_run: bool,
    pub options: Option<&'a Value>,
}

#[derive(Serialize)]
pub struct UserInfo<'a> {
    #[serde(skip_serializing_if = "str::is_empty")]
    username: &'a str,
    #[serde(skip_serializing_if = "str::is_empty")]
    uid: &'a str,
    #[serde(skip_serializing_if = "<[String]>::is_empty")]
    groups: &'a [String],
    #[serde(skip_serializing_if = "Map::is_empty")]
    extra: Map<String, Value>,
}

#[derive(Serialize)]
#[serde(rename_all = "camelCase")]
struct Review<'a> {
    kind: &'static str,
    api_version: String,
    request: &'a Question<'a>,
}

/// What a webhook said.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub allowed: bool,
    /// `status` of the answer, null where there is none.
    pub status: Value,
    pub warnings: Vec<String>,
    pub audit_annotations: Vec<(String, String)>,
    pub patch: Option<Patch>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Patch {
    pub r#type: String,
    /// JSON.
    pub body: Vec<u8>,
}

impl ReviewVersion {
    /// The first of the versions a webhook names that this server knows.
    pub fn first_known<'v>(mut versions: impl Iterator<Item = &'v str>) -> Option<Self> {
        versions.find_map(|version| match version {
            "v1" => Some(ReviewVersion::V1),
            "v1beta1" => Some(ReviewVersion::V1Beta1),
            _ => None,
        })
    }

    fn name(self) -> &'static str {
        match self {
            ReviewVersion::V1 => "v1",
            ReviewVersion::V1Beta1 => "v1beta1",
        }
    }
}

impl<'a> From<&'a Identity> for UserInfo<'a> {
    fn from(identity: &'a Identity) -> Self {
        let Identity { user, uid, groups, extra, .. } = identity;
        let extra = extra.iter().map(|(key, values)| (key.clone(), values.clone().into())).collect();
        UserInfo { username: user, uid, groups, extra }
    }
}

/// The body of the call.
pub fn body(version: ReviewVersion, question: &Question<'_>) -> serde_json::Result<Vec<u8>> {
    let api_version = format!("{GROUP}/{}", version.name());
    kontiki_schema::json::text(&Review { kind: KIND, api_version, request: question })
}

/// What an answer says, or why it is none; the text continues "failed calling webhook".
pub fn read(version: ReviewVersion, uid: &str, mutating: bool, body: &[u8]) -> Result<Answer, String> {
    let unread = |why: String| format!("failed to call webhook: {why}");
    let review = decoded(version, body).map_err(unread)?;
    let response = verified(version, uid, mutating, &review);
    let response = response.map_err(|why| format!("received invalid webhook response: {why}"))?;
    let list = |member: &str| response[member].as_array().cloned().unwrap_or_default();
    let annotations = response["auditAnnotations"].as_object().into_iter().flatten();
    let annotation = |(key, value): (&String, &Value)| Some((key.clone(), value.as_str()?.to_owned()));
    Ok(Answer {
        allowed: response["allowed"] == true,
        status: response["status"].clone(),
        warnings: list("warnings").iter().filter_map(Value::as_str).map(str::to_owned).collect(),
        audit_annotations: annotations.filter_map(annotation).collect(),
        patch: patch(version, response).filter(|_| mutating),
    })
}

fn patch_bytes(response: &Value) -> Vec<u8> {
    // The schema let only base64 in.
    webhook::decode_base64(text(response, "/patch")).unwrap_or_default()
}

fn patch(version: ReviewVersion, response: &Value) -> Option<Patch> {
    let body = Some(patch_bytes(response)).filter(|body| !body.is_empty())?;
    let r#type = match version {
        ReviewVersion::V1 => text(response, "/patchType").to_owned(),
        ReviewVersion::V1Beta1 => "JSONPatch".to_owned(),
    };
    Some(Patch { r#type, body })
}

/// The body as a review. One that does not say what it is counts as what was expected, until its kind is looked at.
fn decoded(version: ReviewVersion, body: &[u8]) -> Result<Value, String> {
    let document =
        decode_json(body).map_err(|error| format!("couldn't get version/kind; json parse error: {error}"))?;
    let (kind, api_version) = (text(&document.value, "/kind"), text(&document.value, "/apiVersion"));
    let (group, given) = api_version.split_once('/').unwrap_or(("", api_version));
    let is_review = kind.is_empty() || (kind == KIND && matches!((group, given), (GROUP, "v1" | "v1beta1")));
    if document.value.is_object() && !is_review {
        return Err(format!("no kind {kind:?} is registered for version {api_version:?} in scheme \"webhook\""));
    }
    if !given.is_empty() && given != version.name() {
        let wanted = version.name();
        return Err(format!("converting ({given}.{KIND}) to ({wanted}.{KIND}): unknown conversion"));
    }
    let Document { value, .. } = &document;
    builtin().check(ids::ADMISSION_V1_ADMISSIONREVIEW, value).map_err(|error| error.0)?;
    Ok(document.value)
}

/// The response, if it answers the question.
fn verified<'r>(version: ReviewVersion, uid: &str, mutating: bool, review: &'r Value) -> Result<&'r Value, String> {
    let response = review.get("response").filter(|response| response.is_object());
    let response = response.ok_or("webhook response was absent")?;
    if version == ReviewVersion::V1Beta1 {
        return Ok(response);
    }
    let given = text(response, "/uid");
    if given != uid {
        return Err(format!("expected response.uid={uid:?}, got {given:?}"));
    }
    let (kind, api_version) = (text(review, "/kind"), text(review, "/apiVersion"));
    if kind != KIND || api_version != "admission.k8s.io/v1" {
        let api_version = if api_version.is_empty() { "/" } else { api_version };
        return Err(format!(
            "expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got {api_version}, Kind={kind}"
        ));
    }
    let has_patch = !patch_bytes(response).is_empty();
    let patch_type = response["patchType"].as_str();
    match (mutating, has_patch, patch_type) {
        (true, true, None) => Err("webhook returned response.patch but not response.patchType".to_owned()),
        (true, false, Some(_)) => Err("webhook returned response.patchType but not response.patch".to_owned()),
        (true, true, Some("")) => Err("webhook returned invalid response.patchType of \"\"".to_owned()),
        (false, true, _) => Err("validating webhook may not return response.patch".to_owned()),
        (false, false, Some(_)) => Err("validating webhook may not return response.patchType".to_owned()),
        (true, ..) | (false, false, None) => Ok(response),
    }
}

/// How a webhook's no is told.
pub fn denial(webhook: &str, status: &Value) -> Status {
    let (message, reason) = (text(status, "/message"), text(status, "/reason"));
    let denied = format!("admission webhook {webhook:?} denied the request");
    let message = match (message, reason) {
        ("", "") => format!("{denied} without explanation"),
        ("", why) | (why, _) => format!("{denied}: {why}"),
    };
    let code = status["code"].as_u64().and_then(|code| u16::try_from(code).ok()).filter(|code| *code >= 400);
    let details =
        status.get("details").and_then(|details| serde_json::from_value::<StatusDetails>(details.clone()).ok());
    Status { code: code.unwrap_or(400), reason: Cow::Owned(reason.to_owned()), message, details, warnings: Vec::new() }
}

/// A dry run of what a webhook would do more than judge.
pub fn no_dry_run(webhook: &str) -> Status {
    failure::bad_request(format!("admission webhook {webhook:?} does not support dry run"))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn review(response: &Value) -> Value {
        json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response})
    }

    #[test]
    fn answers_that_do_not_fit_say_why() {
        let call = |why: &str| format!("failed to call webhook: {why}");
        let answer = |why: &str| format!("received invalid webhook response: {why}");
        let yes = json!({"uid": "u", "allowed": true});
        let with = |member: &str, value: Value| {
            let mut response = yes.clone();
            response[member] = value;
            response
        };
        let mut nameless = review(&yes);
        nameless.as_object_mut().unwrap().retain(|member, _| member == "response");
        let mut older = review(&yes);
        older["apiVersion"] = "admission.k8s.io/v1beta1".into();
        let table = [
            (true, json!({}), answer("webhook response was absent")),
            (true, review(&json!({"allowed": true})), answer(r#"expected response.uid="u", got """#)),
            (
                true,
                nameless,
                answer("expected webhook response of admission.k8s.io/v1, Kind=AdmissionReview, got /, Kind="),
            ),
            (true, older, call("converting (v1beta1.AdmissionReview) to (v1.AdmissionReview): unknown conversion")),
            (
                true,
                json!({"kind": "Pod", "apiVersion": "v1"}),
                call(r#"no kind "Pod" is registered for version "v1" in scheme "webhook""#),
            ),
            (
                true,
                review(&with("patch", "W10=".into())),
                answer("webhook returned response.patch but not response.patchType"),
            ),
            (
                true,
                review(&with("patchType", "JSONPatch".into())),
                answer("webhook returned response.patchType but not response.patch"),
            ),
            (false, review(&with("patch", "W10=".into())), answer("validating webhook may not return response.patch")),
            (
                false,
                review(&with("patchType", "JSONPatch".into())),
                answer("validating webhook may not return response.patchType"),
            ),
            (
                false,
                review(&with("allowed", "yes".into())),
                call(
                    "json: cannot unmarshal string into Go struct field AdmissionResponse.response.allowed of type bool",
                ),
            ),
        ];
        for (mutating, body, expected) in table {
            let read = read(ReviewVersion::V1, "u", mutating, body.to_string().as_bytes());
            assert_eq!(read.unwrap_err(), expected, "{body}");
        }
        let garbage = read(ReviewVersion::V1, "u", true, b"garbage").unwrap_err();
        let expected =
            "couldn't get version/kind; json parse error: invalid character 'g' looking for beginning of value";
        assert_eq!(garbage, call(expected));
    }

    #[test]
    fn what_an_answer_says() {
        let mut response = json!({
            "uid": "u", "allowed": false, "status": {"code": 418, "message": "teapot"}, "warnings": ["hot"],
            "auditAnnotations": {"a": "b"},
        });
        let body = review(&response).to_string();
        let expected = Answer {
            allowed: false,
            status: json!({"code": 418, "message": "teapot"}),
            warnings: vec!["hot".to_owned()],
            audit_annotations: vec![("a".to_owned(), "b".to_owned())],
            patch: None,
        };
        assert_eq!(read(ReviewVersion::V1, "u", false, body.as_bytes()), Ok(expected.clone()));
        response["patch"] = "W10=".into();
        response["uid"] = "other".into();
        let older = json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1beta1", "response": response});
        let patch = Some(Patch { r#type: "JSONPatch".to_owned(), body: b"[]".to_vec() });
        let read = read(ReviewVersion::V1Beta1, "u", true, older.to_string().as_bytes());
        assert_eq!(read, Ok(Answer { patch, ..expected }));
    }

    #[test]
    fn a_no_is_told_in_the_webhooks_words() {
        let told = |status: Value| {
            let Status { code, reason, message, .. } = denial("a.b.c", &status);
            (code, reason.into_owned(), message)
        };
        let denied = |why: &str| format!("admission webhook \"a.b.c\" denied the request{why}");
        let table = [
            (Value::Null, 400, "", denied(" without explanation")),
            (json!({"code": 200, "message": "no"}), 400, "", denied(": no")),
            (json!({"code": 403, "reason": "Forbidden", "message": "no"}), 403, "Forbidden", denied(": no")),
            (json!({"code": 422, "reason": "too blue"}), 422, "too blue", denied(": too blue")),
        ];
        for (status, code, reason, message) in table {
            assert_eq!(told(status), (code, reason.to_owned(), message));
        }
    }

    #[test]
    fn a_question_names_both_what_was_asked_and_what_is_shown() {
        let identity = Identity {
            user: "ann".to_owned(),
            groups: vec!["g".to_owned()],
            extra: vec![("k".to_owned(), vec!["v".to_owned()])],
            ..Identity::default()
        };
        let group_version_kind = GroupVersionKind { group: "apps", version: "v1", kind: "Deployment" };
        let resource = GroupVersionResource { group: "apps", version: "v1", resource: "deployments" };
        let object = json!({"kind": "Deployment"});
        let question = Question {
            uid: "u",
            kind: group_version_kind,
            resource,
            sub_resource: "",
            request_kind: group_version_kind,
            request_resource: resource,
            request_sub_resource: "",
            name: "d",
            namespace: "n",
            operation: "CREATE",
            user_info: (&identity).into(),
            object: Some(&object),
            old_object: None,
            dry_run: false,
            options: None,
        };
        let sent: Value = serde_json::from_slice(&body(ReviewVersion::V1, &question).unwrap()).unwrap();
        let (kind, resource) = (
            json!({"group": "apps", "version": "v1", "kind": "Deployment"}),
            json!({"group": "apps", "version": "v1", "resource": "deployments"}),
        );
        let expected = json!({
            "kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1",
            "request": {
                "uid": "u", "kind": kind, "resource": resource, "requestKind": kind, "requestResource": resource,
                "name": "d", "namespace": "n", "operation": "CREATE",
                "userInfo": {"username": "ann", "groups": ["g"], "extra": {"k": ["v"]}},
                "object": {"kind": "Deployment"}, "oldObject": null, "dryRun": false, "options": null,
            },
        });
        assert_eq!(sent, expected);
    }
}
