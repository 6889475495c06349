//! Which capabilities a container gets. Knows names only.

use std::collections::BTreeSet;

use crate::{
    error::{Failure, FailureKind},
    spec::ContainerSpec,
};

/// In the order of their numbers, so that a set read from the kernel can be named.
pub const ALL: [&str; 41] = [
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_DAC_READ_SEARCH",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_SETGID",
    "CAP_SETUID",
    "CAP_SETPCAP",
    "CAP_LINUX_IMMUTABLE",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_BROADCAST",
    "CAP_NET_ADMIN",
    "CAP_NET_RAW",
    "CAP_IPC_LOCK",
    "CAP_IPC_OWNER",
    "CAP_SYS_MODULE",
    "CAP_SYS_RAWIO",
    "CAP_SYS_CHROOT",
    "CAP_SYS_PTRACE",
    "CAP_SYS_PACCT",
    "CAP_SYS_ADMIN",
    "CAP_SYS_BOOT",
    "CAP_SYS_NICE",
    "CAP_SYS_RESOURCE",
    "CAP_SYS_TIME",
    "CAP_SYS_TTY_CONFIG",
    "CAP_MKNOD",
    "CAP_LEASE",
    "CAP_AUDIT_WRITE",
    "CAP_AUDIT_CONTROL",
    "CAP_SETFCAP",
    "CAP_MAC_OVERRIDE",
    "CAP_MAC_ADMIN",
    "CAP_SYSLOG",
    "CAP_WAKE_ALARM",
    "CAP_BLOCK_SUSPEND",
    "CAP_AUDIT_READ",
    "CAP_PERFMON",
    "CAP_BPF",
    "CAP_CHECKPOINT_RESTORE",
];

/// What a container has when nothing is said, as other runtimes of Kubernetes give it.
const DEFAULT: [&str; 14] = [
    "CAP_AUDIT_WRITE",
    "CAP_CHOWN",
    "CAP_DAC_OVERRIDE",
    "CAP_FOWNER",
    "CAP_FSETID",
    "CAP_KILL",
    "CAP_MKNOD",
    "CAP_NET_BIND_SERVICE",
    "CAP_NET_RAW",
    "CAP_SETFCAP",
    "CAP_SETGID",
    "CAP_SETPCAP",
    "CAP_SETUID",
    "CAP_SYS_CHROOT",
];

/// The container's set, sorted. `available` is what this process could hand on.
pub fn build(
    container: &ContainerSpec,
    available: &BTreeSet<String>,
    warnings: &mut Vec<String>,
) -> Result<BTreeSet<String>, Failure> {
    if container.privileged {
        return Ok(available.clone());
    }
    let mut set: BTreeSet<String> = DEFAULT.iter().map(|name| (*name).to_owned()).collect();
    // `ALL` first, single names after it: dropping all and adding one leaves that one.
    for name in &container.capabilities_add {
        if is_all(name) {
            set = ALL.iter().map(|name| (*name).to_owned()).collect();
        }
    }
    for name in &container.capabilities_drop {
        match is_all(name) {
            true => set.clear(),
            false => drop(set.remove(&full_name(name)?)),
        }
    }
    for name in container.capabilities_add.iter().filter(|name| !is_all(name)) {
        set.insert(full_name(name)?);
    }
    let missing: Vec<&str> = set.difference(available).map(String::as_str).collect();
    if !missing.is_empty() {
        warnings.push(format!("not given, because this machine does not allow it: {}", missing.join(", ")));
    }
    Ok(set.intersection(available).cloned().collect())
}

/// Names the bits of a capability set as `/proc/<pid>/status` writes it.
pub fn parse_capability_set(hexadecimal: &str) -> Option<BTreeSet<String>> {
    let bits = u64::from_str_radix(hexadecimal.trim(), 16).ok()?;
    Some(ALL.iter().enumerate().filter(|(bit, _)| bits & (1 << bit) != 0).map(|(_, name)| (*name).to_owned()).collect())
}

fn is_all(name: &str) -> bool {
    name.eq_ignore_ascii_case("ALL")
}

/// Kubernetes names capabilities without their prefix; with it they are understood too.
fn full_name(name: &str) -> Result<String, Failure> {
    let upper = name.to_ascii_uppercase();
    let full = if upper.starts_with("CAP_") { upper } else { format!("CAP_{upper}") };
    match ALL.contains(&full.as_str()) {
        true => Ok(full),
        false => Err(Failure::new(FailureKind::InvalidSpec, format!("unknown capability {name:?}"))),
    }
}
