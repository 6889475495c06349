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
    pub group: String,
    pub kind: String,
    pub blocks: bool,
}

#[derive(Clone, Debug)]
struct Vertex {
    identity: Identity,
    owners: Vec<Owner>,
    finalizers: Vec<String>,
    deleting: bool,
    resource_version: Option<String>,
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
        owners: Vec<Owner>,
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
        let owners: Vec<Owner> = metadata.owner_references.iter().flatten().map(owner).collect();
        let vertex = Vertex {
            identity,
            owners,
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

    /// Notes that an object is gone; gives the uids to attend to.
    pub fn remove(&mut self, uid: &str) -> Vec<String> {
        let mut wake = Vec::new();
        if let Some(old) = self.vertices.remove(uid) {
            for owner in &old.owners {
                self.unlink(&owner.uid, uid);
                wake.push(owner.uid.clone());
            }
            if self.dependents.contains_key(uid)
                && let Some(revision) = old.resource_version
            {
                self.gone.insert(uid.to_owned(), revision);
            }
        }
        wake.extend(self.dependents.get(uid).into_iter().flatten().cloned());
        wake
    }

    /// After a list of one resource: what it did not name is gone.
    pub fn retain(&mut self, group: &str, plural: &str, kept: &BTreeSet<String>) -> Vec<String> {
        let of_resource =
            |vertex: &Vertex| vertex.identity.resource.group == group && vertex.identity.resource.plural == plural;
        let gone: Vec<String> = self
            .vertices
            .iter()
            .filter(|(uid, vertex)| of_resource(vertex) && !kept.contains(*uid))
            .map(|(uid, _)| uid.clone())
            .collect();
        gone.iter().flat_map(|uid| self.remove(uid)).collect()
    }

    /// Notes a resource that the API serves.
    pub fn learn(&mut self, resource: Arc<ApiResource>, namespaced: bool) {
        self.kinds.insert((resource.group.clone(), resource.kind.clone()), (resource, namespaced));
    }

    /// Where the owner of an object would be; `None` if the API serves no such kind.
    pub fn place_of(&self, owner: &Owner, dependent: &Identity) -> Option<Identity> {
        if let Some(vertex) = self.vertices.get(&owner.uid) {
            return Some(Identity { name: owner.name.clone(), ..vertex.identity.clone() });
        }
        let (resource, namespaced) = self.kinds.get(&(owner.group.clone(), owner.kind.clone()))?.clone();
        let namespace = dependent.namespace.clone().filter(|_| namespaced);
        Some(Identity { resource, namespace, name: owner.name.clone() })
    }

    /// The revision of the deletion that dooms this object.
    pub fn cause_of(&self, uid: &str) -> Option<String> {
        let owners = &self.vertices.get(uid)?.owners;
        owners.iter().find_map(|owner| {
            let deleting = self.vertices.get(&owner.uid).and_then(|owner| owner.resource_version.clone());
            self.gone.get(&owner.uid).cloned().or(deleting)
        })
    }

    pub fn revision_of(&self, identity: &Identity) -> Option<String> {
        let vertex = self.vertices.values().find(|vertex| vertex.identity == *identity)?;
        vertex.resource_version.clone()
    }

    pub fn decide(&self, uid: &str) -> Decision {
        let Some(vertex) = self.vertices.get(uid) else { return Decision::Nothing };
        let has = |finalizer: &str| vertex.finalizers.iter().any(|one| one == finalizer);
        if vertex.deleting && has(ORPHAN) {
            let dependents = self.dependents_of(uid).map(|(uid, of)| (uid, of.identity.clone())).collect();
            return Decision::ReleaseDependents { object: vertex.identity.clone(), dependents };
        }
        if vertex.deleting && has(FOREGROUND) {
            return self.foreground(uid, vertex);
        }
        if vertex.deleting || vertex.owners.is_empty() {
            return Decision::Nothing;
        }
        let missing = vertex.owners.iter().any(|owner| !self.vertices.contains_key(&owner.uid));
        if missing {
            let foreground = self.dependents_of(uid).any(|(_, dependent)| blocks(dependent, uid));
            return Decision::CheckOwners {
                object: vertex.identity.clone(),
                owners: vertex.owners.clone(),
                blocking_only_foreground: foreground && has(FOREGROUND),
            };
        }
        Decision::Nothing
    }

    fn foreground(&self, uid: &str, vertex: &Vertex) -> Decision {
        let doomed: Vec<_> = self
            .dependents_of(uid)
            .filter(|(_, dependent)| !dependent.deleting && dependent.owners.len() == 1)
            .map(|(uid, dependent)| {
                let has_dependents = self.dependents.get(&uid).is_some_and(|dependents| !dependents.is_empty());
                let policy = if has_dependents { PropagationPolicy::Foreground } else { PropagationPolicy::Background };
                (uid, dependent.identity.clone(), policy)
            })
            .collect();
        if !doomed.is_empty() {
            return Decision::DeleteDependents(doomed);
        }
        let blocked =
            self.dependents_of(uid).any(|(_, dependent)| blocks(dependent, uid) && dependent.owners.len() == 1);
        if blocked {
            return Decision::Nothing;
        }
        Decision::DropFinalizer { object: vertex.identity.clone(), finalizer: FOREGROUND }
    }

    fn dependents_of(&self, uid: &str) -> impl Iterator<Item = (String, &Vertex)> {
        let uids = self.dependents.get(uid).into_iter().flatten();
        uids.filter_map(|uid| self.vertices.get(uid).map(|vertex| (uid.clone(), vertex)))
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

fn blocks(dependent: &Vertex, owner: &str) -> bool {
    dependent.owners.iter().any(|one| one.uid == owner && one.blocks)
}

fn owner(reference: &k8s_openapi::apimachinery::pkg::apis::meta::v1::OwnerReference) -> Owner {
    let group = reference.api_version.rsplit_once('/').map_or("", |(group, _version)| group);
    Owner {
        uid: reference.uid.clone(),
        name: reference.name.clone(),
        group: group.to_owned(),
        kind: reference.kind.clone(),
        blocks: reference.block_owner_deletion == Some(true),
    }
}

#[cfg(test)]
mod tests {
    use k8s_openapi::apimachinery::pkg::apis::meta::v1::{OwnerReference, Time};

    use super::*;

    fn identity(name: &str) -> Identity {
        let kind = kube::core::GroupVersionKind::gvk("", "v1", "ConfigMap");
        Identity { resource: Arc::new(ApiResource::from_gvk(&kind)), namespace: Some("a".into()), name: name.into() }
    }

    fn metadata(uid: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> ObjectMeta {
        let owner = |uid: &&str| OwnerReference {
            api_version: "v1".into(),
            kind: "ConfigMap".into(),
            name: (*uid).into(),
            uid: (*uid).into(),
            controller: Some(true),
            block_owner_deletion: Some(true),
        };
        ObjectMeta {
            uid: Some(uid.into()),
            name: Some(uid.into()),
            owner_references: Some(owners.iter().map(owner).collect()),
            finalizers: Some(finalizers.iter().map(|one| (*one).to_owned()).collect()),
            deletion_timestamp: deleting.then_some(Time(k8s_openapi::jiff::Timestamp::UNIX_EPOCH)),
            resource_version: Some("7".into()),
            ..ObjectMeta::default()
        }
    }

    fn put(graph: &mut Graph, uid: &str, owners: &[&str], finalizers: &[&str], deleting: bool) -> Vec<String> {
        graph.put(identity(uid), &metadata(uid, owners, finalizers, deleting))
    }

    #[test]
    fn dependents_of_what_is_gone_are_checked() {
        let mut graph = Graph::default();
        put(&mut graph, "owner", &[], &[], false);
        assert!(put(&mut graph, "child", &["owner"], &[], false).is_empty());
        assert_eq!(graph.remove("owner"), ["child"]);
        assert!(matches!(graph.decide("child"), Decision::CheckOwners { .. }));
        assert_eq!(graph.cause_of("child").as_deref(), Some("7"));
    }

    #[test]
    fn an_owner_never_seen_is_asked_for() {
        let mut graph = Graph::default();
        assert_eq!(put(&mut graph, "child", &["ghost"], &[], false), ["child"]);
    }

    #[test]
    fn an_owner_of_a_kind_that_is_not_served_is_nowhere() {
        let mut graph = Graph::default();
        put(&mut graph, "child", &["ghost"], &[], false);
        let Decision::CheckOwners { object, owners, .. } = graph.decide("child") else { panic!("owner is missing") };
        assert_eq!(graph.place_of(&owners[0], &object), None);
        graph.learn(identity("any").resource, true);
        assert_eq!(graph.place_of(&owners[0], &object), Some(identity("ghost")));
        graph.learn(identity("any").resource, false);
        assert_eq!(graph.place_of(&owners[0], &object), Some(Identity { namespace: None, ..identity("ghost") }));
    }

    #[test]
    fn foreground_deletion_waits_for_dependents() {
        let mut graph = Graph::default();
        put(&mut graph, "owner", &[], &[FOREGROUND], true);
        put(&mut graph, "child", &["owner"], &[], false);
        let Decision::DeleteDependents(doomed) = graph.decide("owner") else { panic!("dependents go first") };
        assert_eq!(doomed.len(), 1);
        put(&mut graph, "child", &["owner"], &["x/hold"], true);
        assert_eq!(graph.decide("owner"), Decision::Nothing);
        assert_eq!(graph.remove("child"), ["owner"]);
        assert_eq!(graph.decide("owner"), Decision::DropFinalizer { object: identity("owner"), finalizer: FOREGROUND });
    }

    #[test]
    fn orphans_are_released_before_the_owner_goes() {
        let mut graph = Graph::default();
        put(&mut graph, "owner", &[], &[ORPHAN], true);
        put(&mut graph, "child", &["owner"], &[], false);
        let Decision::ReleaseDependents { dependents, .. } = graph.decide("owner") else { panic!("released first") };
        assert_eq!(dependents, [("child".to_owned(), identity("child"))]);
    }

    #[test]
    fn what_a_list_does_not_name_is_gone() {
        let mut graph = Graph::default();
        put(&mut graph, "owner", &[], &[], false);
        put(&mut graph, "child", &["owner"], &[], false);
        let woken = graph.retain("", "configmaps", &BTreeSet::from(["child".to_owned()]));
        assert_eq!(woken, ["child"]);
    }
}
