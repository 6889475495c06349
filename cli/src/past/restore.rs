//! What a past form of an object says that it should be again. Pure.

use serde_json::{Map, Value};

/// What the server sets in `metadata`: not content.
const SERVER_SET: &[&str] = &[
    "creationTimestamp",
    "deletionGracePeriodSeconds",
    "deletionTimestamp",
    "generation",
    "managedFields",
    "resourceVersion",
    "selfLink",
    "uid",
];

/// An object without what the server set and observed.
pub fn content(object: &Value) -> Value {
    let mut content = object.clone();
    if let Some(members) = content.as_object_mut() {
        members.shift_remove("status");
    }
    if let Some(metadata) = content["metadata"].as_object_mut() {
        SERVER_SET.iter().for_each(|member| _ = metadata.shift_remove(*member));
        // What generated the name has done so.
        metadata.shift_remove("generateName");
    }
    content
}

/// The content of one object in the identity of another: a new version of it.
pub fn dressed(content: &Value, live: &Value) -> Value {
    let mut object = content.clone();
    if let (Some(into), Some(from)) = (object["metadata"].as_object_mut(), live["metadata"].as_object()) {
        let kept = from.iter().filter(|(member, _)| SERVER_SET.contains(&member.as_str()) || *member == "generateName");
        into.extend(kept.map(|(member, value)| (member.clone(), value.clone())));
    }
    if let Some(status) = live.get("status") {
        object["status"] = status.clone();
    }
    object
}

/// Takes the change from `before` to `after` back from `live`, field by field. A field that was changed since is a conflict.
pub fn reverted(before: &Value, after: &Value, live: &Value) -> Result<Value, Vec<String>> {
    let mut conflicts = Vec::new();
    let reverted = revert("", Some(before), Some(after), Some(live), &mut conflicts);
    if conflicts.is_empty() { Ok(reverted.unwrap_or_default()) } else { Err(conflicts) }
}

fn revert(
    path: &str,
    before: Option<&Value>,
    after: Option<&Value>,
    live: Option<&Value>,
    conflicts: &mut Vec<String>,
) -> Option<Value> {
    if before == after || live == before {
        return live.cloned();
    }
    if live == after {
        return before.cloned();
    }
    let empty = Map::new();
    let members = |value: Option<&'_ Value>| match value {
        None => Some(Map::new()),
        Some(Value::Object(members)) => Some(members.clone()),
        Some(_) => None,
    };
    // A missing map is an empty one: the first annotation makes it.
    let all = (members(before), members(after), members(live));
    let (Some(old), Some(new), Some(now)) = all else {
        conflicts.push(path.to_owned());
        return live.cloned();
    };
    let mut out = Map::new();
    let others = old.keys().chain(new.keys()).filter(|key| !now.contains_key(*key));
    for key in now.keys().chain(others) {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let member = revert(&path, old.get(key), new.get(key), now.get(key), conflicts);
        if let Some(member) = member {
            out.insert(key.clone(), member);
        }
    }
    let gone = out == empty && before.is_none();
    (!gone).then_some(Value::Object(out))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn a_change_is_taken_back_and_later_ones_are_kept() {
        let before = json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 1, "image": "x:1"}});
        let after = json!({"metadata": {"labels": {"a": "1"}, "annotations": {"n": "1"}}, "spec": {"replicas": 5, "image": "x:1"}});
        let table = [
            (after.clone(), Ok(before.clone())),
            (
                json!({"metadata": {"labels": {"a": "1"}, "annotations": {"n": "1"}}, "spec": {"replicas": 5, "image": "x:2"}}),
                Ok(json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 1, "image": "x:2"}})),
            ),
            (
                json!({"metadata": {"labels": {"a": "2"}, "annotations": {"n": "1", "m": "2"}}, "spec": {"replicas": 5, "image": "x:1"}}),
                Ok(
                    json!({"metadata": {"labels": {"a": "2"}, "annotations": {"m": "2"}}, "spec": {"replicas": 1, "image": "x:1"}}),
                ),
            ),
            (before.clone(), Ok(before.clone())),
            (
                json!({"metadata": {"labels": {"a": "1"}}, "spec": {"replicas": 7, "image": "x:1"}}),
                Err(vec!["spec.replicas".to_owned()]),
            ),
        ];
        for (live, expected) in table {
            assert_eq!(reverted(&before, &after, &live), expected, "{live}");
        }
        let list = |items: &[&str]| json!({"args": items});
        assert_eq!(reverted(&list(&["a"]), &list(&["b"]), &list(&["b"])), Ok(list(&["a"])));
        assert_eq!(reverted(&list(&["a"]), &list(&["b"]), &list(&["c"])), Err(vec!["args".to_owned()]));
    }

    #[test]
    fn content_is_what_a_person_wrote() {
        let object = json!({
            "kind": "Thing", "metadata": {"name": "a", "uid": "u", "resourceVersion": "7", "labels": {"x": "y"}},
            "spec": {"x": 1}, "status": {"y": 2},
        });
        let content = content(&object);
        assert_eq!(
            content,
            json!({"kind": "Thing", "metadata": {"name": "a", "labels": {"x": "y"}}, "spec": {"x": 1}})
        );
        let live =
            json!({"metadata": {"name": "a", "uid": "v", "resourceVersion": "9"}, "spec": {}, "status": {"y": 3}});
        assert_eq!(
            dressed(&content, &live),
            json!({
                "kind": "Thing", "metadata": {"name": "a", "labels": {"x": "y"}, "uid": "v", "resourceVersion": "9"},
                "spec": {"x": 1}, "status": {"y": 3},
            })
        );
    }
}
