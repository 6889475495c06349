//! Values as JSON, for what leaves the expression.

use base64::Engine as _;
use serde_json::{Map, Number, Value as Json};

use crate::functions::print;
use crate::value::Value;

impl Value<'_> {
    /// The value as JSON; the error says what has no such form.
    pub fn to_json(&self) -> Result<Json, String> {
        let none = || Err(format!("a value of type {} has no JSON form", self.type_name()));
        Ok(match self {
            Value::Null => Json::Null,
            Value::Bool(value) => Json::Bool(*value),
            Value::Int(number) => (*number).into(),
            Value::Uint(number) => (*number).into(),
            Value::Double(number) => Number::from_f64(*number).map_or_else(none, |number| Ok(Json::Number(number)))?,
            Value::String(text) => Json::String(text.clone().into_owned()),
            Value::Bytes(bytes) => Json::String(base64::engine::general_purpose::STANDARD.encode(bytes)),
            Value::JsonList(items, _) => Json::Array(items.to_vec()),
            Value::JsonMap(members, _) | Value::Object(members, _) => Json::Object((*members).clone()),
            Value::List(items) | Value::Merged(items, _) => {
                Json::Array(items.iter().map(Value::to_json).collect::<Result<_, _>>()?)
            }
            Value::Map(entries) => {
                let mut members = Map::new();
                for (key, value) in entries.iter() {
                    let Value::String(name) = key else {
                        return Err(format!("map key {:?} is of type {}, not string", print(key), key.type_name()));
                    };
                    members.insert(name.clone().into_owned(), value.to_json()?);
                }
                Json::Object(members)
            }
            Value::Made(made) => {
                let mut members = Map::new();
                for (name, value) in &made.fields {
                    members.insert((*name).to_owned(), value.to_json()?);
                }
                Json::Object(members)
            }
            Value::Timestamp(_)
            | Value::Duration(_)
            | Value::Quantity(_)
            | Value::Ip(_)
            | Value::Cidr(_)
            | Value::Url(_)
            | Value::Semver(_) => Json::String(print(self)),
            Value::Optional(_)
            | Value::Type(_)
            | Value::Format(_)
            | Value::Variables
            | Value::Check(_)
            | Value::Decision(_) => return none(),
        })
    }
}
