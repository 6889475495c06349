//! PUT of an object or of its status.

use http::StatusCode;
use kontiki_model::Status;

use super::{
    call::Call,
    decode,
    options::WriteOptions,
    render,
    update::{self, Rules, Update, Wanted},
};
use crate::{
    negotiate::{self, Offer},
    request::ApiResponse,
};

pub async fn put(call: &Call<'_>, rules: Rules) -> Result<ApiResponse, Status> {
    let form = negotiate::negotiate(call.request, Offer::Object)?;
    let options = WriteOptions::read(call.request, "UpdateOptions")?;
    let name = call.name()?;
    let mut decoded = decode::body(call, call.expected(), options.field_validation)?;
    decode::named(&decoded.object, name)?;
    decode::place(call, &mut decoded.object)?;
    let make = |_: Option<&serde_json::Value>| Ok(Wanted { object: decoded.object.clone(), warnings: Vec::new() });
    let change = Update { name, rules, make: &make, uid_is_precondition: true, dry_run: options.dry_run };
    let updated = update::update(call, &change).await?;
    let code = if updated.created { StatusCode::CREATED } else { StatusCode::OK };
    let warnings = decoded.warnings.iter().chain(&updated.warnings);
    render::written(call, form, code, &updated.stored, warnings)
}
