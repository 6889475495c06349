//! What is mounted in a container, in which order. Pure.

use std::path::Path;

use serde_json::{Value, json};

use super::Surroundings;
use crate::{
    cgroup::Version,
    spec::{ContainerSpec, Propagation},
};

/// The standard mounts, without those that the container's own replace; then its own, outer paths first.
pub fn build(container: &ContainerSpec, around: &Surroundings) -> Vec<Value> {
    let mut mounts = standard(container.privileged, around);
    mounts.retain(|mount| {
        !container
            .mounts
            .iter()
            .any(|own| Some(own.destination.as_path()) == mount["destination"].as_str().map(Path::new))
    });
    let mut own: Vec<_> = container.mounts.iter().collect();
    own.sort_by_key(|mount| mount.destination.components().count());
    mounts.extend(own.into_iter().map(|mount| {
        let access = match (mount.read_only, mount.recursive_read_only) {
            (true, true) => "rro",
            (true, false) => "ro",
            (false, _) => "rw",
        };
        let propagation = match mount.propagation {
            Propagation::Private => "rprivate",
            Propagation::HostToContainer => "rslave",
            Propagation::Bidirectional => "rshared",
        };
        bind(&mount.source, &mount.destination, &["rbind", propagation, access])
    }));
    mounts
}

fn standard(privileged: bool, around: &Surroundings) -> Vec<Value> {
    let sys = if privileged { "rw" } else { "ro" };
    let mut mounts = vec![
        mount("proc", "proc", "/proc", &["nosuid", "noexec", "nodev"]),
        mount("tmpfs", "tmpfs", "/dev", &["nosuid", "strictatime", "mode=755", "size=65536k"]),
        mount(
            "devpts",
            "devpts",
            "/dev/pts",
            &["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620", "gid=5"],
        ),
        mount("mqueue", "mqueue", "/dev/mqueue", &["nosuid", "noexec", "nodev"]),
        bind(&around.shared_memory, Path::new("/dev/shm"), &["bind", "nosuid", "noexec", "nodev"]),
        mount("sysfs", "sysfs", "/sys", &["nosuid", "noexec", "nodev", sys]),
    ];
    mounts.extend(cgroups(privileged, around));
    mounts
}

/// libcontainer would mount the v1 hierarchies writable, and a container could lift its own limits: so they are bound
/// here one by one.
fn cgroups(privileged: bool, around: &Surroundings) -> Vec<Value> {
    let access = if privileged { "rw" } else { "ro" };
    let options = ["nosuid", "noexec", "nodev", "relatime", access];
    if around.machine.cgroup_unified {
        return vec![mount("cgroup", "cgroup", "/sys/fs/cgroup", &options)];
    }
    let mut mounts =
        vec![mount("tmpfs", "tmpfs", "/sys/fs/cgroup", &["nosuid", "noexec", "nodev", "mode=755", "size=4k"])];
    for hierarchy in &around.machine.cgroup_hierarchies {
        let (Version::V1(controllers), Some(name)) = (&hierarchy.version, hierarchy.mount_point.file_name()) else {
            continue;
        };
        if !controllers.is_empty() {
            let destination = Path::new("/sys/fs/cgroup").join(name);
            let options: Vec<&str> = ["bind"].into_iter().chain(options).collect();
            mounts.push(bind(&hierarchy.folder(&around.cgroup), &destination, &options));
        }
    }
    mounts
}

fn mount(kind: &str, source: &str, destination: &str, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": kind, "source": source, "options": options })
}

fn bind(source: &Path, destination: &Path, options: &[&str]) -> Value {
    json!({ "destination": destination, "type": "bind", "source": source, "options": options })
}
