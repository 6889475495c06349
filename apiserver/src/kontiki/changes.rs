//! What differs between two forms of an object, field by field. Pure.

use serde::Serialize;
use serde_json::Value;

use super::limits::{CHANGES_DEPTH_MAX, CHANGES_MAX};

/// What follows from every change and says nothing.
const NOISE: &[&str] = &[
    // A copy of what is told field by field, secrets and all.
    "metadata.annotations[kubectl.kubernetes.io/last-applied-configuration]",
    "metadata.generation",
    "metadata.managedFields",
    "metadata.resourceVersion",
];
/// Fields whose values are the user's own bytes, secrets among them: that they changed is told, not to what.
const OPAQUE: &[&str] = &["binaryData", "data", "stringData"];

/// One field that differs. `from` is absent where it was added, `to` where it was removed; both are for opaque values.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Change {
    /// As in `spec.template.spec.containers[web].image`: list items by name where all have one, else by index.
    pub field: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub from: Option<Value>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub to: Option<Value>,
}

/// The differences, and how many more there are.
#[derive(Clone, Debug, Default, PartialEq, Serialize)]
pub struct Changes {
    pub fields: Vec<Change>,
    pub more: usize,
}

/// What turned `before` into `after`.
pub fn changes(before: &Value, after: &Value) -> Changes {
    let mut changes = Changes::default();
    compare(&mut String::new(), Some(before), Some(after), 0, &mut changes);
    changes
}

impl Changes {
    pub fn is_empty(&self) -> bool {
        self.fields.is_empty()
    }

    /// Whether nothing but what a controller or a node observed has changed: the status, and bookkeeping.
    pub fn is_status_only(&self) -> bool {
        self.more == 0
            && self.fields.iter().all(|change| {
                change.field == "status" || change.field.starts_with("status.") || change.field.starts_with("status[")
            })
    }

    fn tell(&mut self, path: &str, from: Option<&Value>, to: Option<&Value>) {
        if NOISE.contains(&path) {
            return;
        }
        if self.fields.len() == CHANGES_MAX {
            self.more += 1;
            return;
        }
        let opaque = OPAQUE
            .iter()
            .any(|name| path.strip_prefix(name).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '['])));
        let shown = |value: Option<&Value>| value.filter(|_| !opaque).cloned();
        self.fields.push(Change { field: path.to_owned(), from: shown(from), to: shown(to) });
    }
}

fn compare(path: &mut String, before: Option<&Value>, after: Option<&Value>, depth: usize, changes: &mut Changes) {
    if before == after || NOISE.contains(&path.as_str()) {
        return;
    }
    match (before, after) {
        (Some(Value::Object(old)), Some(Value::Object(new))) if depth < CHANGES_DEPTH_MAX => {
            let added = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(added) {
                // A key with a dot would read as two.
                let step = if key.contains('.') { format!("[{key}]") } else { format!(".{key}") };
                within(path, &step, |path| compare(path, old.get(key), new.get(key), depth + 1, changes));
            }
        }
        (Some(Value::Array(old)), Some(Value::Array(new))) if depth < CHANGES_DEPTH_MAX => {
            compare_lists(path, old, new, depth, changes);
        }
        _ => changes.tell(path, before, after),
    }
}

fn compare_lists(path: &mut String, old: &[Value], new: &[Value], depth: usize, changes: &mut Changes) {
    let Some(member) =
        ["name", "type", "ip", "uid"].into_iter().find(|member| named(old, member) && named(new, member))
    else {
        let length = old.len().max(new.len());
        for index in 0..length {
            within(path, &format!("[{index}]"), |path| {
                compare(path, old.get(index), new.get(index), depth + 1, changes)
            });
        }
        return;
    };
    let find = |list: &'_ [Value], name: &Value| list.iter().position(|item| item[member] == *name);
    for item in old {
        let name = &item[member];
        let same = find(new, name).map(|found| &new[found]);
        within(path, &step(name), |path| compare(path, Some(item), same, depth + 1, changes));
    }
    for item in new.iter().filter(|item| find(old, &item[member]).is_none()) {
        within(path, &step(&item[member]), |path| compare(path, None, Some(item), depth + 1, changes));
    }
    let order = |list: &[Value]| list.iter().map(|item| item[member].clone()).collect::<Vec<_>>();
    let (mut old, mut new) = (order(old), order(new));
    if old != new {
        let key = |value: &Value| value.to_string();
        let (was, is) = (old.clone(), new.clone());
        old.sort_by_key(key);
        new.sort_by_key(key);
        if old == new {
            within(path, "[order]", |path| {
                changes.tell(path, Some(&Value::from(was.clone())), Some(&Value::from(is.clone())))
            });
        }
    }
}

