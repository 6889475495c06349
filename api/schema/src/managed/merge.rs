//! A configuration merged into an object.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value};

use super::{
    element::{Element, Scalar},
    place::Place,
};
use crate::table::{Table, TypeId};

impl Table {
    /// The object with all that the configuration says. Items that only one of them has keep their order among each other;
    /// where both have a list, the configuration's order counts.
    pub(super) fn merged(&self, id: TypeId, live: &Value, config: &Value) -> Value {
        let empty = || Value::Object(Map::new());
        self.merge(Place::Struct(id), Some(live), Some(config)).unwrap_or_else(empty)
    }

    fn merge(&self, place: Place<'_>, live: Option<&Value>, config: Option<&Value>) -> Option<Value> {
        let leaf = || config.or(live).cloned();
        if live.is_none() || config.is_none() {
            return leaf();
        }
        match place {
            Place::Leaf => leaf(),
            Place::Struct(_) | Place::Map(_) => match (members(live), members(config)) {
                (None, None) => leaf(),
                (live, config) => self.merge_members(place, live, config),
            },
            Place::Free => match (members(live), members(config)) {
                (Some(_), None) if config.is_some_and(|value| !value.is_null()) => leaf(),
                (None, None) => leaf(),
                (live, config) => self.merge_members(place, live, config),
            },
            Place::Set => match (items(live), items(config)) {
                ([], []) => leaf(),
                (live, config) => {
                    let element = |value: &Value| Some(Element::Value(Scalar::of(value)));
                    self.merge_items(Place::Leaf, live, config, element)
                }
            },
            Place::Keyed(field, item) => match (items(live), items(config)) {
                ([], []) => leaf(),
                (live, config) => {
                    let element = |value: &Value| self.key_element(field, item, value).ok();
                    self.merge_items(self.item_place(item, None), live, config, element)
                }
            },
        }
    }

    fn merge_members(
        &self,
        place: Place<'_>,
        live: Option<&Map<String, Value>>,
        config: Option<&Map<String, Value>>,
    ) -> Option<Value> {
        let mut out = Map::new();
        let mut put = |name: &String, live: Option<&Value>, config: Option<&Value>| {
            let (inner, _) = self.step(place, &Element::field(name.as_str()));
            if let Some(value) = self.merge(inner, live, config) {
                out.insert(name.clone(), value);
            }
        };
        for (name, value) in live.into_iter().flatten() {
            put(name, Some(value), config.and_then(|config| config.get(name)));
        }
        let known = |name: &String| live.is_some_and(|live| live.contains_key(name));
        for (name, value) in config.into_iter().flatten().filter(|(name, _)| !known(name)) {
            put(name, None, Some(value));
        }
        (!out.is_empty()).then_some(Value::Object(out))
    }

    /// Items of both lists: those of the configuration in its order, each of the others behind what it stood behind.
    fn merge_items(
        &self,
        place: Place<'_>,
        live: &[Value],
        config: &[Value],
        element: impl Fn(&Value) -> Option<Element>,
    ) -> Option<Value> {
        let live: Vec<_> = live.iter().filter_map(|value| Some((element(value)?, value))).collect();
        let config: Vec<_> = config.iter().filter_map(|value| Some((element(value)?, value))).collect();
        // Of what is there several times, none is merged with.
        let mut present: BTreeMap<&Element, Option<&Value>> = BTreeMap::new();
        for (element, value) in &live {
            present.entry(element).and_modify(|twice| *twice = None).or_insert(Some(value));
        }
        let wanted: BTreeMap<&Element, &Value> = config.iter().map(|(element, value)| (element, *value)).collect();
        let mut shared = config.iter().map(|(element, _)| element).filter(|element| present.contains_key(element));
        let mut next = shared.next();
        let mut out = Vec::new();
        let merge = |element: &Element| {
            let before = present.get(element).copied().flatten();
            self.merge(place, before, wanted.get(element).copied())
        };
        let (mut left, mut right, mut placed) = (0, 0, BTreeSet::new());
        while left < live.len() || right < config.len() {
            if let (Some((mine, _)), Some((theirs, _))) = (live.get(left), config.get(right)) {
                if mine == theirs {
                    out.extend(merge(theirs));
                    placed.insert(theirs);
                    (left, right, next) = (left + 1, right + 1, shared.next());
                    continue;
                }
                if wanted.contains_key(mine) && next.is_some_and(|next| next != mine) {
                    // It comes where the configuration has it.
                    left += 1;
                    continue;
                }
            }
            if let Some((mine, value)) = live.get(left) {
                if !wanted.contains_key(mine) {
                    out.extend(self.merge(place, Some(value), None));
                    left += 1;
                    continue;
                }
                if placed.contains(mine) {
                    left += 1;
                }
            }
            if let Some((theirs, _)) = config.get(right) {
                out.extend(merge(theirs));
                placed.insert(theirs);
                right += 1;
                if next == Some(theirs) {
                    next = shared.next();
                }
            }
        }
        (!out.is_empty()).then_some(Value::Array(out))
    }
}

