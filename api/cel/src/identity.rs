//! Lists whose elements are known by their value or by keys: compared in any order, each element held once.
//!
//! Elements are found by a text of what they are known by: a comparison costs no more than looking through both lists.

use std::collections::HashMap;

use serde_json::Value as Json;

use crate::types::Identity;
use crate::value::Value;

impl Identity {
    /// Whether two lists of one length hold the same.
    pub fn equal(&self, one: &[Value<'_>], other: &[Value<'_>]) -> bool {
        if *self == Identity::Place {
            return one.iter().zip(other).all(|(one, other)| one.equals(other));
        }
        let known: HashMap<_, _> = one.iter().map(|item| (self.text(item), item)).collect();
        other.iter().all(|item| known.get(&self.text(item)).is_some_and(|known| known.equals(item)))
    }

    /// The elements of the first list, those that are in both as the second has them, and its others.
    pub fn merged<'a>(&self, mut items: Vec<Value<'a>>, more: Vec<Value<'a>>) -> Vec<Value<'a>> {
        let mut places: HashMap<_, _> = items.iter().enumerate().map(|(at, item)| (self.text(item), at)).collect();
        for item in more {
            let next = items.len();
            match *places.entry(self.text(&item)).or_insert(next) {
                at if at < next => items[at] = item,
                _ => items.push(item),
            }
        }
        items
    }

    fn text(&self, item: &Value<'_>) -> String {
        let known_by = match self {
            Identity::Place | Identity::Value => item.to_json().unwrap_or_default(),
            Identity::Keys(names) => names.iter().map(|name| member(item, name)).collect(),
        };
        sorted(&known_by).to_string()
    }
}

fn member(item: &Value<'_>, name: &str) -> Json {
    match item {
        Value::Object(members, _) | Value::JsonMap(members, _) => members.get(name).cloned(),
        other => other.member(name).and_then(|value| value.to_json().ok()),
    }
    .unwrap_or_default()
}

/// Members in one order, whichever they were written in.
fn sorted(value: &Json) -> Json {
    match value {
        Json::Array(items) => items.iter().map(sorted).collect(),
        Json::Object(members) => {
            let mut names: Vec<_> = members.iter().collect();
            names.sort_unstable_by_key(|(name, _)| *name);
            Json::Object(names.into_iter().map(|(name, value)| (name.clone(), sorted(value))).collect())
        }
        plain => plain.clone(),
    }
}
