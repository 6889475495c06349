//! `pods/binding`: the scheduler's verdict on where an object runs.

use http::StatusCode;
use kontiki_kinds::{KindRef, Subresource, pod};
use kontiki_model::Status;
use kontiki_schema::{Schema, ids};
use serde_json::{Value, json};

use super::super::{
    call::{self, Call, Expected},
    decode,
    delete::success,
    object::{self, text},
    options::WriteOptions,
    ownership::Managed,
    update::{self, Rules, Update, Wanted},
};
use super::condition;
use crate::{
    admission::{self, Operation},
    content,
    failure::{self, Qualified},
    negotiate::Offer,
    request::{ApiResponse, ResourceRequest},
};

/// What is posted.
fn binding() -> Expected<'static> {
    Expected { group: "", version: "v1", kind: "Binding", schema: Schema::builtin(ids::CORE_V1_BINDING) }
}

/// What may be bound to.
const TARGET_KINDS: [&str; 2] = ["", "Node"];

/// POST to `bindings`, which name their pod themselves.
pub async fn bind_posted(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let options = WriteOptions::read(call.request, "CreateOptions")?;
    let posted = decode::body(call, binding(), options.field_validation)?.object;
    let name = text(&posted, "/metadata/name").to_owned();
    let of_pod = ResourceRequest {
        kind: KindRef::Builtin(&pod::KIND),
        name: Some(name).filter(|name| !name.is_empty()),
        subresource: Some(Subresource::Binding.name().to_owned()),
        ..call.route.clone()
    };
    bind(&Call::new(call.core, &of_pod, call.request)).await
}

pub async fn bind(call: &Call<'_>) -> Result<ApiResponse, Status> {
    let form = call.form(Offer::Document)?;
    let options = WriteOptions::read(call.request, "CreateOptions")?;
    let name = call.name()?;
    let mut binding = decode::body(call, binding(), options.field_validation)?.object;
    decode::place(call, &mut binding)?;
    if text(&binding, "/metadata/name") != name {
        return Err(failure::bad_request("name in URL does not match name in Binding object"));
    }
    let warnings = admission::posted(call, Operation::Create, name, &mut binding, options.dry_run).await?;
    let target = text(&binding, "/target/name");
    let target_kind = text(&binding, "/target/kind");
    if !TARGET_KINDS.contains(&target_kind) {
        let message =
            format!("target.kind: Unsupported value: {target_kind:?}: supported values: \"Node\", \"<empty>\"");
        return Err(failure::unexpected(message));
    }
    if target.is_empty() {
        return Err(failure::unexpected("target.name: Required value"));
    }
    let make = |old: Option<&Value>| {
        let old = old.ok_or_else(|| call.not_found(name))?;
        bound(old, &binding).map_err(|why| {
            let of = Qualified { group: call.kind.group, resource: &format!("{}/binding", call.kind.resource) };
            failure::conflict(of, name, &why)
        })
    };
    let change = Update { name, rules: Rules::Internal, make: &make, uid_is_precondition: true };
    update::update(call, &change, options.dry_run).await?;
    let mut response = content::answer_value(StatusCode::CREATED, form, &success(None, Some(StatusCode::CREATED)))?;
    warnings.iter().for_each(|warning| content::warn(&mut response, warning));
    Ok(response)
}

/// The object on its node, or why it cannot go there.
fn bound(old: &Value, binding: &Value) -> Result<Wanted, String> {
    let name = text(old, "/metadata/name");
    if !text(old, "/metadata/deletionTimestamp").is_empty() {
        return Err(format!("pod {name} is being deleted, cannot be assigned to a host"));
    }
    let node = text(old, "/spec/nodeName");
    if !node.is_empty() {
        return Err(format!("pod {name} is already assigned to node {node:?}"));
    }
    if old.pointer("/spec/schedulingGates").and_then(Value::as_array).is_some_and(|gates| !gates.is_empty()) {
        return Err(format!("pod {name} has non-empty .spec.schedulingGates"));
    }
    let mut object = old.clone();
    object["spec"]["nodeName"] = text(binding, "/target/name").into();
    let metadata = object::metadata(&mut object);
    for member in ["uid", "resourceVersion"] {
        let given = text(binding, &format!("/metadata/{member}"));
        if !given.is_empty() {
            metadata.insert(member.to_owned(), given.into());
        }
    }
    let annotations = binding.pointer("/metadata/annotations").and_then(Value::as_object);
    for (key, value) in annotations.into_iter().flatten() {
        object["metadata"]["annotations"][key] = value.clone();
    }
    // Whoever was to run it does, or another node does.
    if let Some(status) = object["status"].as_object_mut() {
        status.shift_remove("nominatedNodeName");
    }
    scheduled(&mut object);
    Ok(Wanted { object, warnings: Vec::new(), managed: Managed::Kept })
}

/// The condition that says so.
fn scheduled(object: &mut Value) {
    let now = call::time_text(call::now());
    condition::set(
        object,
        json!({"type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now}),
    );
}
