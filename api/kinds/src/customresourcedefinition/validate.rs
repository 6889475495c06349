//! What a definition must satisfy, with Kubernetes' paths and messages.

use std::collections::{BTreeSet, HashSet};

use kontiki_model::{Faults, names};
use kontiki_schema::{Structural, is_known_format};
use serde_json::Value;

use super::conversion;
use crate::custom::{JsonPath, is_true};
use crate::tree::{at, flag, list, members, text};

/// What holds for every definition.
pub fn validate(definition: &Value, faults: &mut Faults) {
    let group = text(definition, "/spec/group");
    match group {
        "" => faults.required("spec.group", ""),
        group => {
            names::subdomain(group).into_iter().for_each(|why| faults.invalid("spec.group", group, why));
            if !group.contains('.') {
                faults.invalid("spec.group", group, "should be a domain with at least one dot");
            }
        }
    }
    match text(definition, "/spec/scope") {
        "Cluster" | "Namespaced" => {}
        "" => faults.required("spec.scope", ""),
        other => faults.not_supported("spec.scope", other, &["Cluster", "Namespaced"]),
    }
    if flag(definition, "/spec/preserveUnknownFields") {
        let detail =
            "cannot set to true, set x-kubernetes-preserve-unknown-fields to true in spec.versions[*].schema instead";
        faults.invalid("spec.preserveUnknownFields", true, detail);
    }
    validate_names(at(definition, "/spec/names"), faults);
    validate_versions(definition, faults);
    conversion::validate(definition, faults);
    validate_stored_versions(definition, faults);
    validate_approval(definition, group, faults);
}

/// The name says what is defined.
pub fn validate_create(definition: &Value, faults: &mut Faults) {
    let wanted = format!("{}.{}", text(definition, "/spec/names/plural"), text(definition, "/spec/group"));
    let name = text(definition, "/metadata/name");
    if name != wanted {
        faults.invalid("metadata.name", name, "must be spec.names.plural+\".\"+spec.group");
    }
}

/// What clients rely on does not change under them.
pub fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    let mut fixed = vec!["group", "names.plural"];
    if is_true(old, "Established") {
        fixed.extend(["scope", "names.kind"]);
    }
    for member in fixed {
        let pointer = format!("/spec/{}", member.replace('.', "/"));
        if at(new, &pointer) != at(old, &pointer) {
            faults.invalid(format!("spec.{member}"), at(new, &pointer).clone(), "field is immutable");
        }
    }
}

/// What is stored must be a version that there is.
pub fn validate_stored_versions(definition: &Value, faults: &mut Faults) {
    let versions: Vec<&str> = list(definition, "/spec/versions").iter().map(|one| text(one, "/name")).collect();
    let stored = list(definition, "/status/storedVersions");
    for (index, version) in stored.iter().enumerate() {
        if !versions.contains(&version.as_str().unwrap_or_default()) {
            let path = format!("status.storedVersions[{index}]");
            let name = version.as_str().unwrap_or_default();
            let detail = format!(
                "missing from spec.versions; {name} was previously a storage version, and must remain in spec.versions until a \
                 storage migration ensures no data remains persisted in {name} and removes {name} from status.storedVersions"
            );
            faults.invalid(path, name, detail);
        }
    }
}

fn validate_names(names: &Value, faults: &mut Faults) {
    let mut check = |member: &str, value: &str, rule: &str| {
        let path = format!("spec.names.{member}");
        if value.is_empty() {
            return faults.required(path, "");
        }
        names::rfc1035_label(rule).into_iter().for_each(|why| faults.invalid(path.clone(), value, why));
    };
    for member in ["plural", "singular"] {
        let value = text(names, &format!("/{member}"));
        check(member, value, value);
    }
    for member in ["kind", "listKind"] {
        let value = text(names, &format!("/{member}"));
        check(member, value, &value.to_lowercase());
    }
    for (index, name) in list(names, "/shortNames").iter().filter_map(Value::as_str).enumerate() {
        check(&format!("shortNames[{index}]"), name, name);
    }
    for (index, name) in list(names, "/categories").iter().filter_map(Value::as_str).enumerate() {
        check(&format!("categories[{index}]"), name, name);
    }
    let (kind, list_kind) = (text(names, "/kind"), text(names, "/listKind"));
    if !kind.is_empty() && kind == list_kind {
        faults.invalid("spec.names.listKind", list_kind, "kind and listKind may not be the same");
    }
}

