//! Which mounts and block devices of a container are valid.

use std::collections::HashSet;

use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use super::containers::Volumes;
use crate::tree::{flag, list, text};
use crate::volumes::paths::relative;

/// `volumeMounts` and `volumeDevices` of a container; `volumes` are the pod's.
pub fn validate(container: &Value, volumes: &Volumes<'_>, path: &str, faults: &mut Faults) {
    let devices = names_and_paths(list(container, "/volumeDevices"), "/devicePath");
    let list_path = format!("{path}.volumeMounts");
    let mut paths = HashSet::new();
    for (index, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let path = format!("{list_path}[{index}]");
        let (name, target) = (text(mount, "/name"), text(mount, "/mountPath"));
        if name.is_empty() {
            faults.required(format!("{path}.name"), "");
        }
        if !volumes.contains_key(name) {
            faults.add(FaultKind::NotFound, format!("{path}.name"), Some(name.into()), "");
        }
        if target.is_empty() {
            faults.required(format!("{path}.mountPath"), "");
        }
        if !paths.insert(target) {
            faults.invalid(format!("{path}.mountPath"), target, "must be unique");
        }
        if devices.0.contains(name) {
            faults.invalid(format!("{path}.name"), name, "must not already exist in volumeDevices");
        }
        if devices.1.contains(target) {
            faults.invalid(format!("{path}.mountPath"), target, "must not already exist as a path in volumeDevices");
        }
        sub_paths(mount, &path, &list_path, faults);
        propagation(container, mount, &list_path, faults);
    }
    volume_devices(container, volumes, path, faults);
}

/// What a container has, by name and by where it has it.
fn names_and_paths<'a>(all: &'a [Value], path: &str) -> (HashSet<&'a str>, HashSet<&'a str>) {
    all.iter().map(|one| (text(one, "/name"), text(one, path))).unzip()
}

fn volume_devices(container: &Value, volumes: &Volumes<'_>, path: &str, faults: &mut Faults) {
    let mounts = names_and_paths(list(container, "/volumeMounts"), "/mountPath");
    let (mut names, mut paths) = (HashSet::new(), HashSet::new());
    for (index, device) in list(container, "/volumeDevices").iter().enumerate() {
        let path = format!("{path}.volumeDevices[{index}]");
        let (name, target) = (text(device, "/name"), text(device, "/devicePath"));
        if name.is_empty() {
            faults.required(format!("{path}.name"), "");
        } else if !names.insert(name) {
            faults.invalid(format!("{path}.name"), name, "must be unique");
        }
        match volumes.get(name) {
            None => faults.add(FaultKind::NotFound, format!("{path}.name"), Some(name.into()), ""),
            Some(volume) if volume.get("persistentVolumeClaim").is_none() && volume.get("ephemeral").is_none() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                faults.invalid(format!("{path}.name"), name, detail);
            }
            Some(_) => {}
        }
        if target.is_empty() {
            faults.required(format!("{path}.devicePath"), "");
        } else if !paths.insert(target) {
            faults.invalid(format!("{path}.devicePath"), target, "must be unique");
        } else if target.split('/').any(|part| part == "..") {
            faults.invalid(format!("{path}.devicePath"), target, "can not contain backsteps ('..')");
        }
        if mounts.0.contains(name) {
            faults.invalid(format!("{path}.name"), name, "must not already exist in volumeMounts");
        }
        if mounts.1.contains(target) {
            faults.invalid(format!("{path}.devicePath"), target, "must not already exist as a path in volumeMounts");
        }
    }
}

/// Faults stand at the list of mounts, as Kubernetes tells them, except that about both at once.
fn sub_paths(mount: &Value, path: &str, list_path: &str, faults: &mut Faults) {
    let (plain, expression) = (text(mount, "/subPath"), text(mount, "/subPathExpr"));
    if !plain.is_empty() {
        relative(plain, &format!("{list_path}.subPath"), faults);
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            faults.invalid(format!("{path}.subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
        }
        relative(expression, &format!("{list_path}.subPathExpr"), faults);
    }
}

fn propagation(container: &Value, mount: &Value, list_path: &str, faults: &mut Faults) {
    let path = format!("{list_path}.mountPropagation");
    let wanted = text(mount, "/mountPropagation");
    match wanted {
        "" | "None" | "HostToContainer" => {}
        "Bidirectional" if flag(container, "/securityContext/privileged") => {}
        "Bidirectional" => {
            faults.forbidden(path, "Bidirectional mount propagation is available only to privileged containers");
        }
        other => faults.not_supported(path, other, &["Bidirectional", "HostToContainer", "None"]),
    }
    let path = format!("{list_path}.recursiveReadOnly");
    match text(mount, "/recursiveReadOnly") {
        "" | "Disabled" => {}
        "Enabled" | "IfPossible" => {
            if !flag(mount, "/readOnly") {
                faults.forbidden(path.as_str(), "may only be specified when readOnly is true");
            }
            if !matches!(wanted, "" | "None") {
                faults.forbidden(path, "may only be specified when mountPropagation is None or not specified");
            }
        }
        other => faults.not_supported(path, other, &["Disabled", "Enabled", "IfPossible"]),
    }
}
