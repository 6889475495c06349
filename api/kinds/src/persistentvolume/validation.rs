//! Which PersistentVolumes are valid, and what of one may change.

use kontiki_model::Faults;
use serde_json::Value;

use super::sources;
use crate::names::{report, subdomain};
use crate::pod;
use crate::tree::{at, list, members, missing, text};
use crate::{metadata, volumes};

pub fn validate(volume: &Value, faults: &mut Faults) {
    let spec = at(volume, "/spec");
    volumes::validate_access_modes(spec, "", faults);
    validate_capacity(at(spec, "/capacity"), faults);
    let policy = text(spec, "/persistentVolumeReclaimPolicy");
    if !matches!(policy, "" | "Delete" | "Recycle" | "Retain") {
        faults.not_supported("spec.persistentVolumeReclaimPolicy", policy, &["Delete", "Recycle", "Retain"]);
    }
    validate_affinity(at(spec, "/nodeAffinity"), faults);
    validate_source(spec, faults);
    if policy == "Recycle" && text(spec, "/hostPath/path").trim_matches('/').is_empty() && !missing(spec, "/hostPath") {
        let detail = "may not be 'recycle' for a hostPath mount of '/'";
        faults.forbidden("spec.persistentVolumeReclaimPolicy", detail);
    }
    volumes::validate_class(spec, "storageClassName", faults);
    volumes::validate_mode(spec, faults);
    match at(spec, "/volumeAttributesClassName").as_str() {
        None => {}
        Some("") => faults.required("spec.volumeAttributesClassName", "an empty string is disallowed"),
        Some(_) => {
            volumes::validate_class(spec, "volumeAttributesClassName", faults);
            if missing(spec, "/csi") {
                faults.required("spec.csi", "has to be specified when using volumeAttributesClassName");
            }
        }
    }
}

fn validate_capacity(capacity: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.capacity";
    let all = capacity.as_object().map_or(0, serde_json::Map::len);
    if all == 0 {
        faults.required(PATH, "");
    }
    if capacity.get("storage").is_none() || all > 1 {
        faults.not_supported(PATH, capacity.clone(), &["storage"]);
    }
    for (name, amount) in members(capacity, "") {
        volumes::validate_positive(amount, &format!("{PATH}[{name}]"), faults);
    }
}

fn validate_affinity(affinity: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.nodeAffinity";
    if affinity.is_null() {
        return;
    }
    let required = at(affinity, "/required");
    if required.is_null() {
        faults.required(format!("{PATH}.required"), "must specify required node constraints");
        return;
    }
    let terms = list(required, "/nodeSelectorTerms");
    let path = format!("{PATH}.required.nodeSelectorTerms");
    if terms.is_empty() {
        faults.required(path.as_str(), "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        pod::validate_node_term(term, &format!("{path}[{index}]"), faults);
    }
}

fn validate_source(spec: &Value, faults: &mut Faults) {
    let mut given = sources(spec);
    let Some(source) = given.next() else {
        faults.required("spec", "must specify a volume type");
        return;
    };
    for source in given {
        faults.forbidden(format!("spec.{source}"), "may not specify more than 1 volume type");
    }
    let (value, path) = (at(spec, &format!("/{source}")), format!("spec.{source}"));
    match source {
        "hostPath" => pod::validate_host_path(value, &path, faults),
        "nfs" => pod::validate_nfs(value, &path, faults),
        "local" => {
            match text(value, "/path") {
                "" => faults.required(format!("{path}.path"), ""),
                target => pod::no_back_steps(target, &format!("{path}.path"), faults),
            }
            if missing(spec, "/nodeAffinity") {
                faults.required("spec.nodeAffinity", "Local volume requires node affinity");
            }
        }
        "csi" => {
            match text(value, "/driver") {
                "" => faults.required(format!("{path}.driver"), ""),
                driver if driver.len() > 63 => faults.too_long(format!("{path}.driver"), 63),
                driver => report(subdomain(&driver.to_lowercase()), driver, &format!("{path}.driver"), faults),
            }
            if text(value, "/volumeHandle").is_empty() {
                faults.required(format!("{path}.volumeHandle"), "");
            }
        }
        // Sources of storage vendors are checked by the schema alone.
        _ => {}
    }
}

pub fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    let (is, was) = (at(new, "/spec"), at(old, "/spec"));
    if source_of(is, was) != source_of(was, was) {
        let detail = "spec.persistentvolumesource is immutable after creation";
        faults.forbidden("spec.persistentvolumesource", detail);
    }
    if at(is, "/volumeMode") != at(was, "/volumeMode") {
        faults.invalid("volumeMode", at(is, "/volumeMode").clone(), "field is immutable");
    }
    if !missing(was, "/nodeAffinity") && at(is, "/nodeAffinity") != at(was, "/nodeAffinity") {
        faults.invalid("nodeAffinity", at(is, "/nodeAffinity").clone(), "field is immutable");
    }
    if missing(is, "/volumeAttributesClassName") && !missing(was, "/volumeAttributesClassName") {
        let detail = "update from non-nil value to nil is forbidden";
        faults.forbidden("spec.volumeAttributesClassName", detail);
    }
}

/// Where the storage is. The secret for growing a CSI volume may be added later.
fn source_of(spec: &Value, before: &Value) -> Vec<(&'static str, Value)> {
    let source = |name: &'static str| {
        let mut source = at(spec, &format!("/{name}")).clone();
        if name == "csi" && missing(before, "/csi/controllerExpandSecretRef") {
            crate::tree::remove(&mut source, "controllerExpandSecretRef");
        }
        (name, source)
    };
    sources(spec).map(source).collect()
}
