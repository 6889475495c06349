//! What ResourceQuotas measure, and what they answer to a write. Which names a kind is measured by is part of its
//! declaration ([`Measure`]); [`charge`] judges a write, [`Tally`] counts what is there.

mod charge;
mod scope;
mod tally;

use chrono::{DateTime, Utc};
use kontiki_model::{Quantity, Resources};
use serde_json::Value;

use crate::Kind;

pub use charge::{Charge, charge, concerns};
pub use scope::Scope;
use scope::scopes;
pub use tally::{Look, Tally, look};

/// What a ResourceQuota measures of a kind's objects, besides their number, which `count/<resource>.<group>` always bounds.
pub struct Measure {
    /// The name that bounded the number of objects before `count/…` did.
    pub alias: Option<&'static str>,
    /// What one object uses at a moment, by the names that quotas bound.
    pub usage: fn(&Value, DateTime<Utc>) -> Resources,
    /// Whether it is this kind that a name bounds. Those for the number of objects need not be told.
    pub is_bounded_by: fn(&str) -> bool,
    /// Whether an object lies in a scope.
    pub is_in: fn(&Value, &Scope<'_>) -> bool,
    /// What an object has to say for itself where these names are bounded: the error names what it does not.
    pub must_say: fn(&Value, &[&str]) -> Result<(), String>,
    /// A field selector of the objects that use anything, if not all do: who leaves it gives back what it used.
    pub uses: Option<&'static str>,
    /// Whether changes of it, or of this subresource, may use more.
    pub grows_by: fn(&str) -> bool,
}

impl Measure {
    /// Objects that are counted and no more.
    pub const COUNT: Measure = Measure {
        alias: None,
        usage: |_, _| Resources::default(),
        is_bounded_by: |_| false,
        is_in: |_, _| false,
        must_say: |_, _| Ok(()),
        uses: None,
        grows_by: |_| false,
    };
}

impl Kind {
    /// What bounds the number of its objects: `count/deployments.apps`.
    pub fn count_name(&self) -> String {
        format!("count/{}", self.storage_resource())
    }

    /// Whether a name in a quota bounds something of this kind.
    pub fn is_bounded_by(&self, name: &str) -> bool {
        self.is_counted_by(name) || self.measure.is_some_and(|measure| (measure.is_bounded_by)(name))
    }

    /// Whether a name in a quota bounds the number of its objects.
    pub fn is_counted_by(&self, name: &str) -> bool {
        self.measure.is_some_and(|measure| {
            measure.alias == Some(name)
                || name.strip_prefix("count/").is_some_and(|counted| counted == self.storage_resource())
        })
    }

    /// Whether its objects may come to use less without going: what grows by changes may shrink by them.
    pub fn may_shrink(&self) -> bool {
        self.measure.is_some_and(|measure| ["", "resize", "status"].into_iter().any(measure.grows_by))
    }

    /// What an object (in its stored form) uses.
    pub fn usage(&self, object: &Value, now: DateTime<Utc>) -> Resources {
        let Some(measure) = self.measure else { return Resources::default() };
        let mut usage = (measure.usage)(object, now);
        usage.set(self.count_name(), Quantity::from_units(1));
        if let Some(alias) = measure.alias {
            usage.set(alias, Quantity::from_units(1));
        }
        usage
    }

    /// Whether a quota is about an object: it bounds something of the kind, and the object lies in its scopes. `bounds` is the part
    /// of the quota that says what it bounds.
    fn is_subject_to(&self, quota: &Value, bounds: &Resources, object: &Value) -> bool {
        let Some(measure) = self.measure else { return false };
        bounds.names().any(|name| self.is_bounded_by(name))
            && scopes(quota).iter().all(|scope| (measure.is_in)(object, scope))
    }
}

#[cfg(test)]
mod tests;
