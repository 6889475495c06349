//! What a schema must satisfy when it is written, with Kubernetes' paths and messages. What is stored is only read: nobody is to lose
//! objects because more is asked of definitions than when theirs was written.

mod defaults;
mod lists;
mod nested;

use kontiki_model::Faults;
use serde_json::{Map, Value};

use super::{JsonType, Structural, read, rules};

impl Structural {
    /// Reads a schema that is being written; `path` is where it stands, for the faults.
    pub fn admit(schema: &Value, path: &str, faults: &mut Faults) -> Option<Self> {
        let before = faults.count();
        let mut root = read::tree(schema, path, faults)?;
        let mut admission = Admission { faults };
        if flag(schema, "nullable") {
            admission.faults.forbidden(format!("{path}.nullable"), "nullable cannot be true at the root");
        }
        admission.node(schema, path, Place::Root, &Around::default());
        admission.complete(schema, Some(schema), path, path);
        // Also where something is wrong that may have been so before, and is let be then.
        defaults::check_all(&root, path, faults);
        rules::compile(&mut root, schema, path, faults);
        if faults.count() == before {
            defaults::run_rules(&root, path, faults);
        }
        (faults.count() == before).then(|| Self::of(root))
    }
}

struct Admission<'f> {
    faults: &'f mut Faults,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Place {
    Root,
    Field,
    Items,
}

/// What is around a schema.
#[derive(Clone, Default)]
struct Around {
    /// It tells of what belongs to the API: `metadata`, `kind` or `apiVersion` of an object.
    envelope: bool,
    /// No default may be here, and why.
    no_default: Option<String>,
}

/// Members of a schema that Kubernetes knows and does not serve.
const UNSUPPORTED: [(&str, &str); 7] = [
    ("$ref", "$ref is not supported"),
    ("$schema", "schema is not supported"),
    ("additionalItems", "additionalItems is not supported"),
    ("definitions", "definitions is not supported"),
    ("dependencies", "dependencies is not supported"),
    ("id", "id is not supported"),
    ("patternProperties", "patternProperties is not supported"),
];

impl Admission<'_> {
    /// A schema outside of `allOf` and the like, which says what values are.
    fn node(&mut self, schema: &Value, path: &str, place: Place, around: &Around) {
        self.anywhere(schema, path, around);
        self.shape(schema, path, place);
        self.envelope(schema, path, place);
        for (name, below) in members(schema, "properties") {
            let around = Around::of_property(around, schema, name, place);
            self.node(below, &format!("{path}.properties[{name}]"), Place::Field, &around);
        }
        if let Some(below) = additional(schema) {
            let around = around.of_additional();
            self.node(below, &format!("{path}.additionalProperties"), Place::Field, &around);
        }
        if let Some(below) = schema.get("items").filter(|items| items.is_object()) {
            self.node(below, &format!("{path}.items"), Place::Items, around);
        }
        self.alternatives(schema, path, around);
    }

    /// What holds for a schema wherever it stands.
    fn anywhere(&mut self, schema: &Value, path: &str, around: &Around) {
        let at = |member: &str| format!("{path}.{member}");
        let name = text(schema, "type");
        if !name.is_empty() && JsonType::named(name).is_none() {
            self.faults.not_supported(at("type"), name, &JsonType::ALL.map(JsonType::name));
        }
        if name == "null" {
            let detail = "type cannot be set to null, use nullable as an alternative";
            self.faults.forbidden(at("type"), detail);
        }
        if let Some(why) = around.no_default.as_ref().filter(|_| given(schema, "default")) {
            self.faults.forbidden(at("default"), format!("must not be set {why}"));
        }
        for (member, why) in UNSUPPORTED {
            if given(schema, member) {
                self.faults.forbidden(at(member), why);
            }
        }
        if schema.get("items").is_some_and(Value::is_array) {
            self.faults.forbidden(at("items"), "items must be a schema object and not an array");
        }
        if around.envelope && flag(schema, EMBEDDED) {
            self.faults.forbidden(at(EMBEDDED), "must not be used inside of resource meta");
        }
        if flag(schema, "uniqueItems") {
            let detail = "uniqueItems cannot be set to true since the runtime complexity becomes quadratic";
            self.faults.forbidden(at("uniqueItems"), detail);
        }
        match schema.get("additionalProperties") {
            Some(Value::Bool(false)) => {
                self.faults.forbidden(at("additionalProperties"), "additionalProperties cannot be set to false");
            }
            Some(Value::Object(_)) if members(schema, "properties").next().is_some() => {
                let detail = "additionalProperties and properties are mutual exclusive";
                self.faults.forbidden(at("additionalProperties"), detail);
            }
            _ => {}
        }
        if schema.get(PRESERVE) == Some(&Value::Bool(false)) {
            self.faults.invalid(at(PRESERVE), false, "must be true or undefined");
        }
        self.lists(schema, path);
    }

    /// Each value has a type, and types have what belongs to them.
    fn shape(&mut self, schema: &Value, path: &str, place: Place) {
        let at = |member: &str| format!("{path}.{member}");
        let name = text(schema, "type");
        let (any, embedded) = (flag(schema, INT_OR_STRING), flag(schema, EMBEDDED));
        if name == "array" && !given(schema, "items") {
            self.faults.required(at("items"), "must be specified");
        }
        if given(schema, "additionalProperties") && place == Place::Root {
            self.faults.forbidden(at("additionalProperties"), "must not be used at the root");
        }
        for member in [PRESERVE, EMBEDDED].into_iter().filter(|member| any && flag(schema, member)) {
            self.faults.invalid(at(member), true, format!("must be false if {INT_OR_STRING} is true"));
        }
        let missing = match place {
            Place::Root => "must not be empty at the root",
            Place::Items => "must not be empty for specified array items",
            Place::Field => "must not be empty for specified object fields",
        };
        if embedded && name != "object" {
            self.must_be(at("type"), name, format!("must be object if {EMBEDDED} is true"));
        } else if name.is_empty() && !any && !flag(schema, PRESERVE) {
            self.faults.required(at("type"), missing);
        }
        if embedded && given(schema, "additionalProperties") {
            let detail = format!("must not be used if {EMBEDDED} is set");
            self.faults.forbidden(at("additionalProperties"), detail);
        }
        match place {
            Place::Root if JsonType::named(name).is_some_and(|found| found != JsonType::Object) => {
                self.faults.invalid(at("type"), name, "must be object at the root");
            }
            _ if any && !name.is_empty() => {
                self.faults.invalid(at("type"), name, format!("must be empty if {INT_OR_STRING} is true"));
            }
            Place::Root | Place::Items | Place::Field => {}
        }
        if embedded && !flag(schema, PRESERVE) && members(schema, "properties").next().is_none() {
            let detail = format!("must not be empty if {EMBEDDED} is true without {PRESERVE}");
            self.faults.required(at("properties"), detail);
        }
    }

    /// What the API says of each object, a schema may hardly say anew.
    fn envelope(&mut self, schema: &Value, path: &str, place: Place) {
        let resource = place == Place::Root || flag(schema, EMBEDDED);
        let properties = schema.get("properties");
        for (name, wanted) in [("kind", "string"), ("apiVersion", "string"), ("metadata", "object")] {
            let Some(found) = properties.and_then(|all| all.get(name)).filter(|_| resource) else { continue };
            let found = text(found, "type");
            if found != wanted {
                let detail = format!("must be {wanted}");
                self.faults.invalid(format!("{path}.properties[{name}].type"), found, detail);
            }
        }
        let Some(metadata) = properties.and_then(|all| all.get("metadata")).filter(|_| place == Place::Root) else {
            return;
        };
        let named = |name: &str| matches!(name, "name" | "generateName");
        let plain = members(metadata, "properties").all(|(name, _)| named(name));
        let known = |member: &str| matches!(member, "type" | "default") || member == "properties" && plain;
        let more = metadata.as_object().into_iter().flatten();
        if more.filter(|(_, value)| !is_empty(value)).any(|(member, _)| !known(member)) {
            let detail =
                "must not specify anything other than name and generateName, but metadata is implicitly specified";
            self.faults.forbidden(format!("{path}.properties[metadata]"), detail);
        }
    }

    /// The type is another, or is missing.
    fn must_be(&mut self, path: String, found: &str, detail: String) {
        match found {
            "" => self.faults.required(path, detail),
            found => self.faults.invalid(path, found, detail),
        }
    }
}

