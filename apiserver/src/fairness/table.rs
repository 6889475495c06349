//! Flow schemas and priority levels as they work now: made anew when one changes, with the levels that go on.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Instant,
};

use http::HeaderValue;

use super::{
    level::Level,
    limits::DEMAND_MEMORY,
    metrics::{FairnessMetrics, FlowMetrics},
    objects::{LevelSpec, Objects},
    schema::{Asked, Schema},
    shares::{Bounds, Claim, bounds, divide, smooth},
};

/// A flow schema at work.
pub(crate) struct Flow {
    pub(super) schema: Arc<Schema>,
    pub(super) level: Arc<Level>,
    pub(super) metrics: FlowMetrics,
    pub(super) schema_uid: HeaderValue,
    pub(super) level_uid: HeaderValue,
}

/// All of them, in the order in which they are asked; the last one takes everything.
pub(super) struct Table {
    /// Of the objects it was made of.
    pub version: u64,
    pub flows: Vec<Arc<Flow>>,
    pub levels: Vec<Part>,
}

/// A level and its part of the seats.
pub(super) struct Part {
    pub level: Arc<Level>,
    bounds: Bounds,
    /// What it wants over time.
    smooth: Arc<Mutex<f64>>,
    /// It is configured no more, and goes when its last request does.
    pub quiescing: bool,
}

impl Table {
    pub fn new(objects: &Objects, before: &[Part], seats: u32, metrics: &FairnessMetrics) -> Self {
        let specs = objects.levels();
        let shares: Vec<_> = specs.iter().map(|spec| spec.share).collect();
        let mut levels: Vec<Part> = specs
            .iter()
            .zip(bounds(seats, &shares))
            .map(|(spec, bounds)| {
                metrics.bounds(&spec.name, bounds);
                Part::new(spec, bounds, before.iter().find(|part| part.level.name == spec.name))
            })
            .collect();
        let flow = |schema: &Arc<Schema>| {
            let wanted = &schema.spec.priority_level_configuration.name;
            // What names no level is as if it were not there.
            let (spec, part) = specs.iter().zip(&levels).find(|(spec, _)| spec.name == *wanted)?;
            let text = |uid: &str| HeaderValue::from_str(uid).unwrap_or(HeaderValue::from_static(""));
            Some(Arc::new(Flow {
                schema: schema.clone(),
                level: part.level.clone(),
                metrics: metrics.flow(&spec.name, &schema.metadata.name),
                schema_uid: text(&schema.metadata.uid),
                level_uid: text(&spec.uid),
            }))
        };
        let flows = objects.schemas().iter().filter_map(flow).collect();
        let gone =
            |part: &&Part| !specs.iter().any(|spec| spec.name == part.level.name) && !part.level.figures().is_idle();
        levels.extend(before.iter().filter(gone).map(Part::quiescing));
        Table { version: objects.version, flows, levels }
    }

    /// The first schema that the request is of.
    pub fn classify(&self, asked: Asked<'_>) -> Option<&Arc<Flow>> {
        self.flows.iter().find(|flow| flow.schema.matches(asked)).or(self.flows.last())
    }

    /// Divides the seats by what was wanted since the last time.
    pub fn adjust(&self, seats: u32, now: Instant, metrics: &FairnessMetrics) {
        let (mut exempt, mut claims, mut claiming) = (0.0, Vec::new(), Vec::new());
        for part in self.levels.iter().filter(|part| !part.quiescing) {
            let wanted = part.level.wanted(now);
            if part.level.exempt {
                exempt += wanted.envelope;
                continue;
            }
            let mut smoothed = part.smooth.lock().unwrap_or_else(PoisonError::into_inner);
            *smoothed = smooth(*smoothed, wanted, DEMAND_MEMORY);
            claims.push(Claim { bounds: part.bounds, high: wanted.high, smooth: *smoothed });
            claiming.push(part);
        }
        for (part, seats) in claiming.into_iter().zip(divide(seats, exempt, &claims)) {
            part.level.set_seats(seats);
            metrics.current(&part.level.name, seats);
        }
    }
}

impl Part {
    /// With the level that works already under this name, if one does.
    fn new(spec: &LevelSpec, bounds: Bounds, before: Option<&Part>) -> Self {
        let kept = before.filter(|part| part.level.exempt == spec.exempt);
        let level = match kept {
            Some(part) => {
                part.level.configure(bounds.nominal, spec.queuing);
                part.level.clone()
            }
            None => Arc::new(Level::new(&spec.name, spec.exempt, bounds.nominal, spec.queuing)),
        };
        let smooth = kept.map(|part| part.smooth.clone()).unwrap_or_default();
        Part { level, bounds, smooth, quiescing: false }
    }

    fn quiescing(&self) -> Self {
        Part { level: self.level.clone(), bounds: self.bounds, smooth: self.smooth.clone(), quiescing: true }
    }
}
