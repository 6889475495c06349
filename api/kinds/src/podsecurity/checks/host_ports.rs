//! Containers take no ports of the host.

use std::collections::BTreeSet;

use super::{Subject, Violation, words};
use crate::tree::{int, list, text};

pub fn used(pod: Subject<'_>) -> Option<Violation> {
    // Told in the order of their digits, as Kubernetes does.
    let (mut names, mut ports) = (Vec::new(), BTreeSet::new());
    for container in pod.containers() {
        let taken = list(container, "/ports").iter().map(|port| int(port, "/hostPort")).filter(|port| *port != 0);
        let mut taken = taken.map(|port| port.to_string()).peekable();
        if taken.peek().is_some() {
            names.push(text(container, "/name"));
            ports.extend(taken);
        }
    }
    (!names.is_empty()).then(|| Violation {
        reason: "hostPort",
        detail: format!(
            "{} {} {} {}",
            words::containers(&names),
            words::plural("uses", "use", names.len()),
            words::plural("hostPort", "hostPorts", ports.len()),
            ports.into_iter().collect::<Vec<_>>().join(", ")
        ),
    })
}
