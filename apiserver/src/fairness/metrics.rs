//! What priority and fairness counts, under kube-apiserver's names.

use std::time::Duration;

use prometheus_client::{
    encoding::EncodeLabelSet,
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
    },
    registry::Registry,
};

use super::{Refused, shares::Bounds};

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct LevelLabels {
    priority_level: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FlowLabels {
    priority_level: String,
    flow_schema: String,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabels {
    priority_level: String,
    flow_schema: String,
    reason: &'static str,
}

#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
struct WaitLabels {
    priority_level: String,
    flow_schema: String,
    execute: &'static str,
}

type Durations<L> = Family<L, Histogram, fn() -> Histogram>;

#[derive(Clone)]
pub(crate) struct FairnessMetrics {
    rejected: Family<ReasonLabels, Counter>,
    dispatched: Family<FlowLabels, Counter>,
    waiting: Family<FlowLabels, Gauge>,
    executing: Family<FlowLabels, Gauge>,
    executing_seats: Family<FlowLabels, Gauge>,
    waited: Durations<WaitLabels>,
    executed: Durations<FlowLabels>,
    nominal: Family<LevelLabels, Gauge>,
    lower: Family<LevelLabels, Gauge>,
    upper: Family<LevelLabels, Gauge>,
    current: Family<LevelLabels, Gauge>,
}

/// The figures of one flow schema, looked up once.
pub(super) struct FlowMetrics {
    pub dispatched: Counter,
    pub waiting: Gauge,
    pub executing: Gauge,
    pub executing_seats: Gauge,
    pub waited: Histogram,
    pub gave_up: Histogram,
    pub executed: Histogram,
    rejected: [(Refused, Counter); 4],
}

impl FairnessMetrics {
    pub fn new() -> Self {
        let durations = || Histogram::new(exponential_buckets(0.0005, 4.0, 9));
        FairnessMetrics {
            rejected: Family::default(),
            dispatched: Family::default(),
            waiting: Family::default(),
            executing: Family::default(),
            executing_seats: Family::default(),
            waited: Family::new_with_constructor(durations),
            executed: Family::new_with_constructor(durations),
            nominal: Family::default(),
            lower: Family::default(),
            upper: Family::default(),
            current: Family::default(),
        }
    }

    pub fn register(&self, registry: &mut Registry) {
        let mut tell = |name: &str, help: &str, family: &Family<FlowLabels, Gauge>| {
            registry.register(format!("apiserver_flowcontrol_{name}"), help, family.clone());
        };
        tell("current_inqueue_requests", "Requests waiting for a seat", &self.waiting);
        tell("current_executing_requests", "Requests on a seat", &self.executing);
        tell("current_executing_seats", "Seats in use", &self.executing_seats);
        let mut tell = |name: &str, help: &str, family: &Family<LevelLabels, Gauge>| {
            registry.register(format!("apiserver_flowcontrol_{name}"), help, family.clone());
        };
        tell("nominal_limit_seats", "Seats by right", &self.nominal);
        tell("lower_limit_seats", "Seats that are kept whoever borrows", &self.lower);
        tell("upper_limit_seats", "Seats when all is borrowed that may be", &self.upper);
        tell("current_limit_seats", "Seats now", &self.current);
        registry.register("apiserver_flowcontrol_rejected_requests", "Requests refused", self.rejected.clone());
        registry.register("apiserver_flowcontrol_dispatched_requests", "Requests seated", self.dispatched.clone());
        let help = "Time in a queue";
        registry.register("apiserver_flowcontrol_request_wait_duration_seconds", help, self.waited.clone());
        registry.register("apiserver_flowcontrol_request_execution_seconds", "Time on a seat", self.executed.clone());
    }

    pub(super) fn flow(&self, level: &str, schema: &str) -> FlowMetrics {
        let (priority_level, flow_schema) = (level.to_owned(), schema.to_owned());
        let labels = FlowLabels { priority_level, flow_schema };
        let waited = |execute| {
            let FlowLabels { priority_level, flow_schema } = labels.clone();
            self.waited.get_or_create_owned(&WaitLabels { priority_level, flow_schema, execute })
        };
        let rejected = |refused: Refused| {
            let FlowLabels { priority_level, flow_schema } = labels.clone();
            let labels = ReasonLabels { priority_level, flow_schema, reason: refused.reason() };
            (refused, self.rejected.get_or_create_owned(&labels))
        };
        FlowMetrics {
            dispatched: self.dispatched.get_or_create_owned(&labels),
            waiting: self.waiting.get_or_create_owned(&labels),
            executing: self.executing.get_or_create_owned(&labels),
            executing_seats: self.executing_seats.get_or_create_owned(&labels),
            waited: waited("true"),
            gave_up: waited("false"),
            executed: self.executed.get_or_create_owned(&labels),
            rejected: Refused::ALL.map(rejected),
        }
    }

    pub(super) fn bounds(&self, level: &str, bounds: Bounds) {
        let labels = LevelLabels { priority_level: level.to_owned() };
        self.nominal.get_or_create(&labels).set(bounds.nominal.into());
        self.lower.get_or_create(&labels).set(bounds.min.into());
        self.upper.get_or_create(&labels).set(bounds.max.into());
    }

    pub(super) fn current(&self, level: &str, seats: u32) {
        self.current.get_or_create(&LevelLabels { priority_level: level.to_owned() }).set(seats.into());
    }
}

impl FlowMetrics {
    pub fn refused(&self, refused: Refused, waited: Duration) {
        self.gave_up.observe(waited.as_secs_f64());
        if let Some((_, counter)) = self.rejected.iter().find(|(one, _)| *one == refused) {
            counter.inc();
        }
    }
}
