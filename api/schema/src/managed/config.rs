//! What an applied configuration must be, before it is merged: every value in its place, every item once.

use std::collections::BTreeSet;

use serde_json::{Map, Value};

use super::{element::Element, set::printed};
use crate::go;
use crate::table::{Field, Form, Item, ListType, Shape, Table, TypeId};

/// Why a configuration cannot be applied, in the words of structured-merge-diff.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{}", told(.0))]
pub struct ConfigError(pub Vec<String>);

fn told(messages: &[String]) -> String {
    match messages {
        [one] => one.clone(),
        many => many.iter().fold("errors:".to_owned(), |text, one| text + "\n  " + one),
    }
}

impl Table {
    /// Checks a configuration against its type. Unknown fields are errors, as is an item that occurs twice.
    pub fn check_config(&self, id: TypeId, config: &Value) -> Result<(), ConfigError> {
        let mut walk = Walk { table: self, path: Vec::new(), messages: Vec::new() };
        walk.item(Item::Of(id), config);
        if walk.messages.is_empty() { Ok(()) } else { Err(ConfigError(walk.messages)) }
    }
}

struct Walk<'a> {
    table: &'a Table,
    path: Vec<Element>,
    messages: Vec<String>,
}

impl Walk<'_> {
    fn item(&mut self, item: Item, value: &Value) {
        if value.is_null() {
            return;
        }
        match item {
            Item::Any => {}
            Item::String | Item::Bytes => self.text(value),
            Item::Bool if value.is_boolean() => {}
            Item::Bool => self.refuse(format!("expected boolean, got &{{{}}}", go::print(value))),
            Item::Int32 | Item::Int64 | Item::Double if value.is_number() => {}
            Item::Int32 | Item::Int64 | Item::Double => {
                self.refuse(format!("expected numeric (int or float), got {}", go_type(value)));
            }
            Item::Of(id) => self.of(id, value),
        }
    }

    fn of(&mut self, id: TypeId, value: &Value) {
        match self.table.get(id).form {
            Form::Struct => match value {
                Value::Object(members) => self.members(id, members),
                other => self.refuse(format!("expected map, got &{{{}}}", go::print(other))),
            },
            Form::Time | Form::MicroTime | Form::Duration => self.text(value),
            Form::Quantity | Form::IntOrString if value.is_object() || value.is_array() => {
                self.refuse(format!("expected any scalar, got &{{{}}}", go::print(value)));
            }
            Form::StringList => self.list(None, Item::String, value),
            Form::Quantity | Form::IntOrString | Form::RawExtension | Form::FieldsV1 | Form::Json => {}
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStringArray => {}
        }
    }

    fn text(&mut self, value: &Value) {
        if !value.is_string() {
            self.refuse(format!("expected string, got &value.valueUnstructured{{Value:{}}}", go::print(value)));
        }
    }

    fn members(&mut self, id: TypeId, members: &Map<String, Value>) {
        let kind = self.table.get(id);
        let (type_meta, preserve) = (kind.type_meta, kind.preserve_unknown);
        for (name, value) in members {
            self.path.push(Element::field(name.as_str()));
            match self.table.field(id, name) {
                _ if type_meta && (name == "kind" || name == "apiVersion") => self.text(value),
                Some(field) => self.field(field, value),
                None if preserve => {}
                None => self.refuse("field not declared in schema".to_owned()),
            }
            self.path.pop();
        }
    }

    fn field(&mut self, field: &Field, value: &Value) {
        match field.shape {
            Shape::One(item) => self.item(item, value),
            Shape::List(item) => self.list(Some(field), item, value),
            Shape::Map(item) => match value {
                Value::Null => {}
                Value::Object(members) => {
                    for (name, value) in members {
                        self.path.push(Element::field(name.as_str()));
                        self.item(item, value);
                        self.path.pop();
                    }
                }
                other => self.refuse(format!("expected map, got &{{{}}}", go::print(other))),
            },
        }
    }

    fn list(&mut self, field: Option<&Field>, item: Item, value: &Value) {
        let items = match value {
            Value::Null => return,
            Value::Array(items) => items,
            other => return self.refuse(format!("expected list, got &{{{}}}", go::print(other))),
        };
        let mut known = BTreeSet::new();
        for (index, value) in items.iter().enumerate() {
            let keyed = field.filter(|field| field.list == ListType::Map);
            let element = match (keyed, field.map(|field| field.list)) {
                (Some(field), _) => match self.table.key_element(field, item, value) {
                    Ok(element) => element,
                    Err(error) => return self.refuse(format!("element {index}: {error}")),
                },
                (None, Some(ListType::Set)) => Element::Value(super::Scalar::of(value)),
                (None, _) => Element::Index(i64::try_from(index).unwrap_or(i64::MAX)),
            };
            if !known.insert(element.clone()) {
                self.refuse(format!("duplicate entries for key {element}"));
            }
            self.path.push(element);
            self.item(item, value);
            self.path.pop();
        }
    }

    fn refuse(&mut self, message: String) {
        self.messages.push(match printed(&self.path).as_str() {
            "" => message,
            path => format!("{path}: {message}"),
        });
    }
}

