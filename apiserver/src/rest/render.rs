//! Answers: stored bytes with their revision, lists of them, Tables and metadata-only forms.

use std::borrow::Cow;

use chrono::Utc;
use http::StatusCode;
use kontiki_kinds::Kind;
use kontiki_model::{Revision, Status};
use kontiki_raft::Stored;
use serde_json::{Value, json};

use super::{
    call::Call,
    decode,
    object::{self, Spliced},
};
use crate::{
    content, failure,
    negotiate::{Form, Shape},
    request::ApiResponse,
};

/// How much of the object a Table row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IncludeObject {
    None,
    Metadata,
    Object,
}

/// What a page of a list says about itself.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ListMeta {
    pub revision: Revision,
    pub token: String,
    pub remaining: Option<u64>,
}

/// Answers with one object in the negotiated form.
pub fn object(call: &Call<'_>, form: Form, code: StatusCode, stored: &Stored) -> Result<ApiResponse, Status> {
    let mut out = Vec::new();
    match form.shape {
        Shape::Object => Spliced::of(stored).write(&mut out),
        Shape::PartialMetadata => partial(call.kind, stored, &mut out),
        Shape::Table => {
            let meta = ListMeta { revision: stored.revision, ..ListMeta::default() };
            table(call.kind, include_object(call)?, std::slice::from_ref(stored), &meta, true, &mut out)?;
        }
        Shape::PartialMetadataList | Shape::AggregatedDiscovery => {
            let name = internal_name(call.kind);
            let message =
                format!("you requested PartialObjectMetadataList, but the requested object is not a list (*{name})");
            return Err(failure::not_acceptable_because(message));
        }
    }
    finish(code, form, out)
}

/// Answers a write: the object, and warnings about it.
pub fn written<'w>(
    call: &Call<'_>,
    form: Form,
    code: StatusCode,
    stored: &Stored,
    warnings: impl Iterator<Item = &'w String>,
) -> Result<ApiResponse, Status> {
    let mut response = object(call, form, code, stored)?;
    warnings.for_each(|warning| content::warn(&mut response, warning));
    Ok(response)
}

/// Refuses the forms that a list does not have, before anything is read.
pub fn check_list_form(call: &Call<'_>, form: Form) -> Result<IncludeObject, Status> {
    if form.shape == Shape::PartialMetadata {
        let name = internal_name(call.kind);
        let message = format!("you requested PartialObjectMetadata, but the requested object is a list (*{name}List)");
        return Err(failure::not_acceptable_because(message));
    }
    match form.shape {
        Shape::Table => include_object(call),
        _ => Ok(IncludeObject::Metadata),
    }
}

/// One page of a list, in the negotiated form. Costly for long lists: call it where blocking is allowed.
pub fn list(
    kind: &Kind,
    shape: Shape,
    include: IncludeObject,
    items: &[Stored],
    meta: &ListMeta,
) -> Result<Vec<u8>, Status> {
    let bytes = items.iter().map(|item| item.body.len() + 64).sum::<usize>();
    let mut out = Vec::with_capacity(bytes + 256);
    match shape {
        Shape::Table => table(kind, include, items, meta, true, &mut out)?,
        Shape::PartialMetadata | Shape::PartialMetadataList => {
            out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\"");
            list_meta(meta, &mut out);
            // Kubernetes makes this list as it goes, so an empty one is null.
            out.extend_from_slice(if items.is_empty() { b",\"items\":null" } else { b",\"items\":[" });
            separated(items, &mut out, |item, out| partial(kind, item, out));
            out.extend_from_slice(if items.is_empty() { b"}" } else { b"]}" });
        }
        Shape::Object | Shape::AggregatedDiscovery => {
            let prefix = object::prefix(kind).len();
            let version = kind.group_version();
            out.extend_from_slice(format!("{{\"kind\":\"{}List\",\"apiVersion\":\"{version}\"", kind.kind).as_bytes());
            list_meta(meta, &mut out);
            out.extend_from_slice(b",\"items\":[");
            separated(items, &mut out, |item, out| Spliced::of(item).write_item(prefix, out));
            out.extend_from_slice(b"]}");
        }
    }
    Ok(out)
}

