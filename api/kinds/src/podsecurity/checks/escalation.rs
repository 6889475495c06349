//! Containers are not root of the host, and their processes do not become more than they were.

use super::{Subject, Violation, context, words};
use crate::tree::{at, flag};

pub fn privileged(pod: Subject<'_>) -> Option<Violation> {
    let bad = pod.named(|container| flag(context(container), "/privileged"));
    (!bad.is_empty()).then(|| Violation {
        reason: "privileged",
        detail: format!("{} must not set securityContext.privileged=true", words::containers(&bad)),
    })
}

/// By set-user-ID programs, for one: allowed unless it is said that it is not.
pub fn allowed(pod: Subject<'_>) -> Option<Violation> {
    let bad = pod.named(|container| *at(context(container), "/allowPrivilegeEscalation") != false);
    (!bad.is_empty()).then(|| Violation {
        reason: "allowPrivilegeEscalation != false",
        detail: format!("{} must set securityContext.allowPrivilegeEscalation=false", words::containers(&bad)),
    })
}
