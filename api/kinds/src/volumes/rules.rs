//! What sources of storage must say.

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::Value;

use super::paths::{no_back_steps, relative};
use crate::fields::{driver_name, known, named};
use crate::names::{label, report, subdomain};
use crate::tree::{at, flag, int, list, members, missing, text};

const TENANT_LENGTH_MAX: usize = 64;
const LUN_MAX: i64 = 255;
const PARTITION_MAX: i64 = 255;

pub fn required(source: &Value, member: &str, path: &str, faults: &mut Faults) {
    let value = at(source, &format!("/{member}"));
    if value.as_str().is_none_or(str::is_empty) && value.as_array().is_none_or(Vec::is_empty) {
        faults.required(format!("{path}.{member}"), "");
    }
}

fn all_required(source: &Value, members: &[&str], path: &str, faults: &mut Faults) {
    for member in members {
        required(source, member, path, faults);
    }
}

pub fn host_path(source: &Value, path: &str, faults: &mut Faults) {
    let target = text(source, "/path");
    if target.is_empty() {
        faults.required(format!("{path}.path"), "");
        return;
    }
    no_back_steps(target, &format!("{path}.path"), faults);
    known(text(source, "/type"), (ids::CORE_V1_HOSTPATHVOLUMESOURCE, "type"), format!("{path}.type"), faults);
}

pub fn local(source: &Value, path: &str, faults: &mut Faults) {
    match text(source, "/path") {
        "" => faults.required(format!("{path}.path"), ""),
        target => no_back_steps(target, &format!("{path}.path"), faults),
    }
}

pub fn nfs(source: &Value, path: &str, faults: &mut Faults) {
    all_required(source, &["server", "path"], path, faults);
    let target = text(source, "/path");
    if !target.starts_with('/') {
        faults.invalid(format!("{path}.path"), target, "must be an absolute path");
    }
}

pub fn git_repo(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "repository", path, faults);
    relative(text(source, "/directory"), &format!("{path}.directory"), faults);
}

pub fn gce_persistent_disk(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "pdName", path, faults);
    partition(source, path, faults);
}

pub fn aws_elastic_block_store(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "volumeID", path, faults);
    partition(source, path, faults);
}

fn partition(source: &Value, path: &str, faults: &mut Faults) {
    let partition = int(source, "/partition");
    if !(0..=PARTITION_MAX).contains(&partition) {
        // Zero is the whole disk: what Kubernetes says of it leaves that out.
        let detail = format!("must be between 1 and {PARTITION_MAX}, inclusive");
        faults.invalid(format!("{path}.partition"), partition, detail);
    }
}

pub fn iscsi(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "targetPortal", path, faults);
    match text(source, "/iqn") {
        "" => faults.required(format!("{path}.iqn"), ""),
        name => iscsi_name(name, &format!("{path}.iqn"), faults),
    }
    lun(int(source, "/lun"), path, faults);
    if (flag(source, "/chapAuthDiscovery") || flag(source, "/chapAuthSession")) && missing(source, "/secretRef") {
        faults.required(format!("{path}.secretRef"), "");
    }
    if let Some(name) = at(source, "/initiatorName").as_str() {
        iscsi_name(name, &format!("{path}.initiatorname"), faults);
    }
}

pub fn iscsi_of_cluster(source: &Value, path: &str, faults: &mut Faults) {
    iscsi(source, path, faults);
    if !missing(source, "/secretRef") {
        required(at(source, "/secretRef"), "name", &format!("{path}.secretRef"), faults);
    }
}

fn lun(lun: i64, path: &str, faults: &mut Faults) {
    if !(0..=LUN_MAX).contains(&lun) {
        faults.invalid(format!("{path}.lun"), lun, format!("must be between 0 and {LUN_MAX}, inclusive"));
    }
}

/// `iqn.2001-04.com.example:x`, or `eui` and `naa` with a character and 16 or 32 others.
fn iscsi_name(name: &str, path: &str, faults: &mut Faults) {
    let numbered = |length: usize| {
        let rest: Vec<char> = name.chars().skip(3).collect();
        rest.len() == length + 1 && rest[1..].iter().all(char::is_ascii_alphanumeric)
    };
    let valid = match name.get(..3) {
        Some("iqn") => name.match_indices("iqn.").any(|(start, prefix)| is_iqn(&name[start + prefix.len()..])),
        Some("eui") => numbered(16),
        Some("naa") => numbered(32),
        _ => {
            faults.invalid(path, name, "must be valid format starting with iqn, eui, or naa");
            return;
        }
    };
    if !valid {
        faults.invalid(path, name, "must be valid format");
    }
}

