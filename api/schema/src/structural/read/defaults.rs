//! Defaults must be what the schema itself lets through, untouched.

use kontiki_model::Faults;
use serde_json::Value;

use super::super::{Additional, Node, prune, validate};

pub(super) fn check_all(node: &Node, path: &str, faults: &mut Faults) {
    if let Some(default) = &node.default {
        check(node, default, &format!("{path}.default"), faults);
    }
    for (name, below) in &node.properties {
        check_all(below, &format!("{path}.properties[{name}]"), faults);
    }
    if let Some(Additional::Of(below)) = &node.additional {
        check_all(below, &format!("{path}.additionalProperties"), faults);
    }
    if let Some(items) = &node.items {
        check_all(items, &format!("{path}.items"), faults);
    }
}

fn check(node: &Node, default: &Value, path: &str, faults: &mut Faults) {
    let mut pruned = default.clone();
    prune::prune_value(node, &mut pruned);
    if pruned != *default {
        faults.invalid(path, default.clone(), "must not have unknown fields");
        return;
    }
    validate::value(node, default, path, faults);
    if node.embedded {
        let given = |member: &str| default.get(member).and_then(Value::as_str).is_some_and(|text| !text.is_empty());
        for member in ["apiVersion", "kind"].into_iter().filter(|member| !given(member)) {
            faults.required(format!("{path}.{member}"), "");
        }
    }
}
