//! A transaction as it comes: what its body says, and nothing of what that means.

use kontiki_model::Status;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::KIND;
use crate::{
    content, failure,
    kontiki::{
        GROUP_VERSION,
        object::{Object, why},
    },
    limits,
    request::ApiRequest,
    rest::Verb,
};

const JSON: &str = "application/json";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Transaction {
    kind: String,
    api_version: String,
    /// Where objects go that name none.
    #[serde(default)]
    pub namespace: Option<String>,
    pub operations: Vec<Object<TransactionOperation>>,
}

/// One operation as it comes.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct TransactionOperation {
    pub verb: Verb,
    /// apply, create, update: the object.
    pub object: Option<Box<RawValue>>,
    /// check, delete, patch: which one.
    pub target: Option<Object<ObjectReference>>,
    /// update, patch: `status`.
    #[serde(default)]
    pub subresource: Option<String>,
    pub patch: Option<Box<RawValue>>,
    /// The media type of a PATCH; absent, a strategic merge patch.
    pub patch_type: Option<String>,
    #[serde(default)]
    pub preconditions: Object<Preconditions>,
    pub propagation_policy: Option<String>,
    pub grace_period_seconds: Option<i64>,
}

#[derive(Clone, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Preconditions {
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct ObjectReference {
    pub api_version: String,
    pub kind: String,
    #[serde(default)]
    pub namespace: Option<String>,
    pub name: String,
}

/// What an object says of itself.
#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct TypeMeta {
    #[serde(default)]
    pub api_version: String,
    #[serde(default)]
    pub kind: String,
    #[serde(default)]
    pub metadata: Option<Object<ObjectMeta>>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ObjectMeta {
    pub namespace: Option<String>,
    pub name: Option<String>,
}

pub fn read(request: &ApiRequest, bytes: &[u8]) -> Result<Transaction, Status> {
    let refused = |error: &dyn std::fmt::Display| {
        failure::bad_request(format!("{KIND} in version \"v1\" cannot be handled as a {KIND}: {error}"))
    };
    let Object(transaction): Object<Transaction> = match content::media_type(&request.headers) {
        "" | JSON => serde_json::from_slice(bytes).map_err(|error| refused(&why(&error)))?,
        "application/yaml" => {
            let document = kontiki_schema::decode_yaml(bytes).map_err(|error| refused(&error))?;
            serde_json::from_str(&document.value.to_string()).map_err(|error| refused(&why(&error)))?
        }
        _ => return Err(failure::unsupported_media(&[JSON, "application/yaml"])),
    };
    if transaction.kind != KIND || transaction.api_version != GROUP_VERSION {
        return Err(refused(&format!("the body must be a {KIND} of {GROUP_VERSION}")));
    }
    match transaction.operations.len() {
        0 => Err(refused(&"operations: Required value")),
        many if many > limits::TRANSACTION_OPERATIONS_MAX => Err(failure::too_many_operations(format!(
            "the transaction has {many} operations; the limit is {}",
            limits::TRANSACTION_OPERATIONS_MAX
        ))),
        _ => Ok(transaction),
    }
}
