//! Pods do not share the host's network, processes or IPC.

use super::{Subject, Violation};
use crate::tree::at;

pub fn shared(pod: Subject<'_>) -> Option<Violation> {
    let shared: Vec<String> = ["hostNetwork", "hostPID", "hostIPC"]
        .into_iter()
        .filter(|member| *at(pod.spec, &format!("/{member}")) == true)
        .map(|member| format!("{member}=true"))
        .collect();
    (!shared.is_empty()).then(|| Violation { reason: "host namespaces", detail: shared.join(", ") })
}
