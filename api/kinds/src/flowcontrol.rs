//! flowcontrol.apiserver.k8s.io: which requests share what part of the server. The objects every cluster has are in
//! [`initial`].

pub mod flowschema;
mod initial;
pub mod prioritylevel;

use std::collections::HashSet;

use chrono::{DateTime, SecondsFormat, Utc};
use kontiki_model::Faults;
use serde_json::Value;

use crate::tree::{fill, list, list_mut, text};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";

/// Each condition once, with a type.
fn validate_status(object: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, condition) in list(object, "/status/conditions").iter().enumerate() {
        let path = format!("status.conditions[{index}].type");
        let kind = text(condition, "/type");
        if !seen.insert(kind) {
            faults.duplicate(path.as_str(), kind);
        }
        if kind.is_empty() {
            faults.required(path, "must not be empty");
        }
    }
}

fn stamp(object: &mut Value, _: Option<&Value>, now: DateTime<Utc>) {
    for condition in list_mut(object, "/status/conditions") {
        fill(condition, "lastTransitionTime", now.to_rfc3339_opts(SecondsFormat::Secs, true));
    }
}