impl Around {
    fn of_property(&self, schema: &Value, name: &str, place: Place) -> Self {
        let resource = place == Place::Root || flag(schema, EMBEDDED);
        let mut around = self.clone();
        if resource && super::is_envelope(name) {
            around.envelope = true;
            if place == Place::Root {
                around.no_default = Some(format!("in top-level {name}"));
            }
        }
        around
    }

    fn of_additional(&self) -> Self {
        let mut around = self.clone();
        if around.envelope {
            around.no_default = Some("inside additionalProperties applying to object metadata".to_owned());
        }
        around
    }
}

const EMBEDDED: &str = "x-kubernetes-embedded-resource";
const INT_OR_STRING: &str = "x-kubernetes-int-or-string";
const LIST_KEYS: &str = "x-kubernetes-list-map-keys";
const LIST_TYPE: &str = "x-kubernetes-list-type";
const MAP_TYPE: &str = "x-kubernetes-map-type";
const PRESERVE: &str = "x-kubernetes-preserve-unknown-fields";
const VALIDATIONS: &str = "x-kubernetes-validations";

fn text<'a>(schema: &'a Value, member: &str) -> &'a str {
    schema.get(member).and_then(Value::as_str).unwrap_or("")
}

fn flag(schema: &Value, member: &str) -> bool {
    schema.get(member) == Some(&Value::Bool(true))
}

fn members<'a>(schema: &'a Value, member: &str) -> impl Iterator<Item = (&'a String, &'a Value)> {
    schema.get(member).and_then(Value::as_object).into_iter().flatten()
}

fn list<'a>(schema: &'a Value, member: &str) -> &'a [Value] {
    schema.get(member).and_then(Value::as_array).map_or(&[], Vec::as_slice)
}

fn additional(schema: &Value) -> Option<&Value> {
    schema.get("additionalProperties").filter(|below| below.is_object())
}

/// Whether the member says something.
fn given(schema: &Value, member: &str) -> bool {
    schema.get(member).is_some_and(|value| match member {
        "default" | "items" | "additionalProperties" => !value.is_null(),
        _ => !is_empty(value),
    })
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null | Value::Bool(false) => true,
        Value::String(text) => text.is_empty(),
        Value::Array(items) => items.is_empty(),
        Value::Object(members) => Map::is_empty(members),
        Value::Bool(true) | Value::Number(_) => false,
    }
}

#[cfg(test)]
mod tests;
