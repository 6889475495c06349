//! PATCH of an object, of its status or of another form of it: JSON patch, merge patch, strategic merge patch. A
//! configuration to be applied goes to `server_side_apply`.

use http::StatusCode;
use kontiki_model::{Faults, Status};
use kontiki_schema::{
    Document, Objections, PatchError, decode_patch, go_print, json_patch, json_patch_objections, merge_patch,
};
use serde_json::{Map, Value};

use super::{
    call::{Call, Expected},
    decode::{self, Decoded},
    options::{FieldValidation, WriteOptions},
    ownership::Managed,
    plan::{self, Planned, Write},
    render, server_side_apply,
    update::{Rules, Update, Wanted},
    view::View,
};
use crate::{
    content,
    failure::{self, Qualified},
    negotiate::Offer,
    request::ApiResponse,
};

/// A patch that was read, to be applied to whatever is stored.
#[derive(Debug)]
pub enum Patch<'a> {
    Json(&'a [u8]),
    Merge(Document),
    Strategic(Document),
}

/// A patch of one object.
pub struct Patching<'a> {
    name: &'a str,
    rules: Rules,
    patch: Patch<'a>,
    options: WriteOptions,
}

pub async fn patch(call: &Call<'_>, rules: Rules) -> Result<ApiResponse, Status> {
    if applies(call) {
        return server_side_apply::apply(call, rules).await;
    }
    let form = call.form(Offer::Object)?;
    let patching = Patching::read(call, rules)?;
    let written = plan::carry_out(call, patching.name, &patching, patching.options.dry_run).await?;
    render::written(call, form, StatusCode::OK, &written.stored, written.warnings.iter())
}

/// Whether the body is a configuration to be applied.
pub fn applies(call: &Call<'_>) -> bool {
    content::media_type(&call.request.headers) == "application/apply-patch+yaml"
}

impl<'a> Patching<'a> {
    pub fn read(call: &Call<'a>, rules: Rules) -> Result<Self, Status> {
        let patch = Patch::read(call)?;
        let options = WriteOptions::read_patch(call.request, false)?;
        Ok(Patching { name: call.name()?, rules, patch, options })
    }
}

impl Write for Patching<'_> {
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a> {
        let make = |old: Option<&Value>| {
            let old = old.ok_or_else(|| call.not_found(self.name))?;
            let Decoded { mut object, warnings } =
                self.patch.apply(call.expected(), old, self.options.field_validation)?;
            decode::named(&object, self.name)?;
            decode::place(call, &mut object)?;
            Ok(Wanted { object, warnings, managed: Managed::ByChange })
        };
        Box::pin(async move {
            let update = Update { name: self.name, rules: self.rules, make: &make, uid_is_precondition: false };
            update.plan(call, view).await
        })
    }
}

impl<'a> Patch<'a> {
    /// The request's patch.
    pub fn read(call: &Call<'a>) -> Result<Self, Status> {
        let bytes = call.request.body.bytes();
        match content::media_type(&call.request.headers) {
            "application/json-patch+json" => Ok(Patch::Json(bytes)),
            "application/merge-patch+json" => decode_patch(bytes).map(Patch::Merge).map_err(refused),
            "application/strategic-merge-patch+json"
                if call.route.subresource.as_deref() == Some("scale") || !call.kind.schema().is_custom() =>
            {
                decode_patch(bytes).map(Patch::Strategic).map_err(refused)
            }
            _ if call.kind.schema().is_custom() => Err(failure::unsupported_custom_patch()),
            _ => Err(failure::unsupported_patch()),
        }
    }

    /// The object after the patch; it fits its type.
    pub fn apply(&self, expected: Expected<'_>, old: &Value, validation: FieldValidation) -> Result<Decoded, Status> {
        let patched = match self {
            Patch::Json(body) => json_patch(old, body).map_err(refused)?,
            Patch::Merge(patch) => merge_patch(old.clone(), patch.value.clone()),
            Patch::Strategic(patch) => {
                let merged =
                    expected.schema.table.strategic_merge(expected.schema.id, old.clone(), patch.value.clone());
                merged.map_err(refused)?
            }
        };
        let of_patch = match self {
            Patch::Json(_) if validation == FieldValidation::Ignore => Objections::default(),
            Patch::Json(body) => json_patch_objections(body),
            Patch::Merge(patch) | Patch::Strategic(patch) => Objections::in_turn(&patch.duplicates, &[]),
        };
        let told = |patched: &Value| match self {
            Patch::Json(_) => sorted(patched, &Value::Null).to_string(),
            Patch::Merge(patch) => sorted(patched, &patch.value).to_string(),
            Patch::Strategic(patch) => go_print(&patch.value),
        };
        let document = Document { value: patched, duplicates: Vec::new() };
        let fits = expected.schema.check_document(&document).map_err(|error| error.0);
        let judged = fits.and_then(|of_object| decode::judge(of_object.behind(of_patch), validation));
        let warnings = judged.map_err(|why| does_not_fit(told(&document.value), &why))?;
        Ok(decode::pruned(expected, document, warnings))
    }
}

/// Go prints the members of the maps that a patch went through sorted by name, and leaves the other values as they were.
fn sorted(object: &Value, patch: &Value) -> Value {
    let Value::Object(members) = object else { return object.clone() };
    let mut members: Vec<_> = members.iter().collect();
    members.sort_by_key(|(name, _)| *name);
    let member = |(name, value): (&String, &Value)| match patch.get(name) {
        Some(inner @ Value::Object(_)) => (name.clone(), sorted(value, inner)),
        _ => (name.clone(), value.clone()),
    };
    Value::Object(members.into_iter().map(member).collect::<Map<_, _>>())
}

fn does_not_fit(told: String, why: &str) -> Status {
    let mut faults = Faults::default();
    faults.invalid("patch", told, why);
    failure::invalid(Qualified { group: "", resource: "" }, "", &faults)
}

pub fn refused(error: PatchError) -> Status {
    match error {
        PatchError::BadRequest(message) => failure::bad_request(message),
        PatchError::TooLarge(message) => failure::too_many_operations(message),
        PatchError::Unprocessable(_) => failure::unprocessable(),
        PatchError::Internal(message) => failure::unexpected(message),
    }
}
