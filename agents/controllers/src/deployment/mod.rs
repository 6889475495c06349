//! Deployments: ReplicaSets of one template after another, moved over without losing availability.

mod conditions;
mod plan;
mod template;

use std::{cmp::Ordering, sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        apps::v1::{Deployment, ReplicaSet},
        core::v1::Pod,
    },
    jiff::Timestamp,
};
use kontiki_informer::{Change, Informer, Note, ObjectKey, Queue, Recorder, message};
use kube::{
    ResourceExt,
    api::{DeleteParams, Patch, PatchParams, PostParams},
};
use serde_json::json;

use crate::{
    ControllerError,
    adoption::{adoption, controlled_by, controller_of, may_adopt, release, wake},
    context::{Context, OwnWrites, gone_is_fine, queued, reference, settled},
    pods,
};
use plan::{Action, View};

const WORKERS: usize = 4;
/// Which revision of its Deployment a ReplicaSet is; what `kubectl rollout history` lists.
pub(crate) const REVISION: &str = "deployment.kubernetes.io/revision";

struct Controller {
    context: Context,
    deployments: Informer<Deployment>,
    sets: Informer<ReplicaSet>,
    pods: Informer<Pod>,
    writes: OwnWrites,
    queue: Queue<ObjectKey>,
    recorder: Recorder,
}

