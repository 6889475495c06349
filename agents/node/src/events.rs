//! Events about pods and the node, in order and within bounds. Best effort, as in Kubernetes: an event is never worth
//! a pod's delay. Knows how many an object may cause, not how one is written.

use std::{
    collections::{HashMap, VecDeque},
    time::Instant,
};

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use kontiki_informer::{Note, Recorder};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{
    limits::{EVENT_BURST, EVENT_QUEUE_MAX, EVENT_REFILL, EVENT_SOURCES_MAX},
    pod,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Severity {
    Normal,
    Warning,
}

struct Item {
    object: ObjectReference,
    severity: Severity,
    reason: &'static str,
    message: String,
}

/// Cheap to clone; telling never waits.
#[derive(Clone)]
pub struct Events(mpsc::Sender<Item>);

impl Events {
    /// Writes in the background until `cancel`.
    pub fn start(recorder: Recorder, cancel: CancellationToken) -> Events {
        let (sender, receiver) = mpsc::channel(EVENT_QUEUE_MAX);
        tokio::spawn(cancel.run_until_cancelled_owned(write(recorder, receiver)));
        Events(sender)
    }

    pub fn of_pod(&self, pod: &Pod, severity: Severity, reason: &'static str, message: impl Into<String>) {
        self.send(pod_reference(pod), severity, reason, message.into());
    }

    pub fn of_container(
        &self,
        pod: &Pod,
        container: &str,
        severity: Severity,
        reason: &'static str,
        message: impl Into<String>,
    ) {
        let field_path = Some(pod::field_path(&pod::spec(pod), container));
        self.send(ObjectReference { field_path, ..pod_reference(pod) }, severity, reason, message.into());
    }

    pub fn of_node(&self, node: &Node, severity: Severity, reason: &'static str, message: impl Into<String>) {
        let object = ObjectReference {
            api_version: Some("v1".to_owned()),
            kind: Some("Node".to_owned()),
            name: node.metadata.name.clone(),
            uid: node.metadata.uid.clone(),
            resource_version: node.metadata.resource_version.clone(),
            ..ObjectReference::default()
        };
        self.send(object, severity, reason, message.into());
    }

    fn send(&self, object: ObjectReference, severity: Severity, reason: &'static str, message: String) {
        if self.0.try_send(Item { object, severity, reason, message }).is_err() {
            debug!(reason, "event dropped: too many are waiting");
        }
    }
}

fn pod_reference(pod: &Pod) -> ObjectReference {
    ObjectReference {
        api_version: Some("v1".to_owned()),
        kind: Some("Pod".to_owned()),
        namespace: pod.metadata.namespace.clone(),
        name: pod.metadata.name.clone(),
        uid: pod.metadata.uid.clone(),
        resource_version: pod.metadata.resource_version.clone(),
        field_path: None,
    }
}

async fn write(recorder: Recorder, mut items: mpsc::Receiver<Item>) {
    let mut allowances = Allowances::default();
    while let Some(Item { object, severity, reason, message }) = items.recv().await {
        let source = object.uid.clone().unwrap_or_default();
        if !allowances.allow(source, Instant::now()) {
            debug!(reason, "event dropped: its object has caused too many");
            continue;
        }
        let note = Note { warning: severity == Severity::Warning, reason, message: &message };
        recorder.record(&object, note).await;
    }
}

/// A token bucket for each object.
#[derive(Default)]
struct Allowances {
    buckets: HashMap<String, Bucket>,
    order: VecDeque<String>,
}

struct Bucket {
    left: u32,
    counted: Instant,
}

impl Allowances {
    fn allow(&mut self, source: String, now: Instant) -> bool {
        if !self.buckets.contains_key(&source) {
            self.buckets.insert(source.clone(), Bucket { left: EVENT_BURST, counted: now });
            self.order.push_back(source.clone());
            if self.order.len() > EVENT_SOURCES_MAX
                && let Some(oldest) = self.order.pop_front()
            {
                self.buckets.remove(&oldest);
            }
        }
        let Some(bucket) = self.buckets.get_mut(&source) else { return true };
        let earned = now.saturating_duration_since(bucket.counted).as_secs() / EVENT_REFILL.as_secs();
        if earned > 0 {
            bucket.left = bucket.left.saturating_add(u32::try_from(earned).unwrap_or(u32::MAX)).min(EVENT_BURST);
            bucket.counted = now;
        }
        let allowed = bucket.left > 0;
        bucket.left = bucket.left.saturating_sub(1);
        allowed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_object_has_a_burst_and_earns_more_slowly() {
        let mut allowances = Allowances::default();
        let start = Instant::now();
        let count = |allowances: &mut Allowances, at| (0..100).filter(|_| allowances.allow("a".into(), at)).count();
        assert_eq!(count(&mut allowances, start), 25);
        assert!(allowances.allow("b".into(), start), "others have their own");
        assert_eq!(count(&mut allowances, start + EVENT_REFILL * 2), 2);
    }
}
