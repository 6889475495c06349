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
    path: JsonPath,
}

impl Printer {
    /// The columns behind the name: those of the version, or the age. A path that cannot be read is let into a definition and
    /// ends its columns.
    pub fn all(version: &Value) -> Vec<Printer> {
        let declared = list(version, "/additionalPrinterColumns");
        if declared.is_empty() {
            let age = |path| Printer {
                name: "Age".to_owned(),
                r#type: "date".to_owned(),
                format: String::new(),
                description: "When the object was made.".to_owned(),
                priority: 0,
                path,
            };
            return JsonPath::parse(".metadata.creationTimestamp").map(age).into_iter().collect();
        }
        let column = |column: &Value| {
            let own = |pointer: &str| text(column, pointer).to_owned();
            let path = text(column, "/jsonPath");
            let description = match text(column, "/description") {
                "" => format!("Custom resource definition column (in JSONPath format): {path}"),
                own => own.to_owned(),
            };
            Some(Printer {
                name: own("/name"),
                r#type: own("/type"),
                format: own("/format"),
                description,
                priority: int(column, "/priority"),
                path: JsonPath::parse(path).ok()?,
            })
        };
        declared.iter().map_while(column).collect()
    }

    /// The cell of an object; null where it has nothing there, or something of another type.
    pub fn cell(&self, object: &Value, now: DateTime<Utc>) -> Value {
        let Some(value) = self.path.find(object).first().copied() else {
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

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn columns_end_where_a_path_cannot_be_read() {
        let column = |name: &str, path: &str| json!({"name": name, "type": "string", "jsonPath": path});
        let names = |columns: Value| {
            let printers = Printer::all(&json!({ "additionalPrinterColumns": columns }));
            printers.into_iter().map(|one| one.name).collect::<Vec<_>>()
        };
        let cases = [
            (json!([]), vec!["Age"]),
            (json!([column("A", ".spec.a"), column("B", ".spec.b")]), vec!["A", "B"]),
            (json!([column("A", ".spec.a"), column("B", ".spec["), column("C", ".spec.c")]), vec!["A"]),
            (json!([column("B", ".spec[")]), vec![]),
        ];
        for (columns, expected) in cases {
            assert_eq!(names(columns.clone()), expected, "{columns}");
        }
    }
}
