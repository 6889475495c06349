//! Containers do not run as root.

use serde_json::Value;

use super::{Subject, Violation, context, words};
use crate::tree::at;

/// It must be said that they do not: of the pod, or of each container.
pub fn maybe_root(pod: Subject<'_>) -> Option<Violation> {
    const NON_ROOT: &str = "/runAsNonRoot";
    let says = |context: &Value| at(context, NON_ROOT).as_bool();
    let pod_says = says(pod.context());
    let detail = match words::sayers(pod_says == Some(false), &pod.named(|one| says(context(one)) == Some(false))) {
        Some(sayers) => format!("{sayers} must not set securityContext.runAsNonRoot=false"),
        None => {
            let silent = pod.named(|one| pod_says != Some(true) && says(context(one)).is_none());
            if silent.is_empty() {
                return None;
            }
            format!("pod or {} must set securityContext.runAsNonRoot=true", words::containers(&silent))
        }
    };
    Some(Violation { reason: "runAsNonRoot != true", detail })
}

pub fn user_root(pod: Subject<'_>) -> Option<Violation> {
    let root = |context: &Value| *at(context, "/runAsUser") == 0;
    let sayers = words::sayers(root(pod.context()), &pod.named(|container| root(context(container))))?;
    Some(Violation { reason: "runAsUser=0", detail: format!("{sayers} must not set runAsUser=0") })
}
