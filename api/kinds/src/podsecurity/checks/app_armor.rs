//! AppArmor confines containers by default; that must not be switched off, in a field or in the annotation of old.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Subject, Violation, context, words};
use crate::tree::{at, members, text};

const ANNOTATION: &str = "container.apparmor.security.beta.kubernetes.io/";

pub fn profile(pod: Subject<'_>) -> Option<Violation> {
    let mut types = BTreeSet::new();
    let mut bad = |context: &Value| {
        let profile = at(context, "/appArmorProfile");
        let kind = text(profile, "/type");
        let bad = !profile.is_null() && !matches!(kind, "RuntimeDefault" | "Localhost");
        if bad {
            types.insert(kind.to_owned());
        }
        bad
    };
    let pod_bad = bad(pod.context());
    let mut containers = Vec::new();
    for container in pod.containers() {
        if bad(context(container)) {
            containers.push(text(container, "/name"));
        }
    }
    let mut annotations: Vec<String> = members(pod.metadata, "/annotations")
        .filter(|(key, _)| key.starts_with(ANNOTATION))
        .map(|(key, value)| (key, value.as_str().unwrap_or_default()))
        .filter(|(_, value)| !(value.is_empty() || *value == "runtime/default" || value.starts_with("localhost/")))
        .map(|(key, value)| format!("{key}={value:?}"))
        .collect();
    annotations.sort_unstable();
    let mut sayers: Vec<String> = words::sayers(pod_bad, &containers).into_iter().collect();
    if !annotations.is_empty() {
        sayers.push(words::plural("annotation", "annotations", annotations.len()).to_owned());
    }
    if sayers.is_empty() {
        return None;
    }
    let said: Vec<String> = types.into_iter().chain(annotations).collect();
    Some(Violation {
        reason: words::plural("forbidden AppArmor profile", "forbidden AppArmor profiles", said.len()),
        detail: format!("{} must not set AppArmor profile type to {}", sayers.join(" and "), words::quoted(said)),
    })
}
