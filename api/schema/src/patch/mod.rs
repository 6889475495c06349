//! The patch types that work on values: JSON patch, merge patch, strategic merge patch, and the patch that `apply` makes.
//! They compute a new value and say how a refusal is answered; checking the result is the caller's.

mod json;
mod merge;
mod strategic;
mod three_way;

pub use json::{json_operations, json_patch, json_patch_objections};
pub use merge::merge_patch;

use serde_json::{Map, Value};

use crate::decode::{Document, decode_json};
use crate::go;

/// Why a patch was refused, by the answer Kubernetes gives.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PatchError {
    /// 400 BadRequest with this message.
    #[error("{0}")]
    BadRequest(String),
    /// 413 RequestEntityTooLarge with this message.
    #[error("{0}")]
    TooLarge(String),
    /// 422 with the generic text, whatever was wrong; the message is for logs.
    #[error("{0}")]
    Unprocessable(String),
    /// 500 without a reason and with this message.
    #[error("{0}")]
    Internal(String),
}

/// Reads the body of a merge patch or a strategic merge patch, which must be an object.
pub fn decode_patch(bytes: &[u8]) -> Result<Document, PatchError> {
    let document =
        decode_json(bytes).map_err(|error| PatchError::BadRequest(format!("error decoding patch: {error}")))?;
    if document.value.is_object() {
        return Ok(document);
    }
    let word = go::json_word(&document.value, false);
    let message =
        format!("error decoding patch: json: cannot unmarshal {word} into Go value of type map[string]interface {{}}");
    Err(PatchError::BadRequest(message))
}

/// Removes what is null in the patch, in one pass: each removal by itself moves all that stands behind it.
fn without_nulls_of(members: &mut Map<String, Value>, patch: &Map<String, Value>) {
    if patch.values().any(Value::is_null) {
        members.retain(|name, _| !patch.get(name).is_some_and(Value::is_null));
    }
}
