//! Which security contexts are valid (`validatePodSpecSecurityContext`, `ValidateSecurityContext`), of pods and of containers.

use std::collections::HashSet;

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::Value;

use super::windows;
use crate::fields::{known, one_of};
use crate::tree::{at, flag, list, text};
use crate::volumes::paths::relative;

const SYSCTL_LENGTH_MAX: usize = 253;
/// The longest path that Linux takes.
const PROFILE_LENGTH_MAX: usize = 4095;

/// The users of the pod's containers are those of its host, unless it says otherwise.
pub fn has_host_users(spec: &Value) -> bool {
    at(spec, "/hostUsers").as_bool().unwrap_or(true)
}

/// The context of a pod, and what else of its `spec` (at `path`) is about what it shares with its host.
pub fn pod(spec: &Value, path: &str, faults: &mut Faults) {
    let context = at(spec, "/securityContext");
    let below = |member: &str| format!("{path}.securityContext.{member}");
    for member in ["fsGroup", "runAsUser", "runAsGroup"] {
        id(at(context, &format!("/{member}")), &below(member), faults);
    }
    for (index, group) in list(context, "/supplementalGroups").iter().enumerate() {
        id(group, &below(&format!("supplementalGroups[{index}]")), faults);
    }
    if flag(spec, "/shareProcessNamespace") && flag(spec, "/hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        faults.invalid(below("shareProcessNamespace"), true, detail);
    }
    sysctls(spec, &below("sysctls"), faults);
    seccomp(at(context, "/seccompProfile"), &below("seccompProfile"), faults);
    windows::options(at(context, "/windowsOptions"), &below("windowsOptions"), faults);
    app_armor(at(context, "/appArmorProfile"), &below("appArmorProfile"), faults);
    for member in ["fsGroupChangePolicy", "supplementalGroupsPolicy"] {
        if let Some(policy) = at(context, &format!("/{member}")).as_str() {
            known(policy, (ids::CORE_V1_PODSECURITYCONTEXT, member), below(member), faults);
        }
    }
    if let Some(policy) = at(context, "/seLinuxChangePolicy").as_str() {
        one_of(policy, below("seLinuxChangePolicy"), &["MountOption", "Recursive"], faults);
    }
    if !has_host_users(spec) {
        own_users(spec, path, faults);
    }
}

/// Whose users are not the host's shares nothing else with it whose owners they would be.
fn own_users(spec: &Value, path: &str, faults: &mut Faults) {
    const WHEN: &str = "when `hostUsers` is false";
    // Kubernetes names two of them as Go does.
    for (member, told) in [("hostNetwork", "hostNetwork"), ("hostPID", "HostPID"), ("hostIPC", "HostIPC")] {
        if flag(spec, &format!("/{member}")) {
            faults.forbidden(format!("{path}.{told}"), WHEN);
        }
    }
    for member in ["initContainers", "containers"] {
        for (index, container) in list(spec, &format!("/{member}")).iter().enumerate() {
            if !list(container, "/volumeDevices").is_empty() {
                faults.forbidden(format!("{path}.{member}[{index}].volumeDevices"), WHEN);
            }
        }
    }
}

/// The context of a container, at `path`.
pub fn container(context: &Value, host_users: bool, path: &str, faults: &mut Faults) {
    for member in ["runAsUser", "runAsGroup"] {
        id(at(context, &format!("/{member}")), &format!("{path}.{member}"), faults);
    }
    if let Some(mount) = at(context, "/procMount").as_str() {
        known(mount, (ids::CORE_V1_SECURITYCONTEXT, "procMount"), format!("{path}.procMount"), faults);
        if host_users && mount == "Unmasked" {
            faults.invalid(format!("{path}.procMount"), mount, "`hostUsers` must be false to use `Unmasked`");
        }
    }
    seccomp(at(context, "/seccompProfile"), &format!("{path}.seccompProfile"), faults);
    if at(context, "/allowPrivilegeEscalation") == &Value::Bool(false) {
        if flag(context, "/privileged") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `privileged` to true";
            faults.invalid(path, context.clone(), detail);
        }
        if list(context, "/capabilities/add").iter().any(|one| one == "CAP_SYS_ADMIN") {
            let detail = "cannot set `allowPrivilegeEscalation` to false and `capabilities.Add` CAP_SYS_ADMIN";
            faults.invalid(path, context.clone(), detail);
        }
    }
    windows::options(at(context, "/windowsOptions"), &format!("{path}.windowsOptions"), faults);
    app_armor(at(context, "/appArmorProfile"), &format!("{path}.appArmorProfile"), faults);
}

