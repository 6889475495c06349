//! Kernel parameters that concern others than the pod itself are left alone.

use super::{Subject, Violation};
use crate::tree::{list, text};

/// Those that do not, and since when that is agreed.
const SAFE: [(i64, &str); 12] = [
    (0, "kernel.shm_rmid_forced"),
    (0, "net.ipv4.ip_local_port_range"),
    (0, "net.ipv4.tcp_syncookies"),
    (0, "net.ipv4.ping_group_range"),
    (0, "net.ipv4.ip_unprivileged_port_start"),
    (27, "net.ipv4.ip_local_reserved_ports"),
    (29, "net.ipv4.tcp_keepalive_time"),
    (29, "net.ipv4.tcp_fin_timeout"),
    (29, "net.ipv4.tcp_keepalive_intvl"),
    (29, "net.ipv4.tcp_keepalive_probes"),
    (32, "net.ipv4.tcp_rmem"),
    (32, "net.ipv4.tcp_wmem"),
];

/// Those that are set and were not safe in `v1.<MINOR>`.
pub fn unsafe_in<const MINOR: i64>(pod: Subject<'_>) -> Option<Violation> {
    let safe = |name: &str| SAFE.iter().any(|(since, safe)| *since <= MINOR && *safe == name);
    let set = list(pod.context(), "/sysctls").iter().map(|one| text(one, "/name"));
    let bad: Vec<&str> = set.filter(|name| !safe(name)).collect();
    (!bad.is_empty()).then(|| Violation { reason: "forbidden sysctls", detail: bad.join(", ") })
}
