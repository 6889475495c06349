//! Templates: which ReplicaSet a template belongs to, and the set made for a new one.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    apps::v1::{Deployment, ReplicaSet, ReplicaSetSpec},
    core::v1::PodTemplateSpec,
};
use kube::{ResourceExt, core::ObjectMeta};

use crate::adoption::controlled_by;

/// The label that tells a ReplicaSet's pods from those of its Deployment's other sets.
const HASH_LABEL: &str = "pod-template-hash";
/// Letters and digits that make no words, as in all generated names.
const ALPHABET: &[u8] = b"bcdfghjklmnpqrstvwxz2456789";
/// Bookkeeping that stays on the Deployment and is not copied to its sets.
const NOT_COPIED: &[&str] = &[
    "kubectl.kubernetes.io/last-applied-configuration",
    "deployment.kubernetes.io/revision",
    "deployment.kubernetes.io/revision-history",
    "deployment.kubernetes.io/desired-replicas",
    "deployment.kubernetes.io/max-replicas",
    "deprecated.deployment.rollback.to",
];

/// Whether the set was made from this template.
pub fn same(template: &PodTemplateSpec, set: &ReplicaSet) -> bool {
    let Some(of_set) = set.spec.as_ref().and_then(|spec| spec.template.as_ref()) else { return false };
    without_hash(template) == without_hash(of_set)
}

fn without_hash(template: &PodTemplateSpec) -> PodTemplateSpec {
    let mut template = template.clone();
    if let Some(labels) = template.metadata.as_mut().and_then(|metadata| metadata.labels.as_mut()) {
        labels.remove(HASH_LABEL);
    }
    template
}

/// A short name for a template: FNV-1a over its JSON and the count of collisions so far.
pub fn hash(template: &PodTemplateSpec, collisions: i32) -> String {
    let json = serde_json::to_vec(&without_hash(template)).expect("a template is plain data");
    let mut hash: u32 = 0x811c_9dc5;
    for byte in json.iter().chain(collisions.to_le_bytes().iter()) {
        hash = (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193);
    }
    let digits = hash.to_string();
    digits.bytes().map(|digit| char::from(ALPHABET[usize::from(digit) % ALPHABET.len()])).collect()
}

/// The ReplicaSet for the Deployment's present template.
pub fn new_set(deployment: &Deployment, replicas: i32, annotations: BTreeMap<String, String>) -> ReplicaSet {
    let spec = deployment.spec.clone().unwrap_or_default();
    let collisions = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
    let hash = hash(&spec.template, collisions);
    let mut template = spec.template;
    let mut labels = template.metadata.get_or_insert_default().labels.clone().unwrap_or_default();
    labels.insert(HASH_LABEL.into(), hash.clone());
    template.metadata.get_or_insert_default().labels = Some(labels.clone());
    let mut selector = spec.selector;
    selector.match_labels.get_or_insert_default().insert(HASH_LABEL.into(), hash.clone());
    ReplicaSet {
        metadata: ObjectMeta {
            name: Some(format!("{}-{hash}", deployment.name_any())),
            namespace: deployment.namespace(),
            labels: Some(labels),
            annotations: Some(annotations),
            owner_references: Some(vec![controlled_by(deployment)]),
            ..ObjectMeta::default()
        },
        spec: Some(ReplicaSetSpec {
            replicas: Some(replicas),
            min_ready_seconds: spec.min_ready_seconds,
            selector,
            template: Some(template),
        }),
        status: None,
    }
}

/// The Deployment's own annotations that its sets carry too.
pub fn copied_annotations(deployment: &Deployment) -> BTreeMap<String, String> {
    let own = deployment.annotations().iter();
    own.filter(|(key, _)| !NOT_COPIED.contains(&key.as_str()))
        .map(|(key, value)| (key.clone(), value.clone()))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_ignores_itself_and_heeds_collisions() {
        let mut template = PodTemplateSpec::default();
        let first = hash(&template, 0);
        template.metadata.get_or_insert_default().labels.get_or_insert_default();
        let with_labels = hash(&template, 0);
        template
            .metadata
            .get_or_insert_default()
            .labels
            .get_or_insert_default()
            .insert(HASH_LABEL.into(), first.clone());
        assert_eq!(hash(&template, 0), with_labels);
        assert_ne!(hash(&template, 1), with_labels);
        assert!(first.bytes().all(|byte| ALPHABET.contains(&byte)));
    }
}
