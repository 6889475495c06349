//! Which containers are valid (`validateContainers`, `validateInitContainers`).

use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use super::{probes, resources};
use crate::names::{config_key, env_name, label, port_name, port_number, qualified, report};
use crate::tree::{at, flag, int, list, missing, text};

/// What a container may refer to.
pub struct Scope<'a> {
    pub volumes: &'a [Value],
    pub grace_period: i64,
}

const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// Regular containers, at `path`.
pub fn validate(containers: &[Value], scope: &Scope<'_>, path: &str, faults: &mut Faults) {
    if containers.is_empty() {
        faults.required(path, "");
    }
    let mut seen = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        let path = format!("{path}[{index}]");
        validate_any(container, scope, &path, faults);
        unique_name(container, &mut seen, &path, faults);
        probes::validate_all(container, scope.grace_period, &path, faults);
        if !missing(container, "/restartPolicy") && list(container, "/restartPolicyRules").is_empty() {
            validate_restart_policy(text(container, "/restartPolicy"), &path, faults);
        }
    }
    host_port_conflicts(containers, path, faults);
}

fn validate_restart_policy(policy: &str, path: &str, faults: &mut Faults) {
    if !matches!(policy, "Always" | "OnFailure" | "Never") {
        faults.not_supported(format!("{path}.restartPolicy"), policy, &["Always", "OnFailure", "Never"]);
    }
}

/// Init containers, at `path`. Only those that restart always (sidecars) have probes and hooks.
pub fn validate_init(init: &[Value], regular: &[Value], scope: &Scope<'_>, path: &str, faults: &mut Faults) {
    let mut seen: Vec<&str> = regular.iter().map(|one| text(one, "/name")).filter(|name| !name.is_empty()).collect();
    for (index, container) in init.iter().enumerate() {
        let path = format!("{path}[{index}]");
        validate_any(container, scope, &path, faults);
        unique_name(container, &mut seen, &path, faults);
        let policy = text(container, "/restartPolicy");
        if !policy.is_empty() {
            validate_restart_policy(policy, &path, faults);
        }
        if policy == "Always" {
            probes::validate_all(container, scope.grace_period, &path, faults);
            continue;
        }
        for member in ["lifecycle"].iter().chain(&PROBES) {
            if !missing(container, &format!("/{member}")) {
                faults.forbidden(
                    format!("{path}.{member}"),
                    "may not be set for init containers without restartPolicy=Always",
                );
            }
        }
    }
    host_port_conflicts(init, path, faults);
}

fn unique_name<'a>(container: &'a Value, seen: &mut Vec<&'a str>, path: &str, faults: &mut Faults) {
    let name = text(container, "/name");
    if seen.contains(&name) && !name.is_empty() {
        faults.duplicate(format!("{path}.name"), name);
    }
    seen.push(name);
}

/// What every container must satisfy.
fn validate_any(container: &Value, scope: &Scope<'_>, path: &str, faults: &mut Faults) {
    match text(container, "/name") {
        "" => faults.required(format!("{path}.name"), ""),
        name => report(label(name), name, &format!("{path}.name"), faults),
    }
    let image = text(container, "/image");
    if image.is_empty() {
        faults.required(format!("{path}.image"), "");
    } else if image.trim() != image {
        faults.invalid(format!("{path}.image"), image, "must not have leading or trailing whitespace");
    }
    match text(container, "/terminationMessagePolicy") {
        "File" | "FallbackToLogsOnError" => {}
        "" => faults.required(format!("{path}.terminationMessagePolicy"), ""),
        other => {
            let supported = ["File", "FallbackToLogsOnError"];
            faults.not_supported(format!("{path}.terminationMessagePolicy"), other, &supported);
        }
    }
    ports(container, &format!("{path}.ports"), faults);
    environment(container, path, faults);
    mounts(container, scope.volumes, path, faults);
    match text(container, "/imagePullPolicy") {
        "Always" | "IfNotPresent" | "Never" => {}
        "" => faults.required(format!("{path}.imagePullPolicy"), ""),
        other => {
            faults.not_supported(format!("{path}.imagePullPolicy"), other, &["Always", "IfNotPresent", "Never"]);
        }
    }
    resources::validate(at(container, "/resources"), &format!("{path}.resources"), faults);
    security(at(container, "/securityContext"), &format!("{path}.securityContext"), faults);
}

