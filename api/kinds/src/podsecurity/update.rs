//! Which changes of a pod could make it violate what it did not violate before.

use serde_json::Value;

use crate::tree::{at, list, text};

const SECCOMP: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Whether the pod must be held against its namespace's policy again: another image runs, or another container.
pub fn is_significant(new: &Value, old: &Value) -> bool {
    let differs = |now: &Value, before: &Value| {
        let key = format!("{SECCOMP}{}", text(now, "/name"));
        let annotation =
            |pod: &Value| at(pod, "/metadata/annotations").get(&key).and_then(Value::as_str).map(str::to_owned);
        text(now, "/image") != text(before, "/image")
            || annotation(new).unwrap_or_default() != annotation(old).unwrap_or_default()
    };
    let changed = |pointer: &str| {
        let (now, before) = (list(new, pointer), list(old, pointer));
        now.len() != before.len() || now.iter().zip(before).any(|(now, before)| differs(now, before))
    };
    let debugging = || {
        let before = list(old, "/spec/ephemeralContainers");
        list(new, "/spec/ephemeralContainers").iter().any(|now| {
            let same = before.iter().find(|before| text(before, "/name") == text(now, "/name"));
            same.is_none_or(|before| differs(now, before))
        })
    };
    changed("/spec/containers") || changed("/spec/initContainers") || debugging()
}
