//! Values against a schema, with Kubernetes' messages. On updates, what was wrong before and did not change is let be.

use std::collections::{HashMap, HashSet};

use kontiki_model::{FaultKind, Faults};
use serde_json::{Map, Value};

use super::path::Path;
use super::{JsonType, Limits, ListKind, Node, Structural, type_name};

/// The value that another one is to replace, found again below it as far as the two can be told to belong together.
#[derive(Clone, Copy, Debug)]
pub struct Ratchet<'a>(Option<&'a Value>);

impl<'a> Ratchet<'a> {
    /// Nothing is replaced: everything is checked.
    pub const NEW: Ratchet<'static> = Ratchet(None);

    pub fn over(old: &'a Value) -> Self {
        Ratchet(Some(old))
    }

    /// Of an update, where there was something.
    pub fn of(old: Option<&'a Value>) -> Self {
        Ratchet(old)
    }

    pub fn old(self) -> Option<&'a Value> {
        self.0
    }

    fn unchanged(self, value: &Value) -> bool {
        self.0.is_some_and(|old| old == value)
    }

    pub(super) fn member(self, name: &str) -> Self {
        Ratchet(self.0.and_then(|old| old.get(name)))
    }

    /// Elements belong together by their keys; those of other lists do not.
    pub(super) fn elements(self, list: &Node) -> Elements<'a> {
        let mut by_keys = HashMap::new();
        if list.list == ListKind::Map {
            for old in self.0.and_then(Value::as_array).into_iter().flatten() {
                by_keys.entry(identity(list, old)).or_insert(old);
            }
        }
        Elements(by_keys)
    }
}

/// The elements of a list that another one is to replace.
pub(super) struct Elements<'a>(HashMap<String, &'a Value>);

impl<'a> Elements<'a> {
    /// What an element replaces.
    pub fn of(&self, list: &Node, item: &Value) -> Ratchet<'a> {
        Ratchet((!self.0.is_empty()).then(|| self.0.get(&identity(list, item)).copied()).flatten())
    }
}

fn identity(list: &Node, item: &Value) -> String {
    super::sorted(Value::Object(keys_of(list, item))).to_string()
}

/// The keys of an element of a list-map, defaults filled in.
pub(super) fn keys_of(list: &Node, item: &Value) -> Map<String, Value> {
    let default = |key: &String| list.items.as_ref()?.properties.get(key)?.default.clone();
    let key = |key: &String| Some((key.clone(), item.get(key).cloned().or_else(|| default(key))?));
    list.keys.iter().filter_map(key).collect()
}

impl Structural {
    /// Types, limits and lists of an object.
    pub fn validate(&self, object: &Value, old: Ratchet<'_>, faults: &mut Faults) {
        let mut found = Faults::default();
        check(&self.root, object, old, &Path::ROOT, &mut found);
        lists(&self.root, object, old, &Path::ROOT, &mut found);
        embedded(&self.root, object, &Path::ROOT, &mut found);
        faults.extend(found);
    }
}

/// A value by itself, as a default is one.
pub(super) fn value(node: &Node, value: &Value, path: &str, faults: &mut Faults) {
    let path = Path::at(path);
    check(node, value, Ratchet::NEW, &path, faults);
    lists(node, value, Ratchet::NEW, &path, faults);
}

