//! The patch that `kubectl apply` computes: from what was applied last, what is to be applied now, and what is there.
//!
//! What the configuration says comes about; what it said before and says no more goes; what it never said stays.
//! Follows `CreateThreeWayMergePatch` of `k8s.io/apimachinery/pkg/util/strategicpatch`, with overwriting; the result is a
//! strategic merge patch.

use std::sync::LazyLock;

use serde_json::{Map, Value, json};

use super::strategic::{DELETE_PREFIX, DIRECTIVE, Merge, ORDER_PREFIX, Place, RETAIN_KEYS, Rule};
use crate::table::{Patch, Table, TypeId};

type Members = Map<String, Value>;

impl Table {
    /// The strategic merge patch that takes `current` to what `modified` wants, given what it wanted before (`original`).
    /// Empty if there is nothing to do. All three must be objects of the type.
    pub fn three_way_patch(&self, id: TypeId, original: &Value, modified: &Value, current: &Value) -> Value {
        let three = Three { merge: Merge { table: self } };
        let [original, modified, current] = [original, modified, current].map(members);
        Value::Object(three.map(original, modified, current, Place::Struct(id), false))
    }
}

struct Three<'a> {
    merge: Merge<'a>,
}

/// The members of an object; of anything else, none.
fn members(value: &Value) -> &Members {
    static NOTHING: LazyLock<Members> = LazyLock::new(Members::new);
    value.as_object().unwrap_or(&NOTHING)
}

fn items(value: Option<&Value>) -> &[Value] {
    value.and_then(Value::as_array).map(Vec::as_slice).unwrap_or_default()
}

impl Three<'_> {
    fn map(&self, original: &Members, modified: &Members, current: &Members, place: Place, retain: bool) -> Members {
        let mut patch = Members::new();
        for (key, wanted) in modified {
            let Some(present) = current.get(key) else {
                patch.insert(key.clone(), wanted.clone());
                continue;
            };
            // What the table does not know merges as a plain value.
            let free = || Rule { place: Place::Free, patch: Patch::Default, merge_key: "" };
            let rule = self.merge.rule(place, key).unwrap_or_else(|_| free());
            self.member(&mut patch, key, (original.get(key), wanted, present), &rule);
        }
        let retained = retain && !patch.is_empty();
        for key in original.keys().filter(|key| !modified.contains_key(*key) && current.contains_key(*key)) {
            patch.insert(key.clone(), Value::Null);
        }
        if retained {
            let mut kept: Vec<&String> = modified.keys().collect();
            kept.sort();
            patch.insert(RETAIN_KEYS.to_owned(), json!(kept));
        }
        patch
    }

    fn member(
        &self,
        patch: &mut Members,
        key: &str,
        (original, wanted, present): (Option<&Value>, &Value, &Value),
        rule: &Rule<'_>,
    ) {
        let retain = matches!(rule.patch, Patch::RetainKeys | Patch::MergeRetainKeys);
        match (wanted, present, rule.patch) {
            (Value::Object(wanted), Value::Object(present), patched) if patched != Patch::Replace => {
                let original = original.map_or_else(|| members(&Value::Null), members);
                let below = self.map(original, wanted, present, rule.place, retain);
                if !below.is_empty() {
                    patch.insert(key.to_owned(), Value::Object(below));
                }
            }
            (Value::Array(wanted), Value::Array(present), Patch::Merge | Patch::MergeRetainKeys) => {
                let lists = (items(original), wanted.as_slice(), present.as_slice());
                match wanted.iter().chain(present).any(Value::is_object) {
                    true => self.keyed(patch, key, lists, rule, retain),
                    false => scalars(patch, key, lists),
                }
            }
            _ if wanted == present => {}
            (Value::Object(wanted), Value::Object(_), _) => {
                let mut whole = wanted.clone();
                whole.insert(DIRECTIVE.to_owned(), "replace".into());
                patch.insert(key.to_owned(), Value::Object(whole));
            }
            _ => {
                patch.insert(key.to_owned(), wanted.clone());
            }
        }
    }

    /// A list whose elements have a key.
    fn keyed(
        &self,
        patch: &mut Members,
        key: &str,
        (original, wanted, present): (&[Value], &[Value], &[Value]),
        rule: &Rule<'_>,
        retain: bool,
    ) {
        let merge_key = rule.merge_key;
        let find = |list: &'_ [Value], item: &Value| list.iter().position(|one| same(one, item, merge_key));
        let mut changes = Vec::new();
        for item in wanted {
            let Some(at) = find(present, item) else {
                changes.push(item.clone());
                continue;
            };
            let before = find(original, item).map_or_else(|| members(&Value::Null), |at| members(&original[at]));
            let mut below = self.map(before, members(item), members(&present[at]), rule.place, retain);
            if !below.is_empty() {
                below.insert(merge_key.to_owned(), item[merge_key].clone());
                changes.push(Value::Object(below));
            }
        }
        let gone = original.iter().filter(|item| find(wanted, item).is_none() && find(present, item).is_some());
        changes.extend(gone.map(|item| json!({DIRECTIVE: "delete", merge_key: item[merge_key]})));
        let order = || wanted.iter().map(|item| json!({merge_key: item[merge_key]})).collect();
        let positions: Vec<_> = wanted.iter().filter_map(|item| find(present, item)).collect();
        list(patch, key, changes, positions.is_sorted(), order);
    }
}

