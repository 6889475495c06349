//! A read is of one revision, present or past, and is exactly what the log says was there.

use std::collections::BTreeMap;

use kontiki_model::{Key, Revision, Scope};
use kontiki_raft::{ReadError, Stored};

use super::{Violation, same_object, violated};
use crate::model::{Model, ModelObject};

pub fn check_list(
    seen: &[Stored],
    live: &BTreeMap<Key, ModelObject>,
    scope: &Scope,
    at: Revision,
) -> Result<(), Violation> {
    let expected: Vec<_> = live.iter().filter(|(key, _)| scope.contains(key)).collect();
    let names = || format!("at {at}: {:?}", seen.iter().map(|stored| &stored.key.name).collect::<Vec<_>>());
    if seen.len() != expected.len() {
        return violated(
            "a list has every object once",
            format!("{} instead of {}; {}", seen.len(), expected.len(), names()),
        );
    }
    for (seen, (key, object)) in seen.iter().zip(expected) {
        if seen.key != *key {
            return violated("a list is in key order", format!("{:?} instead of {key:?}; {}", seen.key, names()));
        }
        if !same_object(seen, object) {
            return violated("a list is of one revision", format!("at {at}: {seen:?} instead of {object:?}"));
        }
    }
    Ok(())
}

pub fn check_get(seen: Option<&Stored>, expected: Option<&ModelObject>, at: Revision) -> Result<(), Violation> {
    match (seen, expected) {
        (None, None) => Ok(()),
        (Some(seen), Some(expected)) if same_object(seen, expected) => Ok(()),
        _ => violated("a read is what was there", format!("at {at}: {seen:?} instead of {expected:?}")),
    }
}

/// Refusing to tell the past is right only where it was forgotten, and telling it only where it is retained.
pub fn check_retained<T>(
    model: &Model,
    resource: &str,
    at: Revision,
    answer: Result<T, ReadError>,
) -> Result<Option<T>, Violation> {
    let (floor, revision) = (model.floor_of(resource), model.revision());
    let context = || format!("{resource} at {at}, history from {floor} to {revision}");
    match answer {
        Err(ReadError::Compacted { floor: told, .. }) if at < floor && told == floor => Ok(None),
        Err(ReadError::Future { revision: told, .. }) if at > revision && told == revision => Ok(None),
        Ok(answer) if (floor..=revision).contains(&at) => Ok(Some(answer)),
        Ok(_) => violated("what is forgotten, or is still to come, is not told", context()),
        Err(error) => violated("what is retained is told", format!("{}: {error}", context())),
    }
}
