//! What the server counts, for `/metrics`. Names follow kube-apiserver's where it has the same figure.

pub(crate) mod plain;

use std::time::Duration;

use kontiki_raft::Log;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use crate::{admission::AdmissionMetrics, audit::AuditMetrics, fairness::FairnessMetrics};

/// A request, as far as it is counted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    pub verb: String,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    verb: String,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct KindLabels {
    request_kind: &'static str,
}

type Durations = Family<RequestLabels, Histogram, fn() -> Histogram>;

pub struct Metrics {
    registry: Registry,
    requests: Family<CodeLabels, Counter>,
    durations: Durations,
    in_flight: Family<KindLabels, Gauge>,
    long: Family<RequestLabels, Gauge>,
    connections: Gauge,
    panics: Counter,
    pub(crate) admission: AdmissionMetrics,
    pub(crate) audit: AuditMetrics,
    pub(crate) fairness: FairnessMetrics,
    log: LogGauges,
}

/// Figures of the log, read when they are asked for.
#[derive(Default)]
struct LogGauges {
    revision: Gauge,
    floor: Gauge,
    objects: Gauge,
    history_bytes: Gauge,
    term: Gauge,
    last_index: Gauge,
    applied_index: Gauge,
    leader: Gauge,
}

/// Counts one request as being in work until it is dropped.
pub struct InFlight(Gauge);

impl Metrics {
    pub fn new() -> Self {
        let durations: Durations =
            Family::new_with_constructor(|| Histogram::new(exponential_buckets(0.0005, 2.0, 18)));
        let mut metrics = Metrics {
            registry: Registry::default(),
            requests: Family::default(),
            durations,
            in_flight: Family::default(),
            long: Family::default(),
            connections: Gauge::default(),
            panics: Counter::default(),
            admission: AdmissionMetrics::new(),
            audit: AuditMetrics::new(),
            fairness: FairnessMetrics::new(),
            log: LogGauges::default(),
        };
        metrics.register();
        metrics
    }

    fn register(&mut self) {
        let registry = &mut self.registry;
        registry.register("apiserver_request", "Requests answered", self.requests.clone());
        let help = "Time to the answer's head, watches and tunnels excepted";
        registry.register("apiserver_request_duration_seconds", help, self.durations.clone());
        registry.register("apiserver_current_inflight_requests", "Requests in work", self.in_flight.clone());
        registry.register("apiserver_longrunning_requests", "Open watches, tunnels and log streams", self.long.clone());
        registry.register("apiserver_connections", "Open client connections", self.connections.clone());
        registry.register("apiserver_request_panics", "Requests whose handler panicked", self.panics.clone());
        self.admission.register(registry);
        self.audit.register(registry);
        self.fairness.register(registry);
        let log = &self.log;
        registry.register("kontiki_log_revision", "Newest revision", log.revision.clone());
        registry.register("kontiki_log_floor_revision", "Oldest revision a watch can resume from", log.floor.clone());
        registry.register("kontiki_log_objects", "Objects in the state", log.objects.clone());
        registry.register("kontiki_log_history_bytes", "Size of the history", log.history_bytes.clone());
        registry.register("kontiki_raft_term", "Raft term", log.term.clone());
        registry.register("kontiki_raft_last_index", "Newest log entry", log.last_index.clone());
        registry.register("kontiki_raft_applied_index", "Newest applied log entry", log.applied_index.clone());
        registry.register("kontiki_raft_is_leader", "1 where this server leads", log.leader.clone());
    }

    /// Counts an answered request; `took` is left out for watches and tunnels.
    pub fn answered(&self, labels: RequestLabels, code: u16, took: Option<Duration>) {
        if let Some(took) = took {
            self.durations.get_or_create(&labels).observe(took.as_secs_f64());
        }
        let RequestLabels { verb, group, version, resource, subresource } = labels;
        self.requests.get_or_create(&CodeLabels { verb, group, version, resource, subresource, code }).inc();
    }

    pub fn short_request(&self, mutating: bool) -> InFlight {
        let request_kind = if mutating { "mutating" } else { "readOnly" };
        InFlight::new(self.in_flight.get_or_create_owned(&KindLabels { request_kind }))
    }

    pub fn long_request(&self, labels: &RequestLabels) -> InFlight {
        InFlight::new(self.long.get_or_create_owned(labels))
    }

    pub fn connection(&self) -> InFlight {
        InFlight::new(self.connections.clone())
    }

    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// The exposition in OpenMetrics' text format.
    pub fn expose(&self, log: &Log) -> Result<String, std::fmt::Error> {
        let status = log.status();
        let figure = |gauge: &Gauge, value: u64| gauge.set(value.cast_signed());
        figure(&self.log.revision, status.revision);
        figure(&self.log.floor, status.floor);
        figure(&self.log.objects, status.objects as u64);
        figure(&self.log.history_bytes, status.history_bytes);
        figure(&self.log.term, status.term);
        figure(&self.log.last_index, status.last_index);
        figure(&self.log.applied_index, status.applied_index);
        figure(&self.log.leader, u64::from(status.role == kontiki_raft::Role::Leader));
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Default for Metrics {
    fn default() -> Self {
        Metrics::new()
    }
}

impl InFlight {
    fn new(gauge: Gauge) -> Self {
        gauge.inc();
        InFlight(gauge)
    }
}

impl Drop for InFlight {
    fn drop(&mut self) {
        self.0.dec();
    }
}
