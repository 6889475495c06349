//! `…/scale`: the replicas of any workload as one `autoscaling/v1 Scale`, so that an autoscaler needs to know no kind.

use http::StatusCode;
use kontiki_kinds::{Kind, Scale, SelectorForm, Subresource};
use kontiki_model::{Faults, LabelSelector, Status};
use kontiki_schema::{
    Schema, ids,
    managed::{
        FieldManager, ManagedFields, Reach,
        scale::{self, Replicas},
    },
};
use serde_json::{Value, json};

use super::super::{
    call::{self, Call, Expected},
    conversion, decode,
    object::{self, text},
    options::WriteOptions,
    ownership::{self, Managed},
    patch::{self, Patch},
    plan::Written,
    read::{self, AsOf},
    render::{self, IncludeObject},
    server_side_apply::Configuration,
    update::{self, Rules, Update, Wanted},
};
use crate::{
    content,
    failure::{self, Qualified},
    negotiate::{Form, Offer, Shape},
    request::ApiResponse,
};

const GROUP: &str = "autoscaling";
const KIND: &str = "Scale";

/// What is put, and what a patch must make.
fn expected() -> Expected<'static> {
    Expected { group: GROUP, version: "v1", kind: KIND, schema: Schema::builtin(ids::AUTOSCALING_V1_SCALE) }
}

pub async fn get(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Object)?;
    let name = call.name()?;
    let stored = read::stored(call, name, AsOf::Newest).await?;
    let object = object::open(&*conversion::told(call.core, call.kind, &stored).await?)?;
    told(call, form, &scale_of(fields(call.kind)?, &object))
}

pub async fn put(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Object)?;
    let options = WriteOptions::read(call.request, "UpdateOptions")?;
    let decoded = decode::body(call, expected(), options.field_validation)?;
    decode::named(&decoded.object, call.name()?)?;
    let scale = |_: &Value| Ok(decoded.object.clone());
    let updated = set(call, &Change::Written(&scale), true, options).await?;
    answer(call, form, &updated, &decoded.warnings)
}

pub async fn patch(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Object)?;
    if patch::applies(call) {
        let options = WriteOptions::read_patch(call.request, true)?;
        let configuration = Configuration::read(call, expected(), options)?;
        let updated = set(call, &Change::Applied(&configuration), false, options).await?;
        return answer(call, form, &updated, configuration.warnings());
    }
    let patch = Patch::read(call)?;
    let options = WriteOptions::read_patch(call.request, false)?;
    let scale = |old: &Value| Ok(patch.apply(expected(), old, options.field_validation)?.object);
    let updated = set(call, &Change::Written(&scale), false, options).await?;
    answer(call, form, &updated, &[])
}

fn fields(kind: &Kind) -> Result<Scale, Status> {
    kind.scale.ok_or_else(failure::no_such_resource)
}

/// The Scale of an object.
pub fn of(kind: &Kind, object: &Value) -> Result<Value, Status> {
    Ok(scale_of(fields(kind)?, object))
}

/// Writes the replicas of a Scale into the object it is about.
pub fn put_into(kind: &Kind, object: &mut Value, scale: &Value) -> Result<(), Status> {
    let fields = fields(kind)?;
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64).unwrap_or_default();
    if replicas < 0 {
        let mut faults = Faults::default();
        faults.invalid("spec.replicas", replicas, "must be greater than or equal to 0");
        let name = text(scale, "/metadata/name");
        return Err(failure::invalid(Qualified { group: GROUP, resource: KIND }, name, &faults));
    }
    let place = fields.spec_replicas.rsplit_once('/').and_then(|(parent, member)| {
        object.pointer_mut(parent)?.as_object_mut()?.insert(member.to_owned(), replicas.into());
        Some(())
    });
    place.ok_or_else(|| {
        let path = fields.spec_replicas.replace('/', ".");
        failure::internal(format!("the spec replicas field {path:?} does not exist"))
    })
}

fn answer(call: &Call<'_>, form: Form, updated: &Written, warnings: &[String]) -> Result<ApiResponse, Status> {
    let object = object::open(&*object::told(call.kind, &updated.stored)?)?;
    let scale = scale_of(fields(call.kind)?, &object);
    let mut response = told(call, form, &scale)?;
    warnings.iter().chain(&updated.warnings).for_each(|warning| content::warn(&mut response, warning));
    Ok(response)
}

/// A Scale in the negotiated form.
fn told(call: &Call<'_>, form: Form, scale: &Value) -> Result<ApiResponse, Status> {
    let version = form.meta.api_version();
    let metadata = || json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": scale["metadata"]});
    match form.shape {
        Shape::Object => content::answer_value(StatusCode::OK, form, scale),
        Shape::PartialMetadata => content::answer_value(StatusCode::OK, form, &metadata()),
        Shape::Table => {
            let object = match render::include_object(call)? {
                IncludeObject::None => Value::Null,
                IncludeObject::Metadata => metadata(),
                IncludeObject::Object => scale.clone(),
            };
            content::answer_value(StatusCode::OK, form, &table(call, version, scale, &object))
        }
        Shape::PartialMetadataList | Shape::AggregatedDiscovery => Err(render::no_list("autoscaling.Scale")),
    }
}

