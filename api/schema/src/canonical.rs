//! The form in which a Go server prints an object, and in which it is stored here: members in declaration order,
//! empty ones left out or written as Go does, quantities and times normalised, map keys sorted, unknown fields gone.
//! The value must have passed [`Table::check`]; what does not fit is kept as it is.

use kontiki_model::Quantity;
use serde_json::{Map, Value};

use crate::scalar;
use crate::table::{Field, Form, Item, Omit, Shape, Table, TypeId};

impl Table {
    /// Rewrites the value in canonical form. Idempotent.
    pub fn canonical(&self, id: TypeId, value: &mut Value) {
        *value = self.canonical_of(id, value.take());
    }

    fn canonical_of(&self, id: TypeId, value: Value) -> Value {
        let text = |value: Value, parse: fn(&str) -> Result<String, String>| match value.as_str().map(parse) {
            Some(Ok(text)) => Value::String(text),
            Some(Err(_)) | None => value,
        };
        match self.get(id).form {
            Form::Struct => match value {
                Value::Object(members) => Value::Object(self.canonical_members(id, members)),
                Value::Null => Value::Object(self.canonical_members(id, Map::new())),
                other => other,
            },
            Form::Quantity => quantity(value, |quantity| quantity.to_string()),
            Form::Time => text(value, scalar::time),
            Form::MicroTime => text(value, scalar::micro_time),
            Form::Duration => text(if value.is_null() { Value::from("0s") } else { value }, scalar::duration),
            Form::IntOrString => {
                if value.is_null() {
                    Value::from(0)
                } else {
                    value
                }
            }
            Form::SchemaOrArray | Form::SchemaOrBool | Form::SchemaOrStringArray => self.canonical_schema(value),
            Form::RawExtension | Form::FieldsV1 | Form::Json | Form::StringList => value,
        }
    }

    /// A JSON schema, a list of them, or the scalar that stands for one.
    fn canonical_schema(&self, value: Value) -> Value {
        match (value, self.lookup("apiextensions.v1.JSONSchemaProps")) {
            (value @ Value::Object(_), Some(id)) => self.canonical_of(id, value),
            (Value::Array(items), _) => {
                Value::Array(items.into_iter().map(|item| self.canonical_schema(item)).collect())
            }
            (value, _) => value,
        }
    }

    fn canonical_members(&self, id: TypeId, mut members: Map<String, Value>) -> Map<String, Value> {
        let mut out = Map::with_capacity(members.len());
        let kind = self.get(id);
        if kind.type_meta {
            for key in ["kind", "apiVersion"] {
                let given = members.swap_remove_entry(key);
                out.extend(given.filter(|(_, value)| value.as_str().is_some_and(|text| !text.is_empty())));
            }
        }
        self.canonical_fields(id, &mut members, &mut out);
        if kind.preserve_unknown {
            out.extend(members);
        }
        out
    }

    fn canonical_fields(&self, id: TypeId, members: &mut Map<String, Value>, out: &mut Map<String, Value>) {
        for field in self.get(id).fields.iter() {
            if let (true, Shape::One(Item::Of(inner))) = (field.inline, field.shape) {
                self.canonical_fields(inner, members, out);
                continue;
            }
            let (name, value) = members.swap_remove_entry(field.json.as_ref()).unzip();
            let value = value.filter(|value| !value.is_null());
            let written = match field.shape {
                Shape::One(item) => self.canonical_one(field, item, value),
                Shape::List(item) => collection(field, value.map(|value| self.canonical_list(item, value))),
                Shape::Map(item) => collection(field, value.map(|value| self.canonical_map(item, value))),
            };
            if let Some(value) = written {
                out.insert(name.unwrap_or_else(|| field.json.to_string()), value);
            }
        }
    }