/// The members of a map that is not empty.
fn members(side: Option<&Value>) -> Option<&Map<String, Value>> {
    side.and_then(Value::as_object).filter(|members| !members.is_empty())
}

fn items(side: Option<&Value>) -> &[Value] {
    side.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{builtin, ids};

    fn check(id: TypeId, live: Value, config: Value, expected: Value) {
        let merged = builtin().merged(id, &live, &config);
        assert_eq!(merged, expected, "{live} + {config}");
        assert_eq!(builtin().merged(id, &merged, &config), merged, "{config} again");
    }

    #[test]
    fn members_merge_and_atomic_values_are_replaced() {
        let live = json!({"data": {"a": "1", "b": "2"}, "immutable": false});
        let config = json!({"data": {"b": "9", "c": "3"}, "binaryData": {"x": ""}});
        let expected = json!({"data": {"a": "1", "b": "9", "c": "3"}, "immutable": false, "binaryData": {"x": ""}});
        check(ids::CORE_V1_CONFIGMAP, live, config, expected);
        check(
            ids::APPS_V1_DEPLOYMENTSPEC,
            json!({"replicas": 2, "selector": {"matchLabels": {"a": "1"}}, "template": {"metadata": {}, "spec": {"containers": null}}}),
            json!({"selector": {"matchLabels": {"b": "1"}}, "template": {"spec": {"containers": [{"name": "a"}]}}}),
            json!({"replicas": 2, "selector": {"matchLabels": {"b": "1"}}, "template": {"metadata": {}, "spec": {"containers": [{"name": "a"}]}}}),
        );
    }

    #[test]
    fn null_clears_a_value_and_leaves_what_merges() {
        let live = json!({"hostname": "h", "containers": [{"name": "a"}], "securityContext": {"runAsUser": 1}});
        let config = json!({"hostname": null, "containers": null, "securityContext": null, "tolerations": null});
        let expected = json!({
            "hostname": null, "containers": [{"name": "a"}], "securityContext": {"runAsUser": 1}, "tolerations": null,
        });
        check(ids::CORE_V1_PODSPEC, live, config, expected);
        check(ids::CORE_V1_PODSPEC, json!({}), json!({"securityContext": {}}), json!({"securityContext": {}}));
    }

    #[test]
    fn ports_are_told_apart_by_number_and_defaulted_protocol() {
        let live =
            json!({"ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "UDP"}]});
        let config = json!({"ports": [{"containerPort": 80, "name": "web"}, {"containerPort": 90}]});
        let expected = json!({"ports": [
            {"containerPort": 80, "protocol": "TCP", "name": "web"}, {"containerPort": 80, "protocol": "UDP"}, {"containerPort": 90},
        ]});
        check(ids::CORE_V1_CONTAINER, live, config, expected);
    }

    /// Lists of names, as letters.
    fn order(live: &str, config: &str, expected: &str) {
        let list = |names: &str| {
            let items: Vec<_> = names.chars().map(|name| json!({"name": name.to_string()})).collect();
            json!({"containers": items})
        };
        let merged = builtin().merged(ids::CORE_V1_PODSPEC, &list(live), &list(config));
        let names = |list: &Value| -> String {
            list["containers"].as_array().into_iter().flatten().filter_map(|item| item["name"].as_str()).collect()
        };
        assert_eq!(names(&merged), expected, "{live} + {config}");
    }

    #[test]
    fn the_configuration_orders_what_both_have() {
        for (live, config, expected) in [
            ("", "ab", "ab"),
            ("ab", "", "ab"),
            ("ab", "ab", "ab"),
            ("ab", "ba", "ba"),
            ("a", "ba", "ba"),
            ("ab", "c", "abc"),
            ("abc", "ca", "bca"),
            ("abcd", "da", "bcda"),
            ("axbyc", "cba", "xycba"),
            ("ab", "cad", "cabd"),
            // What was there twice stays twice until somebody says it.
            ("aba", "c", "abac"),
            ("aba", "a", "ab"),
        ] {
            order(live, config, expected);
        }
    }

    #[test]
    fn sets_keep_what_they_hold() {
        check(
            ids::META_V1_OBJECTMETA,
            json!({"finalizers": ["a", "b"]}),
            json!({"finalizers": ["c", "b"]}),
            json!({"finalizers": ["a", "c", "b"]}),
        );
    }
}
