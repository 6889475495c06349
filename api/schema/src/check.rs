//! Does a value fit its type? Types that do not fit are an error in the words of Go's decoder; unknown fields are listed.

use kontiki_model::Quantity;
use serde_json::{Map, Value};

use crate::decode::{DEPTH_MAX, DecodeError, Document, nests_deeper};
use crate::strict::{Objections, StrictErrors};
use crate::table::{Field, Form, Item, Shape, Table, TypeId};
use crate::{go, scalar};

impl Table {
    /// The paths of unknown fields (`spec.foo`), or the first value that does not fit.
    pub fn check(&self, id: TypeId, value: &Value) -> Result<Vec<String>, DecodeError> {
        let mut checker = Checker {
            table: self,
            path: String::new(),
            fields: Vec::new(),
            holder: None,
            refused: None,
            mismatch: None,
            unknown: StrictErrors::default(),
        };
        checker.item(Item::Of(id), value);
        // A type's own decoder ends Go's decoding; other mismatches are only remembered.
        match checker.refused.or(checker.mismatch) {
            Some(message) => Err(DecodeError(message)),
            None => Ok(checker.unknown.told()),
        }
    }

    /// What field validation warns of or, when strict, refuses.
    pub fn check_document(&self, id: TypeId, document: &Document) -> Result<Objections, DecodeError> {
        if nests_deeper(&document.value, DEPTH_MAX) {
            return Err(DecodeError("exceeded max depth".to_owned()));
        }
        Ok(Objections::in_order(document, self.check(id, &document.value)?))
    }
}

struct Checker<'a> {
    table: &'a Table,
    /// Path with indexes, of strict decoding errors.
    path: String,
    /// Path without indexes, of type mismatches.
    fields: Vec<String>,
    /// The struct whose field is being decoded.
    holder: Option<TypeId>,
    refused: Option<String>,
    mismatch: Option<String>,
    unknown: StrictErrors,
}

impl<'a> Checker<'a> {
    fn item(&mut self, item: Item, value: &Value) {
        if value.is_null() {
            return;
        }
        match item {
            Item::Any => {}
            Item::String => self.expect(value.is_string(), value, "string"),
            Item::Bool => self.expect(value.is_boolean(), value, "bool"),
            Item::Int32 => self.integer(value, i64::from(i32::MIN)..=i64::from(i32::MAX), "int32"),
            Item::Int64 => self.integer(value, i64::MIN..=i64::MAX, "int64"),
            Item::Double => self.expect(value.is_number(), value, "float64"),
            Item::Bytes => match value.as_str() {
                Some(text) => self.remember(scalar::base64(text).err()),
                None => self.expect(false, value, "[]uint8"),
            },
            Item::Of(id) => self.of(id, value),
        }
    }

    fn of(&mut self, id: TypeId, value: &Value) {
        match self.table.get(id).form {
            Form::Struct => match value.as_object() {
                Some(members) => self.members(id, members),
                None => self.expect(false, value, self.table.get(id).go_name()),
            },
            Form::Quantity => match value {
                Value::String(text) => {
                    self.refuse(text.trim().parse::<Quantity>().err().map(|error| error.to_string()))
                }
                other => self.refuse(other.to_string().parse::<Quantity>().err().map(|error| error.to_string())),
            },
            Form::Time => self.text(value, scalar::time),
            Form::MicroTime => self.text(value, scalar::micro_time),
            Form::Duration => self.text(value, scalar::duration),
            Form::IntOrString => self.int_or_string(value),
            Form::StringList => self.list(Item::String, value),
            Form::SchemaOrBool => {
                self.alternative(value.is_boolean() || value.is_object(), "boolean or JSON schema expected")
            }
            Form::SchemaOrArray | Form::SchemaOrStringArray => {
                self.alternative(value.is_array() || value.is_object(), "array or JSON schema expected");
            }
            Form::RawExtension | Form::FieldsV1 | Form::Json => {}
        }
    }

