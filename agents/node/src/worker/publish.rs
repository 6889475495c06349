//! Telling the API server a pod's status: only what has changed, only if nobody else has written meanwhile.

use k8s_openapi::api::core::v1::{Pod, PodStatus};
use kontiki_informer::{Outage, caused_by};
use kube::{
    Api,
    api::{Patch, PatchParams},
};
use std::sync::Arc;
use tracing::debug;

use super::{Worker, jobs::Outcome};
use crate::{
    clock::{self, Millis},
    limits::{API_RETRY_FIRST, API_RETRY_MAX, CONFLICTS_MAX},
    machine::OWN_CONDITIONS,
    pod::PodId,
    retry::Retry,
    status_patch::difference,
};

/// How far the API server has been told.
pub struct Publication {
    in_flight: bool,
    retry: Retry,
    outage: Outage,
    not_before_ms: Millis,
    /// The highest version of the pod that is known.
    version: u64,
}

/// What became of a write.
pub enum Told {
    Accepted(Box<Pod>),
    /// Somebody else's write came first, and again: the next try starts from theirs.
    Overtaken(Box<Pod>),
    /// The pod is no longer there; the watch will say so.
    Vanished,
    Failed(kube::Error),
}

impl Publication {
    pub fn new(pod: &Pod) -> Publication {
        Publication {
            in_flight: false,
            retry: Retry::new(API_RETRY_FIRST, API_RETRY_MAX),
            outage: Outage::new("cannot tell the pod's status", PodId::of(pod).full_name()),
            not_before_ms: 0,
            version: version(pod),
        }
    }

    /// Newer than anything known. A server that does not number versions is believed.
    pub fn is_news(&mut self, pod: &Pod) -> bool {
        let version = version(pod);
        if version != 0 && version < self.version {
            return false;
        }
        self.version = self.version.max(version);
        true
    }

    pub fn died(&mut self) {
        self.in_flight = false;
    }
}

fn version(pod: &Pod) -> u64 {
    pod.metadata.resource_version.as_deref().and_then(|version| version.parse().ok()).unwrap_or(0)
}

impl Worker {
    /// Writes the status if it is news; returns when to try again.
    pub(super) fn publish(&mut self, status: PodStatus, now_ms: Millis) -> Option<Millis> {
        if status == self.observed.acknowledged || self.publication.in_flight {
            return None;
        }
        if now_ms < self.publication.not_before_ms {
            return Some(self.publication.not_before_ms);
        }
        self.publication.in_flight = true;
        let pod = self.asked.clone();
        let client = caused_by(&self.node.client, pod.metadata.resource_version.as_deref());
        let api: Api<Pod> = Api::namespaced(client, &self.id.namespace);
        self.jobs.spawn(async move { Outcome::Told(write(&api, pod, status).await) });
        None
    }

    pub(super) fn learn_told(&mut self, told: Told) {
        self.publication.in_flight = false;
        match told {
            Told::Accepted(pod) => {
                self.publication.retry.reset();
                self.publication.outage.over();
                self.take(Arc::new(*pod));
            }
            Told::Overtaken(pod) => self.take(Arc::new(*pod)),
            Told::Vanished => self.publication.not_before_ms = clock::now() + pause(&mut self.publication.retry),
            Told::Failed(error) => {
                self.publication.outage.failed(&error);
                self.publication.not_before_ms = clock::now() + pause(&mut self.publication.retry);
            }
        }
    }
}

fn pause(retry: &mut Retry) -> Millis {
    Millis::try_from(retry.next().as_millis()).unwrap_or(Millis::MAX)
}

/// Turns the status of `pod` into `status`; when somebody else's write came first, keeps theirs where we have no say.
async fn write(api: &Api<Pod>, pod: Arc<Pod>, status: PodStatus) -> Told {
    let name = pod.metadata.name.clone().unwrap_or_default();
    let mut current = Pod::clone(&pod);
    let mut wanted = status;
    for _ in 0..CONFLICTS_MAX {
        let Some(change) = difference(&current.status.clone().unwrap_or_default(), &wanted) else {
            return Told::Accepted(Box::new(current));
        };
        let patch = serde_json::json!({
            "metadata": {"uid": pod.metadata.uid, "resourceVersion": current.metadata.resource_version},
            "status": change,
        });
        let refused = match api.patch_status(&name, &PatchParams::default(), &Patch::Merge(&patch)).await {
            Ok(pod) => return Told::Accepted(Box::new(pod)),
            Err(kube::Error::Api(refused)) if refused.code == 404 => return Told::Vanished,
            Err(kube::Error::Api(refused)) if refused.code == 409 => refused,
            Err(error) => return Told::Failed(error),
        };
        debug!(pod = name, message = refused.message, "overtaken by another write");
        current = match api.get_opt(&name).await {
            Ok(Some(fresh)) if fresh.metadata.uid == pod.metadata.uid => fresh,
            Ok(Some(_) | None) => return Told::Vanished,
            Err(error) => return Told::Failed(error),
        };
        if crate::pod::is_terminal(current.status.as_ref().and_then(|status| status.phase.as_deref())) {
            return Told::Overtaken(Box::new(current));
        }
        adopt_foreign_conditions(&mut wanted, current.status.as_ref());
    }
    Told::Overtaken(Box::new(current))
}

/// Conditions that this node does not set are as their owners last wrote them.
fn adopt_foreign_conditions(wanted: &mut PodStatus, theirs: Option<&PodStatus>) {
    let theirs = theirs.and_then(|status| status.conditions.clone()).unwrap_or_default();
    let conditions = wanted.conditions.get_or_insert_default();
    conditions.retain(|condition| OWN_CONDITIONS.contains(&condition.type_.as_str()));
    conditions.extend(theirs.into_iter().filter(|condition| !OWN_CONDITIONS.contains(&condition.type_.as_str())));
}