    fn canonical_one(&self, field: &Field, item: Item, value: Option<Value>) -> Option<Value> {
        if let Item::Of(id) = item
            && self.get(id).form == Form::StringList
        {
            return collection(field, value);
        }
        match (value, field.pointer, field.omit) {
            (None, true, Omit::Never) => Some(Value::Null),
            (None, true, Omit::Empty | Omit::Zero) => None,
            (None, false, Omit::Never) => Some(self.zero(item)),
            (None, false, Omit::Zero) => None,
            (None, false, Omit::Empty) => matches!(item, Item::Of(_)).then(|| self.zero(item)),
            (Some(value), true, _) => Some(self.canonical_item(item, value)),
            (Some(value), false, omit) => {
                let value = self.canonical_item(item, value);
                let left_out = match omit {
                    Omit::Never => false,
                    Omit::Empty => !matches!(item, Item::Of(_)) && is_zero(&value),
                    Omit::Zero => value.is_null() || is_zero(&value),
                };
                (!left_out).then_some(value)
            }
        }
    }

    fn canonical_item(&self, item: Item, value: Value) -> Value {
        match item {
            Item::Of(id) => self.canonical_of(id, value),
            Item::Bytes => match value.as_str().map(scalar::base64) {
                Some(Ok(text)) => Value::String(text),
                Some(Err(_)) | None => value,
            },
            // Go prints a whole float without a point.
            Item::Double => match value.as_f64().filter(|number| number.fract() == 0.0 && number.abs() < 1e15) {
                Some(number) => Value::from(number as i64),
                None => value,
            },
            Item::String | Item::Bool | Item::Int32 | Item::Int64 | Item::Any => value,
        }
    }

    fn canonical_list(&self, item: Item, value: Value) -> Value {
        match value {
            Value::Array(items) => Value::Array(items.into_iter().map(|value| self.element(item, value)).collect()),
            other => other,
        }
    }

    fn canonical_map(&self, item: Item, value: Value) -> Value {
        let Value::Object(members) = value else { return value };
        let mut members: Vec<_> = members.into_iter().collect();
        members.sort_by(|(left, _), (right, _)| left.cmp(right));
        let canonical = |(key, value)| match item {
            Item::Of(id) if self.get(id).form == Form::Quantity => (key, resource_amount(value)),
            item => (key, self.element(item, value)),
        };
        Value::Object(members.into_iter().map(canonical).collect())
    }

    /// A null element is the zero of its type.
    fn element(&self, item: Item, value: Value) -> Value {
        if value.is_null() { self.zero(item) } else { self.canonical_item(item, value) }
    }

    fn zero(&self, item: Item) -> Value {
        match item {
            Item::String => Value::from(""),
            Item::Bool => Value::Bool(false),
            Item::Int32 | Item::Int64 | Item::Double => Value::from(0),
            Item::Bytes | Item::Any => Value::Null,
            Item::Of(id) => self.canonical_of(id, Value::Null),
        }
    }
}

/// Lists and maps: Go prints an empty one as null where it is not left out.
fn collection(field: &Field, value: Option<Value>) -> Option<Value> {
    let filled = value.filter(|value| match value {
        Value::Array(items) => !items.is_empty(),
        Value::Object(members) => !members.is_empty(),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => true,
    });
    match filled {
        Some(value) => Some(value),
        None => (field.omit == Omit::Never).then_some(Value::Null),
    }
}

fn is_zero(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(_) | Value::Object(_) => false,
    }
}

fn quantity(value: Value, print: fn(&Quantity) -> String) -> Value {
    let parsed = match &value {
        Value::Null => Ok(Quantity::ZERO),
        Value::String(text) => text.trim().parse(),
        other => other.to_string().parse::<Quantity>(),
    };
    parsed.map_or(value, |quantity| Value::String(print(&quantity)))
}

