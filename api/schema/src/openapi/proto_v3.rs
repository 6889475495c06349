//! A version 3 document as gnostic's `openapi.v3.Document`. Field numbers are those of google/gnostic,
//! openapiv3/OpenAPIv3.proto. Members of documents that neither this server nor a definition's schema has have no code here.

use serde_json::Value;

use super::message::Message;

/// A version 3 document in protobuf.
pub fn v3_protobuf(document: &Value) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["openapi"]);
    out.message(2, &document["info"], |out, info| {
        out.text(1, &info["title"]);
        out.text(2, &info["description"]);
        out.text(6, &info["version"]);
    });
    out.message(4, &document["paths"], |out, paths| out.named(1, paths, path_item));
    out.message(5, &document["components"], |out, components| {
        out.message(1, &components["schemas"], |out, schemas| out.named(1, schemas, schema_or_reference));
        out.message(7, &components["securitySchemes"], |out, schemes| {
            out.named(1, schemes, |out, scheme| out.message(1, scheme, security_scheme));
        });
    });
    out.messages(6, &document["security"], |out, requirement| {
        out.named(1, requirement, |out, scopes| out.texts(1, scopes));
    });
    out.bytes
}

fn security_scheme(out: &mut Message, scheme: &Value) {
    out.text(1, &scheme["type"]);
    out.text(2, &scheme["description"]);
    out.text(3, &scheme["name"]);
    out.text(4, &scheme["in"]);
}

fn path_item(out: &mut Message, item: &Value) {
    let methods = [(4, "get"), (5, "put"), (6, "post"), (7, "delete"), (8, "options"), (9, "head"), (10, "patch")];
    for (number, method) in methods {
        out.message(number, &item[method], operation);
    }
    out.messages(13, &item["parameters"], parameter);
    out.extensions(14, item);
}

fn operation(out: &mut Message, operation: &Value) {
    out.texts(1, &operation["tags"]);
    out.text(3, &operation["description"]);
    out.text(5, &operation["operationId"]);
    out.messages(6, &operation["parameters"], parameter);
    out.message(7, &operation["requestBody"], |out, body| {
        out.message(1, body, |out, body| {
            out.text(1, &body["description"]);
            out.message(2, &body["content"], media_types);
            out.flag(3, &body["required"]);
        });
    });
    out.message(8, &operation["responses"], |out, responses| {
        out.named(2, responses, |out, response| {
            out.message(1, response, |out, response| {
                out.text(1, &response["description"]);
                out.message(3, &response["content"], media_types);
            });
        });
    });
    out.flag(10, &operation["deprecated"]);
    out.extensions(13, operation);
}

fn parameter(out: &mut Message, parameter: &Value) {
    out.message(1, parameter, |out, parameter| {
        out.text(1, &parameter["name"]);
        out.text(2, &parameter["in"]);
        out.text(3, &parameter["description"]);
        out.flag(4, &parameter["required"]);
        out.message(10, &parameter["schema"], schema_or_reference);
    });
}

fn media_types(out: &mut Message, types: &Value) {
    out.named(1, types, |out, media| out.message(1, &media["schema"], schema_or_reference));
}

fn schema_or_reference(out: &mut Message, value: &Value) {
    match value.get("$ref") {
        Some(target) => out.nested(2, |out| out.text(1, target)),
        None => out.message(1, value, schema),
    }
}

