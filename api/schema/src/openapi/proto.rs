//! The version 2 document as gnostic's `openapi.v2.Document`: the only form that kubectl before 1.25 reads.
//! Field numbers are those of google/gnostic, openapiv2/OpenAPIv2.proto. Members of the document that this server
//! never writes have no code here.

use serde_json::Value;

use super::message::Message;
use super::parts::Borrowed;

/// An item of `paths`.
pub(super) fn path(item: &Value) -> Vec<u8> {
    written(item, path_item)
}

/// One of `definitions`.
pub(super) fn definition(value: &Value) -> Vec<u8> {
    written(value, schema)
}

fn written(value: &Value, write: fn(&mut Message, &Value)) -> Vec<u8> {
    let mut out = Message::default();
    write(&mut out, value);
    out.bytes
}

/// A document of these paths and definitions, and the rest of it.
pub(super) fn document(document: &Value, paths: &Borrowed<'_>, definitions: &Borrowed<'_>) -> Vec<u8> {
    let mut out = Message::default();
    out.text(1, &document["swagger"]);
    out.message(2, &document["info"], |out, info| {
        out.text(1, &info["title"]);
        out.text(2, &info["version"]);
    });
    out.nested(8, |out| out.written(2, paths));
    out.nested(9, |out| out.written(1, definitions));
    out.messages(12, &document["security"], |out, requirement| {
        out.named(1, requirement, |out, scopes| out.texts(1, scopes));
    });
    out.message(13, &document["securityDefinitions"], |out, definitions| {
        out.named(1, definitions, |out, definition| {
            out.message(2, definition, |out, key| {
                out.text(1, &key["type"]);
                out.text(2, &key["name"]);
                out.text(3, &key["in"]);
                out.text(4, &key["description"]);
            });
        });
    });
    out.bytes
}

fn path_item(out: &mut Message, item: &Value) {
    for (number, method) in [(2, "get"), (3, "put"), (4, "post"), (5, "delete"), (8, "patch")] {
        out.message(number, &item[method], operation);
    }
    out.messages(9, &item["parameters"], parameters_item);
    out.extensions(10, item);
}

fn operation(out: &mut Message, operation: &Value) {
    out.texts(1, &operation["tags"]);
    out.text(5, &operation["operationId"]);
    out.texts(6, &operation["produces"]);
    out.texts(7, &operation["consumes"]);
    out.messages(8, &operation["parameters"], parameters_item);
    out.message(9, &operation["responses"], |out, responses| {
        out.named(1, responses, |out, response| {
            out.message(1, response, |out, response| {
                out.text(1, &response["description"]);
                out.message(2, &response["schema"], |out, item| out.message(1, item, schema));
            });
        });
    });
    out.texts(10, &operation["schemes"]);
    out.extensions(13, operation);
}

fn parameters_item(out: &mut Message, item: &Value) {
    out.message(1, item, |out, parameter| match parameter["in"].as_str() {
        Some("body") => out.message(1, parameter, |out, body| {
            out.text(2, &body["name"]);
            out.text(3, &body["in"]);
            out.flag(4, &body["required"]);
            out.message(5, &body["schema"], schema);
        }),
        Some("path") => out.message(2, parameter, |out, parameter| {
            out.message(4, parameter, |out, path| {
                out.flag(1, &path["required"]);
                out.text(2, &path["in"]);
                out.text(4, &path["name"]);
                out.text(5, &path["type"]);
                out.flag(18, &path["uniqueItems"]);
            });
        }),
        _ => out.message(2, parameter, |out, parameter| {
            out.message(3, parameter, |out, query| {
                out.flag(1, &query["required"]);
                out.text(2, &query["in"]);
                out.text(4, &query["name"]);
                out.text(6, &query["type"]);
                out.flag(20, &query["uniqueItems"]);
            });
        }),
    });
}

fn schema(out: &mut Message, schema_value: &Value) {
    out.text(1, &schema_value["$ref"]);
    out.text(2, &schema_value["format"]);
    out.text(4, &schema_value["description"]);
    if let Some(default) = schema_value.get("default") {
        out.nested(5, |out| out.yaml(default));
    }
    out.texts(19, &schema_value["required"]);
    for one in schema_value["enum"].as_array().into_iter().flatten() {
        out.nested(20, |out| out.yaml(one));
    }
    out.message(21, &schema_value["additionalProperties"], |out, item| out.message(1, item, schema));
    if schema_value["type"].is_string() {
        out.nested(22, |out| out.text(1, &schema_value["type"]));
    }
    out.message(23, &schema_value["items"], |out, item| out.message(1, item, schema));
    out.message(25, &schema_value["properties"], |out, properties| out.named(1, properties, schema));
    out.extensions(31, schema_value);
}

