use serde_json::json;

use super::*;
use crate::structural::rules::checked;

fn schema(name: &str, of: &Value) -> Value {
    json!({"type": "object", "properties": {name: of}})
}

fn told(of: Value, value: Value) -> Vec<String> {
    checked(schema("f", &of), &json!({"f": value}), None)
}

#[test]
fn limits_are_told_as_kubernetes_tells_them() {
    let table = [
        (
            json!({"type": "integer", "minimum": 1}),
            json!(0),
            "f: Invalid value: 0: f in body should be greater than or equal to 1",
        ),
        (
            json!({"type": "integer", "maximum": 9, "exclusiveMaximum": true}),
            json!(9),
            "f: Invalid value: 9: f in body should be less than 9",
        ),
        (
            json!({"type": "number", "multipleOf": 0.5}),
            json!(0.7),
            "f: Invalid value: 0.7: f in body should be a multiple of 0.5",
        ),
        (json!({"type": "string", "maxLength": 2}), json!("abc"), "f: Too long: may not be more than 2 bytes"),
        (
            json!({"type": "string", "minLength": 2}),
            json!("a"),
            "f: Invalid value: \"a\": f in body should be at least 2 chars long",
        ),
        (
            json!({"type": "string", "pattern": "^a$"}),
            json!("b"),
            "f: Invalid value: \"b\": f in body should match '^a$'",
        ),
        (
            json!({"type": "string", "enum": ["a", "b"]}),
            json!("c"),
            "f: Unsupported value: \"c\": supported values: \"a\", \"b\"",
        ),
        (
            json!({"type": "string", "format": "ipv4"}),
            json!("x"),
            "f: Invalid value: \"x\": f in body must be of type ipv4: \"x\"",
        ),
        (
            json!({"type": "array", "maxItems": 1, "items": {"type": "integer"}}),
            json!([1, 2]),
            "f: Too many: 2: must have at most 1 items",
        ),
        (
            json!({"type": "integer"}),
            json!("3"),
            "f: Invalid value: \"string\": f in body must be of type integer: \"string\"",
        ),
        (
            json!({"x-kubernetes-int-or-string": true}),
            json!(true),
            "f: Invalid value: \"boolean\": f in body must be of type integer,string: \"boolean\"",
        ),
        (
            json!({"type": "object", "required": ["a"], "properties": {"a": {"type": "string"}}}),
            json!({}),
            "f.a: Required value",
        ),
        (
            json!({"type": "string", "anyOf": [{"minLength": 3}, {"pattern": "^x"}]}),
            json!("a"),
            "<nil>: Invalid value: \"\": \"f\" must validate at least one schema (anyOf)",
        ),
        (
            json!({"type": "string", "oneOf": [{"minLength": 1}, {"pattern": "^a"}]}),
            json!("a"),
            "<nil>: Invalid value: \"\": \"f\" must validate one and only one schema (oneOf). Found 2 valid alternatives",
        ),
        (
            json!({"type": "string", "not": {"enum": ["a"]}}),
            json!("a"),
            "<nil>: Invalid value: \"\": \"f\" must not validate the schema (not)",
        ),
        (
            json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}}),
            json!(["a", "a"]),
            "f[1]: Duplicate value: \"a\"",
        ),
    ];
    for (of, value, expected) in table {
        let found = told(of.clone(), value);
        assert_eq!(found.first().map(String::as_str), Some(expected), "{of}");
    }
}

#[test]
fn numbers_fit_their_formats() {
    let range =
        |what: &str, with: &str| format!("<nil>: Invalid value: \"\": {what} value must be of type {with} in f");
    let mistyped = |wanted: &str, found: &str| {
        format!("f: Invalid value: {found:?}: f in body must be of type {wanted}: {found:?}")
    };
    let integer = |format: &str| json!({"type": "integer", "format": format});
    let table = [
        (integer("int32"), json!(2_147_483_648_i64), vec![range("Checked", "integer with format int32")]),
        (
            integer("int64"),
            json!(9_223_372_036_854_775_808_u64),
            vec![mistyped("int64", "float64"), range("Checked", "integer with format int64")],
        ),
        (json!({"type": "integer"}), json!(1e16), vec![mistyped("integer", "number")]),
        (
            json!({"type": "integer"}),
            json!(2.5),
            vec![mistyped("integer", "number"), range("Checked", "integer (default format)")],
        ),
        (integer("int32"), json!("x"), vec![mistyped("integer", "string")]),
        (integer("int32"), json!(true), vec![mistyped("int32", "")]),
        (json!({"type": "string", "format": "date"}), json!(5), vec![mistyped("date", "int64")]),
        (json!({"type": "string"}), json!(5.0), vec![mistyped("string", "number")]),
        (json!({"type": "number", "format": "float"}), json!(1e39), vec![range("Checked", "number with format float")]),
        (
            json!({"type": "integer", "format": "int32", "maximum": 4_294_967_295_u32}),
            json!(1),
            vec![range("Maximum boundary", "integer with format int32")],
        ),
        (
            json!({"type": "number", "maximum": 1_000_000}),
            json!(2e6),
            vec!["f: Invalid value: 2000000.0: f in body should be less than or equal to 1e+06".to_owned()],
        ),
    ];
    for (of, value, expected) in table {
        assert_eq!(told(of.clone(), value.clone()), expected, "{of} {value}");
    }
}

