//! PUT of an object or of its status.

use http::StatusCode;
use kontiki_model::Status;

use super::{
    call::Call,
    decode::{self, Decoded},
    options::WriteOptions,
    ownership::Managed,
    plan::{self, Effect, Planned, Write},
    render,
    update::{Rules, Update, Wanted},
    view::View,
};
use crate::{negotiate::Offer, request::ApiResponse};

/// An object to stand in the place of a stored one.
pub struct Replacement<'a> {
    name: &'a str,
    rules: Rules,
    wanted: Decoded,
}

pub async fn put(call: &Call<'_>, rules: Rules) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Object)?;
    let options = WriteOptions::read(call.request, "UpdateOptions")?;
    let replacement = Replacement::read(call, rules, options)?;
    let written = plan::carry_out(call, replacement.name, &replacement, options.dry_run).await?;
    let code = match written.effect {
        Effect::Created => StatusCode::CREATED,
        Effect::Updated | Effect::Unchanged | Effect::Deleted => StatusCode::OK,
    };
    render::written(call, form, code, &written.stored, written.warnings.iter())
}

impl<'a> Replacement<'a> {
    pub fn read(call: &Call<'a>, rules: Rules, options: WriteOptions) -> Result<Self, Status> {
        let name = call.name()?;
        let mut wanted = decode::body(call, call.expected(), options.field_validation)?;
        decode::named(&wanted.object, name)?;
        decode::place(call, &mut wanted.object)?;
        Ok(Replacement { name, rules, wanted })
    }
}

impl Write for Replacement<'_> {
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a> {
        let Decoded { object, warnings } = &self.wanted;
        let make = |_: Option<&serde_json::Value>| {
            Ok(Wanted { object: object.clone(), warnings: warnings.clone(), managed: Managed::ByChange })
        };
        Box::pin(async move {
            let update = Update { name: self.name, rules: self.rules, make: &make, uid_is_precondition: true };
            update.plan(call, view).await
        })
    }
}
