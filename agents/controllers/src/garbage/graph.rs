//! Who owns whom, and what follows from it. Pure.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use kube::{
    api::{ApiResource, PropagationPolicy},
    core::ObjectMeta,
};

use super::{FOREGROUND, ORPHAN};

/// Where an object is reached.
#[derive(Clone, Debug, PartialEq)]
pub struct Identity {
    /// Shared by all objects of the resource.
    pub resource: Arc<ApiResource>,
    pub namespace: Option<String>,
    pub name: String,
}

/// An owner as a dependent names it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    pub uid: String,
    pub name: String,
    pub api_version: String,
    pub kind: String,
    pub blocks: bool,
}

impl Owner {
    pub fn group(&self) -> &str {
        self.api_version.rsplit_once('/').map_or("", |(group, _version)| group)
    }
}

/// Why nobody can say where an owner is, and so whether it lives.
#[derive(Debug, PartialEq)]
pub enum Unplaced {
    /// The API serves no such kind.
    UnknownKind,
    /// Its kind is in namespaces, and the dependent, which would tell which, in none.
    NoNamespace,
}

#[derive(Clone, Debug)]
struct Vertex {
    identity: Identity,
    owners: Vec<Owner>,
    finalizers: Vec<String>,
    deleting: bool,
    resource_version: Option<String>,
}

impl Vertex {
    fn has(&self, finalizer: &str) -> bool {
        self.finalizers.iter().any(|one| one == finalizer)
    }

    /// Whether the object is being deleted and goes after its dependents.
    fn is_waiting(&self) -> bool {
        self.deleting && self.has(FOREGROUND)
    }
}

/// Objects by uid, and the dependents of each uid, known object or not.
#[derive(Default)]
pub struct Graph {
    vertices: HashMap<String, Vertex>,
    dependents: HashMap<String, BTreeSet<String>>,
    /// Revision of the deletion of an owner, for as long as it has dependents.
    gone: BTreeMap<String, String>,
    /// How objects of a kind (group, kind) are reached, and whether they are in namespaces: what the API serves.
    kinds: HashMap<(String, String), (Arc<ApiResource>, bool)>,
}

/// What to do about one object.
#[derive(Clone, Debug, PartialEq)]
pub enum Decision {
    Nothing,
    /// Some owners are not in the graph: delete the object if none lives.
    CheckOwners {
        object: Identity,
        blocking_only_foreground: bool,
    },
    /// The object is deleted in the foreground: these go first.
    DeleteDependents(Vec<(String, Identity, PropagationPolicy)>),
    /// The object's dependents stay without it.
    ReleaseDependents {
        object: Identity,
        dependents: Vec<(String, Identity)>,
    },
    DropFinalizer {
        object: Identity,
        finalizer: &'static str,
    },
}

impl Graph {
    /// Notes an object; gives the uids to attend to.
    pub fn put(&mut self, identity: Identity, metadata: &ObjectMeta) -> Vec<String> {
        let Some(uid) = metadata.uid.clone() else { return Vec::new() };
        let vertex = Vertex {
            identity,
            owners: owners_of(metadata),
            finalizers: metadata.finalizers.clone().unwrap_or_default(),
            deleting: metadata.deletion_timestamp.is_some(),
            resource_version: metadata.resource_version.clone(),
        };
        let mut wake = Vec::new();
        if let Some(old) = self.vertices.remove(&uid) {
            for owner in &old.owners {
                self.unlink(&owner.uid, &uid);
                // Released or no longer blocking: the owner's foreground deletion may go on.
                wake.push(owner.uid.clone());
            }
        }
        for owner in &vertex.owners {
            self.dependents.entry(owner.uid.clone()).or_default().insert(uid.clone());
            wake.push(owner.uid.clone());
        }
        self.vertices.insert(uid.clone(), vertex);
        wake.push(uid);
        wake.retain(|uid| !matches!(self.decide(uid), Decision::Nothing));
        wake
    }

    /// Notes that an object is gone, and in which revision if somebody told; gives the uids to attend to.
    pub fn remove(&mut self, uid: &str, deletion: Option<String>) -> Vec<String> {
        let mut wake = Vec::new();
        if let Some(old) = self.vertices.remove(uid) {
            for owner in &old.owners {
                self.unlink(&owner.uid, uid);
                wake.push(owner.uid.clone());
            }
            if self.dependents.contains_key(uid)
                && let Some(revision) = deletion.or(old.resource_version)
            {
                self.gone.insert(uid.to_owned(), revision);
            }
        }
        wake.extend(self.dependents.get(uid).into_iter().flatten().cloned());
        wake
    }

