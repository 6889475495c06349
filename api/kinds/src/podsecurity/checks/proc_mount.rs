//! Parts of /proc are masked.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Subject, Violation, context, words};
use crate::tree::{at, text};

pub fn unmasked(pod: Subject<'_>) -> Option<Violation> {
    let unmasks = |container: &&Value| !matches!(at(context(container), "/procMount").as_str(), None | Some("Default"));
    let bad = pod.named(|container| unmasks(&container));
    let kinds = pod.containers().filter(unmasks).map(|container| text(context(container), "/procMount"));
    let kinds: BTreeSet<&str> = kinds.collect();
    (!bad.is_empty()).then(|| {
        let (containers, kinds) = (words::containers(&bad), words::quoted(kinds));
        Violation {
            reason: "procMount",
            detail: format!("{containers} must not set securityContext.procMount to {kinds}"),
        }
    })
}
