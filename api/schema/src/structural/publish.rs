//! A schema as OpenAPI documents tell it: v3 nearly as it was written, v2 in the narrower words that old clients understand.

use std::borrow::Cow;

use serde_json::{Map, Value, json};

use super::is_envelope;
use crate::descriptions::Described;
use crate::generated::ids;
use crate::table::{Field, Form, Gvk, Item, Shape, Table, Type, builtin};

/// The definition of an object kind, whose selectors may name `fields`. `v2` leaves out what Swagger has no words for.
pub fn published<'a>(
    schema: &Value,
    gvk: (&str, &str, &str),
    fields: impl Iterator<Item = &'a str>,
    metadata: &str,
    v2: bool,
) -> Value {
    let (group, version, kind) = gvk;
    let reference = if v2 { format!("#/definitions/{metadata}") } else { format!("#/components/schemas/{metadata}") };
    let mut out = if v2 { narrowed(schema, true) } else { told(schema) };
    if !out.is_object() {
        out = json!({"type": "object"});
    }
    let mut metadata = if v2 { json!({"$ref": reference}) } else { json!({"allOf": [{"$ref": reference}]}) };
    let text = |name: &str| Described::object().field(name);
    metadata["description"] = text("metadata").into();
    let own = json!({
        "apiVersion": {"type": "string", "description": text("apiVersion")},
        "kind": {"type": "string", "description": text("kind")},
        "metadata": metadata,
    });
    let given = out.get("properties").and_then(Value::as_object).cloned().unwrap_or_default();
    let rest = given.into_iter().filter(|(name, _)| !is_envelope(name));
    let mut properties: Vec<(String, Value)> =
        own.as_object().cloned().unwrap_or_default().into_iter().chain(rest).collect();
    properties.sort_by(|(one, _), (other, _)| one.cmp(other));
    let open = v2 && schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
    if !open {
        out["properties"] = Value::Object(properties.into_iter().collect());
    }
    out["x-kubernetes-group-version-kind"] = json!([{"group": group, "kind": kind, "version": version}]);
    let fields: Vec<Value> = fields.map(|path| json!({"fieldPath": path})).collect();
    if !fields.is_empty() {
        out["x-kubernetes-selectable-fields"] = fields.into();
    }
    out
}

/// The schema with the names of v3: an int-or-string says so.
fn told(schema: &Value) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let mut out = Map::new();
    for (name, value) in members {
        let value = match name.as_str() {
            "properties" => match value {
                Value::Object(all) => {
                    all.iter().map(|(name, below)| (name.clone(), told(below))).collect::<Map<_, _>>().into()
                }
                other => other.clone(),
            },
            "items" | "additionalProperties" | "not" => told(value),
            "allOf" | "anyOf" | "oneOf" => value.as_array().into_iter().flatten().map(told).collect(),
            _ => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    Value::Object(out)
}

/// Swagger 2 has no alternatives, no nullable and no int-or-string: what uses them says less instead of something else.
fn narrowed(schema: &Value, root: bool) -> Value {
    let Value::Object(members) = schema else { return schema.clone() };
    let flag = |name: &str| members.get(name) == Some(&Value::Bool(true));
    let extensions = |out: &mut Map<String, Value>| {
        for (name, value) in
            members.iter().filter(|(name, _)| name.starts_with("x-kubernetes-") && *name != "x-kubernetes-validations")
        {
            out.insert(name.clone(), value.clone());
        }
        if let Some(text) = members.get("description") {
            out.insert("description".to_owned(), text.clone());
        }
    };
    let mut out = Map::new();
    if flag("x-kubernetes-int-or-string") || (flag("nullable") && !root) {
        extensions(&mut out);
        return Value::Object(out);
    }
    if flag("x-kubernetes-preserve-unknown-fields") {
        extensions(&mut out);
        if root {
            out.insert("type".to_owned(), "object".into());
        }
        return Value::Object(out);
    }
    for (name, value) in members {
        let value = match name.as_str() {
            "allOf" | "anyOf" | "not" | "nullable" | "oneOf" | "x-kubernetes-validations" | "default" | "example" => {
                continue;
            }
            "properties" => match value {
                Value::Object(all) => {
                    let below = all.iter().map(|(name, below)| (name.clone(), narrowed(below, false)));
                    below.collect::<Map<_, _>>().into()
                }
                other => other.clone(),
            },
            "items" | "additionalProperties" => narrowed(value, false),
            _ => value.clone(),
        };
        out.insert(name.clone(), value);
    }
    Value::Object(out)
}

/// The built-in types, and for each custom kind (its name among types, its group, version and kind, and that of its lists) a type
/// of nothing but metadata and one of its lists: enough for documents to refer to.
pub fn custom_types<'a>(kinds: impl Iterator<Item = (&'a str, (&'a str, &'a str, &'a str), String)>) -> Table {
    let mut types: Vec<Type> = builtin().iter().map(|(_, known)| known.clone()).collect();
    for (name, (group, version, kind), list_kind) in kinds {
        let gvk = |kind: String| {
            Some(Gvk {
                group: Cow::Owned(group.to_owned()),
                version: Cow::Owned(version.to_owned()),
                kind: Cow::Owned(kind),
            })
        };
        let own = u16::try_from(types.len()).ok().map(crate::table::TypeId);
        let Some(own) = own else { break };
        let metadata = Field::custom("metadata", Shape::One(Item::Of(ids::META_V1_OBJECTMETA)));
        types.push(named(name.to_owned(), gvk(kind.to_owned()), vec![metadata]));
        let items = Field { required: true, ..Field::custom("items", Shape::List(Item::Of(own))) };
        let metadata = Field::custom("metadata", Shape::One(Item::Of(ids::META_V1_LISTMETA)));
        types.push(named(format!("{name}List"), gvk(list_kind), vec![metadata, items]));
    }
    Table::new(Cow::Owned(types))
}

fn named(name: String, gvk: Option<Gvk>, fields: Vec<Field>) -> Type {
    Type {
        name: Cow::Owned(name),
        gvk,
        form: Form::Struct,
        type_meta: true,
        atomic: false,
        preserve_unknown: false,
        fields: Cow::Owned(fields),
    }
}
