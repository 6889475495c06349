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
        match find(name) {
            Some((Namespace::Ipc, path)) if own_ipc => fs::write(path, value),
            Some((Namespace::Ipc, _)) => return Err(refused(name, &"the sandbox uses the machine's IPC namespace")),
            Some((Namespace::Network, path)) => match network_namespace {
                Some(network) => in_network(network, || fs::write(path, value)),
                None => return Err(refused(name, &"the sandbox uses the machine's network")),
            },
            None => return Err(refused(name, &"it is not separate for each sandbox")),
        }
        .map_err(|error| refused(name, &error))?;
    }
    Ok(())
}

/// Whose a parameter is, and its file; `None` if it is the whole machine's, or no parameter's name. Either form is usual: dots
/// throughout, or slashes where a part itself has dots.
fn find(name: &str) -> Option<(Namespace, PathBuf)> {
    let parts: Vec<&str> = name.split(if name.contains('/') { '/' } else { '.' }).collect();
    // `net/../kernel/core_pattern` is not the network's.
    if parts.iter().any(|part| matches!(*part, "" | "." | "..")) {
        return None;
    }
    let namespace = match parts[..] {
        ["kernel", "msgmax" | "msgmnb" | "msgmni" | "sem"] | ["fs", "mqueue", _, ..] => Namespace::Ipc,
        ["kernel", parameter] if parameter.starts_with("shm") => Namespace::Ipc,
        ["net", _, ..] => Namespace::Network,
        _ => return None,
    };
    Some((namespace, Path::new("/proc/sys").join(parts.join("/"))))
}

/// Does something in another network.
pub(super) fn in_network<T>(network: &Path, act: impl FnOnce() -> io::Result<T>) -> io::Result<T> {
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
        for (name, expected) in [
            ("kernel.shm_rmid_forced", Some((Namespace::Ipc, "kernel/shm_rmid_forced"))),
            ("kernel.sem", Some((Namespace::Ipc, "kernel/sem"))),
            ("fs.mqueue.msg_max", Some((Namespace::Ipc, "fs/mqueue/msg_max"))),
            ("net.core.somaxconn", Some((Namespace::Network, "net/core/somaxconn"))),
            ("net/ipv4/conf/eth0.1/forwarding", Some((Namespace::Network, "net/ipv4/conf/eth0.1/forwarding"))),
            ("kernel.panic", None),
            ("vm.swappiness", None),
            ("net/../kernel/core_pattern", None),
            ("net/./core/somaxconn", None),
            ("net..core", None),
            ("/net/core/somaxconn", None),
            ("net", None),
            ("", None),
        ] {
            let expected = expected.map(|(namespace, path)| (namespace, Path::new("/proc/sys").join(path)));
            assert_eq!(find(name), expected, "{name}");
        }
    }
}
