//! `pods/ephemeralcontainers`: containers for debugging, which come to a pod that exists and never leave it.

use std::collections::HashMap;

use kontiki_model::Faults;
use kontiki_schema::managed::Reach;
use serde_json::Value;

use super::annotations::MIRROR;
use crate::tree::{at, keep, list, remove, text};
use crate::{Edit, Subresource, metadata};

pub const EDIT: Edit = Edit {
    subresource: Subresource::EphemeralContainers,
    reach: Reach::Only(&[&["spec", "ephemeralContainers"]]),
    prepare,
    validate,
};

/// Nothing else changes, not even labels; only who says what.
fn prepare(new: &mut Value, old: &Value) {
    let wanted = at(new, "/spec/ephemeralContainers").clone();
    let mut pod = old.clone();
    keep(&mut pod["metadata"], &new["metadata"], "managedFields");
    match wanted {
        Value::Null => {
            remove(&mut pod["spec"], "ephemeralContainers");
        }
        wanted => pod["spec"]["ephemeralContainers"] = wanted,
    }
    *new = pod;
}

fn validate(new: &Value, old: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.ephemeralContainers";
    metadata::validate_update(new, old, faults);
    super::validate(new, faults);
    if at(old, "/metadata/annotations").get(MIRROR).is_some() {
        faults.forbidden("", "static pods do not support ephemeral containers");
        return;
    }
    let all = list(new, "/spec/ephemeralContainers").iter();
    let now: HashMap<&str, &Value> = all.map(|one| (text(one, "/name"), one)).collect();
    for before in list(old, "/spec/ephemeralContainers") {
        let name = text(before, "/name");
        match now.get(name) {
            None => {
                faults.forbidden(PATH, format!("existing ephemeral containers {name:?} may not be removed\n"));
            }
            Some(same) if *same == before => {}
            Some(_) => {
                faults.forbidden(PATH, format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
        }
    }
}
