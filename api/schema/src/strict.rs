//! What strict field validation has against a body: fields that its type does not have, and fields that are given twice.

use std::fmt;

use serde_json::Value;

use crate::decode::{Document, Duplicate, Source};

/// Kubernetes stops listing strict decoding errors here.
pub const STRICT_ERRORS_MAX: usize = 100;
/// Nor does the list grow beyond this: a path may be as long as the request.
const STRICT_ERROR_BYTES_MAX: usize = 64 * 1024;

/// The first of what there is to say of one sort.
#[derive(Debug)]
pub struct StrictErrors<T = String> {
    told: Vec<T>,
    bytes: usize,
}

impl<T> Default for StrictErrors<T> {
    fn default() -> Self {
        StrictErrors { told: Vec::new(), bytes: 0 }
    }
}

impl<T> StrictErrors<T> {
    pub fn is_full(&self) -> bool {
        self.told.len() >= STRICT_ERRORS_MAX || self.bytes >= STRICT_ERROR_BYTES_MAX
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.told.iter()
    }

    pub fn push(&mut self, one: T, bytes: usize) {
        self.bytes += bytes;
        self.told.push(one);
    }

    pub fn told(self) -> Vec<T> {
        self.told
    }
}

impl StrictErrors {
    /// Makes the path only if it is told.
    pub fn add(&mut self, path: impl FnOnce() -> String) {
        if !self.is_full() {
            let path = path();
            let bytes = path.len();
            self.push(path, bytes);
        }
    }
}

/// All there is against a body, in the order in which Kubernetes tells it. As text it is the reason of a refusal.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Objections {
    /// Of the lines of a YAML document: they are one error there.
    lines: Vec<String>,
    fields: Vec<String>,
}

impl Objections {
    /// Of a body that is decoded right into its type: in the order of the document. A field that the type does not have is told as
    /// that alone.
    pub fn in_order(document: &Document, unknown: Vec<String>) -> Self {
        let is_unknown = |path: &str| {
            let is_below = |rest: &str| rest.is_empty() || rest.starts_with(['.', '[']);
            unknown.iter().any(|one| path.strip_prefix(one.as_str()).is_some_and(is_below))
        };
        let (lines, twice) = parted(&document.duplicates);
        let mut twice = twice.into_iter().filter(|one| !is_unknown(&one.path)).peekable();
        if twice.peek().is_none() {
            return Objections { lines, fields: unknown.iter().map(unknown_field).collect() };
        }
        let mut fields = Vec::new();
        for (position, path) in positions(&document.value, &unknown) {
            while let Some(one) = twice.next_if(|one| one.behind <= position) {
                fields.push(one.message.clone());
            }
            fields.push(unknown_field(path));
        }
        fields.extend(twice.map(|one| one.message.clone()));
        Objections { lines, fields }
    }

    /// Of a body that is decoded before anyone asks for its type: fields given twice, then unknown ones.
    pub fn in_turn(duplicates: &[Duplicate], unknown: &[String]) -> Self {
        let (lines, twice) = parted(duplicates);
        let twice = twice.into_iter().map(|one| one.message.clone());
        Objections { lines, fields: twice.chain(unknown.iter().map(unknown_field)).collect() }
    }

    /// Each with a word in front.
    #[must_use]
    pub fn about(mut self, what: &str) -> Self {
        self.fields.iter_mut().for_each(|one| one.insert_str(0, what));
        self
    }

    /// By name, behind others: of an object that a patch has made.
    #[must_use]
    pub fn behind(mut self, others: Objections) -> Self {
        self.fields.sort_unstable();
        Objections { lines: others.lines, fields: others.fields.into_iter().chain(self.fields).collect() }
    }

    pub fn is_empty(&self) -> bool {
        self.lines.is_empty() && self.fields.is_empty()
    }

    pub fn warnings(self) -> Vec<String> {
        self.lines.into_iter().chain(self.fields).collect()
    }
}

impl fmt::Display for Objections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("strict decoding error: ")?;
        if !self.lines.is_empty() {
            write!(f, "yaml: unmarshal errors:\n  {}", self.lines.join("\n  "))?;
        }
        let joint = if self.lines.is_empty() || self.fields.is_empty() { "" } else { ", " };
        write!(f, "{joint}{}", self.fields.join(", "))
    }
}

fn unknown_field(path: impl AsRef<str>) -> String {
    format!("unknown field {:?}", path.as_ref())
}

