//! Namespaces being deleted: their pods go first, then everything else in them, then the namespace itself.

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::core::v1::{Namespace, NamespaceCondition},
    apimachinery::pkg::apis::meta::v1::Time,
    jiff::Timestamp,
};
use kontiki_informer::{Change, Informer, ObjectKey, Queue};
use kube::{
    Api, ResourceExt,
    api::{ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams},
    core::PartialObjectMeta,
    discovery::{Discovery, Scope, verbs},
};
use serde_json::json;

use crate::{
    ControllerError,
    context::{Context, each, gone_is_fine, settled},
};

const WORKERS: usize = 2;
/// How often a namespace is looked at again while its contents are still going.
const AGAIN: Duration = Duration::from_millis(500);
/// The finalizer that stands for this controller.
const FINALIZER: &str = "kubernetes";

struct Controller {
    context: Context,
    namespaces: Informer<Namespace>,
    queue: Queue<ObjectKey>,
}

pub async fn run(context: Context) {
    let queue: Queue<ObjectKey> = Queue::default();
    let of_namespace = queue.clone();
    let namespaces = context.informer::<Namespace>(vec![Box::new(move |change: &Change<Namespace>| {
        if let Some(namespace) = &change.new
            && namespace.metadata.deletion_timestamp.is_some()
        {
            of_namespace.add(ObjectKey::of(&**namespace));
        }
    })]);
    if !namespaces.synced().await {
        return;
    }
    let controller = Arc::new(Controller { context, namespaces, queue: queue.clone() });
    let cancel = controller.context.cancel.clone();
    queue
        .drain(WORKERS, cancel, move |key| {
            let controller = controller.clone();
            async move { settled("namespace", &key, controller.reconcile(&key).await) }
        })
        .await;
}

/// What stands in the way of a namespace's end.
#[derive(Default)]
struct Remaining {
    /// `pods. has 2 resource instances`
    contents: Vec<String>,
    /// Group versions whose server does not say what it has.
    undiscovered: Vec<String>,
    /// `x.io/hold in 1 resource instances`
    finalizers: std::collections::BTreeMap<String, usize>,
    /// What the API said of resources that it did not delete.
    refused: Vec<String>,
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        let Some(namespace) = self.namespaces.get(key) else { return Ok(()) };
        let finalizers = namespace.spec.as_ref().and_then(|spec| spec.finalizers.clone()).unwrap_or_default();
        if namespace.metadata.deletion_timestamp.is_none() || !finalizers.iter().any(|one| one == FINALIZER) {
            return Ok(());
        }
        let client = self.context.clients.caused_by(namespace.resource_version().as_deref());
        // The servers of some APIs may be away: what is known of all others must not depend on them.
        let discovery = Discovery::new(client.clone()).run_aggregated().await?;
        let mut remaining = Remaining { undiscovered: stale(&client).await?, ..Remaining::default() };
        let mut failed = None;
        for stage in stages(emptied(&discovery)) {
            for resource in stage {
                if let Err(error) = self.empty(&client, &key.name, &resource, &mut remaining).await {
                    remaining.refused.push(error.to_string());
                    failed = failed.or(Some(error));
                }
            }
            if failed.is_some() || !remaining.contents.is_empty() {
                break;
            }
        }
        let Some(mut finalized) = self.report(key, &namespace, &remaining).await? else { return Ok(()) };
        if let Some(error) = failed {
            return Err(error);
        }
        if !remaining.contents.is_empty() || !remaining.undiscovered.is_empty() {
            self.queue.add_after(key.clone(), AGAIN);
            return Ok(());
        }
        // As it was read: what came to it since is not written away, but looked at first.
        finalized.spec.get_or_insert_default().finalizers =
            Some(finalizers.into_iter().filter(|one| one != FINALIZER).collect());
        let api: Api<Namespace> = Api::all(client);
        gone_is_fine(api.replace_subresource("finalize", &key.name, &PostParams::default(), &finalized).await)?;
        Ok(())
    }

    /// Deletes all of one resource; notes what is still there.
    async fn empty(
        &self,
        client: &kube::Client,
        namespace: &str,
        resource: &ApiResource,
        remaining: &mut Remaining,
    ) -> Result<(), ControllerError> {
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, resource);
        let all = ListParams::default();
        let before = api.list_metadata(&all).await?;
        if before.items.is_empty() {
            return Ok(());
        }
        let background = DeleteParams::background();
        match api.delete_collection(&background, &all).await {
            // Not every resource has the collection verb.
            Err(kube::Error::Api(status)) if status.code == 405 => {
                let deleted = before.items.iter().map(|object| async {
                    gone_is_fine(api.delete(&object.name_any(), &background).await)?;
                    Ok(())
                });
                each(deleted).await?;
            }
            other => drop(other?),
        }
        let left: Vec<PartialObjectMeta<DynamicObject>> = api.list_metadata(&all).await?.items;
        if !left.is_empty() {
            let (plural, group) = (&resource.plural, &resource.group);
            remaining.contents.push(format!("{plural}.{group} has {} resource instances", left.len()));
            for finalizer in left.iter().flat_map(|object| object.finalizers()) {
                *remaining.finalizers.entry(finalizer.clone()).or_insert(0) += 1;
            }
        }
        Ok(())
    }

    /// Tells what is left; gives the namespace as it is then, if it is there.
    async fn report(
        &self,
        key: &ObjectKey,
        namespace: &Namespace,
        remaining: &Remaining,
    ) -> Result<Option<Namespace>, ControllerError> {
        let old = namespace.status.as_ref().and_then(|status| status.conditions.clone()).unwrap_or_default();
        let new = conditions(&old, remaining, Timestamp::now());
        if new == old {
            return Ok(Some(namespace.clone()));
        }
        let client = self.context.clients.caused_by(namespace.resource_version().as_deref());
        let patch = json!({"metadata": {"uid": namespace.uid()}, "status": {"conditions": new}});
        let api: Api<Namespace> = Api::all(client);
        Ok(gone_is_fine(api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await)?)
    }
}

