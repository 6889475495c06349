//! Which containers are valid (`validateContainers`, `validateInitContainers`).

use std::collections::{BTreeSet, HashMap, HashSet};

use kontiki_model::{FaultKind, Faults};
use kontiki_schema::ids;
use serde_json::Value;

use super::{environment, mounts, probes, requirements, restarts, security};
use crate::fields::known;
use crate::names::{label, port_name, port_number, report};
use crate::tree::{at, int, list, missing, text};

pub type Volumes<'a> = HashMap<&'a str, &'a Value>;

/// Of two with the same name, which is a fault of its own, the first.
fn by_name(volumes: &[Value]) -> Volumes<'_> {
    volumes.iter().rev().map(|volume| (text(volume, "/name"), volume)).collect()
}

/// What a container may refer to.
pub struct Scope<'a> {
    /// The pod's volumes by name.
    pub volumes: Volumes<'a>,
    /// Names of the pod's resource claims.
    pub claims: BTreeSet<&'a str>,
    pub grace_period: i64,
    pub host_users: bool,
    /// The pod's.
    pub restart_policy: &'a str,
}

impl<'a> Scope<'a> {
    /// Of a Pod or a template.
    pub fn of(pod: &'a Value) -> Self {
        let claims = list(pod, "/spec/resourceClaims").iter().map(|claim| text(claim, "/name"));
        Scope {
            volumes: by_name(list(pod, "/spec/volumes")),
            claims: claims.filter(|name| !name.is_empty()).collect(),
            grace_period: super::grace_period(pod),
            host_users: security::has_host_users(at(pod, "/spec")),
            restart_policy: text(pod, "/spec/restartPolicy"),
        }
    }
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
    let mut seen = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        let path = format!("{path}[{index}]");
        validate_any(container, scope, &path, faults);
        unique_name(container, &mut seen, &path, faults);
        probes::validate_all(container, scope.grace_period, &path, faults);
        restarts::validate(container, &path, faults);
    }
    host_port_conflicts(containers, path, faults);
}

/// Init containers, at `path`. Only those that restart always (sidecars) have probes and hooks.
pub fn validate_init(init: &[Value], regular: &[Value], scope: &Scope<'_>, list_path: &str, faults: &mut Faults) {
    let mut seen: HashSet<&str> =
        regular.iter().map(|one| text(one, "/name")).filter(|name| !name.is_empty()).collect();
    for (index, container) in init.iter().enumerate() {
        let path = format!("{list_path}[{index}]");
        validate_any(container, scope, &path, faults);
        unique_name(container, &mut seen, &path, faults);
        restarts::validate(container, &path, faults);
        // One by one: init containers do not run together.
        host_port_conflicts(std::slice::from_ref(container), list_path, faults);
        if text(container, "/restartPolicy") == "Always" {
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

fn unique_name<'a>(container: &'a Value, seen: &mut HashSet<&'a str>, path: &str, faults: &mut Faults) {
    let name = text(container, "/name");
    if !seen.insert(name) && !name.is_empty() {
        faults.duplicate(format!("{path}.name"), name);
    }
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
    environment::validate(container, &scope.volumes, path, faults);
    mounts::validate(container, &scope.volumes, path, faults);
    pull_policy(text(container, "/imagePullPolicy"), &format!("{path}.imagePullPolicy"), faults);
    requirements::container(at(container, "/resources"), &scope.claims, &format!("{path}.resources"), faults);
    restarts::validate_resize(container, scope.restart_policy, &format!("{path}.resizePolicy"), faults);
    let context = at(container, "/securityContext");
    security::container(context, scope.host_users, &format!("{path}.securityContext"), faults);
}

/// When an image is pulled.
pub fn pull_policy(policy: &str, path: &str, faults: &mut Faults) {
    match policy {
        "" => faults.required(path, ""),
        policy => known(policy, (ids::CORE_V1_CONTAINER, "imagePullPolicy"), path, faults),
    }
}

fn ports(container: &Value, path: &str, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, port) in list(container, "/ports").iter().enumerate() {
        let path = format!("{path}[{index}]");
        let name = text(port, "/name");
        if !name.is_empty() {
            let wrong = port_name(name);
            if !seen.insert(name) && wrong.is_empty() {
                faults.duplicate(format!("{path}.name"), name);
            }
            report(wrong, name, &format!("{path}.name"), faults);
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
            "" => faults.required(format!("{path}.protocol"), ""),
            other => known(other, (ids::CORE_V1_CONTAINERPORT, "protocol"), format!("{path}.protocol"), faults),
        }
    }
}

fn number_in_range(number: i64, path: &str, faults: &mut Faults) {
    for fault in port_number(number) {
        faults.invalid(path, number, fault);
    }
}

fn host_port_conflicts(containers: &[Value], path: &str, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, container) in containers.iter().enumerate() {
        for (at, port) in list(container, "/ports").iter().enumerate() {
            let host = int(port, "/hostPort");
            if host == 0 {
                continue;
            }
            let taken = format!("{}/{}/{host}", text(port, "/protocol"), text(port, "/hostIP"));
            if !seen.insert(taken.clone()) {
                faults.duplicate(format!("{path}[{index}].ports[{at}].hostPort"), taken);
            }
        }
    }
}

/// Ephemeral containers: like others, without ports, probes, hooks and resources.
pub fn validate_ephemeral(ephemeral: &[Value], others: &[&Value], scope: &Scope<'_>, path: &str, faults: &mut Faults) {
    let names: HashSet<&str> = others.iter().map(|one| text(one, "/name")).collect();
    let mut seen = names.clone();
    for (index, container) in ephemeral.iter().enumerate() {
        let path = format!("{path}[{index}]");
        validate_any(container, scope, &path, faults);
        unique_name(container, &mut seen, &path, faults);
        let target = text(container, "/targetContainerName");
        if !target.is_empty() && !names.contains(target) {
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
