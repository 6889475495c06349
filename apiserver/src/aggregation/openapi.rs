//! Joining another server's OpenAPI v2 document to this one's: the paths of its API, and the definitions they need. Pure.

use std::collections::{BTreeMap, BTreeSet};

use kontiki_schema::openapi::Part;
use serde_json::{Map, Value, json};

const REFERENCE: &str = "#/definitions/";

/// What a document has already.
pub(crate) struct Known<'a> {
    pub parts: Vec<&'a Part>,
    /// What came over from others.
    pub joined: &'a [Value],
}

impl Known<'_> {
    fn has_path(&self, name: &str) -> bool {
        self.parts.iter().any(|part| part.paths.contains_key(name))
            || self.joined.iter().any(|one| one["paths"].get(name).is_some())
    }

    fn definition(&self, name: &str) -> Option<Value> {
        let own = self.parts.iter().find_map(|part| part.definitions.get(name));
        match own {
            Some(text) => serde_json::from_slice(text).ok(),
            None => self.joined.iter().find_map(|one| one["definitions"].get(name)).cloned(),
        }
    }
}

/// What `other` says below `path` (`/apis/<group>/<version>`), as it can join the document.
///
/// A definition that this document has under the same name is shared if it is the same, or else gets another name.
pub(crate) fn joining(known: &Known<'_>, other: &Value, path: &str) -> Value {
    let below = format!("{path}/");
    let paths = other["paths"].as_object().into_iter().flatten();
    let mut taken: BTreeMap<String, Value> = paths
        .filter(|(name, _)| *name == path || name.starts_with(&below))
        .filter(|(name, _)| !known.has_path(name))
        .map(|(name, item)| (name.clone(), item.clone()))
        .collect();
    let needed = needed(taken.values(), &other["definitions"]);
    let names: BTreeMap<&str, String> = needed
        .iter()
        .map(|name| (name.as_str(), free_name(known, &other["definitions"][name.as_str()], name)))
        .collect();
    let mut definitions = Map::new();
    for (name, new_name) in &names {
        let mut definition = other["definitions"][*name].clone();
        rename(&mut definition, &names);
        definitions.insert(new_name.clone(), definition);
    }
    taken.values_mut().for_each(|item| rename(item, &names));
    json!({"paths": taken, "definitions": definitions})
}

/// Every definition that these lead to.
pub(super) fn needed<'a>(items: impl Iterator<Item = &'a Value>, definitions: &Value) -> BTreeSet<String> {
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

fn free_name(known: &Known<'_>, definition: &Value, name: &str) -> String {
    let fits = |name: &str| known.definition(name).is_none_or(|held| held == *definition);
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
    use kontiki_schema::openapi::Written;

    use super::*;

    fn answers(name: &str) -> Value {
        json!({"get": {"responses": {"200": {"schema": {"$ref": format!("{REFERENCE}{name}")}}}}})
    }

    #[test]
    fn only_what_is_needed_comes_over() {
        let document = json!({
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
        let own = Part::of(&document, Written::Json);
        let known = Known { parts: vec![&own], joined: &[] };
        let joining = joining(&known, &other, "/apis/example.com/v1");
        let expected = json!({
            "paths": {"/apis/example.com/v1": answers("Kind_v2"), "/apis/example.com/v1/ones": answers("One")},
            "definitions": {
                "Kind_v2": {"type": "integer"},
                "Meta": {"type": "object"},
                "One": other["definitions"]["One"],
            },
        });
        assert_eq!(joining, expected);
        let again = Known { parts: vec![&own], joined: &[joining] };
        assert_eq!(super::joining(&again, &other, "/apis/example.com/v1")["paths"], json!({}));
    }
}
