//! Strategic merge patch: lists merge by the keys that the type table states, and the patch may carry directives
//! (`$patch`, `$retainKeys`, `$deleteFromPrimitiveList/…`, `$setElementOrder/…`).
//! Follows `k8s.io/apimachinery/pkg/util/strategicpatch` in order and in errors.

use std::collections::{HashMap, HashSet};

use serde_json::{Map, Value};

use super::{PatchError, without_nulls_of};
use crate::go;
use crate::table::{Field, Form, Item, Patch, Shape, Table, TypeId};

pub(super) const DIRECTIVE: &str = "$patch";
pub(super) const RETAIN_KEYS: &str = "$retainKeys";
pub(super) const DELETE_PREFIX: &str = "$deleteFromPrimitiveList/";
pub(super) const ORDER_PREFIX: &str = "$setElementOrder/";

type Members = Map<String, Value>;

impl Table {
    /// `original` after the patch. Both must be objects of the type.
    pub fn strategic_merge(&self, id: TypeId, original: Value, patch: Value) -> Result<Value, PatchError> {
        match (original, patch) {
            (Value::Object(original), Value::Object(patch)) => {
                let merge = Merge { table: self };
                merge.map(original, patch, Place::Struct(id)).map(Value::Object)
            }
            _ => Err(bad_request("invalid JSON document")),
        }
    }
}

pub(super) struct Merge<'a> {
    pub table: &'a Table,
}

/// What the table knows about the members of an object.
#[derive(Clone, Copy)]
pub(super) enum Place {
    Struct(TypeId),
    Map(Item),
    /// Raw values: whatever is below merges as plain objects.
    Free,
}

/// How a member merges.
pub(super) struct Rule<'a> {
    pub place: Place,
    pub patch: Patch,
    pub merge_key: &'a str,
}

fn bad_request(message: &str) -> PatchError {
    PatchError::BadRequest(message.to_owned())
}

fn no_merge_key(item: &Value, merge_key: &str) -> PatchError {
    PatchError::Internal(format!("map: {} does not contain declared merge key: {merge_key}", go::print(item)))
}

fn unknown_directive(directive: &Value, item: &Members) -> PatchError {
    let item = go::print(&Value::Object(item.clone()));
    PatchError::Internal(format!("unknown patch type: {} in map: {item}", go::print(directive)))
}

