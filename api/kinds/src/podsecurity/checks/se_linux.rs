//! SELinux confines containers: only types that do may be chosen, and no user or role.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Subject, Violation, context, words};
use crate::tree::text;

const TYPES: [&str; 4] = ["", "container_t", "container_init_t", "container_kvm_t"];
const TYPES_31: [&str; 5] = ["", "container_t", "container_init_t", "container_kvm_t", "container_engine_t"];

pub fn options(pod: Subject<'_>) -> Option<Violation> {
    other_than(pod, &TYPES)
}

pub fn options_31(pod: Subject<'_>) -> Option<Violation> {
    other_than(pod, &TYPES_31)
}

fn other_than(pod: Subject<'_>, types: &[&str]) -> Option<Violation> {
    let (mut others, mut user, mut role) = (BTreeSet::new(), false, false);
    let mut bad = |context: &Value| {
        let kind = text(context, "/seLinuxOptions/type");
        let (typed, of_user, of_role) = (
            !types.contains(&kind),
            !text(context, "/seLinuxOptions/user").is_empty(),
            !text(context, "/seLinuxOptions/role").is_empty(),
        );
        if typed {
            others.insert(kind.to_owned());
        }
        user |= of_user;
        role |= of_role;
        typed || of_user || of_role
    };
    let pod_bad = bad(pod.context());
    let mut containers = Vec::new();
    for container in pod.containers() {
        if bad(context(container)) {
            containers.push(text(container, "/name"));
        }
    }
    let sayers = words::sayers(pod_bad, &containers)?;
    let mut said = Vec::new();
    if !others.is_empty() {
        said.push(format!("{} {}", words::plural("type", "types", others.len()), words::quoted(others)));
    }
    if user {
        said.push("user may not be set".to_owned());
    }
    if role {
        said.push("role may not be set".to_owned());
    }
    let detail = format!("{sayers} set forbidden securityContext.seLinuxOptions: {}", said.join("; "));
    Some(Violation { reason: "seLinuxOptions", detail })
}