fn validate_versions(definition: &Value, faults: &mut Faults) {
    let versions = list(definition, "/spec/versions");
    let mut seen = HashSet::new();
    for (index, version) in versions.iter().enumerate() {
        let path = format!("spec.versions[{index}]");
        let name = text(version, "/name");
        names::rfc1035_label(name).into_iter().for_each(|why| faults.invalid(format!("{path}.name"), name, why));
        if !seen.insert(name) {
            faults.invalid("spec.versions", Value::Null, "must contain unique version names");
        }
        validate_version(version, &path, faults);
    }
    let storages = versions.iter().filter(|version| flag(version, "/storage")).count();
    if storages != 1 {
        faults.invalid("spec.versions", Value::Null, "must have exactly one version marked as storage version");
    }
}

fn validate_version(version: &Value, path: &str, faults: &mut Faults) {
    let warning = text(version, "/deprecationWarning");
    if !warning.is_empty() {
        let at = format!("{path}.deprecationWarning");
        if !flag(version, "/deprecated") {
            faults.invalid(at, warning, "can only be set for deprecated versions");
        } else if warning.len() > 256 {
            faults.too_long(at, 256);
        } else if warning.contains(|one: char| one.is_control()) {
            faults.invalid(
                at,
                warning,
                "must only contain printable UTF-8 characters; non-printable characters found at indices",
            );
        }
    }
    let schema = at(version, "/schema/openAPIV3Schema");
    let at_schema = format!("{path}.schema.openAPIV3Schema");
    let structural = match schema.is_null() {
        true => {
            faults.required(at_schema, "schemas are required");
            None
        }
        false => {
            if at(version, "/subresources/status").is_object() {
                validate_root(schema, &at_schema, faults);
            }
            Structural::admit(schema, &at_schema, faults)
        }
    };
    validate_scale(at(version, "/subresources/scale"), &format!("{path}.subresources.scale"), faults);
    validate_columns(version, path, faults);
    validate_fields(version, structural.as_ref(), path, faults);
}

/// What a schema says of the whole object would be lost on its status.
fn validate_root(schema: &Value, path: &str, faults: &mut Faults) {
    /// As Kubernetes lists them, and as they are written.
    const ALLOWED: [(&str, &str); 22] = [
        ("Description", "description"),
        ("Type", "type"),
        ("Format", "format"),
        ("Title", "title"),
        ("Maximum", "maximum"),
        ("ExclusiveMaximum", "exclusiveMaximum"),
        ("Minimum", "minimum"),
        ("ExclusiveMinimum", "exclusiveMinimum"),
        ("MaxLength", "maxLength"),
        ("MinLength", "minLength"),
        ("Pattern", "pattern"),
        ("MaxItems", "maxItems"),
        ("MinItems", "minItems"),
        ("UniqueItems", "uniqueItems"),
        ("MultipleOf", "multipleOf"),
        ("Required", "required"),
        ("Items", "items"),
        ("Properties", "properties"),
        ("ExternalDocs", "externalDocs"),
        ("Example", "example"),
        ("XPreserveUnknownFields", "x-kubernetes-preserve-unknown-fields"),
        ("XValidations", "x-kubernetes-validations"),
    ];
    let found = text(schema, "/type");
    if !matches!(found, "" | "object") {
        let detail =
            "only \"object\" is allowed as the type at the root of the schema if the status subresource is enabled";
        return faults.invalid(format!("{path}.type"), found, detail);
    }
    let says = |value: &Value| match value {
        Value::Null | Value::Bool(false) => false,
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Bool(true) | Value::Number(_) | Value::String(_) => true,
    };
    let known = |member: &str| ALLOWED.iter().any(|(_, written)| *written == member);
    if members(schema, "").any(|(member, value)| says(value) && !known(member)) {
        let names = ALLOWED.map(|(name, _)| name).join(" ");
        let detail =
            format!("only [{names}] fields are allowed at the root of the schema if the status subresource is enabled");
        faults.invalid(path, schema.clone(), detail);
    }
}

fn validate_scale(scale: &Value, path: &str, faults: &mut Faults) {
    if scale.is_null() {
        return;
    }
    for (member, prefix, required) in [
        ("specReplicasPath", ".spec.", true),
        ("statusReplicasPath", ".status.", true),
        ("labelSelectorPath", "", false),
    ] {
        let value = text(scale, &format!("/{member}"));
        let at = format!("{path}.{member}");
        match JsonPath::parse(value).ok().filter(|path| path.members().is_some()) {
            _ if value.is_empty() && required => faults.required(at, ""),
            _ if value.is_empty() => {}
            None => faults.invalid(at, value, "should be a simple json path without []"),
            Some(_) if !value.starts_with(prefix) => {
                faults.invalid(at, value, format!("should be a json path under {}", prefix.trim_end_matches('.')));
            }
            Some(_) if !(value.starts_with(".spec.") || value.starts_with(".status.")) => {
                faults.invalid(at, value, "should be a json path under either .spec or .status");
            }
            Some(_) => {}
        }
    }
}

