//! What the server counts, for `/metrics`. Names follow kube-apiserver's where it has the same figure.

pub(crate) mod plain;
mod process;

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use kontiki_kinds::Kinds;
use kontiki_model::Scope;
use kontiki_raft::Log;
use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{counter::Counter, family::Family, gauge::Gauge, histogram::Histogram, info::Info},
    registry::Registry,
};

use self::process::ProcessGauges;
use crate::{admission::AdmissionMetrics, audit::AuditMetrics, fairness::FairnessMetrics, route::RequestInfo, version};

/// Kubernetes' bounds: what is written for its server asks for them by value.
const REQUEST_SECONDS: [f64; 23] = [
    0.005, 0.025, 0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0, 1.25, 1.5, 2.0, 3.0, 4.0, 5.0, 6.0, 8.0, 10.0, 15.0, 20.0, 30.0,
    45.0, 60.0,
];

/// A request, as far as it is counted.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub struct RequestLabels {
    /// The method, or what it comes to: `LIST`, `WATCH`, `APPLY`, `CONNECT`.
    pub verb: &'static str,
    pub dry_run: &'static str,
    pub group: String,
    pub version: String,
    pub resource: String,
    pub subresource: String,
    /// Whether it is about one object, a namespace or the cluster.
    pub scope: &'static str,
    pub component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LongLabels {
    verb: &'static str,
    group: String,
    version: String,
    resource: String,
    subresource: String,
    scope: &'static str,
    component: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabels {
    #[prometheus(flatten)]
    request: RequestLabels,
    code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ObjectLabels {
    group: String,
    resource: String,
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
    long: Family<LongLabels, Gauge>,
    objects: Family<ObjectLabels, Gauge>,
    exposing: Mutex<()>,
    process: ProcessGauges,
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

impl Default for RequestLabels {
    /// Of what cannot be read.
    fn default() -> Self {
        RequestLabels {
            verb: "OTHER",
            dry_run: "",
            group: String::new(),
            version: String::new(),
            resource: String::new(),
            subresource: String::new(),
            scope: "",
            component: "apiserver",
        }
    }
}

impl RequestLabels {
    /// Of a request about nothing that is known.
    pub fn of(info: &RequestInfo, applies: bool) -> Self {
        let verb = match info.verb {
            _ if info.reaches_through() => "CONNECT",
            "patch" if applies => "APPLY",
            "create" | "post" => "POST",
            "delete" | "deletecollection" => "DELETE",
            "get" | "head" => "GET",
            "list" => "LIST",
            "options" => "OPTIONS",
            "patch" => "PATCH",
            "put" | "update" => "PUT",
            "watch" => "WATCH",
            _ => "OTHER",
        };
        RequestLabels { verb, ..RequestLabels::default() }
    }
}

impl Metrics {
    pub fn new() -> Self {
        let durations: Durations = Family::new_with_constructor(|| Histogram::new(REQUEST_SECONDS));
        let mut metrics = Metrics {
            registry: Registry::default(),
            requests: Family::default(),
            durations,
            in_flight: Family::default(),
            long: Family::default(),
            objects: Family::default(),
            exposing: Mutex::default(),
            process: ProcessGauges::default(),
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
        // Kubernetes leaves webhooks out of this one.
        registry.register("apiserver_request_sli_duration_seconds", help, self.durations.clone());
        registry.register("apiserver_current_inflight_requests", "Requests in work", self.in_flight.clone());
        registry.register("apiserver_longrunning_requests", "Open watches, tunnels and log streams", self.long.clone());
        registry.register("apiserver_connections", "Open client connections", self.connections.clone());
        registry.register("apiserver_request_panics", "Requests whose handler panicked", self.panics.clone());
        registry.register("apiserver_resource_objects", "Objects in the state, by resource", self.objects.clone());
        registry.register("kubernetes_build", "What runs", Info::new(version::labels()));
        self.process.register(registry);
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
        self.requests.get_or_create(&CodeLabels { request: labels, code }).inc();
    }

    pub fn short_request(&self, mutating: bool) -> InFlight {
        let request_kind = if mutating { "mutating" } else { "readOnly" };
        InFlight::new(self.in_flight.get_or_create_owned(&KindLabels { request_kind }))
    }

    pub fn long_request(&self, labels: &RequestLabels) -> InFlight {
        let RequestLabels { verb, group, version, resource, subresource, scope, component, .. } = labels.clone();
        let labels = LongLabels { verb, group, version, resource, subresource, scope, component };
        InFlight::new(self.long.get_or_create_owned(&labels))
    }

    pub fn connection(&self) -> InFlight {
        InFlight::new(self.connections.clone())
    }

    pub fn panicked(&self) {
        self.panics.inc();
    }

    /// The exposition in OpenMetrics' text format, with how many objects there are of these kinds.
    pub fn expose(&self, log: &Log, kinds: &Kinds) -> Result<String, std::fmt::Error> {
        // One at a time: figures of two would be added up, or cleared under the other.
        let _exposing = self.exposing.lock().unwrap_or_else(PoisonError::into_inner);
        self.process.measure();
        self.objects.clear();
        for kind in kinds.iter().filter(|kind| kind.computed.is_none()) {
            let labels = ObjectLabels { group: kind.group.to_owned(), resource: kind.resource.to_owned() };
            let count = log.count(&Scope { resource: kind.storage_resource(), namespace: None }, usize::MAX);
            self.objects.get_or_create(&labels).set(i64::try_from(count).unwrap_or(i64::MAX));
        }
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