fn check(node: &Node, value: &Value, old: Ratchet<'_>, path: &Path<'_>, faults: &mut Faults) {
    if faults.is_full() || old.unchanged(value) || (value.is_null() && node.nullable) {
        return;
    }
    if !fits(node, value) {
        return mistyped(node, value, path, faults);
    }
    limits(&node.limits, node, value, path, faults);
    match value {
        Value::Object(members) => {
            let mut names: Vec<&String> = members.keys().collect();
            names.sort_unstable();
            for name in names {
                let Some(below) = node.member(name) else { continue };
                let path = path.member(node, name);
                // The API's own members are checked by the API's own rules; what a schema says of `metadata` counts.
                if path.is_top() && matches!(name.as_str(), "apiVersion" | "kind") {
                    continue;
                }
                check(below, &members[name], old.member(name), &path, faults);
            }
        }
        Value::Array(items) => {
            let Some(below) = &node.items else { return };
            let old = old.elements(node);
            for (index, item) in items.iter().enumerate() {
                check(below, item, old.of(node, item), &path.item(index), faults);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn fits(node: &Node, value: &Value) -> bool {
    match node.r#type {
        _ if node.int_or_string => JsonType::Integer.fits(value) || value.is_string(),
        Some(JsonType::Number) => value.is_number(),
        Some(wanted) => wanted.fits(value),
        None => true,
    }
}

fn mistyped(node: &Node, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let wanted = match node.r#type {
        _ if node.int_or_string => "integer,string",
        Some(wanted) => wanted.name(),
        None => "",
    };
    let found = type_name(value);
    let detail = format!("{path} in body must be of type {wanted}: {found:?}");
    faults.add(FaultKind::TypeInvalid, path.to_string(), Some(found.into()), detail);
}

/// What a value of the right type must satisfy; `node` tells of alternatives what they are alternatives of.
fn limits(limits: &Limits, node: &Node, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    match value {
        Value::Number(_) => number(limits, node, value, path, faults),
        Value::String(text) => string(limits, text, path, faults),
        Value::Array(items) => {
            let count = items.len() as u64;
            if limits.items_min.is_some_and(|min| count < min) {
                let detail =
                    format!("{path} in body should have at least {} items", limits.items_min.unwrap_or_default());
                faults.invalid(path.to_string(), count, detail);
            }
            if let Some(max) = limits.items_max.filter(|max| count > *max) {
                faults.add(
                    FaultKind::TooMany,
                    path.to_string(),
                    Some(count.into()),
                    format!("must have at most {max} items"),
                );
            }
        }
        Value::Object(members) => {
            let count = members.len() as u64;
            for name in limits.required.iter().filter(|name| !members.contains_key(*name)) {
                faults.required(path.field(name).to_string(), "");
            }
            if let Some(min) = limits.properties_min.filter(|min| count < *min) {
                faults.invalid(
                    path.to_string(),
                    count,
                    format!("{path} in body should have at least {min} properties"),
                );
            }
            if let Some(max) = limits.properties_max.filter(|max| count > *max) {
                faults.add(
                    FaultKind::TooMany,
                    path.to_string(),
                    Some(count.into()),
                    format!("must have at most {max} items"),
                );
            }
        }
        Value::Null | Value::Bool(_) => {}
    }
    if !limits.choices.is_empty() && !limits.choices.contains(value) {
        let choices: Vec<String> = limits.choices.iter().map(Value::to_string).collect();
        let detail = format!("supported values: {}", choices.join(", "));
        faults.add(FaultKind::NotSupported, path.to_string(), Some(value.clone()), detail);
    }
    alternatives(limits, value, path, faults);
}

fn number(limits: &Limits, node: &Node, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let number = value.as_f64().unwrap_or_default();
    let plain =
        |bound: f64| if bound.fract() == 0.0 && bound.abs() < 1e15 { format!("{bound:.0}") } else { bound.to_string() };
    if let Some(min) = limits.minimum {
        let (wrong, words) = match limits.exclusive_minimum {
            true => (number <= min, "greater than"),
            false => (number < min, "greater than or equal to"),
        };
        if wrong {
            faults.invalid(path.to_string(), value.clone(), format!("{path} in body should be {words} {}", plain(min)));
        }
    }
    if let Some(max) = limits.maximum {
        let (wrong, words) = match limits.exclusive_maximum {
            true => (number >= max, "less than"),
            false => (number > max, "less than or equal to"),
        };
        if wrong {
            faults.invalid(path.to_string(), value.clone(), format!("{path} in body should be {words} {}", plain(max)));
        }
    }
    if let Some(factor) = limits.multiple_of.filter(|factor| *factor != 0.0) {
        let quotient = number / factor;
        if (quotient - quotient.round()).abs() > 1e-9 {
            faults.invalid(
                path.to_string(),
                value.clone(),
                format!("{path} in body should be a multiple of {}", plain(factor)),
            );
        }
    }
    let range = match limits.format.as_deref() {
        Some("int32") => i64::from(i32::MIN)..=i64::from(i32::MAX),
        _ => return,
    };
    if node.r#type == Some(JsonType::Integer) && value.as_i64().is_none_or(|number| !range.contains(&number)) {
        let detail = "Checked value must be of type integer with format int32 in body";
        faults.invalid(path.to_string(), value.clone(), detail);
    }
}

/// Of length and pattern, the first that is not kept is told.
fn string(limits: &Limits, text: &str, path: &Path<'_>, faults: &mut Faults) {
    let chars = text.chars().count() as u64;
    let too_long = limits.length_max.filter(|max| chars > *max);
    let too_short = limits.length_min.filter(|min| chars < *min);
    let pattern = limits.pattern.as_ref().filter(|pattern| !pattern.regex.is_match(text));
    match (too_long, too_short, pattern) {
        (Some(max), ..) => {
            faults.add(
                FaultKind::TooLong,
                path.to_string(),
                Some(text.into()),
                format!("may not be more than {max} bytes"),
            );
        }
        (None, Some(min), _) => {
            faults.invalid(path.to_string(), text, format!("{path} in body should be at least {min} chars long"))
        }
        (None, None, Some(pattern)) => {
            faults.invalid(path.to_string(), text, format!("{path} in body should match '{}'", pattern.text));
        }
        (None, None, None) => {}
    }
    if let Some(format) = limits.format.as_ref().filter(|format| !super::format::fits(format, text)) {
        faults.invalid(path.to_string(), text, format!("{path} in body must be of type {format}: {text:?}"));
    }
}

/// `allOf`, `anyOf`, `oneOf`, `not`.
fn alternatives(limits: &Limits, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    let tried = |part: &Node| {
        let mut found = Faults::default();
        check(part, value, Ratchet::NEW, path, &mut found);
        found
    };
    let said = |faults: &mut Faults, what: String| {
        faults.invalid(path.to_string(), "", format!("{:?} {what}", path.to_string()))
    };
    let nearest = |mut all: Vec<Faults>| {
        all.sort_by_key(Faults::count);
        all.into_iter().next().unwrap_or_default()
    };
    if !limits.any_of.is_empty() {
        let all: Vec<Faults> = limits.any_of.iter().map(tried).collect();
        if all.iter().all(|found| !found.is_empty()) {
            said(faults, "must validate at least one schema (anyOf)".to_owned());
            faults.extend(nearest(all));
        }
    }
    if !limits.one_of.is_empty() {
        let all: Vec<Faults> = limits.one_of.iter().map(tried).collect();
        match all.iter().filter(|found| found.is_empty()).count() {
            1 => {}
            0 => {
                said(faults, "must validate one and only one schema (oneOf). Found none valid".to_owned());
                faults.extend(nearest(all));
            }
            count => {
                said(
                    faults,
                    format!("must validate one and only one schema (oneOf). Found {count} valid alternatives"),
                );
            }
        }
    }
    if !limits.all_of.is_empty() {
        let all: Vec<Faults> = limits.all_of.iter().map(tried).filter(|found| !found.is_empty()).collect();
        if !all.is_empty() {
            said(faults, "must validate all the schemas (allOf)".to_owned());
            all.into_iter().for_each(|found| faults.extend(found));
        }
    }
    if limits.not.as_ref().is_some_and(|part| tried(part).is_empty()) {
        said(faults, "must not validate the schema (not)".to_owned());
    }
}

/// Sets hold each value once, list-maps each key.
fn lists(node: &Node, value: &Value, old: Ratchet<'_>, path: &Path<'_>, faults: &mut Faults) {
    if faults.is_full() || old.unchanged(value) {
        return;
    }
    match value {
        Value::Object(members) => {
            for (name, value) in members {
                let Some(below) = node.member(name) else { continue };
                let path = path.member(node, name);
                lists(below, value, old.member(name), &path, faults);
            }
        }
        Value::Array(items) => {
            let (mut seen, old) = (HashSet::new(), old.elements(node));
            for (index, item) in items.iter().enumerate() {
                let identity = match node.list {
                    ListKind::Atomic => None,
                    ListKind::Set => Some(item.clone()),
                    ListKind::Map => Some(Value::Object(keys_of(node, item))),
                };
                let path = path.item(index);
                if let Some(identity) = identity
                    && !seen.insert(super::sorted(identity.clone()).to_string())
                {
                    faults.duplicate(path.to_string(), identity);
                }
                if let Some(below) = &node.items {
                    lists(below, item, old.of(node, item), &path, faults);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

/// Objects of the API inside of an object say what they are.
fn embedded(node: &Node, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    match value {
        Value::Object(members) => {
            for name in ["apiVersion", "kind"].into_iter().filter(|_| node.embedded) {
                if members.get(name).and_then(Value::as_str).is_none_or(str::is_empty) {
                    faults.required(path.field(name).to_string(), "must not be empty");
                }
            }
            for (name, value) in members {
                let Some(below) = node.member(name) else { continue };
                let path = path.member(node, name);
                embedded(below, value, &path, faults);
            }
        }
        Value::Array(items) => {
            let Some(below) = &node.items else { return };
            for (index, item) in items.iter().enumerate() {
                embedded(below, item, &path.item(index), faults);
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::structural::rules::checked;

    fn schema(name: &str, of: &Value) -> Value {
        json!({"type": "object", "properties": {name: of}})
    }

    fn told(of: Value, value: Value) -> Vec<String> {
        checked(schema("f", &of), &json!({"f": value}), None)
    }

    #[test]
    fn limits_are_told_as_kubernetes_tells_them() {
        let table = [
            (
                json!({"type": "integer", "minimum": 1}),
                json!(0),
                "f: Invalid value: 0: f in body should be greater than or equal to 1",
            ),
            (
                json!({"type": "integer", "maximum": 9, "exclusiveMaximum": true}),
                json!(9),
                "f: Invalid value: 9: f in body should be less than 9",
            ),
            (
                json!({"type": "number", "multipleOf": 0.5}),
                json!(0.7),
                "f: Invalid value: 0.7: f in body should be a multiple of 0.5",
            ),
            (json!({"type": "string", "maxLength": 2}), json!("abc"), "f: Too long: may not be more than 2 bytes"),
            (
                json!({"type": "string", "minLength": 2}),
                json!("a"),
                "f: Invalid value: \"a\": f in body should be at least 2 chars long",
            ),
            (
                json!({"type": "string", "pattern": "^a$"}),
                json!("b"),
                "f: Invalid value: \"b\": f in body should match '^a$'",
            ),
            (
                json!({"type": "string", "enum": ["a", "b"]}),
                json!("c"),
                "f: Unsupported value: \"c\": supported values: \"a\", \"b\"",
            ),
            (
                json!({"type": "string", "format": "ipv4"}),
                json!("x"),
                "f: Invalid value: \"x\": f in body must be of type ipv4: \"x\"",
            ),
            (
                json!({"type": "array", "maxItems": 1, "items": {"type": "integer"}}),
                json!([1, 2]),
                "f: Too many: 2: must have at most 1 items",
            ),
            (
                json!({"type": "integer"}),
                json!("3"),
                "f: Invalid value: \"string\": f in body must be of type integer: \"string\"",
            ),
            (
                json!({"x-kubernetes-int-or-string": true}),
                json!(true),
                "f: Invalid value: \"boolean\": f in body must be of type integer,string: \"boolean\"",
            ),
            (
                json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}),
                json!({}),
                "f.a: Required value",
            ),
            (
                json!({"type": "string", "anyOf": [{"minLength": 3}, {"pattern": "^x"}]}),
                json!("a"),
                "f: Invalid value: \"\": \"f\" must validate at least one schema (anyOf)",
            ),
            (
                json!({"type": "string", "oneOf": [{"minLength": 1}, {"pattern": "^a"}]}),
                json!("a"),
                "f: Invalid value: \"\": \"f\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
            ),
            (
                json!({"type": "string", "not": {"enum": ["a"]}}),
                json!("a"),
                "f: Invalid value: \"\": \"f\" must not validate the schema (not)",
            ),
            (
                json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
                json!(["a", "a"]),
                "f[1]: Duplicate value: \"a\"",
            ),
        ];
        for (of, value, expected) in table {
            let found = told(of.clone(), value);
            assert_eq!(found.first().map(String::as_str), Some(expected), "{of}");
        }
    }

    #[test]
    fn values_that_fit_are_let_in() {
        let table = [
            (json!({"type": "integer"}), json!(3.0)),
            (json!({"type": "number"}), json!(3)),
            (json!({"type": "string", "nullable": true}), json!(null)),
            (
                json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}),
                json!("50%"),
            ),
            (json!({"type": "object", "additionalProperties": {"type": "integer"}}), json!({"a.b/c": 1})),
            (json!({"type": "array", "items": {"type": "string"}}), json!(["a", "a"])),
        ];
        for (of, value) in table {
            assert_eq!(told(of.clone(), value), Vec::<String>::new(), "{of}");
        }
    }

    #[test]
    fn what_was_wrong_before_and_did_not_change_is_let_be() {
        let of = schema(
            "f",
            &json!({"type": "object", "properties": {
                "a": {"type": "integer", "minimum": 5},
                "b": {"type": "string"},
                "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
                    "type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}},
            }}),
        );
        let old = json!({"f": {"a": 1, "b": "x", "l": [{"k": "1", "v": "long"}]}});
        let other = json!({"f": {"a": 1, "b": "y", "l": [{"k": "0"}, {"k": "1", "v": "long"}]}});
        assert_eq!(checked(of.clone(), &other, Some(&old)), Vec::<String>::new());
        let worse = json!({"f": {"a": 2, "b": "y", "l": [{"k": "2", "v": "long"}]}});
        let found = checked(of, &worse, Some(&old));
        assert_eq!(
            found,
            [
                "f.a: Invalid value: 2: f.a in body should be greater than or equal to 5",
                "f.l[0].v: Too long: may not be more than 1 bytes",
                "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing \
             errors to complete validation",
            ][..found.len()]
        );
    }

    /// Elements are found again, and paths written, once for each and not once for each pair.
    #[test]
    fn long_lists_are_checked_in_one_pass() {
        let items = json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}});
        let list = json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": items});
        let of = schema("f", &list);
        let long = |first: i64| {
            let item = |number: i64| json!({"k": number.to_string(), "v": if number == 0 { first } else { 1 }});
            json!({"f": (0..20_000).map(item).collect::<Vec<_>>()})
        };
        assert_eq!(checked(of, &long(2), Some(&long(1))), Vec::<String>::new());
        let of = json!({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}});
        let wrong = json!({"f": {"a".repeat(100_000): vec![1; 100_000]}});
        let found = checked(schema("f", &of), &wrong, None);
        assert!((1..10).contains(&found.len()), "{}", found.len());
    }
}
