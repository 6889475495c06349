//! `pods/ephemeralcontainers`: containers for debugging, which come to a pod that exists and never leave it.

use kontiki_model::Faults;
use serde_json::Value;

use crate::tree::{at, list, remove, text};
use crate::{Edit, Subresource, metadata};

pub const EDIT: Edit = Edit { subresource: Subresource::EphemeralContainers, prepare, validate };

/// Nothing else changes, not even labels.
fn prepare(new: &mut Value, old: &Value) {
    let wanted = at(new, "/spec/ephemeralContainers").clone();
    let mut pod = old.clone();
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
    if at(old, "/metadata/annotations").get("kubernetes.io/config.mirror").is_some() {
        faults.forbidden("", "static pods do not support ephemeral containers");
        return;
    }
    let now = list(new, "/spec/ephemeralContainers");
    for before in list(old, "/spec/ephemeralContainers") {
        let name = text(before, "/name");
        match now.iter().find(|one| text(one, "/name") == name) {
            None => {
                faults.forbidden(PATH, format!("existing ephemeral containers {name:?} may not be removed\n"));
            }
            Some(same) if same == before => {}
            Some(_) => {
                faults.forbidden(PATH, format!("existing ephemeral containers {name:?} may not be changed\n"));
            }
        }
    }
}
