//! Request bodies: bytes to a checked tree of the expected type, refused in Kubernetes' words.

use kontiki_model::{Faults, Status};
use kontiki_schema::{DecodeError, Document, Objections, builtin};
use serde_json::Value;

use super::{
    call::{Call, Expected},
    object::{self, text},
    options::FieldValidation,
};
use crate::{
    content::{self, Unreadable},
    failure::{self, Qualified},
};

/// Bytes of a refused body that the message repeats.
const SUMMARY_BYTES: usize = 30;

/// A body that fits its type, and the warnings about fields that it does not have.
#[derive(Clone, Debug, PartialEq)]
pub struct Decoded {
    pub object: Value,
    pub warnings: Vec<String>,
}

/// Reads the body as an object of the expected kind. `kind` and `apiVersion` may be left out.
pub fn body(call: &Call<'_>, expected: Expected<'_>, validation: FieldValidation) -> Result<Decoded, Status> {
    let bytes = call.request.body.bytes();
    let document = content::document(call.request).map_err(|why| match why {
        Unreadable::Media => failure::unsupported_media(content::OBJECT_TYPES),
        Unreadable::Json(error) => unreadable(expected, &error, bytes),
        Unreadable::Other(error) => unrecognized(expected, &error.0, bytes),
    })?;
    if !document.value.is_object() {
        let word = match &document.value {
            Value::Array(_) => "array",
            Value::String(_) => "string",
            Value::Number(_) => "number",
            Value::Bool(_) => "bool",
            Value::Null | Value::Object(_) => "null",
        };
        let target =
            r#"struct { APIVersion string "json:\"apiVersion,omitempty\""; Kind string "json:\"kind,omitempty\"" }"#;
        let error = DecodeError(format!("json: cannot unmarshal {word} into Go value of type {target}"));
        return Err(unreadable(expected, &error, bytes));
    }
    match expected.schema.is_custom() {
        true => custom_type_meta(expected, &document.value)?,
        false => type_meta(expected, &document.value)?,
    }
    let decoded =
        checked(expected, document, validation).map_err(|why| refused(expected, &document_kind(expected), &why))?;
    Ok(decoded)
}

/// A tree of the expected kind, without unknown fields; the error is the reason alone.
pub fn checked(expected: Expected<'_>, document: Document, validation: FieldValidation) -> Result<Decoded, String> {
    let warnings = check(expected, &document, validation)?;
    Ok(pruned(expected, document, warnings))
}

/// The warnings, or why it is refused.
pub fn check(expected: Expected<'_>, document: &Document, validation: FieldValidation) -> Result<Vec<String>, String> {
    judge(expected.schema.check_document(document).map_err(|error| error.0)?, validation)
}

/// What field validation makes of objections: warnings, or the reason of a refusal.
pub fn judge(objections: Objections, validation: FieldValidation) -> Result<Vec<String>, String> {
    match validation {
        FieldValidation::Strict if !objections.is_empty() => Err(objections.to_string()),
        FieldValidation::Strict | FieldValidation::Ignore => Ok(Vec::new()),
        FieldValidation::Warn => Ok(objections.warnings()),
    }
}

pub fn pruned(expected: Expected<'_>, document: Document, warnings: Vec<String>) -> Decoded {
    let mut object = document.value;
    expected.schema.prune(&mut object);
    Decoded { object, warnings }
}

/// Kind and version of the body, as they are told: `(kind, version without its group)`.
fn document_kind(expected: Expected<'_>) -> (String, String) {
    (expected.kind.to_owned(), expected.version.to_owned())
}

fn type_meta(expected: Expected<'_>, document: &Value) -> Result<(), Status> {
    let given = |member: &str| document.get(member).and_then(Value::as_str).unwrap_or("");
    let own_version = group_version(expected.group, expected.version);
    let kind = Some(given("kind")).filter(|kind| !kind.is_empty()).unwrap_or(expected.kind);
    let api_version = Some(given("apiVersion")).filter(|version| !version.is_empty()).unwrap_or(&own_version);
    if kind == expected.kind && api_version == own_version {
        return Ok(());
    }
    let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
    let told = (kind.to_owned(), version.to_owned());
    if builtin().lookup_gvk(group, version, kind).is_none() {
        let scheme = "pkg/api/legacyscheme/scheme.go:30";
        let why = format!("no kind {kind:?} is registered for version {api_version:?} in scheme {scheme:?}");
        return Err(refused(expected, &told, &why));
    }
    let internal = internal_name(expected.group);
    let why = format!("converting ({version}.{kind}) to ({internal}.{}): unknown conversion", expected.kind);
    Err(refused(expected, &told, &why))
}

