//! CertificateSigningRequest (certificates.k8s.io): declaration, who asks, who may change what. What is valid is in
//! [`validation`], what PEM holds in [`pem`].

mod pem;
mod validation;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use kontiki_schema::managed::Reach;
use serde_json::{Map, Value, json};

use crate::age::human_duration;
use crate::column::{self, text_column};
use crate::tree::{at, fill, keep, keep_all_but_status, list, list_mut, object, text};
use crate::{Admit, AdmitFacts, Column, Edit, Field, Kind, NameRule, Signed, Subresource};

pub use pem::common_name;

pub static KIND: Kind = Kind {
    group: "certificates.k8s.io",
    kind: "CertificateSigningRequest",
    resource: "certificatesigningrequests",
    singular: "certificatesigningrequest",
    short_names: &["csr"],
    namespaced: false,
    type_name: "certificates.v1.CertificateSigningRequest",
    name_rule: NameRule::PathSegment,
    subresources: &[Subresource::Approval, Subresource::Status],
    fields: &[Field { path: "spec.signerName", get: |request| text(request, "/spec/signerName").to_owned() }],
    columns: COLUMNS,
    cells,
    default: |request| {
        object(request, "status");
    },
    admit: &[Admit { plugin: "CertificateSubjectRestriction", admit }],
    prepare_create: |request| request["status"] = json!({}),
    prepare_update: |new, old| {
        keep(new, old, "spec");
        keep(new, old, "status");
    },
    prepare_status,
    edits: &[Edit {
        subresource: Subresource::Approval,
        reach: Reach::AllBut(&[&["spec"], &["status", "certificate"]]),
        prepare: prepare_approval,
        validate: |new, old, faults| validation::change(new, old, validation::Part::Approval, faults),
    }],
    stamp,
    validate_create: validation::new,
    validate_update: |new, old, faults| validation::change(new, old, validation::Part::Nothing, faults),
    validate_status: |new, old, faults| validation::change(new, old, validation::Part::Certificate, faults),
    signed: Some(Signed { signer: "/spec/signerName", decisions: &["/status/certificate", "/status/conditions"] }),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    column::AGE,
    text_column("SignerName", 0, "Who is asked to sign."),
    text_column("Requestor", 0, "Who asks."),
    text_column("RequestedDuration", 0, "How long the certificate should be valid."),
    text_column("Condition", 0, "What has become of the request."),
];

const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";

fn cells(request: &Value, now: DateTime<Utc>) -> Vec<Value> {
    let duration = at(request, "/spec/expirationSeconds").as_i64();
    vec![
        column::name(request),
        column::age(request, now),
        column::or(text(request, "/spec/signerName"), "<none>"),
        text(request, "/spec/username").into(),
        duration.map_or("<none>".into(), |seconds| human_duration(TimeDelta::seconds(seconds)).into()),
        condition(request).into(),
    ]
}

fn condition(request: &Value) -> String {
    let is = |kind: &str| list(request, "/status/conditions").iter().any(|one| text(one, "/type") == kind);
    let mut told = if is(DENIED) {
        "Denied".to_owned()
    } else if is(APPROVED) {
        "Approved".to_owned()
    } else {
        "Pending".to_owned()
    };
    if is(FAILED) {
        told.push_str(",Failed");
    }
    if !text(request, "/status/certificate").is_empty() {
        told.push_str(",Issued");
    }
    told
}

/// Who asks is what the server knows of them, whatever they say. Nobody gets a certificate that makes them everybody's
/// master.
fn admit(request: &mut Value, facts: &AdmitFacts<'_>) -> Result<(), String> {
    const CLIENT_SIGNER: &str = "kubernetes.io/kube-apiserver-client";
    const MASTERS: &str = "system:masters";
    let author = facts.author;
    let spec = object(request, "spec");
    spec["username"] = author.user.into();
    spec["uid"] = author.uid.into();
    spec["groups"] = author.groups.into();
    let extra: Map<String, Value> =
        author.extra.iter().map(|(key, values)| (key.clone(), values.clone().into())).collect();
    spec["extra"] = extra.into();
    if text(spec, "/signerName") == CLIENT_SIGNER
        && let Ok(groups) = pem::organizations(text(spec, "/request"))
        && groups.iter().any(|group| group == MASTERS)
    {
        return Err(format!("use of {CLIENT_SIGNER} signer with {MASTERS} group is not allowed"));
    }
    Ok(())
}

/// A signer writes the certificate; who approved what is not its affair.
fn prepare_status(new: &mut Value, old: &Value) {
    keep_all_but_status(new, old);
    for kind in [APPROVED, DENIED] {
        let was: Vec<Value> =
            list(old, "/status/conditions").iter().filter(|one| text(one, "/type") == kind).cloned().collect();
        let mut is: Vec<&mut Value> =
            list_mut(new, "/status/conditions").iter_mut().filter(|one| text(one, "/type") == kind).collect();
        if is.len() == was.len() {
            is.iter_mut().zip(was).for_each(|(is, was)| **is = was);
        }
    }
}

/// An approver writes conditions, and nothing else.
fn prepare_approval(new: &mut Value, old: &Value) {
    let conditions = at(new, "/status/conditions").clone();
    keep(new, old, "spec");
    keep(new, old, "status");
    if !conditions.is_null() || !list(old, "/status/conditions").is_empty() {
        object(new, "status")["conditions"] = conditions;
    }
}

/// A condition is updated now; its status changed now, unless it was the same before.
fn stamp(request: &mut Value, old: Option<&Value>, now: DateTime<Utc>) {
    let now = now.to_rfc3339_opts(SecondsFormat::Secs, true);
    let before = old.map(|old| list(old, "/status/conditions")).unwrap_or_default();
    for condition in list_mut(request, "/status/conditions") {
        fill(condition, "lastUpdateTime", now.as_str());
        let same = |one: &&Value| one["type"] == condition["type"] && one["status"] == condition["status"];
        let since = before.iter().find(same).and_then(|one| one["lastTransitionTime"].as_str()).unwrap_or(&now);
        let since = since.to_owned();
        fill(condition, "lastTransitionTime", since);
    }
}
