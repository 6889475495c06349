//! MutatingAdmissionPolicy.

use kontiki_model::Faults;
use serde_json::Value;

use super::{
    FAILURE_POLICIES, GROUP, REINVOCATION_POLICIES, default_match, param_kind_cell, validate_constraints,
    validate_expression, validate_match_conditions, validate_param_kind, validate_variables,
};
use crate::column::{self, text_column};
use crate::policy::{Scope, Wanted};
use crate::tree::{at, fill, list, missing, object, object_mut, text, texts};
use crate::{Column, FinalizerRule, Grants, Kind, fields};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "MutatingAdmissionPolicy",
    resource: "mutatingadmissionpolicies",
    singular: "mutatingadmissionpolicy",
    categories: &["api-extensions"],
    namespaced: false,
    type_name: "admissionregistration.v1.MutatingAdmissionPolicy",
    grants: Some(Grants::Parameters),
    finalizers: FinalizerRule::Qualified,
    generation: true,
    unconditional_update: false,
    columns: COLUMNS,
    cells: |policy, now| {
        vec![
            column::name(policy),
            list(policy, "/spec/mutations").len().into(),
            param_kind_cell(policy),
            column::age(policy, now),
        ]
    },
    default: |policy| {
        fill(object(policy, "spec"), "failurePolicy", "Fail");
        if let Some(matched) = object_mut(policy, "/spec/matchConstraints") {
            default_match(matched);
        }
    },
    validate,
    decides_writes: true,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    Column { r#type: "integer", ..text_column("Mutations", 0, "How many changes it makes.") },
    text_column("ParamKind", 0, "The kind of its parameters."),
    column::AGE,
];

fn validate(policy: &Value, faults: &mut Faults) {
    let spec = at(policy, "/spec");
    fields::one_of(text(spec, "/failurePolicy"), "spec.failurePolicy", &FAILURE_POLICIES, faults);
    validate_param_kind(at(spec, "/paramKind"), "spec.paramKind", faults);
    validate_constraints(spec, faults);
    validate_operations(spec, faults);
    let has_params = !missing(spec, "/paramKind");
    validate_match_conditions(list(spec, "/matchConditions"), has_params, "spec.matchConditions", faults);
    let mut scope = Scope::of_mutations(has_params);
    validate_variables(list(spec, "/variables"), &mut scope, faults);
    let mutations = list(spec, "/mutations");
    if mutations.is_empty() {
        faults.required("spec.mutations", "mutations must contain at least one item");
    }
    for (index, mutation) in mutations.iter().enumerate() {
        validate_mutation(mutation, &scope, &format!("spec.mutations[{index}]"), faults);
    }
    match text(spec, "/reinvocationPolicy") {
        "" => faults.required("spec.reinvocationPolicy", ""),
        policy => fields::one_of(policy, "spec.reinvocationPolicy", &REINVOCATION_POLICIES, faults),
    }
}

/// There is nothing to change about what goes away.
fn validate_operations(spec: &Value, faults: &mut Faults) {
    for (index, rule) in list(spec, "/matchConstraints/resourceRules").iter().enumerate() {
        for (at, operation) in texts(rule, "/operations").enumerate().filter(|(_, operation)| *operation == "DELETE") {
            let path = format!("spec.matchConstraints.resourceRules[{index}].operations[{at}]");
            faults.not_supported(path, operation, &["*", "CONNECT", "CREATE", "UPDATE"]);
        }
    }
}

/// Exactly the form that the patch type names.
fn validate_mutation(mutation: &Value, scope: &Scope, path: &str, faults: &mut Faults) {
    const FORMS: [(&str, &str, Wanted); 2] =
        [("ApplyConfiguration", "applyConfiguration", Wanted::Object), ("JSONPatch", "jsonPatch", Wanted::Patches)];
    let kind = text(mutation, "/patchType");
    if kind.is_empty() {
        faults.required(format!("{path}.patchType"), "");
        return;
    }
    fields::one_of(kind, format!("{path}.patchType"), &FORMS.map(|(kind, ..)| kind), faults);
    for (form, member, wanted) in FORMS {
        let path = format!("{path}.{member}");
        match &mutation[member] {
            Value::Null if form == kind => faults.required(path, format!("must be specified when patchType is {form}")),
            Value::Null => {}
            _ if form != kind => faults.forbidden(path, format!("may only be specified when patchType is {form}")),
            form => match text(form, "/expression").trim() {
                "" => faults.required(format!("{path}.expression"), ""),
                expression => validate_expression(scope, expression, wanted, format!("{path}.expression"), faults),
            },
        }
    }
}