#[cfg(test)]
pub(super) mod tests {
    use serde_json::json;

    use super::super::{Part, Written, assembled};

    /// Reads a message back: its fields in order, all of them length-delimited, of eight bytes or small varints.
    fn fields(mut bytes: &[u8]) -> Vec<(u64, Vec<u8>)> {
        fn varint(bytes: &mut &[u8]) -> u64 {
            let (mut value, mut shift) = (0, 0);
            loop {
                let byte = bytes[0];
                *bytes = &bytes[1..];
                value |= u64::from(byte & 0x7f) << shift;
                shift += 7;
                if byte < 0x80 {
                    return value;
                }
            }
        }
        let mut out = Vec::new();
        while !bytes.is_empty() {
            let tag = varint(&mut bytes);
            let length = match tag & 7 {
                0 => {
                    out.push((tag >> 3, vec![varint(&mut bytes) as u8]));
                    continue;
                }
                1 => 8,
                _ => varint(&mut bytes) as usize,
            };
            let (block, rest) = bytes.split_at(length);
            out.push((tag >> 3, block.to_vec()));
            bytes = rest;
        }
        out
    }

    /// The content at a path of field numbers, taking the first of each.
    pub fn at(bytes: &[u8], path: &[u64]) -> Vec<u8> {
        path.iter().fold(bytes.to_vec(), |bytes, number| {
            fields(&bytes).into_iter().find(|(found, _)| found == number).map(|(_, block)| block).unwrap()
        })
    }

    #[test]
    fn definitions_and_operations_can_be_read_back() {
        let gvk = json!({"group": "", "version": "v1", "kind": "Pod"});
        let document = json!({
            "swagger": "2.0",
            "info": {"title": "Kubernetes", "version": "v1"},
            "paths": {"/api/v1/pods/{name}": {"patch": {
                "operationId": "patchPod",
                "parameters": [{"name": "dryRun", "in": "query", "type": "string", "uniqueItems": true}],
                "x-kubernetes-group-version-kind": gvk,
            }}},
            "definitions": {"io.k8s.api.core.v1.Pod": {
                "type": "object",
                "required": ["spec"],
                "properties": {"spec": {"$ref": "#/definitions/Spec"}},
                "x-kubernetes-group-version-kind": [gvk],
            }},
        });
        let bytes = assembled([&Part::of(&document, Written::Protobuf)].into_iter(), Written::Protobuf);
        assert_eq!(at(&bytes, &[1]), b"2.0");
        let item = [8, 2];
        assert_eq!(at(&bytes, &[&item[..], &[1]].concat()), b"/api/v1/pods/{name}");
        let patch = [&item[..], &[2, 8]].concat();
        assert_eq!(at(&bytes, &[&patch[..], &[5]].concat()), b"patchPod");
        assert_eq!(at(&bytes, &[&patch[..], &[8, 1, 2, 3, 4]].concat()), b"dryRun");
        assert_eq!(at(&bytes, &[&patch[..], &[8, 1, 2, 3, 20]].concat()), [1]);
        let extension = [&patch[..], &[13]].concat();
        assert_eq!(at(&bytes, &[&extension[..], &[1]].concat()), b"x-kubernetes-group-version-kind");
        assert_eq!(at(&bytes, &[&extension[..], &[2, 2]].concat()), format!("{gvk}\n").as_bytes());
        let definition = [9, 1];
        assert_eq!(at(&bytes, &[&definition[..], &[1]].concat()), b"io.k8s.api.core.v1.Pod");
        assert_eq!(at(&bytes, &[&definition[..], &[2, 22, 1]].concat()), b"object");
        assert_eq!(at(&bytes, &[&definition[..], &[2, 19]].concat()), b"spec");
        assert_eq!(at(&bytes, &[&definition[..], &[2, 25, 1, 1]].concat()), b"spec");
        assert_eq!(at(&bytes, &[&definition[..], &[2, 25, 1, 2, 1]].concat()), b"#/definitions/Spec");
    }
}
