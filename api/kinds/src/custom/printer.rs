//! A printer column of a version: where its cells come from and how they are written.

use chrono::{DateTime, Utc};
use serde_json::Value;

use super::JsonPath;
use crate::human_duration;
use crate::tree::{int, list, text};

#[derive(Clone, Debug)]
pub struct Printer {
    pub name: String,
    pub r#type: String,
    pub format: String,
    pub description: String,
    pub priority: i64,
    path: Option<JsonPath>,
}

impl Printer {
    /// The columns behind the name: those of the version, or the age.
    pub fn all(version: &Value) -> Vec<Printer> {
        let declared = list(version, "/additionalPrinterColumns");
        if declared.is_empty() {
            return vec![Printer {
                name: "Age".to_owned(),
                r#type: "date".to_owned(),
                format: String::new(),
                description: "When the object was made.".to_owned(),
                priority: 0,
                path: JsonPath::parse(".metadata.creationTimestamp").ok(),
            }];
        }
        let column = |column: &Value| {
            let own = |pointer: &str| text(column, pointer).to_owned();
            let path = text(column, "/jsonPath");
            let description = match text(column, "/description") {
                "" => format!("Custom resource definition column (in JSONPath format): {path}"),
                own => own.to_owned(),
            };
            Printer {
                name: own("/name"),
                r#type: own("/type"),
                format: own("/format"),
                description,
                priority: int(column, "/priority"),
                path: JsonPath::parse(path).ok(),
            }
        };
        declared.iter().map(column).collect()
    }

    /// The cell of an object; null where it has nothing there, or something of another type.
    pub fn cell(&self, object: &Value, now: DateTime<Utc>) -> Value {
        let Some(value) = self.path.as_ref().and_then(|path| path.find(object).first().copied()) else {
            return Value::Null;
        };
        match (self.r#type.as_str(), value) {
            (_, Value::Null) => Value::Null,
            ("string", Value::String(text)) => text.as_str().into(),
            ("string", other) => kontiki_schema::sorted(other.clone()).to_string().into(),
            ("integer", Value::Number(number)) => match (number.as_i64(), number.as_f64()) {
                (Some(number), _) => number.into(),
                (None, Some(number)) => (number as i64).into(),
                (None, None) => Value::Null,
            },
            ("number", Value::Number(_)) | ("boolean", Value::Bool(_)) => value.clone(),
            ("date", Value::String(text)) => match DateTime::parse_from_rfc3339(text) {
                Ok(time) => human_duration(now - time.with_timezone(&Utc)).into(),
                Err(_) => "<invalid>".into(),
            },
            _ => Value::Null,
        }
    }
}
