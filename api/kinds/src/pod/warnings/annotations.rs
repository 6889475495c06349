//! Annotations from before there were fields for what they say.

use serde_json::Value;

use crate::pod::annotations::{APP_ARMOR_OF_CONTAINER, SECCOMP_OF_CONTAINER, SECCOMP_OF_POD, confined};
use crate::tree::{at, missing, text};

const DEPRECATED: [(&str, &str); 3] = [
    (
        "scheduler.alpha.kubernetes.io/critical-pod",
        "non-functional in v1.16+; use the \"priorityClassName\" field instead",
    ),
    ("security.alpha.kubernetes.io/sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
    ("security.alpha.kubernetes.io/unsafe-sysctls", "non-functional in v1.11+; use the \"sysctls\" field instead"),
];
const SECCOMP: &str = "non-functional in v1.27+; use the \"seccompProfile\" field instead";
const APP_ARMOR: &str = "deprecated since v1.30; use the \"appArmorProfile\" field instead";

/// The annotations of a Pod or of a template, and the path of both their metadata and their spec.
pub struct Annotations<'a> {
    all: &'a Value,
    path: String,
}

impl<'a> Annotations<'a> {
    pub fn new(holder: &'a Value, prefix: &str) -> Self {
        Annotations { all: at(holder, "/metadata/annotations"), path: format!("{prefix}metadata.annotations") }
    }

    pub fn of_nothing_else(&self, out: &mut Vec<String>) {
        DEPRECATED.iter().for_each(|(key, why)| self.tell(key, why, out));
    }

    pub fn of_pod(&self, spec: &Value, out: &mut Vec<String>) {
        if missing(spec, "/securityContext/seccompProfile") {
            self.tell(SECCOMP_OF_POD, SECCOMP, out);
        }
    }

    pub fn of_container(&self, container: &Value, out: &mut Vec<String>) {
        if missing(container, "/securityContext/seccompProfile") {
            self.tell(&format!("{SECCOMP_OF_CONTAINER}{}", text(container, "/name")), SECCOMP, out);
        }
    }

    /// Of containers of a Pod whose profile an annotation sets.
    pub fn of_confined(&self, pod: &Value, out: &mut Vec<String>) {
        for container in confined(pod) {
            self.tell(&format!("{APP_ARMOR_OF_CONTAINER}{container}"), APP_ARMOR, out);
        }
    }

    /// Of a container of a template that no field of the pod or its own confines.
    pub fn of_unconfined(&self, spec: &Value, container: &Value, out: &mut Vec<String>) {
        if [spec, container].iter().all(|one| missing(one, "/securityContext/appArmorProfile")) {
            self.tell(&format!("{APP_ARMOR_OF_CONTAINER}{}", text(container, "/name")), APP_ARMOR, out);
        }
    }

    fn tell(&self, key: &str, why: &str, out: &mut Vec<String>) {
        if self.all.get(key).is_some() {
            out.push(format!("{}[{key}]: {why}", self.path));
        }
    }
}
