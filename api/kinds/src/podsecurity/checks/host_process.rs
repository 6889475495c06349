//! Containers on Windows are not processes of the host.

use super::{Subject, Violation, context, words};
use crate::tree::flag;

pub fn used(pod: Subject<'_>) -> Option<Violation> {
    const HOST_PROCESS: &str = "/windowsOptions/hostProcess";
    let bad = pod.named(|container| flag(context(container), HOST_PROCESS));
    let sayers = words::sayers(flag(pod.context(), HOST_PROCESS), &bad)?;
    Some(Violation {
        reason: "hostProcess",
        detail: format!("{sayers} must not set securityContext.windowsOptions.hostProcess=true"),
    })
}