/// A ResourceList rounds its amounts up to thousandths, which also brings them into canonical notation.
fn resource_amount(value: Value) -> Value {
    quantity(value, |quantity| quantity.rounded_to_milli().to_string())
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::{TypeId, builtin, ids};

    /// Compares text, so that the order of members counts.
    fn check(id: TypeId, mut value: Value, expected: &str) {
        builtin().canonical(id, &mut value);
        assert_eq!(value.to_string(), expected);
        builtin().canonical(id, &mut value);
        assert_eq!(value.to_string(), expected, "canonical form is stable");
    }

    #[test]
    fn members_stand_in_declaration_order_and_map_keys_are_sorted() {
        let map = json!({
            "data": {"b": "2", "a": "1", "n": null}, "immutable": null, "unknown": 1, "apiVersion": "v1",
            "metadata": {"labels": {"z": "1", "a": "2"}, "annotations": {}, "namespace": "n", "name": "m", "creationTimestamp": null},
            "kind": "ConfigMap",
        });
        check(
            ids::CORE_V1_CONFIGMAP,
            map,
            r#"{"kind":"ConfigMap","apiVersion":"v1","metadata":{"name":"m","namespace":"n","labels":{"a":"2","z":"1"}},"data":{"a":"1","b":"2","n":""}}"#,
        );
    }

    #[test]
    fn structs_without_a_pointer_are_written_and_zero_scalars_left_out() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "hostNetwork": false, "nodeName": "", "terminationGracePeriodSeconds": 0, "securityContext": {},
            "volumes": [{"emptyDir": {}, "name": "v"}],
            "containers": [{"image": "i", "name": "c", "stdin": false, "ports": [], "livenessProbe": {"timeoutSeconds": 1, "exec": {}}}],
        }});
        check(
            ids::CORE_V1_POD,
            pod,
            concat!(
                r#"{"metadata":{"name":"p"},"spec":{"volumes":[{"name":"v","emptyDir":{}}],"#,
                r#""containers":[{"name":"c","image":"i","resources":{},"livenessProbe":{"exec":{},"timeoutSeconds":1}}],"#,
                r#""terminationGracePeriodSeconds":0,"securityContext":{}},"status":{}}"#
            ),
        );
    }

    #[test]
    fn members_that_go_always_writes_are_written() {
        check(
            ids::CORE_V1_EVENT,
            json!({"metadata": {"name": "e"}, "involvedObject": {"kind": "Pod"}, "firstTimestamp": "2026-01-02T03:04:05.9+01:00"}),
            concat!(
                r#"{"metadata":{"name":"e"},"involvedObject":{"kind":"Pod"},"source":{},"firstTimestamp":"2026-01-02T02:04:05Z","#,
                r#""lastTimestamp":null,"eventTime":null,"reportingComponent":"","reportingInstance":""}"#
            ),
        );
        check(ids::RBAC_V1_ROLE, json!({"metadata": {}, "rules": []}), r#"{"metadata":{},"rules":null}"#);
        check(
            ids::CORE_V1_NODESTATUS,
            Value::Null,
            concat!(
                r#"{"daemonEndpoints":{"kubeletEndpoint":{"Port":0}},"nodeInfo":{"machineID":"","systemUUID":"","bootID":"","#,
                r#""kernelVersion":"","osImage":"","containerRuntimeVersion":"","kubeletVersion":"","kubeProxyVersion":"","#,
                r#""operatingSystem":"","architecture":""}}"#
            ),
        );
    }

    #[test]
    fn quantities_and_int_or_strings_are_normalised() {
        check(
            ids::CORE_V1_RESOURCEREQUIREMENTS,
            json!({"limits": {"memory": "1024Mi", "cpu": 1.5, "ephemeral-storage": 100}}),
            r#"{"limits":{"cpu":"1500m","ephemeral-storage":"100","memory":"1Gi"}}"#,
        );
        check(
            ids::CORE_V1_SERVICESPEC,
            json!({"ports": [{"port": 80}, {"targetPort": "http", "port": 81}]}),
            r#"{"ports":[{"port":80,"targetPort":0},{"port":81,"targetPort":"http"}]}"#,
        );
        check(
            ids::APIEXTENSIONS_V1_JSONSCHEMAPROPS,
            json!({"maximum": 1.0, "minimum": 0.5, "default": 1.0}),
            r#"{"default":1.0,"maximum":1,"minimum":0.5}"#,
        );
        check(ids::CORE_V1_SECRET, json!({"data": {"a": "aGVs\nbG8="}}), r#"{"metadata":{},"data":{"a":"aGVsbG8="}}"#);
    }
}
