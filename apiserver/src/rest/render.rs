//! Answers: stored bytes with their revision, lists of them, Tables and metadata-only forms. All start as JSON text; protobuf is
//! written from it, of a list item by item.

use std::borrow::Cow;

use chrono::{DateTime, Utc};
use http::StatusCode;
use kontiki_kinds::Kind;
use kontiki_model::{Revision, Status};
use kontiki_raft::Stored;
use kontiki_schema::{ListWriter, Source, builtin};
use serde_json::{Value, json};

use super::{
    call::Call,
    decode,
    object::{self, Spliced},
};
use crate::{
    content, failure,
    negotiate::{Form, Media, MetaVersion, Shape},
    request::ApiResponse,
};

const PARTIAL_LIST: &str = "PartialObjectMetadataList";
/// What the metadata of one object takes in protobuf, about.
const METADATA_BYTES: usize = 512;

/// How much of the object a Table row carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum IncludeObject {
    None,
    Metadata,
    Object,
}

/// How a Table is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rows {
    pub include: IncludeObject,
    /// Whether it describes its columns.
    pub columns: bool,
    pub version: MetaVersion,
    /// The moment that ages count to.
    pub now: DateTime<Utc>,
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
        Shape::Object => whole(call.kind, stored, &mut out)?,
        Shape::PartialMetadata => partial(call.kind, form.meta, stored, &mut out)?,
        Shape::Table => {
            let rows = Rows { include: include_object(call)?, columns: true, version: form.meta, now: call.now() };
            let meta = ListMeta { revision: stored.revision, ..ListMeta::default() };
            table(call.kind, rows, std::slice::from_ref(stored), &meta, &mut out)?;
        }
        Shape::PartialMetadataList | Shape::AggregatedDiscovery => return Err(no_list(&internal_name(call.kind))),
    }
    finish(code, form, out)
}

/// Answers with an object that is stored nowhere.
pub fn posted(form: Form, code: StatusCode, group: &str, object: &Value) -> Result<ApiResponse, Status> {
    match form.shape {
        Shape::Object => content::answer_value(code, form, object),
        Shape::PartialMetadata => {
            let version = form.meta.api_version();
            let metadata =
                json!({"kind": "PartialObjectMetadata", "apiVersion": version, "metadata": object["metadata"]});
            content::answer_value(code, form, &metadata)
        }
        Shape::Table | Shape::PartialMetadataList | Shape::AggregatedDiscovery => {
            Err(no_list(&format!("{}.{}", decode::internal_name(group), object::text(object, "/kind"))))
        }
    }
}

