//! What volumes share: PersistentVolumes and their claims have modes and classes, they and volumes of pods have sources.

pub mod paths;
pub mod rules;
pub mod source;

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::Value;

use crate::fields::known;
use crate::names::{report, subdomain};
use crate::tree::{at, list, text};

/// `(mode, how it is printed)`, in the order in which it is printed.
const ACCESS_MODES: [(&str, &str); 4] =
    [("ReadWriteOnce", "RWO"), ("ReadOnlyMany", "ROX"), ("ReadWriteMany", "RWX"), ("ReadWriteOncePod", "RWOP")];

/// `RWO,RWX`.
pub fn access_modes(holder: &Value, pointer: &str) -> String {
    let given = list(holder, pointer);
    let known = ACCESS_MODES.iter().filter(|(mode, _)| given.iter().any(|one| one == mode));
    known.map(|(_, short)| *short).collect::<Vec<_>>().join(",")
}

/// It came before the field.
pub const CLASS_ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";

/// The class in the annotation, or in the field.
pub fn class(object: &Value) -> &str {
    let annotation = at(object, "/metadata/annotations").get(CLASS_ANNOTATION);
    annotation.and_then(Value::as_str).unwrap_or_else(|| text(object, "/spec/storageClassName"))
}

/// `<unset>` where there is none.
pub fn or_unset<'a>(object: &'a Value, pointer: &str) -> &'a str {
    at(object, pointer).as_str().unwrap_or("<unset>")
}

/// `Terminating` while it is being deleted.
pub fn phase(object: &Value) -> &str {
    if at(object, "/metadata/deletionTimestamp").is_null() { text(object, "/status/phase") } else { "Terminating" }
}

/// Access modes of a `spec`, which stands at `path`.
pub fn validate_access_modes(spec: &Value, when_missing: &str, path: &str, faults: &mut Faults) {
    let path = format!("{path}.accessModes");
    let modes: Vec<&str> = list(spec, "/accessModes").iter().filter_map(Value::as_str).collect();
    if modes.is_empty() {
        faults.required(path.as_str(), when_missing);
    }
    for mode in &modes {
        known(mode, (ids::CORE_V1_PERSISTENTVOLUMESPEC, "accessModes"), path.as_str(), faults);
    }
    if modes.contains(&"ReadWriteOncePod") && modes.iter().any(|mode| *mode != "ReadWriteOncePod") {
        faults.forbidden(path, "may not use ReadWriteOncePod with other access modes");
    }
}

pub fn validate_mode(spec: &Value, path: &str, faults: &mut Faults) {
    if let Some(mode) = at(spec, "/volumeMode").as_str() {
        known(mode, (ids::CORE_V1_PERSISTENTVOLUMESPEC, "volumeMode"), format!("{path}.volumeMode"), faults);
    }
}

/// The name of a class, where there is one.
pub fn validate_class(spec: &Value, member: &str, path: &str, faults: &mut Faults) {
    let class = text(spec, &format!("/{member}"));
    if !class.is_empty() {
        report(subdomain(class), class, &format!("{path}.{member}"), faults);
    }
}

/// An amount of storage is more than nothing.
pub fn validate_positive(value: &Value, path: &str, faults: &mut Faults) {
    let Some(amount) = crate::pod::quantity(value) else { return };
    if amount.is_zero() || amount.is_negative() {
        faults.invalid(path, amount.to_string(), "must be greater than zero");
    }
}

/// Of a claim or a volume that names its class as it was done before there was a field.
pub fn class_annotation_warning(object: &Value) -> Option<String> {
    at(object, "/metadata/annotations").get(CLASS_ANNOTATION)?;
    let why = "deprecated since v1.8; use \"storageClassName\" attribute instead";
    Some(format!("metadata.annotations[{CLASS_ANNOTATION}]: {why}"))
}
