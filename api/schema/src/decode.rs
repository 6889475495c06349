//! Bytes to a value. Keys that occur twice are not lost: strict field validation reports them.

use std::{borrow::Cow, fmt};

use serde::de::{DeserializeSeed, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value, map::Entry};

use crate::strict::StrictErrors;
use crate::structural::sorted;
use crate::syntax;

/// A decoded body.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Document {
    pub value: Value,
    pub duplicates: Vec<Duplicate>,
}

/// A key that was given more than once in one object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Duplicate {
    /// `data.a`, `spec.containers[0].name`.
    pub path: String,
    /// The warning: `duplicate field "data.a"`.
    pub message: String,
    /// How many other keys of the document come before it.
    pub(crate) behind: usize,
    pub(crate) source: Source,
}

/// Values nest no deeper: what is stored is read back by serde_json, which gives up on the next level.
pub const DEPTH_MAX: usize = 127;
/// YAML nests less deep: its parser takes far more of the stack for a level.
const YAML_DEPTH_MAX: usize = 64;
/// Values of a YAML document, and those of them that its aliases may stand for.
const YAML_VALUES_MAX: usize = 250_000;
const YAML_ALIASED_VALUES_MAX: usize = 50_000;

/// Whether a value nests deeper than so many levels of objects and lists.
pub fn nests_deeper(value: &Value, levels: usize) -> bool {
    let mut inner: Box<dyn Iterator<Item = &Value>> = match value {
        Value::Array(items) => Box::new(items.iter()),
        Value::Object(members) => Box::new(members.values()),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => return false,
    };
    levels.checked_sub(1).is_none_or(|left| inner.any(|value| nests_deeper(value, left)))
}

/// The body does not decode; the message is Kubernetes'.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct DecodeError(pub String);

/// What a document is written in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Source {
    Json,
    Yaml,
}

/// JSON with Go's error messages. Objects given twice are merged, other values replaced, as Go's decoder does.
pub fn decode_json(bytes: &[u8]) -> Result<Document, DecodeError> {
    // Nearly all of it is right: told at once, where the search for what is not goes byte by byte.
    let text = std::str::from_utf8(bytes).map_or_else(|_| String::from_utf8_lossy(bytes), Cow::Borrowed);
    let mut reader = Reader::new(Source::Json);
    let mut deserializer = serde_json::Deserializer::from_str(&text);
    let value = Node(&mut reader).deserialize(&mut deserializer).and_then(|value| {
        deserializer.end()?;
        Ok(value)
    });
    match value {
        Ok(value) => Ok(Document { value, duplicates: reader.duplicates() }),
        Err(error) => Err(DecodeError(syntax::error(&text).unwrap_or_else(|| parser_words(&error)))),
    }
}

/// Valid JSON that our parser refuses all the same: too deep, a number beyond any float, a lone surrogate.
fn parser_words(error: &serde_json::Error) -> String {
    let text = error.to_string();
    if text.starts_with("recursion limit") { "exceeded max depth".to_owned() } else { text }
}

/// YAML as the API server reads it: version 1.1 booleans and octal numbers; of a key given twice the last counts.
pub fn decode_yaml(bytes: &[u8]) -> Result<Document, DecodeError> {
    let words = |text: String| DecodeError(format!("error converting YAML to JSON: yaml: {text}"));
    let text = std::str::from_utf8(bytes).map_err(|_| words("control characters are not allowed".to_owned()))?;
    let options = serde_saphyr::options! {
        duplicate_keys: serde_saphyr::DuplicateKeyPolicy::LastWins,
        legacy_octal_numbers: true,
        budget: serde_saphyr::budget! { max_depth: YAML_DEPTH_MAX, flow_nesting_limit: YAML_DEPTH_MAX, max_nodes: YAML_VALUES_MAX },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: YAML_ALIASED_VALUES_MAX },
    };
    let mut reader = Reader::new(Source::Yaml);
    let value = serde_saphyr::with_deserializer_from_str_with_options(text, options, |deserializer| {
        Node(&mut reader).deserialize(deserializer)
    });
    match value {
        // Kubernetes makes JSON of it, where members stand by name.
        Ok(value) => Ok(Document { value: sorted(value), duplicates: reader.duplicates() }),
        Err(error) => Err(words(yaml_words(&error))),
    }
}

