//! The defaults that the schema itself states. Those that depend on other fields belong to the kinds.

use serde_json::{Map, Value};

use crate::table::{Field, Form, Item, Shape, Table, TypeId};

impl Table {
    /// Fills absent fields below every struct that is present. Idempotent.
    pub fn default(&self, id: TypeId, value: &mut Value) {
        if let (Form::Struct, Value::Object(members)) = (self.get(id).form, value) {
            self.default_members(id, members);
        }
    }

    fn default_members(&self, id: TypeId, members: &mut Map<String, Value>) {
        for field in self.get(id).fields.iter() {
            match (field.inline, field.shape) {
                (true, Shape::One(Item::Of(inner))) => self.default_members(inner, members),
                _ => self.default_field(field, members),
            }
        }
    }

    fn default_field(&self, field: &Field, members: &mut Map<String, Value>) {
        if let Some(default) = &field.default
            && is_absent(field, members.get(field.json.as_ref()))
        {
            let value = serde_json::from_str(default).expect("defaults in the table are JSON");
            members.insert(field.json.to_string(), value);
            return;
        }
        match (field.shape, members.get_mut(field.json.as_ref())) {
            (Shape::One(Item::Of(id)), Some(value)) => self.default(id, value),
            (Shape::List(Item::Of(id)), Some(Value::Array(items))) => {
                items.iter_mut().for_each(|item| self.default(id, item));
            }
            (Shape::Map(Item::Of(id)), Some(Value::Object(members))) => {
                members.values_mut().for_each(|member| self.default(id, member));
            }
            _ => {}
        }
    }
}

/// Without explicit presence, zero is absent.
fn is_absent(field: &Field, value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(_) if field.pointer => false,
        Some(Value::String(text)) => text.is_empty(),
        Some(Value::Number(number)) => number.as_f64() == Some(0.0),
        Some(Value::Bool(value)) => !value,
        Some(Value::Array(_) | Value::Object(_)) => false,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{builtin, ids};

    #[test]
    fn only_defaults_that_change_the_object_are_filled() {
        let mut pod = json!({"spec": {
            "containers": [{
                "name": "c",
                "ports": [{"containerPort": 80}, {"containerPort": 53, "protocol": "UDP"}, {"containerPort": 1, "protocol": ""}],
                "livenessProbe": {"grpc": {"port": 1}},
                "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"key": "k"}}}],
            }],
            "volumes": [{"name": "v", "azureDisk": {"diskName": "d", "diskURI": "u"}}],
        }});
        builtin().default(ids::CORE_V1_POD, &mut pod);
        let expected = json!({"spec": {
            "containers": [{
                "name": "c",
                "ports": [
                    {"containerPort": 80, "protocol": "TCP"},
                    {"containerPort": 53, "protocol": "UDP"},
                    {"containerPort": 1, "protocol": "TCP"},
                ],
                "livenessProbe": {"grpc": {"port": 1, "service": ""}},
                "env": [{"name": "E", "valueFrom": {"configMapKeyRef": {"key": "k"}}}],
            }],
            "volumes": [{"name": "v", "azureDisk": {
                "diskName": "d", "diskURI": "u", "cachingMode": "ReadWrite", "fsType": "ext4", "kind": "Shared", "readOnly": false,
            }}],
        }});
        assert_eq!(pod, expected);
    }
}
