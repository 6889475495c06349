//! Recorded objects read in a Table as they were recorded.
#![allow(clippy::unwrap_used)]

use kontiki_kinds::by_resource;
use serde_json::Value;

/// `<<age>>` stands for any duration or the lack of one.
fn fits(expected: &Value, cell: &Value) -> bool {
    match (expected.as_str(), cell.as_str()) {
        (Some("<<age>>"), Some(cell)) => {
            cell == "<unknown>"
                || cell.ends_with(['s', 'm', 'h', 'd', 'y']) && cell.starts_with(|c: char| c.is_ascii_digit())
        }
        // The recording leaves out times, and the objects here have none.
        (Some("<<time>>"), _) => cell.is_null(),
        _ => expected == cell,
    }
}

#[test]
fn recorded_examples_have_the_recorded_cells() {
    let examples: Vec<Value> = serde_json::from_str(include_str!("fixtures/table-examples.json")).unwrap();
    let now = chrono::DateTime::parse_from_rfc3339("2026-01-02T03:04:05Z").unwrap().to_utc();
    for example in &examples {
        let part = |name: &str| example[name].as_str().unwrap();
        let kind = by_resource(part("group"), part("version"), part("resource")).unwrap();
        let settled = |value: &Value| {
            let text = value.to_string().replace("<<time>>", "2026-01-01T00:00:00Z").replace("<<uid>>", "u");
            serde_json::from_str::<Value>(&text).unwrap()
        };
        let mut object = settled(&example["object"]);
        object["metadata"]["creationTimestamp"] = "2026-01-01T00:00:00Z".into();
        let name = object["metadata"]["name"].clone();
        // Placeholders of the recording where a number or a time stands in a real object.
        for port in object["spec"]["ports"].as_array_mut().into_iter().flatten() {
            if port["nodePort"] == "<<nodePort>>" {
                port["nodePort"] = 31_000.into();
            }
        }
        let object = kind.to_stored(object);
        let cells = (kind.cells)(&object, now);
        let expected = settled(&example["cells"]).to_string().replace("<<nodePort>>", "31000");
        let expected: Vec<Value> = serde_json::from_str(&expected).unwrap();
        let same =
            cells.len() == expected.len() && expected.iter().zip(&cells).all(|(expected, cell)| fits(expected, cell));
        assert!(same, "{}\nexpected {expected:?}\n     got {cells:?}", part("resource"));
        let conditions = example["conditions"].as_array().cloned().unwrap_or_default();
        assert_eq!((kind.row_conditions)(&object), conditions, "{name}");
    }
}
