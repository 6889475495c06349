//! All that an object says, as a set of paths.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    element::{Element, Scalar},
    place::Place,
    set::FieldSet,
};
use crate::table::{Field, Item, Table, TypeId};

impl Table {
    /// The leaves of an object, the items of its lists and the entries of its maps. An item that occurs twice is one path.
    pub fn field_set(&self, id: TypeId, value: &Value) -> FieldSet {
        let mut out = FieldSet::default();
        self.said(Place::Struct(id), value, &mut out);
        out
    }

    /// Collects what a value says below its place; true if it says the place itself.
    fn said(&self, place: Place<'_>, value: &Value, below: &mut FieldSet) -> bool {
        match (place, value) {
            (Place::Leaf, _) => return true,
            (Place::Struct(_) | Place::Map(_), Value::Object(members)) => {
                for (name, value) in members {
                    self.member_said(place, name, value, below);
                }
            }
            (Place::Free, Value::Object(members)) => {
                for (name, value) in members {
                    self.member_said(place, name, value, below);
                }
            }
            (Place::Free, Value::Null) => {}
            (Place::Free, Value::Bool(_) | Value::Number(_) | Value::String(_) | Value::Array(_)) => return true,
            (Place::Set, Value::Array(items)) => {
                items.iter().for_each(|item| below.put(Element::Value(Scalar::of(item)), true, FieldSet::default()));
            }
            (Place::Keyed(field, item), Value::Array(items)) => self.items_said(field, item, items, below),
            // What does not fit its type says nothing.
            (Place::Struct(_) | Place::Map(_) | Place::Set | Place::Keyed(..), _) => {}
        }
        false
    }

    fn member_said(&self, place: Place<'_>, name: &str, value: &Value, below: &mut FieldSet) {
        let element = Element::field(name);
        let (inner, declared) = self.step(place, &element);
        let mut set = FieldSet::default();
        let said = self.said(inner, value, &mut set);
        let nothing = value.is_null() || value.as_object().is_some_and(serde_json::Map::is_empty);
        below.put(element, said || nothing || !declared, set);
    }

    fn items_said(&self, field: &Field, item: Item, items: &[Value], below: &mut FieldSet) {
        let mut known: BTreeMap<Element, Option<&Value>> = BTreeMap::new();
        for value in items {
            if let Ok(element) = self.key_element(field, item, value) {
                known.entry(element).and_modify(|twice| *twice = None).or_insert(Some(value));
            }
        }
        for (element, value) in known {
            let mut set = FieldSet::default();
            if let Some(value) = value {
                self.said(self.item_place(item, None), value, &mut set);
            }
            below.put(element, true, set);
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{builtin, ids};

    fn check(id: TypeId, value: Value, expected: Value) {
        assert_eq!(builtin().field_set(id, &value).to_json(), expected, "{value}");
    }

    #[test]
    fn leaves_items_and_entries_are_said() {
        let pod = json!({
            "metadata": {"labels": {"a": "1"}, "finalizers": ["x/y"], "annotations": {}},
            "spec": {
                "nodeSelector": {"disk": "ssd"},
                "containers": [
                    {"name": "a", "args": ["1", "2"], "ports": [{"containerPort": 80}], "resources": {"limits": {"cpu": 1}}},
                    {"name": "b", "securityContext": {}, "env": [], "image": null},
                ],
                "imagePullSecrets": [{"name": "s"}],
                "tolerations": [{"key": "k"}],
            },
        });
        let expected = json!({
            "f:metadata": {"f:annotations": {}, "f:finalizers": {"v:\"x/y\"": {}}, "f:labels": {"f:a": {}}},
            "f:spec": {
                "f:containers": {
                    "k:{\"name\":\"a\"}": {
                        ".": {}, "f:args": {}, "f:name": {},
                        "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
                        "f:resources": {"f:limits": {"f:cpu": {}}},
                    },
                    "k:{\"name\":\"b\"}": {".": {}, "f:image": {}, "f:name": {}, "f:securityContext": {}},
                },
                "f:imagePullSecrets": {"k:{\"name\":\"s\"}": {}},
                "f:nodeSelector": {},
                "f:tolerations": {},
            },
        });
        check(ids::CORE_V1_POD, pod, expected);
    }

    #[test]
    fn an_item_that_occurs_twice_is_one_path() {
        let spec = json!({"containers": [{"name": "a", "image": "x"}, {"name": "a", "image": "y"}, {"image": "z"}]});
        let expected = json!({"f:containers": {
            "k:{\"name\":\"\"}": {".": {}, "f:image": {}}, "k:{\"name\":\"a\"}": {},
        }});
        check(ids::CORE_V1_PODSPEC, spec, expected);
    }

    #[test]
    fn selectors_and_raw_values_are_one_field() {
        let spec = json!({"selector": {"matchLabels": {"a": "1"}}, "replicas": 0});
        check(ids::APPS_V1_DEPLOYMENTSPEC, spec, json!({"f:replicas": {}, "f:selector": {}}));
        let revision = json!({"data": {"any": {"thing": 1}}, "revision": 1});
        check(ids::APPS_V1_CONTROLLERREVISION, revision, json!({"f:data": {}, "f:revision": {}}));
    }
}
