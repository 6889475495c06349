//! PodDisruptionBudgets: counts the pods of each, which says how many of them may be evicted; the API server asks, and charges the budget.
//! A status is written only over the budget that was read, so that no charge is lost.

mod decide;
mod scale;
mod stale;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    api::{
        core::v1::{ObjectReference, Pod},
        policy::v1::{PodDisruptionBudget, PodDisruptionBudgetStatus},
    },
    jiff::Timestamp,
};
use kontiki_informer::{Change, Informer, Note, ObjectKey, Queue, Recorder};
use kube::{
    ResourceExt,
    api::{Patch, PatchParams, PostParams},
    core::Selector,
};

use crate::{
    ControllerError,
    adoption::controller_of,
    context::{Context, gone_is_fine, queued, reference, settled},
    pods,
};
use decide::{Wanted, counts_scale, decide, failed, wanted};
use scale::Controllers;

const WORKERS: usize = 4;
const STALE_WORKERS: usize = 1;
/// When pods are counted again whose controllers were not found, or have no scale.
const UNCOUNTED_ROUND: Duration = Duration::from_secs(60);

struct Controller {
    context: Context,
    budgets: Informer<PodDisruptionBudget>,
    pods: Informer<Pod>,
    queue: Queue<ObjectKey>,
    /// Pods that say they are to be disrupted.
    targets: Queue<ObjectKey>,
    recorder: Recorder,
}

pub async fn run(context: Context) {
    let (queue, targets): (Queue<ObjectKey>, Queue<ObjectKey>) = Default::default();
    let budgets = context.informer::<PodDisruptionBudget>(vec![queued(&queue)]);
    let (of_pod, of_target, all) = (queue.clone(), targets.clone(), budgets.clone());
    let pods = context.informer::<Pod>(vec![Box::new(move |change: &Change<Pod>| {
        if is_news(change) {
            for pod in [&change.old, &change.new].into_iter().flatten() {
                wake(&of_pod, &all, pod);
            }
        }
        if let Some(pod) = &change.new
            && let Some(left) = stale::due_in(pod, Timestamp::now())
        {
            of_target.add_after(ObjectKey::of(&**pod), left);
        }
    })]);
    if !budgets.synced().await || !pods.synced().await {
        return;
    }
    let (recorder, cancel) = (context.recorder("controllermanager"), context.cancel.clone());
    let (of_budget, of_pod) = (queue.clone(), targets.clone());
    let controller = Arc::new(Controller { context, budgets, pods, queue, targets, recorder });
    let counting = controller.clone();
    let counted = of_budget.drain(WORKERS, cancel.clone(), move |key| {
        let controller = counting.clone();
        async move { settled("disruption", &key, controller.reconcile(&key).await) }
    });
    let taken_back = of_pod.drain(STALE_WORKERS, cancel, move |key| {
        let controller = controller.clone();
        async move { settled("disruption", &key, controller.take_back(&key).await) }
    });
    tokio::join!(counted, taken_back);
}

/// Whether a change of a pod can change what a budget counts.
fn is_news(change: &Change<Pod>) -> bool {
    let facts = |pod: &Arc<Pod>| {
        let metadata = &pod.metadata;
        let owner = controller_of(&**pod).map(|owner| owner.uid.clone());
        (
            metadata.uid.clone(),
            metadata.labels.clone(),
            metadata.deletion_timestamp.is_some(),
            owner,
            pods::is_ready(pod),
        )
    };
    change.old.as_ref().map(facts) != change.new.as_ref().map(facts)
}

/// Queues the budgets that select the pod.
fn wake(queue: &Queue<ObjectKey>, budgets: &Informer<PodDisruptionBudget>, pod: &Pod) {
    for budget in budgets.list(Some(&pod.namespace().unwrap_or_default())) {
        let matches = |selector| pods::matches(&selector, pod.metadata.labels.as_ref());
        if selector(&budget).is_ok_and(|selector| selector.is_some_and(matches)) {
            queue.add(ObjectKey::of(&*budget));
        }
    }
}

/// None selects nothing, an empty one everything.
fn selector(budget: &PodDisruptionBudget) -> Result<Option<Selector>, ControllerError> {
    let selector = budget.spec.as_ref().and_then(|spec| spec.selector.as_ref());
    selector.map(pods::selector).transpose()
}

