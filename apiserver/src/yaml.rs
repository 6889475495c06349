//! Objects as YAML: members stand in the order in which Go's encoder writes them.

use std::cmp::Ordering;

use serde_json::{Map, Value};

pub fn text(value: &Value) -> Result<String, serde_saphyr::SerializeError> {
    serde_saphyr::to_string(&ordered(value))
}

fn ordered(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let mut members: Vec<_> = members.iter().collect();
            members.sort_by(|(one, _), (other, _)| in_order(one, other));
            Value::Object(
                members.into_iter().map(|(name, value)| (name.clone(), ordered(value))).collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(ordered).collect()),
        scalar => scalar.clone(),
    }
}

/// Letters come behind all else, and numbers by their value.
fn in_order(one: &str, other: &str) -> Ordering {
    let (one, other): (Vec<char>, Vec<char>) = (one.chars().collect(), other.chars().collect());
    let Some(at) = one.iter().zip(&other).position(|(one, other)| one != other) else {
        return one.len().cmp(&other.len());
    };
    match (one[at].is_alphabetic(), other[at].is_alphabetic()) {
        (true, false) => Ordering::Greater,
        (false, true) => Ordering::Less,
        (true, true) => one[at].cmp(&other[at]),
        (false, false) => number(&one, at).cmp(&number(&other, at)).then(one[at].cmp(&other[at])),
    }
}

/// The number that a place is in or behind: its value, as the digits that count, and where it ends.
fn number(text: &[char], at: usize) -> (usize, &[char], usize) {
    let is_other = |character: &char| !character.is_ascii_digit();
    let begin = text[..at].iter().rposition(is_other).map_or(0, |other| other + 1);
    let end = text[at..].iter().position(is_other).map_or(text.len(), |other| at + other);
    let zeros = text[begin..end].iter().take_while(|digit| **digit == '0').count();
    let digits = &text[begin + zeros..end];
    (digits.len(), digits, end)
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
    fn an_object_is_written_by_name() {
        let object =
            json!({"kind": "ConfigMap", "apiVersion": "v1", "metadata": {"name": "m"}, "data": {"b": "yes", "a": "1"}});
        let expected = "apiVersion: v1\ndata:\n  a: \"1\"\n  b: \"yes\"\nkind: ConfigMap\nmetadata:\n  name: m\n";
        assert_eq!(text(&object).unwrap().replace('\'', "\""), expected);
    }
}
