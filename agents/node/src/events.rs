//! Events about pods and the node, in order. Best effort, as in Kubernetes: an event is never worth a pod's delay. Knows how
//! many may wait, not how one is written, nor how many an object may cause.

use k8s_openapi::api::core::v1::{Node, ObjectReference, Pod};
use kontiki_informer::{Note, Recorder, reference};
use tokio::sync::mpsc;
use tokio_util::sync::CancellationToken;
use tracing::debug;

use crate::{limits::EVENT_QUEUE_MAX, pod};

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
        self.send(reference(pod), severity, reason, message.into());
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
        self.send(ObjectReference { field_path, ..reference(pod) }, severity, reason, message.into());
    }

    pub fn of_node(&self, node: &Node, severity: Severity, reason: &'static str, message: impl Into<String>) {
        self.send(reference(node), severity, reason, message.into());
    }

    fn send(&self, object: ObjectReference, severity: Severity, reason: &'static str, message: String) {
        if self.0.try_send(Item { object, severity, reason, message }).is_err() {
            debug!(reason, "event dropped: too many are waiting");
        }
    }
}

async fn write(recorder: Recorder, mut items: mpsc::Receiver<Item>) {
    while let Some(Item { object, severity, reason, message }) = items.recv().await {
        let note = Note { warning: severity == Severity::Warning, reason, message: &message };
        recorder.record(&object, note).await;
    }
}