    /// After a list of one resource: what it did not name is gone, also if nobody ever saw it here.
    pub fn retain(&mut self, group: &str, plural: &str, kept: &BTreeSet<String>) -> Vec<String> {
        let of_resource =
            |vertex: &Vertex| vertex.identity.resource.group == group && vertex.identity.resource.plural == plural;
        let gone: Vec<String> = self
            .vertices
            .iter()
            .filter(|(uid, vertex)| of_resource(vertex) && !kept.contains(*uid))
            .map(|(uid, _)| uid.clone())
            .collect();
        let mut wake: Vec<String> = gone.iter().flat_map(|uid| self.remove(uid, None)).collect();
        let is_of_resource = |owner: &&Owner| {
            let kind = (owner.group().to_owned(), owner.kind.clone());
            self.kinds.get(&kind).is_some_and(|(resource, _)| resource.group == group && resource.plural == plural)
        };
        for (owner, dependents) in self.dependents.iter().filter(|(owner, _)| !self.vertices.contains_key(*owner)) {
            let names = |dependent: &&String| {
                let mut owners = self.vertices.get(*dependent).into_iter().flat_map(|vertex| &vertex.owners);
                owners.find(|one| one.uid == *owner).filter(is_of_resource).is_some()
            };
            wake.extend(dependents.iter().filter(names).cloned());
        }
        wake
    }

    /// Notes all resources that the API serves, and whether they are in namespaces.
    pub fn learn(&mut self, served: impl IntoIterator<Item = (Arc<ApiResource>, bool)>) {
        let named = |(resource, namespaced): (Arc<ApiResource>, bool)| {
            ((resource.group.clone(), resource.kind.clone()), (resource, namespaced))
        };
        self.kinds = served.into_iter().map(named).collect();
    }

    /// Where the owner of an object would be: outside of namespaces, or in the object's own.
    pub fn place_of(&self, owner: &Owner, dependent: &Identity) -> Result<Identity, Unplaced> {
        if let Some(vertex) = self.vertices.get(&owner.uid)
            && may_own(&vertex.identity, dependent)
        {
            return Ok(Identity { name: owner.name.clone(), ..vertex.identity.clone() });
        }
        let kind = (owner.group().to_owned(), owner.kind.clone());
        let (resource, namespaced) = self.kinds.get(&kind).ok_or(Unplaced::UnknownKind)?.clone();
        let namespace = dependent.namespace.clone().filter(|_| namespaced);
        if namespaced && namespace.is_none() {
            return Err(Unplaced::NoNamespace);
        }
        Ok(Identity { resource, namespace, name: owner.name.clone() })
    }

    /// Whether the owner is where it can own nothing of this object's namespace.
    pub fn is_elsewhere(&self, owner: &Owner, dependent: &Identity) -> bool {
        let known = self.vertices.get(&owner.uid).is_some_and(|vertex| !may_own(&vertex.identity, dependent));
        known || self.place_of(owner, dependent) == Err(Unplaced::NoNamespace)
    }

    /// The revision of the deletion that dooms this object.
    pub fn cause_of(&self, uid: &str) -> Option<String> {
        let owners = &self.vertices.get(uid)?.owners;
        owners.iter().find_map(|owner| {
            let deleting = self.vertices.get(&owner.uid).and_then(|owner| owner.resource_version.clone());
            self.gone.get(&owner.uid).cloned().or(deleting)
        })
    }

    pub fn revision_of(&self, uid: &str) -> Option<String> {
        self.vertices.get(uid)?.resource_version.clone()
    }

