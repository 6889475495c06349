//! Drops what is no field.

use serde_json::{Map, Value};

use crate::table::{Form, Item, Shape, Table, TypeId};

impl Table {
    /// Removes unknown fields; raw extensions, field sets and free JSON are kept as they are.
    pub fn prune(&self, id: TypeId, value: &mut Value) {
        if let (Form::Struct, Value::Object(members)) = (self.get(id).form, value) {
            self.prune_members(id, members);
        }
    }

    fn prune_members(&self, id: TypeId, members: &mut Map<String, Value>) {
        let kind = self.get(id);
        members.retain(|key, value| {
            if kind.type_meta && (key == "kind" || key == "apiVersion") {
                return true;
            }
            match self.field(id, key) {
                Some(field) => {
                    self.prune_field(field.shape, value);
                    true
                }
                None => kind.preserve_unknown,
            }
        });
    }

    fn prune_field(&self, shape: Shape, value: &mut Value) {
        match (shape, value) {
            (Shape::One(Item::Of(id)), value) => self.prune(id, value),
            (Shape::List(Item::Of(id)), Value::Array(items)) => items.iter_mut().for_each(|item| self.prune(id, item)),
            (Shape::Map(Item::Of(id)), Value::Object(members)) => {
                members.values_mut().for_each(|member| self.prune(id, member));
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use crate::{builtin, ids};

    #[test]
    fn unknown_fields_go_and_raw_values_stay() {
        let mut revision = json!({
            "kind": "ControllerRevision", "apiVersion": "apps/v1", "metadata": {"name": "r", "x": 1},
            "data": {"any": {"thing": 1}}, "junk": true,
        });
        builtin().prune(ids::APPS_V1_CONTROLLERREVISION, &mut revision);
        let expected = json!({
            "kind": "ControllerRevision", "apiVersion": "apps/v1", "metadata": {"name": "r"},
            "data": {"any": {"thing": 1}},
        });
        assert_eq!(revision, expected);
        let mut pod =
            json!({"spec": {"containers": [{"name": "a", "x": 1}], "volumes": [{"name": "v", "emptyDir": {"y": 1}}]}});
        builtin().prune(ids::CORE_V1_POD, &mut pod);
        assert_eq!(pod, json!({"spec": {"containers": [{"name": "a"}], "volumes": [{"name": "v", "emptyDir": {}}]}}));
    }
}
