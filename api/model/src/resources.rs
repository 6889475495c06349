//! `ResourceList`: how much there is of each of several resources, by name.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::fmt;

use serde_json::{Map, Value};

use crate::Quantity;

/// Amounts by name; a name that is absent is not the same as an amount of zero. Prints as `cpu=1,memory=1Gi`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resources(BTreeMap<String, Quantity>);

impl Resources {
    /// Reads the JSON form; what is no quantity is left out, because the schema has checked that there is none.
    pub fn from_json(list: &Value) -> Self {
        let amounts = list.as_object().into_iter().flatten();
        amounts.filter_map(|(name, amount)| Some((name.as_str(), Quantity::from_json(amount)?))).collect()
    }

    pub fn to_json(&self) -> Value {
        let member = |(name, amount): (&String, &Quantity)| (name.clone(), Value::String(amount.to_string()));
        Value::Object(self.0.iter().map(member).collect::<Map<_, _>>())
    }

    pub fn get(&self, name: &str) -> Option<&Quantity> {
        self.0.get(name)
    }

    pub fn has(&self, name: &str) -> bool {
        self.0.contains_key(name)
    }

    pub fn set(&mut self, name: impl Into<String>, amount: Quantity) {
        self.0.insert(name.into(), amount);
    }

    /// Sets what is not there yet.
    pub fn fill(&mut self, name: &str, amount: Quantity) {
        self.0.entry(name.to_owned()).or_insert(amount);
    }

    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// In the order of the names.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Quantity)> {
        self.0.iter().map(|(name, amount)| (name.as_str(), amount))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The sum.
    pub fn add(&mut self, other: &Resources) {
        self.combine(other, |mine, theirs| mine.add(theirs));
    }

    /// Of each name the larger amount.
    pub fn raise_to(&mut self, other: &Resources) {
        self.combine(other, |mine, theirs| mine.max(theirs).clone());
    }

    fn combine(&mut self, other: &Resources, both: impl Fn(&Quantity, &Quantity) -> Quantity) {
        for (name, theirs) in &other.0 {
            match self.0.entry(name.clone()) {
                Entry::Vacant(slot) => _ = slot.insert(theirs.clone()),
                Entry::Occupied(mut slot) => {
                    let amount = both(slot.get(), theirs);
                    slot.insert(amount);
                }
            }
        }
    }

    /// What is more than in `other`; nothing is less than zero.
    pub fn beyond(&self, other: &Resources) -> Resources {
        let more = |name: &str, mine: &Quantity| match other.get(name) {
            None => mine.clone(),
            Some(theirs) if theirs >= mine => Quantity::ZERO,
            Some(theirs) => mine.sub(theirs),
        };
        self.iter().map(|(name, mine)| (name, more(name, mine))).collect()
    }

    /// The part whose names pass.
    pub fn only(&self, keep: impl Fn(&str) -> bool) -> Resources {
        self.iter().filter(|(name, _)| keep(name)).map(|(name, amount)| (name, amount.clone())).collect()
    }

    /// The part that is not zero.
    pub fn without_zeros(&self) -> Resources {
        self.only(|name| self.get(name).is_some_and(|amount| !amount.is_zero()))
    }
}

impl<'a> FromIterator<(&'a str, Quantity)> for Resources {
    fn from_iter<I: IntoIterator<Item = (&'a str, Quantity)>>(amounts: I) -> Self {
        Resources(amounts.into_iter().map(|(name, amount)| (name.to_owned(), amount)).collect())
    }
}

impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, (name, amount)) in self.iter().enumerate() {
            let comma = if index > 0 { "," } else { "" };
            write!(f, "{comma}{name}={amount}")?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    fn resources(list: Value) -> Resources {
        Resources::from_json(&list)
    }

    #[test]
    fn sums_and_differences_go_by_name() {
        let mut sum = resources(json!({"cpu": "500m", "memory": "1Gi"}));
        sum.add(&resources(json!({"cpu": "1500m", "pods": 1})));
        assert_eq!(sum.to_string(), "cpu=2,memory=1Gi,pods=1");
        let beyond = sum.beyond(&resources(json!({"cpu": "1", "memory": "2Gi", "other": "7"})));
        assert_eq!(beyond.to_string(), "cpu=1,memory=0,pods=1");
        assert_eq!(beyond.without_zeros().to_json(), json!({"cpu": "1", "pods": "1"}));
    }

    #[test]
    fn the_larger_amount_counts_by_value() {
        let mut most = resources(json!({"cpu": "900m", "memory": "1Gi"}));
        most.raise_to(&resources(json!({"cpu": "1", "memory": "1G", "pods": "1"})));
        assert_eq!(most.to_string(), "cpu=1,memory=1Gi,pods=1");
        assert_eq!(most.only(|name| name == "pods"), resources(json!({"pods": "1000m"})));
    }
}
