//! Reading and filling a JSON tree. Absent, null and wrong-typed members read as empty: the schema has checked types before.

use serde_json::{Map, Value};

/// Nothing, to borrow from where a member is absent.
pub static NULL: Value = Value::Null;

/// The member at a JSON pointer, or null.
pub fn at<'a>(tree: &'a Value, pointer: &str) -> &'a Value {
    kontiki_model::tree::at(tree, pointer).unwrap_or(&NULL)
}

/// The string at a JSON pointer, or the empty string.
pub fn text<'a>(tree: &'a Value, pointer: &str) -> &'a str {
    at(tree, pointer).as_str().unwrap_or_default()
}

/// The string, or the fallback where it is absent or empty.
pub fn text_or<'a>(tree: &'a Value, pointer: &str, fallback: &'a str) -> &'a str {
    match text(tree, pointer) {
        "" => fallback,
        text => text,
    }
}

/// The integer at a JSON pointer, or zero.
pub fn int(tree: &Value, pointer: &str) -> i64 {
    at(tree, pointer).as_i64().unwrap_or_default()
}

/// The boolean at a JSON pointer, or false.
pub fn flag(tree: &Value, pointer: &str) -> bool {
    at(tree, pointer).as_bool().unwrap_or_default()
}

/// The elements of the array at a JSON pointer, or none.
pub fn list<'a>(tree: &'a Value, pointer: &str) -> &'a [Value] {
    at(tree, pointer).as_array().map(Vec::as_slice).unwrap_or_default()
}

/// The strings of the array at a JSON pointer.
pub fn texts<'a>(tree: &'a Value, pointer: &str) -> impl Iterator<Item = &'a str> {
    list(tree, pointer).iter().map(|one| one.as_str().unwrap_or_default())
}

/// The members of the object at a JSON pointer, in their order, or none.
pub fn members<'a>(tree: &'a Value, pointer: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    at(tree, pointer).as_object().into_iter().flatten()
}

/// How many members the object at a JSON pointer has.
pub fn count(tree: &Value, pointer: &str) -> usize {
    at(tree, pointer).as_object().map_or(0, Map::len)
}

/// Absent or null.
pub fn missing(tree: &Value, pointer: &str) -> bool {
    at(tree, pointer).is_null()
}

/// The object at a member, made if it is absent or null.
pub fn object<'a>(tree: &'a mut Value, member: &str) -> &'a mut Value {
    let slot = &mut tree[member];
    if slot.is_null() {
        *slot = Value::Object(Map::new());
    }
    slot
}

/// Sets a member that is absent or null. `tree` must be an object.
pub fn fill(tree: &mut Value, member: &str, value: impl Into<Value>) {
    let slot = &mut tree[member];
    if slot.is_null() {
        *slot = value.into();
    }
}

/// Sets a member that is absent, null or the empty string: what a Go string field without pointer calls unset.
pub fn fill_text(tree: &mut Value, member: &str, value: &str) {
    if tree.get(member).and_then(Value::as_str).unwrap_or_default().is_empty() {
        tree[member] = value.into();
    }
}

/// Sets a member that is absent, null or zero: what a Go integer field without pointer calls unset.
pub fn fill_int(tree: &mut Value, member: &str, value: i64) {
    if tree.get(member).and_then(Value::as_i64).unwrap_or_default() == 0 {
        tree[member] = value.into();
    }
}

/// The member, for changing it, if it is an object.
pub fn object_mut<'a>(tree: &'a mut Value, pointer: &str) -> Option<&'a mut Value> {
    tree.pointer_mut(pointer).filter(|found| found.is_object())
}

/// The elements of the array at a JSON pointer, for changing them.
pub fn list_mut<'a>(tree: &'a mut Value, pointer: &str) -> &'a mut [Value] {
    tree.pointer_mut(pointer).and_then(Value::as_array_mut).map(Vec::as_mut_slice).unwrap_or_default()
}

/// Removes a member of an object, keeping the order of the others.
pub fn remove(tree: &mut Value, member: &str) -> Option<Value> {
    tree.as_object_mut()?.shift_remove(member)
}

/// Makes a member of `new` what it is in `old`, also when it is absent there.
pub fn keep(new: &mut Value, old: &Value, member: &str) {
    match old.get(member) {
        Some(value) => new[member] = value.clone(),
        None => {
            remove(new, member);
        }
    }
}

/// The same of a member below others.
pub fn keep_at(new: &mut Value, old: &Value, path: &[&str]) {
    match path {
        [] => {}
        [member] => keep(new, old, member),
        [parent, rest @ ..] => keep_at(object(new, parent), at(old, &format!("/{parent}")), rest),
    }
}

/// `old` with `status` (and what the server keeps of metadata) taken from `new`: the usual update of a status subresource.
pub fn keep_all_but_status(new: &mut Value, old: &Value) {
    let status = remove(new, "status");
    let names: Vec<String> = new.as_object().into_iter().flatten().map(|(name, _)| name.clone()).collect();
    for name in names {
        if !matches!(name.as_str(), "metadata" | "apiVersion" | "kind") {
            remove(new, &name);
        }
    }
    for (name, value) in old.as_object().into_iter().flatten() {
        if !matches!(name.as_str(), "metadata" | "apiVersion" | "kind" | "status") {
            new[name.as_str()] = value.clone();
        }
    }
    if let Some(status) = status {
        new["status"] = status;
    }
}

/// Keeps the old single form and the newer list form of one fact in agreement, as Kubernetes' conversions do: the single one
/// fills an empty list, and is the list's first otherwise. `wrap` names the member that holds the value in each list element.
pub fn single_and_list(tree: &mut Value, single: &str, list_name: &str, wrap: Option<&str>) {
    let wrapped = |value: &str| match wrap {
        Some(member) => serde_json::json!({ member: value }),
        None => value.into(),
    };
    let first = tree.get(list_name).and_then(|all| all.get(0)).map(|first| match wrap {
        Some(member) => first.get(member).and_then(Value::as_str).unwrap_or_default().to_owned(),
        None => first.as_str().unwrap_or_default().to_owned(),
    });
    let value = tree.get(single).and_then(Value::as_str).unwrap_or_default().to_owned();
    match first {
        Some(first) if value.is_empty() => tree[single] = first.into(),
        Some(first) if first != value => tree[list_name] = Value::Array(vec![wrapped(&value)]),
        None if !value.is_empty() => tree[list_name] = Value::Array(vec![wrapped(&value)]),
        Some(_) | None => {}
    }
}

/// Sets the member at a JSON pointer whose parent is an object.
pub fn set(tree: &mut Value, pointer: &str, value: Value) {
    let (parent, member) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
    if let Some(parent) = tree.pointer_mut(parent).filter(|parent| parent.is_object()) {
        parent[member] = value;
    }
}
