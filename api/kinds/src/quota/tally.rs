//! What is used of a quota's bounds, counted from what there is.

use chrono::{DateTime, Utc};
use kontiki_model::{Quantity, Resources};
use serde_json::{Value, json};

use super::scope::scopes;
use crate::Kind;
use crate::tree::at;

/// How closely a kind's objects must be looked at for a quota.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Look {
    /// Their number is enough.
    Number,
    Objects,
}

/// Counts for one quota; what it names and nobody measured stays as it was known.
pub struct Tally<'a> {
    quota: &'a Value,
    bounds: Resources,
    used: Resources,
    now: DateTime<Utc>,
}

/// What a quota bounds: `spec.hard`.
fn bounds(quota: &Value) -> Resources {
    Resources::from_json(at(quota, "/spec/hard"))
}

/// `None` if the quota bounds nothing of the kind.
pub fn look(kind: &Kind, quota: &Value) -> Option<Look> {
    let bounds = bounds(quota);
    let names: Vec<&str> = bounds.names().filter(|name| kind.is_bounded_by(name)).collect();
    let numbers = scopes(quota).is_empty() && names.iter().all(|name| kind.is_counted_by(name));
    (!names.is_empty()).then_some(if numbers { Look::Number } else { Look::Objects })
}

impl<'a> Tally<'a> {
    pub fn new(quota: &'a Value, now: DateTime<Utc>) -> Self {
        Tally { quota, bounds: bounds(quota), used: Resources::default(), now }
    }

    /// Takes in all objects of a kind.
    pub fn measure(&mut self, kind: &Kind, objects: &[Value]) {
        let Tally { quota, bounds, used, now } = self;
        for name in bounds.names().filter(|name| kind.is_bounded_by(name)) {
            used.fill(name, Quantity::ZERO);
        }
        for object in objects.iter().filter(|object| kind.is_subject_to(quota, bounds, object)) {
            used.add(&kind.usage(object, *now).only(|name| bounds.has(name)));
        }
    }

    /// Takes in how many objects of a kind there are.
    pub fn count(&mut self, kind: &Kind, number: usize) {
        for name in self.bounds.names().filter(|name| kind.is_counted_by(name)).map(str::to_owned).collect::<Vec<_>>() {
            self.count_named(&name, number);
        }
    }

    /// Takes in a number by the name that bounds it.
    pub fn count_named(&mut self, name: &str, number: usize) {
        self.used.set(name, Quantity::from_units(i64::try_from(number).unwrap_or(i64::MAX)));
    }

    /// The quota's status, if it is another one than it has.
    pub fn finish(self) -> Option<Value> {
        let Tally { quota, bounds, used, .. } = self;
        let known = Resources::from_json(at(quota, "/status/used"));
        let mut all = known.only(|name| bounds.has(name));
        for (name, amount) in used.iter() {
            all.set(name, amount.clone());
        }
        let same = Resources::from_json(at(quota, "/status/hard")) == bounds && all == known;
        (!same).then(|| json!({"hard": bounds.to_json(), "used": all.to_json()}))
    }
}
