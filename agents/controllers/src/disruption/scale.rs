//! How many pods there are to be, by the scale of what controls those that there are.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::Pod,
    },
    apimachinery::pkg::apis::meta::v1::OwnerReference,
};
use kube::{
    Api, Client, ResourceExt,
    api::{ApiResource, DynamicObject},
    core::GroupVersionKind,
    discovery::{self, ApiCapabilities},
};

use crate::{ControllerError, adoption::controller_of, context::gone_is_fine};

/// What controllers want together.
#[derive(Debug, PartialEq)]
pub struct Scale {
    pub pods: i32,
    /// Whether there are pods that nothing controls. They are in nobody's scale.
    pub unmanaged: bool,
}

type Served = (ApiResource, ApiCapabilities);

/// A controller's uid, and the pods it is to have.
type Wanted = (String, i32);

/// The controllers of one namespace. They are asked for, not followed: few budgets count them.
pub struct Controllers<'a> {
    pub client: Client,
    pub namespace: &'a str,
}

impl Controllers<'_> {
    /// Each controller counts once, however many of its pods there are.
    pub async fn scale(&self, pods: &[impl AsRef<Pod>]) -> Result<Scale, ControllerError> {
        let (mut asked, mut wanted, mut unmanaged) = (BTreeSet::new(), BTreeMap::new(), false);
        for pod in pods.iter().map(AsRef::as_ref) {
            let Some(owner) = controller_of(pod) else {
                unmanaged = true;
                continue;
            };
            if asked.insert(&owner.uid) {
                let found = self.of(owner).await?;
                let (uid, replicas) = found.ok_or_else(|| ControllerError::NoController(pod.name_any()))?;
                wanted.insert(uid, replicas);
            }
        }
        Ok(Scale { pods: wanted.into_values().fold(0, i32::saturating_add), unmanaged })
    }

    async fn of(&self, owner: &OwnerReference) -> Result<Option<Wanted>, ControllerError> {
        match self.deployment(owner).await? {
            Some(wanted) => Ok(Some(wanted)),
            None => self.subresource(owner).await,
        }
    }

    /// Of the Deployment whose ReplicaSet this is. While it rolls out, its sets have other scales.
    async fn deployment(&self, owner: &OwnerReference) -> Result<Option<Wanted>, ControllerError> {
        if !is_app(owner, "ReplicaSet") {
            return Ok(None);
        }
        let sets: Api<ReplicaSet> = Api::namespaced(self.client.clone(), self.namespace);
        let set = sets.get_metadata_opt(&owner.name).await?.filter(|set| set.uid().as_ref() == Some(&owner.uid));
        let Some(above) = set.as_ref().and_then(controller_of).filter(|above| is_app(above, "Deployment")) else {
            return Ok(None);
        };
        let deployments: Api<Deployment> = Api::namespaced(self.client.clone(), self.namespace);
        let found = deployments.get_opt(&above.name).await?;
        let found = found.filter(|deployment| deployment.uid().as_ref() == Some(&above.uid));
        Ok(found.map(|found| (above.uid.clone(), found.spec.and_then(|spec| spec.replicas).unwrap_or(1))))
    }

    /// Of any kind with the subresource `scale`.
    async fn subresource(&self, owner: &OwnerReference) -> Result<Option<Wanted>, ControllerError> {
        let kind = GroupVersionKind::from(owner.clone());
        let unknown = || ControllerError::UnknownKind(kind.group.clone(), kind.kind.clone());
        let (resource, capabilities) = self.served(&kind).await?.ok_or_else(unknown)?;
        if !capabilities.subresources.iter().any(|(subresource, _)| subresource.plural == "scale") {
            let qualified = match kind.group.as_str() {
                "" => resource.plural,
                group => format!("{}.{group}", resource.plural),
            };
            return Err(ControllerError::NoScale(qualified));
        }
        let api: Api<DynamicObject> = Api::namespaced_with(self.client.clone(), self.namespace, &resource);
        let scale = gone_is_fine(api.get_scale(&owner.name).await)?;
        let scale = scale.filter(|scale| scale.metadata.uid.as_ref() == Some(&owner.uid));
        Ok(scale.map(|scale| (owner.uid.clone(), scale.spec.and_then(|spec| spec.replicas).unwrap_or(0))))
    }

    async fn served(&self, kind: &GroupVersionKind) -> Result<Option<Served>, ControllerError> {
        match discovery::pinned_kind(&self.client, kind).await {
            Err(kube::Error::Discovery(_)) => Ok(None),
            other => Ok(gone_is_fine(other)?),
        }
    }
}

