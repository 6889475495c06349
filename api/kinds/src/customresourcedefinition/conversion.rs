//! How the versions of a definition are turned into each other. Kubernetes tells faults where its own form of a definition has them.

use kontiki_model::{Faults, names};
use serde_json::Value;

use crate::admissionregistration::webhook;
use crate::names::report;
use crate::tree::{at, list, text};

const PATH: &str = "spec.conversion";
const REVIEW_VERSIONS: [&str; 2] = ["v1", "v1beta1"];

pub fn validate(definition: &Value, faults: &mut Faults) {
    let conversion = at(definition, "/spec/conversion");
    let (client, versions) =
        (at(conversion, "/webhook/clientConfig"), list(conversion, "/webhook/conversionReviewVersions"));
    match text(conversion, "/strategy") {
        "Webhook" => {
            match client.is_null() {
                true => {
                    let detail = "required when strategy is set to Webhook";
                    faults.required(format!("{PATH}.webhookClientConfig"), detail);
                }
                false => webhook::validate_client(client, &format!("{PATH}.webhookClientConfig"), faults),
            }
            return validate_review_versions(versions, faults);
        }
        "None" => {}
        "" => faults.required(format!("{PATH}.strategy"), ""),
        other => faults.not_supported(format!("{PATH}.strategy"), other, &["None", "Webhook"]),
    }
    let detail = "should not be set when strategy is not set to Webhook";
    if !client.is_null() {
        faults.forbidden(format!("{PATH}.webhookClientConfig"), detail);
    }
    if !versions.is_empty() {
        faults.forbidden(format!("{PATH}.conversionReviewVersions"), detail);
    }
}

fn validate_review_versions(versions: &[Value], faults: &mut Faults) {
    let path = format!("{PATH}.conversionReviewVersions");
    if versions.is_empty() {
        return faults.required(path, "");
    }
    for (index, version) in versions.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = version.as_str().unwrap_or_default();
        if versions[..index].contains(version) {
            faults.invalid(path, name, "duplicate version");
        } else {
            report(names::rfc1035_label(name), name, &path, faults);
        }
    }
    if !versions.iter().any(|one| one.as_str().is_some_and(|name| REVIEW_VERSIONS.contains(&name))) {
        let detail = format!("must include at least one of {}", REVIEW_VERSIONS.join(", "));
        faults.invalid(path, versions.to_vec(), detail);
    }
}