/// What a namespace is emptied of.
fn emptied(discovery: &Discovery) -> Vec<ApiResource> {
    let resources = discovery.groups().flat_map(|group| group.resources_by_stability());
    let emptied = resources.filter(|(_, capabilities)| {
        capabilities.scope == Scope::Namespaced
            && capabilities.supports_operation(verbs::DELETE)
            && capabilities.supports_operation(verbs::LIST)
    });
    emptied.map(|(resource, _)| resource).collect()
}

/// Pods first: while one runs, what it uses and the policies that hold it stay.
fn stages(resources: Vec<ApiResource>) -> [Vec<ApiResource>; 2] {
    let (pods, others) =
        resources.into_iter().partition(|resource| resource.group.is_empty() && resource.plural == "pods");
    [pods, others]
}

/// Group versions that are told from memory, because their server did not answer last.
async fn stale(client: &kube::Client) -> Result<Vec<String>, ControllerError> {
    let list = client.list_api_groups_aggregated().await?;
    let mut found = Vec::new();
    for group in list.items {
        let name = group.metadata.and_then(|metadata| metadata.name).unwrap_or_default();
        let stale = group.versions.into_iter().filter(|version| version.freshness.as_deref() == Some("Stale"));
        found.extend(stale.map(|version| format!("{name}/{}", version.version.unwrap_or_default())));
    }
    Ok(found)
}

