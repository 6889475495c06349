//! An object without some of its fields.

use std::collections::HashSet;

use serde_json::{Map, Value};

use super::{
    element::{Element, Scalar},
    place::Place,
    set::FieldSet,
};
use crate::table::{Table, TypeId};

impl Table {
    /// Removes fields, items and entries. What is atomic goes whole or stays whole; what loses all it held becomes null.
    pub(super) fn remove_fields(&self, id: TypeId, value: &mut Value, fields: &FieldSet) {
        self.remove(Place::Struct(id), value, fields);
    }

    fn remove(&self, place: Place<'_>, value: &mut Value, fields: &FieldSet) {
        match (place, &mut *value) {
            (Place::Struct(_) | Place::Map(_) | Place::Free, Value::Object(members)) => {
                self.remove_members(place, members, fields);
                if members.is_empty() {
                    *value = Value::Null;
                }
            }
            (Place::Set, Value::Array(items)) => {
                items.retain(|item| !fields.has(&Element::Value(Scalar::of(item))));
                if items.is_empty() {
                    *value = Value::Null;
                }
            }
            (Place::Keyed(field, item), Value::Array(items)) => {
                items.retain_mut(|value| {
                    let Ok(element) = self.key_element(field, item, value) else { return true };
                    if fields.has(&element) {
                        return false;
                    }
                    if let Some(below) = fields.below(&element) {
                        self.remove(self.item_place(item, None), value, below);
                    }
                    true
                });
                if items.is_empty() {
                    *value = Value::Null;
                }
            }
            // Something below an atomic value goes: the value does.
            (Place::Leaf, Value::Object(_) | Value::Array(_)) => *value = Value::Null,
            (Place::Leaf | Place::Struct(_) | Place::Map(_) | Place::Free | Place::Set | Place::Keyed(..), _) => {}
        }
    }

    fn remove_members(&self, place: Place<'_>, members: &mut Map<String, Value>, fields: &FieldSet) {
        let mut gone = HashSet::new();
        for (element, member, _) in fields.nodes() {
            if let Element::Field(name) = element
                && member
            {
                gone.insert(name.as_str());
            }
        }
        if !gone.is_empty() {
            members.retain(|name, _| !gone.contains(name.as_str()));
        }
        for (element, member, below) in fields.nodes() {
            let Element::Field(name) = element else { continue };
            if !member && let Some(value) = members.get_mut(name) {
                let (inner, _) = self.step(place, element);
                self.remove(inner, value, below);
            }
        }
    }

    /// The set with every declared field of a struct that something is said below of.
    pub(super) fn with_parents(&self, id: TypeId, fields: &FieldSet) -> FieldSet {
        self.parents(Place::Struct(id), fields)
    }

    fn parents(&self, place: Place<'_>, fields: &FieldSet) -> FieldSet {
        let mut out = FieldSet::default();
        for (element, member, below) in fields.nodes() {
            let (inner, declared) = self.step(place, element);
            out.put(element.clone(), member || declared, self.parents(inner, below));
        }
        out
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::{builtin, ids};

    #[test]
    fn fields_items_and_entries_go() {
        let mut pod = json!({
            "metadata": {"labels": {"a": "1", "b": "2"}, "finalizers": ["x/a", "x/b"], "annotations": {"c": "1"}},
            "spec": {
                "containers": [{"name": "a", "image": "x", "args": ["1"]}, {"name": "b"}],
                "nodeSelector": {"disk": "ssd"}, "hostname": "h", "tolerations": [{"key": "k"}],
            },
        });
        let fields = json!({
            "f:metadata": {"f:labels": {"f:a": {}}, "f:finalizers": {"v:\"x/a\"": {}}, "f:annotations": {"f:c": {}}},
            "f:spec": {
                "f:containers": {"k:{\"name\":\"a\"}": {"f:image": {}}, "k:{\"name\":\"b\"}": {".": {}, "f:name": {}}},
                "f:nodeSelector": {"f:disk": {}}, "f:hostname": {}, "f:volumes": {"k:{\"name\":\"v\"}": {}}, "f:tolerations": {},
            },
        });
        builtin().remove_fields(ids::CORE_V1_POD, &mut pod, &FieldSet::from_json(&fields).unwrap());
        let expected = json!({
            "metadata": {"labels": {"b": "2"}, "finalizers": ["x/b"], "annotations": null},
            "spec": {"containers": [{"name": "a", "args": ["1"]}], "nodeSelector": null},
        });
        assert_eq!(pod, expected);
    }

    #[test]
    fn structs_on_the_way_are_said_and_entries_are_not() {
        let fields = json!({
            "f:metadata": {"f:labels": {"f:a": {}}},
            "f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {"f:resources": {"f:limits": {"f:cpu": {}}}}}},
        });
        let expected = json!({
            "f:metadata": {".": {}, "f:labels": {".": {}, "f:a": {}}},
            "f:spec": {".": {}, "f:containers": {".": {}, "k:{\"name\":\"a\"}": {
                "f:resources": {".": {}, "f:limits": {".": {}, "f:cpu": {}}},
            }}},
        });
        let set = FieldSet::from_json(&fields).unwrap();
        assert_eq!(builtin().with_parents(ids::CORE_V1_POD, &set).to_json(), expected);
    }
}