fn schema(out: &mut Message, value: &Value) {
    out.flag(1, &value["nullable"]);
    out.flag(8, &value["deprecated"]);
    out.text(9, &value["title"]);
    out.float(10, &value["multipleOf"]);
    out.float(11, &value["maximum"]);
    out.flag(12, &value["exclusiveMaximum"]);
    out.float(13, &value["minimum"]);
    out.flag(14, &value["exclusiveMinimum"]);
    out.whole(15, &value["maxLength"]);
    out.whole(16, &value["minLength"]);
    out.text(17, &value["pattern"]);
    out.whole(18, &value["maxItems"]);
    out.whole(19, &value["minItems"]);
    out.flag(20, &value["uniqueItems"]);
    out.whole(21, &value["maxProperties"]);
    out.whole(22, &value["minProperties"]);
    out.texts(23, &value["required"]);
    for one in value["enum"].as_array().into_iter().flatten() {
        out.nested(24, |out| out.yaml(one));
    }
    out.text(25, &value["type"]);
    for (number, member) in [(26, "allOf"), (27, "oneOf"), (28, "anyOf")] {
        out.messages(number, &value[member], schema_or_reference);
    }
    out.message(29, &value["not"], schema);
    out.message(30, &value["items"], |out, items| out.message(1, items, schema_or_reference));
    out.message(31, &value["properties"], |out, properties| out.named(1, properties, schema_or_reference));
    match &value["additionalProperties"] {
        Value::Bool(any) => out.nested(32, |out| out.given_flag(2, *any)),
        other => out.message(32, other, |out, other| out.message(1, other, schema_or_reference)),
    }
    default(out, &value["default"]);
    out.text(34, &value["description"]);
    out.text(35, &value["format"]);
    out.extensions(36, value);
}

/// Defaults that are objects or lists have no place in it.
fn default(out: &mut Message, value: &Value) {
    match value {
        Value::Number(_) => out.nested(33, |out| out.float(1, value)),
        Value::Bool(value) => out.nested(33, |out| out.given_flag(2, *value)),
        Value::String(text) => out.nested(33, |out| out.block(3, text.as_bytes())),
        Value::Null | Value::Array(_) | Value::Object(_) => {}
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::proto::tests::at;
    use super::*;

    #[test]
    fn a_document_can_be_read_back() {
        let document = json!({
            "openapi": "3.0.0",
            "info": {"title": "Kubernetes", "version": "v1"},
            "paths": {"/api/v1/pods/{name}": {
                "parameters": [{"name": "name", "in": "path", "required": true, "schema": {"type": "string"}}],
                "put": {
                    "operationId": "replacePod",
                    "requestBody": {"required": true, "content": {"application/json": {"schema": {"$ref": "#/Pod"}}}},
                    "responses": {"200": {"description": "OK", "content": {"*/*": {"schema": {"$ref": "#/Pod"}}}}},
                    "x-kubernetes-action": "put",
                },
            }},
            "components": {"schemas": {"Pod": {
                "type": "object",
                "properties": {"spec": {"allOf": [{"$ref": "#/Spec"}], "default": {}, "description": "what is wanted"}},
                "additionalProperties": false,
                "enum": [7],
                "maximum": 1.5,
                "minItems": 300,
                "default": "",
            }}},
        });
        let bytes = v3_protobuf(&document);
        let put = [4, 1, 2, 5];
        let pod = [5, 1, 1, 2, 1];
        let spec = [&pod[..], &[31, 1, 2, 1]].concat();
        let below = |path: &[u64], rest: &[u64]| at(&bytes, &[path, rest].concat());
        assert_eq!(at(&bytes, &[1]), b"3.0.0");
        assert_eq!(at(&bytes, &[2, 6]), b"v1");
        assert_eq!(at(&bytes, &[4, 1, 1]), b"/api/v1/pods/{name}");
        assert_eq!(at(&bytes, &[4, 1, 2, 13, 1, 10, 1, 25]), b"string");
        assert_eq!(below(&put, &[5]), b"replacePod");
        assert_eq!(below(&put, &[7, 1, 2, 1, 1]), b"application/json");
        assert_eq!(below(&put, &[7, 1, 2, 1, 2, 1, 2, 1]), b"#/Pod");
        assert_eq!(below(&put, &[8, 2, 2, 1, 3, 1, 2, 1, 2, 1]), b"#/Pod");
        assert_eq!(below(&put, &[13, 2, 2]), b"\"put\"\n");
        assert_eq!(below(&pod, &[25]), b"object");
        assert_eq!(below(&pod, &[32, 2]), [0]);
        assert_eq!(below(&pod, &[24, 2]), b"7\n");
        assert_eq!(below(&pod, &[11]), 1.5_f64.to_le_bytes());
        assert_eq!(below(&pod, &[33, 3]), b"");
        assert_eq!(below(&spec, &[26, 2, 1]), b"#/Spec");
        assert_eq!(below(&spec, &[34]), b"what is wanted");
    }
}
