//! An OpenAPI v3 document made of what a server that knows only v2 says of its API. Pure.

use serde_json::{Map, Value, json};

use super::openapi::needed;

const REFERENCE_V2: &str = "#/definitions/";
const REFERENCE_V3: &str = "#/components/schemas/";
const METHODS: [&str; 7] = ["get", "put", "post", "delete", "options", "head", "patch"];
const JSON: &str = "application/json";
/// What a parameter says of its value, which v3 puts into a schema.
const OF_VALUES: [&str; 15] = [
    "type",
    "format",
    "items",
    "default",
    "enum",
    "maximum",
    "exclusiveMaximum",
    "minimum",
    "exclusiveMinimum",
    "maxLength",
    "minLength",
    "pattern",
    "maxItems",
    "minItems",
    "uniqueItems",
];

/// The part of a v2 document below `path` (`/apis/<group>/<version>`).
pub fn v3_of(document: &Value, path: &str) -> Value {
    let below = format!("{path}/");
    let all = document["paths"].as_object().into_iter().flatten();
    let taken: Vec<(&String, &Value)> = all.filter(|(name, _)| *name == path || name.starts_with(&below)).collect();
    let mut paths: Map<String, Value> =
        taken.iter().map(|(name, item)| ((*name).clone(), path_item(item, document))).collect();
    let schemas = needed(taken.iter().map(|(_, item)| *item), &document["definitions"]);
    let mut schemas: Map<String, Value> =
        schemas.into_iter().map(|name| (name.clone(), document["definitions"][&name].clone())).collect();
    paths.values_mut().chain(schemas.values_mut()).for_each(refer);
    json!({
        "openapi": "3.0.0", "info": document["info"], "paths": paths, "components": {"schemas": schemas},
    })
}

fn path_item(item: &Value, document: &Value) -> Value {
    let mut out = Map::new();
    for (name, value) in item.as_object().into_iter().flatten() {
        let value = match name.as_str() {
            method if METHODS.contains(&method) => operation(value, document),
            "parameters" => plain_parameters(value).into(),
            _ => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    out.into()
}

fn operation(operation: &Value, document: &Value) -> Value {
    let types = |member: &str| {
        let own = operation[member].as_array().or_else(|| document[member].as_array());
        let named: Vec<String> = own.into_iter().flatten().filter_map(Value::as_str).map(str::to_owned).collect();
        if named.is_empty() { vec![JSON.to_owned()] } else { named }
    };
    let content = |types: Vec<String>, schema: &Value| -> Value {
        types.into_iter().map(|name| (name, json!({"schema": schema}))).collect::<Map<_, _>>().into()
    };
    let mut out = Map::new();
    for (name, value) in operation.as_object().into_iter().flatten() {
        match name.as_str() {
            "consumes" | "produces" | "schemes" => {}
            "parameters" => {
                out.insert(name.clone(), plain_parameters(value).into());
                let body = value.as_array().into_iter().flatten().find(|one| one["in"] == "body");
                if let Some(body) = body {
                    let mut request = json!({"content": content(types("consumes"), &body["schema"])});
                    copy(body, &["description", "required"], &mut request);
                    out.insert("requestBody".to_owned(), request);
                }
            }
            "responses" => {
                let answers = value.as_object().into_iter().flatten().map(|(code, answer)| {
                    let mut told = json!({});
                    copy(answer, &["description"], &mut told);
                    if !answer["schema"].is_null() {
                        told["content"] = content(types("produces"), &answer["schema"]);
                    }
                    (code.clone(), told)
                });
                out.insert(name.clone(), answers.collect::<Map<_, _>>().into());
            }
            _ => _ = out.insert(name.clone(), value.clone()),
        }
    }
    out.into()
}

/// Those that are no body: what they say of their value moves into a schema.
fn plain_parameters(parameters: &Value) -> Vec<Value> {
    let plain = parameters.as_array().into_iter().flatten().filter(|one| one["in"] != "body");
    plain
        .map(|parameter| {
            let (mut out, mut schema) = (Map::new(), Map::new());
            for (name, value) in parameter.as_object().into_iter().flatten() {
                let place = if OF_VALUES.contains(&name.as_str()) { &mut schema } else { &mut out };
                place.insert(name.clone(), value.clone());
            }
            out.insert("schema".to_owned(), schema.into());
            out.into()
        })
        .collect()
}

fn copy(from: &Value, members: &[&str], to: &mut Value) {
    for member in members.iter().filter(|member| !from[**member].is_null()) {
        to[*member] = from[*member].clone();
    }
}

/// Has references lead to where v3 keeps schemas.
fn refer(value: &mut Value) {
    match value {
        Value::Object(members) => {
            for (member, value) in members {
                match value.as_str().filter(|_| member == "$ref").and_then(|text| text.strip_prefix(REFERENCE_V2)) {
                    Some(name) => *value = format!("{REFERENCE_V3}{name}").into(),
                    None => refer(value),
                }
            }
        }
        Value::Array(list) => list.iter_mut().for_each(refer),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operations_and_schemas_are_found_where_v3_has_them() {
        let one = json!({"$ref": "#/definitions/One"});
        let v2 = json!({
            "swagger": "2.0", "info": {"title": "t", "version": "1"},
            "paths": {
                "/apis/example.com/v1/ones": {
                    "parameters": [{"in": "query", "name": "pretty", "type": "string", "uniqueItems": true}],
                    "post": {
                        "operationId": "create", "consumes": ["*/*"], "produces": ["application/json", "application/yaml"],
                        "parameters": [
                            {"in": "body", "name": "body", "required": true, "schema": one},
                            {"in": "query", "name": "limit", "description": "d", "type": "integer", "format": "int64"},
                        ],
                        "responses": {"201": {"description": "Created", "schema": one}, "401": {"description": "Unauthorized"}},
                        "x-kubernetes-action": "post",
                    },
                },
                "/apis/example.com/v1beta1/ones": {},
            },
            "definitions": {"One": {"properties": {"self": one}}, "Other": {}},
        });
        let one = json!({"$ref": "#/components/schemas/One"});
        let content = json!({"application/json": {"schema": one}, "application/yaml": {"schema": one}});
        let expected = json!({
            "openapi": "3.0.0", "info": {"title": "t", "version": "1"},
            "paths": {"/apis/example.com/v1/ones": {
                "parameters": [{"in": "query", "name": "pretty", "schema": {"type": "string", "uniqueItems": true}}],
                "post": {
                    "operationId": "create",
                    "parameters": [{
                        "in": "query", "name": "limit", "description": "d", "schema": {"type": "integer", "format": "int64"},
                    }],
                    "requestBody": {"required": true, "content": {"*/*": {"schema": one}}},
                    "responses": {
                        "201": {"description": "Created", "content": content}, "401": {"description": "Unauthorized"},
                    },
                    "x-kubernetes-action": "post",
                },
            }},
            "components": {"schemas": {"One": {"properties": {"self": one}}}},
        });
        assert_eq!(v3_of(&v2, "/apis/example.com/v1"), expected);
    }
}
