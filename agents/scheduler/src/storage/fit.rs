//! Whether volumes are, or can be, where a pod is put. Pure.

use std::sync::Arc;

use k8s_openapi::api::{
    core::v1::{PersistentVolume, PersistentVolumeClaim, TopologySelectorTerm},
    storage::v1::StorageClass,
};
use kube::{
    ResourceExt,
    core::{Selector, SelectorExt},
};

use super::{PodClaims, class_of};
use crate::{cluster::NodeState, filter::term_matches, quantity};

/// Says where the volume of a claim is to be made.
pub const SELECTED_NODE: &str = "volume.kubernetes.io/selected-node";
/// Marks a volume that was given to its claim by whoever matches them, not by a user.
pub const BOUND_BY_CONTROLLER: &str = "pv.kubernetes.io/bound-by-controller";
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
const FILESYSTEM: &str = "Filesystem";

/// What is done for a claim once its pod's node is chosen.
#[derive(Clone, Debug)]
pub enum Binding {
    /// The volume becomes the claim's.
    Volume(Arc<PersistentVolumeClaim>, Arc<PersistentVolume>),
    /// One is made there.
    Provision(Arc<PersistentVolumeClaim>),
}

impl PodClaims {
    /// Why the pod may not run on the node as far as its volumes are concerned.
    pub fn objections(&self, node: &NodeState) -> Vec<String> {
        if self.bound.iter().any(Option::is_none) {
            return vec!["node(s) unavailable due to one or more pvc(s) bound to non-existent pv(s)".to_owned()];
        }
        let mut objections = Vec::new();
        if self.bound.iter().flatten().any(|volume| !reaches(volume, node)) {
            objections.push("node(s) didn't match PersistentVolume's node affinity".to_owned());
        }
        if self.bindings(node).is_none() {
            objections.push("node(s) didn't find available persistent volumes to bind".to_owned());
        }
        objections
    }

    /// What has to be done for the claims that are not bound if the pod is put there; `None` if it cannot be.
    pub fn bindings(&self, node: &NodeState) -> Option<Vec<Binding>> {
        let mut taken: Vec<&str> = Vec::new();
        let mut bindings = Vec::new();
        for unbound in &self.unbound {
            let claim = &unbound.claim;
            let selected = claim.annotations().get(SELECTED_NODE);
            if selected.is_some_and(|selected| *selected != node.name) {
                return None;
            }
            let free = unbound.suitable.iter().find(|volume| {
                let name = volume.metadata.name.as_deref().unwrap_or_default();
                !taken.contains(&name) && reaches(volume, node)
            });
            match free.filter(|_| selected.is_none()) {
                Some(volume) => {
                    taken.extend(volume.metadata.name.as_deref());
                    bindings.push(Binding::Volume(claim.clone(), volume.clone()));
                }
                None if provisions(&unbound.class, node) => bindings.push(Binding::Provision(claim.clone())),
                None => return None,
            }
        }
        Some(bindings)
    }
}

impl Binding {
    /// It was written already: what is left is somebody else's.
    pub fn is_asked_for(&self, node: &str) -> bool {
        match self {
            Binding::Volume(claim, volume) => is_bound_to(volume, claim),
            Binding::Provision(claim) => {
                claim.annotations().get(SELECTED_NODE).is_some_and(|selected| selected == node)
            }
        }
    }
}

/// Volumes that a claim may have, the smallest first; one that is set aside for it comes before all others.
pub fn suitable<'a>(
    claim: &PersistentVolumeClaim,
    volumes: impl Iterator<Item = &'a Arc<PersistentVolume>>,
) -> Vec<Arc<PersistentVolume>> {
    let mut found: Vec<Arc<PersistentVolume>> = volumes.filter(|volume| suits(claim, volume)).cloned().collect();
    found.sort_by_key(|volume| (!is_bound_to(volume, claim), capacity(volume)));
    found
}

fn suits(claim: &PersistentVolumeClaim, volume: &PersistentVolume) -> bool {
    let (Some(asked), Some(has)) = (&claim.spec, &volume.spec) else { return false };
    let mode = |mode: &Option<String>| mode.clone().unwrap_or_else(|| FILESYSTEM.to_owned());
    let large_enough = capacity(volume) >= requested(claim);
    if mode(&asked.volume_mode) != mode(&has.volume_mode) || volume.metadata.deletion_timestamp.is_some() {
        return false;
    }
    if has.claim_ref.is_some() {
        return large_enough && is_bound_to(volume, claim);
    }
    let available = volume.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Available");
    let modes = has.access_modes.as_deref().unwrap_or_default();
    available
        && large_enough
        && class_of(claim) == has.storage_class_name.as_deref().unwrap_or_default()
        && asked.access_modes.iter().flatten().all(|mode| modes.contains(mode))
        && asked
            .selector
            .clone()
            .is_none_or(|selector| Selector::try_from(selector).is_ok_and(|selector| selector.matches(volume.labels())))
}

/// Set aside for this claim, and for no earlier one of its name.
fn is_bound_to(volume: &PersistentVolume, claim: &PersistentVolumeClaim) -> bool {
    let Some(reference) = volume.spec.as_ref().and_then(|spec| spec.claim_ref.as_ref()) else { return false };
    let same_uid = reference.uid.as_ref().is_none_or(|uid| uid.is_empty() || Some(uid) == claim.metadata.uid.as_ref());
    reference.name == claim.metadata.name && reference.namespace == claim.metadata.namespace && same_uid
}

pub fn requested(claim: &PersistentVolumeClaim) -> i64 {
    let resources = claim.spec.as_ref().and_then(|spec| spec.resources.as_ref());
    quantity::amounts(resources.and_then(|resources| resources.requests.as_ref())).get("storage").copied().unwrap_or(0)
}

fn capacity(volume: &PersistentVolume) -> i64 {
    let capacity = volume.spec.as_ref().and_then(|spec| spec.capacity.as_ref());
    quantity::amounts(capacity).get("storage").copied().unwrap_or(0)
}

fn reaches(volume: &PersistentVolume, node: &NodeState) -> bool {
    let affinity = volume.spec.as_ref().and_then(|spec| spec.node_affinity.as_ref());
    let required = affinity.and_then(|affinity| affinity.required.as_ref());
    required.is_none_or(|required| required.node_selector_terms.iter().any(|term| term_matches(term, node)))
}

/// Somebody makes volumes of the class, and for this node.
fn provisions(class: &StorageClass, node: &NodeState) -> bool {
    let allowed = class.allowed_topologies.as_deref().unwrap_or_default();
    let matches = |term: &TopologySelectorTerm| {
        term.match_label_expressions
            .iter()
            .flatten()
            .all(|expression| node.labels.get(&expression.key).is_some_and(|value| expression.values.contains(value)))
    };
    !class.provisioner.is_empty()
        && class.provisioner != NO_PROVISIONER
        && (allowed.is_empty() || allowed.iter().any(matches))
}
