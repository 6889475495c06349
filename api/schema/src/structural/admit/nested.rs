//! Schemas below `allOf`, `anyOf`, `oneOf` and `not`: they narrow values, and what values are is said outside of them.

use serde_json::Value;

use super::{
    Admission, Around, EMBEDDED, INT_OR_STRING, LIST_KEYS, LIST_TYPE, MAP_TYPE, PRESERVE, VALIDATIONS, given, list,
    members,
};

/// What they may not say.
const FORBIDDEN: [(&str, &str); 14] = [
    ("type", "must be empty to be structural"),
    ("additionalProperties", "must be undefined to be structural"),
    ("default", "must be undefined to be structural"),
    ("title", "must be empty to be structural"),
    ("description", "must be empty to be structural"),
    ("nullable", "must be false to be structural"),
    ("externalDocs", "must be undefined to be structural"),
    (PRESERVE, "must be false to be structural"),
    (EMBEDDED, "must be false to be structural"),
    (INT_OR_STRING, "must be false to be structural"),
    (LIST_KEYS, "must be empty to be structural"),
    (LIST_TYPE, "must be undefined to be structural"),
    (MAP_TYPE, "must be undefined to be structural"),
    (VALIDATIONS, "must be empty to be structural"),
];

impl Admission<'_> {
    /// The schemas that narrow the values of one that says what they are.
    pub(super) fn alternatives(&mut self, schema: &Value, path: &str, around: &Around) {
        let first = list(schema, "allOf").first();
        self.parts(schema, path, around, is_int_or_string(schema), first.is_some_and(is_int_or_string));
    }

    /// The alternatives of an int-or-string name types, here or in the first of `allOf`.
    fn parts(&mut self, schema: &Value, path: &str, around: &Around, own: bool, in_first: bool) {
        for (member, typed) in [("anyOf", own), ("allOf", false), ("oneOf", false)] {
            for (index, part) in list(schema, member).iter().enumerate() {
                let path = format!("{path}.{member}[{index}]");
                match typed {
                    true => self.anywhere(part, &path, around),
                    false => self.nested(part, &path, around, in_first && member == "allOf" && index == 0),
                }
            }
        }
        if let Some(part) = schema.get("not").filter(|part| part.is_object()) {
            self.nested(part, &format!("{path}.not"), around, false);
        }
    }

    fn nested(&mut self, schema: &Value, path: &str, around: &Around, typed_alternatives: bool) {
        self.anywhere(schema, path, around);
        for (member, detail) in FORBIDDEN {
            if given(schema, member) {
                self.faults.forbidden(format!("{path}.{member}"), detail);
            }
        }
        if schema.get("properties").is_some_and(|all| all.get("metadata").is_some()) {
            let detail = "must not be specified in a nested context";
            self.faults.forbidden(format!("{path}.properties[metadata]"), detail);
        }
        for (name, below) in members(schema, "properties") {
            self.nested(below, &format!("{path}.properties[{name}]"), around, false);
        }
        if let Some(below) = schema.get("items").filter(|items| items.is_object()) {
            self.nested(below, &format!("{path}.items"), around, false);
        }
        self.parts(schema, path, around, typed_alternatives, false);
    }

    /// What the narrowing schemas of the root speak of must be declared; `narrowing` is where they stand.
    pub(super) fn complete(&mut self, schema: &Value, declared: Option<&Value>, path: &str, narrowing: &str) {
        if let Some(part) = schema.get("not").filter(|part| part.is_object()) {
            self.complete_part(part, declared, path, &format!("{narrowing}.not"));
        }
        for member in ["allOf", "anyOf", "oneOf"] {
            for (index, part) in list(schema, member).iter().enumerate() {
                self.complete_part(part, declared, path, &format!("{narrowing}.{member}[{index}]"));
            }
        }
    }

    fn complete_part(&mut self, part: &Value, declared: Option<&Value>, path: &str, narrowing: &str) {
        let Some(declared) = declared else {
            return self.faults.required(path, format!("because it is defined in {narrowing}"));
        };
        self.complete(part, Some(declared), path, narrowing);
        if let Some(below) = part.get("items").filter(|items| items.is_object()) {
            let declared = declared.get("items").filter(|items| items.is_object());
            self.complete_part(below, declared, &format!("{path}.items"), &format!("{narrowing}.items"));
        }
        for (name, below) in members(part, "properties") {
            let declared = declared.get("properties").and_then(|all| all.get(name));
            let member = format!("properties[{name}]");
            self.complete_part(below, declared, &format!("{path}.{member}"), &format!("{narrowing}.{member}"));
        }
    }
}

/// Whether its alternatives are an integer and a string, and say nothing else.
fn is_int_or_string(schema: &Value) -> bool {
    let only = |part: &Value, name: &str| {
        let mut said = part.as_object().into_iter().flatten().filter(|(_, value)| !super::is_empty(value));
        said.next().is_some_and(|(member, value)| member == "type" && value == name) && said.next().is_none()
    };
    matches!(list(schema, "anyOf"), [one, other] if only(one, "integer") && only(other, "string"))
}