/// What YAML tells of by its lines, and the rest.
fn parted(duplicates: &[Duplicate]) -> (Vec<String>, Vec<&Duplicate>) {
    let (lines, fields): (Vec<&Duplicate>, _) = duplicates.iter().partition(|one| one.source == Source::Yaml);
    (lines.into_iter().map(|one| one.message.clone()).collect(), fields)
}

/// How many keys of a value come before each of some paths, which are in the order of the value.
fn positions<'a>(value: &Value, paths: &'a [String]) -> Vec<(usize, &'a str)> {
    let mut walk = Walk { path: String::new(), keys: 0, wanted: paths, found: Vec::new() };
    walk.value(value);
    // What stands elsewhere than its path says comes last.
    let left = walk.wanted.iter().map(|path| (usize::MAX, path.as_str()));
    walk.found.into_iter().chain(left).collect()
}

struct Walk<'a> {
    path: String,
    keys: usize,
    wanted: &'a [String],
    found: Vec<(usize, &'a str)>,
}

impl Walk<'_> {
    fn value(&mut self, value: &Value) {
        let length = self.path.len();
        match value {
            Value::Object(members) => {
                for (key, value) in members {
                    if length > 0 {
                        self.path.push('.');
                    }
                    self.path.push_str(key);
                    if let Some((next, rest)) = self.wanted.split_first().filter(|(next, _)| **next == self.path) {
                        self.found.push((self.keys, next));
                        self.wanted = rest;
                    }
                    self.keys += 1;
                    self.value(value);
                    self.path.truncate(length);
                }
            }
            Value::Array(items) => {
                for (index, value) in items.iter().enumerate() {
                    self.path.push_str(&format!("[{index}]"));
                    self.value(value);
                    self.path.truncate(length);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{builtin, decode_json, decode_yaml, ids};

    const DEPLOYMENT: &str = r#"{
        "metadata": {"name": "a", "name": "b", "unknownMeta": 1},
        "spec": {
            "unknown1": 1, "unknownDupe": 1, "unknownDupe": 2, "paused": true, "paused": false,
            "template": {"spec": {"containers": [{"unknownNested": 1, "imagePullPolicy": "Always", "imagePullPolicy": "Never"}]}}
        }
    }"#;

    #[test]
    fn a_refusal_names_fields_in_the_order_of_the_document() {
        let document = decode_json(DEPLOYMENT.as_bytes()).unwrap();
        let objections = builtin().check_document(ids::APPS_V1_DEPLOYMENT, &document).unwrap();
        let expected = [
            r#"duplicate field "metadata.name""#,
            r#"unknown field "metadata.unknownMeta""#,
            r#"unknown field "spec.unknown1""#,
            r#"unknown field "spec.unknownDupe""#,
            r#"duplicate field "spec.paused""#,
            r#"unknown field "spec.template.spec.containers[0].unknownNested""#,
            r#"duplicate field "spec.template.spec.containers[0].imagePullPolicy""#,
        ];
        assert_eq!(objections.to_string(), format!("strict decoding error: {}", expected.join(", ")));
        assert_eq!(objections.warnings(), expected);
    }

    #[test]
    fn a_refusal_of_yaml_names_lines_then_fields_by_name() {
        let text = "metadata:\n  name: a\n  name: b\nspec:\n  unknownDupe: 1\n  unknownDupe: 2\n  template: {foo: 1}\n";
        let document = decode_yaml(text.as_bytes()).unwrap();
        let objections = builtin().check_document(ids::APPS_V1_DEPLOYMENT, &document).unwrap();
        assert_eq!(
            objections.to_string(),
            "strict decoding error: yaml: unmarshal errors:\n  line 3: key \"name\" already set in map\n  line 6: key \
             \"unknownDupe\" already set in map, unknown field \"spec.template.foo\", unknown field \"spec.unknownDupe\""
        );
        assert_eq!(objections.warnings().len(), 4);
    }

    #[test]
    fn what_a_patch_made_is_told_behind_the_patch() {
        let patch = decode_json(br#"{"z": 1, "a": {"b": 1, "b": 2}}"#).unwrap();
        let made = Objections::in_turn(&[], &["z".to_owned(), "a.c".to_owned()]);
        let all = made.behind(Objections::in_turn(&patch.duplicates, &[]));
        let expected = r#"strict decoding error: duplicate field "a.b", unknown field "a.c", unknown field "z""#;
        assert_eq!(all.to_string(), expected);
    }
}