/// The parser's first line, with the place in front as go-yaml has it.
fn yaml_words(error: &serde_saphyr::Error) -> String {
    use serde_saphyr::Error;
    match error {
        Error::WithSnippet { error, .. } | Error::AliasError { error, .. } => return yaml_words(error),
        Error::AliasReplayCounterOverflow { .. }
        | Error::AliasReplayLimitExceeded { .. }
        | Error::AliasExpansionLimitExceeded { .. }
        | Error::AliasReplayStackDepthExceeded { .. } => return "document contains excessive aliasing".to_owned(),
        Error::Budget { breach, .. } => return breach_words(breach),
        _ => {}
    }
    let full = error.without_snippet().to_string();
    let first = full.lines().next().unwrap_or_default();
    let text = match first {
        _ if first.starts_with("multiple YAML documents") => "one document expected, found several",
        _ => first.rsplit_once(" at line ").map_or(first, |(text, _)| text),
    };
    match error.location() {
        Some(location) => format!("line {}: {text}", location.line()),
        None => text.to_owned(),
    }
}

/// Which bound a document exceeds.
fn breach_words(breach: &serde_saphyr::budget::BudgetBreach) -> String {
    use serde_saphyr::budget::BudgetBreach;
    match breach {
        BudgetBreach::Depth { .. } => "exceeded max depth".to_owned(),
        BudgetBreach::Aliases { .. } | BudgetBreach::Anchors { .. } | BudgetBreach::AliasAnchorRatio { .. } => {
            "document contains excessive aliasing".to_owned()
        }
        _ => format!("the document is too large: at most {YAML_VALUES_MAX} values"),
    }
}

/// Floats below this print without an exponent and are exact as integers.
const WHOLE_FLOAT_MAX: f64 = 9_007_199_254_740_992.0;

struct Reader {
    source: Source,
    /// Where the reader is, in the notation of strict decoding errors.
    path: String,
    /// How many different keys it has read.
    keys: usize,
    duplicates: StrictErrors<Duplicate>,
}

impl Reader {
    fn new(source: Source) -> Self {
        Reader { source, path: String::new(), keys: 0, duplicates: StrictErrors::default() }
    }

    /// In the order of the document: a key comes before what is below it.
    fn duplicates(self) -> Vec<Duplicate> {
        let mut duplicates = self.duplicates.told();
        duplicates.sort_by_key(|one| one.behind);
        duplicates
    }

    fn report(&mut self, key: &str, line: Option<u64>, behind: usize) {
        if self.duplicates.is_full() {
            return;
        }
        let message = match line {
            Some(line) => format!("line {line}: key {key:?} already set in map"),
            None => format!("duplicate field {:?}", self.path),
        };
        if self.duplicates.iter().all(|one| one.message != message) {
            let duplicate = Duplicate { path: self.path.clone(), message, behind, source: self.source };
            self.duplicates.push(duplicate, self.path.len());
        }
    }
}

