//! FlowSchema.

use kontiki_model::Faults;
use serde_json::{Value, json};

use super::{GROUP, initial, stamp, validate_status};
use crate::column::{self, text_column};
use crate::names::{label, report, subdomain};
use crate::tree::{at, fill_int, flag, int, keep, list, object, text, texts};
use crate::{Column, Kind, Subresource, fields};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "FlowSchema",
    resource: "flowschemas",
    singular: "flowschema",
    namespaced: false,
    type_name: "flowcontrol.v1.FlowSchema",
    generation: true,
    subresources: &[Subresource::Status],
    status_resets: Kind::ALL_BUT_STATUS,
    columns: COLUMNS,
    cells: |schema, now| {
        let dangling = list(schema, "/status/conditions").iter().find(|one| text(one, "/type") == "Dangling");
        vec![
            column::name(schema),
            text(schema, "/spec/priorityLevelConfiguration/name").into(),
            int(schema, "/spec/matchingPrecedence").into(),
            column::or(text(schema, "/spec/distinguisherMethod/type"), "<none>"),
            column::age(schema, now),
            dangling.map_or("?", |condition| text(condition, "/status")).into(),
        ]
    },
    default: |schema| {
        fill_int(object(schema, "spec"), "matchingPrecedence", 1000);
        object(schema, "status");
    },
    prepare_create: |schema| schema["status"] = json!({}),
    prepare_update: |new, old| keep(new, old, "status"),
    stamp,
    validate,
    validate_status: |new, _, faults| validate_status(new, faults),
    initial: initial::flow_schemas,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("PriorityLevel", 0, "The priority level that its requests are of."),
    text_column("MatchingPrecedence", 0, "The schema with the least is asked first."),
    text_column("DistinguisherMethod", 0, "What makes requests one flow."),
    column::AGE,
    text_column("MissingPL", 0, "Whether its priority level is missing."),
];

const PRECEDENCE_MAX: i64 = 10_000;
const VERBS: [&str; 9] = ["create", "delete", "deletecollection", "get", "list", "patch", "proxy", "update", "watch"];

fn validate(schema: &Value, faults: &mut Faults) {
    let (name, spec) = (text(schema, "/metadata/name"), at(schema, "/spec"));
    validate_precedence(name, int(spec, "/matchingPrecedence"), faults);
    let method = at(spec, "/distinguisherMethod");
    if !method.is_null() {
        let supported = ["ByNamespace", "ByUser"];
        fields::one_of(text(method, "/type"), "spec.distinguisherMethod.type", &supported, faults);
    }
    const LEVEL: &str = "spec.priorityLevelConfiguration.name";
    match text(spec, "/priorityLevelConfiguration/name") {
        "" => faults.required(LEVEL, "must reference a priority level"),
        level => report(subdomain(level), level, LEVEL, faults),
    }
    for (index, rule) in list(spec, "/rules").iter().enumerate() {
        validate_rules(rule, &format!("spec.rules[{index}]"), faults);
    }
    initial::validate_fixed(schema, initial::fixed_flow_schema, faults);
    validate_status(schema, faults);
}

fn validate_precedence(name: &str, precedence: i64, faults: &mut Faults) {
    const PATH: &str = "spec.matchingPrecedence";
    if precedence <= 0 {
        faults.invalid(PATH, precedence, "must be a positive value");
    }
    if precedence > PRECEDENCE_MAX {
        faults.invalid(PATH, precedence, format!("must not be greater than {PRECEDENCE_MAX}"));
    }
    if precedence == 1 && name != "exempt" {
        faults.invalid(PATH, precedence, "only the schema named 'exempt' may have matchingPrecedence 1");
    }
}

fn validate_rules(rules: &Value, path: &str, faults: &mut Faults) {
    let subjects = list(rules, "/subjects");
    if subjects.is_empty() {
        faults.required(format!("{path}.subjects"), "subjects must contain at least one value");
    }
    for (index, subject) in subjects.iter().enumerate() {
        validate_subject(subject, &format!("{path}.subjects[{index}]"), faults);
    }
    let (resource, other) = (list(rules, "/resourceRules"), list(rules, "/nonResourceRules"));
    if resource.is_empty() && other.is_empty() {
        faults.required(path, "at least one of resourceRules and nonResourceRules has to be non-empty");
    }
    for (index, rule) in resource.iter().enumerate() {
        validate_resource_rule(rule, &format!("{path}.resourceRules[{index}]"), faults);
    }
    for (index, rule) in other.iter().enumerate() {
        validate_other_rule(rule, &format!("{path}.nonResourceRules[{index}]"), faults);
    }
}

