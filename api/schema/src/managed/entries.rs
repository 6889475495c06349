//! `metadata.managedFields`: who said what, how, and when.

use std::collections::BTreeMap;

use serde_json::{Map, Value, json};

use super::{ANCIENT_CHANGES, UPDATERS_MAX, set::FieldSet};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    Apply,
    Update,
}

/// Who said it: what tells entries apart. Those who apply are the same in every version of the API.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Manager {
    pub name: String,
    pub operation: Operation,
    /// Of updates.
    pub api_version: Option<String>,
    pub subresource: String,
}

/// What one manager said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owned {
    pub fields: FieldSet,
    /// The version whose fields these are.
    pub api_version: String,
    pub time: Option<String>,
}

/// All managers of an object.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ManagedFields {
    pub(super) entries: BTreeMap<Manager, Owned>,
}

impl Operation {
    fn word(self) -> &'static str {
        match self {
            Operation::Apply => "Apply",
            Operation::Update => "Update",
        }
    }
}

impl Manager {
    pub fn applier(name: &str, subresource: &str) -> Self {
        let subresource = subresource.to_owned();
        Manager { name: name.to_owned(), operation: Operation::Apply, api_version: None, subresource }
    }

    pub fn updater(name: &str, api_version: &str, subresource: &str) -> Self {
        Manager {
            name: name.to_owned(),
            operation: Operation::Update,
            api_version: Some(api_version.to_owned()),
            subresource: subresource.to_owned(),
        }
    }
}

/// As conflicts name it: `"m1"`, `"kubelet" with subresource "status" using v1`.
impl std::fmt::Display for Manager {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:?}", self.name)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        match &self.api_version {
            Some(version) => write!(f, " using {version}"),
            None => Ok(()),
        }
    }
}

impl ManagedFields {
    pub fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    /// Reads the member of `metadata`. `None` if an entry is none; no entries if there is no such member.
    pub fn decode(value: Option<&Value>) -> Option<Self> {
        let mut entries = BTreeMap::new();
        let list = match value {
            None | Some(Value::Null) => return Some(Self::default()),
            Some(list) => list.as_array()?,
        };
        for entry in list {
            let (manager, owned) = decode_entry(entry)?;
            entries.insert(manager, owned);
        }
        Some(ManagedFields { entries })
    }

    /// Whether a client asks to forget all managers: one empty entry.
    pub fn is_reset(value: Option<&Value>) -> bool {
        match value.and_then(Value::as_array).map(Vec::as_slice) {
            Some([Value::Object(only)]) => only.values().all(Value::is_null),
            Some(_) | None => false,
        }
    }

    /// The member of `metadata`: who applied first, then by time. `None` if nobody said anything.
    pub fn encode(&self) -> Option<Value> {
        let mut sorted: Vec<_> = self.entries.iter().collect();
        sorted.sort_by(|(left, mine), (right, theirs)| {
            let order = left.operation.cmp(&right.operation);
            order.then_with(|| mine.time.cmp(&theirs.time)).then_with(|| left.cmp(right))
        });
        let entries: Vec<Value> = sorted.into_iter().map(|(manager, owned)| encode_entry(manager, owned)).collect();
        (!entries.is_empty()).then_some(Value::Array(entries))
    }

    /// Whether two forms of the member differ in nothing but times.
    pub fn same_but_for_times(left: Option<&Value>, right: Option<&Value>) -> bool {
        let entries = |value: Option<&'_ Value>| value.and_then(Value::as_array).cloned().unwrap_or_default();
        let timeless = |value| {
            let mut entries = entries(value);
            entries.iter_mut().filter_map(Value::as_object_mut).for_each(|entry| _ = entry.shift_remove("time"));
            entries
        };
        left == right || timeless(left) == timeless(right)
    }

    /// Merges the oldest updaters of a version until there are not too many any more.
    pub(super) fn cap(&mut self) {
        let is_updater = |manager: &&Manager| manager.operation == Operation::Update;
        let mut updaters: Vec<Manager> = self.entries.keys().filter(is_updater).cloned().collect();
        let mut surplus = updaters.len().saturating_sub(UPDATERS_MAX);
        if surplus == 0 {
            return;
        }
        updaters.sort_by(|left, right| {
            let time = |manager: &Manager| self.entries.get(manager).and_then(|owned| owned.time.clone());
            time(left).cmp(&time(right)).then_with(|| left.cmp(right))
        });
        let mut first_of: BTreeMap<String, Manager> = BTreeMap::new();
        for manager in updaters {
            if surplus == 0 {
                break;
            }
            let Some(version) = self.entries.get(&manager).map(|owned| owned.api_version.clone()) else { continue };
            let Some(first) = first_of.get(&version) else {
                first_of.insert(version, manager);
                continue;
            };
            let bucket = Manager::updater(ANCIENT_CHANGES, &version, "");
            if !self.entries.contains_key(&bucket)
                && let Some(owned) = self.entries.remove(first)
            {
                self.entries.insert(bucket.clone(), owned);
            }
            if manager == bucket {
                continue;
            }
            if let Some(owned) = self.entries.remove(&manager)
                && let Some(ancient) = self.entries.get_mut(&bucket)
            {
                ancient.fields.unite(&owned.fields);
                ancient.time = owned.time;
                surplus -= 1;
            }
        }
    }
}

