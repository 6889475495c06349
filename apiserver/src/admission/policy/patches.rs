//! What the expressions of a mutation come to, put into the object.

use kontiki_cel::{Budget, Composition, Value as Cel, misplaced};
use kontiki_schema::{Document, Schema, json_operations};
use serde_json::{Map, Value};

use super::{compiled::Mutation, expressions::Trouble};

/// The object after a mutation.
pub(super) fn changed<'a>(
    mutation: &'a Mutation,
    seen: &Composition<'a>,
    budget: &mut Budget,
    object: &Value,
    schema: Schema<'_>,
) -> Result<Value, String> {
    match mutation {
        Mutation::Configuration(expression) => {
            let made = expression.run(seen, budget).map_err(Trouble::told)?;
            configured(&made, object, schema)
        }
        Mutation::Patch(expression) => {
            let made = expression.run(seen, budget).map_err(Trouble::told)?;
            patched(&made, object, schema)
        }
    }
}

/// Merges a configuration as server-side apply does; who says what does not change.
fn configured(made: &Cel<'_>, object: &Value, schema: Schema<'_>) -> Result<Value, String> {
    in_place(made)?;
    let mut configuration = made.to_json().map_err(|why| format!("invalid return type: {why}"))?;
    for member in ["apiVersion", "kind"] {
        configuration[member] = object[member].clone();
    }
    let merged = schema.table.overlaid(schema.id, object, &configuration);
    let merged = merged.map_err(|why| format!("error applying patch: {why}"))?;
    sound(merged, object, schema)
}

/// Applies a list of operations, all of them or none.
fn patched(made: &Cel<'_>, object: &Value, schema: Schema<'_>) -> Result<Value, String> {
    let mut operations = Vec::new();
    for operation in made.items().unwrap_or_default() {
        let mut members = Map::new();
        for (name, value) in operation.entries().unwrap_or_default() {
            in_place(&value)?;
            let why = "JSONPath valueExpression evaluated to a type that could not marshal to JSON";
            let value = value.to_json().map_err(|error| format!("{why}: {error}"))?;
            if let Cel::String(name) = name {
                members.insert(name.into_owned(), value);
            }
        }
        operations.push(Value::Object(members));
    }
    match json_operations(object, operations) {
        Ok(Some(changed)) => sound(changed, object, schema),
        // A test that does not hold means that there is nothing to do.
        Ok(None) => Ok(object.clone()),
        Err(why) => Err(format!("JSONPath: {why}")),
    }
}

/// Every object that the expression made must be named by its place.
fn in_place(made: &Cel<'_>) -> Result<(), String> {
    match misplaced(made).as_slice() {
        [] => Ok(()),
        faults => Err(format!("type mismatch: {}", faults.join("\n"))),
    }
}

/// What was made must still be an object of its kind, and the same one.
fn sound(changed: Value, before: &Value, schema: Schema<'_>) -> Result<Value, String> {
    for pointer in ["/apiVersion", "/kind", "/metadata/name", "/metadata/namespace", "/metadata/uid"] {
        if changed.pointer(pointer) != before.pointer(pointer) {
            let member = pointer.trim_start_matches('/').replace('/', ".");
            return Err(format!("{member} may not be changed by a policy"));
        }
    }
    let document = Document { value: changed, duplicates: Vec::new() };
    match schema.check_document(&document) {
        Ok(objections) if objections.is_empty() => Ok(document.value),
        Ok(objections) => Err(objections.to_string()),
        Err(error) => Err(error.to_string()),
    }
}