/// Exactly the member that the kind names.
fn validate_subject(subject: &Value, path: &str, faults: &mut Faults) {
    const FORMS: [(&str, &str); 3] = [("Group", "group"), ("ServiceAccount", "serviceAccount"), ("User", "user")];
    let kind = text(subject, "/kind");
    let Some((_, member)) = FORMS.iter().find(|(known, _)| *known == kind) else {
        faults.not_supported(format!("{path}.kind"), kind, &FORMS.map(|(kind, _)| kind));
        return;
    };
    let path_member = format!("{path}.{member}");
    match &subject[*member] {
        Value::Null => {
            faults.required(path_member, format!("{member} is required when subject kind is '{kind}'"));
        }
        account if kind == "ServiceAccount" => validate_account(account, &path_member, faults),
        named if text(named, "/name").is_empty() => faults.required(format!("{path_member}.name"), ""),
        _ => {}
    }
    for (other, member) in FORMS.into_iter().filter(|(other, _)| *other != kind) {
        if !subject[member].is_null() {
            let detail = format!("{member} is forbidden when subject kind is not '{other}'");
            faults.forbidden(format!("{path}.{member}"), detail);
        }
    }
}

fn validate_account(account: &Value, path: &str, faults: &mut Faults) {
    match text(account, "/name") {
        "" => faults.required(format!("{path}.name"), ""),
        "*" => {}
        name => report(subdomain(name), name, &format!("{path}.name"), faults),
    }
    match text(account, "/namespace") {
        "" => faults.required(format!("{path}.namespace"), "must specify namespace for service account"),
        name => report(label(name), name, &format!("{path}.namespace"), faults),
    }
}

/// A list that must not be empty, in which `*` stands for all and therefore alone.
fn all_or_some(rule: &Value, member: &str, path: &str, words: (&str, &str), faults: &mut Faults) -> Listed {
    let path = format!("{path}.{member}");
    let all: Vec<&str> = texts(rule, &format!("/{member}")).collect();
    if all.is_empty() {
        faults.required(path, words.0);
        return Listed::Nothing;
    }
    if !all.contains(&"*") {
        return Listed::Some;
    }
    if all.len() > 1 {
        let value = at(rule, &format!("/{member}")).clone();
        faults.invalid(path, value, format!("if '*' is present, must not specify other {}", words.1));
    }
    Listed::All
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Listed {
    Nothing,
    Some,
    All,
}

fn validate_verbs(rule: &Value, path: &str, faults: &mut Faults) {
    let listed = all_or_some(rule, "verbs", path, ("verbs must contain at least one value", "verbs"), faults);
    if listed == Listed::Some && texts(rule, "/verbs").any(|verb| !VERBS.contains(&verb)) {
        faults.not_supported(format!("{path}.verbs"), at(rule, "/verbs").clone(), &VERBS);
    }
}

fn validate_resource_rule(rule: &Value, path: &str, faults: &mut Faults) {
    validate_verbs(rule, path, faults);
    let groups = ("resource rules must supply at least one api group", "api groups");
    all_or_some(rule, "apiGroups", path, groups, faults);
    let resources = ("resource rules must supply at least one resource", "resources");
    all_or_some(rule, "resources", path, resources, faults);
    if list(rule, "/namespaces").is_empty() && flag(rule, "/clusterScope") {
        return;
    }
    let words = ("resource rules that are not cluster scoped must supply at least one namespace", "namespaces");
    if all_or_some(rule, "namespaces", path, words, faults) == Listed::Some {
        for (index, name) in texts(rule, "/namespaces").enumerate() {
            for wrong in label(name) {
                let detail = format!("each member of this list must be '*' or a DNS-1123 label; {wrong}");
                faults.invalid(format!("{path}.namespaces[{index}]"), name, detail);
            }
        }
    }
}

fn validate_other_rule(rule: &Value, path: &str, faults: &mut Faults) {
    validate_verbs(rule, path, faults);
    let words = ("nonResourceURLs must contain at least one value", "non-resource URLs");
    if all_or_some(rule, "nonResourceURLs", path, words, faults) == Listed::Some {
        for (index, url) in texts(rule, "/nonResourceURLs").enumerate() {
            if let Err(wrong) = url_path(url) {
                faults.invalid(format!("{path}.nonResourceURLs[{index}]"), url, wrong);
            }
        }
    }
}

fn url_path(path: &str) -> Result<(), &'static str> {
    let stars = path.matches('*').count();
    match path {
        "" => Err("must not be empty"),
        "/" => Ok(()),
        path if !path.starts_with('/') => Err("must start with slash"),
        path if path.contains(' ') => Err("must not contain white-space"),
        path if path.contains("//") => Err("must not contain double slash"),
        path if stars > 1 || stars == 1 && !path.ends_with("/*") => Err("wildcard can only do suffix matching"),
        _ => Ok(()),
    }
}
