//! One event, as a line of JSON in the form of `audit.k8s.io/v1`. Made by whoever writes the file, not by who answers requests:
//! until then there are only the pieces.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use chrono::{DateTime, SecondsFormat, Utc};
use kontiki_model::Status;
use serde_json::{Map, Value, json};

use super::policy::{Level, Stage};
use crate::{content, request::Identity, reviews, route::ResourceInfo};

/// What is known of a request when it comes, and stays so.
pub(super) struct Head {
    pub id: String,
    pub level: Level,
    pub omit_managed_fields: bool,
    pub uri: String,
    pub verb: &'static str,
    pub user: Identity,
    pub addresses: Vec<String>,
    pub user_agent: String,
    pub resource: Option<ResourceInfo>,
    pub received: DateTime<Utc>,
    pub annotations: Arc<Annotations>,
}

/// What parts of the server add about a request: why it was allowed, what a policy found.
#[derive(Debug, Default)]
pub struct Annotations(Mutex<BTreeMap<String, String>>);

/// A body, and what it is written in.
pub(super) struct Payload {
    pub media: String,
    pub bytes: Bytes,
}

/// What a request was answered.
#[derive(Clone)]
pub(super) struct Outcome {
    code: u16,
    /// The members of a Status that it was told in.
    told: Option<Value>,
}

pub(super) struct Record {
    pub head: Arc<Head>,
    pub stage: Stage,
    pub at: DateTime<Utc>,
    pub acts_as: Option<Arc<Identity>>,
    pub sent: Option<Arc<Payload>>,
    pub outcome: Option<Outcome>,
    pub answered: Option<Payload>,
}

impl Annotations {
    pub fn add(&self, key: impl Into<String>, value: impl Into<String>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(key.into(), value.into());
    }

    fn told(&self) -> BTreeMap<String, String> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Record {
    /// What it keeps in memory besides itself, of what the client chose.
    pub fn bytes(&self) -> usize {
        let bodies = [self.sent.as_deref(), self.answered.as_ref()].into_iter().flatten();
        bodies.map(|payload| payload.bytes.len()).sum::<usize>() + self.head.uri.len() + self.head.user_agent.len()
    }

    /// With the line's end.
    pub fn line(&self) -> Vec<u8> {
        let mut line = kontiki_schema::json::escaped(self.event().to_string().into_bytes());
        line.push(b'\n');
        line
    }

    fn event(&self) -> Value {
        let head = &self.head;
        let mut event = Map::new();
        let mut tell = |name: &str, value: Value| event.insert(name.to_owned(), value);
        tell("kind", "Event".into());
        tell("apiVersion", "audit.k8s.io/v1".into());
        tell("level", format!("{:?}", head.level).into());
        tell("auditID", head.id.as_str().into());
        tell("stage", format!("{:?}", self.stage).into());
        tell("requestURI", head.uri.as_str().into());
        tell("verb", head.verb.into());
        tell("user", reviews::user_info(&head.user));
        if let Some(acts_as) = &self.acts_as {
            tell("impersonatedUser", reviews::user_info(acts_as));
        }
        if !head.addresses.is_empty() {
            tell("sourceIPs", json!(head.addresses));
        }
        if !head.user_agent.is_empty() {
            tell("userAgent", head.user_agent.as_str().into());
        }
        let mut sent = self.sent.as_ref().and_then(|payload| payload.object());
        if let Some(resource) = &head.resource {
            tell("objectRef", reference(resource, sent.as_ref()));
        }
        let mut answered = self.answered.as_ref().and_then(Payload::object);
        if let Some(outcome) = &self.outcome {
            tell("responseStatus", outcome.status(answered.as_ref()));
        }
        if head.omit_managed_fields {
            sent.iter_mut().chain(&mut answered).for_each(strip);
        }
        if let Some(sent) = sent.filter(|_| head.level >= Level::Request) {
            tell("requestObject", sent);
        }
        if let Some(answered) = answered.filter(|_| head.level >= Level::RequestResponse) {
            tell("responseObject", answered);
        }
        tell("requestReceivedTimestamp", time(head.received));
        tell("stageTimestamp", time(self.at));
        let annotations = head.annotations.told();
        // When a request comes, nobody has said anything of it, however late this is written.
        if !annotations.is_empty() && self.stage != Stage::RequestReceived {
            tell("annotations", json!(annotations));
        }
        event.into()
    }
}

impl Payload {
    /// `None` if it is none, or no JSON could be made of it.
    fn object(&self) -> Option<Value> {
        content::tree(&self.media, &self.bytes).filter(|tree| !tree.is_null())
    }
}

impl Outcome {
    pub fn of(code: u16) -> Self {
        Outcome { code, told: None }
    }

