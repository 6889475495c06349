//! Defaults must be what the schema itself lets through, untouched.

use kontiki_model::Faults;
use serde_json::Value;

use super::super::{Additional, Node, path::Path, prune, rules, validate};

pub(super) fn check_all(root: &Node, path: &str, faults: &mut Faults) {
    each(root, path, &mut |node, default, path| check(node, default, path, faults));
}

/// Rules hold of defaults, too, as of what was there before and of what is new.
pub(super) fn run_rules(root: &Node, path: &str, faults: &mut Faults) {
    each(root, path, &mut |node, default, path| rules::run_on_default(node, default, &Path::at(path), faults));
}

fn each(node: &Node, path: &str, visit: &mut impl FnMut(&Node, &Value, &str)) {
    if let Some(default) = &node.default {
        visit(node, default, &format!("{path}.default"));
    }
    for (name, below) in &node.properties {
        each(below, &format!("{path}.properties[{name}]"), visit);
    }
    if let Some(Additional::Of(below)) = &node.additional {
        each(below, &format!("{path}.additionalProperties"), visit);
    }
    if let Some(items) = &node.items {
        each(items, &format!("{path}.items"), visit);
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