/// Ends an answer: Kubernetes ends each JSON document with a line break.
pub fn finish(code: StatusCode, form: Form, mut json: Vec<u8>) -> Result<ApiResponse, Status> {
    json.push(b'\n');
    content::answer(code, form, json.into())
}

/// `PartialObjectMetadata` of an object.
pub fn partial(kind: &Kind, stored: &Stored, out: &mut Vec<u8>) {
    out.extend_from_slice(b"{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":");
    Spliced::of(stored).write_metadata(object::prefix(kind).len(), out);
    out.push(b'}');
}

/// A Table with one row for each object; `columns` says whether it describes its columns.
pub fn table(
    kind: &Kind,
    include: IncludeObject,
    items: &[Stored],
    meta: &ListMeta,
    columns: bool,
    out: &mut Vec<u8>,
) -> Result<(), Status> {
    let now = Utc::now();
    out.extend_from_slice(b"{\"kind\":\"Table\",\"apiVersion\":\"meta.k8s.io/v1\"");
    list_meta(meta, out);
    out.extend_from_slice(b",\"columnDefinitions\":");
    match columns {
        true => write(&column_definitions(kind), out)?,
        false => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"rows\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        let tree: Value = serde_json::from_slice(&item.body).map_err(failure::internal)?;
        out.extend_from_slice(b"{\"cells\":");
        write(&(kind.cells)(&tree, now), out)?;
        let conditions = (kind.row_conditions)(&tree);
        if !conditions.is_empty() {
            out.extend_from_slice(b",\"conditions\":");
            write(&conditions, out)?;
        }
        out.extend_from_slice(b",\"object\":");
        match include {
            IncludeObject::None => out.extend_from_slice(b"null"),
            IncludeObject::Metadata => partial(kind, item, out),
            IncludeObject::Object => Spliced::of(item).write(out),
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(())
}

fn column_definitions(kind: &Kind) -> Value {
    let column = |column: &kontiki_kinds::Column| {
        json!({
            "name": column.name, "type": column.r#type, "format": column.format,
            "description": column.description, "priority": column.priority,
        })
    };
    kind.columns.iter().map(column).collect()
}

/// `includeObject` of the query.
pub fn include_object(call: &Call<'_>) -> Result<IncludeObject, Status> {
    match call.request.query_value("includeObject").unwrap_or("") {
        "" | "Metadata" => Ok(IncludeObject::Metadata),
        "None" => Ok(IncludeObject::None),
        "Object" => Ok(IncludeObject::Object),
        other => Err(failure::bad_request(format!(
            "Unable to convert to Table as requested: includeObject: Invalid value: {other:?}: must be 'Metadata', \
             'Object', 'None', or empty"
        ))),
    }
}

fn list_meta(meta: &ListMeta, out: &mut Vec<u8>) {
    let mut text = Cow::Borrowed("");
    if !meta.token.is_empty() {
        text = format!(",\"continue\":\"{}\"", meta.token).into();
    }
    if let Some(remaining) = meta.remaining {
        text = format!("{text},\"remainingItemCount\":{remaining}").into();
    }
    out.extend_from_slice(format!(",\"metadata\":{{\"resourceVersion\":\"{}\"{text}}}", meta.revision).as_bytes());
}

fn separated(items: &[Stored], out: &mut Vec<u8>, mut each: impl FnMut(&Stored, &mut Vec<u8>)) {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(item, out);
    }
}

fn write(value: &impl serde::Serialize, out: &mut Vec<u8>) -> Result<(), Status> {
    serde_json::to_writer(out, value).map_err(failure::internal)
}

/// What Kubernetes calls the type inside of itself, where that shows in messages: `core.Pod`.
fn internal_name(kind: &Kind) -> String {
    format!("{}.{}", decode::internal_name(kind.group), kind.kind)
}
