//! `pods/eviction`: a DELETE that asks first. No disruption budget exists yet, so nothing objects.

use http::StatusCode;
use kontiki_model::Status;
use kontiki_schema::{Schema, ids};
use serde_json::json;

use super::super::{
    call::{Call, Expected},
    decode,
    delete::{self, success},
    object::text,
    options::{DeleteOptions, WriteOptions},
};
use crate::{
    content, failure,
    negotiate::{self, Offer},
    request::ApiResponse,
};

/// What is posted.
fn eviction() -> Expected<'static> {
    Expected { group: "policy", version: "v1", kind: "Eviction", schema: Schema::builtin(ids::POLICY_V1_EVICTION) }
}

pub async fn evict(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = negotiate::negotiate(call.request, Offer::Document)?;
    let options = WriteOptions::read(call.request, "CreateOptions")?;
    let name = call.name()?;
    let mut eviction = decode::body(call, eviction(), options.field_validation)?.object;
    decode::place(call, &mut eviction)?;
    if text(&eviction, "/metadata/name") != name {
        return Err(failure::bad_request("name in URL does not match name in Eviction object"));
    }
    let mut deletion = DeleteOptions::from_value(eviction.get("deleteOptions").unwrap_or(&json!({})))?;
    deletion.dry_run |= options.dry_run;
    delete::remove(call, name, &deletion).await?;
    content::answer_value(StatusCode::CREATED, form, &success(None, Some(StatusCode::CREATED)))
}
