//! PriorityClass (scheduling.k8s.io).

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::tree::{at, fill, flag, int, missing, text};
use crate::{Column, Kind, Protected, fields, metadata};

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
