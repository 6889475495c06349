//! Which capabilities containers may add, and that they give up the others.

use std::collections::BTreeSet;

use super::{Subject, Violation, context, words};
use crate::tree::{text, texts};

/// What container runtimes give by default, without `NET_RAW`.
const DEFAULT: [&str; 13] = [
    "AUDIT_WRITE",
    "CHOWN",
    "DAC_OVERRIDE",
    "FOWNER",
    "FSETID",
    "KILL",
    "MKNOD",
    "NET_BIND_SERVICE",
    "SETFCAP",
    "SETGID",
    "SETPCAP",
    "SETUID",
    "SYS_CHROOT",
];

pub fn not_default(pod: Subject<'_>) -> Option<Violation> {
    let detail = added_but(pod, &DEFAULT)?;
    Some(Violation { reason: "non-default capabilities", detail })
}

pub fn kept(pod: Subject<'_>) -> Option<Violation> {
    let keeping = pod.named(|container| !texts(context(container), "/capabilities/drop").any(|one| one == "ALL"));
    let keeping = (!keeping.is_empty())
        .then(|| format!(r#"{} must set securityContext.capabilities.drop=["ALL"]"#, words::containers(&keeping)));
    let details: Vec<String> = keeping.into_iter().chain(added_but(pod, &["NET_BIND_SERVICE"])).collect();
    (!details.is_empty()).then(|| Violation { reason: "unrestricted capabilities", detail: details.join("; ") })
}

/// Who adds others than these.
fn added_but(pod: Subject<'_>, allowed: &[&str]) -> Option<String> {
    let (mut names, mut added) = (Vec::new(), BTreeSet::new());
    for container in pod.containers() {
        let mut others = texts(context(container), "/capabilities/add").filter(|one| !allowed.contains(one)).peekable();
        if others.peek().is_some() {
            names.push(text(container, "/name"));
            added.extend(others);
        }
    }
    (!names.is_empty()).then(|| {
        let (containers, added) = (words::containers(&names), words::quoted(added));
        format!("{containers} must not include {added} in securityContext.capabilities.add")
    })
}
