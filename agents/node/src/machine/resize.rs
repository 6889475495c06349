//! Whether a running container may use other than what its pod now says, and how that is put right.

use std::collections::BTreeMap;

use k8s_openapi::{api::core::v1::Container, apimachinery::pkg::api::resource::Quantity};

use super::observed::Attempt;
use crate::spec::resources::amount;

/// How a container gets to use what the pod says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resize {
    InPlace,
    Restart,
}

/// `None` where it does, and where nobody knows what it was started with.
pub fn of(container: &Container, attempt: &Attempt) -> Option<Resize> {
    let before = attempt.resources.as_ref()?;
    let now = container.resources.as_ref();
    let changed = |name: &str| {
        [false, true].iter().any(|limits| amount(Some(before), *limits, name) != amount(now, *limits, name))
    };
    let restarts = |name: &str| {
        let policies = container.resize_policy.iter().flatten();
        policies.into_iter().any(|policy| policy.resource_name == name && policy.restart_policy == "RestartContainer")
    };
    let changed: Vec<&str> = ["cpu", "memory"].into_iter().filter(|name| changed(name)).collect();
    if changed.is_empty() {
        return None;
    }
    Some(if changed.into_iter().any(restarts) { Resize::Restart } else { Resize::InPlace })
}

/// The cpu and memory that the pod asks for a container, as its status tells what was set aside.
pub fn set_aside(container: &Container) -> Option<BTreeMap<String, Quantity>> {
    container.resources.as_ref().and_then(|resources| resources.requests.clone())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::{Value, json};

    use super::*;
    use crate::machine::observed::AttemptState;

    fn told(before: &Value, now: &Value, policy: &Value) -> Option<Resize> {
        let container = json!({"name": "c", "resources": now, "resizePolicy": policy});
        let resources = (!before.is_null()).then(|| serde_json::from_value(before.clone()).unwrap());
        let state = AttemptState::Running { started_ms: 0 };
        let attempt =
            Attempt { number: 0, state, image: String::new(), image_asked: None, resources, user: None, round: 0 };
        of(&serde_json::from_value(container).unwrap(), &attempt)
    }

    #[test]
    fn a_restart_is_for_what_asks_for_one() {
        let uses = |cpu: &str, memory: &str| json!({"requests": {"cpu": cpu}, "limits": {"memory": memory}});
        let policy = json!([
            {"resourceName": "cpu", "restartPolicy": "NotRequired"},
            {"resourceName": "memory", "restartPolicy": "RestartContainer"},
        ]);
        for (before, now, expected) in [
            (uses("1", "1Gi"), uses("1000m", "1024Mi"), None),
            (uses("1", "1Gi"), uses("2", "1Gi"), Some(Resize::InPlace)),
            (uses("1", "1Gi"), uses("2", "2Gi"), Some(Resize::Restart)),
            (Value::Null, uses("2", "2Gi"), None),
        ] {
            assert_eq!(told(&before, &now, &policy), expected, "{before} {now}");
        }
        assert_eq!(told(&uses("1", "1Gi"), &uses("1", "2Gi"), &json!([])), Some(Resize::InPlace));
    }
}
