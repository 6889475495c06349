//! What admission counts and how long it takes, under kube-apiserver's names and labels.

use std::time::{Duration, Instant};

use kontiki_kinds::podsecurity::{Level, LevelVersion, Version};
use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram},
    registry::Registry,
};

use super::{Attributes, Operation};
use crate::rest::Refusal;

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PluginLabels {
    name: &'static str,
    operation: &'static str,
    r#type: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WebhookLabels {
    name: String,
    operation: &'static str,
    r#type: &'static str,
    rejected: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    name: String,
    operation: &'static str,
    r#type: &'static str,
    rejected: &'static str,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RejectionLabels {
    name: String,
    r#type: &'static str,
    operation: &'static str,
    error_type: &'static str,
    rejection_code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OpenLabels {
    name: String,
    r#type: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EvaluationLabels {
    decision: &'static str,
    policy_level: &'static str,
    policy_version: String,
    mode: &'static str,
    request_operation: &'static str,
    resource: &'static str,
    subresource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ExemptionLabels {
    request_operation: &'static str,
    resource: &'static str,
    subresource: String,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Clone)]
pub(crate) struct AdmissionMetrics {
    plugins: Durations<PluginLabels>,
    webhooks: Durations<WebhookLabels>,
    requests: Family<RequestLabels, Counter>,
    // Gauges that only grow: OpenMetrics puts `_total` behind a counter's name, and Kubernetes' names of these have none.
    rejections: Family<RejectionLabels, Gauge>,
    failed_open: Family<OpenLabels, Gauge>,
    evaluations: Family<EvaluationLabels, Counter>,
    exemptions: Family<ExemptionLabels, Counter>,
}

/// Whether a plugin or a webhook may change the object.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    Admit,
    Validate,
}

/// One plugin at work.
pub(super) struct Step<'a> {
    metrics: &'a AdmissionMetrics,
    labels: PluginLabels,
    since: Instant,
}

/// What came of asking a webhook.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    Allowed,
    /// It said no, with this code.
    Denied(u16),
    /// It could not be asked, which its configuration lets pass or does not.
    Unasked {
        code: u16,
        ignored: bool,
    },
    /// This server could not do its part.
    Internal,
}

/// What a pod was held against.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mode {
    Enforce,
    Audit,
    Warn,
}

fn told(flag: bool) -> &'static str {
    if flag { "true" } else { "false" }
}

impl AdmissionMetrics {
    pub fn new() -> Self {
        AdmissionMetrics {
            plugins: Family::new_with_constructor(|| Histogram::new([0.005, 0.025, 0.1, 0.5, 1.0, 2.5])),
            webhooks: Family::new_with_constructor(|| Histogram::new([0.005, 0.025, 0.1, 0.5, 1.0, 2.5, 10.0, 25.0])),
            requests: Family::default(),
            rejections: Family::default(),
            failed_open: Family::default(),
            evaluations: Family::default(),
            exemptions: Family::default(),
        }
    }

    pub fn register(&self, registry: &mut Registry) {
        let name = "apiserver_admission_controller_admission_duration_seconds";
        registry.register(
            name,
            "Time that a plugin took, by its name, the operation and its verdict",
            self.plugins.clone(),
        );
        let webhooks = registry.sub_registry_with_prefix("apiserver_admission_webhook");
        webhooks.register("admission_duration_seconds", "Time until a webhook had answered", self.webhooks.clone());
        webhooks.register("request", "Requests to webhooks, by their answer", self.requests.clone());
        webhooks.register("rejection_count", "Writes that a webhook kept from happening", self.rejections.clone());
        webhooks.register("fail_open_count", "Writes that passed a webhook nobody could ask", self.failed_open.clone());
        let pods = registry.sub_registry_with_prefix("pod_security");
        pods.register("evaluations", "Pods and templates held against a level", self.evaluations.clone());
        pods.register("exemptions", "Pods and templates that nobody looked at", self.exemptions.clone());
    }