/// Custom objects are told apart by nothing but what they say of themselves.
fn custom_type_meta(expected: Expected<'_>, document: &Value) -> Result<(), Status> {
    let version = group_version(expected.group, expected.version);
    let (kind, given) = (text(document, "/kind"), text(document, "/apiVersion"));
    if kind.is_empty() {
        return Err(failure::bad_request(format!("Object 'Kind' is missing in '{document}'")));
    }
    if given != version {
        let message =
            format!("the API version in the data ({given}) does not match the expected API version ({version})");
        return Err(failure::bad_request(message));
    }
    if kind == expected.kind {
        return Ok(());
    }
    let mut faults = Faults::default();
    faults.invalid("kind", kind, format!("must be {}", expected.kind));
    let of = Qualified { group: expected.group, resource: kind };
    Err(failure::invalid(of, text(document, "/metadata/name"), &faults))
}

/// The package Kubernetes keeps a group's internal types in: `core`, `apps`, `rbac`.
pub fn internal_name(group: &str) -> &str {
    match group {
        "" => "core",
        group => group.split('.').next().unwrap_or(group),
    }
}

fn group_version(group: &str, version: &str) -> String {
    if group.is_empty() { version.to_owned() } else { format!("{group}/{version}") }
}

fn refused(expected: Expected<'_>, (kind, version): &(String, String), why: &str) -> Status {
    failure::bad_request(format!("{kind} in version {version:?} cannot be handled as a {}: {why}", expected.kind))
}

fn unreadable(expected: Expected<'_>, error: &DecodeError, bytes: &[u8]) -> Status {
    unrecognized(expected, &format!("couldn't get version/kind; json parse error: {error}"), bytes)
}

fn unrecognized(expected: Expected<'_>, why: &str, bytes: &[u8]) -> Status {
    let summary = match bytes {
        [] => "<empty>".to_owned(),
        [b'{', ..] => shorten(bytes, |part| String::from_utf8_lossy(part).into_owned()),
        _ => shorten(bytes, |part| part.iter().map(|byte| format!("{byte:02x}")).collect()),
    };
    let kind = expected.kind;
    failure::bad_request(format!("the object provided is unrecognized (must be of type {kind}): {why} ({summary})"))
}

fn shorten(bytes: &[u8], show: impl Fn(&[u8]) -> String) -> String {
    match bytes.get(..SUMMARY_BYTES) {
        Some(part) if bytes.len() > SUMMARY_BYTES => format!("{} ...", show(part)),
        _ => show(bytes),
    }
}

/// The object goes where the path says; a body that says otherwise is refused.
pub fn place(call: &Call<'_>, object: &mut Value) -> Result<(), Status> {
    place_in(call.route.namespace.as_deref().filter(|_| call.kind.namespaced).unwrap_or(""), object)
}

/// Outside of namespaces there is none.
pub fn place_in(wanted: &str, object: &mut Value) -> Result<(), Status> {
    let given = text(object, "/metadata/namespace");
    if !given.is_empty() && !wanted.is_empty() && given != wanted {
        let message = "the namespace of the provided object does not match the namespace sent on the request";
        return Err(failure::bad_request(message));
    }
    let metadata = object::metadata(object);
    match wanted {
        "" => metadata.shift_remove("namespace"),
        wanted => metadata.insert("namespace".to_owned(), wanted.into()),
    };
    Ok(())
}

/// The object must have the name in the path.
pub fn named(object: &Value, name: &str) -> Result<(), Status> {
    match text(object, "/metadata/name") {
        "" => Err(failure::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))),
        given if given != name => Err(failure::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        ))),
        _ => Ok(()),
    }
}