fn decode_entry(entry: &Value) -> Option<(Manager, Owned)> {
    let text = |member: &str| entry.get(member).and_then(Value::as_str).unwrap_or_default();
    let api_version = Some(text("apiVersion")).filter(|version| !version.is_empty())?;
    let manager = match text("operation") {
        "Apply" => Manager::applier(text("manager"), text("subresource")),
        "Update" => Manager::updater(text("manager"), api_version, text("subresource")),
        _ => return None,
    };
    if text("fieldsType") != "FieldsV1" {
        return None;
    }
    let fields = match entry.get("fieldsV1") {
        None | Some(Value::Null) => FieldSet::default(),
        Some(fields) => FieldSet::from_json(fields)?,
    };
    let time = Some(text("time")).filter(|time| !time.is_empty()).map(str::to_owned);
    Some((manager, Owned { fields, api_version: api_version.to_owned(), time }))
}

/// What an entry has at most.
const ENTRY_MEMBERS: usize = 7;

fn encode_entry(manager: &Manager, owned: &Owned) -> Value {
    let mut entry = Map::with_capacity(ENTRY_MEMBERS);
    let mut put = |member: &str, value: Value| _ = entry.insert(member.to_owned(), value);
    if !manager.name.is_empty() {
        put("manager", manager.name.as_str().into());
    }
    put("operation", manager.operation.word().into());
    put("apiVersion", owned.api_version.as_str().into());
    if let Some(time) = &owned.time {
        put("time", time.as_str().into());
    }
    put("fieldsType", json!("FieldsV1"));
    put("fieldsV1", owned.fields.to_json());
    if !manager.subresource.is_empty() {
        put("subresource", manager.subresource.as_str().into());
    }
    Value::Object(entry)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn entry(manager: &str, operation: &str, time: &str, field: &str) -> Value {
        json!({
            "manager": manager, "operation": operation, "apiVersion": "v1", "time": time,
            "fieldsType": "FieldsV1", "fieldsV1": {"f:data": {format!("f:{field}"): {}}},
        })
    }

    fn names(entries: &Value) -> Vec<&str> {
        entries.as_array().unwrap().iter().map(|entry| entry["manager"].as_str().unwrap()).collect()
    }

    #[test]
    fn entries_are_sorted_by_operation_time_and_name() {
        let list = json!([
            entry("late", "Update", "2026-01-02T00:00:00Z", "a"),
            entry("b", "Update", "2026-01-01T00:00:00Z", "b"),
            entry("a", "Update", "2026-01-01T00:00:00Z", "c"),
            entry("z", "Apply", "2026-01-03T00:00:00Z", "d"),
        ]);
        let decoded = ManagedFields::decode(Some(&list)).unwrap();
        let encoded = decoded.encode().unwrap();
        assert_eq!(names(&encoded), ["z", "a", "b", "late"]);
        assert_eq!(encoded[3], list[0]);
        assert_eq!(ManagedFields::decode(Some(&encoded)).unwrap(), decoded);
    }

    #[test]
    fn what_is_no_entry_is_not_read() {
        let with = |member: &str, value: Value| {
            let mut one = entry("a", "Update", "2026-01-01T00:00:00Z", "a");
            one[member] = value;
            ManagedFields::decode(Some(&json!([one])))
        };
        assert!(with("operation", json!("Update")).is_some());
        for (member, value) in [
            ("operation", json!("Patch")),
            ("apiVersion", json!("")),
            ("fieldsType", json!("")),
            ("fieldsV1", json!({"x": {}})),
        ] {
            assert_eq!(with(member, value), None, "{member}");
        }
        assert_eq!(ManagedFields::decode(Some(&json!([]))), Some(ManagedFields::default()));
        assert!(ManagedFields::is_reset(Some(&json!([{}]))));
        for not in [json!([]), json!([{}, {}]), json!([{"manager": "x"}]), Value::Null] {
            assert!(!ManagedFields::is_reset(Some(&not)), "{not}");
        }
    }

    #[test]
    fn times_alone_make_no_difference() {
        let list = |time: &str, field: &str| json!([entry("a", "Update", time, field)]);
        let (old, new) = (list("2026-01-01T00:00:00Z", "a"), list("2026-01-02T00:00:00Z", "a"));
        assert!(ManagedFields::same_but_for_times(Some(&old), Some(&new)));
        assert!(!ManagedFields::same_but_for_times(Some(&old), Some(&list("2026-01-01T00:00:00Z", "b"))));
        assert!(!ManagedFields::same_but_for_times(Some(&old), None));
    }

    #[test]
    fn too_many_updaters_become_one() {
        let updaters = (0..13)
            .map(|n| entry(&format!("m{n:02}"), "Update", &format!("2026-01-{:02}T00:00:00Z", n + 1), &n.to_string()));
        let appliers = (0..3).map(|n| entry(&format!("a{n}"), "Apply", "2026-01-01T00:00:00Z", "x"));
        let list = Value::Array(updaters.chain(appliers).collect());
        let mut managed = ManagedFields::decode(Some(&list)).unwrap();
        managed.cap();
        let encoded = managed.encode().unwrap();
        let expected =
            ["a0", "a1", "a2", "ancient-changes", "m04", "m05", "m06", "m07", "m08", "m09", "m10", "m11", "m12"];
        assert_eq!(names(&encoded), expected);
        assert_eq!(encoded[3]["fieldsV1"], json!({"f:data": {"f:0": {}, "f:1": {}, "f:2": {}, "f:3": {}}}));
        assert_eq!(encoded[3]["time"], "2026-01-04T00:00:00Z");
        let again = managed.clone();
        managed.cap();
        assert_eq!(managed, again);
    }

    #[test]
    fn conflicts_name_the_manager() {
        assert_eq!(Manager::applier("m1", "").to_string(), "\"m1\"");
        let kubelet = Manager::updater("kubelet", "v1", "status");
        assert_eq!(kubelet.to_string(), "\"kubelet\" with subresource \"status\" using v1");
    }
}