    pub fn failed(status: &Status) -> Self {
        Outcome { code: status.code, told: Some(content::status_value(status)) }
    }

    /// The client went away before it was answered. Kubernetes tells it so.
    pub fn closed_early() -> Self {
        Outcome { code: 200, told: Some(json!({"status": "Success", "message": "Connection closed early"})) }
    }

    /// Of a Status its words, of anything else the code alone.
    fn status(&self, answered: Option<&Value>) -> Value {
        let told = self.told.as_ref().or(answered.filter(|answered| answered["kind"] == "Status"));
        let mut status = json!({"metadata": {}});
        for member in ["status", "message", "reason", "details"] {
            if let Some(value) = told.and_then(|told| told.get(member)) {
                status[member] = value.clone();
            }
        }
        status["code"] = self.code.into();
        status
    }
}

/// A new object's name is in what was sent.
fn reference(resource: &ResourceInfo, sent: Option<&Value>) -> Value {
    let own = |member: &str| sent.and_then(|sent| sent["metadata"][member].as_str()).unwrap_or_default();
    let or = |given: &str, member: &str| if given.is_empty() { own(member).to_owned() } else { given.to_owned() };
    let members = [
        ("resource", resource.resource.clone()),
        ("namespace", resource.namespace.clone()),
        ("name", or(&resource.name, "name")),
        ("uid", own("uid").to_owned()),
        ("apiGroup", resource.group.clone()),
        ("apiVersion", resource.version.clone()),
        ("resourceVersion", own("resourceVersion").to_owned()),
        ("subresource", resource.subresource.clone()),
    ];
    let given = members.into_iter().filter(|(_, value)| !value.is_empty());
    Value::Object(given.map(|(name, value)| (name.to_owned(), value.into())).collect())
}

/// Takes `managedFields` out of an object, or of those of a list.
fn strip(object: &mut Value) {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        metadata.shift_remove("managedFields");
    }
    object.get_mut("items").and_then(Value::as_array_mut).into_iter().flatten().for_each(strip);
}