fn ports(container: &Value, path: &str, faults: &mut Faults) {
    let mut seen = Vec::new();
    for (index, port) in list(container, "/ports").iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = text(port, "/name");
        if !name.is_empty() {
            let wrong = port_name(name);
            if wrong.is_empty() && seen.contains(&name) {
                faults.duplicate(format!("{path}.name"), name);
            }
            report(wrong, name, &format!("{path}.name"), faults);
            seen.push(name);
        }
        let number = int(port, "/containerPort");
        if number == 0 {
            faults.required(format!("{path}.containerPort"), "");
        } else {
            number_in_range(number, &format!("{path}.containerPort"), faults);
        }
        let host = int(port, "/hostPort");
        if host != 0 {
            number_in_range(host, &format!("{path}.hostPort"), faults);
        }
        match text(port, "/protocol") {
            "TCP" | "UDP" | "SCTP" => {}
            "" => faults.required(format!("{path}.protocol"), ""),
            other => faults.not_supported(format!("{path}.protocol"), other, &["SCTP", "TCP", "UDP"]),
        }
    }
}

fn number_in_range(number: i64, path: &str, faults: &mut Faults) {
    for fault in port_number(number) {
        faults.invalid(path, number, fault);
    }
}

fn host_port_conflicts(containers: &[Value], path: &str, faults: &mut Faults) {
    let mut seen = Vec::new();
    for (index, container) in containers.iter().enumerate() {
        for (at, port) in list(container, "/ports").iter().enumerate() {
            let host = int(port, "/hostPort");
            if host == 0 {
                continue;
            }
            let taken = format!("{}/{}/{host}", text(port, "/protocol"), text(port, "/hostIP"));
            if seen.contains(&taken) {
                faults.duplicate(format!("{path}[{index}].ports[{at}].hostPort"), taken.as_str());
            }
            seen.push(taken);
        }
    }
}

fn environment(container: &Value, path: &str, faults: &mut Faults) {
    for (index, variable) in list(container, "/env").iter().enumerate() {
        let path = format!("{path}.env[{index}]");
        match text(variable, "/name") {
            "" => faults.required(format!("{path}.name"), ""),
            name => report(env_name(name), name, &format!("{path}.name"), faults),
        }
        if !missing(variable, "/valueFrom") {
            value_from(variable, &format!("{path}.valueFrom"), faults);
        }
    }
    for (index, source) in list(container, "/envFrom").iter().enumerate() {
        let path = format!("{path}.envFrom[{index}]");
        let prefix = text(source, "/prefix");
        if !prefix.is_empty() {
            report(env_name(prefix), prefix, &format!("{path}.prefix"), faults);
        }
        let given: Vec<_> = ["configMapRef", "secretRef"].into_iter().filter(|one| !source[*one].is_null()).collect();
        for member in &given {
            if text(source, &format!("/{member}/name")).is_empty() {
                faults.required(format!("{path}.{member}.name"), "");
            }
        }
        match given.len() {
            0 => faults.invalid(path, "", "must specify one of: `configMapRef` or `secretRef`"),
            1 => {}
            _ => faults.invalid(path, "", "may not have more than one field specified at a time"),
        }
    }
}

const SOURCES: [&str; 5] = ["fieldRef", "resourceFieldRef", "configMapKeyRef", "secretKeyRef", "fileKeyRef"];