impl Merge<'_> {
    pub fn rule(&self, place: Place, key: &str) -> Result<Rule<'_>, PatchError> {
        let free = Rule { place: Place::Free, patch: Patch::Default, merge_key: "" };
        match place {
            Place::Free => Ok(free),
            Place::Map(item) => Ok(Rule { place: self.below(item), ..free }),
            Place::Struct(id) => match self.table.field(id, key) {
                Some(field) => Ok(self.field_rule(field)),
                None => {
                    let name = self.table.get(id).short_name();
                    let message = format!("unable to find api field in struct {name} for the json field {key:?}");
                    Err(PatchError::Internal(message))
                }
            },
        }
    }

    fn field_rule<'a>(&'a self, field: &'a Field) -> Rule<'a> {
        let place = match field.shape {
            Shape::One(item) | Shape::List(item) => self.below(item),
            Shape::Map(item) => Place::Map(item),
        };
        Rule { place, patch: field.patch, merge_key: &field.merge_key }
    }

    fn below(&self, item: Item) -> Place {
        match item {
            Item::Of(id) if self.table.get(id).form == Form::Struct => Place::Struct(id),
            _ => Place::Free,
        }
    }

    fn map(&self, mut original: Members, mut patch: Members, place: Place) -> Result<Members, PatchError> {
        if let Some(directive) = patch.shift_remove(DIRECTIVE) {
            return match directive.as_str() {
                Some("replace") => Ok(patch),
                Some("delete") => Ok(Members::new()),
                _ => {
                    patch.insert(DIRECTIVE.to_owned(), directive.clone());
                    Err(unknown_directive(&directive, &patch))
                }
            };
        }
        retain_keys(&mut original, &mut patch)?;
        self.ordered_lists(&mut original, &mut patch, place)?;
        without_nulls_of(&mut original, &patch);
        for (key, value) in patch {
            self.member(&mut original, &key, value, place)?;
        }
        Ok(original)
    }

    fn member(&self, original: &mut Members, key: &str, value: Value, place: Place) -> Result<(), PatchError> {
        let (key, delete) = match key.strip_prefix(DELETE_PREFIX) {
            Some(key) => (key, true),
            None => (key, false),
        };
        if value.is_null() {
            original.shift_remove(key);
            return Ok(());
        }
        let Some(old) = original.get_mut(key) else {
            if !delete {
                original.insert(key.to_owned(), added(value));
            }
            return Ok(());
        };
        match (old.take(), value) {
            (Value::Object(old_members), Value::Object(members)) => {
                let rule = self.rule(place, key)?;
                *old = match rule.patch {
                    Patch::Replace => Value::Object(members),
                    Patch::Default | Patch::Merge | Patch::MergeRetainKeys | Patch::RetainKeys => {
                        Value::Object(self.map(old_members, members, rule.place)?)
                    }
                };
            }
            (Value::Array(old_items), Value::Array(items)) => {
                let rule = self.rule(place, key)?;
                *old = Value::Array(self.list_by_strategy(old_items, items, &rule, delete)?);
            }
            (previous, _) if delete => *old = previous,
            (_, value) => *old = added(value),
        }
        Ok(())
    }

    fn list_by_strategy(
        &self,
        original: Vec<Value>,
        patch: Vec<Value>,
        rule: &Rule<'_>,
        delete: bool,
    ) -> Result<Vec<Value>, PatchError> {
        match rule.patch {
            Patch::Merge | Patch::MergeRetainKeys => self.list(original, patch, rule, delete),
            Patch::Default | Patch::Replace | Patch::RetainKeys if delete => self.list(original, patch, rule, delete),
            Patch::Default | Patch::Replace | Patch::RetainKeys => Ok(patch),
        }
    }

    fn list(
        &self,
        original: Vec<Value>,
        patch: Vec<Value>,
        rule: &Rule<'_>,
        delete: bool,
    ) -> Result<Vec<Value>, PatchError> {
        let Some(first) = original.first().or(patch.first()) else { return Ok(original) };
        let objects = first.is_object();
        if original.iter().chain(&patch).any(|item| item.is_array()) {
            return Err(PatchError::Unprocessable("lists of lists are not supported".to_owned()));
        }
        if original.iter().chain(&patch).any(|item| item.is_object() != objects) {
            return Err(PatchError::Internal("list element types are not identical".to_owned()));
        }
        if !objects {
            if delete {
                let deleted: HashSet<&Value> = patch.iter().collect();
                return Ok(original.into_iter().filter(|item| !deleted.contains(item)).collect());
            }
            let mut merged = original.clone();
            merged.extend(patch.iter().cloned());
            return Ok(ordered(deduplicated(merged), &patch, &original, ""));
        }
        if rule.merge_key.is_empty() {
            let name = match rule.place {
                Place::Struct(id) => self.table.get(id).short_name(),
                Place::Map(_) | Place::Free => "",
            };
            return Err(PatchError::Internal(format!("cannot merge lists without merge key for {name}")));
        }
        let (original, patch) = special_elements(original, patch, rule.merge_key)?;
        let mut merged = original.clone();
        let mut positions = Positions::of(&original, rule.merge_key);
        for item in &patch {
            let key = item.get(rule.merge_key).ok_or_else(|| no_merge_key(item, rule.merge_key))?;
            let position = *positions.first.entry(key).or_insert(merged.len());
            match (merged.get_mut(position), item) {
                (Some(old), Value::Object(members)) => {
                    let Value::Object(old_members) = old.take() else {
                        return Err(bad_request("invalid JSON document"));
                    };
                    *old = Value::Object(self.map(old_members, members.clone(), rule.place)?);
                }
                _ => merged.push(added(item.clone())),
            }
        }
        Ok(ordered(merged, &patch, &original, rule.merge_key))
    }

    /// Lists whose order the patch states. They are merged here and leave the patch.
    fn ordered_lists(&self, original: &mut Members, patch: &mut Members, place: Place) -> Result<(), PatchError> {
        let directives: Vec<String> = patch.keys().filter(|key| key.starts_with(ORDER_PREFIX)).cloned().collect();
        let malformed = || bad_request("invalid patch format of setElementOrder list");
        for directive in directives {
            let key = directive[ORDER_PREFIX.len()..].to_owned();
            let Some(Value::Array(order)) = patch.shift_remove(&directive) else { return Err(malformed()) };
            let old = match original.get(&key) {
                None | Some(Value::Null) => None,
                Some(Value::Array(items)) => Some(items.clone()),
                Some(_) => return Err(malformed()),
            };
            let new = match patch.get(&key) {
                None | Some(Value::Null) => None,
                Some(Value::Array(items)) => Some(items.clone()),
                Some(_) => return Err(malformed()),
            };
            let removed = patch.get(&key).is_some_and(Value::is_null);
            let rule = self.rule(place, &key)?;
            check_order(new.as_deref().unwrap_or_default(), &order, rule.merge_key)?;
            let merged = match (&old, &new) {
                (Some(old), None) if !removed => old.clone(),
                (None, Some(new)) => new.iter().cloned().map(added).collect(),
                (Some(old), Some(new)) => self.list_by_strategy(old.clone(), new.clone(), &rule, false)?,
                (_, None) => continue,
            };
            let items = ordered(merged, &order, old.as_deref().unwrap_or_default(), rule.merge_key);
            original.insert(key.clone(), Value::Array(items));
            patch.shift_remove(&key);
        }
        Ok(())
    }
}