/// What is wanted and what is there, as a Table.
fn table(call: &Call<'_>, version: &str, scale: &Value, object: &Value) -> Value {
    // The columns of custom kinds are such as a definition could have.
    let (name, age) = if call.kind.custom.is_some() { ("name", "date") } else { ("", "string") };
    let number = |pointer: &str| scale.pointer(pointer).and_then(Value::as_i64).unwrap_or_default();
    let created = &scale["metadata"]["creationTimestamp"];
    json!({
        "kind": "Table", "apiVersion": version,
        "metadata": {"resourceVersion": scale["metadata"]["resourceVersion"]},
        "columnDefinitions": [
            column("Name", "string", name, "Name of the object that is scaled."),
            column("Desired", "integer", "", "Replicas that are wanted."),
            column("Available", "integer", "", "Replicas that are there."),
            column("Age", age, "", "Time since the object was made."),
        ],
        "rows": [{
            "cells": [
                scale["metadata"]["name"], number("/spec/replicas"), number("/status/replicas"),
                kontiki_kinds::age(created, call.now()),
            ],
            "object": object,
        }],
    })
}

fn column(name: &str, r#type: &str, format: &str, description: &str) -> Value {
    json!({"name": name, "type": r#type, "format": format, "description": description, "priority": 0})
}

/// How a Scale changes.
enum Change<'a> {
    /// From what it is to what it becomes.
    Written(&'a (dyn Fn(&Value) -> Result<Value, Status> + Sync)),
    Applied(&'a Configuration),
}

impl Change<'_> {
    /// The Scale afterwards, and who says its replicas.
    fn of(&self, call: &Call<'_>, old: &Value, mut managed: ManagedFields) -> Result<(Value, ManagedFields), Status> {
        let now = call::time_text(call::now());
        let (api_version, subresource) = (scale::API_VERSION, Subresource::Scale.name());
        let schema = expected().schema;
        let manager = FieldManager { schema, api_version, subresource, reach: Reach::ALL, now: &now, versions: &() };
        let scale = match self {
            Change::Written(scale) => scale(old)?,
            Change::Applied(configuration) => return configuration.apply(&manager, old, &managed),
        };
        let mut canonical = scale.clone();
        schema.canonical(&mut canonical);
        if !managed.is_empty() {
            let change = manager.change(old, &canonical);
            manager.update(&change, &mut managed, &ownership::manager_name(call.request));
        }
        Ok((scale, managed))
    }
}

/// Writes the replicas of a Scale into the object it is about.
async fn set(
    call: &Call<'_>,
    change: &Change<'_>,
    uid_is_precondition: bool,
    options: WriteOptions,
) -> Result<Written, Status> {
    let (name, fields) = (call.name()?, fields(call.kind)?);
    let path: Vec<&str> = fields.spec_replicas.split('/').skip(1).collect();
    let api_version = call.kind.group_version();
    let make = |old: Option<&Value>| {
        let old = old.ok_or_else(|| call.not_found(name))?;
        let replicas_of = Replicas { api_version: &api_version, path: &path };
        let managed = ownership::managers(old);
        let (mut scale, scaled) = change.of(call, &scale_of(fields, old), replicas_of.to_scale(&managed))?;
        decode::named(&scale, name)?;
        decode::place(call, &mut scale)?;
        let managed = replicas_of.to_object(&managed, &scaled);
        let mut object = old.clone();
        put_into(call.kind, &mut object, &scale)?;
        for member in ["uid", "resourceVersion"] {
            // Who says neither means the object as it is.
            let given = text(&scale, &format!("/metadata/{member}"));
            if !given.is_empty() {
                object::metadata(&mut object).insert(member.to_owned(), given.into());
            }
        }
        Ok(Wanted { object, warnings: Vec::new(), managed: Managed::As(managed.encode()) })
    };
    let update = Update { name, rules: Rules::Main, make: &make, uid_is_precondition };
    update::update(call, &update, options.dry_run).await
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
        "kind": KIND, "apiVersion": scale::API_VERSION, "metadata": metadata,
        "spec": {}, "status": {"replicas": number(fields.status_replicas)},
    });
    let replicas = number(fields.spec_replicas);
    if replicas != 0 {
        scale["spec"]["replicas"] = replicas.into();
    }
    // Validation let only sound selectors in; absent, it is left out.
    let selector = object.pointer(fields.selector).and_then(|selector| match fields.selector_form {
        SelectorForm::Requirements => LabelSelector::from_json(selector).ok().map(|selector| selector.to_string()),
        SelectorForm::Labels => selector.as_object().map(|labels| {
            let labels = labels.iter().map(|(key, value)| (key.as_str(), value.as_str().unwrap_or_default()));
            LabelSelector::from_labels(labels).to_string()
        }),
        SelectorForm::Text => selector.as_str().map(str::to_owned),
    });
    if let Some(selector) = selector {
        scale["status"]["selector"] = selector.into();
    }
    scale
}
