//! RFC 6902, through the json-patch crate.

use json_patch::{PatchErrorKind, PatchOperation};
use serde_json::{Map, Value};

use super::PatchError;
use crate::decode::{DEPTH_MAX, Document, decode_json};
use crate::go;
use crate::strict::{Objections, StrictErrors};

/// What an operation may say.
const MEMBERS: [&str; 4] = ["op", "path", "from", "value"];
/// Operations one JSON patch may hold.
const OPERATIONS_MAX: usize = 10_000;
/// What all its copies may add, as in Kubernetes; and what may be moved, which is looked at each time.
const COPIED_BYTES_MAX: usize = 3 * 1024 * 1024;
const MOVED_BYTES_MAX: usize = 32 * 1024 * 1024;

/// `original` after the patch in `body`, or nothing changed.
pub fn json_patch(original: &Value, body: &[u8]) -> Result<Value, PatchError> {
    let bad = |text: String| PatchError::BadRequest(format!("error decoding patch: {text}"));
    let list = match decode_json(body).map_err(|error| bad(error.0))?.value {
        Value::Array(list) => list,
        other => {
            let word = go::json_word(&other, false);
            return Err(bad(format!("json: cannot unmarshal {word} into Go value of type []handlers.jsonPatchOp")));
        }
    };
    if list.len() > OPERATIONS_MAX {
        return Err(PatchError::TooLarge(too_many(list.len())));
    }
    let changed = operate(original, list)?;
    changed.ok_or_else(|| PatchError::Unprocessable("value did not match".to_owned()))
}

/// What strict field validation has against the operations themselves, of a body that is a patch.
pub fn json_patch_objections(body: &[u8]) -> Objections {
    let document = decode_json(body).unwrap_or_default();
    let mut unknown = StrictErrors::default();
    for (index, operation) in document.value.as_array().into_iter().flatten().enumerate() {
        let members = operation.as_object().into_iter().flat_map(Map::keys);
        let strange = members.filter(|member| !MEMBERS.contains(&member.as_str()));
        strange.for_each(|member| unknown.add(|| format!("[{index}].{member}")));
    }
    // Values are taken as they are.
    let own = |path: &str| path.split_once("].").is_some_and(|(_, member)| MEMBERS.contains(&member));
    let duplicates = document.duplicates.iter().filter(|one| own(&one.path)).cloned().collect();
    let document = Document { value: document.value, duplicates };
    Objections::in_order(&document, unknown.told()).about("json patch ")
}

/// `original` after some operations, or nothing changed; nothing at all where a `test` does not hold.
pub fn json_operations(original: &Value, list: Vec<Value>) -> Result<Option<Value>, PatchError> {
    if list.len() > OPERATIONS_MAX {
        return Err(PatchError::TooLarge(too_many(list.len())));
    }
    operate(original, list)
}

fn too_many(count: usize) -> String {
    format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}")
}

fn operate(original: &Value, list: Vec<Value>) -> Result<Option<Value>, PatchError> {
    let unprocessable = |error: &dyn std::error::Error| PatchError::Unprocessable(error.to_string());
    let operations: Vec<PatchOperation> = list
        .into_iter()
        .map(serde_json::from_value)
        .collect::<Result<_, _>>()
        .map_err(|error| unprocessable(&error))?;
    let mut value = original.clone();
    let mut growth = Growth::default();
    for operation in &operations {
        growth.admit(&value, operation).map_err(|why| PatchError::Unprocessable(why.to_owned()))?;
        match json_patch::patch(&mut value, std::slice::from_ref(operation)) {
            Ok(()) => {}
            Err(error) if matches!(error.kind, PatchErrorKind::TestFailed) => return Ok(None),
            Err(error) => return Err(unprocessable(&error)),
        }
    }
    Ok(Some(value))
}

/// What a patch has made of a small body: copies of copies double each time, and what is put into what was put there before
/// nests deeper each time.
#[derive(Default)]
struct Growth {
    copied_bytes: usize,
    moved_bytes: usize,
}

impl Growth {
    /// Refuses an operation before it is too late.
    fn admit(&mut self, value: &Value, operation: &PatchOperation) -> Result<(), &'static str> {
        let from = |pointer: &str| value.pointer(pointer).map(Extent::of).unwrap_or_default();
        let (path, extent) = match operation {
            PatchOperation::Add(add) => (&add.path, Extent::of(&add.value)),
            PatchOperation::Replace(replace) => (&replace.path, Extent::of(&replace.value)),
            PatchOperation::Copy(copy) => {
                let extent = from(copy.from.as_str());
                self.copied_bytes += extent.bytes;
                (&copy.path, extent)
            }
            PatchOperation::Move(moving) => {
                let extent = from(moving.from.as_str());
                self.moved_bytes += extent.bytes;
                (&moving.path, extent)
            }
            PatchOperation::Remove(_) | PatchOperation::Test(_) => return Ok(()),
        };
        if self.copied_bytes > COPIED_BYTES_MAX || self.moved_bytes > MOVED_BYTES_MAX {
            return Err("the patch copies or moves too much");
        }
        let above = path.as_str().matches('/').count();
        if above + extent.depth > DEPTH_MAX { Err("exceeded max depth") } else { Ok(()) }
    }
}