/// What follows `iqn.`: a year and a month, who owns the name, and a colon before the name.
fn is_iqn(rest: &str) -> bool {
    let Some((date, rest)) = rest.split_at_checked(8) else { return false };
    let shape = date.bytes().zip(*b"0000-00.").all(|(byte, place)| match place {
        b'0' => byte.is_ascii_digit(),
        mark => byte == mark,
    });
    let owner = |text: &str| {
        !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.'))
    };
    let name =
        |text: &str| !text.is_empty() && !text.contains([',', ';', '*', '&', '$', '|', ' ', '\t', '\n', '\r', '\u{c}']);
    shape && rest.split_once(':').is_some_and(|(before, after)| owner(before) && name(after))
}

pub fn glusterfs(source: &Value, path: &str, faults: &mut Faults) {
    all_required(source, &["endpoints", "path"], path, faults);
}

pub fn glusterfs_of_cluster(source: &Value, path: &str, faults: &mut Faults) {
    glusterfs(source, path, faults);
    let path = format!("{path}.endpointsNamespace");
    match at(source, "/endpointsNamespace").as_str() {
        None => {}
        Some("") => faults.invalid(path, "", "if the endpointnamespace is set, it must be a valid namespace name"),
        Some(namespace) => report(label(namespace), namespace, &path, faults),
    }
}

pub fn flocker(source: &Value, path: &str, faults: &mut Faults) {
    let name = text(source, "/datasetName");
    match (name.is_empty(), text(source, "/datasetUUID").is_empty()) {
        (true, true) => faults.required(path, "one of datasetName and datasetUUID is required"),
        (false, false) => {
            let detail = "datasetName and datasetUUID can not be specified simultaneously";
            faults.invalid(path, "resource", detail);
        }
        (true, false) | (false, true) => {}
    }
    if name.contains('/') {
        faults.invalid(format!("{path}.datasetName"), name, "must not contain '/'");
    }
}

pub fn rbd(source: &Value, path: &str, faults: &mut Faults) {
    all_required(source, &["monitors", "image"], path, faults);
}

pub fn cephfs(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "monitors", path, faults);
}

pub fn cinder(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "volumeID", path, faults);
    secret(source, &["name"], path, faults);
}

pub fn cinder_of_cluster(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "volumeID", path, faults);
    secret(source, &["name", "namespace"], path, faults);
}

fn secret(source: &Value, members: &[&str], path: &str, faults: &mut Faults) {
    if !missing(source, "/secretRef") {
        all_required(at(source, "/secretRef"), members, &format!("{path}.secretRef"), faults);
    }
}

pub fn quobyte(source: &Value, path: &str, faults: &mut Faults) {
    const PAIRS: &str = "must be a host:port pair or multiple pairs separated by commas";
    let registry = text(source, "/registry");
    if registry.is_empty() {
        faults.required(format!("{path}.registry"), PAIRS);
    } else if text(source, "/tenant").len() > TENANT_LENGTH_MAX {
        let detail = format!("must be a UUID and may not exceed a length of {TENANT_LENGTH_MAX} characters");
        faults.required(format!("{path}.tenant"), detail);
    } else {
        for _ in registry.split(',').filter(|pair| !is_host_and_port(pair)) {
            faults.invalid(format!("{path}.registry"), registry, PAIRS);
        }
    }
    required(source, "volume", path, faults);
}

/// As Go's `net.SplitHostPort` takes it: an address with colons stands in brackets.
fn is_host_and_port(pair: &str) -> bool {
    let Some((host, port)) = pair.rsplit_once(':') else { return false };
    let bare = match host.strip_prefix('[') {
        Some(rest) => rest.strip_suffix(']'),
        None => Some(host).filter(|host| !host.contains(':')),
    };
    bare.is_some_and(|host| !host.contains(['[', ']'])) && !port.contains(['[', ']'])
}

pub fn fibre_channel(source: &Value, path: &str, faults: &mut Faults) {
    let (targets, worldwide) = (list(source, "/targetWWNs"), list(source, "/wwids"));
    let place = format!("{path}.targetWWNs");
    if targets.is_empty() && worldwide.is_empty() {
        faults.required(place, "must specify either targetWWNs or wwids, but not both");
        return;
    }
    if !targets.is_empty() && !worldwide.is_empty() {
        faults.invalid(place, targets.to_vec(), "targetWWNs and wwids can not be specified simultaneously");
    }
    match at(source, "/lun").as_i64() {
        _ if targets.is_empty() => {}
        Some(number) => lun(number, path, faults),
        None => faults.required(format!("{path}.lun"), "lun is required if targetWWNs is specified"),
    }
}

