//! From the runtime's own container spec to an OCI one. Pure: everything it must know of the machine and of the image
//! is given to it, and what it had to soften it says.

mod capabilities;
mod identity;
mod mounts;
mod seccomp;

use std::{collections::BTreeSet, path::PathBuf};

use oci_spec::runtime::{Capabilities, Capability, LinuxCapabilities, LinuxSeccomp, Spec};
use serde_json::{Value, json};

pub use capabilities::parse_capability_set;
pub use identity::{Accounts, Identity};

use crate::{
    cgroup::Hierarchy,
    error::{Failure, FailureKind},
    spec::{ContainerSpec, Propagation, Resources, Seccomp},
};

const PATH_DEFAULT: &str = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What the sandbox, the machine and the image add to a container spec.
#[derive(Clone, Debug)]
pub struct Surroundings {
    pub rootfs: PathBuf,
    /// Below the hierarchies' mount points.
    pub cgroup: String,
    pub hostname: String,
    /// `None`: the host's.
    pub network_namespace: Option<PathBuf>,
    pub ipc_namespace: Option<PathBuf>,
    pub uts_namespace: Option<PathBuf>,
    pub pid_namespace: PidNamespace,
    /// A folder for `/dev/shm`, shared by the sandbox.
    pub shared_memory: PathBuf,
    pub identity: Identity,
    /// Text of the profile, when the spec names a file.
    pub seccomp_profile: Option<Value>,
    pub machine: Machine,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PidNamespace {
    Own,
    Host,
    /// That of a process, by the file that leads there.
    Joined(PathBuf),
}

/// Facts about the machine that change what a container may be given.
#[derive(Clone, Debug)]
pub struct Machine {
    /// Capabilities that this process could hand on.
    pub capabilities: BTreeSet<String>,
    /// This process' own, the lowest that it may give when it lacks CAP_SYS_RESOURCE.
    pub oom_score_adj: i32,
    pub cgroup_hierarchies: Vec<Hierarchy>,
    pub cgroup_unified: bool,
    /// For privileged containers.
    pub devices: Vec<Device>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    pub path: PathBuf,
    /// `c` or `b`.
    pub kind: char,
    pub major: u64,
    pub minor: u64,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
}

#[derive(Debug)]
pub struct Built {
    pub spec: Spec,
    pub confinement: Option<Confinement>,
    /// What could not be given as asked, in sentences.
    pub warnings: Vec<String>,
}

/// A seccomp filter, and the capabilities that are left once it is installed.
///
/// Installing one takes capabilities that the command must not have, and libcontainer neither compiles filters ahead of time
/// nor gives them to commands in running containers. So the spec's process has them, and the runtime's own executor installs
/// the filter and gives them up in its last steps.
#[derive(Clone, Debug, PartialEq)]
pub struct Confinement {
    pub profile: LinuxSeccomp,
    pub capabilities: LinuxCapabilities,
}

pub fn build(container: &ContainerSpec, around: &Surroundings) -> Result<Built, Failure> {
    let mut warnings = Vec::new();
    let invalid =
        |error| Failure::new(FailureKind::InvalidSpec, format!("the container's OCI spec is invalid: {error}"));
    let config = json!({
        "ociVersion": "1.2.0",
        "process": process(container, around, &mut warnings)?,
        "root": { "path": around.rootfs, "readonly": container.read_only_root },
        "mounts": mounts::build(container, around),
        "linux": linux(container, around),
    });
    let mut spec: Spec = serde_json::from_value(config).map_err(invalid)?;
    let confinement = match seccomp(container, around)? {
        Some(profile) => {
            let profile = serde_json::from_value(profile).map_err(invalid)?;
            Some(Confinement { profile, capabilities: raise_capabilities(&mut spec) })
        }
        None => None,
    };
    Ok(Built { spec, confinement, warnings })
}

/// Gives the process what installing a filter takes; returns what it is to have in the end.
fn raise_capabilities(spec: &mut Spec) -> LinuxCapabilities {
    let process = spec.process_mut().as_mut().expect("every spec is built with a process");
    let meant = process.capabilities().clone().unwrap_or_default();
    let more = |set: &Option<Capabilities>| {
        let mut set = set.clone().unwrap_or_default();
        set.extend([Capability::SysAdmin, Capability::Setpcap]);
        Some(set)
    };
    let mut raised = meant.clone();
    raised
        .set_bounding(more(meant.bounding()))
        .set_effective(more(meant.effective()))
        .set_permitted(more(meant.permitted()));
    process.set_capabilities(Some(raised));
    meant
}

/// The process of a command to run in a container made from `container`: as its own, but for what is given here.
pub fn exec_process(spec: &Spec, args: &[String], env: &[(String, String)], tty: bool) -> Result<Value, Failure> {
    let invalid = |error| Failure::new(FailureKind::InvalidSpec, format!("the command's process is invalid: {error}"));
    let mut process = serde_json::to_value(spec.process()).map_err(invalid)?;
    if args.is_empty() {
        return Err(Failure::new(FailureKind::InvalidSpec, "no command specified"));
    }
    process["args"] = json!(args);
    process["terminal"] = json!(tty);
    let mut all: Vec<String> = serde_json::from_value(process["env"].take()).map_err(invalid)?;
    all.retain(|entry| !(tty && entry.starts_with("TERM=")));
    for (name, value) in env {
        let prefix = format!("{name}=");
        all.retain(|entry| !entry.starts_with(&prefix));
        all.push(format!("{name}={value}"));
    }
    if tty && !all.iter().any(|entry| entry.starts_with("TERM=")) {
        all.push("TERM=xterm".to_owned());
    }
    process["env"] = json!(all);
    Ok(process)
}

fn process(container: &ContainerSpec, around: &Surroundings, warnings: &mut Vec<String>) -> Result<Value, Failure> {
    if container.args.first().is_none_or(String::is_empty) {
        return Err(Failure::new(FailureKind::InvalidSpec, "no command specified"));
    }
    let identity = &around.identity;
    let capabilities = capabilities::build(container, &around.machine.capabilities, warnings)?;
    let mut process = json!({
        "terminal": container.tty,
        "user": { "uid": identity.uid, "gid": identity.gid, "additionalGids": identity.groups },
        "args": container.args,
        "env": environment(container, around),
        "cwd": if container.cwd.is_empty() { "/" } else { &container.cwd },
        "capabilities": {
            "bounding": capabilities,
            "effective": capabilities,
            "permitted": capabilities,
            "inheritable": [],
            "ambient": [],
        },
    });
    if container.no_new_privileges {
        process["noNewPrivileges"] = json!(true);
    }
    // Without one it would have its shim's.
    let wanted = container.resources.oom_score_adj.unwrap_or(around.machine.oom_score_adj.max(0));
    process["oomScoreAdj"] = json!(oom_score_adj(wanted, &around.machine, warnings));
    Ok(process)
}

fn oom_score_adj(wanted: i32, machine: &Machine, warnings: &mut Vec<String>) -> i32 {
    let floor = match machine.capabilities.contains("CAP_SYS_RESOURCE") {
        true => -1000,
        false => machine.oom_score_adj,
    };
    let given = wanted.clamp(floor, 1000);
    if given != wanted {
        warnings.push(format!("oom_score_adj is {given} instead of {wanted}: lowering it takes CAP_SYS_RESOURCE"));
    }
    given
}

fn environment(container: &ContainerSpec, around: &Surroundings) -> Vec<String> {
    let has = |name: &str| container.env.iter().any(|(known, _)| known == name);
    let mut env = Vec::new();
    if !has("PATH") {
        env.push(PATH_DEFAULT.to_owned());
    }
    if !has("HOSTNAME") && !around.hostname.is_empty() {
        env.push(format!("HOSTNAME={}", around.hostname));
    }
    if container.tty && !has("TERM") {
        env.push("TERM=xterm".to_owned());
    }
    env.extend(container.env.iter().map(|(name, value)| format!("{name}={value}")));
    if !has("HOME") {
        env.push(format!("HOME={}", around.identity.home));
    }
    env
}

fn linux(container: &ContainerSpec, around: &Surroundings) -> Value {
    let mut linux = json!({
        "cgroupsPath": around.cgroup,
        "namespaces": namespaces(around),
        "resources": resources(&container.resources, container.privileged),
        "rootfsPropagation": match container.mounts.iter().any(|mount| mount.propagation == Propagation::Bidirectional) {
            true => "shared",
            false => "slave",
        },
    });
    if container.privileged {
        linux["devices"] = around.machine.devices.iter().map(device).collect();
    } else {
        linux["maskedPaths"] = json!([
            "/proc/acpi",
            "/proc/asound",
            "/proc/interrupts",
            "/proc/kcore",
            "/proc/keys",
            "/proc/latency_stats",
            "/proc/sched_debug",
            "/proc/scsi",
            "/proc/timer_list",
            "/proc/timer_stats",
            "/sys/devices/virtual/powercap",
            "/sys/firmware",
        ]);
        linux["readonlyPaths"] = json!(["/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger"]);
    }
    linux
}

fn namespaces(around: &Surroundings) -> Vec<Value> {
    let mut namespaces = vec![json!({ "type": "mount" })];
    match &around.pid_namespace {
        PidNamespace::Own => namespaces.push(json!({ "type": "pid" })),
        PidNamespace::Joined(path) => namespaces.push(json!({ "type": "pid", "path": path })),
        PidNamespace::Host => {}
    }
    let joined =
        [("network", &around.network_namespace), ("ipc", &around.ipc_namespace), ("uts", &around.uts_namespace)];
    for (name, path) in joined {
        if let Some(path) = path {
            namespaces.push(json!({ "type": name, "path": path }));
        }
    }
    if around.machine.cgroup_unified {
        namespaces.push(json!({ "type": "cgroup" }));
    }
    namespaces
}

fn resources(resources: &Resources, privileged: bool) -> Value {
    // libcgroups adds the devices that every container has.
    let mut built = json!({ "devices": [{ "allow": privileged, "access": "rwm" }] });
    if let Some(bytes) = resources.memory_bytes {
        built["memory"] = json!({ "limit": bytes });
    }
    let mut cpu = serde_json::Map::new();
    cpu.extend(resources.cpu_shares.map(|shares| ("shares".to_owned(), json!(shares))));
    cpu.extend(resources.cpu_quota_us.map(|quota| ("quota".to_owned(), json!(quota))));
    cpu.extend(resources.cpu_period_us.map(|period| ("period".to_owned(), json!(period))));
    if !cpu.is_empty() {
        built["cpu"] = Value::Object(cpu);
    }
    if let Some(pids) = resources.pids {
        built["pids"] = json!({ "limit": pids });
    }
    built
}

fn device(device: &Device) -> Value {
    json!({
        "path": device.path,
        "type": device.kind.to_string(),
        "major": device.major,
        "minor": device.minor,
        "fileMode": device.mode,
        "uid": device.uid,
        "gid": device.gid,
    })
}

fn seccomp(container: &ContainerSpec, around: &Surroundings) -> Result<Option<Value>, Failure> {
    if container.privileged {
        return Ok(None);
    }
    match &container.seccomp {
        Seccomp::Unconfined => Ok(None),
        Seccomp::RuntimeDefault => {
            let capabilities = capabilities::build(container, &around.machine.capabilities, &mut Vec::new())?;
            Ok(Some(seccomp::default_profile(&capabilities)))
        }
        Seccomp::Localhost(path) => around.seccomp_profile.clone().map(Some).ok_or_else(|| {
            Failure::new(FailureKind::InvalidSpec, format!("cannot load seccomp profile {:?}", path.display()))
        }),
    }
}

#[cfg(test)]
mod tests;