/// How large a value is, about, and how deep.
#[derive(Clone, Copy, Default)]
struct Extent {
    bytes: usize,
    depth: usize,
}

impl Extent {
    fn of(value: &Value) -> Self {
        let within = |values: &mut dyn Iterator<Item = Extent>| {
            let inner = values.fold(Extent::default(), |sum, one| Extent {
                bytes: sum.bytes + one.bytes + 1,
                depth: sum.depth.max(one.depth),
            });
            Extent { bytes: inner.bytes + 2, depth: inner.depth + 1 }
        };
        match value {
            Value::Null | Value::Bool(_) | Value::Number(_) => Extent { bytes: 4, depth: 0 },
            Value::String(text) => Extent { bytes: text.len() + 2, depth: 0 },
            Value::Array(items) => within(&mut items.iter().map(Extent::of)),
            Value::Object(members) => within(&mut members.iter().map(|(name, value)| {
                let extent = Extent::of(value);
                Extent { bytes: extent.bytes + name.len() + 3, ..extent }
            })),
        }
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn operations_apply_together_or_not_at_all() {
        let original = json!({"data": {"a": "1"}});
        let body = br#"[{"op":"test","path":"/data/a","value":"1"},{"op":"add","path":"/data/x~1y","value":"2"},
            {"op":"move","from":"/data/a","path":"/data/b"}]"#;
        assert_eq!(json_patch(&original, body).unwrap(), json!({"data": {"x/y": "2", "b": "1"}}));
        for body in [
            r#"[{"op":"test","path":"/data/a","value":"nope"}]"#,
            r#"[{"op":"remove","path":"/data/zz"}]"#,
            r#"[{"op":"replace","path":"/nope/zz","value":1}]"#,
            r#"[{"op":"frob","path":"/data"}]"#,
        ] {
            let refused = json_patch(&original, body.as_bytes());
            assert!(matches!(refused, Err(PatchError::Unprocessable(_))), "{body}: {refused:?}");
        }
    }

    #[test]
    fn a_test_that_does_not_hold_is_no_fault_of_operations() {
        let original = json!({"data": {"a": "1"}});
        let test = |value: &str| json!({"op": "test", "path": "/data/a", "value": value});
        let remove = json!({"op": "remove", "path": "/data/a"});
        assert_eq!(json_operations(&original, vec![test("1"), remove.clone()]), Ok(Some(json!({"data": {}}))));
        assert!(json_operations(&original, vec![remove.clone(), test("1")]).is_err());
        assert_eq!(json_operations(&original, vec![test("2"), remove]), Ok(None));
    }

    #[test]
    fn bodies_that_are_no_patch_are_refused_in_kubernetes_words() {
        let refuse = |body: &str| json_patch(&json!({}), body.as_bytes()).unwrap_err();
        let message =
            "error decoding patch: json: cannot unmarshal object into Go value of type []handlers.jsonPatchOp";
        assert_eq!(refuse(r#"{"op":"add"}"#), PatchError::BadRequest(message.to_owned()));
        assert_eq!(
            refuse("["),
            PatchError::BadRequest("error decoding patch: unexpected end of JSON input".to_owned())
        );
        let many = format!("[{}{{}}]", "{},".repeat(OPERATIONS_MAX));
        assert!(matches!(refuse(&many), PatchError::TooLarge(_)));
    }

    #[test]
    fn operations_are_validated_too() {
        let body =
            br#"[{"op":"add","path":"/a","value":{"x":1,"x":2},"foo":"bar"},{"op":"add","path":"/a","path":"/b"}]"#;
        assert_eq!(
            json_patch_objections(body).warnings(),
            [r#"json patch unknown field "[0].foo""#, r#"json patch duplicate field "[1].path""#]
        );
        assert!(json_patch_objections(b"[{}]").is_empty());
    }

    #[test]
    fn a_small_patch_makes_no_large_object() {
        let refused = |operations: Vec<String>| {
            let body = format!("[{}]", operations.join(","));
            json_patch(&json!({"data": {"a": "x".repeat(1000)}}), body.as_bytes()).unwrap_err()
        };
        let copies = (0..40).map(|n| format!(r#"{{"op":"copy","from":"/data","path":"/data/c{n}"}}"#));
        let error = PatchError::Unprocessable("the patch copies or moves too much".to_owned());
        assert_eq!(refused(copies.collect()), error);
        // Each puts a deep value at the bottom of the one before.
        let deep = format!("{}1{}", r#"{"a":"#.repeat(100), "}".repeat(100));
        let nested = (0..100).map(|n| format!(r#"{{"op":"add","path":"{}/a","value":{deep}}}"#, "/a".repeat(n * 100)));
        assert_eq!(refused(nested.collect()), PatchError::Unprocessable("exceeded max depth".to_owned()));
        let moves = (0..10).flat_map(|_| {
            [r#"{"op":"move","from":"/data","path":"/b"}"#, r#"{"op":"move","from":"/b","path":"/data"}"#]
                .map(str::to_owned)
        });
        let body = format!("[{}]", moves.collect::<Vec<_>>().join(","));
        assert!(json_patch(&json!({"data": {"a": 1}}), body.as_bytes()).is_ok());
    }
}