#[test]
fn values_that_fit_are_let_in() {
    let table = [
        (json!({"type": "integer"}), json!(3.0)),
        (json!({"type": "number"}), json!(3)),
        (json!({"type": "integer", "format": "int64"}), json!(i64::MIN)),
        (json!({"type": "integer"}), json!(1e15)),
        (json!({"type": "number", "format": "double"}), json!(1e39)),
        (json!({"type": "number", "format": "float"}), json!(3.4e38)),
        (json!({"type": "string", "nullable": true}), json!(null)),
        (json!({"x-kubernetes-int-or-string": true, "anyOf": [{"type": "integer"}, {"type": "string"}]}), json!("50%")),
        (json!({"type": "object", "additionalProperties": {"type": "integer"}}), json!({"a.b/c": 1})),
        (json!({"type": "array", "items": {"type": "string"}}), json!(["a", "a"])),
    ];
    for (of, value) in table {
        assert_eq!(told(of.clone(), value), Vec::<String>::new(), "{of}");
    }
}

#[test]
fn what_was_wrong_before_and_did_not_change_is_let_be() {
    let of = schema(
        "f",
        &json!({"type": "object", "properties": {
            "a": {"type": "integer", "minimum": 5},
            "b": {"type": "string"},
            "l": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": {
                "type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "string", "maxLength": 1}}}},
        }}),
    );
    let old = json!({"f": {"a": 1, "b": "x", "l": [{"k": "1", "v": "long"}]}});
    let other = json!({"f": {"a": 1, "b": "y", "l": [{"k": "0"}, {"k": "1", "v": "long"}]}});
    assert_eq!(checked(of.clone(), &other, Some(&old)), Vec::<String>::new());
    let worse = json!({"f": {"a": 2, "b": "y", "l": [{"k": "2", "v": "long"}]}});
    let found = checked(of, &worse, Some(&old));
    assert_eq!(
        found,
        [
            "f.a: Invalid value: 2: f.a in body should be greater than or equal to 5",
            "f.l[0].v: Too long: may not be more than 1 bytes",
            "<nil>: Invalid value: null: some validation rules were not checked because the object was invalid; correct the existing \
         errors to complete validation",
        ][..found.len()]
    );
}

/// Elements are found again, and paths written, once for each and not once for each pair.
#[test]
fn long_lists_are_checked_in_one_pass() {
    let items =
        json!({"type": "object", "required": ["k"], "properties": {"k": {"type": "string"}, "v": {"type": "integer"}}});
    let list =
        json!({"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["k"], "items": items});
    let of = schema("f", &list);
    let long = |first: i64| {
        let item = |number: i64| json!({"k": number.to_string(), "v": if number == 0 { first } else { 1 }});
        json!({"f": (0..20_000).map(item).collect::<Vec<_>>()})
    };
    assert_eq!(checked(of, &long(2), Some(&long(1))), Vec::<String>::new());
    let of = json!({"type": "object", "additionalProperties": {"type": "array", "items": {"type": "string"}}});
    let wrong = json!({"f": {"a".repeat(100_000): vec![1; 100_000]}});
    let found = checked(schema("f", &of), &wrong, None);
    assert!((1..10).contains(&found.len()), "{}", found.len());
}

#[test]
fn objects_inside_of_objects_are_held_to_the_rules_of_objects() {
    let of = json!({
        "type": "object", "x-kubernetes-embedded-resource": true, "x-kubernetes-preserve-unknown-fields": true,
    });
    let label = "a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
                 alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')";
    let kind = "may have mixed case, but should otherwise match: a DNS-1035 label must consist of lower case alphanumeric characters or \
                '-', start with an alphabetic character, and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex \
                used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
    let value = "a valid label must be an empty string or consist of alphanumeric characters, '-', '_' or '.', and must start and end \
                 with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for validation is \
                 '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')";
    let wrong = |member: &str, value: &str, why: &str| format!("f.{member}: Invalid value: {value:?}: {why}");
    let named = json!({"name": "a/b", "namespace": "N", "labels": {"a": "b c"}});
    let table = [
        (json!({"apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "a", "namespace": "b"}}), vec![]),
        (json!({"metadata": {}}), vec!["f.apiVersion: Required value".into(), "f.kind: Required value".into()]),
        (
            json!({"apiVersion": "", "kind": ""}),
            vec![wrong("apiVersion", "", "must not be empty"), wrong("kind", "", "must not be empty")],
        ),
        (
            json!({"apiVersion": "a/b/c", "kind": "9"}),
            vec![wrong("apiVersion", "a/b/c", "unexpected GroupVersion string: a/b/c"), wrong("kind", "9", kind)],
        ),
        (
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": named}),
            vec![
                wrong("metadata.name", "a/b", "may not contain '/'"),
                wrong("metadata.namespace", "N", label),
                wrong("metadata.labels", "b c", value),
            ],
        ),
    ];
    for (value, expected) in table {
        assert_eq!(told(of.clone(), value.clone()), expected, "{value}");
    }
}
