//! ValidatingAdmissionPolicy.

use kontiki_model::Faults;
use serde_json::{Value, json};

use super::{
    FAILURE_POLICIES, GROUP, default_match, param_kind_cell, validate_constraints, validate_expression,
    validate_match_conditions, validate_param_kind, validate_variables,
};
use crate::column::{self, text_column};
use crate::names::{qualified, report};
use crate::policy::{Scope, Wanted};
use crate::tree::{at, fill, keep, list, missing, object, object_mut, text};
use crate::{Column, FinalizerRule, Grants, Kind, Subresource, condition, fields};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "ValidatingAdmissionPolicy",
    resource: "validatingadmissionpolicies",
    singular: "validatingadmissionpolicy",
    categories: &["api-extensions"],
    namespaced: false,
    type_name: "admissionregistration.v1.ValidatingAdmissionPolicy",
    grants: Some(Grants::Parameters),
    finalizers: FinalizerRule::Qualified,
    generation: true,
    subresources: &[Subresource::Status],
    status_resets: Kind::ALL_BUT_STATUS,
    unconditional_update: false,
    columns: COLUMNS,
    cells: |policy, now| {
        vec![
            column::name(policy),
            list(policy, "/spec/validations").len().into(),
            param_kind_cell(policy),
            column::age(policy, now),
        ]
    },
    default: |policy| {
        fill(object(policy, "spec"), "failurePolicy", "Fail");
        if let Some(matched) = object_mut(policy, "/spec/matchConstraints") {
            default_match(matched);
        }
        object(policy, "status");
    },
    prepare_create: |policy| policy["status"] = json!({}),
    prepare_update: |new, old| keep(new, old, "status"),
    validate,
    validate_status: |new, _, faults| validate_status(new, faults),
    decides_writes: true,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    Column { r#type: "integer", ..text_column("Validations", 0, "How many expressions must hold.") },
    text_column("ParamKind", 0, "The kind of its parameters."),
    column::AGE,
];

const AUDIT_ANNOTATIONS_MAX: usize = 20;
const VALUE_EXPRESSION_BYTES_MAX: usize = 5 * 1024;
const REASONS: [&str; 3] = ["Forbidden", "Invalid", "RequestEntityTooLarge"];

fn validate(policy: &Value, faults: &mut Faults) {
    let spec = at(policy, "/spec");
    fields::one_of(text(spec, "/failurePolicy"), "spec.failurePolicy", &FAILURE_POLICIES, faults);
    validate_param_kind(at(spec, "/paramKind"), "spec.paramKind", faults);
    validate_constraints(spec, faults);
    let has_params = !missing(spec, "/paramKind");
    validate_match_conditions(list(spec, "/matchConditions"), has_params, "spec.matchConditions", faults);
    let mut scope = Scope::of_validations(has_params);
    validate_variables(list(spec, "/variables"), &mut scope, faults);
    let (validations, annotations) = (list(spec, "/validations"), list(spec, "/auditAnnotations"));
    if validations.is_empty() && annotations.is_empty() {
        for member in ["validations", "auditAnnotations"] {
            let detail = "validations or auditAnnotations must contain at least one item";
            faults.required(format!("spec.{member}"), detail);
        }
    }
    for (index, validation) in validations.iter().enumerate() {
        validate_validation(validation, &scope, &format!("spec.validations[{index}]"), faults);
    }
    if annotations.len() > AUDIT_ANNOTATIONS_MAX {
        let detail = format!("must not have more than {AUDIT_ANNOTATIONS_MAX} auditAnnotations");
        faults.invalid("spec.auditAnnotations", annotations.to_vec(), detail);
    }
    validate_annotations(text(policy, "/metadata/name"), annotations, &scope, faults);
}

fn validate_validation(validation: &Value, scope: &Scope, path: &str, faults: &mut Faults) {
    match text(validation, "/expression").trim() {
        "" => faults.required(format!("{path}.expression"), "expression is not specified"),
        expression => validate_expression(scope, expression, Wanted::Bool, format!("{path}.expression"), faults),
    }
    let (message, expression) = (text(validation, "/message"), text(validation, "/messageExpression"));
    if !expression.is_empty() && expression.trim().is_empty() {
        faults.invalid(format!("{path}.messageExpression"), expression, "must be non-empty if specified");
    } else if !expression.is_empty() {
        let path = format!("{path}.messageExpression");
        validate_expression(&scope.of_message(), expression, Wanted::String, path, faults);
    }
    if !message.is_empty() && message.trim().is_empty() {
        faults.invalid(format!("{path}.message"), message, "message must be non-empty if specified");
    } else if message.trim().contains(['\n', '\r']) {
        faults.invalid(format!("{path}.message"), message, "message must not contain line breaks");
    }
    if !missing(validation, "/reason") {
        fields::one_of(text(validation, "/reason"), format!("{path}.reason"), &REASONS, faults);
    }
}

fn validate_annotations(policy: &str, annotations: &[Value], scope: &Scope, faults: &mut Faults) {
    let mut keys = Vec::new();
    for (index, annotation) in annotations.iter().enumerate() {
        let path = format!("spec.auditAnnotations[{index}]");
        let (key, expression) = (text(annotation, "/key"), text(annotation, "/valueExpression").trim());
        let whole = format!("{policy}/{key}");
        report(qualified(&whole), &whole, &format!("{path}.key"), faults);
        if expression.is_empty() {
            faults.required(format!("{path}.valueExpression"), "valueExpression is not specified");
        } else if expression.len() > VALUE_EXPRESSION_BYTES_MAX {
            let detail = format!("must not exceed {VALUE_EXPRESSION_BYTES_MAX} bytes in length");
            faults.required(format!("{path}.valueExpression"), detail);
        } else {
            let path = format!("{path}.valueExpression");
            validate_expression(scope, expression, Wanted::StringOrNull, path, faults);
        }
        if keys.contains(&key) {
            faults.duplicate(format!("{path}.key"), key);
        }
        keys.push(key);
    }
}

fn validate_status(policy: &Value, faults: &mut Faults) {
    let warnings = list(policy, "/status/typeChecking/expressionWarnings");
    for (index, warning) in warnings.iter().enumerate() {
        let path = format!("status.typeChecking.expressionWarnings[{index}]");
        for member in ["warning", "fieldRef"] {
            if text(warning, &format!("/{member}")).trim().is_empty() {
                faults.required(format!("{path}.{member}"), "");
            }
        }
    }
    condition::validate_all(list(policy, "/status/conditions"), "status.conditions", faults);
}