pub async fn run(context: Context) {
    let queue: Queue<ObjectKey> = Queue::default();
    let deployments = context.informer::<Deployment>(vec![queued(&queue)]);
    let (of_set, all) = (queue.clone(), deployments.clone());
    let sets = context.informer::<ReplicaSet>(vec![Box::new(move |change: &Change<ReplicaSet>| {
        for set in [&change.old, &change.new].into_iter().flatten() {
            wake(&of_set, &all, |deployment: &Deployment| Some(&deployment.spec.as_ref()?.selector), &**set);
        }
    })]);
    // Only Recreate waits for pods to go: a deletion wakes the Deployment through its set's owner.
    let (of_pod, owners) = (queue.clone(), sets.clone());
    let pods = context.informer::<Pod>(vec![Box::new(move |change: &Change<Pod>| {
        if let (Some(pod), None) = (&change.old, &change.new)
            && let Some(set) = controller_of(&**pod)
            && let Some(set) = owners.get(&ObjectKey::new(pod.namespace().unwrap_or_default(), &set.name))
            && let Some(owner) = controller_of(&*set)
        {
            of_pod.add(ObjectKey::new(set.namespace().unwrap_or_default(), &owner.name));
        }
    })]);
    if !deployments.synced().await || !sets.synced().await || !pods.synced().await {
        return;
    }
    let recorder = context.recorder("deployment-controller");
    let writes = OwnWrites::default();
    let controller = Arc::new(Controller { deployments, sets, pods, writes, queue: queue.clone(), recorder, context });
    let cancel = controller.context.cancel.clone();
    queue
        .drain(WORKERS, cancel, move |key| {
            let controller = controller.clone();
            async move { settled("deployment", &key, controller.reconcile(&key).await) }
        })
        .await;
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        self.writes.seen(key, &self.sets).await;
        let Some(deployment) = self.deployments.get(key) else { return Ok(()) };
        let sets = self.claim(key, &deployment).await?;
        let pods: Vec<Arc<Pod>> =
            sets.iter().filter_map(|set| set.uid()).flat_map(|uid| self.pods.owned_by(&uid)).collect();
        let view = View { deployment: &deployment, sets: &sets, pods: &pods, now: Timestamp::now() };
        let plan = plan::decide(&view);
        for action in &plan.actions {
            self.perform(key, &deployment, action).await?;
        }
        self.report(key, &deployment, &plan).await?;
        if let Some(seconds) = plan.again_in_s {
            self.queue.add_after(key.clone(), Duration::from_secs(seconds.unsigned_abs()));
        }
        Ok(())
    }

    /// The deployment's sets: those it owns, and orphans that match, which it adopts. What it owns and matches no more, for
    /// somebody took a label off, it releases.
    async fn claim(&self, key: &ObjectKey, deployment: &Deployment) -> Result<Vec<Arc<ReplicaSet>>, ControllerError> {
        let uid = deployment.uid().ok_or_else(|| ControllerError::NoUid(key.name.clone()))?;
        let sets = self.sets.owned_by(&uid);
        let Some(spec) = &deployment.spec else { return Ok(sets) };
        if deployment.metadata.deletion_timestamp.is_some() {
            return Ok(sets);
        }
        let selector = pods::selector(&spec.selector)?;
        let (mut sets, released): (Vec<_>, Vec<_>) =
            sets.into_iter().partition(|set| pods::matches(&selector, set.metadata.labels.as_ref()));
        let mut orphans = self.sets.list(Some(&key.namespace));
        orphans.retain(|set| {
            controller_of(&**set).is_none()
                && set.metadata.deletion_timestamp.is_none()
                && pods::matches(&selector, set.metadata.labels.as_ref())
        });
        let deployments = self.context.api::<Deployment, _>(&key.namespace, deployment);
        if !orphans.is_empty() && !may_adopt(&deployments, deployment).await? {
            return Err(ControllerError::OwnerGoes(key.name.clone()));
        }
        let api = self.context.api::<ReplicaSet, _>(&key.namespace, deployment);
        for set in released {
            let patch = release(set.uid().as_deref(), &uid);
            let released = api.patch(&set.name_any(), &PatchParams::default(), &patch).await;
            if let Some(set) = gone_is_fine(released)? {
                self.writes.note(key, &set);
            }
        }
        for set in orphans {
            let patch = adoption(set.uid().as_deref(), &controlled_by(deployment));
            let adopted = api.patch(&set.name_any(), &PatchParams::default(), &patch).await?;
            self.writes.note(key, &adopted);
            sets.push(Arc::new(adopted));
        }
        Ok(sets)
    }

    async fn perform(&self, key: &ObjectKey, deployment: &Deployment, action: &Action) -> Result<(), ControllerError> {
        let api = self.context.api::<ReplicaSet, _>(&key.namespace, deployment);
        let parameters = PatchParams::default();
        match action {
            Action::Create(set) => match api.create(&PostParams::default(), set).await {
                Ok(created) => {
                    self.writes.note(key, &created);
                    self.tell_scaled(deployment, &created.name_any(), 0, replicas_of(&created)).await;
                }
                Err(kube::Error::Api(status)) if status.code == 409 => {
                    self.name_taken(key, deployment, &set.name_any()).await?;
                    return Err(kube::Error::Api(status).into());
                }
                Err(error) if is_of_ending_namespace(&error) => return Err(error.into()),
                Err(error) => {
                    let message = format!("Failed to create new replica set {:?}: {}", set.name_any(), message(&error));
                    self.tell_not_created(key, deployment, &message).await?;
                    return Err(error.into());
                }
            },
            Action::Scale { name, from, to, annotations } => {
                let patch = json!({"metadata": {"annotations": annotations}, "spec": {"replicas": to}});
                let scaled = api.patch(name, &parameters, &Patch::Merge(patch)).await?;
                self.writes.note(key, &scaled);
                self.tell_scaled(deployment, name, *from, *to).await;
            }
            Action::AnnotateSet { name, annotations, min_ready_seconds } => {
                let patch = json!({
                    "metadata": {"annotations": annotations}, "spec": {"minReadySeconds": min_ready_seconds},
                });
                let annotated = api.patch(name, &parameters, &Patch::Merge(patch)).await?;
                self.writes.note(key, &annotated);
            }
            Action::AnnotateDeployment { revision } => {
                let api = self.context.api::<Deployment, _>(&key.namespace, deployment);
                // Bookkeeping: by way of the status it makes no new generation, which is for users to make.
                let patch = json!({"metadata": {"annotations": {REVISION: revision.to_string()}}});
                api.patch_status(&key.name, &parameters, &Patch::Merge(patch)).await?;
            }
            Action::Delete { name } => {
                let deleted = gone_is_fine(api.delete(name, &DeleteParams::background()).await)?;
                if let Some(set) = deleted.and_then(|answer| answer.left()) {
                    self.writes.note(key, &set);
                }
            }
        }
        Ok(())
    }

    /// A set has the name of the one to be made. If it is this very one, the copy is only late; if it is of another template
    /// with the same hash, the next try mixes the count into it.
    async fn name_taken(&self, key: &ObjectKey, deployment: &Deployment, name: &str) -> Result<(), ControllerError> {
        let api = self.context.api::<ReplicaSet, _>(&key.namespace, deployment);
        let Some(there) = gone_is_fine(api.get(name).await)? else { return Ok(()) };
        let template = deployment.spec.as_ref().map(|spec| &spec.template);
        let own = controller_of(&there).is_some_and(|owner| Some(&owner.uid) == deployment.uid().as_ref());
        if own && template.is_some_and(|template| template::same(template, &there)) {
            self.writes.note(key, &there);
            return Ok(());
        }
        let count = deployment.status.as_ref().and_then(|status| status.collision_count).unwrap_or(0);
        let api = self.context.api::<Deployment, _>(&key.namespace, deployment);
        let patch = json!({"status": {"collisionCount": count + 1}});
        api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(patch)).await?;
        Ok(())
    }

    async fn tell_not_created(
        &self,
        key: &ObjectKey,
        deployment: &Deployment,
        message: &str,
    ) -> Result<(), ControllerError> {
        let note = Note { warning: true, reason: conditions::NOT_CREATED, message };
        self.recorder.record(&reference(deployment), note).await;
        let Some(conditions) = conditions::not_created(deployment, message, Timestamp::now()) else { return Ok(()) };
        let api = self.context.api::<Deployment, _>(&key.namespace, deployment);
        let patch = json!({"metadata": {"uid": deployment.uid()}, "status": {"conditions": conditions}});
        gone_is_fine(api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await)?;
        Ok(())
    }

    async fn tell_scaled(&self, deployment: &Deployment, set: &str, from: i32, to: i32) {
        let Some(message) = scaled(set, from, to) else { return };
        let note = Note { warning: false, reason: "ScalingReplicaSet", message: &message };
        self.recorder.record(&reference(deployment), note).await;
    }

    async fn report(&self, key: &ObjectKey, deployment: &Deployment, plan: &plan::Plan) -> Result<(), ControllerError> {
        let old = serde_json::to_value(deployment.status.clone().unwrap_or_default());
        let new = serde_json::to_value(&plan.status);
        let (Ok(old), Ok(new)) = (old, new) else { return Ok(()) };
        if without_zeros(old) == without_zeros(new.clone()) {
            return Ok(());
        }
        let api = self.context.api::<Deployment, _>(&key.namespace, deployment);
        let patch = json!({"metadata": {"uid": deployment.uid()}, "status": new});
        gone_is_fine(api.patch_status(&key.name, &PatchParams::default(), &Patch::Merge(&patch)).await)?;
        Ok(())
    }
}