fn time(time: DateTime<Utc>) -> Value {
    time.to_rfc3339_opts(SecondsFormat::Micros, true).into()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use expect_test::{Expect, expect};

    use super::*;
    use crate::{
        failure,
        route::{RequestInfo, Target},
    };

    fn head(level: Level, path: &str) -> Head {
        let info = RequestInfo::read(&"POST".parse().unwrap(), path, &[]).unwrap();
        let resource = match info.target {
            Target::Resource(resource) => Some(resource),
            Target::Path(_) => None,
        };
        Head {
            id: "id".to_owned(),
            level,
            omit_managed_fields: true,
            uri: path.to_owned(),
            verb: info.verb,
            user: Identity { user: "jane".to_owned(), groups: vec!["dev".to_owned()], ..Identity::default() },
            addresses: vec!["192.0.2.1".to_owned()],
            user_agent: "kubectl".to_owned(),
            resource,
            received: "2026-01-02T03:04:05.678901Z".parse().unwrap(),
            annotations: Arc::default(),
        }
    }

    fn record(head: Head, stage: Stage) -> Record {
        let at = "2026-01-02T03:04:06Z".parse().unwrap();
        Record { head: Arc::new(head), stage, at, acts_as: None, sent: None, outcome: None, answered: None }
    }

    fn payload(value: &Value) -> Payload {
        Payload { media: "application/json".to_owned(), bytes: value.to_string().into() }
    }

    fn check(record: &Record, expected: &Expect) {
        expected.assert_eq(std::str::from_utf8(&record.line()).unwrap());
    }

    const SECRETS: &str = "/api/v1/namespaces/a/secrets";

    fn secret(level: Level) -> Record {
        let fields = json!([{"manager": "kubectl"}]);
        let secret = json!({"metadata": {"name": "s", "managedFields": fields}, "data": {"password": "aHVudGVyMg=="}});
        let mut record = record(head(level, SECRETS), Stage::ResponseComplete);
        record.sent = Some(Arc::new(payload(&secret)));
        record.answered = Some(payload(&secret));
        record.outcome = Some(Outcome::of(201));
        record
    }

    #[test]
    fn what_a_client_chose_counts() {
        let mut record = record(head(Level::Request, SECRETS), Stage::RequestReceived);
        assert_eq!(record.bytes(), SECRETS.len() + "kubectl".len());
        record.sent = Some(Arc::new(payload(&json!("body"))));
        assert_eq!(record.bytes(), SECRETS.len() + "kubectl".len() + "\"body\"".len());
    }

    #[test]
    fn a_request_is_told_when_it_comes() {
        let record = record(head(Level::Metadata, SECRETS), Stage::RequestReceived);
        record.head.annotations.add("authorization.k8s.io/decision", "allow");
        check(
            &record,
            &expect![[r#"
                {"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"id","stage":"RequestReceived","requestURI":"/api/v1/namespaces/a/secrets","verb":"create","user":{"username":"jane","groups":["dev"]},"sourceIPs":["192.0.2.1"],"userAgent":"kubectl","objectRef":{"resource":"secrets","namespace":"a","apiVersion":"v1"},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z","stageTimestamp":"2026-01-02T03:04:06.000000Z"}
            "#]],
        );
    }

    #[test]
    fn what_was_sent_is_told_only_as_far_as_the_level_says() {
        check(
            &secret(Level::Metadata),
            &expect![[r#"
                {"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"id","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/secrets","verb":"create","user":{"username":"jane","groups":["dev"]},"sourceIPs":["192.0.2.1"],"userAgent":"kubectl","objectRef":{"resource":"secrets","namespace":"a","name":"s","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":201},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z","stageTimestamp":"2026-01-02T03:04:06.000000Z"}
            "#]],
        );
        let told = |level| {
            let event = secret(level).event();
            ["requestObject", "responseObject"].map(|member| event.get(member).cloned().unwrap_or_default().to_string())
        };
        let whole = r#"{"metadata":{"name":"s"},"data":{"password":"aHVudGVyMg=="}}"#;
        assert_eq!(told(Level::Request), [whole, "null"]);
        assert_eq!(told(Level::RequestResponse), [whole, whole]);
    }

    #[test]
    fn refusals_are_told_in_their_words() {
        let of = failure::Qualified { group: "", resource: "secrets" };
        let mut record = record(head(Level::Metadata, SECRETS), Stage::ResponseComplete);
        record.acts_as = Some(Arc::new(Identity { user: "joe".to_owned(), ..Identity::default() }));
        record.outcome = Some(Outcome::failed(&failure::forbidden(of, "", "no")));
        record.head.annotations.add("authorization.k8s.io/decision", "forbid");
        check(
            &record,
            &expect![[r#"
                {"kind":"Event","apiVersion":"audit.k8s.io/v1","level":"Metadata","auditID":"id","stage":"ResponseComplete","requestURI":"/api/v1/namespaces/a/secrets","verb":"create","user":{"username":"jane","groups":["dev"]},"impersonatedUser":{"username":"joe"},"sourceIPs":["192.0.2.1"],"userAgent":"kubectl","objectRef":{"resource":"secrets","namespace":"a","apiVersion":"v1"},"responseStatus":{"metadata":{},"status":"Failure","message":"secrets is forbidden: no","reason":"Forbidden","details":{"kind":"secrets"},"code":403},"requestReceivedTimestamp":"2026-01-02T03:04:05.678901Z","stageTimestamp":"2026-01-02T03:04:06.000000Z","annotations":{"authorization.k8s.io/decision":"forbid"}}
            "#]],
        );
    }

    #[test]
    fn managed_fields_go_out_of_lists_and_other_forms_become_json() {
        let mut list = json!({"metadata": {}, "items": [{"metadata": {"name": "a", "managedFields": []}}]});
        strip(&mut list);
        assert_eq!(list, json!({"metadata": {}, "items": [{"metadata": {"name": "a"}}]}));
        let yaml = Payload { media: "application/apply-patch+yaml".to_owned(), bytes: "a: [1]".into() };
        assert_eq!(yaml.object(), Some(json!({"a": [1]})));
        let nothing = Payload { media: "text/plain".to_owned(), bytes: "a".into() };
        assert_eq!(nothing.object(), None);
    }
}
