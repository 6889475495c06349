//! admissionregistration.k8s.io: what else is asked before a write is taken, and the rules its kinds share.

pub mod mutatingpolicy;
pub mod mutatingpolicybinding;
pub mod mutatingwebhook;
pub mod validatingpolicy;
pub mod validatingpolicybinding;
pub mod validatingwebhook;
pub(crate) mod webhook;

use std::collections::HashSet;

use kontiki_cel::Type;
use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::names::{path_segment, qualified, report, rfc1035_label, subdomain};
use crate::policy::{Scope, Wanted};
use crate::tree::{at, fill, list, list_mut, members, missing, text, texts};
use crate::{fields, selector};

const GROUP: &str = "admissionregistration.k8s.io";
const MATCH_CONDITIONS_MAX: usize = 64;
const OPERATIONS: [&str; 5] = ["*", "CONNECT", "CREATE", "DELETE", "UPDATE"];
const MATCH_POLICIES: [&str; 2] = ["Equivalent", "Exact"];
const FAILURE_POLICIES: [&str; 2] = ["Fail", "Ignore"];
const REINVOCATION_POLICIES: [&str; 2] = ["IfNeeded", "Never"];

fn default_rules(holder: &mut Value, pointer: &str) {
    for rule in list_mut(holder, pointer) {
        fill(rule, "scope", "*");
    }
}

/// What a policy or a binding is about: everything that its rules name.
fn default_match(matched: &mut Value) {
    fill(matched, "matchPolicy", "Equivalent");
    fill(matched, "namespaceSelector", json!({}));
    fill(matched, "objectSelector", json!({}));
    default_rules(matched, "/resourceRules");
    default_rules(matched, "/excludeResourceRules");
}

fn validate_match(matched: &Value, path: &str, faults: &mut Faults) {
    fields::one_of(text(matched, "/matchPolicy"), format!("{path}.matchPolicy"), &MATCH_POLICIES, faults);
    for member in ["namespaceSelector", "objectSelector"] {
        selector::validate(at(matched, &format!("/{member}")), &format!("{path}.{member}"), faults);
    }
    for member in ["resourceRules", "excludeResourceRules"] {
        for (index, rule) in list(matched, &format!("/{member}")).iter().enumerate() {
            let path = format!("{path}.{member}[{index}]");
            let names: Vec<&str> = texts(rule, "/resourceNames").collect();
            for (at, name) in names.iter().enumerate() {
                let path = format!("{path}.resourceNames[{at}]");
                report(path_segment(name), name, &path, faults);
                if names[..at].contains(name) {
                    faults.duplicate(path, *name);
                }
            }
            validate_rule(rule, &path, faults);
        }
    }
}

/// A policy must say what it is about.
fn validate_constraints(spec: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.matchConstraints";
    if missing(spec, "/matchConstraints") {
        faults.required(PATH, "");
        return;
    }
    validate_match(at(spec, "/matchConstraints"), PATH, faults);
    if list(spec, "/matchConstraints/resourceRules").is_empty() {
        faults.required(format!("{PATH}.resourceRules"), "");
    }
}

/// Operations on resources of groups and versions.
fn validate_rule(rule: &Value, path: &str, faults: &mut Faults) {
    let alone = |member: &str, words: &str, faults: &mut Faults| {
        let path = format!("{path}.{member}");
        let all: Vec<&str> = texts(rule, &format!("/{member}")).collect();
        if all.is_empty() {
            faults.required(path, "");
        } else if all.len() > 1 && all.contains(&"*") {
            let detail = format!("if '*' is present, must not specify other {words}");
            faults.invalid(path, at(rule, &format!("/{member}")).clone(), detail);
        }
    };
    alone("operations", "operations", faults);
    for (index, operation) in texts(rule, "/operations").enumerate() {
        fields::one_of(operation, format!("{path}.operations[{index}]"), &OPERATIONS, faults);
    }
    alone("apiGroups", "API groups", faults);
    alone("apiVersions", "API versions", faults);
    for (index, _) in texts(rule, "/apiVersions").enumerate().filter(|(_, version)| version.is_empty()) {
        faults.required(format!("{path}.apiVersions[{index}]"), "");
    }
    validate_resources(rule, &format!("{path}.resources"), faults);
    fields::one_of(text(rule, "/scope"), format!("{path}.scope"), &["*", "Cluster", "Namespaced"], faults);
}