impl Controller {
    async fn reconcile(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        let Some(budget) = self.budgets.get(key) else { return Ok(()) };
        let about = reference(&*budget);
        let pods = match self.pods_of(&budget) {
            Ok(pods) => pods,
            Err(error) => {
                self.tell(&about, true, "NoPods", &format!("Failed to get pods: {error}")).await;
                return self.fail(key, &budget, error).await;
            }
        };
        if pods.is_empty() {
            self.tell(&about, false, "NoPods", "No matching pods found").await;
        }
        let wanted = match self.wanted(&budget, &pods).await {
            Ok(wanted) => wanted,
            Err(error) => {
                let message = format!("Failed to calculate the number of expected pods: {error}");
                self.tell(&about, true, "CalculateExpectedPodCountFailed", &message).await;
                return self.fail(key, &budget, error).await;
            }
        };
        let decision = decide(&budget, &pods, wanted, Timestamp::now());
        for pod in decision.stayed {
            let message = format!("Pod was expected by PDB {}/{} to be deleted but it wasn't", key.namespace, key.name);
            self.tell(&reference(&*pod), true, "NotDeleted", &message).await;
        }
        self.write(key, &budget, decision.status).await?;
        if let Some(seconds) = decision.again_in_s {
            self.queue.add_after(key.clone(), Duration::from_secs(seconds.unsigned_abs()));
        }
        Ok(())
    }

    fn pods_of(&self, budget: &PodDisruptionBudget) -> Result<Vec<Arc<Pod>>, ControllerError> {
        let Some(selector) = selector(budget)? else { return Ok(Vec::new()) };
        let mut selected = self.pods.list(Some(&budget.namespace().unwrap_or_default()));
        selected.retain(|pod| pods::matches(&selector, pod.metadata.labels.as_ref()));
        Ok(selected)
    }

    async fn wanted(&self, budget: &PodDisruptionBudget, pods: &[Arc<Pod>]) -> Result<Wanted, ControllerError> {
        let spec = budget.spec.clone().unwrap_or_default();
        if !counts_scale(&spec) {
            return Ok(wanted(&spec, i32::try_from(pods.len()).unwrap_or(i32::MAX)));
        }
        let namespace = budget.namespace().unwrap_or_default();
        let controllers = Controllers { client: self.context.clients.plain(), namespace: &namespace };
        let scale = controllers.scale(pods).await?;
        if scale.unmanaged {
            let selector = selector(budget)?.map(|selector| selector.to_string()).unwrap_or_default();
            let message = format!(
                "Pods selected by this PodDisruptionBudget (selector: {selector}) were found to be unmanaged. As a result, the status \
                 of the PDB cannot be calculated correctly, which may result in undefined behavior. To account for these pods please \
                 set \".spec.minAvailable\" field of the PDB to an integer value."
            );
            self.tell(&reference(budget), true, "UnmanagedPods", &message).await;
        }
        Ok(wanted(&spec, scale.pods))
    }

    /// Closes the budget. What the API did not answer is asked again at once; what there is not, only after a while.
    async fn fail(
        &self,
        key: &ObjectKey,
        budget: &PodDisruptionBudget,
        error: ControllerError,
    ) -> Result<(), ControllerError> {
        self.write(key, budget, failed(budget, &error.to_string(), Timestamp::now())).await?;
        if matches!(error, ControllerError::Api(_)) {
            return Err(error);
        }
        self.queue.add_after(key.clone(), UNCOUNTED_ROUND);
        Ok(())
    }

    async fn write(
        &self,
        key: &ObjectKey,
        budget: &PodDisruptionBudget,
        status: PodDisruptionBudgetStatus,
    ) -> Result<(), ControllerError> {
        if budget.status.as_ref() == Some(&status) {
            return Ok(());
        }
        let api = self.context.api::<PodDisruptionBudget, _>(&key.namespace, budget);
        let budget = PodDisruptionBudget { status: Some(status), ..budget.clone() };
        gone_is_fine(api.replace_status(&key.name, &PostParams::default(), &budget).await)?;
        Ok(())
    }

