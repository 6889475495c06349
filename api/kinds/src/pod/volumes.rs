//! Which volumes are valid (`ValidateVolumes`). Sources of storage vendors are checked by the schema alone.

use kontiki_model::Faults;
use serde_json::Value;

use super::environment::{VOLUME_FIELDS, field_reference, resource_reference};
use super::resources::quantity;
use crate::names::{label, report};
use crate::tree::{at, int, list, text};

const MODE_RULE: &str = "must be a number between 0 and 0777 (octal), both inclusive";
const TOKEN_SECONDS_MIN: i64 = 600;

pub fn validate(volumes: &[Value], path: &str, faults: &mut Faults) {
    let mut seen = Vec::new();
    for (index, volume) in volumes.iter().enumerate() {
        let path = format!("{path}[{index}]");
        validate_source(volume, &path, faults);
        let name = text(volume, "/name");
        if name.is_empty() {
            faults.required(format!("{path}.name"), "");
            continue;
        }
        report(label(name), name, &format!("{path}.name"), faults);
        if seen.contains(&name) {
            faults.duplicate(format!("{path}.name"), name);
        }
        seen.push(name);
    }
}

/// Volume sources in the order in which Kubernetes looks for them: of two, the later one is the fault.
const SOURCES: &[&str] = &[
    "emptyDir",
    "hostPath",
    "gitRepo",
    "gcePersistentDisk",
    "awsElasticBlockStore",
    "secret",
    "nfs",
    "iscsi",
    "glusterfs",
    "flocker",
    "persistentVolumeClaim",
    "rbd",
    "cinder",
    "cephfs",
    "quobyte",
    "downwardAPI",
    "fc",
    "flexVolume",
    "configMap",
    "azureFile",
    "vsphereVolume",
    "photonPersistentDisk",
    "portworxVolume",
    "azureDisk",
    "storageos",
    "projected",
    "scaleIO",
    "csi",
    "ephemeral",
    "image",
];

fn validate_source(volume: &Value, path: &str, faults: &mut Faults) {
    let mut given = 0;
    for kind in SOURCES {
        let source = at(volume, &format!("/{kind}"));
        if source.is_null() {
            continue;
        }
        given += 1;
        let path = format!("{path}.{kind}");
        if given > 1 {
            faults.forbidden(path, "may not specify more than 1 volume type");
            continue;
        }
        match *kind {
            "emptyDir" if quantity(at(source, "/sizeLimit")).is_some_and(|limit| limit.is_negative()) => {
                faults.forbidden(format!("{path}.sizeLimit"), "SizeLimit field must be a valid resource quantity");
            }
            "hostPath" => validate_host_path(source, &path, faults),
            "secret" => {
                required(source, "secretName", &path, faults);
                files(source, &path, faults);
            }
            "configMap" => {
                required(source, "name", &path, faults);
                files(source, &path, faults);
            }
            "downwardAPI" => downward(source, &path, faults),
            "projected" => projected(source, &path, faults),
            "persistentVolumeClaim" => required(source, "claimName", &path, faults),
            "nfs" => validate_nfs(source, &path, faults),
            _ => {}
        }
    }
    if given == 0 {
        faults.required(path, "must specify a volume type");
    }
}

fn required(source: &Value, member: &str, path: &str, faults: &mut Faults) {
    if text(source, &format!("/{member}")).is_empty() {
        faults.required(format!("{path}.{member}"), "");
    }
}

pub fn validate_nfs(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "server", path, faults);
    required(source, "path", path, faults);
    let target = text(source, "/path");
    if !target.starts_with('/') {
        faults.invalid(format!("{path}.path"), target, "must be an absolute path");
    }
}

pub fn validate_host_path(source: &Value, path: &str, faults: &mut Faults) {
    const TYPES: &[&str] =
        &["", "BlockDevice", "CharDevice", "Directory", "DirectoryOrCreate", "File", "FileOrCreate", "Socket"];
    let target = text(source, "/path");
    if target.is_empty() {
        faults.required(format!("{path}.path"), "");
        return;
    }
    no_back_steps(target, &format!("{path}.path"), faults);
    let kind = text(source, "/type");
    if !TYPES.contains(&kind) {
        faults.not_supported(format!("{path}.type"), kind, TYPES);
    }
}

/// Modes and items of a volume made of a Secret or a ConfigMap.
fn files(source: &Value, path: &str, faults: &mut Faults) {
    mode(source, "defaultMode", path, faults);
    items(source, path, faults);
}