/// `pods`, `pods/log`, `pods/*`, `*/scale`, `*`, `*/*`: none that another one includes.
fn validate_resources(rule: &Value, path: &str, faults: &mut Faults) {
    let all: Vec<&str> = texts(rule, "/resources").collect();
    if all.is_empty() {
        faults.required(path, "");
    }
    let (mut whole_resources, mut whole_subresources) = (Vec::new(), Vec::new());
    for (index, one) in all.iter().enumerate() {
        let path = format!("{path}[{index}]");
        if one.is_empty() {
            faults.required(path, "");
            continue;
        }
        let Some((resource, subresource)) = one.split_once('/') else { continue };
        if whole_resources.contains(&resource) {
            let detail = format!("if '{resource}/*' is present, must not specify {one}");
            faults.invalid(path.as_str(), *one, detail);
        }
        if whole_subresources.contains(&subresource) {
            let detail = format!("if '*/{subresource}' is present, must not specify {one}");
            faults.invalid(path, *one, detail);
        }
        if subresource == "*" {
            whole_resources.push(resource);
        }
        if resource == "*" {
            whole_subresources.push(subresource);
        }
    }
    let value = || at(rule, "/resources").clone();
    if all.len() > 1 && all.contains(&"*/*") {
        faults.invalid(path, value(), "if '*/*' is present, must not specify other resources");
    }
    let plain = all.iter().rfind(|one| !one.is_empty() && !one.contains('/'));
    if all.contains(&"*") && plain.is_some_and(|plain| *plain != "*") {
        let detail = "if '*' is present, must not specify other resources without subresources";
        faults.invalid(path, value(), detail);
    }
}

/// An expression that must compile, as far as it is given.
fn validate_expression(scope: &Scope, text: &str, wanted: Wanted, path: String, faults: &mut Faults) {
    if let Err(why) = scope.compile(text, wanted) {
        faults.invalid(path, text, why);
    }
}

fn validate_match_conditions(conditions: &[Value], has_params: bool, path: &str, faults: &mut Faults) {
    let scope = Scope::of_conditions(has_params);
    if conditions.len() > MATCH_CONDITIONS_MAX {
        faults.too_many(path, conditions.len(), MATCH_CONDITIONS_MAX);
    }
    let mut names = HashSet::new();
    for (index, condition) in conditions.iter().enumerate() {
        let path = format!("{path}[{index}]");
        match text(condition, "/expression").trim() {
            "" => faults.required(format!("{path}.expression"), ""),
            expression => {
                validate_expression(&scope, expression, Wanted::Bool, format!("{path}.expression"), faults);
            }
        }
        let name = text(condition, "/name");
        fields::named(name, qualified, format!("{path}.name"), faults);
        if !name.is_empty() && !names.insert(name) {
            faults.duplicate(format!("{path}.name"), name);
        }
    }
}

/// Named expressions that others use: each may name those before it.
fn validate_variables(variables: &[Value], scope: &mut Scope, faults: &mut Faults) {
    for (index, variable) in variables.iter().enumerate() {
        let path = format!("spec.variables[{index}]");
        let name = text(variable, "/name");
        if name.trim().is_empty() {
            faults.required(format!("{path}.name"), "name is not specified");
        } else if !is_cel_identifier(name) {
            faults.invalid(format!("{path}.name"), name, "name is not a valid CEL identifier");
        }
        let expression = text(variable, "/expression");
        if expression.trim().is_empty() {
            faults.required(format!("{path}.expression"), "expression is not specified");
            continue;
        }
        match scope.compile(expression, Wanted::Anything) {
            Ok(program) => scope.declare(name, program.result().clone()),
            Err(why) => {
                faults.invalid(format!("{path}.expression"), expression, why);
                scope.declare(name, Type::Dyn);
            }
        }
    }
}

fn is_cel_identifier(name: &str) -> bool {
    crate::names::c_identifier(name).is_empty() && !kontiki_cel::is_reserved(name)
}

/// The kind of the objects that a policy takes its parameters from.
fn validate_param_kind(kind: &Value, path: &str, faults: &mut Faults) {
    if kind.is_null() {
        return;
    }
    let (api_version, name) = (text(kind, "/apiVersion"), text(kind, "/kind"));
    let version_path = format!("{path}.apiVersion");
    match api_version.split('/').collect::<Vec<_>>()[..] {
        [""] => faults.required(version_path, ""),
        [version] => validate_version("", version, api_version, &version_path, faults),
        [group, version] => validate_version(group, version, api_version, &version_path, faults),
        _ => {
            faults.invalid(version_path, api_version, format!("unexpected GroupVersion string: {api_version}"));
        }
    }
    let wrong = rfc1035_label(&name.to_lowercase());
    if name.is_empty() {
        faults.required(format!("{path}.kind"), "");
    } else if !wrong.is_empty() {
        let detail = format!("may have mixed case, but should otherwise match: {}", wrong.join(","));
        faults.invalid(format!("{path}.kind"), name, detail);
    }
}