fn value_from(variable: &Value, path: &str, faults: &mut Faults) {
    let from = &variable["valueFrom"];
    let given: Vec<_> = SOURCES.into_iter().filter(|one| !from[*one].is_null()).collect();
    for member in &given {
        let (source, path) = (&from[*member], format!("{path}.{member}"));
        match *member {
            "fieldRef" => field_reference(source, ENV_FIELDS, &path, faults),
            "resourceFieldRef" => resource_reference(source, false, &path, faults),
            "configMapKeyRef" | "secretKeyRef" => key_reference(source, &path, faults),
            _ => {}
        }
    }
    match given.len() {
        0 => faults.invalid(
            path,
            "",
            "must specify one of: `fieldRef`, `resourceFieldRef`, `configMapKeyRef` or `secretKeyRef`",
        ),
        _ if !text(variable, "/value").is_empty() => {
            faults.invalid(path, "", "may not be specified when `value` is not empty");
        }
        1 => {}
        _ => faults.invalid(path, "", "may not have more than one field specified at a time"),
    }
}

fn key_reference(source: &Value, path: &str, faults: &mut Faults) {
    if text(source, "/name").is_empty() {
        faults.required(format!("{path}.name"), "");
    }
    match text(source, "/key") {
        "" => faults.required(format!("{path}.key"), ""),
        key => report(config_key(key), key, &format!("{path}.key"), faults),
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

/// A field of the pod: `metadata.labels['app']`, `status.podIP`.
pub fn field_reference(source: &Value, supported: &[&str], path: &str, faults: &mut Faults) {
    if text(source, "/apiVersion").is_empty() {
        faults.required(format!("{path}.apiVersion"), "");
        return;
    }
    let wanted = text(source, "/fieldPath");
    let path = format!("{path}.fieldPath");
    let subscript = wanted.strip_suffix("']").and_then(|rest| rest.split_once("['"));
    match (wanted, subscript) {
        ("", _) => faults.required(path, ""),
        (_, Some(("metadata.annotations", key))) => report(qualified(&key.to_lowercase()), key, &path, faults),
        (_, Some(("metadata.labels", key))) => report(qualified(key), key, &path, faults),
        (_, Some((field, _))) => faults.invalid(path, field, "does not support subscript"),
        (_, None) if supported.contains(&wanted) => {}
        (_, None) if ENV_FIELDS.contains(&wanted) || VOLUME_FIELDS.contains(&wanted) => {
            faults.not_supported(path, wanted, supported);
        }
        (_, None) => {
            faults.invalid(path, wanted, format!("error converting fieldPath: field label not supported: {wanted}"));
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
}

fn mounts(container: &Value, volumes: &[Value], path: &str, faults: &mut Faults) {
    let exists = |name: &str| volumes.iter().any(|volume| text(volume, "/name") == name);
    let devices = list(container, "/volumeDevices");
    let mut paths = Vec::new();
    for (index, mount) in list(container, "/volumeMounts").iter().enumerate() {
        let path = format!("{path}.volumeMounts[{index}]");
        let (name, target) = (text(mount, "/name"), text(mount, "/mountPath"));
        if name.is_empty() {
            faults.required(format!("{path}.name"), "");
        }
        if !exists(name) {
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
        sub_paths(mount, &path, faults);
        propagation(container, mount, &path, faults);
    }
    for (index, device) in devices.iter().enumerate() {
        let path = format!("{path}.volumeDevices[{index}]");
        let name = text(device, "/name");
        if name.is_empty() {
            faults.required(format!("{path}.name"), "");
        } else if !exists(name) {
            faults.add(FaultKind::NotFound, format!("{path}.name"), Some(name.into()), "");
        }
        if text(device, "/devicePath").is_empty() {
            faults.required(format!("{path}.devicePath"), "");
        }
    }
}

fn sub_paths(mount: &Value, path: &str, faults: &mut Faults) {
    let (plain, expression) = (text(mount, "/subPath"), text(mount, "/subPathExpr"));
    if !plain.is_empty() {
        super::volumes::relative_path(plain, &format!("{path}.subPath"), faults);
    }
    if !expression.is_empty() {
        if !plain.is_empty() {
            faults.invalid(format!("{path}.subPathExpr"), expression, "subPathExpr and subPath are mutually exclusive");
        }
        super::volumes::relative_path(expression, &format!("{path}.subPathExpr"), faults);
    }
}

fn propagation(container: &Value, mount: &Value, path: &str, faults: &mut Faults) {
    let path = format!("{path}.mountPropagation");
    match text(mount, "/mountPropagation") {
        "" | "None" | "HostToContainer" => {}
        "Bidirectional" if flag(container, "/securityContext/privileged") => {}
        "Bidirectional" => {
            faults.forbidden(path, "Bidirectional mount propagation is available only to privileged containers");
        }
        other => faults.not_supported(path, other, &["Bidirectional", "HostToContainer", "None"]),
    }
}

fn security(context: &Value, path: &str, faults: &mut Faults) {
    for member in ["runAsUser", "runAsGroup"] {
        user_id(context, member, path, faults);
    }
    let (privileged, escalation) = (flag(context, "/privileged"), at(context, "/allowPrivilegeEscalation"));
    if escalation == &Value::Bool(false) {
        let added = list(context, "/capabilities/add").iter().any(|one| one == "CAP_SYS_ADMIN" || one == "SYS_ADMIN");
        if privileged {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            faults.invalid(path, context.clone(), detail);
        } else if added {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            faults.invalid(path, context.clone(), detail);
        }
    }
    match text(context, "/procMount") {
        "" | "Default" | "Unmasked" => {}
        other => faults.not_supported(format!("{path}.procMount"), other, &["Default", "Unmasked"]),
    }
    profile(at(context, "/seccompProfile"), &format!("{path}.seccompProfile"), faults);
}

/// A user or group id.
pub fn user_id(context: &Value, member: &str, path: &str, faults: &mut Faults) {
    let id = at(context, &format!("/{member}"));
    if id.as_i64().is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
        faults.invalid(
            format!("{path}.{member}"),
            id.clone(),
            format!("must be between 0 and {}, inclusive", i32::MAX),
        );
    }
}

/// A seccomp profile.
pub fn profile(profile: &Value, path: &str, faults: &mut Faults) {
    if profile.is_null() {
        return;
    }
    let file = text(profile, "/localhostProfile");
    match text(profile, "/type") {
        "Localhost" if file.is_empty() => {
            faults.required(format!("{path}.localhostProfile"), "must be set when seccomp type is Localhost");
        }
        "Localhost" => super::volumes::relative_path(file, &format!("{path}.localhostProfile"), faults),
        "RuntimeDefault" | "Unconfined" if !file.is_empty() => {
            faults.invalid(format!("{path}.localhostProfile"), file, "can only be set when seccomp type is Localhost");
        }
        "RuntimeDefault" | "Unconfined" => {}
        "" => faults.required(format!("{path}.type"), "type is required when seccompProfile is set"),
        other => faults.not_supported(format!("{path}.type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]),
    }
}

/// Ephemeral containers: like others, without ports, probes, hooks and resources.
pub fn validate_ephemeral(ephemeral: &[Value], others: &[&Value], scope: &Scope<'_>, path: &str, faults: &mut Faults) {
    let mut seen: Vec<&str> = others.iter().map(|one| text(one, "/name")).collect();
    for (index, container) in ephemeral.iter().enumerate() {
        let path = format!("{path}[{index}]");
        validate_any(container, scope, &path, faults);
        unique_name(container, &mut seen, &path, faults);
        let target = text(container, "/targetContainerName");
        if !target.is_empty() && !others.iter().any(|one| text(one, "/name") == target) {
            faults.add(FaultKind::NotFound, format!("{path}.targetContainerName"), Some(target.into()), "");
        }
        for member in ["ports", "lifecycle"].iter().chain(&PROBES) {
            if !missing(container, &format!("/{member}")) {
                faults.forbidden(format!("{path}.{member}"), "cannot be set for an Ephemeral Container");
            }
        }
    }
}