fn retain_keys(original: &mut Members, patch: &mut Members) -> Result<(), PatchError> {
    let malformed = || bad_request("invalid patch format of retainKeys");
    let keys = match patch.shift_remove(RETAIN_KEYS) {
        None => return Ok(()),
        Some(Value::Array(keys)) => keys,
        Some(_) => return Err(malformed()),
    };
    let keys: HashSet<&str> = keys.iter().filter_map(Value::as_str).collect();
    let retained = |key: &str| keys.contains(key);
    let directive = |key: &str| key.starts_with(DELETE_PREFIX) || key.starts_with(ORDER_PREFIX);
    if patch.iter().any(|(key, value)| !value.is_null() && !directive(key) && !retained(key)) {
        return Err(malformed());
    }
    original.retain(|key, _| retained(key));
    Ok(())
}

/// Takes the elements with a directive out of a list patch and applies them to the original.
fn special_elements(
    mut original: Vec<Value>,
    patch: Vec<Value>,
    merge_key: &str,
) -> Result<(Vec<Value>, Vec<Value>), PatchError> {
    let (mut plain, mut deleted) = (Vec::with_capacity(patch.len()), HashSet::new());
    let mut replace = false;
    for item in patch {
        let Some(directive) = item.get(DIRECTIVE) else {
            plain.push(item);
            continue;
        };
        match directive.as_str() {
            Some("delete") => {
                let key = item.get(merge_key).ok_or_else(|| no_merge_key(&item, merge_key))?;
                deleted.insert(key.clone());
            }
            Some("replace") => replace = true,
            Some("merge") => {
                return Err(PatchError::Internal("merging lists cannot yet be specified in the patch".to_owned()));
            }
            _ => {
                let members = item.as_object().cloned().unwrap_or_default();
                return Err(unknown_directive(directive, &members));
            }
        }
    }
    original.retain(|old| old.get(merge_key).is_none_or(|key| !deleted.contains(key)));
    Ok(if replace { (plain, Vec::new()) } else { (original, plain) })
}

