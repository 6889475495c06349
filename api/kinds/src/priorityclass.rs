//! PriorityClass (scheduling.k8s.io).

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::tree::{at, fill, flag, int, missing, object, text};
use crate::{Column, DefaultClass, Kind, Lookup, Protected, Review, fields, metadata};

pub static KIND: Kind = Kind {
    group: "scheduling.k8s.io",
    kind: "PriorityClass",
    resource: "priorityclasses",
    singular: "priorityclass",
    short_names: &["pc"],
    namespaced: false,
    type_name: "scheduling.v1.PriorityClass",
    generation: true,
    protected: Protected {
        names: &[SYSTEM[0].0, SYSTEM[1].0],
        why: "this is a system priority class and cannot be deleted",
    },
    columns: COLUMNS,
    cells: |class, now| {
        vec![
            column::name(class),
            int(class, "/value").into(),
            flag(class, "/globalDefault").into(),
            column::age(class, now),
            text(class, "/preemptionPolicy").into(),
        ]
    },
    default: |class| fill(class, "preemptionPolicy", "PreemptLowerPriority"),
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        if int(new, "/value") != int(old, "/value") {
            faults.forbidden("value", "may not be changed in an update.");
        }
        fields::immutable(new, old, "/preemptionPolicy", faults);
    },
    review: Some(&ONE_DEFAULT),
    initial: || SYSTEM.iter().map(|(name, value)| json!({"metadata": {"name": name}, "value": value})).collect(),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    Column { r#type: "integer", ..text_column("Value", 0, "The priority that pods of the class get.") },
    Column { r#type: "boolean", ..text_column("Global-Default", 0, "Whether pods without a class are of this one.") },
    column::AGE,
    text_column("PreemptionPolicy", 0, "Whether its pods may take the place of others."),
];

/// The class of pods that name none: of several by accident the least.
pub static DEFAULT: DefaultClass = DefaultClass {
    plugin: "Priority",
    classes: RESOURCE,
    is_open: |pod| text(pod, "/spec/priorityClassName").is_empty(),
    choose: least_default,
    set: |pod, class| object(pod, "spec")["priorityClassName"] = at(class, "/metadata/name").clone(),
};

/// Only one class is for all pods.
static ONE_DEFAULT: Review = Review {
    plugin: "Priority",
    lookups: |new, _| {
        let all = || Lookup::of_cluster(RESOURCE, "");
        flag(new, "/globalDefault").then(all).into_iter().collect()
    },
    check: |new, old, found| {
        let known = found.first().and_then(|classes| least_default(classes)).filter(|_| flag(new, "/globalDefault"));
        let name = |class: &Value| text(class, "/metadata/name").to_owned();
        match known.map(name) {
            Some(known) if old.is_none() || known != name(new) => {
                Err(format!("PriorityClass {known} is already marked as default. Only one default can exist"))
            }
            Some(_) | None => Ok(()),
        }
    },
};

const RESOURCE: &str = "priorityclasses.scheduling.k8s.io";

fn least_default(classes: &[Value]) -> Option<&Value> {
    classes.iter().filter(|class| flag(class, "/globalDefault")).min_by_key(|class| int(class, "/value"))
}

/// The classes that every cluster has, and their values.
pub const SYSTEM: [(&str, i64); 2] =
    [("system-cluster-critical", 2_000_000_000), ("system-node-critical", 2_000_001_000)];
const SYSTEM_PREFIX: &str = "system-";
const VALUE_MAX: i64 = 1_000_000_000;

fn validate(class: &Value, faults: &mut Faults) {
    let name = text(class, "/metadata/name");
    if name.starts_with(SYSTEM_PREFIX) {
        if let Err(why) = is_system(name, int(class, "/value"), flag(class, "/globalDefault")) {
            let detail = format!(
                "priority class names with '{SYSTEM_PREFIX}' prefix are reserved for system use only. error: {why}"
            );
            faults.forbidden("metadata.name", detail);
        }
    } else if int(class, "/value") > VALUE_MAX {
        faults.forbidden("value", format!("maximum allowed value of a user defined priority is {VALUE_MAX}"));
    }
    if !missing(class, "/preemptionPolicy") {
        match at(class, "/preemptionPolicy").as_str().unwrap_or_default() {
            "PreemptLowerPriority" | "Never" => {}
            "" => faults.required("preemptionPolicy", ""),
            other => faults.not_supported("preemptionPolicy", other, &["PreemptLowerPriority", "Never"]),
        }
    }
}

fn is_system(name: &str, value: i64, global_default: bool) -> Result<(), String> {
    match SYSTEM.iter().find(|(known, _)| *known == name) {
        None => Err(format!("{name} is not a known system priority class")),
        Some((_, known)) if *known != value => Err(format!("value of {name} PriorityClass must be {known}")),
        Some(_) if global_default => Err(format!("globalDefault of {name} PriorityClass must be false")),
        Some(_) => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_one_class_is_the_default() {
        let class =
            |name: &str, default: bool| json!({"metadata": {"name": name}, "value": 1, "globalDefault": default});
        let check = |new: &Value, old: Option<&Value>, others: &[Value]| {
            let sought = (ONE_DEFAULT.lookups)(new, old).len();
            (ONE_DEFAULT.check)(new, old, &vec![others.to_vec(); sought])
        };
        let taken = Err("PriorityClass a is already marked as default. Only one default can exist".to_owned());
        let (a, b) = (class("a", true), class("b", true));
        assert_eq!(check(&a, None, &[class("c", false)]), Ok(()));
        assert_eq!(check(&b, None, std::slice::from_ref(&a)), taken);
        assert_eq!(check(&b, Some(&class("b", false)), std::slice::from_ref(&a)), taken);
        assert_eq!(check(&a, Some(&a), std::slice::from_ref(&a)), Ok(()));
        assert_eq!(check(&class("b", false), None, &[a]), Ok(()));
    }
}