    pub fn decide(&self, uid: &str) -> Decision {
        let Some(vertex) = self.vertices.get(uid) else { return Decision::Nothing };
        if vertex.deleting && vertex.has(ORPHAN) {
            let dependents = self.dependents_of(uid).map(|(uid, of)| (uid, of.identity.clone())).collect();
            return Decision::ReleaseDependents { object: vertex.identity.clone(), dependents };
        }
        if vertex.is_waiting() {
            return self.foreground(uid, vertex);
        }
        if vertex.deleting || vertex.owners.is_empty() {
            return Decision::Nothing;
        }
        let there = |owner: &Owner| {
            self.vertices.get(&owner.uid).is_some_and(|found| may_own(&found.identity, &vertex.identity))
        };
        if !vertex.owners.iter().all(there) {
            let foreground = self.dependents_of(uid).any(|(_, dependent)| blocks(dependent, uid));
            return Decision::CheckOwners {
                object: vertex.identity.clone(),
                blocking_only_foreground: foreground && vertex.has(FOREGROUND),
            };
        }
        Decision::Nothing
    }

    fn foreground(&self, uid: &str, vertex: &Vertex) -> Decision {
        let doomed: Vec<_> = self
            .dependents_of(uid)
            .filter(|(_, dependent)| !dependent.deleting && is_only_owner(uid, &dependent.owners))
            .map(|(uid, dependent)| {
                let has_dependents = self.dependents.get(&uid).is_some_and(|dependents| !dependents.is_empty());
                let policy = if has_dependents { PropagationPolicy::Foreground } else { PropagationPolicy::Background };
                (uid, dependent.identity.clone(), policy)
            })
            .collect();
        if !doomed.is_empty() {
            return Decision::DeleteDependents(doomed);
        }
        let circle = self.through_whom_waits_for_itself(uid);
        let blocked = self.dependents_of(uid).any(|(of, dependent)| {
            blocks(dependent, uid) && is_only_owner(uid, &dependent.owners) && circle != Some(of.as_str())
        });
        if blocked {
            return Decision::Nothing;
        }
        Decision::DropFinalizer { object: vertex.identity.clone(), finalizer: FOREGROUND }
    }

    /// In a circle of owners each would wait for the next for ever, so none does: the dependent that is part of it with
    /// this owner.
    fn through_whom_waits_for_itself(&self, uid: &str) -> Option<&str> {
        let (mut seen, mut dependent) = (BTreeSet::new(), uid);
        while seen.insert(dependent) {
            let (same, owner) = self.awaited(dependent)?;
            if owner == uid {
                return Some(same);
            }
            dependent = owner;
        }
        None
    }

    /// The object, and the owner whose deletion waits for it.
    fn awaited(&self, uid: &str) -> Option<(&str, &str)> {
        let (uid, dependent) = self.vertices.get_key_value(uid)?;
        let [only] = &dependent.owners[..] else { return None };
        let owner = self.vertices.get(&only.uid)?;
        let waits = only.blocks && owner.is_waiting() && may_own(&owner.identity, &dependent.identity);
        waits.then_some((uid, &only.uid))
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = (String, &Vertex)> {
        let owner = self.vertices.get(uid);
        let uids = self.dependents.get(uid).into_iter().flatten();
        let named = uids.filter_map(|uid| self.vertices.get(uid).map(|vertex| (uid.clone(), vertex)));
        named.filter(move |(_, dependent)| owner.is_none_or(|owner| may_own(&owner.identity, &dependent.identity)))
    }

    fn unlink(&mut self, owner: &str, dependent: &str) {
        if let Some(dependents) = self.dependents.get_mut(owner) {
            dependents.remove(dependent);
            if dependents.is_empty() {
                self.dependents.remove(owner);
                self.gone.remove(owner);
            }
        }
    }
}

/// An owner is outside of namespaces, or in its dependent's. A reference to any other is a mistake of who wrote it.
fn may_own(owner: &Identity, dependent: &Identity) -> bool {
    owner.namespace.is_none() || owner.namespace == dependent.namespace
}

/// Whether an object with these owners has nobody else.
pub fn is_only_owner(uid: &str, owners: &[Owner]) -> bool {
    matches!(owners, [only] if only.uid == uid)
}

pub fn owners_of(metadata: &ObjectMeta) -> Vec<Owner> {
    metadata.owner_references.iter().flatten().map(owner).collect()
}

fn blocks(dependent: &Vertex, owner: &str) -> bool {
    dependent.owners.iter().any(|one| one.uid == owner && one.blocks)
}

fn owner(reference: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference) -> Owner {
    Owner {
        uid: reference.uid.clone(),
        name: reference.name.clone(),
        api_version: reference.api_version.clone(),
        kind: reference.kind.clone(),
        blocks: reference.block_owner_deletion == Some(true),
    }
}

#[cfg(test)]
mod tests;