/// A value that the original did not have: without nulls and directives, which have nothing to act on.
fn added(value: Value) -> Value {
    match value {
        Value::Object(members) => {
            let keep = |key: &str, value: &Value| {
                !value.is_null()
                    && key != DIRECTIVE
                    && key != RETAIN_KEYS
                    && !key.starts_with(DELETE_PREFIX)
                    && !key.starts_with(ORDER_PREFIX)
            };
            let members = members.into_iter().filter(|(key, value)| keep(key, value));
            Value::Object(members.map(|(key, value)| (key, added(value))).collect())
        }
        Value::Array(items) => {
            let items = items.into_iter().filter(|item| item.get(DIRECTIVE).is_none());
            Value::Array(items.map(added).collect())
        }
        other => other,
    }
}

fn deduplicated(items: Vec<Value>) -> Vec<Value> {
    let mut seen = HashSet::new();
    items.into_iter().filter(|item| seen.insert(item.clone())).collect()
}

/// Where the items of a list are: by the merge key, or by the whole item where there is none. Lists are as long as a request allows, so
/// nothing here looks through one for each item of another.
struct Positions<'a> {
    first: HashMap<&'a Value, usize>,
    merge_key: &'a str,
}

impl<'a> Positions<'a> {
    fn of(list: &'a [Value], merge_key: &'a str) -> Self {
        let mut first = HashMap::with_capacity(list.len());
        for (position, item) in list.iter().enumerate() {
            if let Some(key) = identity(item, merge_key) {
                first.entry(key).or_insert(position);
            }
        }
        Positions { first, merge_key }
    }

    fn get(&self, item: &Value) -> Option<usize> {
        self.first.get(identity(item, self.merge_key)?).copied()
    }
}

fn identity<'a>(item: &'a Value, merge_key: &str) -> Option<&'a Value> {
    if merge_key.is_empty() { Some(item) } else { item.get(merge_key) }
}

/// Orders a merged list: what `order` names follows it, the rest keeps the server's order, and the two are interleaved
/// by the server's order as far as it knows both.
fn ordered(merged: Vec<Value>, order: &[Value], server: &[Value], merge_key: &str) -> Vec<Value> {
    let (order, server) = (Positions::of(order, merge_key), Positions::of(server, merge_key));
    let (mut named, mut rest): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|item| order.get(item).is_some());
    named.sort_by_cached_key(|item| order.get(item));
    rest.sort_by_cached_key(|item| server.get(item));
    let mut out = Vec::with_capacity(named.len() + rest.len());
    let (mut named, mut rest) = (named.into_iter().peekable(), rest.into_iter().peekable());
    while let (Some(left), Some(right)) = (rest.peek(), named.peek()) {
        let before = match (server.get(left), server.get(right)) {
            (Some(left), Some(right)) => left < right,
            _ => false,
        };
        out.extend(if before { rest.next() } else { named.next() });
    }
    out.extend(rest);
    out.extend(named);
    out
}

/// The elements of the patch must come in the order that `$setElementOrder` states.
fn check_order(patch: &[Value], order: &[Value], merge_key: &str) -> Result<(), PatchError> {
    let kept: Vec<&Value> =
        patch.iter().filter(|item| item.get(DIRECTIVE).and_then(Value::as_str) != Some("delete")).collect();
    let mut positions = order.iter();
    for item in &kept {
        let wanted = identity(item, merge_key);
        if wanted.is_none() || !positions.any(|one| identity(one, merge_key) == wanted) {
            let patch = go::print(&Value::Array(patch.to_vec()));
            let order = go::print(&Value::Array(order.to_vec()));
            let message =
                format!("The order in patch list:\n{patch}\n doesn't match $setElementOrder list:\n{order}\n");
            return Err(PatchError::Internal(message));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
