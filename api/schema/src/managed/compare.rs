//! What turned one object into another.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use super::{
    element::{Element, Scalar},
    place::Place,
    set::FieldSet,
};
use crate::table::{Table, TypeId};

/// The paths at which two objects differ.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Comparison {
    pub added: FieldSet,
    pub modified: FieldSet,
    pub removed: FieldSet,
}

impl Comparison {
    pub fn is_same(&self) -> bool {
        self.added.is_empty() && self.modified.is_empty() && self.removed.is_empty()
    }

    /// Forgets a field and all below it.
    pub fn cut(&mut self, path: &[&str]) {
        for set in [&mut self.added, &mut self.modified, &mut self.removed] {
            set.cut(path);
        }
    }
}

impl Table {
    /// Compares two objects of a type.
    pub fn differences(&self, id: TypeId, old: &Value, new: &Value) -> Comparison {
        let mut walk = Walk { table: self, path: Vec::new(), comparison: Comparison::default() };
        walk.compare(Place::Struct(id), Some(old), Some(new));
        walk.comparison
    }
}

struct Walk<'a> {
    table: &'a Table,
    path: Vec<Element>,
    comparison: Comparison,
}

type Side<'a> = Option<&'a Value>;

impl<'a> Walk<'a> {
    fn compare(&mut self, place: Place<'a>, old: Side<'_>, new: Side<'_>) {
        if old == new {
            return;
        }
        match place {
            Place::Leaf => return self.leaf(old, new),
            Place::Struct(_) | Place::Map(_) => match (members(old), members(new)) {
                (None, None) => return self.leaf(old, new),
                (old, new) => self.members(place, old, new),
            },
            Place::Free => match (members(old), members(new)) {
                (None, None) => return self.leaf(old, new),
                (before, after) if is_value(old) || is_value(new) => {
                    // A map in the place of something else, or the other way round.
                    self.leaf(old, new);
                    return self.members(place, before, after);
                }
                (old, new) => self.members(place, old, new),
            },
            Place::Set => match (items(old), items(new)) {
                ([], []) => return self.leaf(old, new),
                (old, new) => {
                    let element = |value: &Value| Some(Element::Value(Scalar::of(value)));
                    self.items(Place::Leaf, by_element(old, element), by_element(new, element));
                }
            },
            Place::Keyed(field, item) => match (items(old), items(new)) {
                ([], []) => return self.leaf(old, new),
                (old, new) => {
                    let table = self.table;
                    let element = |value: &Value| table.key_element(field, item, value).ok();
                    self.items(table.item_place(item, None), by_element(old, element), by_element(new, element));
                }
            },
        }
        match (old, new) {
            (None, _) => self.comparison.added.insert(&self.path),
            (_, None) => self.comparison.removed.insert(&self.path),
            (Some(_), Some(_)) => {}
        }
    }

    fn leaf(&mut self, old: Side<'_>, new: Side<'_>) {
        match (old, new) {
            (None, _) => self.comparison.added.insert(&self.path),
            (_, None) => self.comparison.removed.insert(&self.path),
            (Some(_), Some(_)) => self.comparison.modified.insert(&self.path),
        }
    }

    fn members(&mut self, place: Place<'a>, old: Option<&Map<String, Value>>, new: Option<&Map<String, Value>>) {
        for (name, before) in old.into_iter().flatten() {
            self.member(place, name, Some(before), new.and_then(|new| new.get(name)));
        }
        let known = |name: &String| old.is_some_and(|old| old.contains_key(name));
        for (name, after) in new.into_iter().flatten().filter(|(name, _)| !known(name)) {
            self.member(place, name, None, Some(after));
        }
    }

    fn member(&mut self, place: Place<'a>, name: &str, old: Side<'_>, new: Side<'_>) {
        if old == new {
            return;
        }
        self.path.push(Element::field(name));
        let (inner, _) = self.table.step(place, &self.path[self.path.len() - 1]);
        self.compare(inner, old, new);
        self.path.pop();
    }

    fn items(&mut self, place: Place<'a>, old: Items<'_>, new: Items<'_>) {
        let added = new.iter().filter(|(element, _)| !old.contains_key(element));
        let all = old.iter().map(|(element, values)| (element, values.as_slice()));
        for (element, before) in all.chain(added.map(|(element, _)| (element, [].as_slice()))) {
            let after = new.get(element).map(Vec::as_slice).unwrap_or_default();
            self.path.push(element.clone());
            self.item(place, before, after);
            self.path.pop();
        }
    }

    /// Items with the same keys. Those that occur several times on a side are one value there.
    fn item(&mut self, place: Place<'a>, before: &[&Value], after: &[&Value]) {
        match (before, after) {
            ([], []) => {}
            ([] | [_], [] | [_]) => self.compare(place, before.first().copied(), after.first().copied()),
            (many, one @ ([] | [_])) => {
                debug_assert!(many.len() > 1, "the other lengths are above");
                if let [one] = one {
                    self.compare(place, None, Some(one));
                }
                self.comparison.removed.insert(&self.path);
            }
            ([] | [_], _) => {
                if let [one] = before {
                    self.compare(place, Some(one), None);
                }
                self.comparison.added.insert(&self.path);
            }
            (before, after) => {
                if before != after {
                    self.comparison.modified.insert(&self.path);
                }
            }
        }
    }
}

