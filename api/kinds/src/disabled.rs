//! Fields of features that are off in Kubernetes at this level of its API. They are in its types, so that clients know them,
//! but a write does not bring them in; an object that has some of a feature may keep and change it.

use kontiki_schema::managed::Path;
use serde_json::Value;

use crate::tree::{at, remove};

/// Stands for each item of a list, and each value of an object.
const EACH: &str = "*";

/// What a feature adds to an object.
pub struct Disabled {
    /// The feature gate, as Kubernetes calls it.
    pub gate: &'static str,
    fields: &'static [Path<'static>],
    naming: Option<&'static str>,
    empties_holder: bool,
}

impl Disabled {
    pub const fn new(gate: &'static str, fields: &'static [Path<'static>]) -> Self {
        Disabled { gate, fields, naming: None, empties_holder: false }
    }

    /// Only where this member of the field says something is the feature asked for.
    pub const fn naming(self, member: &'static str) -> Self {
        Disabled { naming: Some(member), ..self }
    }

    /// What holds nothing besides the field goes with it.
    pub const fn with_holder(self) -> Self {
        Disabled { empties_holder: true, ..self }
    }

    fn drop(&self, new: &mut Value, old: Option<&Value>) {
        if old.is_some_and(|old| self.fields.iter().any(|field| is_set(old, field))) {
            return;
        }
        for field in self.fields {
            self.clear(new, field);
        }
    }

    /// Whether something was taken away.
    fn clear(&self, tree: &mut Value, path: Path<'_>) -> bool {
        match path {
            [] => false,
            [EACH, rest @ ..] => items_mut(tree).filter_map(|item| self.clear(item, rest).then_some(())).count() > 0,
            [member] => self.is_asked_for(at(tree, &format!("/{member}"))) && remove(tree, member).is_some(),
            [member, rest @ ..] => {
                let Some(holder) = tree.get_mut(*member) else { return false };
                let cleared = self.clear(holder, rest);
                let is_empty = holder.as_object().is_some_and(serde_json::Map::is_empty);
                if self.empties_holder && cleared && is_empty {
                    remove(tree, member);
                }
                cleared
            }
        }
    }

    fn is_asked_for(&self, field: &Value) -> bool {
        self.naming.is_none_or(|member| field[member].as_str().is_some_and(|name| !name.is_empty()))
    }
}

/// Takes away what these features add to an object, as far as the old object has nothing of the same feature.
pub fn drop_disabled(features: &[Disabled], new: &mut Value, old: Option<&Value>) {
    for feature in features {
        feature.drop(new, old);
    }
}

fn is_set(tree: &Value, path: Path<'_>) -> bool {
    match path {
        [] => !tree.is_null(),
        [EACH, rest @ ..] => items(tree).any(|item| is_set(item, rest)),
        [member, rest @ ..] => tree.get(*member).is_some_and(|inner| is_set(inner, rest)),
    }
}

fn items(tree: &Value) -> Box<dyn Iterator<Item = &Value> + '_> {
    match tree {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(members) => Box::new(members.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Box::new(std::iter::empty()),
    }
}

fn items_mut(tree: &mut Value) -> Box<dyn Iterator<Item = &mut Value> + '_> {
    match tree {
        Value::Array(items) => Box::new(items.iter_mut()),
        Value::Object(members) => Box::new(members.values_mut()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => Box::new(std::iter::empty()),
    }
}