fn conditions(old: &[NamespaceCondition], remaining: &Remaining, now: Timestamp) -> Vec<NamespaceCondition> {
    let mut contents = remaining.contents.clone();
    contents.sort();
    let finalizers: Vec<String> =
        remaining.finalizers.iter().map(|(name, count)| format!("{name} in {count} resource instances")).collect();
    let discovered = match remaining.undiscovered.as_slice() {
        [] => (
            "NamespaceDeletionDiscoveryFailure",
            false,
            "ResourcesDiscovered",
            "All resources successfully discovered".to_owned(),
        ),
        groups => {
            let told: Vec<String> =
                groups.iter().map(|group| format!("{group}: stale GroupVersion discovery: {group}")).collect();
            let message = format!(
                "Discovery failed for some groups, {} failing: unable to retrieve the complete list of server APIs: {}",
                groups.len(),
                told.join(", ")
            );
            ("NamespaceDeletionDiscoveryFailure", true, "DiscoveryFailed", message)
        }
    };
    let parsed = (
        "NamespaceDeletionGroupVersionParsingFailure",
        false,
        "ParsedGroupVersions",
        "All legacy kube types successfully parsed".to_owned(),
    );
    let mut refused = remaining.refused.clone();
    refused.sort();
    let deleted = if refused.is_empty() {
        let message = "All content successfully deleted, may be waiting on finalization".to_owned();
        ("NamespaceDeletionContentFailure", false, "ContentDeleted", message)
    } else {
        let message =
            format!("Failed to delete all resource types, {} remaining: {}", refused.len(), refused.join(", "));
        ("NamespaceDeletionContentFailure", true, "ContentDeletionFailed", message)
    };
    let content = if contents.is_empty() {
        ("NamespaceContentRemaining", false, "ContentRemoved", "All content successfully removed".to_owned())
    } else {
        let message = format!("Some resources are remaining: {}", contents.join(", "));
        ("NamespaceContentRemaining", true, "SomeResourcesRemain", message)
    };
    let held = if finalizers.is_empty() {
        (
            "NamespaceFinalizersRemaining",
            false,
            "ContentHasNoFinalizers",
            "All content-preserving finalizers finished".to_owned(),
        )
    } else {
        let message = format!("Some content in the namespace has finalizers remaining: {}", finalizers.join(", "));
        ("NamespaceFinalizersRemaining", true, "SomeFinalizersRemain", message)
    };
    let condition = |(kind, holds, reason, message): (&str, bool, &str, String)| {
        let status = if holds { "True" } else { "False" };
        let before = old.iter().find(|condition| condition.type_ == kind && condition.status == status);
        NamespaceCondition {
            type_: kind.to_owned(),
            status: status.to_owned(),
            reason: Some(reason.to_owned()),
            message: Some(message),
            last_transition_time: before.and_then(|before| before.last_transition_time.clone()).or(Some(Time(now))),
        }
    };
    [discovered, parsed, deleted, content, held].map(condition).to_vec()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pods_go_before_what_they_use() {
        let resource = |group: &str, plural: &str| ApiResource {
            group: group.to_owned(),
            version: "v1".to_owned(),
            api_version: "v1".to_owned(),
            kind: String::new(),
            plural: plural.to_owned(),
        };
        let all = [("", "secrets"), ("metrics.k8s.io", "pods"), ("", "pods"), ("networking.k8s.io", "networkpolicies")];
        let staged = stages(all.map(|(group, plural)| resource(group, plural)).to_vec());
        let told = staged.map(|stage| stage.into_iter().map(|one| one.group + "/" + &one.plural).collect::<Vec<_>>());
        assert_eq!(told, [vec!["/pods"], vec!["/secrets", "metrics.k8s.io/pods", "networking.k8s.io/networkpolicies"]]);
    }

    #[test]
    fn an_api_whose_server_is_away_is_told() {
        let told = |remaining: &Remaining| {
            let all = conditions(&[], remaining, Timestamp::UNIX_EPOCH);
            let first = &all[0];
            (
                all.len(),
                first.status.clone(),
                first.reason.clone().unwrap_or_default(),
                first.message.clone().unwrap_or_default(),
            )
        };
        let (count, status, reason, _) = told(&Remaining::default());
        assert_eq!((count, status.as_str(), reason.as_str()), (5, "False", "ResourcesDiscovered"));
        let away = Remaining { undiscovered: vec!["metrics.k8s.io/v1beta1".to_owned()], ..Remaining::default() };
        let (_, status, reason, message) = told(&away);
        assert_eq!((status.as_str(), reason.as_str()), ("True", "DiscoveryFailed"));
        assert!(
            message.ends_with("metrics.k8s.io/v1beta1: stale GroupVersion discovery: metrics.k8s.io/v1beta1"),
            "{message}"
        );
    }

    #[test]
    fn what_could_not_be_deleted_is_told() {
        let refused = ["widgets \"b\" is forbidden: no", "pods \"a\" is forbidden: no"].map(str::to_owned);
        let remaining = Remaining { refused: refused.to_vec(), ..Remaining::default() };
        let all = conditions(&[], &remaining, Timestamp::UNIX_EPOCH);
        let failure = all.iter().find(|condition| condition.type_ == "NamespaceDeletionContentFailure").unwrap();
        assert_eq!((failure.status.as_str(), failure.reason.as_deref()), ("True", Some("ContentDeletionFailed")));
        let message = "Failed to delete all resource types, 2 remaining: pods \"a\" is forbidden: no, \
                       widgets \"b\" is forbidden: no";
        assert_eq!(failure.message.as_deref(), Some(message));
    }
}
