//! Objects as YAML: members stand in the order in which Go's encoder writes them.

use serde_json::{Map, Value};

pub fn text(value: &Value) -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string(&ordered(value))
}

fn ordered(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by_cached_key(|(name, _)| parts(name));
            Value::Object(
                members.into_iter().map(|(name, value)| (name.clone(), ordered(value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(ordered).collect()),
        scalar => scalar.clone(),
    }
}

/// A part of a name, in the order of parts: letters come behind all else, and numbers by their value, then by their zeros.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
enum Part<'a> {
    Other(char),
    Number { length: usize, digits: &'a str, zeros: usize },
    Letter(char),
}

fn parts(name: &str) -> Vec<Part<'_>> {
    let mut parts = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let end = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
        let (part, length) = match end {
            0 if first.is_alphabetic() => (Part::Letter(first), first.len_utf8()),
            0 => (Part::Other(first), first.len_utf8()),
            end => {
                let digits = rest[..end].trim_start_matches('0');
                (Part::Number { length: digits.len(), digits, zeros: end - digits.len() }, end)
            }
        };
        parts.push(part);
        rest = &rest[length..];
    }
    parts
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn members_stand_as_go_writes_them() {
        let written = ["b", "a10", "a9", "kind", "B", "a", "a09", "a-1", "1", "-", "a100x", "a12"];
        let value: Map<String, Value> = written.iter().map(|name| ((*name).to_owned(), json!(1))).collect();
        let told = text(&json!({"top": value})).unwrap();
        let names: Vec<&str> = told.lines().skip(1).map(|line| line.trim().split(':').next().unwrap()).collect();
        let bare: Vec<&str> = names.iter().map(|name| name.trim_matches(['\'', '"'])).collect();
        assert_eq!(bare, ["-", "1", "B", "a", "a-1", "a9", "a09", "a10", "a12", "a100x", "b", "kind"]);
    }

    #[test]
    fn any_names_have_one_order() {
        let characters = ["a", "b", "0", "1", "00", "-"];
        let mut names: Vec<String> = vec![String::new()];
        for _ in 0..4 {
            names = names.iter().flat_map(|name| characters.map(|character| format!("{name}{character}"))).collect();
        }
        let members = |names: &[String]| names.iter().map(|name| (name.clone(), json!(1))).collect::<Map<_, _>>();
        let forwards = text(&members(&names).into()).unwrap();
        names.reverse();
        assert_eq!(text(&members(&names).into()).unwrap(), forwards);
    }

    #[test]
    fn an_object_is_written_by_name() {
        let object =
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "m"}, "data": {"b": "yes", "a": "1"}});
        let expected = "apiVersion: v1\ndata:\n  a: \"1\"\n  b: \"yes\"\nkind: ConfigMap\nmetadata:\n  name: m\n";
        assert_eq!(text(&object).unwrap().replace('\'', "\""), expected);
    }
}
