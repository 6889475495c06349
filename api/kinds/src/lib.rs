//! One declaration per kind, and the list of all of them.
//!
//! Routes, discovery, Table columns, field selectors, defaults, admission and validation of the built-in kinds derive
//! from [`KINDS`]. Everything here is pure: no IO, no clock (callers pass `now`), no random numbers (callers pass suffixes).
pub mod kind;

mod admission;
mod admissionregistration;
mod age;
pub mod apiservice;
mod binding;
pub mod certificates;
mod claim;
mod clusterrole;
mod clusterrolebinding;
mod column;
mod componentstatus;
mod condition;
mod configmap;
mod controllerrevision;
mod cronjob;
pub mod custom;
pub mod customresourcedefinition;
mod daemonset;
mod deployment;
mod disabled;
mod endpoints;
mod endpointslice;
mod event;
mod fields;
mod flowcontrol;
mod horizontalpodautoscaler;
mod int_or_percent;
mod job;
mod lease;
mod limitrange;
pub mod metadata;
pub mod names;
mod namespace;
mod networking;
pub mod node;
mod persistentvolume;
mod persistentvolumeclaim;
pub mod pod;
pub mod poddisruptionbudget;
pub mod podsecurity;
mod podtemplate;
pub mod policy;
mod priorityclass;
pub mod quota;
mod rbac;
mod registry;
mod replicaset;
mod replicationcontroller;
mod resource;
mod resourcequota;
mod role;
mod rolebinding;
mod runtimeclass;
mod secret;
pub mod selector;
mod service;
mod serviceaccount;
mod statefulset;
mod storage;
mod subresource;
mod tree;
mod volumes;
mod workload;

pub use admission::{Admit, DefaultClass, Limited, Review};
pub use age::{age, human_duration};
pub use claim::{Claim, Holder, Ledger, Pool};
pub use custom::Custom;
pub use disabled::Disabled;
pub use kind::{
    AdmitFacts, Author, Column, Deletion, Field, FinalizerRule, Grants, Kind, Lookup, NameRule, Orphans, Protected,
    Restore, Signed, Spelling,
};
pub use kontiki_model::Retention;
pub use registry::{KindRef, Kinds};
pub use subresource::{Edit, Scale, SelectorForm, Subresource};

/// Every kind this server knows, in alphabetical order of `(group, resource)`.
pub static KINDS: &[&Kind] = &[
    &binding::KIND,
    &componentstatus::KIND,
    &configmap::KIND,
    &endpoints::KIND,
    &event::KIND,
    &limitrange::KIND,
    &namespace::KIND,
    &node::KIND,
    &persistentvolumeclaim::KIND,
    &persistentvolume::KIND,
    &pod::KIND,
    &podtemplate::KIND,
    &replicationcontroller::KIND,
    &resourcequota::KIND,
    &secret::KIND,
    &serviceaccount::KIND,
    &service::KIND,
    &admissionregistration::mutatingpolicy::KIND,
    &admissionregistration::mutatingpolicybinding::KIND,
    &admissionregistration::mutatingwebhook::KIND,
    &admissionregistration::validatingpolicy::KIND,
    &admissionregistration::validatingpolicybinding::KIND,
    &admissionregistration::validatingwebhook::KIND,
    &customresourcedefinition::KIND,
    &apiservice::KIND,
    &controllerrevision::KIND,
    &daemonset::KIND,
    &deployment::KIND,
    &replicaset::KIND,
    &statefulset::KIND,
    &horizontalpodautoscaler::v1::KIND,
    &horizontalpodautoscaler::KIND,
    &cronjob::KIND,
    &job::KIND,
    &certificates::KIND,
    &lease::KIND,
    &endpointslice::KIND,
    &event::events_v1::KIND,
    &flowcontrol::flowschema::KIND,
    &flowcontrol::prioritylevel::KIND,
    &networking::ingressclass::KIND,
    &networking::ingress::KIND,
    &networking::ipaddress::KIND,
    &networking::networkpolicy::KIND,
    &networking::servicecidr::KIND,
    &runtimeclass::KIND,
    &poddisruptionbudget::KIND,
    &clusterrolebinding::KIND,
    &clusterrole::KIND,
    &rolebinding::KIND,
    &role::KIND,
    &resource::class::KIND,
    &resource::claim::KIND,
    &resource::claimtemplate::KIND,
    &resource::slice::KIND,
    &priorityclass::KIND,
    &storage::csidriver::KIND,
    &storage::csinode::KIND,
    &storage::csistoragecapacity::KIND,
    &storage::storageclass::KIND,
    &storage::volumeattachment::KIND,
    &storage::volumeattributesclass::KIND,
];

/// The kind served below `/apis/<group>/<version>/…/<resource>` (the core group is the empty string).
pub fn by_resource(group: &str, version: &str, resource: &str) -> Option<&'static Kind> {
    let place = (group, resource, version);
    let found = KINDS.binary_search_by_key(&place, |kind| (kind.group, kind.resource, kind.version)).ok()?;
    Some(KINDS[found])
}

/// The kind that objects with this `apiVersion` and `kind` are of.
pub fn by_gvk(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|one| one.group == group && one.version == version && one.kind == kind)
}

/// The kind stored under this resource, as [`Kind::storage_resource`] names it.
pub fn by_storage_resource(resource: &str) -> Option<&'static Kind> {
    KINDS.iter().copied().find(|kind| {
        let suffix = resource.strip_prefix(kind.resource);
        kind.spelling.is_none()
            && suffix.is_some_and(|rest| rest.strip_prefix('.').unwrap_or(rest) == kind.group && rest.len() != 1)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_listed_once_in_order() {
        let order: Vec<_> = KINDS.iter().map(|kind| (kind.group, kind.resource, kind.version)).collect();
        let mut sorted = order.clone();
        sorted.sort_unstable();
        sorted.dedup();
        assert_eq!(order, sorted);
    }

    #[test]
    fn lookups_find_each_kind() {
        for kind in KINDS {
            let same = |found: Option<&'static Kind>| found.is_some_and(|found| std::ptr::eq(found, *kind));
            assert!(same(by_resource(kind.group, kind.version, kind.resource)), "{}", kind.resource);
            assert!(same(by_gvk(kind.group, kind.version, kind.kind)), "{}", kind.kind);
            let stored = by_storage_resource(&kind.storage_resource()).unwrap();
            assert!(std::ptr::eq(stored, kind.stored()) && stored.spelling.is_none(), "{}", kind.storage_resource());
        }
        assert!(by_storage_resource("pods.apps").is_none());
        assert!(by_storage_resource("pods.").is_none());
        assert!(by_storage_resource("podsx").is_none());
    }
}
