//! `…/scale`: the replicas of any workload as one `autoscaling/v1 Scale`, so that an autoscaler needs to know no kind.

use http::StatusCode;
use kontiki_kinds::Scale;
use kontiki_model::{Faults, LabelSelector, Status};
use kontiki_schema::{Schema, ids};
use serde_json::{Value, json};

use super::super::{
    call::{Call, Expected},
    decode,
    object::{self, text},
    options::WriteOptions,
    patch::Patch,
    plan::Written,
    read::{self, AsOf},
    update::{self, Rules, Update, Wanted},
};
use crate::{
    content,
    failure::{self, Qualified},
    negotiate::{self, Form, Offer},
    request::ApiResponse,
};

const GROUP: &str = "autoscaling";
const KIND: &str = "Scale";

/// What is put, and what a patch must make.
fn expected() -> Expected<'static> {
    Expected { group: GROUP, version: "v1", kind: KIND, schema: Schema::builtin(ids::AUTOSCALING_V1_SCALE) }
}

pub async fn get(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = negotiate::negotiate(call.request, Offer::Document)?;
    let name = call.name()?;
    let stored = read::stored(call, name, AsOf::Newest).await?;
    content::answer_value(StatusCode::OK, form, &scale_of(fields(call)?, &object::open(&stored)?))
}

pub async fn put(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = negotiate::negotiate(call.request, Offer::Document)?;
    let options = WriteOptions::read(call.request, "UpdateOptions")?;
    let mut decoded = decode::body(call, expected(), options.field_validation)?;
    decode::named(&decoded.object, call.name()?)?;
    decode::place(call, &mut decoded.object)?;
    let scale = |_: &Value| Ok(decoded.object.clone());
    let updated = set(call, &scale, true, options).await?;
    answer(call, form, &updated, &decoded.warnings)
}

pub async fn patch(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = negotiate::negotiate(call.request, Offer::Document)?;
    let patch = Patch::read(call)?;
    let options = WriteOptions::read(call.request, "PatchOptions")?;
    let (name, fields) = (call.name()?, fields(call)?);
    let scale = |old: &Value| {
        let mut scale = patch.apply(expected(), &scale_of(fields, old), options.field_validation)?.object;
        decode::named(&scale, name)?;
        decode::place(call, &mut scale)?;
        Ok(scale)
    };
    let updated = set(call, &scale, false, options).await?;
    answer(call, form, &updated, &[])
}

fn fields(call: &Call<'_>) -> Result<Scale, Status> {
    call.kind.scale.ok_or_else(failure::no_such_resource)
}

fn answer(call: &Call<'_>, form: Form, updated: &Written, warnings: &[String]) -> Result<ApiResponse, Status> {
    let scale = scale_of(fields(call)?, &object::open(&updated.stored)?);
    let mut response = content::answer_value(StatusCode::OK, form, &scale)?;
    warnings.iter().chain(&updated.warnings).for_each(|warning| content::warn(&mut response, warning));
    Ok(response)
}

/// Writes the replicas of a Scale into the object it is about.
async fn set(
    call: &Call<'_>,
    scale: &(dyn Fn(&Value) -> Result<Value, Status> + Sync),
    uid_is_precondition: bool,
    options: WriteOptions,
) -> Result<Written, Status> {
    let (name, fields) = (call.name()?, fields(call)?);
    let make = |old: Option<&Value>| {
        let old = old.ok_or_else(|| call.not_found(name))?;
        let scale = scale(old)?;
        let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or_default();
        if replicas < 0 {
            let mut faults = Faults::default();
            faults.invalid("spec.replicas", replicas, "must be greater than or equal to 0");
            return Err(failure::invalid(Qualified { group: GROUP, resource: KIND }, name, &faults));
        }
        let mut object = old.clone();
        let place = fields.spec_replicas.rsplit_once('/').and_then(|(parent, member)| {
            let parent = object.pointer_mut(parent)?.as_object_mut()?;
            parent.insert(member.to_owned(), replicas.into())
        });
        debug_assert!(place.is_some(), "defaults give every scalable kind its replicas");
        for member in ["uid", "resourceVersion"] {
            let given = text(&scale, &format!("/metadata/{member}")).to_owned();
            object::metadata(&mut object).insert(member.to_owned(), given.into());
        }
        Ok(Wanted { object, warnings: Vec::new() })
    };
    let change = Update { name, rules: Rules::Main, make: &make, uid_is_precondition };
    update::update(call, &change, options.dry_run).await
}

fn scale_of(fields: Scale, object: &Value) -> Value {
    let number = |pointer: &str| object.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let mut metadata = json!({});
    for member in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        if let Some(value) = object.pointer(&format!("/metadata/{member}")) {
            metadata[member] = value.clone();
        }
    }
    let mut scale = json!({
        "kind": KIND, "apiVersion": "autoscaling/v1", "metadata": metadata,
        "spec": {}, "status": {"replicas": number(fields.status_replicas)},
    });
    let replicas = number(fields.spec_replicas);
    if replicas != 0 {
        scale["spec"]["replicas"] = replicas.into();
    }
    // Validation let only sound selectors in; absent, it is left out.
    if let Some(Ok(selector)) = object.pointer(fields.selector).map(LabelSelector::from_json) {
        scale["status"]["selector"] = selector.to_string().into();
    }
    scale
}
