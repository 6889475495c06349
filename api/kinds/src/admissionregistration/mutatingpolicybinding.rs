//! MutatingAdmissionPolicyBinding.

use super::{GROUP, default_match, param_ref_cell, validate_binding, validatingpolicybinding};
use crate::tree::{at, object_mut, text};
use crate::{FinalizerRule, Grants, Kind, column};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "MutatingAdmissionPolicyBinding",
    resource: "mutatingadmissionpolicybindings",
    singular: "mutatingadmissionpolicybinding",
    categories: &["api-extensions"],
    namespaced: false,
    type_name: "admissionregistration.v1.MutatingAdmissionPolicyBinding",
    grants: Some(Grants::ParametersOf("mutatingadmissionpolicies.admissionregistration.k8s.io")),
    finalizers: FinalizerRule::Qualified,
    generation: true,
    unconditional_update: false,
    columns: validatingpolicybinding::COLUMNS,
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
    validate: |binding, faults| validate_binding(at(binding, "/spec"), faults),
    decides_writes: true,
    ..Kind::BASE
};
