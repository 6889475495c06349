//! Kernel parameters of the sandbox's own namespaces. One that would change the machine is refused.

use std::{
    collections::BTreeMap,
    fs::{self, File},
    io,
    os::fd::AsFd,
    path::{Path, PathBuf},
};

use nix::sched::{CloneFlags, setns};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Network,
}

/// Sets all of them, or fails naming the first that cannot be.
pub fn apply(sysctls: &BTreeMap<String, String>, own_ipc: bool, network_namespace: Option<&Path>) -> io::Result<()> {
    let refused = |name: &str, reason: &dyn std::fmt::Display| io::Error::other(format!("sysctl {name:?}: {reason}"));
    for (name, value) in sysctls {
        match namespace(name) {
            Some(Namespace::Ipc) if own_ipc => fs::write(path(name), value),
            Some(Namespace::Ipc) => return Err(refused(name, &"the sandbox uses the machine's IPC namespace")),
            Some(Namespace::Network) => match network_namespace {
                Some(network) => in_network(network, || fs::write(path(name), value)),
                None => return Err(refused(name, &"the sandbox uses the machine's network")),
            },
            None => return Err(refused(name, &"it is not separate for each sandbox")),
        }
        .map_err(|error| refused(name, &error))?;
    }
    Ok(())
}

fn namespace(name: &str) -> Option<Namespace> {
    let name = name.replace('/', ".");
    let ipc = ["kernel.msgmax", "kernel.msgmnb", "kernel.msgmni", "kernel.sem"];
    if ipc.contains(&name.as_str()) || name.starts_with("kernel.shm") || name.starts_with("fs.mqueue.") {
        Some(Namespace::Ipc)
    } else if name.starts_with("net.") {
        Some(Namespace::Network)
    } else {
        None
    }
}

/// Either form is usual: dots throughout, or slashes where a part itself has dots.
fn path(name: &str) -> PathBuf {
    let relative = if name.contains('/') { name.to_owned() } else { name.replace('.', "/") };
    Path::new("/proc/sys").join(relative.trim_start_matches('/'))
}

fn in_network(network: &Path, act: impl FnOnce() -> io::Result<()>) -> io::Result<()> {
    let own = File::open("/proc/self/ns/net")?;
    setns(File::open(network)?.as_fd(), CloneFlags::CLONE_NEWNET)?;
    let done = act();
    setns(own.as_fd(), CloneFlags::CLONE_NEWNET)?;
    done
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_separate_parameters_have_a_namespace() {
        assert_eq!(namespace("kernel.shm_rmid_forced"), Some(Namespace::Ipc));
        assert_eq!(namespace("net/ipv4/ip_unprivileged_port_start"), Some(Namespace::Network));
        assert_eq!(namespace("kernel.panic"), None);
        assert_eq!(namespace("vm.swappiness"), None);
        assert_eq!(path("net.core.somaxconn"), Path::new("/proc/sys/net/core/somaxconn"));
        assert_eq!(path("net/ipv4/conf/eth0.1/forwarding"), Path::new("/proc/sys/net/ipv4/conf/eth0.1/forwarding"));
    }
}