    fn members(&mut self, id: TypeId, members: &Map<String, Value>) {
        let length = self.path.len();
        let holder = self.holder.replace(id);
        for (key, value) in members {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(key);
            let table: &'a Table = self.table;
            let kind = table.get(id);
            let type_meta = kind.type_meta && (key == "kind" || key == "apiVersion");
            self.fields.push(key.clone());
            match table.field(id, key) {
                _ if type_meta => self.item(Item::String, value),
                Some(field) => self.field(field, value),
                None if kind.preserve_unknown => {}
                None => self.unknown.add(|| self.path.clone()),
            }
            self.fields.pop();
            self.path.truncate(length);
        }
        self.holder = holder;
    }

    fn field(&mut self, field: &Field, value: &Value) {
        match field.shape {
            Shape::One(item) => self.item(item, value),
            Shape::List(item) => self.list(item, value),
            Shape::Map(item) => self.map(item, value),
        }
    }

    fn list(&mut self, item: Item, value: &Value) {
        match value {
            Value::Null => {}
            Value::Array(items) => {
                let length = self.path.len();
                for (index, value) in items.iter().enumerate() {
                    self.path.push_str(&format!("[{index}]"));
                    self.item(item, value);
                    self.path.truncate(length);
                }
            }
            other => self.expect(false, other, &format!("[]{}", self.go_type(item))),
        }
    }

    fn map(&mut self, item: Item, value: &Value) {
        match value {
            Value::Null => {}
            Value::Object(members) => {
                let length = self.path.len();
                for (key, value) in members {
                    self.path.push('.');
                    self.path.push_str(key);
                    self.item(item, value);
                    self.path.truncate(length);
                }
            }
            other => self.expect(false, other, &format!("map[string]{}", self.go_type(item))),
        }
    }

    fn integer(&mut self, value: &Value, range: std::ops::RangeInclusive<i64>, go_type: &str) {
        let fits = value.as_i64().is_some_and(|number| range.contains(&number));
        self.expect(fits, value, go_type);
    }

    fn int_or_string(&mut self, value: &Value) {
        let fits = value.is_string() || value.as_i64().is_some_and(|number| i32::try_from(number).is_ok());
        if !fits {
            let word = go::json_word(value, true);
            self.refuse(Some(format!("json: cannot unmarshal {word} into Go value of type int32")));
        }
    }

    fn text(&mut self, value: &Value, parse: fn(&str) -> Result<String, String>) {
        match value.as_str() {
            Some(text) => self.refuse(parse(text).err()),
            None => {
                let word = go::json_word(value, false);
                self.refuse(Some(format!("json: cannot unmarshal {word} into Go value of type string")));
            }
        }
    }

    fn alternative(&mut self, fits: bool, message: &str) {
        if !fits {
            self.refuse(Some(message.to_owned()));
        }
    }

    fn expect(&mut self, fits: bool, value: &Value, go_type: &str) {
        if fits {
            return;
        }
        let number_expected = matches!(go_type, "int32" | "int64" | "float64");
        let word = go::json_word(value, number_expected);
        let target = match self.holder {
            Some(holder) => format!(
                "struct field {}.{} of type {go_type}",
                self.table.get(holder).short_name(),
                self.fields.join(".")
            ),
            None => format!("value of type {go_type}"),
        };
        self.remember(Some(format!("json: cannot unmarshal {word} into Go {target}")));
    }

    fn remember(&mut self, message: Option<String>) {
        self.mismatch = self.mismatch.take().or(message);
    }

    fn refuse(&mut self, message: Option<String>) {
        self.refused = self.refused.take().or(message);
    }

