//! What a mutating webhook makes of the object it was shown. Pure.

use kontiki_schema::{PatchError, json_patch};
use serde_json::Value;

use super::{
    call::{Failed, UNANSWERED},
    review::Patch,
};
use crate::{failure, rest::Refusal};

/// The object that a webhook was shown, after its patch. None: it stays as it is.
pub fn apply(webhook: &str, shown: Option<&Value>, patch: Option<&Patch>) -> Result<Option<Value>, Failed> {
    let Some(patch) = patch.filter(|patch| !is_empty(&patch.body)) else { return Ok(None) };
    let Some(shown) = shown else {
        let why = "attempted to modify the object, which is not supported for this operation";
        return Err(internal(format!("admission webhook {webhook:?} {why}")));
    };
    if patch.r#type != "JSONPatch" {
        return Err(unusable(format!("unsupported patch type {:?}", patch.r#type)));
    }
    json_patch(shown, &patch.body).map(Some).map_err(|error| match error {
        PatchError::BadRequest(why) | PatchError::TooLarge(why) => {
            let why = why.strip_prefix("error decoding patch: ").unwrap_or(&why);
            unusable(format!("received undecodable patch in webhook response: {why}"))
        }
        PatchError::Unprocessable(why) | PatchError::Internal(why) => internal(why),
    })
}

fn is_empty(patch: &[u8]) -> bool {
    serde_json::from_slice::<Vec<Value>>(patch).is_ok_and(|operations| operations.is_empty())
}

fn internal(why: impl std::fmt::Display) -> Failed {
    Failed::Internal(Refusal::Final(failure::internal(why)))
}

fn unusable(why: String) -> Failed {
    Failed::Unasked { why, code: UNANSWERED }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn told(failed: Failed) -> String {
        match failed {
            Failed::Unasked { why, .. } => why,
            Failed::Denied(refusal) | Failed::Internal(refusal) => match refusal {
                Refusal::Final(status) | Refusal::Judged(status) => status.message,
                Refusal::Raced => "raced".to_owned(),
            },
        }
    }

    #[test]
    fn what_a_patch_makes_of_an_object_or_why_it_does_not() {
        let object = json!({"a": 1});
        let patch =
            |r#type: &str, body: &str| Some(Patch { r#type: r#type.to_owned(), body: body.as_bytes().to_vec() });
        let add = r#"[{"op": "add", "path": "/b", "value": 2}]"#;
        let table = [
            (Some(&object), None, Ok(None)),
            (Some(&object), patch("JSONPatch", "[]"), Ok(None)),
            (None, patch("JSONPatch", "[]"), Ok(None)),
            (Some(&object), patch("JSONPatch", add), Ok(Some(json!({"a": 1, "b": 2})))),
            (
                None,
                patch("JSONPatch", add),
                Err(
                    "Internal error occurred: admission webhook \"w\" attempted to modify the object, which is not supported for \
                     this operation",
                ),
            ),
            (Some(&object), patch("Merge", add), Err("unsupported patch type \"Merge\"")),
            (
                Some(&object),
                patch("JSONPatch", "{"),
                Err("received undecodable patch in webhook response: unexpected end of JSON input"),
            ),
        ];
        for (shown, patch, expected) in table {
            assert_eq!(apply("w", shown, patch.as_ref()).map_err(told), expected.map_err(str::to_owned), "{patch:?}");
        }
    }
}
