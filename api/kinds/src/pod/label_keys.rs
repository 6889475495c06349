//! Keys of labels that choose pods by what the pod itself is labelled: `matchLabelKeys` and `mismatchLabelKeys`.

use std::collections::{HashMap, HashSet};

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::names::{qualified, report};
use crate::tree::{at, list, list_mut, members, missing, text, texts};

/// The label selectors of a new pod say what its keys come to with its labels, so that whoever places it need not know of keys.
pub fn merge(pod: &mut Value) {
    let labels = at(pod, "/metadata/labels").clone();
    for side in ["podAffinity", "podAntiAffinity"] {
        for (terms, term) in [
            ("requiredDuringSchedulingIgnoredDuringExecution", ""),
            ("preferredDuringSchedulingIgnoredDuringExecution", "/podAffinityTerm"),
        ] {
            for one in list_mut(pod, &format!("/spec/affinity/{side}/{terms}")) {
                merge_into(one.pointer_mut(term), "matchLabelKeys", "In", &labels);
                merge_into(one.pointer_mut(term), "mismatchLabelKeys", "NotIn", &labels);
            }
        }
    }
    for constraint in list_mut(pod, "/spec/topologySpreadConstraints") {
        merge_into(Some(constraint), "matchLabelKeys", "In", &labels);
    }
}

fn merge_into(holder: Option<&mut Value>, member: &str, operator: &str, labels: &Value) {
    let Some(holder) = holder.filter(|holder| !missing(holder, "/labelSelector")) else { return };
    let pointer = format!("/{member}");
    let expression = |key: &str| Some(json!({"key": key, "operator": operator, "values": [labels.get(key)?]}));
    let added: Vec<Value> = texts(holder, &pointer).filter_map(expression).collect();
    if !added.is_empty() {
        let all = [list(holder, "/labelSelector/matchExpressions"), &added].concat();
        holder["labelSelector"]["matchExpressions"] = all.into();
    }
}

/// The keys in a member of what has a `labelSelector`.
pub fn validate(holder: &Value, member: &str, path: &str, faults: &mut Faults) {
    let pointer = format!("/{member}");
    if !list(holder, &pointer).is_empty() && missing(holder, "/labelSelector") {
        faults.forbidden(path, "must not be specified when labelSelector is not set");
        return;
    }
    for (index, key) in texts(holder, &pointer).enumerate() {
        report(qualified(key), key, &format!("{path}[{index}]"), faults);
    }
}

/// Merging says each of `matchLabelKeys` once; a key that the selector then says twice was said by somebody else, too.
pub fn validate_once(holder: &Value, path: &str, faults: &mut Faults) {
    let keys: HashMap<&str, usize> = texts(holder, "/matchLabelKeys").enumerate().map(|(at, key)| (key, at)).collect();
    let mut said: HashSet<&str> = members(holder, "/labelSelector/matchLabels").map(|(key, _)| key.as_str()).collect();
    for expression in list(holder, "/labelSelector/matchExpressions") {
        let key = text(expression, "/key");
        let again = !said.insert(key);
        if let Some(index) = keys.get(key).filter(|_| again) {
            faults.invalid(format!("{path}[{index}]"), key, "exists in both matchLabelKeys and labelSelector");
        }
    }
}
