//! Values against a schema, with Kubernetes' messages. On updates, what was wrong before and did not change is let be.

mod embedded;
mod numbers;

use std::collections::{HashMap, HashSet};

use kontiki_model::{FaultKind, Faults};
use serde_json::{Map, Value};

use super::path::Path;
use super::{JsonType, Limits, ListKind, Node, Structural, format, type_name};

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
        embedded::check(&self.root, object, &Path::ROOT, &mut found);
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
    let (wanted, found) = match (node.r#type, known_format(node)) {
        _ if node.int_or_string => ("integer,string", type_name(value)),
        // Of what is no text, the format is told in the type's place.
        (Some(_), Some(format)) if !(value.is_string() || value.is_array() || value.is_null()) => {
            (format, format_name(value))
        }
        (wanted, _) => (wanted.map_or("", JsonType::name), type_name(value)),
    };
    let detail = format!("{path} in body must be of type {wanted}: {found:?}");
    faults.add(FaultKind::TypeInvalid, path.place(), Some(found.into()), detail);
    if let Value::Number(number) = value {
        numbers::range(node, number, path, faults);
    }
}

/// The format, where the type has such a one.
fn known_format(node: &Node) -> Option<&str> {
    let format = node.limits.format.as_deref()?;
    format::is_known(node.r#type.map_or("", JsonType::name), format).then_some(format)
}

/// The format that a value has by itself.
fn format_name(value: &Value) -> &'static str {
    match value {
        Value::Number(number) if number.is_i64() => "int64",
        Value::Number(_) => "float64",
        Value::Null | Value::Bool(_) | Value::String(_) | Value::Array(_) | Value::Object(_) => "",
    }
}

/// What a value of the right type must satisfy; `node` tells of alternatives what they are alternatives of.
fn limits(limits: &Limits, node: &Node, value: &Value, path: &Path<'_>, faults: &mut Faults) {
    match value {
        Value::Number(number) => numbers::check(limits, node, number, path, faults),
        Value::String(text) => string(limits, text, path, faults),
        Value::Array(items) => {
            let count = items.len() as u64;
            if limits.items_min.is_some_and(|min| count < min) {
                let detail =
                    format!("{path} in body should have at least {} items", limits.items_min.unwrap_or_default());
                faults.invalid(path.place(), count, detail);
            }
            if let Some(max) = limits.items_max.filter(|max| count > *max) {
                faults.add(
                    FaultKind::TooMany,
                    path.place(),
                    Some(count.into()),
                    format!("must have at most {max} items"),
                );
            }
        }
        Value::Object(members) => {
            let count = members.len() as u64;
            for name in limits.required.iter().filter(|name| !members.contains_key(*name)) {
                faults.required(path.field(name).place(), "");
            }
            if let Some(min) = limits.properties_min.filter(|min| count < *min) {
                faults.invalid(path.place(), count, format!("{path} in body should have at least {min} properties"));
            }
            if let Some(max) = limits.properties_max.filter(|max| count > *max) {
                faults.add(
                    FaultKind::TooMany,
                    path.place(),
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
        faults.add(FaultKind::NotSupported, path.place(), Some(value.clone()), detail);
    }
    alternatives(limits, value, path, faults);
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
                path.place(),
                Some(text.into()),
                format!("may not be more than {max} bytes"),
            );
        }
        (None, Some(min), _) => {
            faults.invalid(path.place(), text, format!("{path} in body should be at least {min} chars long"))
        }
        (None, None, Some(pattern)) => {
            faults.invalid(path.place(), text, format!("{path} in body should match '{}'", pattern.text));
        }
        (None, None, None) => {}
    }
    if let Some(format) = limits.format.as_ref().filter(|format| !format::fits(format, text)) {
        faults.invalid(path.place(), text, format!("{path} in body must be of type {format}: {text:?}"));
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
        faults.invalid(path.place_of_whole(), "", format!("{:?} {what}", path.to_string()))
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
                    faults.duplicate(path.place(), identity);
                }
                if let Some(below) = &node.items {
                    lists(below, item, old.of(node, item), &path, faults);
                }
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests;