/// Nothing comes into its namespace any more, events neither.
fn is_of_ending_namespace(error: &kube::Error) -> bool {
    let kube::Error::Api(status) = error else { return false };
    let causes = status.details.as_ref().map_or(&[][..], |details| &details.causes);
    causes.iter().any(|cause| cause.reason == "NamespaceTerminating")
}

/// `None` where nothing was scaled: a set may also be made for no pod, or only annotated.
fn scaled(set: &str, from: i32, to: i32) -> Option<String> {
    let direction = match to.cmp(&from) {
        Ordering::Greater => "up",
        Ordering::Less => "down",
        Ordering::Equal => return None,
    };
    Some(format!("Scaled {direction} replica set {set} from {from} to {to}"))
}

/// The server leaves zeros out; absent and zero tell the same.
fn without_zeros(mut status: serde_json::Value) -> serde_json::Value {
    if let Some(fields) = status.as_object_mut() {
        fields.retain(|_, value| !value.is_null() && *value != json!(0));
    }
    status
}

fn replicas_of(set: &ReplicaSet) -> i32 {
    set.spec.as_ref().and_then(|spec| spec.replicas).unwrap_or(1)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_scaled_is_told() {
        let told = |from, to| scaled("web-1", from, to);
        assert_eq!(told(0, 3).as_deref(), Some("Scaled up replica set web-1 from 0 to 3"));
        assert_eq!(told(3, 1).as_deref(), Some("Scaled down replica set web-1 from 3 to 1"));
        assert_eq!(told(0, 0), None);
    }

    fn controller(context: Context) -> Controller {
        Controller {
            deployments: context.informer(Vec::new()),
            sets: context.informer(Vec::new()),
            pods: context.informer(Vec::new()),
            writes: OwnWrites::default(),
            queue: Queue::default(),
            recorder: context.recorder("deployment-controller"),
            context,
        }
    }

    #[tokio::test]
    async fn a_set_that_cannot_be_made_is_told() {
        let refused = |reason: &'static str| {
            crate::scripted::context(move |method, _| {
                let (code, mut status) = crate::scripted::failure(403, "Forbidden", "web-1");
                status["details"]["causes"] = json!([{"reason": reason}]);
                if method == "PATCH" { (200, json!({"metadata": {"name": "web"}})) } else { (code, status) }
            })
        };
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "d"},
            "spec": {"selector": {}, "template": {}, "progressDeadlineSeconds": 600},
        }))
        .unwrap();
        let set: ReplicaSet = serde_json::from_value(json!({"metadata": {"name": "web-1", "namespace": "a"}})).unwrap();
        let key = ObjectKey::new("a", "web");
        for (reason, told) in
            [("", &["/apis/apps/v1/namespaces/a/deployments/web/status"][..]), ("NamespaceTerminating", &[])]
        {
            let (context, asked) = refused(reason);
            let outcome = controller(context).perform(&key, &deployment, &Action::Create(Box::new(set.clone()))).await;
            assert!(matches!(outcome, Err(ControllerError::Api(_))));
            assert_eq!(asked.with("PATCH"), told, "{reason}");
        }
        let conditions = conditions::not_created(&deployment, "why", Timestamp::now()).unwrap();
        let told = serde_json::to_value(&conditions[0]).unwrap();
        assert_eq!((&told["type"], &told["status"]), (&json!("Progressing"), &json!("False")));
        assert_eq!((&told["reason"], &told["message"]), (&json!("ReplicaSetCreateError"), &json!("why")));
        let mut known = deployment.clone();
        known.status = serde_json::from_value(json!({"conditions": conditions})).unwrap();
        assert_eq!(conditions::not_created(&known, "why", Timestamp::now()), None);
        known.spec.as_mut().unwrap().progress_deadline_seconds = None;
        assert_eq!(conditions::not_created(&known, "why", Timestamp::now()), None);
    }

    #[tokio::test]
    async fn a_set_whose_label_was_taken_off_is_released() {
        let owner =
            json!({"apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "d", "controller": true});
        let set = move |name: &str, app: &str| {
            json!({
                "apiVersion": "apps/v1", "kind": "ReplicaSet",
                "metadata": {"name": name, "namespace": "a", "uid": name, "labels": {"app": app},
                             "resourceVersion": "8", "ownerReferences": [owner]},
                "spec": {"selector": {"matchLabels": {"app": app}}},
            })
        };
        let list = |kind: &str, items: Vec<serde_json::Value>| json!({"kind": kind, "apiVersion": "apps/v1", "metadata": {"resourceVersion": "9"}, "items": items});
        let (context, asked) = crate::scripted::context(move |method, path| match (method, path) {
            ("GET", "/apis/apps/v1/replicasets") => {
                (200, list("ReplicaSetList", vec![set("stays", "web"), set("taken", "debug")]))
            }
            ("GET", _) => (200, list("List", Vec::new())),
            _ => (200, set("taken", "debug")),
        });
        let controller = controller(context);
        assert!(controller.sets.synced().await);
        let deployment: Deployment = serde_json::from_value(json!({
            "metadata": {"name": "web", "namespace": "a", "uid": "d"},
            "spec": {"selector": {"matchLabels": {"app": "web"}}, "template": {}},
        }))
        .unwrap();
        let claimed = controller.claim(&ObjectKey::new("a", "web"), &deployment).await.unwrap();
        assert_eq!(claimed.iter().map(|set| set.name_any()).collect::<Vec<_>>(), ["stays"]);
        assert_eq!(asked.with("PATCH"), ["/apis/apps/v1/namespaces/a/replicasets/taken"]);
    }
}
