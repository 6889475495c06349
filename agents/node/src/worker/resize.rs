//! What a pod asks for and what it has: asked of the node, given to the containers, told by events.

use std::sync::Arc;

use k8s_openapi::api::core::v1::{Container, Pod, PodStatus};
use serde_json::{Value, json};

use super::{Worker, jobs::remember_resources};
use crate::{
    clock,
    containers::{Limits, RefusalKind},
    events::Severity,
    ledger::Standing,
    limits::RETRY_MS,
    machine::{self, ResizeFailed},
    node::NodeContext,
    pod::{self, PodId},
    spec::{container_name, resources},
    volumes::Place,
};

impl Worker {
    /// Asks the node for what the pod now says.
    pub(super) fn ask(&mut self) {
        let standing = self.node.pods.ask(&self.id.uid, &self.asked, clock::now());
        self.take_standing(standing);
    }

    pub(super) fn take_standing(&mut self, Standing { allocation, pending }: Standing) {
        let granted = !allocation.suffices(&pod::spec(&self.pod));
        self.pod = Arc::new(allocation.given_to(&self.asked));
        if granted {
            for memory in self.observed.memory.values_mut() {
                memory.resize_failed = None;
            }
            self.resizing = true;
            // The downward API tells of resources.
            self.refresh_volumes = true;
            self.tell_resize(Severity::Normal, "ResizeStarted", "Pod resize started", "");
        }
        if let Some(pending) = pending.as_ref().filter(|pending| self.observed.resize.as_ref() != Some(*pending)) {
            let (reason, prefix) = match pending.reason {
                machine::PendingReason::Deferred => ("ResizeDeferred", "Pod resize Deferred"),
                machine::PendingReason::Infeasible => ("ResizeInfeasible", "Pod resize Infeasible"),
            };
            self.tell_resize(Severity::Warning, reason, prefix, &pending.message);
        }
        self.observed.resize = pending;
    }

    /// Tells once that every container has what was set aside for it.
    pub(super) fn tell_resized(&mut self, status: &PodStatus) {
        let resizing = machine::is_resizing(status);
        if self.resizing && !resizing && !pod::is_terminal(status.phase.as_deref()) {
            self.tell_resize(Severity::Normal, "ResizeCompleted", "Pod resize completed", "");
        }
        self.resizing = resizing;
    }

    pub(super) fn learn_resized(&mut self, container: &str, result: Result<(), String>) {
        let failed = result.err().map(|message| ResizeFailed { message, retry_at_ms: clock::now() + RETRY_MS });
        let before = std::mem::replace(&mut self.memory(container).resize_failed, failed.clone());
        let Some(ResizeFailed { message, .. }) = failed else { return };
        if before.is_none_or(|before| before.message != message) {
            self.tell_resize(Severity::Warning, "ResizeError", "Pod resize error", &message);
        }
    }

    fn tell_resize(&self, severity: Severity, reason: &'static str, prefix: &str, error: &str) {
        self.node.events.of_pod(&self.pod, severity, reason, format!("{prefix}: {}", summary(&self.asked, error)));
    }
}

/// What the pod asks for, as Kubernetes' events tell it.
fn summary(pod: &Pod, error: &str) -> Value {
    let spec = pod::spec(pod);
    let told = |container: &Container| json!({"name": container.name, "resources": container.resources.clone().unwrap_or_default()});
    let mut summary = json!({});
    let init: Vec<Value> = spec.init_containers.iter().flatten().map(told).collect();
    if !init.is_empty() {
        summary["initContainers"] = init.into();
    }
    summary["containers"] = spec.containers.iter().map(told).collect();
    summary["generation"] = pod.metadata.generation.unwrap_or(0).into();
    if !error.is_empty() {
        summary["error"] = error.into();
    }
    summary
}

/// Lets a running attempt use what the pod says, and remembers that it does.
pub async fn resize(node: &NodeContext, pod: &Pod, place: Place, name: &str, attempt: u32) -> Result<(), String> {
    let spec = pod::spec(pod);
    let Some(container) = pod::container(&spec, name) else { return Ok(()) };
    let limits = Limits {
        of_container: resources::of_container(pod, &container, node.memory_capacity()),
        of_sandbox: resources::of_pod(&spec),
    };
    let id = PodId::of(pod);
    let limited = node.containers.limit_container(&id.uid, &container_name(name, attempt), &limits).await;
    limited.map_err(|refusal| match refusal.kind == RefusalKind::InUse {
        true => format!("attempting to set container {name:?} {refusal}"),
        false => refusal.message,
    })?;
    let file = place.resources(name, attempt);
    let resources = container.resources.clone().unwrap_or_default();
    let remembered = tokio::task::spawn_blocking(move || remember_resources(&file, &resources)).await;
    remembered.unwrap_or_else(|error| Err(error.to_string()))
}