    fn go_type(&self, item: Item) -> String {
        match item {
            Item::String => "string".to_owned(),
            Item::Bool => "bool".to_owned(),
            Item::Int32 => "int32".to_owned(),
            Item::Int64 => "int64".to_owned(),
            Item::Double => "float64".to_owned(),
            Item::Bytes => "[]uint8".to_owned(),
            Item::Any => "interface {}".to_owned(),
            Item::Of(id) => self.table.get(id).go_name().to_owned(),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{builtin, decode_json, ids};

    fn mismatch(id: TypeId, value: Value) -> String {
        builtin().check(id, &value).unwrap_err().0
    }

    #[test]
    fn unknown_fields_are_listed_with_their_paths() {
        let pod = json!({
            "kind": "Pod", "apiVersion": "v1", "extra": 1,
            "metadata": {"name": "p", "nope": {"deep": 1}, "labels": {"any": "thing"}},
            "spec": {"containers": [{"name": "a"}, {"name": "b", "imag": "x", "livenessProbe": {"exec": {}, "tcp": 1}}]},
        });
        let expected = ["extra", "metadata.nope", "spec.containers[1].imag", "spec.containers[1].livenessProbe.tcp"];
        assert_eq!(builtin().check(ids::CORE_V1_POD, &pod).unwrap(), expected);
    }

    #[test]
    fn field_validation_names_duplicates_and_unknown_fields() {
        let body = br#"{"metadata":{"name":"a","name":"b"},"x":{"y":1,"y":2},"data":{"a":"1","a":"2"}}"#;
        let document = decode_json(body).unwrap();
        let messages = builtin().check_document(ids::CORE_V1_CONFIGMAP, &document).unwrap();
        assert_eq!(
            messages.to_string(),
            r#"strict decoding error: duplicate field "metadata.name", unknown field "x", duplicate field "data.a""#
        );
    }

    #[test]
    fn mismatches_are_told_as_go_tells_them() {
        let deployment = |spec: Value| mismatch(ids::APPS_V1_DEPLOYMENT, json!({"spec": spec}));
        assert_eq!(
            mismatch(ids::CORE_V1_CONFIGMAP, json!({"data": {"k": 1}})),
            "json: cannot unmarshal number into Go struct field ConfigMap.data of type string"
        );
        assert_eq!(
            deployment(json!({"replicas": "3"})),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        assert_eq!(
            deployment(json!({"replicas": 1.5})),
            "json: cannot unmarshal number 1.5 into Go struct field DeploymentSpec.spec.replicas of type int32"
        );
        assert_eq!(
            deployment(json!({"template": {"spec": {"containers": {"name": "a"}}}})),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container"
        );
        assert_eq!(
            deployment(json!({"template": "x"})),
            "json: cannot unmarshal string into Go struct field DeploymentSpec.spec.template of type v1.PodTemplateSpec"
        );
        assert_eq!(
            mismatch(ids::CORE_V1_CONFIGMAP, json!([])),
            "json: cannot unmarshal array into Go value of type v1.ConfigMap"
        );
        assert_eq!(mismatch(ids::CORE_V1_SECRET, json!({"data": {"a": "!"}})), "illegal base64 data at input byte 0");
    }

    #[test]
    fn a_types_own_decoder_speaks_first() {
        let pod = |container: Value| {
            mismatch(ids::CORE_V1_POD, json!({"spec": {"restartPolicy": 1, "containers": [container]}}))
        };
        assert_eq!(
            pod(json!({"resources": {"limits": {"cpu": "1 core"}}})),
            "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'"
        );
        assert_eq!(
            pod(json!({"livenessProbe": {"httpGet": {"port": true}}})),
            "json: cannot unmarshal bool into Go value of type int32"
        );
        assert_eq!(
            mismatch(ids::CORE_V1_POD, json!({"metadata": {"creationTimestamp": 5}})),
            "json: cannot unmarshal number into Go value of type string"
        );
    }

    #[test]
    fn null_fits_everything() {
        let pod = json!({"metadata": null, "spec": {"containers": null, "nodeName": null, "nodeSelector": null}});
        assert_eq!(builtin().check(ids::CORE_V1_POD, &pod).unwrap(), Vec::<String>::new());
    }
}
