//! LimitRange: the declaration. What ranges do to other objects is in [`enforce`].

mod enforce;

use std::collections::BTreeSet;

use kontiki_model::{Faults, Quantity};
use serde_json::Value;

use crate::column;
use crate::names::{qualified, report};
use crate::pod::{self, quantity};
use crate::tree::{at, list, list_mut, members, missing, object, remove, text};
use crate::{Column, Kind, metadata};

pub use enforce::{CLAIMS, PODS};

pub static KIND: Kind = Kind {
    kind: "LimitRange",
    resource: "limitranges",
    singular: "limitrange",
    short_names: &["limits"],
    type_name: "core.v1.LimitRange",
    create_on_update: true,
    columns: COLUMNS,
    cells: |range, _| vec![column::name(range), at(range, "/metadata/creationTimestamp").clone()],
    default,
    validate,
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    ..Kind::BASE
};

const COLUMNS: &[Column] =
    &[column::NAME, Column { r#type: "date", ..column::text_column("Created At", 0, "When the object was created.") }];

const LISTS: [&str; 5] = ["max", "min", "default", "defaultRequest", "maxLimitRequestRatio"];

/// Of a container: no default limit means the most, no default request means the limit, or the least.
fn default(range: &mut Value) {
    for limit in list_mut(range, "/spec/limits") {
        for name in LISTS {
            pod::round_resources(limit, &format!("/{name}"));
        }
        if text(limit, "/type") == "Container" {
            inherit(limit, "max", "default");
            inherit(limit, "default", "defaultRequest");
            inherit(limit, "min", "defaultRequest");
        }
    }
}

fn inherit(limit: &mut Value, from: &str, to: &str) {
    let Some(resources) = at(limit, &format!("/{from}")).as_object().cloned() else { return };
    let into = object(limit, to);
    for (name, amount) in resources {
        if into.get(&name).is_none() {
            into[name.as_str()] = amount;
        }
    }
    if into.as_object().is_some_and(serde_json::Map::is_empty) {
        remove(limit, to);
    }
}

fn validate(range: &Value, faults: &mut Faults) {
    let mut seen = BTreeSet::new();
    for (index, limit) in list(range, "/spec/limits").iter().enumerate() {
        let path = format!("spec.limits[{index}]");
        let kind = text(limit, "/type");
        validate_type(kind, &format!("{path}.type"), faults);
        if !seen.insert(kind) {
            faults.duplicate(format!("{path}.type"), kind);
        }
        validate_names(limit, kind, &path, faults);
        let storage = |list: &str| at(limit, &format!("/{list}")).get("storage").is_none();
        if kind == "PersistentVolumeClaim" && storage("min") && storage("max") {
            let detail = "either minimum or maximum storage value is required, but neither was provided";
            faults.required(format!("{path}.limits"), detail);
        }
        let lists = LISTS.iter().filter_map(|list| limit.get(list)?.as_object());
        let names: BTreeSet<&String> = lists.flat_map(serde_json::Map::keys).collect();
        for name in names {
            validate_order(limit, name, &path, faults);
        }
    }
}

fn validate_type(kind: &str, path: &str, faults: &mut Faults) {
    report(qualified(kind), kind, path, faults);
    if !kind.contains('/') && !matches!(kind, "Pod" | "Container" | "PersistentVolumeClaim") {
        faults.invalid(path, kind, "must be a standard limit type or fully qualified");
    }
}

fn validate_names(limit: &Value, kind: &str, path: &str, faults: &mut Faults) {
    for list in LISTS {
        if kind == "Pod" && matches!(list, "default" | "defaultRequest") {
            if !missing(limit, &format!("/{list}")) {
                faults.forbidden(format!("{path}.{list}"), "may not be specified when `type` is 'Pod'");
            }
            continue;
        }
        for (name, _) in members(limit, &format!("/{list}")) {
            let path = format!("{path}.{list}[{name}]");
            match kind {
                "Pod" | "Container" => pod::validate_container_resource(name, &path, faults),
                _ => pod::validate_resource(name, &path, faults),
            }
        }
    }
}

/// The least, the defaults and the most of one resource must be in order.
fn validate_order(limit: &Value, name: &str, path: &str, faults: &mut Faults) {
    let amount = |list: &str| at(limit, &format!("/{list}")).get(name).and_then(quantity);
    let (min, max) = (amount("min"), amount("max"));
    let (request, default, ratio) = (amount("defaultRequest"), amount("default"), amount("maxLimitRequestRatio"));
    let mut in_order =
        |less: &Option<Quantity>, more: &Option<Quantity>, at: &str, value: &str, words: (&str, &str)| {
            let (Some(less), Some(more)) = (less, more) else { return };
            if less > more {
                let value = if value == words.0 { less } else { more };
                let detail = format!("{} value {less} is greater than {} value {more}", words.0, words.1);
                faults.invalid(format!("{path}.{at}[{name}]"), value.to_string(), detail);
            }
        };
    in_order(&min, &max, "min", "min", ("min", "max"));
    in_order(&min, &request, "defaultRequest", "default request", ("min", "default request"));
    in_order(&request, &max, "defaultRequest", "default request", ("default request", "max"));
    in_order(&request, &default, "defaultRequest", "default request", ("default request", "default limit"));
    in_order(&min, &default, "default", "min", ("min", "default"));
    in_order(&default, &max, "default", "max", ("default", "max"));
    if let Some(ratio) = &ratio {
        validate_ratio(ratio, min, max, &format!("{path}.maxLimitRequestRatio[{name}]"), faults);
    }
    if let (Some(default), Some(request)) = (default, request)
        && !pod::overcommits(name)
        && default != request
    {
        let detail = format!("default value {default} must equal to defaultRequest value {request} in {name}");
        faults.invalid(format!("{path}.defaultRequest[{name}]"), request.to_string(), detail);
    }
}

fn validate_ratio(ratio: &Quantity, min: Option<Quantity>, max: Option<Quantity>, path: &str, faults: &mut Faults) {
    if *ratio < Quantity::from_units(1) {
        faults.invalid(path, ratio.to_string(), format!("ratio {ratio} is less than 1"));
    }
    if let (Some(min), Some(max)) = (min, max) {
        let most = max.as_f64() / min.as_f64();
        if ratio.as_f64() > most {
            faults.invalid(path, ratio.to_string(), format!("ratio {ratio} is greater than max/min = {most:.6}"));
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn defaults_come_from_the_bounds() {
        let mut range = json!({"spec": {"limits": [
            {"type": "Container", "max": {"cpu": "2000m"}, "min": {"memory": "1Mi"}},
            {"type": "Pod", "max": {"cpu": "1"}},
        ]}});
        default(&mut range);
        let expected = json!([
            {
                "type": "Container", "max": {"cpu": "2"}, "min": {"memory": "1Mi"}, "default": {"cpu": "2"},
                "defaultRequest": {"cpu": "2", "memory": "1Mi"},
            },
            {"type": "Pod", "max": {"cpu": "1"}},
        ]);
        assert_eq!(range["spec"]["limits"], expected);
    }
}