fn is_app(owner: &OwnerReference, kind: &str) -> bool {
    owner.kind == kind && owner.api_version.split_once('/').is_some_and(|(group, _)| group == "apps")
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use serde_json::{Value, json};

    use super::*;
    use crate::scripted;

    fn pod(name: &str, owner: Option<(&str, &str, &str)>) -> Arc<Pod> {
        let owners: Vec<Value> = owner.map(owner_of).into_iter().collect();
        let pod = json!({"metadata": {"name": name, "namespace": "a", "ownerReferences": owners}});
        Arc::new(serde_json::from_value(pod).unwrap())
    }

    /// By API version, kind and name, which is the uid too.
    fn owner_of((api_version, kind, name): (&str, &str, &str)) -> Value {
        json!({"apiVersion": api_version, "kind": kind, "name": name, "uid": name, "controller": true})
    }

    fn resources(group_version: &str, resources: &[(&str, &str)]) -> Value {
        let resource = |(name, kind): &(&str, &str)| json!({"name": name, "kind": kind, "singularName": "", "namespaced": true, "verbs": ["get"]});
        let resources: Vec<Value> = resources.iter().map(resource).collect();
        json!({"kind": "APIResourceList", "apiVersion": "v1", "groupVersion": group_version, "resources": resources})
    }

    fn scale(uid: &str, replicas: i32) -> Value {
        json!({"kind": "Scale", "apiVersion": "autoscaling/v1", "metadata": {"name": uid, "uid": uid},
               "spec": {"replicas": replicas}})
    }

    fn set(name: &str, owner: &str) -> Value {
        let owners = json!([owner_of(("apps/v1", "Deployment", owner))]);
        let metadata = json!({"name": name, "uid": name, "ownerReferences": owners});
        json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata})
    }

    fn answer(_: &str, path: &str) -> (u16, Value) {
        let deployment = |replicas: i32| {
            json!({"kind": "Deployment", "apiVersion": "apps/v1", "metadata": {"name": "web", "uid": "web"},
                   "spec": {"replicas": replicas, "selector": {}, "template": {}}})
        };
        let found = match path.trim_start_matches("/apis/").trim_start_matches("/api/") {
            "apps/v1/namespaces/a/replicasets/web-1" => set("web-1", "web"),
            "apps/v1/namespaces/a/replicasets/web-2" => set("web-2", "web"),
            "apps/v1/namespaces/a/replicasets/left" => set("left", "gone"),
            "apps/v1/namespaces/a/deployments/web" => deployment(5),
            "apps/v1" => resources("apps/v1", &[("replicasets", "ReplicaSet"), ("replicasets/scale", "Scale")]),
            "apps/v1/namespaces/a/replicasets/left/scale" => scale("left", 2),
            "batch/v1" => resources("batch/v1", &[("jobs", "Job"), ("jobs/status", "Job")]),
            "example.com/v1" => resources("example.com/v1", &[("rings", "Ring"), ("rings/scale", "Scale")]),
            "example.com/v1/namespaces/a/rings/one/scale" => scale("one", 7),
            "example.com/v1/namespaces/a/rings/new/scale" => scale("another", 7),
            _ => return scripted::failure(404, "NotFound", "x"),
        };
        (200, found)
    }

    #[tokio::test]
    async fn every_controller_counts_once() {
        let set = |name| Some(("apps/v1", "ReplicaSet", name));
        let ring = |name| Some(("example.com/v1", "Ring", name));
        let table = [
            (vec![], Ok((0, false))),
            (vec![None], Ok((0, true))),
            (vec![set("web-1"), set("web-1"), set("web-2")], Ok((5, false))),
            (vec![set("left")], Ok((2, false))),
            (vec![ring("one"), set("web-1"), None], Ok((12, true))),
            (vec![ring("gone")], Err("found no controllers for pod \"p0\"")),
            (vec![ring("new")], Err("found no controllers for pod \"p0\"")),
            (vec![Some(("batch/v1", "Job", "j"))], Err("jobs.batch does not implement the scale subresource")),
            (
                vec![Some(("example.com/v1", "Rung", "r"))],
                Err("the API serves no kind \"Rung\" of group \"example.com\""),
            ),
            (vec![Some(("none.com/v1", "Rung", "r"))], Err("the API serves no kind \"Rung\" of group \"none.com\"")),
        ];
        let (context, _) = scripted::context(answer);
        for (owners, expected) in table {
            let pods: Vec<Arc<Pod>> =
                owners.iter().enumerate().map(|(number, owner)| pod(&format!("p{number}"), *owner)).collect();
            let controllers = Controllers { client: context.clients.plain(), namespace: "a" };
            let found = controllers.scale(&pods).await.map_err(|error| error.to_string());
            let expected = expected.map(|(pods, unmanaged)| Scale { pods, unmanaged }).map_err(str::to_owned);
            assert_eq!(found, expected, "{owners:?}");
        }
    }
}