/// Whether all items carry a member that tells them apart.
fn named(list: &[Value], member: &str) -> bool {
    let distinct: std::collections::BTreeSet<&str> = list.iter().filter_map(|item| item[member].as_str()).collect();
    distinct.len() == list.len()
}

fn step(name: &Value) -> String {
    format!("[{}]", name.as_str().unwrap_or_default())
}

fn within(path: &mut String, step: &str, mut then: impl FnMut(&mut String)) {
    let length = path.len();
    path.push_str(if length == 0 { step.trim_start_matches('.') } else { step });
    then(path);
    path.truncate(length);
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(before: Value, after: Value) -> Vec<String> {
        let text = |value: &Option<Value>| value.as_ref().map_or("-".to_owned(), Value::to_string);
        let Changes { fields, more } = changes(&before, &after);
        let mut lines: Vec<String> = fields
            .iter()
            .map(|change| format!("{} {} {}", change.field, text(&change.from), text(&change.to)))
            .collect();
        if more > 0 {
            lines.push(format!("+{more}"));
        }
        lines
    }

    #[test]
    fn fields_are_compared_one_by_one() {
        let table: Vec<(Value, Value, Vec<&str>)> = vec![
            (json!({"spec": {"replicas": 1}}), json!({"spec": {"replicas": 2}}), vec!["spec.replicas 1 2"]),
            (json!({"a": 1, "b": 2}), json!({"b": 2, "c": {"d": 3}}), vec!["a 1 -", r#"c - {"d":3}"#]),
            (
                json!({"metadata": {"generation": 1, "labels": {"a": "x"}}}),
                json!({"metadata": {"generation": 2, "labels": {"a": "x", "k8s.io/b": "y"}}}),
                vec![r#"metadata.labels[k8s.io/b] - "y""#],
            ),
            (
                json!({"c": [{"name": "a", "image": "x:1"}, {"name": "b"}]}),
                json!({"c": [{"name": "b"}, {"name": "a", "image": "x:2"}]}),
                vec![r#"c[a].image "x:1" "x:2""#, r#"c[order] ["a","b"] ["b","a"]"#],
            ),
            (
                json!({"c": [{"name": "a"}]}),
                json!({"c": [{"name": "b"}]}),
                vec![r#"c[a] {"name":"a"} -"#, r#"c[b] - {"name":"b"}"#],
            ),
            (
                json!({"args": ["a", "b"]}),
                json!({"args": ["a", "c", "d"]}),
                vec![r#"args[1] "b" "c""#, r#"args[2] - "d""#],
            ),
            (json!({"data": {"password": "b2xk"}}), json!({"data": {"password": "bmV3"}}), vec!["data.password - -"]),
            (json!({"data": {"tls.key": "b2xk"}}), json!({"data": {}}), vec!["data[tls.key] - -"]),
            (json!({"dataset": 1}), json!({"dataset": 2}), vec!["dataset 1 2"]),
            (
                json!({"metadata": {"managedFields": [{"manager": "a", "time": 1}]}}),
                json!({"metadata": {"managedFields": [{"manager": "a", "time": 2}, {"manager": "b"}]}}),
                vec![],
            ),
        ];
        for (before, after, expected) in table {
            assert_eq!(told(before.clone(), after.clone()), expected, "{before} {after}");
        }
    }

    #[test]
    fn what_is_only_observed_is_told_apart() {
        let status = |before: Value, after: Value| changes(&before, &after).is_status_only();
        assert!(status(json!({"status": {"replicas": 1}}), json!({"status": {"replicas": 2}})));
        assert!(status(json!({"metadata": {"generation": 1}}), json!({"metadata": {"generation": 2}, "status": {}})));
        assert!(!status(json!({"spec": {"x": 1}, "status": {}}), json!({"spec": {"x": 2}, "status": {"y": 1}})));
        assert!(!status(json!({"statuses": 1}), json!({"statuses": 2})));
    }

    #[test]
    fn many_differences_are_counted() {
        let list = |from: usize| json!((from..from + 2 * CHANGES_MAX).collect::<Vec<_>>());
        assert_eq!(told(list(0), list(1)).last().map(String::as_str), Some("+64"));
    }
}
