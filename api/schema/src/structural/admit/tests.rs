use serde_json::json;

use super::*;

fn told(schema: &Value) -> Vec<String> {
    let mut faults = Faults::default();
    let read = Structural::admit(schema, "s", &mut faults);
    assert_eq!(read.is_some(), faults.is_empty());
    faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect()
}

#[test]
fn schemas_that_are_not_structural_are_refused() {
    let table = [
        (json!({}), "s.type: Required value: must not be empty at the root"),
        (
            json!({"type": "object", "properties": {"apiVersion": {"type": "object"}}}),
            "s.properties[apiVersion].type: Invalid value: \"object\": must be string",
        ),
        (json!({"type": "string"}), "s.type: Invalid value: \"string\": must be object at the root"),
        (
            json!({"type": "object", "properties": {"a": {}}}),
            "s.properties[a].type: Required value: must not be empty for specified object fields",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array"}}}),
            "s.properties[a].items: Required value: must be specified",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "items": {}}}}),
            "s.properties[a].items.type: Required value: must not be empty for specified array items",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "float"}}}),
            "s.properties[a].type: Unsupported value: \"float\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"",
        ),
        (json!({"type": "object", "$ref": "#/x"}), "s.$ref: Forbidden: $ref is not supported"),
        (
            json!({"type": "object", "properties": {"m": {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": {"type": "string"}}}}),
            "s.properties[m].additionalProperties: Forbidden: additionalProperties and properties are mutual exclusive",
        ),
        (
            json!({"type": "object", "x-kubernetes-preserve-unknown-fields": false}),
            "s.x-kubernetes-preserve-unknown-fields: Invalid value: false: must be true or undefined",
        ),
        (
            json!({"type": "object", "anyOf": [{"properties": {"a": {"minimum": 1}}}]}),
            "s.properties[a]: Required value: because it is defined in s.anyOf[0].properties[a]",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "string", "pattern": "("}}}),
            "s.properties[a].pattern: Invalid value: \"(\"",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "integer", "default": "x"}}}),
            "s.properties[a].default: Invalid value: \"string\"",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "object", "default": {"x": 1}}}}),
            "s.properties[a].default: Invalid value: {\"x\":1}: must not have unknown fields",
        ),
        (
            json!({"type": "object", "properties": {"a": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
                "items": {"type": "object", "properties": {"k": {"type": "string"}}}}}}),
            "s.properties[a].items.properties[k].default: Required value: this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property",
        ),
        (
            json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}),
            "s.properties[metadata]: Forbidden",
        ),
    ];
    for (schema, expected) in table {
        let found = told(&schema);
        assert!(found.first().is_some_and(|told| told.starts_with(expected)), "{schema}: {found:#?}");
    }
}

/// A property `a` of an object, and what is said of it.
#[test]
fn members_are_what_they_may_be() {
    let set = |items: Value| json!({"type": "array", "x-kubernetes-list-type": "set", "items": items});
    let map = |key: Value| {
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"],
            "items": {"type": "object", "required": ["k"], "properties": {"k": key}}})
    };
    let rule = json!([{"rule": "self > 5"}]);
    let ruled = json!({"type": "integer", "x-kubernetes-validations": [{"rule": "self > 5", "message": "too small"}]});
    let with = |of: &Value, member: &str, value: Value| {
        let mut of = of.clone();
        of[member] = value;
        of
    };
    let scalar = json!({"type": "string"});
    let table = [
        (
            set(json!({"type": "object"})),
            "items.x-kubernetes-map-type: Invalid value: null: must be atomic as item of a list with x-kubernetes-list-type=set",
        ),
        (
            set(set(scalar.clone())),
            "items.x-kubernetes-list-type: Invalid value: \"set\": must be atomic as item of a list with x-kubernetes-list-type=set",
        ),
        (
            set(json!({"type": "string", "nullable": true})),
            "items.nullable: Forbidden: cannot be nullable when x-kubernetes-list-type is set",
        ),
        (
            map(json!({"type": "string", "nullable": true})),
            "items.properties[k].nullable: Forbidden: this property is in x-kubernetes-list-map-keys, so it cannot be nullable",
        ),
        (
            with(&map(scalar.clone()), "x-kubernetes-list-map-keys", json!(["k", "k"])),
            "x-kubernetes-list-map-keys: Invalid value: [\"k\",\"k\"]: must not contain duplicate entries",
        ),
        (
            with(&map(scalar.clone()), "x-kubernetes-list-map-keys", json!(["z"])),
            "x-kubernetes-list-map-keys: Invalid value: [\"z\"]: entries must all be names of item properties",
        ),
        (
            json!({"type": "integer", "allOf": [{"x-kubernetes-validations": rule}]}),
            "allOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "integer", "anyOf": [{"oneOf": [{"x-kubernetes-validations": rule}]}]}),
            "anyOf[0].oneOf[0].x-kubernetes-validations: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "object", "not": {"properties": {"a": {"x-kubernetes-validations": rule}}}}),
            "not.properties[a].x-kubernetes-validations: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "integer", "anyOf": [{"type": "integer"}]}),
            "anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer", "minimum": 1}, {"type": "string"}]}),
            "anyOf[0].type: Forbidden: must be empty to be structural",
        ),
        (
            json!({"type": "integer", "not": {"default": 1}}),
            "not.default: Forbidden: must be undefined to be structural",
        ),
        (
            json!({"type": "object", "allOf": [{"nullable": true}]}),
            "allOf[0].nullable: Forbidden: must be false to be structural",
        ),
        (
            json!({"type": "object", "allOf": [{"properties": {"metadata": {}}}]}),
            "allOf[0].properties[metadata]: Forbidden: must not be specified in a nested context",
        ),
        (
            json!({"x-kubernetes-int-or-string": true, "x-kubernetes-preserve-unknown-fields": true}),
            "x-kubernetes-preserve-unknown-fields: Invalid value: true: must be false if x-kubernetes-int-or-string is true",
        ),
        (
            json!({"type": "object", "x-kubernetes-embedded-resource": true, "additionalProperties": true}),
            "additionalProperties: Forbidden: must not be used if x-kubernetes-embedded-resource is set",
        ),
        (
            json!({"x-kubernetes-list-type": "set"}),
            "type: Required value: must be array if x-kubernetes-list-type is specified",
        ),
        (
            with(&scalar, "x-kubernetes-map-type", json!("atomic")),
            "type: Invalid value: \"string\": must be object if x-kubernetes-map-type is specified",
        ),
        (with(&ruled, "default", json!(3)), "default: Invalid value: too small"),
        (
            json!({"type": "object", "default": {"b": 3}, "properties": {"b": ruled}}),
            "default.b: Invalid value: too small",
        ),
        (
            json!({"type": "integer", "default": 1, "x-kubernetes-validations": [{"rule": "self > oldSelf", "message": "grows"}]}),
            "default: Invalid value: grows",
        ),
        (
            json!({"type": "integer", "default": "x"}),
            "default: Invalid value: \"string\": \u{20}in body must be of type integer",
        ),
    ];
    for (of, expected) in table {
        let found = told(&json!({"type": "object", "properties": {"a": of}}));
        let expected = format!("s.properties[a].{expected}");
        assert!(found.iter().any(|told| told.starts_with(&expected)), "{of}: {found:#?}");
    }
}