fn validate_version(group: &str, version: &str, whole: &str, path: &str, faults: &mut Faults) {
    let wrong = if group.is_empty() { Vec::new() } else { subdomain(group) };
    if !wrong.is_empty() {
        faults.invalid(path, group, wrong.join(","));
    }
    let wrong = rfc1035_label(version);
    if version.is_empty() {
        faults.invalid(path, whole, "version must be specified");
    } else if !wrong.is_empty() {
        faults.invalid(path, version, wrong.join(","));
    }
}

/// A binding: which policy, with which parameters, about what.
fn validate_binding(spec: &Value, faults: &mut Faults) {
    fields::named(text(spec, "/policyName"), subdomain, "spec.policyName", faults);
    validate_param_ref(at(spec, "/paramRef"), "spec.paramRef", faults);
    if !missing(spec, "/matchResources") {
        // Kubernetes misspells the field here.
        validate_match(at(spec, "/matchResources"), "spec.matchResouces", faults);
    }
}

/// One object by name, or some by their labels.
fn validate_param_ref(reference: &Value, path: &str, faults: &mut Faults) {
    const EXCLUSIVE: &str = "name and selector are mutually exclusive";
    if reference.is_null() {
        return;
    }
    let (name, selected) = (text(reference, "/name"), at(reference, "/selector"));
    report(if name.is_empty() { Vec::new() } else { path_segment(name) }, name, &format!("{path}.name"), faults);
    if !name.is_empty() && !selected.is_null() {
        faults.forbidden(format!("{path}.name"), EXCLUSIVE);
    }
    if !selected.is_null() {
        selector::validate(selected, &format!("{path}.selector"), faults);
        if !name.is_empty() {
            faults.forbidden(format!("{path}.selector"), EXCLUSIVE);
        }
    } else if name.is_empty() {
        faults.required(path, "one of name or selector must be specified");
    }
    match text(reference, "/parameterNotFoundAction") {
        "" => faults.required(format!("{path}.parameterNotFoundAction"), ""),
        action => {
            fields::one_of(action, format!("{path}.parameterNotFoundAction"), &["Deny", "Allow"], faults);
        }
    }
}

/// `apiVersion/kind` of a policy's parameters.
fn param_kind_cell(policy: &Value) -> Value {
    match at(policy, "/spec/paramKind") {
        Value::Null => "<unset>".into(),
        kind => format!("{}/{}", text(kind, "/apiVersion"), text(kind, "/kind")).into(),
    }
}

/// The parameters of a binding: by name, or the selector as Go prints the struct.
fn param_ref_cell(binding: &Value) -> Value {
    let reference = at(binding, "/spec/paramRef");
    match (text(reference, "/namespace"), text(reference, "/name")) {
        (_, "") if missing(reference, "/selector") => "<unset>".into(),
        (_, "") => go_selector(at(reference, "/selector")).into(),
        ("", name) => name.into(),
        (namespace, name) => format!("{namespace}/{name}").into(),
    }
}

fn go_selector(selector: &Value) -> String {
    let labels: String = members(selector, "/matchLabels")
        .map(|(key, value)| format!("{key}: {},", value.as_str().unwrap_or_default()))
        .collect();
    let expressions: String = list(selector, "/matchExpressions")
        .iter()
        .map(|one| {
            let values = texts(one, "/values").collect::<Vec<_>>().join(" ");
            let (key, operator) = (text(one, "/key"), text(one, "/operator"));
            format!("LabelSelectorRequirement{{Key:{key},Operator:{operator},Values:[{values}],}},")
        })
        .collect();
    format!(
        "&LabelSelector{{MatchLabels:map[string]string{{{labels}}},MatchExpressions:[]LabelSelectorRequirement{{{expressions}}},}}"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn parameters_are_told_in_one_cell() {
        let cell = |reference: Value| param_ref_cell(&json!({"spec": {"paramRef": reference}}));
        assert_eq!(cell(Value::Null), "<unset>");
        assert_eq!(cell(json!({"name": "a"})), "a");
        assert_eq!(cell(json!({"name": "a", "namespace": "b"})), "b/a");
        let selector = json!({"matchLabels": {"a": "b"}, "matchExpressions": [{"key": "k", "operator": "In", "values": ["x", "y"]}]});
        assert_eq!(
            cell(json!({ "selector": selector })),
            "&LabelSelector{MatchLabels:map[string]string{a: b,},MatchExpressions:[]LabelSelectorRequirement{LabelSelectorRequirement{Key:k,Operator:In,Values:[x y],},},}"
        );
    }
}
