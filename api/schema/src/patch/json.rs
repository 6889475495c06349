//! RFC 6902, through the json-patch crate.

use json_patch::PatchOperation;
use serde_json::Value;

use super::PatchError;
use crate::decode::decode_json;
use crate::go;

/// Operations one JSON patch may hold.
const OPERATIONS_MAX: usize = 10_000;

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
        let count = list.len();
        let message = format!("The allowed maximum operations in a JSON patch is {OPERATIONS_MAX}, got {count}");
        return Err(PatchError::TooLarge(message));
    }
    let unprocessable = |error: &dyn std::error::Error| PatchError::Unprocessable(error.to_string());
    let operations: Vec<PatchOperation> = list
        .into_iter()
        .map(serde_json::from_value)
        .collect::<Result<_, _>>()
        .map_err(|error| unprocessable(&error))?;
    let mut value = original.clone();
    json_patch::patch(&mut value, &operations).map_err(|error| unprocessable(&error))?;
    Ok(value)
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
}
