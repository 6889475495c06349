//! Which containers are valid (`validateContainers`, `validateInitContainers`).

use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use super::{environment, mounts, probes, resources};
use crate::names::{label, port_name, port_number, report};
use crate::tree::{at, flag, int, list, missing, text};

/// What a container may refer to.
pub struct Scope<'a> {
    pub volumes: &'a [Value],
    pub grace_period: i64,
}

/// What no ephemeral container has, besides probes.
const OF_LASTING_CONTAINERS: [&str; 6] =
    ["ports", "resources", "resizePolicy", "restartPolicy", "restartPolicyRules", "lifecycle"];
const PROBES: [&str; 3] = ["livenessProbe", "readinessProbe", "startupProbe"];

/// Regular containers, at `path`.
pub fn validate(containers: &[Value], scope: &Scope<'_>, path: &str, faults: &mut Faults) {
    if containers.is_empty() {
        faults.required(path, "");
        return;
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
pub fn validate_init(init: &[Value], regular: &[Value], scope: &Scope<'_>, list_path: &str, faults: &mut Faults) {
    let mut seen: Vec<&str> = regular.iter().map(|one| text(one, "/name")).filter(|name| !name.is_empty()).collect();
    for (index, container) in init.iter().enumerate() {
        let path = format!("{list_path}[{index}]");
        validate_any(container, scope, &path, faults);
        unique_name(container, &mut seen, &path, faults);
        let policy = text(container, "/restartPolicy");
        if !policy.is_empty() {
            validate_restart_policy(policy, &path, faults);
        }
        // One by one: init containers do not run together.
        host_port_conflicts(std::slice::from_ref(container), list_path, faults);
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
    environment::validate(container, path, faults);
    mounts::validate(container, scope.volumes, path, faults);
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

fn security(context: &Value, path: &str, faults: &mut Faults) {
    for member in ["runAsUser", "runAsGroup"] {
        user_id(context, member, path, faults);
    }
    let (privileged, escalation) = (flag(context, "/privileged"), at(context, "/allowPrivilegeEscalation"));
    if escalation == &Value::Bool(false) {
        let added = list(context, "/capabilities/add").iter().any(|one| one == "CAP_SYS_ADMIN");
        if privileged {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            faults.invalid(path, context.clone(), detail);
        }
        if added {
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
        for member in OF_LASTING_CONTAINERS.iter().chain(&PROBES) {
            let empty = match at(container, &format!("/{member}")) {
                Value::Object(members) => members.is_empty(),
                Value::Array(list) => list.is_empty(),
                value => value.is_null(),
            };
            if !empty {
                faults.forbidden(format!("{path}.{member}"), "cannot be set for an Ephemeral Container");
            }
        }
        for (at, mount) in list(container, "/volumeMounts").iter().enumerate() {
            for member in
                ["subPath", "subPathExpr"].into_iter().filter(|member| !text(mount, &format!("/{member}")).is_empty())
            {
                let path = format!("{path}.volumeMounts[{at}].{member}");
                faults.forbidden(path, "cannot be set for an Ephemeral Container");
            }
        }
    }
}