/// A list of scalars that merges as a set.
fn scalars(patch: &mut Members, key: &str, (original, wanted, present): (&[Value], &[Value], &[Value])) {
    let added: Vec<_> = wanted.iter().filter(|item| !present.contains(item)).cloned().collect();
    let gone: Vec<_> =
        original.iter().filter(|item| !wanted.contains(item) && present.contains(item)).cloned().collect();
    if !gone.is_empty() {
        patch.insert(format!("{DELETE_PREFIX}{key}"), Value::Array(gone));
    }
    let positions: Vec<_> = wanted.iter().filter_map(|item| present.iter().position(|one| one == item)).collect();
    list(patch, key, added, positions.is_sorted(), || wanted.to_vec());
}

fn list(patch: &mut Members, key: &str, changes: Vec<Value>, in_order: bool, order: impl FnOnce() -> Vec<Value>) {
    if changes.is_empty() && in_order {
        return;
    }
    patch.insert(format!("{ORDER_PREFIX}{key}"), Value::Array(order()));
    if !changes.is_empty() {
        patch.insert(key.to_owned(), Value::Array(changes));
    }
}

fn same(left: &Value, right: &Value, merge_key: &str) -> bool {
    left.get(merge_key).is_some() && left.get(merge_key) == right.get(merge_key)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::{builtin, ids};

    /// The patch, and the object after it.
    fn apply(id: TypeId, original: Value, modified: Value, current: Value) -> (Value, Value) {
        let patch = builtin().three_way_patch(id, &original, &modified, &current);
        let after = builtin().strategic_merge(id, current, patch.clone()).unwrap();
        (patch, after)
    }

    #[test]
    fn what_was_said_and_is_said_no_more_goes_and_what_others_said_stays() {
        let original = json!({"data": {"a": "1", "b": "2"}});
        let modified = json!({"data": {"a": "9"}});
        let current = json!({"data": {"a": "1", "b": "2", "other": "x"}, "immutable": false});
        let (patch, after) = apply(ids::CORE_V1_CONFIGMAP, original, modified.clone(), current);
        assert_eq!(patch, json!({"data": {"a": "9", "b": null}}));
        assert_eq!(after, json!({"data": {"a": "9", "other": "x"}, "immutable": false}));
        let (patch, _) = apply(ids::CORE_V1_CONFIGMAP, modified.clone(), modified, after);
        assert_eq!(patch, json!({}), "applied again, it changes nothing");
    }

    #[test]
    fn containers_merge_by_name_and_keep_what_the_server_filled_in() {
        let original = json!({"containers": [{"name": "a", "image": "a:1"}, {"name": "b", "image": "b:1"}]});
        let modified = json!({"containers": [{"name": "c", "image": "c:1"}, {"name": "a", "image": "a:2"}]});
        let current = json!({"containers": [
            {"name": "a", "image": "a:1", "imagePullPolicy": "Always"}, {"name": "b", "image": "b:1"}, {"name": "sidecar"}]});
        let (patch, after) = apply(ids::CORE_V1_PODSPEC, original, modified, current);
        let expected = json!({
            "$setElementOrder/containers": [{"name": "c"}, {"name": "a"}],
            "containers": [{"name": "c", "image": "c:1"}, {"image": "a:2", "name": "a"}, {"$patch": "delete", "name": "b"}],
        });
        assert_eq!(patch, expected);
        let names: Vec<_> = items(after.get("containers")).iter().map(|one| one["name"].as_str().unwrap()).collect();
        assert!(names.contains(&"sidecar") && !names.contains(&"b"), "{names:?}");
        let a = items(after.get("containers")).iter().find(|one| one["name"] == "a").unwrap();
        assert_eq!(*a, json!({"name": "a", "image": "a:2", "imagePullPolicy": "Always"}));
    }

    #[test]
    fn a_union_forgets_its_other_members_only_when_it_changes() {
        let rolling = json!({"strategy": {"type": "RollingUpdate", "rollingUpdate": {"maxSurge": "25%"}}});
        let same = json!({"strategy": {"type": "RollingUpdate"}});
        let (patch, after) = apply(ids::APPS_V1_DEPLOYMENTSPEC, same.clone(), same.clone(), rolling.clone());
        assert_eq!((patch, &after), (json!({}), &rolling));
        let other = json!({"strategy": {"type": "Recreate"}});
        let (_, after) = apply(ids::APPS_V1_DEPLOYMENTSPEC, same, other.clone(), rolling);
        assert_eq!(after, other);
    }

    #[test]
    fn sets_of_scalars_merge() {
        let object = |finalizers: Value| json!({"finalizers": finalizers});
        let (patch, after) = apply(
            ids::META_V1_OBJECTMETA,
            object(json!(["x/a", "x/b"])),
            object(json!(["x/b", "x/c"])),
            object(json!(["x/a", "x/b", "x/server"])),
        );
        assert_eq!(patch["$deleteFromPrimitiveList/finalizers"], json!(["x/a"]));
        assert_eq!(after["finalizers"].as_array().unwrap().len(), 3, "{after}");
        assert!(!items(after.get("finalizers")).contains(&json!("x/a")));
    }

    #[test]
    fn lists_that_do_not_merge_are_replaced_and_null_removes() {
        let original = json!({"command": ["a"], "workingDir": "/x"});
        let modified = json!({"command": ["a", "b"], "workingDir": null});
        let current = json!({"command": ["a"], "workingDir": "/x", "stdin": true});
        let (patch, after) = apply(ids::CORE_V1_CONTAINER, original, modified, current);
        assert_eq!(patch, json!({"command": ["a", "b"], "workingDir": null}));
        assert_eq!(after, json!({"command": ["a", "b"], "stdin": true}));
    }
}
