//! PodDisruptionBudget (policy), and what it says to an eviction.

mod eviction;

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::{Value, json};

pub use eviction::{Objection, Verdict, judge};

use crate::column::{self, number_column, text_column};
use crate::tree::{at, int, keep, list, missing, object};
use crate::{
    Column, FinalizerRule, Kind, Subresource, condition, fields, int_or_percent, metadata, selector, workload,
};

pub static KIND: Kind = Kind {
    group: "policy",
    kind: "PodDisruptionBudget",
    resource: "poddisruptionbudgets",
    singular: "poddisruptionbudget",
    short_names: &["pdb"],
    type_name: "policy.v1.PodDisruptionBudget",
    finalizers: FinalizerRule::Qualified,
    generation: true,
    subresources: &[Subresource::Status],
    unconditional_update: false,
    columns: COLUMNS,
    cells: |budget, now| {
        let amount = |member: &str| match at(budget, &format!("/spec/{member}")) {
            Value::Null => "N/A".to_owned(),
            value => int_or_percent::to_text(value),
        };
        vec![
            column::name(budget),
            amount("minAvailable").into(),
            amount("maxUnavailable").into(),
            int(budget, "/status/disruptionsAllowed").into(),
            column::age(budget, now),
        ]
    },
    default: |budget| {
        object(budget, "status");
    },
    prepare_create: |budget| budget["status"] = json!({}),
    prepare_update: |new, old| keep(new, old, "status"),
    validate,
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    validate_status,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Min Available", 0, "How many pods must stay available."),
    text_column("Max Unavailable", 0, "How many pods may be unavailable."),
    number_column("Allowed Disruptions", "How many pods may be evicted now."),
    column::AGE,
];

fn validate(budget: &Value, faults: &mut Faults) {
    let spec = at(budget, "/spec");
    if !missing(spec, "/minAvailable") && !missing(spec, "/maxUnavailable") {
        faults.invalid("spec", spec.clone(), "minAvailable and maxUnavailable cannot be both set");
    }
    for member in ["minAvailable", "maxUnavailable"] {
        let (value, path) = (at(spec, &format!("/{member}")), format!("spec.{member}"));
        int_or_percent::validate(value, &path, faults);
        int_or_percent::validate_at_most_all(value, &path, faults);
    }
    selector::validate(at(spec, "/selector"), "spec.selector", faults);
    if let Some(policy) = at(spec, "/unhealthyPodEvictionPolicy").as_str() {
        let field = (ids::POLICY_V1_PODDISRUPTIONBUDGETSPEC, "unhealthyPodEvictionPolicy");
        fields::known(policy, field, "spec.unhealthyPodEvictionPolicy", faults);
    }
}

fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    for (index, condition) in list(new, "/status/conditions").iter().enumerate() {
        condition::validate(condition, &format!("status.conditions[{index}]"), faults);
    }
    for member in ["disruptionsAllowed", "currentHealthy", "desiredHealthy", "expectedPods"] {
        workload::not_negative(new, &format!("/status/{member}"), faults);
    }
}
