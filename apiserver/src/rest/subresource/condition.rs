//! Conditions that the server itself writes into a status.

use serde_json::Value;

/// Sets a condition in the place of the one of its type.
pub fn set(object: &mut Value, condition: Value) {
    let conditions = &mut object["status"]["conditions"];
    let mut all = conditions.as_array().cloned().unwrap_or_default();
    match all.iter_mut().find(|one| one["type"] == condition["type"]) {
        Some(one) => *one = condition,
        None => all.push(condition),
    }
    *conditions = all.into();
}
