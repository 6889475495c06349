//! Which mounts and block devices of a container are valid.

use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use super::volumes::relative_path;
use crate::tree::{flag, list, text};

/// `volumeMounts` and `volumeDevices` of a container; `volumes` are the pod's.
pub fn validate(container: &Value, volumes: &[Value], path: &str, faults: &mut Faults) {
    let volume = |name: &str| volumes.iter().find(|volume| text(volume, "/name") == name);
    let devices = list(container, "/volumeDevices");
    let list_path = format!("{path}.volumeMounts");
    let mut paths = Vec::new();
    for (index, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let path = format!("{list_path}[{index}]");
        let (name, target) = (text(mount, "/name"), text(mount, "/mountPath"));
        if name.is_empty() {
            faults.required(format!("{path}.name"), "");
        }
        if volume(name).is_none() {
            faults.add(FaultKind::NotFound, format!("{path}.name"), Some(name.into()), "");
        }
        if target.is_empty() {
            faults.required(format!("{path}.mountPath"), "");
        }
        if paths.contains(&target) {
            faults.invalid(format!("{path}.mountPath"), target, "must be unique");
        }
        paths.push(target);
        if devices.iter().any(|device| text(device, "/name") == name) {
            faults.invalid(format!("{path}.name"), name, "must not already exist in volumeDevices");
        }
        if devices.iter().any(|device| text(device, "/devicePath") == target) {
            faults.invalid(format!("{path}.mountPath"), target, "must not already exist as a path in volumeDevices");
        }
        let of_image = volume(name).is_some_and(|volume| volume.get("image").is_some());
        sub_paths(mount, of_image, &path, &list_path, faults);
        propagation(container, mount, &list_path, faults);
    }
    volume_devices(container, &volume, path, faults);
}

fn volume_devices<'a>(container: &Value, volume: &dyn Fn(&str) -> Option<&'a Value>, path: &str, faults: &mut Faults) {
    let (mut names, mut paths) = (Vec::new(), Vec::new());
    for (index, device) in list(container, "/volumeDevices").iter().enumerate() {
        let path = format!("{path}.volumeDevices[{index}]");
        let (name, target) = (text(device, "/name"), text(device, "/devicePath"));
        if name.is_empty() {
            faults.required(format!("{path}.name"), "");
        } else if names.contains(&name) {
            faults.invalid(format!("{path}.name"), name, "must be unique");
        }
        match volume(name) {
            None => faults.add(FaultKind::NotFound, format!("{path}.name"), Some(name.into()), ""),
            Some(volume) if volume.get("persistentVolumeClaim").is_none() && volume.get("ephemeral").is_none() => {
                let detail = "can only use volume source type of PersistentVolumeClaim or Ephemeral for block mode";
                faults.invalid(format!("{path}.name"), name, detail);
            }
            Some(_) => {}
        }
        if target.is_empty() {
            faults.required(format!("{path}.devicePath"), "");
        } else if paths.contains(&target) {
            faults.invalid(format!("{path}.devicePath"), target, "must be unique");
        } else if target.split('/').any(|part| part == "..") {
            faults.invalid(format!("{path}.devicePath"), target, "can not contain backsteps ('..')");
        }
        names.push(name);
        paths.push(target);
    }
}

/// Faults stand at the list of mounts, as Kubernetes tells them, except those about images and both at once.
fn sub_paths(mount: &Value, of_image: bool, path: &str, list_path: &str, faults: &mut Faults) {
    let (plain, expression) = (text(mount, "/subPath"), text(mount, "/subPathExpr"));
    for (member, value) in [("subPath", plain), ("subPathExpr", expression)] {
        if of_image && !value.is_empty() {
            faults.invalid(format!("{path}.{member}"), value, "not allowed in image volume sources");
        }
    }
    if !plain.is_empty() {
        relative_path(plain, &format!("{list_path}.subPath"), faults);
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            faults.invalid(format!("{path}.subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
        }
        relative_path(expression, &format!("{list_path}.subPathExpr"), faults);
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