fn items(source: &Value, path: &str, faults: &mut Faults) {
    for (index, item) in list(source, "/items").iter().enumerate() {
        let path = format!("{path}.items[{index}]");
        required(item, "key", &path, faults);
        item_path(item, &path, faults);
        mode(item, "mode", &path, faults);
    }
}

fn item_path(item: &Value, path: &str, faults: &mut Faults) {
    match text(item, "/path") {
        "" => faults.required(format!("{path}.path"), ""),
        target => {
            relative_path(target, &format!("{path}.path"), faults);
            if target.starts_with("..") && !target.starts_with("../") {
                faults.invalid(format!("{path}.path"), target, "must not start with '..'");
            }
        }
    }
}

fn mode(source: &Value, member: &str, path: &str, faults: &mut Faults) {
    let value = int(source, &format!("/{member}"));
    if !(0..=0o777).contains(&value) {
        faults.invalid(format!("{path}.{member}"), value, MODE_RULE);
    }
}

fn downward(source: &Value, path: &str, faults: &mut Faults) {
    mode(source, "defaultMode", path, faults);
    downward_items(source, path, faults);
}

/// Kubernetes tells faults of an item at its list.
fn downward_items(source: &Value, path: &str, faults: &mut Faults) {
    for item in list(source, "/items") {
        item_path(item, path, faults);
        let (field, resource) = (at(item, "/fieldRef"), at(item, "/resourceFieldRef"));
        match (field.is_null(), resource.is_null()) {
            (false, only) => {
                field_reference(field, VOLUME_FIELDS, &format!("{path}.fieldRef"), faults);
                if !only {
                    faults.invalid(
                        path,
                        "resource",
                        "fieldRef and resourceFieldRef can not be specified simultaneously",
                    );
                }
            }
            (true, false) => resource_reference(resource, true, &format!("{path}.resourceFieldRef"), faults),
            (true, true) => faults.required(path, "one of fieldRef and resourceFieldRef is required"),
        }
        mode(item, "mode", path, faults);
    }
}

fn projected(source: &Value, path: &str, faults: &mut Faults) {
    mode(source, "defaultMode", path, faults);
    let mut paths = Vec::new();
    for (index, one) in list(source, "/sources").iter().enumerate() {
        let place = format!("{path}.sources[{index}]");
        let given = one.as_object().into_iter().flatten().filter(|(_, source)| !source.is_null());
        if given.count() > 1 {
            faults.forbidden(place.as_str(), "may not specify more than 1 volume type per source");
        }
        for kind in ["secret", "configMap"] {
            let source = at(one, &format!("/{kind}"));
            if !source.is_null() {
                let place = format!("{place}.{kind}");
                required(source, "name", &place, faults);
                items(source, &place, faults);
                unique_paths(source, text(source, "/name"), &mut paths, path, faults);
            }
        }
        downward_items(at(one, "/downwardAPI"), &format!("{place}.downwardAPI"), faults);
        unique_paths(at(one, "/downwardAPI"), "", &mut paths, path, faults);
        let token = at(one, "/serviceAccountToken");
        if !token.is_null() {
            token_expiration(token, &format!("{place}.serviceAccountToken"), faults);
            item_path(token, path, faults);
        }
    }
}

/// No two projected files at one path. The fault shows the source's name, or the path where it has none.
fn unique_paths<'a>(source: &'a Value, name: &str, seen: &mut Vec<&'a str>, path: &str, faults: &mut Faults) {
    for target in list(source, "/items").iter().map(|item| text(item, "/path")).filter(|target| !target.is_empty()) {
        if seen.contains(&target) {
            let value = if name.is_empty() { target } else { name };
            faults.invalid(path, value, "conflicting duplicate paths");
        }
        seen.push(target);
    }
}

fn token_expiration(source: &Value, path: &str, faults: &mut Faults) {
    let seconds = int(source, "/expirationSeconds");
    if seconds < TOKEN_SECONDS_MIN {
        faults.invalid(format!("{path}.expirationSeconds"), seconds, "may not specify a duration less than 10 minutes");
    } else if seconds > 1 << 32 {
        faults.invalid(
            format!("{path}.expirationSeconds"),
            seconds,
            "may not specify a duration larger than 2^32 seconds",
        );
    }
}

/// A path below something: relative, and never upwards.
pub fn relative_path(target: &str, path: &str, faults: &mut Faults) {
    if target.starts_with('/') {
        faults.invalid(path, target, "must be a relative path");
    }
    no_back_steps(target, path, faults);
}

/// A path that never goes upwards.
pub fn no_back_steps(target: &str, path: &str, faults: &mut Faults) {
    if target.split('/').any(|part| part == "..") {
        faults.invalid(path, target, "must not contain '..'");
    }
}