fn validate_columns(version: &Value, path: &str, faults: &mut Faults) {
    const TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];
    const FORMATS: [&str; 9] = ["byte", "date", "date-time", "double", "float", "int32", "int64", "name", "password"];
    for (index, column) in list(version, "/additionalPrinterColumns").iter().enumerate() {
        let path = format!("{path}.additionalPrinterColumns[{index}]");
        if text(column, "/name").is_empty() {
            faults.required(format!("{path}.name"), "");
        }
        match text(column, "/type") {
            "" => faults.required(format!("{path}.type"), "must be one of boolean,date,integer,number,string"),
            known if TYPES.contains(&known) => {}
            other => faults.invalid(format!("{path}.type"), other, "must be one of boolean,date,integer,number,string"),
        }
        match text(column, "/format") {
            "" => {}
            known if FORMATS.contains(&known) => {}
            other => {
                let detail = format!("must be one of {}", FORMATS.join(","));
                faults.invalid(format!("{path}.format"), other, detail);
            }
        }
        match text(column, "/jsonPath") {
            "" => faults.required(format!("{path}.jsonPath"), ""),
            given if given.starts_with('.') => {}
            given => {
                faults.invalid(format!("{path}.jsonPath"), given, "must be a simple json path starting with .");
            }
        }
    }
}

fn validate_fields(version: &Value, structural: Option<&Structural>, path: &str, faults: &mut Faults) {
    const FIELDS_MAX: usize = 8;
    let fields = list(version, "/selectableFields");
    if fields.len() > FIELDS_MAX {
        faults.too_many(format!("{path}.selectableFields"), fields.len(), FIELDS_MAX);
    }
    let mut seen = HashSet::new();
    for (index, field) in fields.iter().enumerate() {
        let at = format!("{path}.selectableFields[{index}].jsonPath");
        let given = text(field, "/jsonPath");
        if given.is_empty() {
            faults.required(at, "");
            continue;
        }
        if !seen.insert(given) {
            faults.duplicate(format!("{path}.selectableFields[{index}]"), given);
        }
        let parsed = JsonPath::parse(given).ok();
        let Some(steps) = parsed.as_ref().and_then(JsonPath::members) else {
            faults.invalid(at, given, "is an invalid path: only simple json paths of fields are allowed");
            continue;
        };
        let Some(structural) = structural else { continue };
        match structural.selectable(&steps) {
            Ok(()) => {}
            Err(why) => faults.invalid(at, given, why),
        }
    }
}

/// Groups that belong to the Kubernetes community need its word.
fn validate_approval(definition: &Value, group: &str, faults: &mut Faults) {
    let protected = ["k8s.io", "kubernetes.io"];
    let is = |suffix: &&str| group == *suffix || group.ends_with(&format!(".{suffix}"));
    if !protected.iter().any(is) {
        return;
    }
    const ANNOTATION: &str = "api-approved.kubernetes.io";
    let path = format!("metadata.annotations[{ANNOTATION}]");
    let found = members(definition, "/metadata/annotations").find(|(name, _)| *name == ANNOTATION);
    let given = found.and_then(|(_, value)| value.as_str()).unwrap_or_default();
    let rule = "protected groups must have approval annotation \"api-approved.kubernetes.io\"";
    let see = "see https://github.com/kubernetes/enhancements/pull/1111";
    match given {
        "" => faults.required(path, format!("{rule}, {see}")),
        given if given.starts_with("unapproved") || given.starts_with("https://") || given.starts_with("http://") => {}
        given => {
            let detail = format!("{rule} with either a URL or a reason starting with \"unapproved\", {see}");
            faults.invalid(path, given, detail);
        }
    }
}

/// Formats that say nothing are told to whoever writes them.
pub fn unknown_formats(schema: &Value, out: &mut BTreeSet<String>) {
    if let Some(format) = schema.get("format").and_then(Value::as_str).filter(|format| !format.is_empty())
        && !is_known_format(text(schema, "/type"), format)
    {
        out.insert(format.to_owned());
    }
    for (_, below) in members(schema, "/properties") {
        unknown_formats(below, out);
    }
    for member in ["items", "additionalProperties", "not"] {
        if let Some(below) = schema.get(member).filter(|below| below.is_object()) {
            unknown_formats(below, out);
        }
    }
}
