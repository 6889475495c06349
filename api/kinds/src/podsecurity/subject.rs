//! What is held against the standards: a pod, or the template of one.

use serde_json::Value;

use crate::tree::{at, list, text};

#[derive(Clone, Copy, Debug)]
pub struct Subject<'a> {
    pub metadata: &'a Value,
    pub spec: &'a Value,
}

impl<'a> Subject<'a> {
    /// A pod or a template: whatever has `metadata` and `spec`.
    pub fn of(holder: &'a Value) -> Self {
        Subject { metadata: at(holder, "/metadata"), spec: at(holder, "/spec") }
    }

    /// The RuntimeClass it names; empty if none.
    pub fn runtime_class(self) -> &'a str {
        text(self.spec, "/runtimeClassName")
    }

    /// Every container, those that start first before the others, those for debugging last.
    pub(super) fn containers(self) -> impl Iterator<Item = &'a Value> {
        let of = |pointer| list(self.spec, pointer).iter();
        of("/initContainers").chain(of("/containers")).chain(of("/ephemeralContainers"))
    }

    /// The names of the containers that are so.
    pub(super) fn named(self, are: impl Fn(&'a Value) -> bool) -> Vec<&'a str> {
        self.containers().filter(|container| are(container)).map(|container| text(container, "/name")).collect()
    }

    /// The security context of the pod as a whole; null if it has none.
    pub(super) fn context(self) -> &'a Value {
        at(self.spec, "/securityContext")
    }

    pub(super) fn is_windows(self) -> bool {
        text(self.spec, "/os/name") == "windows"
    }
}

/// The security context of a container; null if it has none.
pub(super) fn context(container: &Value) -> &Value {
    at(container, "/securityContext")
}
