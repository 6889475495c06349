//! What a CertificateSigningRequest may say, and which part of it each way of changing it may touch.

use std::collections::HashSet;

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::Value;

use super::{APPROVED, DENIED, FAILED, pem};
use crate::tree::{at, list, text, texts};
use crate::{fields, metadata};

/// What may change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Part {
    /// Metadata alone.
    Nothing,
    /// `…/approval`: whether it is approved or denied.
    Approval,
    /// `…/status`: the certificate and other conditions.
    Certificate,
}

const SECONDS_MIN: i64 = 600;
const CONDITIONS: &str = "status.conditions";

pub fn new(request: &Value, faults: &mut Faults) {
    contents(request, None, faults);
}

pub fn change(new: &Value, old: &Value, part: Part, faults: &mut Faults) {
    contents(new, Some(old), faults);
    metadata::validate_update(new, old, faults);
    for kind in [APPROVED, DENIED, FAILED] {
        if of_type(new, kind).len() < of_type(old, kind).len() {
            faults.forbidden(CONDITIONS, format!("updates may not remove a condition of type {kind:?}"));
        }
    }
    if part != Part::Approval {
        for kind in [APPROVED, DENIED] {
            let (is, was) = (of_type(new, kind), of_type(old, kind));
            if is.len() > was.len() {
                faults.forbidden(CONDITIONS, format!("updates may not add a condition of type {kind:?}"));
            } else if is.len() == was.len() && is != was {
                faults.forbidden(CONDITIONS, format!("updates may not modify a condition of type {kind:?}"));
            }
        }
    }
    let (is, was) = (text(new, "/status/certificate"), text(old, "/status/certificate"));
    if is != was && part != Part::Certificate {
        faults.forbidden("status.certificate", "updates may not set certificate content");
    } else if is != was && !was.is_empty() {
        faults.forbidden("status.certificate", "updates may not modify existing certificate content");
    }
}

fn of_type<'a>(request: &'a Value, kind: &str) -> Vec<&'a Value> {
    list(request, "/status/conditions").iter().filter(|one| text(one, "/type") == kind).collect()
}

fn contents(request: &Value, old: Option<&Value>, faults: &mut Faults) {
    let spec = at(request, "/spec");
    // A request does not change once it is made, and verifying its signature again would say the same.
    if old.is_none()
        && let Err(why) = pem::request(text(spec, "/request"))
    {
        faults.invalid("spec.request", at(spec, "/request").clone(), why);
    }
    let usages: Vec<&str> = texts(spec, "/usages").collect();
    if usages.is_empty() {
        faults.required("spec.usages", "");
    }
    for (index, usage) in usages.iter().enumerate() {
        let path = format!("spec.usages[{index}]");
        let field = (ids::CERTIFICATES_V1_CERTIFICATESIGNINGREQUESTSPEC, "usages");
        fields::known(usage, field, path.as_str(), faults);
        if usages[..index].contains(usage) {
            faults.duplicate(path, *usage);
        }
    }
    let signer = text(spec, "/signerName");
    if signer == "kubernetes.io/legacy-unknown" {
        faults.invalid("spec.signerName", signer, "the legacy signerName is not allowed via this API version");
    } else {
        fields::signer_name(signer, "spec.signerName", faults);
    }
    if let Some(seconds) = at(spec, "/expirationSeconds").as_i64().filter(|seconds| *seconds < SECONDS_MIN) {
        let detail = "may not specify a duration less than 600 seconds (10 minutes)";
        faults.invalid("spec.expirationSeconds", seconds, detail);
    }
    conditions(request, faults);
    let certificate = text(request, "/status/certificate");
    let unchanged = old.is_some_and(|old| text(old, "/status/certificate") == certificate);
    if !certificate.is_empty()
        && !unchanged
        && let Err(why) = pem::certificates(certificate)
    {
        faults.invalid("status.certificate", "<certificate data>", why);
    }
}

fn conditions(request: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, condition) in list(request, "/status/conditions").iter().enumerate() {
        let path = format!("{CONDITIONS}[{index}]");
        let (kind, status) = (text(condition, "/type"), text(condition, "/status"));
        if kind.is_empty() {
            faults.required(format!("{path}.type"), "");
        }
        // These say that something happened, which cannot be false.
        let supported: &[&str] =
            if [APPROVED, DENIED, FAILED].contains(&kind) { &["True"] } else { &["False", "True", "Unknown"] };
        match status {
            "" => faults.required(format!("{path}.status"), ""),
            status => fields::one_of(status, format!("{path}.status"), supported, faults),
        }
        let opposite = match kind {
            APPROVED => DENIED,
            DENIED => APPROVED,
            _ => "",
        };
        if !opposite.is_empty() && seen.contains(&opposite) {
            faults.invalid(CONDITIONS, kind, "Approved and Denied conditions are mutually exclusive");
        }
        if !seen.insert(kind) {
            faults.duplicate(format!("{path}.type"), kind);
        }
    }
}
