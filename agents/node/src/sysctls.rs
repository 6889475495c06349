//! Which kernel parameters a pod may set: those that are its own and cost nobody else anything, and those that whoever
//! runs the node has allowed. Pure.

use k8s_openapi::api::core::v1::PodSpec;

use crate::{error::NodeError, pod};

/// Kubernetes' safe ones. All are of the pod's own IPC or network namespace.
const SAFE: &[&str] = &[
    "kernel.shm_rmid_forced",
    "net.ipv4.ip_local_port_range",
    "net.ipv4.ip_local_reserved_ports",
    "net.ipv4.ip_unprivileged_port_start",
    "net.ipv4.ping_group_range",
    "net.ipv4.tcp_fin_timeout",
    "net.ipv4.tcp_keepalive_intvl",
    "net.ipv4.tcp_keepalive_probes",
    "net.ipv4.tcp_keepalive_time",
    "net.ipv4.tcp_rmem",
    "net.ipv4.tcp_syncookies",
    "net.ipv4.tcp_wmem",
];

/// What is allowed besides the safe ones.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sysctls {
    names: Vec<String>,
    prefixes: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Namespace {
    Ipc,
    Net,
}

impl Sysctls {
    /// Names, or prefixes that end with `*`; refused where the kernel has the parameter only once for the machine.
    pub fn new(patterns: &[String]) -> Result<Sysctls, NodeError> {
        let mut allowed = Sysctls::default();
        for pattern in patterns {
            let name = normal(pattern);
            let prefix = name.strip_suffix('*');
            if namespace(prefix.unwrap_or(&name)).is_none() {
                return Err(NodeError::Sysctl(pattern.clone()));
            }
            match prefix {
                Some(prefix) => allowed.prefixes.push(prefix.to_owned()),
                None => allowed.names.push(name),
            }
        }
        Ok(allowed)
    }

    /// Why the pod may not set what it sets, in Kubernetes' words.
    pub fn forbidden(&self, spec: &PodSpec) -> Option<String> {
        let context = spec.security_context.as_ref()?;
        let (on_host_network, on_host_ipc) = (pod::on_host_network(spec), spec.host_ipc == Some(true));
        context.sysctls.iter().flatten().find_map(|sysctl| {
            let name = normal(&sysctl.name);
            match namespace(&name).filter(|_| self.allows(&name)) {
                None => Some(format!("{name:?} not allowlisted")),
                Some(Namespace::Ipc) if on_host_ipc => Some(format!("{name:?} not allowed with host IPC enabled")),
                Some(Namespace::Net) if on_host_network => Some(format!("{name:?} not allowed with host Net enabled")),
                Some(Namespace::Ipc | Namespace::Net) => None,
            }
        })
    }

    fn allows(&self, name: &str) -> bool {
        SAFE.contains(&name)
            || self.names.iter().any(|allowed| allowed == name)
            || self.prefixes.iter().any(|prefix| name.starts_with(prefix))
    }
}

/// With dots between the parts. Where slashes are, parts may have dots, which change places with them.
fn normal(name: &str) -> String {
    let swap = |c| match c {
        '/' => '.',
        '.' => '/',
        other => other,
    };
    match name.find(['.', '/']) {
        Some(first) if name[first..].starts_with('/') => name.chars().map(swap).collect(),
        Some(_) | None => name.to_owned(),
    }
}

/// Of which namespaces a parameter, or all that begin so, are.
fn namespace(name: &str) -> Option<Namespace> {
    let ipc = ["kernel.shm", "kernel.msg", "fs.mqueue."];
    if name == "kernel.sem" || ipc.iter().any(|prefix| name.starts_with(prefix)) {
        Some(Namespace::Ipc)
    } else {
        name.starts_with("net.").then_some(Namespace::Net)
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn pods_set_what_is_safe_and_what_is_allowed() {
        let spec = |name: &str, host: bool| -> PodSpec {
            let sysctls = json!({"sysctls": [{"name": name, "value": "1"}]});
            serde_json::from_value(
                json!({"containers": [], "securityContext": sysctls, "hostNetwork": host, "hostIPC": host}),
            )
            .unwrap()
        };
        let patterns = ["kernel.msg*", "net.core.somaxconn", "net/ipv4/conf/eth0.1/*"].map(str::to_owned);
        let (none, some) = (Sysctls::default(), Sysctls::new(&patterns).unwrap());
        for (name, without, with) in [
            ("kernel.shm_rmid_forced", None, None),
            ("net/ipv4/tcp_syncookies", None, None),
            ("kernel.msgmax", Some("\"kernel.msgmax\" not allowlisted"), None),
            ("net.core.somaxconn", Some("\"net.core.somaxconn\" not allowlisted"), None),
            ("net/ipv4/conf/eth0.1/forwarding", Some("\"net.ipv4.conf.eth0/1.forwarding\" not allowlisted"), None),
            (
                "net.core.rmem_max",
                Some("\"net.core.rmem_max\" not allowlisted"),
                Some("\"net.core.rmem_max\" not allowlisted"),
            ),
            ("vm.swappiness", Some("\"vm.swappiness\" not allowlisted"), Some("\"vm.swappiness\" not allowlisted")),
        ] {
            assert_eq!(none.forbidden(&spec(name, false)).as_deref(), without, "{name}");
            assert_eq!(some.forbidden(&spec(name, false)).as_deref(), with, "{name}");
        }
        for (name, expected) in [
            ("kernel.msgmax", "\"kernel.msgmax\" not allowed with host IPC enabled"),
            ("net.ipv4.tcp_syncookies", "\"net.ipv4.tcp_syncookies\" not allowed with host Net enabled"),
        ] {
            assert_eq!(some.forbidden(&spec(name, true)).as_deref(), Some(expected));
        }
    }

    #[test]
    fn only_what_is_separate_for_each_pod_can_be_allowed() {
        for (pattern, good) in [
            ("net.*", true),
            ("kernel.sem", true),
            ("fs.mqueue.*", true),
            ("vm.swappiness", false),
            ("kernel.*", false),
            ("*", false),
        ] {
            assert_eq!(Sysctls::new(&[pattern.to_owned()]).is_ok(), good, "{pattern}");
        }
    }
}
