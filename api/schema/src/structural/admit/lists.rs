//! How the elements of lists and the members of maps are merged, and what that takes.

use serde_json::Value;

use super::{Admission, LIST_KEYS, LIST_TYPE, MAP_TYPE, flag, list, text};

impl Admission<'_> {
    pub(super) fn lists(&mut self, schema: &Value, path: &str) {
        let at = |member: &str| format!("{path}.{member}");
        let (name, kind, map) = (text(schema, "type"), text(schema, LIST_TYPE), text(schema, MAP_TYPE));
        if !map.is_empty() {
            if name != "object" {
                self.must_be(at("type"), name, format!("must be object if {MAP_TYPE} is specified"));
            }
            if !matches!(map, "atomic" | "granular") {
                self.faults.not_supported(at(MAP_TYPE), map, &["atomic", "granular"]);
            }
        }
        let items = schema.get("items").filter(|items| items.is_object());
        if !kind.is_empty() && name != "array" {
            self.must_be(at("type"), name, format!("must be array if {LIST_TYPE} is specified"));
        } else if let ("set", Some(items)) = (kind, items) {
            self.set(items, &at("items"));
        }
        if !matches!(kind, "" | "atomic" | "set" | "map") {
            self.faults.not_supported(at(LIST_TYPE), kind, &["atomic", "set", "map"]);
        }
        let keys = list(schema, LIST_KEYS);
        if !keys.is_empty() && kind != "map" {
            self.must_be(at(LIST_TYPE), kind, format!("must be map if {LIST_KEYS} is non-empty"));
        }
        if kind == "map" {
            self.map(schema, items, keys, path);
        }
        if let ("set" | "map", Some(items)) = (kind, items)
            && flag(items, "nullable")
        {
            let detail = format!("cannot be nullable when {LIST_TYPE} is {kind}");
            self.faults.forbidden(at("items.nullable"), detail);
        }
        if let ("map", Some(items)) = (kind, items) {
            self.keys(items, keys, path);
        }
    }

    /// Elements of sets are one value each.
    fn set(&mut self, items: &Value, path: &str) {
        let member = match text(items, "type") {
            "array" if !matches!(text(items, LIST_TYPE), "" | "atomic") => LIST_TYPE,
            "object" if text(items, MAP_TYPE) != "atomic" => MAP_TYPE,
            _ => return,
        };
        // Kubernetes shows the list's type of both.
        let shown = items.get(LIST_TYPE).cloned().unwrap_or_default();
        let detail = format!("must be atomic as item of a list with {LIST_TYPE}=set");
        self.faults.invalid(format!("{path}.{member}"), shown, detail);
    }

    fn map(&mut self, schema: &Value, items: Option<&Value>, keys: &[Value], path: &str) {
        let at = |member: &str| format!("{path}.{member}");
        if keys.is_empty() {
            self.faults.required(at(LIST_KEYS), format!("must not be empty if {LIST_TYPE} is map"));
        }
        let Some(items) = items else {
            if schema.get("items").is_none() {
                self.faults.required(at("items"), format!("must have a schema if {LIST_TYPE} is map"));
            }
            return;
        };
        let found = text(items, "type");
        if found != "object" {
            let detail = format!("must be object if parent array's {LIST_TYPE} is map");
            self.faults.invalid(at("items.type"), found, detail);
            return;
        }
        for (index, key) in keys.iter().enumerate() {
            let name = key.as_str().unwrap_or_default();
            match items.get("properties").and_then(|all| all.get(name)) {
                Some(property) if matches!(text(property, "type"), "array" | "object") => {
                    let detail = format!("must be a scalar type if parent array's {LIST_TYPE} is map");
                    self.faults.invalid(at(&format!("items.properties[{name}].type")), found, detail);
                }
                Some(_) => {}
                None => {
                    let detail = "entries must all be names of item properties";
                    self.faults.invalid(at(LIST_KEYS), keys.to_vec(), detail);
                }
            }
            if keys[..index].contains(key) {
                self.faults.invalid(at(LIST_KEYS), keys.to_vec(), "must not contain duplicate entries");
            }
        }
    }

    /// Each element has all keys.
    fn keys(&mut self, items: &Value, keys: &[Value], path: &str) {
        let required = list(items, "required");
        for key in keys {
            let name = key.as_str().unwrap_or_default();
            let Some(property) = items.get("properties").and_then(|all| all.get(name)) else { continue };
            let at = format!("{path}.items.properties[{name}]");
            let says = |what: &str| format!("this property is in {LIST_KEYS}, so it {what}");
            if !required.contains(key) && property.get("default").is_none_or(Value::is_null) {
                self.faults.required(format!("{at}.default"), says("must have a default or be a required property"));
            }
            if flag(property, "nullable") {
                self.faults.forbidden(format!("{at}.nullable"), says("cannot be nullable"));
            }
        }
    }
}
