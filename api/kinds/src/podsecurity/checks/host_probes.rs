//! Probes and hooks ask the container itself, not another machine on behalf of the node.

use std::collections::BTreeSet;

use super::{Subject, Violation, words};
use crate::tree::text;

const HANDLERS: [&str; 5] =
    ["/livenessProbe", "/readinessProbe", "/startupProbe", "/lifecycle/postStart", "/lifecycle/preStop"];

pub fn elsewhere(pod: Subject<'_>) -> Option<Violation> {
    let (mut names, mut hosts) = (BTreeSet::new(), BTreeSet::new());
    for container in pod.containers() {
        for handler in HANDLERS {
            for action in ["httpGet", "tcpSocket"] {
                let host = text(container, &format!("{handler}/{action}/host"));
                if !host.is_empty() {
                    names.insert(text(container, "/name"));
                    hosts.insert(host);
                }
            }
        }
    }
    let names: Vec<&str> = names.into_iter().collect();
    (!names.is_empty()).then(|| Violation {
        reason: "probe or lifecycle host",
        detail: format!(
            "{} {} {} {}",
            words::containers(&names),
            words::plural("uses", "use", names.len()),
            words::plural("probe or lifecycle host", "probe or lifecycle hosts", hosts.len()),
            words::quoted(hosts)
        ),
    })
}
