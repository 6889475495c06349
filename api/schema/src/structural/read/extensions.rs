//! Kubernetes' own members of a schema: where each may stand, and what it takes to be there.

use serde_json::{Map, Value};

use super::{
    super::{JsonType, ListKind, Node},
    Place, Reader,
};

impl Reader<'_> {
    pub(super) fn extensions(&mut self, node: &mut Node, members: &Map<String, Value>, path: &str, place: Place) {
        let preserve = "x-kubernetes-preserve-unknown-fields";
        if members.get(preserve) == Some(&Value::Bool(false)) {
            self.faults.invalid(format!("{path}.{preserve}"), false, "must be true or undefined");
        }
        if node.preserve_unknown && node.r#type.is_some_and(|found| found != JsonType::Object) {
            let found = node.r#type.map_or("", JsonType::name);
            self.faults.invalid(
                format!("{path}.type"),
                found,
                "must be object if x-kubernetes-preserve-unknown-fields is true",
            );
        }
        if node.embedded {
            if node.r#type != Some(JsonType::Object) {
                let found = node.r#type.map_or("", JsonType::name);
                self.faults.invalid(
                    format!("{path}.type"),
                    found,
                    "must be object if x-kubernetes-embedded-resource is true",
                );
            }
            if node.properties.is_empty() && !node.preserve_unknown {
                let detail = "must not be empty if x-kubernetes-embedded-resource is true without x-kubernetes-preserve-unknown-fields";
                self.faults.required(format!("{path}.properties"), detail);
            }
            if place == Place::Root {
                self.faults.forbidden(format!("{path}.x-kubernetes-embedded-resource"), "must be false at the root");
            }
        }
        if place == Place::Root || node.embedded {
            for name in ["apiVersion", "kind"] {
                let Some(found) = node.properties.get(name).filter(|node| node.r#type != Some(JsonType::String)) else {
                    continue;
                };
                let found = found.r#type.map_or("", JsonType::name);
                self.faults.invalid(format!("{path}.properties[{name}].type"), found, "must be string");
            }
        }
        if (place == Place::Root || node.embedded)
            && let Some(metadata) = node.properties.get("metadata")
        {
            let at = format!("{path}.properties[metadata]");
            if metadata.r#type != Some(JsonType::Object) {
                self.faults.invalid(format!("{at}.type"), metadata.r#type.map_or("", JsonType::name), "must be object");
            }
            if metadata.properties.keys().any(|name| !matches!(name.as_str(), "name" | "generateName")) {
                let detail =
                    "must not specify anything other than name and generateName, but metadata is implicitly specified";
                self.faults.forbidden(at, detail);
            }
        }
    }

    pub(super) fn lists(&mut self, node: &Node, members: &Map<String, Value>, path: &str) {
        let kind = members.get("x-kubernetes-list-type").and_then(Value::as_str);
        let at = |member: &str| format!("{path}.{member}");
        if let Some(kind) = kind {
            if node.r#type != Some(JsonType::Array) {
                let found = node.r#type.map_or("", JsonType::name);
                self.faults.invalid(at("type"), found, "must be array if x-kubernetes-list-type is specified");
            } else if !matches!(kind, "atomic" | "map" | "set") {
                self.faults.not_supported(at("x-kubernetes-list-type"), kind, &["atomic", "map", "set"]);
            }
        }
        if !node.keys.is_empty() && kind != Some("map") {
            let detail = "must be map if x-kubernetes-list-map-keys is non-empty";
            self.faults.invalid(at("x-kubernetes-list-type"), kind.unwrap_or(""), detail);
        }
        match members.get("x-kubernetes-map-type").and_then(Value::as_str) {
            None => {}
            Some(_) if node.r#type != Some(JsonType::Object) => {
                let found = node.r#type.map_or("", JsonType::name);
                self.faults.invalid(at("type"), found, "must be object if x-kubernetes-map-type is specified");
            }
            Some("atomic" | "granular") => {}
            Some(other) => self.faults.not_supported(at("x-kubernetes-map-type"), other, &["atomic", "granular"]),
        }
        if node.list != ListKind::Map {
            return;
        }
        if node.keys.is_empty() {
            self.faults
                .required(at("x-kubernetes-list-map-keys"), "must not be empty if x-kubernetes-list-type is map");
        }
        let Some(items) = &node.items else { return };
        if items.r#type != Some(JsonType::Object) {
            let found = items.r#type.map_or("", JsonType::name);
            self.faults.invalid(
                at("items.type"),
                found,
                "must be object if parent array's x-kubernetes-list-type is map",
            );
        }
        if items.nullable {
            self.faults.forbidden(at("items.nullable"), "cannot be nullable when x-kubernetes-list-type is map");
        }
        for (index, key) in node.keys.iter().enumerate() {
            let place = at(&format!("x-kubernetes-list-map-keys[{index}]"));
            if node.keys[..index].contains(key) {
                self.faults.duplicate(place.clone(), key.as_str());
            }
            let Some(property) = items.properties.get(key) else {
                let detail = "entries must all be names of item properties";
                self.faults.invalid(place, key.as_str(), detail);
                continue;
            };
            if matches!(property.r#type, Some(JsonType::Array | JsonType::Object)) {
                let found = property.r#type.map_or("", JsonType::name);
                let detail = "must be a scalar type if parent array's x-kubernetes-list-type is map";
                self.faults.invalid(at(&format!("items.properties[{key}].type")), found, detail);
            }
            if property.default.is_none() && !items.limits.required.contains(key) {
                let place = at(&format!("items.properties[{key}].default"));
                let detail = "this property is in x-kubernetes-list-map-keys, so it must have a default or be a required property";
                self.faults.required(place, detail);
            }
        }
    }
}
