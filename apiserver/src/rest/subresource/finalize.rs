//! `namespaces/finalize`: the only way to change `spec.finalizers`.

use http::StatusCode;
use kontiki_kinds::Subresource;
use kontiki_model::Status;
use serde_json::Value;

use super::super::{
    call::Call,
    decode,
    object::{self, text},
    options::WriteOptions,
    ownership::Managed,
    render,
    update::{self, Rules, Update, Wanted},
};
use crate::{negotiate::Offer, request::ApiResponse};

pub async fn finalize(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Object)?;
    let options = WriteOptions::read(call.request, "UpdateOptions")?;
    let name = call.name()?;
    let decoded = decode::body(call, call.expected(), options.field_validation)?;
    decode::named(&decoded.object, name)?;
    let make = |old: Option<&Value>| {
        let mut object = old.ok_or_else(|| call.not_found(name))?.clone();
        object["spec"]["finalizers"] = decoded.object.pointer("/spec/finalizers").cloned().unwrap_or_default();
        for member in ["uid", "resourceVersion"] {
            let given = text(&decoded.object, &format!("/metadata/{member}")).to_owned();
            if !given.is_empty() {
                object::metadata(&mut object).insert(member.to_owned(), given.into());
            }
        }
        Ok(Wanted { object, warnings: Vec::new(), managed: Managed::ByChange })
    };
    let change = Update { name, rules: Rules::Edit(Subresource::Finalize), make: &make, uid_is_precondition: true };
    let updated = update::update(call, &change, options.dry_run).await?;
    let warnings = decoded.warnings.iter().chain(&updated.warnings);
    render::written(call, form, StatusCode::OK, &updated.stored, warnings)
}