/// A user or a group.
pub fn id(id: &Value, path: &str, faults: &mut Faults) {
    if id.as_i64().is_some_and(|id| !(0..=i64::from(i32::MAX)).contains(&id)) {
        faults.invalid(path, id.clone(), format!("must be between 0 and {}, inclusive", i32::MAX));
    }
}

fn seccomp(profile: &Value, path: &str, faults: &mut Faults) {
    if profile.is_null() {
        return;
    }
    let kind = text(profile, "/type");
    match kind {
        "" => faults.required(format!("{path}.type"), "type is required when seccompProfile is set"),
        kind => known(kind, (ids::CORE_V1_SECCOMPPROFILE, "type"), format!("{path}.type"), faults),
    }
    let path = format!("{path}.localhostProfile");
    match (kind, at(profile, "/localhostProfile").as_str()) {
        ("Localhost", None) => faults.required(path, "must be set when seccomp type is Localhost"),
        ("Localhost", Some(file)) => relative(file, &path, faults),
        (_, Some(_)) => faults.invalid(path, profile.clone(), "can only be set when seccomp type is Localhost"),
        (_, None) => {}
    }
}

pub fn app_armor(profile: &Value, path: &str, faults: &mut Faults) {
    const REQUIRED: &str = "must be set when AppArmor type is Localhost";
    if profile.is_null() {
        return;
    }
    let place = format!("{path}.localhostProfile");
    match (text(profile, "/type"), at(profile, "/localhostProfile").as_str()) {
        ("", _) => faults.required(format!("{path}.type"), "type is required when appArmorProfile is set"),
        ("Localhost", None) => faults.required(place, REQUIRED),
        ("Localhost", Some(name)) => {
            if name.trim() != name {
                faults.invalid(place.as_str(), name, "must not be padded with whitespace");
            } else if name.is_empty() {
                faults.required(place.as_str(), REQUIRED);
            }
            if name.len() > PROFILE_LENGTH_MAX {
                faults.too_long(place, PROFILE_LENGTH_MAX);
            }
        }
        ("RuntimeDefault" | "Unconfined", None) => {}
        ("RuntimeDefault" | "Unconfined", Some(name)) => {
            faults.invalid(place, name, "can only be set when AppArmor type is Localhost");
        }
        (other, _) => {
            faults.not_supported(format!("{path}.type"), other, &["Localhost", "RuntimeDefault", "Unconfined"]);
        }
    }
}

fn sysctls(spec: &Value, path: &str, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, sysctl) in list(spec, "/securityContext/sysctls").iter().enumerate() {
        let (name, path) = (text(sysctl, "/name"), format!("{path}[{index}].name"));
        if name.is_empty() {
            faults.required(path.as_str(), "");
        } else if !is_sysctl(name) {
            let detail = format!(
                "must have at most {SYSCTL_LENGTH_MAX} characters and match regex \
                 ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$"
            );
            faults.invalid(path.as_str(), name, detail);
        } else if !seen.insert(name) {
            faults.duplicate(path.as_str(), name);
        }
        let shared = match namespace_of(name) {
            Some(Namespace::Net) => "hostNetwork",
            Some(Namespace::Ipc) => "hostIPC",
            None => continue,
        };
        if flag(spec, &format!("/{shared}")) {
            faults.invalid(path, name, format!("may not be specified when '{shared}' is true"));
        }
    }
}

fn is_sysctl(name: &str) -> bool {
    let edge = |byte: Option<u8>| byte.is_some_and(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit());
    let segment = |text: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'_');
        edge(text.bytes().next()) && edge(text.bytes().last()) && text.bytes().all(inner)
    };
    name.len() <= SYSCTL_LENGTH_MAX && name.split(['.', '/']).all(segment)
}

/// Whose value differs from one namespace to another.
enum Namespace {
    Ipc,
    Net,
}

fn namespace_of(sysctl: &str) -> Option<Namespace> {
    // Of two spellings, the one that separates by slashes has dots within its parts.
    let by_slashes = sysctl.find(['.', '/']).is_some_and(|first| sysctl[first..].starts_with('/'));
    let name = if by_slashes { sysctl.split('/').collect::<Vec<_>>().join(".") } else { sysctl.to_owned() };
    let below = |prefixes: &[&str]| prefixes.iter().any(|prefix| name.starts_with(prefix));
    if below(&["net."]) {
        Some(Namespace::Net)
    } else if name == "kernel.sem" || below(&["kernel.shm", "kernel.msg", "fs.mqueue."]) {
        Some(Namespace::Ipc)
    } else {
        None
    }
}