    /// Takes back that a pod is to be disrupted, once it has stayed for long enough.
    async fn take_back(&self, key: &ObjectKey) -> Result<(), ControllerError> {
        let Some(pod) = self.pods.get(key) else { return Ok(()) };
        let now = Timestamp::now();
        match stale::due_in(&pod, now) {
            None => {}
            Some(left) if !left.is_zero() => self.targets.add_after(key.clone(), left),
            Some(_) => {
                let api = self.context.api::<Pod, _>(&key.namespace, &*pod);
                let patch = Patch::Strategic(stale::taken_back(&pod, now));
                gone_is_fine(api.patch_status(&key.name, &PatchParams::default(), &patch).await)?;
            }
        }
        Ok(())
    }

    async fn tell(&self, about: &ObjectReference, warning: bool, reason: &str, message: &str) {
        self.recorder.record(about, Note { warning, reason, message }).await;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;
    use crate::scripted;

    fn budget(selector: &Value, observed: &Value) -> Value {
        json!({
            "apiVersion": "policy/v1", "kind": "PodDisruptionBudget",
            "metadata": {"name": "b", "namespace": "a", "uid": "b", "generation": 1, "resourceVersion": "5"},
            "spec": {"maxUnavailable": 1, "selector": selector}, "status": observed,
        })
    }

    fn pod() -> Value {
        let owners =
            json!([{"apiVersion": "none.com/v1", "kind": "None", "name": "n", "uid": "n", "controller": true}]);
        let target =
            json!({"type": "DisruptionTarget", "status": "True", "lastTransitionTime": "2026-01-01T00:00:00Z"});
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "namespace": "a", "uid": "p", "labels": {"app": "web"}, "ownerReferences": owners},
            "status": {"phase": "Running", "conditions": [target]},
        })
    }

    /// What is written of a budget and a pod; what is told of them is left out.
    async fn written(selector: Value, observed: Value) -> Vec<String> {
        let (context, asked) = scripted::context(move |method, path| {
            let list = |kind: &str, items: Value| {
                (200, json!({"kind": kind, "apiVersion": "v1", "metadata": {"resourceVersion": "9"}, "items": items}))
            };
            match (method, path) {
                ("GET", "/api/v1/pods") => list("PodList", json!([pod()])),
                ("GET", "/apis/policy/v1/poddisruptionbudgets") => {
                    list("PodDisruptionBudgetList", json!([budget(&selector, &observed)]))
                }
                ("PUT", _) => (200, budget(&selector, &observed)),
                ("PATCH", _) => (200, pod()),
                _ => scripted::failure(404, "NotFound", "x"),
            }
        });
        let (budgets, pods) = (context.informer(Vec::new()), context.informer(Vec::new()));
        let recorder = context.recorder("test");
        let (queue, targets) = (Queue::default(), Queue::default());
        let controller = Controller { context, budgets, pods, queue, targets, recorder };
        assert!(controller.budgets.synced().await && controller.pods.synced().await);
        controller.reconcile(&ObjectKey::new("a", "b")).await.unwrap();
        controller.take_back(&ObjectKey::new("a", "p")).await.unwrap();
        controller.context.cancel.cancel();
        [asked.with("PUT"), asked.with("PATCH")].concat()
    }

    #[tokio::test]
    async fn what_is_right_is_not_written_again() {
        const BUDGET: &str = "/apis/policy/v1/namespaces/a/poddisruptionbudgets/b/status";
        const POD: &str = "/api/v1/namespaces/a/pods/p/status";
        let observed = |reason: &str, message: &str, generation: Option<i64>| {
            let condition = json!({"type": "DisruptionAllowed", "status": "False", "reason": reason, "message": message,
                                   "observedGeneration": generation, "lastTransitionTime": "2026-01-01T00:00:00Z"});
            json!({"currentHealthy": 0, "desiredHealthy": 0, "expectedPods": 0, "disruptionsAllowed": 0,
                   "observedGeneration": generation, "conditions": [condition]})
        };
        let uncounted = "the API serves no kind \"None\" of group \"none.com\"";
        let (all, others) = (json!({}), json!({"matchLabels": {"app": "other"}}));
        let table = [
            (all.clone(), json!({}), vec![BUDGET, POD]),
            (all, observed("SyncFailed", uncounted, None), vec![POD]),
            (others.clone(), observed("SyncFailed", uncounted, None), vec![BUDGET, POD]),
            (others, observed("InsufficientPods", "", Some(1)), vec![POD]),
            (json!(null), observed("InsufficientPods", "", Some(1)), vec![POD]),
        ];
        for (selector, status, expected) in table {
            assert_eq!(written(selector.clone(), status.clone()).await, expected, "{selector} {status}");
        }
    }
}