    pub(super) fn asked(
        &self,
        attributes: &Attributes<'_>,
        (name, phase): (&str, Phase),
        outcome: Outcome,
        took: Duration,
    ) {
        let (name, operation) = (name.to_owned(), attributes.operation.name());
        let r#type = phase.of_webhooks();
        let (code, rejected) = match outcome {
            Outcome::Allowed => (200, false),
            Outcome::Denied(code) => (code, true),
            Outcome::Unasked { code, ignored } => (code, !ignored),
            Outcome::Internal => (0, true),
        };
        let error_type = match outcome {
            Outcome::Allowed | Outcome::Unasked { ignored: true, .. } => None,
            Outcome::Denied(_) => Some("no_error"),
            Outcome::Unasked { ignored: false, .. } => Some("calling_webhook_error"),
            Outcome::Internal => Some("apiserver_internal_error"),
        };
        // As many series as a webhook can make it have.
        let code = code.min(CODE_MAX);
        if let Some(error_type) = error_type {
            let labels = RejectionLabels { name: name.clone(), r#type, operation, error_type, rejection_code: code };
            self.rejections.get_or_create(&labels).inc();
        }
        if matches!(outcome, Outcome::Unasked { ignored: true, .. }) {
            self.failed_open.get_or_create(&OpenLabels { name: name.clone(), r#type }).inc();
        }
        let rejected = told(rejected);
        let labels = WebhookLabels { name: name.clone(), operation, r#type, rejected };
        self.webhooks.get_or_create(&labels).observe(took.as_secs_f64());
        self.requests.get_or_create(&RequestLabels { name, operation, r#type, rejected, code }).inc();
    }

    pub(super) fn evaluated(&self, attributes: &Attributes<'_>, policy: LevelVersion, mode: Mode, allowed: bool) {
        let labels = EvaluationLabels {
            decision: if allowed { "allow" } else { "deny" },
            policy_level: policy.level.name(),
            policy_version: version(policy),
            mode: mode.name(),
            request_operation: operation(attributes),
            resource: subject(attributes),
            subresource: attributes.subresource.to_owned(),
        };
        self.evaluations.get_or_create(&labels).inc();
    }

    pub(super) fn exempted(&self, attributes: &Attributes<'_>) {
        let labels = ExemptionLabels {
            request_operation: operation(attributes),
            resource: subject(attributes),
            subresource: attributes.subresource.to_owned(),
        };
        self.exemptions.get_or_create(&labels).inc();
    }
}

/// What is above is told as this.
const CODE_MAX: u16 = 600;

/// A release that is not out yet is the future, so that labels make no more series than there are releases.
fn version(policy: LevelVersion) -> String {
    match (policy.level, policy.version) {
        // Nothing is forbidden, whatever the release.
        (Level::Privileged, _) | (_, Version::Latest) => Version::Latest.to_string(),
        (_, version @ Version::Minor(minor)) if minor <= crate::version::MINOR => version.to_string(),
        (_, Version::Minor(_)) => "future".to_owned(),
    }
}

fn operation(attributes: &Attributes<'_>) -> &'static str {
    match attributes.operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Connect => "connect",
    }
}

fn subject(attributes: &Attributes<'_>) -> &'static str {
    use kontiki_kinds::podsecurity::PodSecurity;
    match attributes.kind.stored().pod_security {
        Some(PodSecurity::Pod) => "pod",
        Some(PodSecurity::Policy) => "namespace",
        Some(PodSecurity::Template(_)) | None => "controller",
    }
}

impl Phase {
    fn of_plugins(self) -> &'static str {
        match self {
            Phase::Admit => "admit",
            Phase::Validate => "validate",
        }
    }

    fn of_webhooks(self) -> &'static str {
        match self {
            Phase::Admit => "admit",
            Phase::Validate => "validating",
        }
    }
}

impl Mode {
    fn name(self) -> &'static str {
        match self {
            Mode::Enforce => "enforce",
            Mode::Audit => "audit",
            Mode::Warn => "warn",
        }
    }
}

impl<'a> Step<'a> {
    /// A plugin begins, by Kubernetes' name.
    pub fn of(attributes: &Attributes<'a>, name: &'static str, phase: Phase) -> Self {
        let labels = PluginLabels {
            name,
            operation: attributes.operation.name(),
            r#type: phase.of_plugins(),
            rejected: "false",
        };
        Step { metrics: &attributes.call.core.metrics.admission, labels, since: Instant::now() }
    }

    /// It has ended. What is decided again because another write came first is no verdict.
    pub fn ended<T>(mut self, outcome: Result<T, Refusal>) -> Result<T, Refusal> {
        match &outcome {
            Ok(_) => {}
            Err(Refusal::Raced) => return outcome,
            Err(Refusal::Final(_) | Refusal::Judged(_)) => self.labels.rejected = told(true),
        }
        self.metrics.plugins.get_or_create(&self.labels).observe(self.since.elapsed().as_secs_f64());
        outcome
    }
}
