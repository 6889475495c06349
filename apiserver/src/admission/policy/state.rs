//! All policies and bindings, as the log has them.

use std::{
    collections::BTreeMap,
    sync::{Arc, OnceLock},
};

use serde_json::Value;

use super::compiled::{Binding, Hook, Policy};
use crate::follow::Followed;

/// The two sorts of policies; each has a resource, and one of bindings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Sort {
    Validating,
    Mutating,
}

/// What is kept of both sorts.
#[derive(Debug, Default)]
pub(crate) struct Policies([OfSort; 2]);

#[derive(Debug, Default)]
struct OfSort {
    policies: BTreeMap<String, Arc<Policy>>,
    bindings: BTreeMap<String, Arc<Binding>>,
    /// What is bound, in the order of names; made when it is first asked for after a change.
    hooks: OnceLock<Arc<[Hook]>>,
}

impl Policies {
    /// What is bound of a sort.
    pub(super) fn hooks(&self, sort: Sort) -> Arc<[Hook]> {
        let OfSort { policies, bindings, hooks } = &self.0[sort as usize];
        let bound = |policy: &Arc<Policy>| {
            let bindings: Vec<_> = bindings.values().filter(|one| one.policy == policy.name).cloned().collect();
            (!bindings.is_empty()).then(|| Hook { policy: policy.clone(), bindings })
        };
        hooks.get_or_init(|| policies.values().filter_map(bound).collect()).clone()
    }
}

impl Followed for Policies {
    fn resources() -> Vec<String> {
        let resources = [
            "validatingadmissionpolicies",
            "validatingadmissionpolicybindings",
            "mutatingadmissionpolicies",
            "mutatingadmissionpolicybindings",
        ];
        resources.map(|resource| format!("{resource}.admissionregistration.k8s.io")).to_vec()
    }

    fn set(&mut self, resource: usize, _: &str, name: &str, object: Option<&Value>) {
        let of = &mut self.0[resource / 2];
        of.hooks = OnceLock::new();
        if resource.is_multiple_of(2) {
            put(&mut of.policies, name, object.map(|object| Policy::read(name, object)));
        } else {
            put(&mut of.bindings, name, object.map(|object| Binding::read(name, object)));
        }
    }

    fn clear(&mut self, resource: usize) {
        let of = &mut self.0[resource / 2];
        of.hooks = OnceLock::new();
        if resource.is_multiple_of(2) { of.policies.clear() } else { of.bindings.clear() }
    }
}

/// What cannot be read was refused when it was written: it binds nobody.
fn put<T>(all: &mut BTreeMap<String, Arc<T>>, name: &str, object: Option<Result<T, String>>) {
    match object {
        Some(Ok(object)) => {
            all.insert(name.to_owned(), Arc::new(object));
        }
        Some(Err(error)) => {
            tracing::error!(name, error, "a stored policy or binding cannot be read: it counts as absent");
            all.remove(name);
        }
        None => {
            all.remove(name);
        }
    }
}
