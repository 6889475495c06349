//! Who says the replicas, told of an object and of its Scale.

use super::{
    element::Element,
    entries::{ManagedFields, Manager, Operation, Owned},
    set::FieldSet,
};

/// The version of every Scale.
pub const API_VERSION: &str = "autoscaling/v1";

/// An object's replicas: where they stand, and in which version.
#[derive(Clone, Copy)]
pub struct Replicas<'a> {
    pub api_version: &'a str,
    /// `spec`, `replicas`.
    pub path: &'a [&'a str],
}

impl Replicas<'_> {
    fn set(path: &[&str]) -> FieldSet {
        let path: Vec<_> = path.iter().map(|name| Element::field(*name)).collect();
        let mut set = FieldSet::default();
        set.insert(&path);
        set
    }

    fn said(&self, fields: &FieldSet) -> bool {
        !fields.intersection(&Self::set(self.path)).is_empty()
    }

    /// The entries of those who say the replicas, as the Scale's.
    pub fn to_scale(&self, managed: &ManagedFields) -> ManagedFields {
        let mut out = ManagedFields::default();
        for (manager, owned) in managed.entries.iter().filter(|(_, owned)| self.said(&owned.fields)) {
            let fields = Self::set(&["spec", "replicas"]);
            let owned = Owned { fields, api_version: API_VERSION.to_owned(), time: owned.time.clone() };
            out.entries.insert(in_version(manager, API_VERSION), owned);
        }
        out
    }

    /// The object's entries after its Scale was written: whoever says the replicas of the Scale says them of the object, and
    /// nobody else does. New entries have no time, as in Kubernetes.
    pub fn to_object(&self, managed: &ManagedFields, scale: &ManagedFields) -> ManagedFields {
        let replicas = Self::set(self.path);
        let mut out = managed.clone();
        for (manager, owned) in &mut out.entries {
            if !scale.entries.contains_key(&in_version(manager, API_VERSION)) {
                owned.fields.subtract(&replicas);
            }
        }
        for manager in scale.entries.keys() {
            let api_version = self.api_version.to_owned();
            let new = || Owned { fields: FieldSet::default(), api_version, time: None };
            let owned = out.entries.entry(in_version(manager, self.api_version)).or_insert_with(new);
            owned.fields.unite(&replicas);
        }
        out.entries.retain(|_, owned| !owned.fields.is_empty());
        out
    }
}

fn in_version(manager: &Manager, api_version: &str) -> Manager {
    match manager.operation {
        Operation::Apply => manager.clone(),
        Operation::Update => Manager { api_version: Some(api_version.to_owned()), ..manager.clone() },
    }
}
