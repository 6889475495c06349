//! LimitRanger: the LimitRanges of its namespace fill in what a new object does not say, and bound what it does.

use kontiki_kinds::Limited;
use kontiki_model::Scope;
use serde_json::Value;

use super::{Attributes, Operation};
use crate::rest::{Refusal, object, read_failed};

const RANGES: &str = "limitranges";

/// How the object is bounded, where this write is.
fn limited(attributes: &Attributes<'_>, old: Option<&Value>) -> Option<&'static Limited> {
    let limited = attributes.kind.limited?;
    let applies = match attributes.operation {
        Operation::Create => attributes.creates(),
        Operation::Update => (limited.on_update)(attributes.subresource),
        Operation::Delete | Operation::Connect => false,
    };
    // Whatever the ranges have become since, what is being deleted may give up its finalizers.
    let goes = old.is_some_and(|old| !object::text(old, "/metadata/deletionTimestamp").is_empty());
    (applies && !goes).then_some(limited)
}

fn ranges(attributes: &Attributes<'_>) -> Result<Vec<Value>, Refusal> {
    let scope = Scope { resource: RANGES.to_owned(), namespace: Some(attributes.namespace.to_owned()) };
    let found = attributes.view.list(&scope).map_err(|error| read_failed(&error))?;
    found.iter().map(|range| object::open(range).map_err(Refusal::from)).collect()
}

pub fn fill(attributes: &Attributes<'_>, object: &mut Value, old: Option<&Value>) -> Result<(), Refusal> {
    let Some(limited) = limited(attributes, old) else { return Ok(()) };
    for range in ranges(attributes)? {
        (limited.fill)(object, &range);
    }
    Ok(())
}

/// The first range that is not kept is the one that is told of.
pub fn check(attributes: &Attributes<'_>, object: &Value, old: Option<&Value>) -> Result<(), Refusal> {
    let Some(limited) = limited(attributes, old) else { return Ok(()) };
    for range in ranges(attributes)? {
        let faults = (limited.check)(object, &range);
        if !faults.is_empty() {
            let why = all_of(faults);
            return Err(Refusal::Judged(attributes.forbidden(&why)));
        }
    }
    Ok(())
}

/// Several reasons in one text, each once.
fn all_of(faults: Vec<String>) -> String {
    let mut told: Vec<String> = Vec::with_capacity(faults.len());
    for fault in faults {
        if !told.contains(&fault) {
            told.push(fault);
        }
    }
    if told.len() == 1 { told.remove(0) } else { format!("[{}]", told.join(", ")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn several_reasons_are_a_list_and_one_is_none() {
        let all_of = |faults: &[&str]| all_of(faults.iter().map(|fault| (*fault).to_owned()).collect());
        assert_eq!(all_of(&["a", "a"]), "a");
        assert_eq!(all_of(&["a", "b", "a"]), "[a, b]");
    }
}