/// The members of a map that is not empty.
fn members(side: Side<'_>) -> Option<&Map<String, Value>> {
    side.and_then(Value::as_object).filter(|members| !members.is_empty())
}

fn items(side: Side<'_>) -> &[Value] {
    side.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

/// Neither absent nor null nor a map.
fn is_value(side: Side<'_>) -> bool {
    side.is_some_and(|value| !value.is_null() && !value.is_object())
}

type Items<'v> = BTreeMap<Element, Vec<&'v Value>>;

fn by_element(items: &[Value], element: impl Fn(&Value) -> Option<Element>) -> Items<'_> {
    let mut out: Items<'_> = BTreeMap::new();
    for value in items {
        // Validation refuses what has no place in its list.
        if let Some(element) = element(value) {
            out.entry(element).or_default().push(value);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{builtin, ids};

    /// Added, modified, removed.
    fn check(id: TypeId, old: Value, new: Value, expected: [Value; 3]) {
        let Comparison { added, modified, removed } = builtin().differences(id, &old, &new);
        assert_eq!([added, modified, removed].map(|set| set.to_json()), expected, "{old} -> {new}");
        let back = builtin().differences(id, &new, &old);
        assert_eq!([back.removed, back.modified, back.added].map(|set| set.to_json()), expected, "{new} -> {old}");
        assert!(builtin().differences(id, &new, &new).is_same());
    }

    fn spec(old: Value, new: Value, expected: [Value; 3]) {
        check(ids::CORE_V1_PODSPEC, old, new, expected);
    }

    #[test]
    fn what_is_new_is_added_with_all_it_holds() {
        let containers = json!({"containers": [{"name": "a", "image": "x", "ports": [{"containerPort": 1}]}]});
        let item = json!({
            ".": {}, "f:image": {}, "f:name": {},
            "f:ports": {".": {}, "k:{\"containerPort\":1,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
        });
        let set = json!({"f:containers": {".": {}, "k:{\"name\":\"a\"}": item}});
        spec(json!({}), containers.clone(), [set, json!({}), json!({})]);
        // A null that Go always writes is there on both sides.
        let set = json!({"f:containers": {"k:{\"name\":\"a\"}": item}});
        let Comparison { added, .. } =
            builtin().differences(ids::CORE_V1_PODSPEC, &json!({"containers": null}), &containers);
        assert_eq!(added.to_json(), set);
    }

    #[test]
    fn lists_with_keys_and_sets_are_compared_item_by_item() {
        spec(
            json!({"containers": [{"name": "a", "image": "x"}, {"name": "b"}]}),
            json!({"containers": [{"name": "b"}, {"name": "a", "image": "y"}]}),
            [json!({}), json!({"f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}}}), json!({})],
        );
        check(
            ids::META_V1_OBJECTMETA,
            json!({"finalizers": ["a", "b"]}),
            json!({"finalizers": ["c", "b"]}),
            [json!({"f:finalizers": {"v:\"c\"": {}}}), json!({}), json!({"f:finalizers": {"v:\"a\"": {}}})],
        );
    }

    #[test]
    fn atomic_values_are_one_field() {
        spec(
            json!({"nodeSelector": {"a": "1"}, "tolerations": [{"key": "a"}]}),
            json!({"nodeSelector": {"a": "1", "b": "2"}, "tolerations": [{"key": "b"}]}),
            [json!({}), json!({"f:nodeSelector": {}, "f:tolerations": {}}), json!({})],
        );
    }

    #[test]
    fn empty_and_absent_differ_and_filling_is_no_change_of_the_field() {
        spec(json!({}), json!({"securityContext": {}}), [json!({"f:securityContext": {}}), json!({}), json!({})]);
        spec(
            json!({"securityContext": {}}),
            json!({"securityContext": {"runAsUser": 1}}),
            [json!({"f:securityContext": {"f:runAsUser": {}}}), json!({}), json!({})],
        );
        check(
            ids::META_V1_OBJECTMETA,
            json!({"labels": {}}),
            json!({"labels": null}),
            [json!({}), json!({"f:labels": {}}), json!({})],
        );
    }

    #[test]
    fn items_that_occur_several_times_are_one_value() {
        let list = |images: &[&str]| {
            let items: Vec<_> = images.iter().map(|image| json!({"name": "a", "image": image})).collect();
            json!({"containers": items})
        };
        let item = |set: Value| json!({"f:containers": {"k:{\"name\":\"a\"}": set}});
        spec(list(&["x", "y"]), list(&["x", "z"]), [json!({}), item(json!({})), json!({})]);
        spec(list(&["x", "y"]), list(&["x", "y", "y"]), [json!({}), item(json!({})), json!({})]);
        let Comparison { added, modified, removed } =
            builtin().differences(ids::CORE_V1_PODSPEC, &list(&["x", "y"]), &list(&["z"]));
        assert_eq!(added.to_json(), item(json!({".": {}, "f:image": {}, "f:name": {}})));
        assert_eq!((modified.to_json(), removed.to_json()), (json!({}), item(json!({}))));
    }
}
