//! Which environment variables are valid, and the references to fields and resources that volumes make, too.

use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use super::containers::Volumes;
use super::resources;
use crate::names::{config_key, env_name, qualified, report, subdomain};
use crate::tree::{at, list, missing, text};
use crate::volumes::paths::relative_and_free;

/// `env` and `envFrom` of a container.
pub fn validate(container: &Value, volumes: &Volumes<'_>, path: &str, faults: &mut Faults) {
    for (index, variable) in list(container, "/env").iter().enumerate() {
        let path = format!("{path}.env[{index}]");
        match text(variable, "/name") {
            "" => faults.required(format!("{path}.name"), ""),
            name => report(env_name(name), name, &format!("{path}.name"), faults),
        }
        if !missing(variable, "/valueFrom") {
            value_from(variable, volumes, &format!("{path}.valueFrom"), faults);
        }
    }
    let list_path = format!("{path}.envFrom");
    for (index, source) in list(container, "/envFrom").iter().enumerate() {
        let (path, list_path) = (format!("{list_path}[{index}]"), list_path.as_str());
        let prefix = text(source, "/prefix");
        if !prefix.is_empty() {
            report(env_name(prefix), prefix, &format!("{path}.prefix"), faults);
        }
        let given: Vec<_> = ["configMapRef", "secretRef"].into_iter().filter(|one| !source[*one].is_null()).collect();
        for member in &given {
            match text(source, &format!("/{member}/name")) {
                "" => faults.required(format!("{path}.{member}.name"), ""),
                name => report(subdomain(name), name, &format!("{path}.{member}.name"), faults),
            }
        }
        // Kubernetes tells these at the list.
        match given.len() {
            0 => faults.invalid(list_path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => faults.invalid(list_path, "", "may not have more than one field specified at a time"),
        }
    }
}

/// Where a value may come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Origin {
    Field,
    Resource,
    ConfigMapKey,
    SecretKey,
    FileKey,
}

impl Origin {
    const ALL: [Origin; 5] =
        [Origin::Field, Origin::Resource, Origin::ConfigMapKey, Origin::SecretKey, Origin::FileKey];

    fn member(self) -> &'static str {
        match self {
            Origin::Field => "fieldRef",
            Origin::Resource => "resourceFieldRef",
            Origin::ConfigMapKey => "configMapKeyRef",
            Origin::SecretKey => "secretKeyRef",
            Origin::FileKey => "fileKeyRef",
        }
    }
}

fn value_from(variable: &Value, volumes: &Volumes<'_>, path: &str, faults: &mut Faults) {
    let from = &variable["valueFrom"];
    let given: Vec<_> = Origin::ALL.into_iter().filter(|one| !from[one.member()].is_null()).collect();
    for origin in &given {
        let (source, path) = (&from[origin.member()], format!("{path}.{}", origin.member()));
        match origin {
            Origin::Field => field_reference(source, ENV_FIELDS, &path, faults),
            Origin::Resource => resource_reference(source, false, &path, faults),
            Origin::ConfigMapKey | Origin::SecretKey => key_reference(source, &path, faults),
            Origin::FileKey => file_reference(source, volumes, &path, faults),
        }
    }
    match given.len() {
        0 => faults.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
        ),
        _ if !text(variable, "/value").is_empty() => {
            faults.invalid(path, "", "may not be specified when `value` is not empty");
        }
        1 => {}
        _ => faults.invalid(path, "", "may not have more than one field specified at a time"),
    }
}

fn key_reference(source: &Value, path: &str, faults: &mut Faults) {
    let name = text(source, "/name");
    report(subdomain(name), name, &format!("{path}.name"), faults);
    match text(source, "/key") {
        "" => faults.required(format!("{path}.key"), ""),
        key => report(config_key(key), key, &format!("{path}.key"), faults),
    }
}

/// A variable of a file that another container leaves in an empty directory.
fn file_reference(source: &Value, volumes: &Volumes<'_>, path: &str, faults: &mut Faults) {
    match text(source, "/key") {
        "" => faults.required(format!("{path}.key"), ""),
        key => report(env_name(key), key, &format!("{path}.key"), faults),
    }
    match text(source, "/path") {
        "" => faults.required(format!("{path}.path"), ""),
        target => relative_and_free(target, &format!("{path}.path"), faults),
    }
    let (name, path) = (text(source, "/volumeName"), format!("{path}.volumeName"));
    match volumes.get(name) {
        _ if name.is_empty() => faults.required(path, ""),
        None => faults.add(FaultKind::NotFound, path, Some(name.into()), ""),
        Some(volume) if missing(volume, "/emptyDir") => {
            faults.invalid(path, name, "referenced volume must be of type emptyDir");
        }
        Some(_) => {}
    }
}

