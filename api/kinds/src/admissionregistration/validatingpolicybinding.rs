//! ValidatingAdmissionPolicyBinding.

use kontiki_model::Faults;
use serde_json::Value;

use super::{GROUP, default_match, param_ref_cell, validate_binding};
use crate::column::{self, text_column};
use crate::tree::{at, object_mut, text, texts};
use crate::{Column, FinalizerRule, Grants, Kind, fields};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "ValidatingAdmissionPolicyBinding",
    resource: "validatingadmissionpolicybindings",
    singular: "validatingadmissionpolicybinding",
    categories: &["api-extensions"],
    namespaced: false,
    type_name: "admissionregistration.v1.ValidatingAdmissionPolicyBinding",
    grants: Some(Grants::ParametersOf("validatingadmissionpolicies.admissionregistration.k8s.io")),
    finalizers: FinalizerRule::Qualified,
    generation: true,
    unconditional_update: false,
    columns: COLUMNS,
    cells: |binding, now| {
        vec![
            column::name(binding),
            text(binding, "/spec/policyName").into(),
            param_ref_cell(binding),
            column::age(binding, now),
        ]
    },
    default: |binding| {
        if let Some(matched) = object_mut(binding, "/spec/matchResources") {
            default_match(matched);
        }
    },
    validate: |binding, faults| {
        validate_binding(at(binding, "/spec"), faults);
        validate_actions(at(binding, "/spec"), faults);
    },
    decides_writes: true,
    ..Kind::BASE
};

pub const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("PolicyName", 0, "The policy that is bound."),
    text_column("ParamRef", 0, "The parameters that it gets."),
    column::AGE,
];

const PATH: &str = "spec.validationActions";

/// What a failed validation leads to.
fn validate_actions(spec: &Value, faults: &mut Faults) {
    let actions: Vec<&str> = texts(spec, "/validationActions").collect();
    for (index, action) in actions.iter().enumerate() {
        let path = format!("{PATH}[{index}]");
        fields::one_of(action, path.as_str(), &["Audit", "Deny", "Warn"], faults);
        if actions[..index].contains(action) {
            faults.duplicate(path, *action);
        }
    }
    if actions.contains(&"Deny") && actions.contains(&"Warn") {
        let detail = "must not contain both Deny and Warn (repeating the same validation failure information in the API response and \
                      headers serves no purpose)";
        faults.invalid(PATH, at(spec, "/validationActions").clone(), detail);
    }
    if actions.is_empty() {
        faults.required(PATH, "at least one validation action is required");
    }
}
