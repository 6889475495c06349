//! ServiceAccount.

use serde_json::{Value, json};

use crate::tree::{at, list_mut};
use crate::{Kind, Subresource, metadata};

pub static KIND: Kind = Kind {
    kind: "ServiceAccount",
    resource: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    type_name: "core.v1.ServiceAccount",
    subresources: &[Subresource::Token],
    delete_returns_object: true,
    prepare_create: keep_names_of_secrets,
    prepare_update: |new, _| keep_names_of_secrets(new),
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    warnings,
    ..Kind::BASE
};

/// Pods of the account may mount no other secrets than its own.
const MOUNTABLE: &str = "kubernetes.io/enforce-mountable-secrets";

/// Secrets are of the account's namespace, whatever else a reference says.
fn keep_names_of_secrets(account: &mut Value) {
    for secret in list_mut(account, "/secrets") {
        *secret = match secret.get("name") {
            Some(name) => json!({ "name": name }),
            None => json!({}),
        };
    }
}

fn warnings(account: &Value, old: Option<&Value>) -> Vec<String> {
    let enforced = |account: &Value| at(account, "/metadata/annotations").get(MOUNTABLE).is_some();
    if !enforced(account) || old.is_some_and(enforced) {
        return Vec::new();
    }
    let why = "deprecated in v1.32+; prefer separate namespaces to isolate access to mounted secrets";
    vec![format!("metadata.annotations[{MOUNTABLE}]: {why}")]
}