const ENV_FIELDS: &[&str] = &[
    "metadata.name",
    "metadata.namespace",
    "metadata.uid",
    "spec.nodeName",
    "spec.serviceAccountName",
    "status.hostIP",
    "status.hostIPs",
    "status.podIP",
    "status.podIPs",
];
pub const VOLUME_FIELDS: &[&str] =
    &["metadata.annotations", "metadata.labels", "metadata.name", "metadata.namespace", "metadata.uid"];
const RESOURCE_FIELDS: &[&str] = &[
    "limits.cpu",
    "limits.ephemeral-storage",
    "limits.memory",
    "requests.cpu",
    "requests.ephemeral-storage",
    "requests.memory",
];

/// Fields that exist and can be referred to nowhere.
const OTHER_FIELDS: &[&str] = &["spec.restartPolicy", "spec.schedulerName", "status.phase"];

/// A field of the pod: `metadata.labels['app']`, `status.podIP`.
pub fn field_reference(source: &Value, supported: &[&str], path: &str, faults: &mut Faults) {
    if text(source, "/apiVersion").is_empty() {
        faults.required(format!("{path}.apiVersion"), "");
        return;
    }
    let wanted = text(source, "/fieldPath");
    let subscript = wanted.strip_suffix("']").and_then(|rest| rest.split_once("['"));
    let version = text(source, "/apiVersion");
    if !wanted.is_empty() && version != "v1" {
        let detail = format!("error converting fieldPath: unsupported pod version: {version}");
        faults.invalid(format!("{path}.fieldPath"), wanted, detail);
        return;
    }
    let exists = [ENV_FIELDS, VOLUME_FIELDS, OTHER_FIELDS].concat().contains(&wanted);
    match (wanted, subscript) {
        ("", _) => faults.required(format!("{path}.fieldPath"), ""),
        (_, Some(("metadata.annotations", key))) => report(qualified(&key.to_lowercase()), key, path, faults),
        (_, Some(("metadata.labels", key))) => report(qualified(key), key, path, faults),
        (_, None) if supported.contains(&wanted) => {}
        (_, None) if exists => faults.not_supported(format!("{path}.fieldPath"), wanted, supported),
        _ => {
            let detail = format!("error converting fieldPath: field label not supported: {wanted}");
            faults.invalid(format!("{path}.fieldPath"), wanted, detail);
        }
    }
}

/// A limit or request of a container.
pub fn resource_reference(source: &Value, container_required: bool, path: &str, faults: &mut Faults) {
    let resource = text(source, "/resource");
    let huge = resource.starts_with("limits.hugepages-") || resource.starts_with("requests.hugepages-");
    if container_required && text(source, "/containerName").is_empty() {
        faults.required(format!("{path}.containerName"), "");
    } else if resource.is_empty() {
        faults.required(format!("{path}.resource"), "");
    } else if !huge && !RESOURCE_FIELDS.contains(&resource) {
        faults.not_supported(format!("{path}.resource"), resource, RESOURCE_FIELDS);
    }
    divisor(source, resource, path, faults);
}

/// The unit a resource is told in: one of it, or a power of a thousand or 1,024.
fn divisor(source: &Value, resource: &str, path: &str, faults: &mut Faults) {
    const CPU: &[&str] = &["1m", "1"];
    const BYTES: &[&str] = &["1", "1k", "1M", "1G", "1T", "1P", "1E", "1Ki", "1Mi", "1Gi", "1Ti", "1Pi", "1Ei"];
    let Some(given) = resources::quantity(at(source, "/divisor")).filter(|one| !one.is_zero()) else { return };
    let Some((_, name)) = resource.split_once('.') else { return };
    let (units, told) = match name {
        "cpu" => (CPU, "1m and 1".to_owned()),
        _ => (BYTES, BYTES.join(", ")),
    };
    let called = match name {
        "ephemeral-storage" => "local ephemeral storage",
        name if name.starts_with("hugepages-") => "hugepages",
        name => name,
    };
    if !units.contains(&given.to_string().as_str()) {
        let detail = format!("only divisor's values {told} are supported with the {called} resource");
        faults.invalid(format!("{path}.divisor"), resource, detail);
    }
}
