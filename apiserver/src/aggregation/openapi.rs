//! Joining another server's OpenAPI v2 document to this one's: the paths of its API, and the definitions they need. Pure.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;

const REFERENCE: &str = "#/definitions/";

/// Adds what `other` says below `path` (`/apis/<group>/<version>`).
///
/// A definition that this document has under the same name is shared if it is the same, or else gets another name.
pub(crate) fn merge_v2(document: &mut Value, other: &Value, path: &str) {
    let below = format!("{path}/");
    let paths = other["paths"].as_object().into_iter().flatten();
    let mut taken: BTreeMap<String, Value> = paths
        .filter(|(name, _)| *name == path || name.starts_with(&below))
        .filter(|(name, _)| document["paths"].get(name.as_str()).is_none())
        .map(|(name, item)| (name.clone(), item.clone()))
        .collect();
    let needed = needed(taken.values(), &other["definitions"]);
    let names: BTreeMap<&str, String> = needed
        .iter()
        .map(|name| (name.as_str(), free_name(document, &other["definitions"][name.as_str()], name)))
        .collect();
    for (name, new_name) in &names {
        let mut definition = other["definitions"][*name].clone();
        rename(&mut definition, &names);
        document["definitions"][new_name.as_str()] = definition;
    }
    for (name, item) in &mut taken {
        rename(item, &names);
        document["paths"][name.as_str()] = item.take();
    }
}

/// Every definition that these lead to.
fn needed<'a>(items: impl Iterator<Item = &'a Value>, definitions: &Value) -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    let mut open: Vec<String> = Vec::new();
    items.for_each(|item| references(item, &mut open));
    while let Some(name) = open.pop() {
        let Some(definition) = definitions.get(&name) else { continue };
        if found.insert(name) {
            references(definition, &mut open);
        }
    }
    found
}

fn references(value: &Value, out: &mut Vec<String>) {
    match value {
        Value::Object(members) => {
            let name = members.get("$ref").and_then(Value::as_str).and_then(|text| text.strip_prefix(REFERENCE));
            out.extend(name.map(str::to_owned));
            members.values().for_each(|member| references(member, out));
        }
        Value::Array(list) => list.iter().for_each(|one| references(one, out)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn free_name(document: &Value, definition: &Value, name: &str) -> String {
    let definitions = &document["definitions"];
    let fits = |name: &str| definitions.get(name).is_none_or(|held| held == definition);
    let numbered = (2..).map(|number| format!("{name}_v{number}"));
    std::iter::once(name.to_owned()).chain(numbered).find(|name| fits(name)).expect("numbers do not end")
}

fn rename(value: &mut Value, names: &BTreeMap<&str, String>) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                match value.as_str().filter(|_| member == "$ref").and_then(|text| text.strip_prefix(REFERENCE)) {
                    None => rename(value, names),
                    Some(name) => {
                        if let Some(new_name) = names.get(name) {
                            *value = format!("{REFERENCE}{new_name}").into();
                        }
                    }
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(|one| rename(one, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answers(name: &str) -> Value {
        json!({"get": {"responses": {"200": {"schema": {"$ref": format!("{REFERENCE}{name}")}}}}})
    }

    #[test]
    fn only_what_is_needed_comes_over() {
        let mut document = json!({
            "paths": {"/api/v1/pods": answers("Meta")},
            "definitions": {"Meta": {"type": "object"}, "Kind": {"type": "string"}},
        });
        let other = json!({
            "paths": {
                "/apis/example.com/v1/ones": answers("One"),
                "/apis/example.com/v1": answers("Kind"),
                "/apis/example.com/v1beta1/ones": answers("Beta"),
                "/api/v1/pods": answers("Pods"),
            },
            "definitions": {
                "One": {"properties": {"meta": {"$ref": "#/definitions/Meta"}, "self": {"$ref": "#/definitions/One"}}},
                "Meta": {"type": "object"},
                "Kind": {"type": "integer"},
                "Beta": {},
                "Pods": {},
            },
        });
        merge_v2(&mut document, &other, "/apis/example.com/v1");
        let expected = json!({
            "paths": {
                "/api/v1/pods": answers("Meta"),
                "/apis/example.com/v1": answers("Kind_v2"),
                "/apis/example.com/v1/ones": answers("One"),
            },
            "definitions": {
                "Meta": {"type": "object"},
                "Kind": {"type": "string"},
                "Kind_v2": {"type": "integer"},
                "One": other["definitions"]["One"],
            },
        });
        assert_eq!(document, expected);
    }
}