/// Lists of metadata are no form of one object.
pub fn no_list(name: &str) -> Status {
    let message = format!("you requested PartialObjectMetadataList, but the requested object is not a list (*{name})");
    failure::not_acceptable_because(message)
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

/// Answers with one page of a list. Costly for long lists: call it where blocking is allowed.
pub fn list(
    kind: &Kind,
    form: Form,
    include: IncludeObject,
    items: Vec<Stored>,
    meta: &ListMeta,
    now: DateTime<Utc>,
) -> Result<ApiResponse, Status> {
    if form.media == Media::Protobuf {
        let bytes = protobuf_list(kind, form, items, meta)?;
        return Ok(content::response(StatusCode::OK, form.media.content_type(), bytes));
    }
    let bytes = items.iter().map(|item| item.body.len() + 64).sum::<usize>();
    let mut out = Vec::with_capacity(bytes + 256);
    match form.shape {
        Shape::Table => {
            let rows = Rows { include, columns: true, version: form.meta, now };
            table(kind, rows, &items, meta, &mut out)?;
        }
        Shape::PartialMetadata | Shape::PartialMetadataList => {
            let version = form.meta.api_version();
            let head = format!("{{\"kind\":\"{PARTIAL_LIST}\",\"apiVersion\":\"{version}\"");
            out.extend_from_slice(head.as_bytes());
            list_meta(meta, &mut out);
            // Kubernetes makes this list as it goes, so an empty one is null.
            out.extend_from_slice(if items.is_empty() { b",\"items\":null" } else { b",\"items\":[" });
            separated(&items, &mut out, |item, out| partial(kind, form.meta, item, out))?;
            out.extend_from_slice(if items.is_empty() { b"}" } else { b"]}" });
        }
        Shape::Object | Shape::AggregatedDiscovery => {
            let prefix = object::prefix(kind).len();
            let version = kind.group_version();
            out.extend_from_slice(
                format!("{{\"kind\":\"{}\",\"apiVersion\":\"{version}\"", kind.list_kind()).as_bytes(),
            );
            match kind.custom {
                // Such lists are written without a type that would leave out what is empty.
                Some(_) if meta.token.is_empty() => {
                    let revision = meta.revision;
                    let metadata = format!(",\"metadata\":{{\"continue\":\"\",\"resourceVersion\":\"{revision}\"}}");
                    out.extend_from_slice(metadata.as_bytes());
                }
                Some(_) | None => list_meta(meta, &mut out),
            }
            out.extend_from_slice(b",\"items\":[");
            separated(&items, &mut out, |stored, out| item(kind, prefix, stored, out))?;
            out.extend_from_slice(b"]}");
        }
    }
    drop(items);
    finish(StatusCode::OK, form, out)
}

/// Takes the items, and drops each when it is written: of a long list there is one copy, not two.
fn protobuf_list(kind: &Kind, form: Form, items: Vec<Stored>, meta: &ListMeta) -> Result<Vec<u8>, Status> {
    let mut text = b"{".to_vec();
    list_meta_members(meta, &mut text);
    text.push(b'}');
    let metadata = Source::parse(&text).map_err(failure::internal)?;
    let prefix = object::prefix(kind).len();
    let (name, version, bytes) = match form.shape {
        Shape::PartialMetadata | Shape::PartialMetadataList => {
            (PARTIAL_LIST.to_owned(), form.meta.api_version().to_owned(), items.len() * METADATA_BYTES)
        }
        Shape::Object | Shape::Table | Shape::AggregatedDiscovery => {
            let bytes = items.iter().map(|item| item.body.len()).sum();
            (format!("{}List", kind.kind), kind.group_version(), bytes)
        }
    };
    let list = ListWriter::new(builtin(), &version, &name, &metadata, bytes);
    let mut list = list.map_err(content::unwritable)?;
    let mut text = Vec::new();
    for stored in items {
        text.clear();
        match form.shape {
            Shape::PartialMetadata | Shape::PartialMetadataList => partial(kind, form.meta, &stored, &mut text)?,
            Shape::Object | Shape::Table | Shape::AggregatedDiscovery => item(kind, prefix, &stored, &mut text)?,
        }
        let source = Source::parse(&text).map_err(failure::internal)?;
        list.item(&source).map_err(content::unwritable)?;
    }
    Ok(list.finish())
}

/// Ends an answer: Kubernetes ends each JSON document with a line break.
pub fn finish(code: StatusCode, form: Form, mut json: Vec<u8>) -> Result<ApiResponse, Status> {
    json.push(b'\n');
    content::answer(code, form, json.into())
}

/// An object as the kind spells it.
pub fn whole(kind: &Kind, stored: &Stored, out: &mut Vec<u8>) -> Result<(), Status> {
    Spliced::of(&*object::told(kind, stored)?).write(out);
    Ok(())
}

/// An object of a list as the kind spells it: without `kind` and `apiVersion`, its first `prefix` bytes, but for custom objects.
fn item(kind: &Kind, prefix: usize, stored: &Stored, out: &mut Vec<u8>) -> Result<(), Status> {
    let told = object::told(kind, stored)?;
    match kind.custom {
        Some(_) => Spliced::of(&told).write(out),
        None => Spliced::of(&told).write_item(prefix, out),
    }
    Ok(())
}

/// `PartialObjectMetadata` of an object.
pub fn partial(kind: &Kind, version: MetaVersion, stored: &Stored, out: &mut Vec<u8>) -> Result<(), Status> {
    let version = version.api_version();
    let head = format!("{{\"kind\":\"PartialObjectMetadata\",\"apiVersion\":\"{version}\",\"metadata\":");
    out.extend_from_slice(head.as_bytes());
    Spliced::of(&*object::told(kind, stored)?).write_metadata(object::prefix(kind).len(), out);
    out.push(b'}');
    Ok(())
}

/// A Table with one row for each object.
pub fn table(kind: &Kind, rows: Rows, items: &[Stored], meta: &ListMeta, out: &mut Vec<u8>) -> Result<(), Status> {
    let version = rows.version.api_version();
    out.extend_from_slice(format!("{{\"kind\":\"Table\",\"apiVersion\":\"{version}\"").as_bytes());
    list_meta(meta, out);
    out.extend_from_slice(b",\"columnDefinitions\":");
    match rows.columns {
        true => write(&kind.column_definitions(), out)?,
        false => out.extend_from_slice(b"null"),
    }
    out.extend_from_slice(b",\"rows\":[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        // Of other kinds, cells are made of the form that is stored.
        let told = match kind.custom {
            Some(_) => object::told(kind, item)?,
            None => Cow::Borrowed(item),
        };
        let item = &*told;
        let tree: Value = serde_json::from_slice(&item.body).map_err(failure::internal)?;
        out.extend_from_slice(b"{\"cells\":");
        write(&kind.row(&tree, rows.now), out)?;
        let conditions = (kind.row_conditions)(&tree);
        if !conditions.is_empty() {
            out.extend_from_slice(b",\"conditions\":");
            write(&conditions, out)?;
        }
        out.extend_from_slice(b",\"object\":");
        match rows.include {
            IncludeObject::None => out.extend_from_slice(b"null"),
            IncludeObject::Metadata => partial(kind, rows.version, item, out)?,
            IncludeObject::Object => whole(kind, item, out)?,
        }
        out.push(b'}');
    }
    out.extend_from_slice(b"]}");
    Ok(())
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
    out.extend_from_slice(b",\"metadata\":{");
    list_meta_members(meta, out);
    out.push(b'}');
}

fn list_meta_members(meta: &ListMeta, out: &mut Vec<u8>) {
    let mut text = format!("\"resourceVersion\":\"{}\"", meta.revision);
    if !meta.token.is_empty() {
        text = format!("{text},\"continue\":\"{}\"", meta.token);
    }
    if let Some(remaining) = meta.remaining {
        text = format!("{text},\"remainingItemCount\":{remaining}");
    }
    out.extend_from_slice(text.as_bytes());
}

fn separated(
    items: &[Stored],
    out: &mut Vec<u8>,
    mut each: impl FnMut(&Stored, &mut Vec<u8>) -> Result<(), Status>,
) -> Result<(), Status> {
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        each(item, out)?;
    }
    Ok(())
}

fn write(value: &impl serde::Serialize, out: &mut Vec<u8>) -> Result<(), Status> {
    out.extend_from_slice(&kontiki_schema::json::text(value).map_err(failure::internal)?);
    Ok(())
}

/// What Kubernetes calls the type inside of itself, where that shows in messages: `core.Pod`.
fn internal_name(kind: &Kind) -> String {
    if kind.custom.is_some() {
        return "unstructured.Unstructured".to_owned();
    }
    format!("{}.{}", decode::internal_name(kind.group), kind.kind)
}