#[test]
fn roots_are_objects_of_the_api() {
    let embedded = json!({"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
        "metadata": {"type": "object", "properties": {"labels": {
            "type": "object", "additionalProperties": {"type": "string", "default": "x"}}}}}});
    let default = json!({"properties": {"metadata": {"type": "object", "default": {}}}});
    let table = [
        (json!({"additionalProperties": true}), "additionalProperties: Forbidden: must not be used at the root"),
        (json!({"nullable": true}), "nullable: Forbidden: nullable cannot be true at the root"),
        (default, "properties[metadata].default: Forbidden: must not be set in top-level metadata"),
        (
            json!({"properties": {"kind": {"type": "string", "default": "Widget"}}}),
            "properties[kind].default: Forbidden: must not be set in top-level kind",
        ),
        (
            json!({"properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "default": "x"}}}}}),
            "properties[metadata].properties[name].default: Forbidden: must not be set in top-level metadata",
        ),
        (
            json!({"properties": {"e": embedded}}),
            "properties[e].properties[metadata].properties[labels].additionalProperties.default: Forbidden: must not be set inside \
             additionalProperties applying to object metadata",
        ),
        (
            json!({"properties": {"metadata": {"type": "object", "required": ["name"]}}}),
            "properties[metadata]: Forbidden: must not specify anything other than name and generateName",
        ),
    ];
    for (mut of, expected) in table {
        of["type"] = json!("object");
        let found = told(&of);
        assert!(found.iter().any(|told| told.starts_with(&format!("s.{expected}"))), "{of}: {found:#?}");
    }
}

/// Definitions were let in that are refused now; their objects are served on.
#[test]
fn what_is_stored_is_read_all_the_same() {
    let stored = json!({"type": "object", "nullable": true, "additionalProperties": true, "properties": {
        "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}},
        "n": {"type": "integer", "default": "x", "x-kubernetes-validations": [{"rule": "math.abs(self) > 5"}]}}});
    assert!(told(&stored).len() > 2);
    let mut faults = Faults::default();
    let read = Structural::read(&stored, "s", &mut faults).unwrap();
    assert!(faults.is_empty());
    read.validate(&json!({"s": [{"a": 1}], "n": 1}), super::super::Ratchet::NEW, &mut faults);
    assert!(faults.is_empty());
    // A rule that is none any more holds of nothing.
    read.run_rules(&json!({"n": 1}), super::super::Ratchet::NEW, &mut faults);
    let told: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect();
    let expected =
        "n: Invalid value: rule compile error: compilation failed: ERROR: <input>:1:1: undeclared reference to 'math'";
    assert!(told.len() == 1 && told[0].starts_with(expected), "{told:#?}");
}

#[test]
fn sound_schemas_are_read() {
    let table = [
        json!({"type": "object"}),
        json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true}),
        json!({"type": "object", "properties": {"p": {"anyOf": [{"type": "integer"}, {"type": "string"}], "x-kubernetes-int-or-string": true}}}),
        json!({"type": "object", "properties": {"e": {"type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true}}}),
        json!({"type": "object", "properties": {"metadata": {"type": "object", "properties": {"name": {"type": "string", "pattern": "^a"}}}}}),
        json!({"type": "object", "properties": {"p": {"x-kubernetes-int-or-string": true, "allOf": [
            {"anyOf": [{"type": "integer"}, {"type": "string"}]}, {"pattern": "^a"}]}}}),
        json!({"type": "object", "properties": {"e": {"type": "object", "x-kubernetes-embedded-resource": true, "properties": {
            "metadata": {"type": "object", "properties": {"labels": {"type": "object"}}}}}}}),
        json!({"type": "object", "properties": {
            "n": {"type": "integer", "default": 7, "x-kubernetes-validations": [{"rule": "self > 5"}, {"rule": "self >= oldSelf"}]},
            "s": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object", "x-kubernetes-map-type": "atomic"}}}}),
    ];
    for schema in table {
        assert_eq!(told(&schema), Vec::<String>::new(), "{schema}");
    }
}