/// One value of the document.
struct Node<'a>(&'a mut Reader);

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("any value")
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(value.into())
    }

    fn visit_f64<E: serde::de::Error>(self, value: f64) -> Result<Value, E> {
        // The conversion from YAML writes whole floats as integers: `1e3` fits an integer field.
        if self.0.source == Source::Yaml && value.fract() == 0.0 && value.abs() < WHOLE_FLOAT_MAX {
            return Ok(Value::from(value as i64));
        }
        serde_json::Number::from_f64(value).map(Value::Number).ok_or_else(|| E::custom("number is not finite"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::String(value.to_owned()))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_none<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_some<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let mut out = Vec::new();
        let length = self.0.path.len();
        loop {
            self.0.path.push_str(&format!("[{}]", out.len()));
            let next = seq.next_element_seed(Node(self.0))?;
            self.0.path.truncate(length);
            match next {
                Some(value) => out.push(value),
                None => return Ok(Value::Array(out)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let mut out = Map::new();
        let length = self.0.path.len();
        loop {
            let (key, line) = match self.0.source {
                Source::Json => match map.next_key::<String>()? {
                    Some(key) => (key, None),
                    None => return Ok(Value::Object(out)),
                },
                Source::Yaml => match map.next_key::<serde_saphyr::Spanned<String>>()? {
                    Some(key) => (key.value, Some(key.referenced.line())),
                    None => return Ok(Value::Object(out)),
                },
            };
            if length > 0 {
                self.0.path.push('.');
            }
            self.0.path.push_str(&key);
            let behind = self.0.keys;
            self.0.keys += 1;
            if line.is_some() && out.contains_key(&key) {
                self.0.report(&key, line, behind);
            }
            let value = map.next_value_seed(Node(self.0))?;
            match (out.entry(key), self.0.source) {
                (Entry::Occupied(mut old), Source::Json) => {
                    self.0.keys -= 1;
                    self.0.report(old.key(), line, behind);
                    overlay(old.get_mut(), value);
                }
                (Entry::Occupied(mut old), Source::Yaml) => _ = old.insert(value),
                (Entry::Vacant(place), Source::Json | Source::Yaml) => _ = place.insert(value),
            }
            self.0.path.truncate(length);
        }
    }
}

fn overlay(old: &mut Value, new: Value) {
    match (old, new) {
        (Value::Object(old), Value::Object(new)) => {
            for (key, value) in new {
                overlay(old.entry(key).or_insert(Value::Null), value);
            }
        }
        (old, new) => *old = new,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::strict::STRICT_ERRORS_MAX;

    fn messages(document: &Document) -> Vec<&str> {
        document.duplicates.iter().map(|one| one.message.as_str()).collect()
    }

    #[test]
    fn json_keys_given_twice_are_merged_and_reported() {
        let body = br#"{"kind":"ConfigMap","data":{"a":"1","a":"2"},"data":{"b":"1"}}"#;
        let document = decode_json(body).unwrap();
        assert_eq!(document.value, json!({"kind": "ConfigMap", "data": {"a": "2", "b": "1"}}));
        assert_eq!(messages(&document), ["duplicate field \"data.a\"", "duplicate field \"data\""]);
    }

    #[test]
    fn of_very_many_keys_given_twice_the_first_are_told() {
        let twice = |name: usize| format!("\"{name}\":1,\"{name}\":1");
        let many = format!("{{{}}}", (0..50_000).map(twice).collect::<Vec<_>>().join(","));
        assert_eq!(decode_json(many.as_bytes()).unwrap().duplicates.len(), STRICT_ERRORS_MAX);
        let below = format!("{{\"{}\":{many}}}", "a".repeat(1024 * 1024));
        assert_eq!(decode_json(below.as_bytes()).unwrap().duplicates.len(), 1);
        let lines = "a: 1\n".repeat(50_000);
        assert_eq!(decode_yaml(lines.as_bytes()).unwrap().duplicates.len(), STRICT_ERRORS_MAX);
    }

    #[test]
    fn a_number_is_the_nearest_to_its_digits_in_json_and_in_yaml() {
        let digits = format!("0{}", "2".repeat(87));
        let yaml = decode_yaml(digits.as_bytes()).unwrap().value;
        assert_eq!(yaml, json!(2.2222222222222222e86));
        assert_eq!(decode_json(yaml.to_string().as_bytes()).unwrap().value, yaml);
        assert_eq!(decode_json(b"2.2222222222222224e+86").unwrap().value, json!(2.2222222222222224e86));
    }

    #[test]
    fn yaml_keys_given_twice_are_replaced_and_reported_by_line() {
        let body = b"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: yy}\ndata: {a: \"1\"}\ndata: {b: \"2\"}\n";
        let document = decode_yaml(body).unwrap();
        assert_eq!(document.value["data"], json!({"b": "2"}));
        assert_eq!(messages(&document), ["line 5: key \"data\" already set in map"]);
    }

    #[test]
    fn yaml_is_read_as_version_1_1() {
        let document = decode_yaml(b"a: yes\nb: 0644\nc: '0644'\nd: ~\ne: 1.5\nf: off\n1: x\ng: 1e3\n").unwrap();
        let expected = json!({"a": true, "b": 420, "c": "0644", "d": null, "e": 1.5, "f": false, "1": "x", "g": 1000});
        assert_eq!(document.value, expected);
    }

    #[test]
    fn malformed_bodies_get_gos_words() {
        assert_eq!(decode_json(b"").unwrap_err().0, "unexpected end of JSON input");
        assert_eq!(decode_json(b"{} {}").unwrap_err().0, "invalid character '{' after top-level value");
        let deep = "[".repeat(5000) + &"]".repeat(5000);
        assert_eq!(decode_json(deep.as_bytes()).unwrap_err().0, "exceeded max depth");
        assert_eq!(
            decode_yaml(b"a: 1\n a: 2\n").unwrap_err().0,
            "error converting YAML to JSON: yaml: line 2: mapping values are not allowed in this context"
        );
        assert_eq!(
            decode_yaml(b"a: 1\n---\nb: 2\n").unwrap_err().0,
            "error converting YAML to JSON: yaml: line 3: one document expected, found several"
        );
    }

    /// CVE-2019-11253 and its like: a few hundred bytes that ask for gigabytes, or for a stack without an end.
    #[test]
    fn small_documents_do_not_become_large() {
        let refused = |text: &str| decode_yaml(text.as_bytes()).unwrap_err().0;
        let aliases = |name: &str| format!("[{}]", vec![format!("*{name}"); 9].join(","));
        let mut bomb = "a: &a [lol,lol,lol,lol,lol,lol,lol,lol,lol]\n".to_owned();
        for (name, before) in
            ["b", "c", "d", "e", "f", "g", "h", "i"].iter().zip(["a", "b", "c", "d", "e", "f", "g", "h"])
        {
            bomb.push_str(&format!("{name}: &{name} {}\n", aliases(before)));
        }
        assert_eq!(refused(&bomb), "error converting YAML to JSON: yaml: document contains excessive aliasing");
        let merges = (1..40).map(|n| format!("m{n}: &m{n}\n  <<: [*m{0}, *m{0}]\n  k{n}: 1\n", n - 1));
        let merged = format!("m0: &m0 {{k: 1}}\n{}", merges.collect::<String>());
        let _ = decode_yaml(merged.as_bytes());
        for deep in ["[".repeat(100_000), "- ".repeat(100_000), "{a: ".repeat(100_000)] {
            let _ = decode_yaml(deep.as_bytes());
        }
        let nested = |levels: usize| format!("{}1{}", "[".repeat(levels), "]".repeat(levels));
        assert!(decode_yaml(nested(YAML_DEPTH_MAX).as_bytes()).is_ok());
        assert!(decode_yaml(nested(YAML_DEPTH_MAX + 1).as_bytes()).is_err());
        let block = |levels: usize| (0..levels).map(|level| format!("{}a:\n", " ".repeat(level))).collect::<String>();
        assert!(decode_yaml(block(YAML_DEPTH_MAX).as_bytes()).is_ok());
        assert_eq!(refused(&block(YAML_DEPTH_MAX + 2)), "error converting YAML to JSON: yaml: exceeded max depth");
        assert!(decode_json(nested(DEPTH_MAX).as_bytes()).is_ok());
        assert!(decode_json(nested(DEPTH_MAX + 1).as_bytes()).is_err());
        // An alias to what it stands in.
        assert!(decode_yaml(b"a: &a [*a]").is_err());
        assert!(decode_yaml(b"&a {<<: *a}").is_err());
    }
}