pub fn flex(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "driver", path, faults);
    for (option, _) in members(source, "/options") {
        let domain = option.split_once('/').map_or(option.as_str(), |(domain, _)| domain);
        let domain = format!(".{}", domain.to_lowercase());
        if domain.ends_with(".kubernetes.io") || domain.ends_with(".k8s.io") {
            let detail = "kubernetes.io and k8s.io namespaces are reserved";
            faults.invalid(format!("{path}.options[{option}]"), option.as_str(), detail);
        }
    }
}

pub fn azure_file(source: &Value, path: &str, faults: &mut Faults) {
    all_required(source, &["secretName", "shareName"], path, faults);
}

pub fn azure_file_of_cluster(source: &Value, path: &str, faults: &mut Faults) {
    azure_file(source, path, faults);
    if at(source, "/secretNamespace") == "" {
        faults.required(format!("{path}.secretNamespace"), "");
    }
}

pub fn azure_disk(source: &Value, path: &str, faults: &mut Faults) {
    const MANAGED: &str =
        "/subscriptions/{sub-id}/resourcegroups/{group-name}/providers/microsoft.compute/disks/{disk-id}";
    const BLOB: &str = "https://{account-name}.blob.core.windows.net/{container-name}/{disk-name}.vhd";
    all_required(source, &["diskName", "diskURI"], path, faults);
    if let Some(mode) = at(source, "/cachingMode").as_str() {
        known(mode, (ids::CORE_V1_AZUREDISKVOLUMESOURCE, "cachingMode"), format!("{path}.cachingMode"), faults);
    }
    let Some(kind) = at(source, "/kind").as_str() else { return };
    known(kind, (ids::CORE_V1_AZUREDISKVOLUMESOURCE, "kind"), format!("{path}.kind"), faults);
    let (prefix, shape) = if kind == "Managed" { ("/subscriptions/", MANAGED) } else { ("https://", BLOB) };
    let uri = text(source, "/diskURI");
    if !uri.starts_with(prefix) {
        faults.not_supported(format!("{path}.diskURI"), uri, &[shape]);
    }
}

pub fn vsphere(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "volumePath", path, faults);
}

pub fn photon(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "pdID", path, faults);
}

pub fn portworx(source: &Value, path: &str, faults: &mut Faults) {
    required(source, "volumeID", path, faults);
}

pub fn scale_io(source: &Value, path: &str, faults: &mut Faults) {
    all_required(source, &["gateway", "system", "volumeName"], path, faults);
}

pub fn storage_os(source: &Value, path: &str, faults: &mut Faults) {
    storage_os_volume(source, path, faults);
    secret(source, &["name"], path, faults);
}

pub fn storage_os_of_cluster(source: &Value, path: &str, faults: &mut Faults) {
    storage_os_volume(source, path, faults);
    secret(source, &["name", "namespace"], path, faults);
}

fn storage_os_volume(source: &Value, path: &str, faults: &mut Faults) {
    named(text(source, "/volumeName"), label, format!("{path}.volumeName"), faults);
    let namespace = text(source, "/volumeNamespace");
    if !namespace.is_empty() {
        report(label(namespace), namespace, &format!("{path}.volumeNamespace"), faults);
    }
}

pub fn csi(source: &Value, path: &str, faults: &mut Faults) {
    driver_name(text(source, "/driver"), &format!("{path}.driver"), faults);
    let secret = at(source, "/nodePublishSecretRef");
    if !secret.is_null() {
        match text(secret, "/name") {
            "" => faults.required(format!("{path}.nodePublishSecretRef.name"), ""),
            // Kubernetes tells this one level higher.
            name => report(subdomain(name), name, &format!("{path}.name"), faults),
        }
    }
}

pub fn csi_of_cluster(source: &Value, path: &str, faults: &mut Faults) {
    driver_name(text(source, "/driver"), &format!("{path}.driver"), faults);
    required(source, "volumeHandle", path, faults);
    for member in
        ["controllerPublishSecretRef", "controllerExpandSecretRef", "nodePublishSecretRef", "nodeExpandSecretRef"]
    {
        let secret = at(source, &format!("/{member}"));
        if !secret.is_null() {
            let path = format!("{path}.{member}");
            named(text(secret, "/name"), subdomain, format!("{path}.name"), faults);
            named(text(secret, "/namespace"), label, format!("{path}.namespace"), faults);
        }
    }
}