/// `%T` of a decoded value.
fn go_type(value: &Value) -> &'static str {
    match value {
        Value::Null => "<nil>",
        Value::Bool(_) => "bool",
        Value::Number(_) => "float64",
        Value::String(_) => "string",
        Value::Array(_) => "[]interface {}",
        Value::Object(_) => "map[string]interface {}",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{builtin, ids};

    #[test]
    fn configurations_are_refused_in_the_words_of_structured_merge_diff() {
        let template = |container: Value| json!({"spec": {"template": {"spec": {"containers": container}}}});
        let table = [
            (json!({"spec": {"replicas": 1, "template": null}, "kind": "Deployment"}), ""),
            (json!({"spec": {"replicas": "x"}}), ".spec.replicas: expected numeric (int or float), got string"),
            (json!({"spec": {"nonsense": 1}}), ".spec.nonsense: field not declared in schema"),
            (json!({"spec": []}), ".spec: expected map, got &{[]}"),
            (
                template(json!([{"name": "a"}, {"name": "b"}, {"name": "b"}])),
                ".spec.template.spec.containers: duplicate entries for key [name=\"b\"]",
            ),
            (
                template(json!([{"name": "a", "image": 5}])),
                ".spec.template.spec.containers[name=\"a\"].image: expected string, got &value.valueUnstructured{Value:5}",
            ),
            (
                template(json!([{"name": "a", "args": [1]}])),
                ".spec.template.spec.containers[name=\"a\"].args[0]: expected string, got &value.valueUnstructured{Value:1}",
            ),
            (template(json!({"name": "a"})), ".spec.template.spec.containers: expected list, got &{map[name:a]}"),
            (
                template(json!([null])),
                ".spec.template.spec.containers: element 0: associative list with keys may not have a null element",
            ),
            (
                template(json!(["a"])),
                ".spec.template.spec.containers: element 0: associative list with keys may not have non-map elements",
            ),
            (
                template(json!([{"volumeMounts": [{"name": "v"}], "name": "a", "stdin": "yes"}])),
                ".spec.template.spec.containers[name=\"a\"].stdin: expected boolean, got &{yes}",
            ),
            (
                json!({"metadata": {"finalizers": ["a", "a"]}, "spec": {"x": 1}}),
                "errors:\n  .metadata.finalizers: duplicate entries for key [=\"a\"]\n  .spec.x: field not declared in schema",
            ),
        ];
        for (config, expected) in table {
            let told = builtin().check_config(ids::APPS_V1_DEPLOYMENT, &config).err().map(|error| error.to_string());
            assert_eq!(told.unwrap_or_default(), expected, "{config}");
        }
    }
}
