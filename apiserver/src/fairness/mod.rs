//! Priority and fairness: which requests get a seat now, which wait for one, and which are refused. Whoever floods this server
//! fills queues of his own, and others are served between his requests.
//!
//! `schema` and `objects` read what the flow schemas and priority levels say, `table` is all of them at work. `queues` is the
//! fair queuing of one level, `shares` divides the seats among the levels, `demand` is what they want: pure, the clock is an
//! argument. `level` puts a lock around the queues and wakes who waits. This room knows no verb and no kind but its own two.

mod conditions;
mod demand;
mod described;
mod dump;
mod lease;
mod level;
mod limits;
mod metrics;
mod objects;
mod queues;
mod retry;
mod schema;
mod shares;
mod shuffle;
mod table;
mod width;

use std::{
    hash::{BuildHasher as _, RandomState},
    sync::{Arc, Mutex, PoisonError, RwLock},
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use http::HeaderMap;
use kontiki_model::Status;
use kontiki_raft::Log;

pub(crate) use self::{
    conditions::keep as keep_conditions,
    dump::answer as dump,
    lease::{Departing, Lease, Unsent},
    metrics::FairnessMetrics,
    schema::Asked,
    table::Flow,
    width::of as width,
};
use self::{
    described::Described,
    level::Place,
    limits::{ADJUST_INTERVAL, QUEUE_WAIT_PART, SEATS_MAX, SEATS_MIN, SEATS_PER_PROCESSOR},
    objects::Objects,
    table::Table,
};
use crate::{core::Core, failure, follow::Follower};

/// A request's place among those in work; dropping it gives it back.
pub struct Seat {
    flow: Arc<Flow>,
    place: Place,
}

/// Why a request gets none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refused {
    Cancelled,
    ConcurrencyLimit,
    QueueFull,
    TimeOut,
}

pub(crate) struct Fairness {
    /// Of this server, for all levels together.
    seats: u32,
    objects: Follower<Objects>,
    table: RwLock<Arc<Table>>,
    /// Held by who makes a new table.
    making: Mutex<()>,
    /// Chosen at each start, so that nobody can choose a name that shares another one's queues.
    hasher: RandomState,
    metrics: FairnessMetrics,
    pub unsent: Unsent,
}

/// Counts a request as waiting, and as having gone away if nothing else became of it.
struct Waits<'a> {
    flow: &'a Flow,
    since: Instant,
    ended: bool,
}

impl Refused {
    const ALL: [Refused; 4] = [Refused::Cancelled, Refused::ConcurrencyLimit, Refused::QueueFull, Refused::TimeOut];

    fn reason(self) -> &'static str {
        match self {
            Refused::Cancelled => "cancelled",
            Refused::ConcurrencyLimit => "concurrency-limit",
            Refused::QueueFull => "queue-full",
            Refused::TimeOut => "time-out",
        }
    }
}

/// The seats of a server that is not told how many it has.
pub(crate) fn seats_default() -> u32 {
    let processors = std::thread::available_parallelism().map_or(1, |number| number.get() as u32);
    processors.saturating_mul(SEATS_PER_PROCESSOR).clamp(SEATS_MIN, SEATS_MAX)
}

impl Fairness {
    pub fn new(seats: u32, metrics: FairnessMetrics) -> Self {
        let table = Table::new(&Objects::default(), &[], seats, &metrics);
        Fairness {
            seats,
            objects: Follower::new(),
            table: RwLock::new(Arc::new(table)),
            making: Mutex::new(()),
            hasher: RandomState::new(),
            metrics,
            unsent: Unsent::default(),
        }
    }

    /// What a request is of.
    pub fn classify(&self, log: &Log, asked: Asked<'_>) -> Option<Arc<Flow>> {
        self.current(log).classify(asked).cloned()
    }

    /// What makes this request's flow out of its schema's, and how it is told of while it waits and works.
    pub fn describe(&self, flow: &Flow, asked: Asked<'_>) -> (u64, Arc<Described>) {
        let (schema, told_apart) = (&flow.schema.metadata.name, flow.schema.flow(asked));
        (self.hasher.hash_one((schema, told_apart)), Arc::new(Described::of(schema, told_apart, asked)))
    }

    /// Divides the seats anew from time to time, for as long as the server runs.
    pub async fn keep(&self) {
        let mut round = tokio::time::interval(ADJUST_INTERVAL);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            round.tick().await;
            self.table().adjust(self.seats, Instant::now(), &self.metrics);
        }
    }

    /// Nobody is seated, and nobody waits.
    #[cfg(test)]
    pub fn is_idle(&self) -> bool {
        self.table().levels.iter().all(|part| part.level.figures().is_idle())
    }

    fn table(&self) -> Arc<Table> {
        self.table.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The table as the log has it. A log that cannot be read changes nothing.
    fn current(&self, log: &Log) -> Arc<Table> {
        let table = self.table();
        let version = self.objects.ask(log, |objects| objects.version);
        if version.is_ok_and(|version| version == table.version) {
            return table;
        }
        let _alone = self.making.lock().unwrap_or_else(PoisonError::into_inner);
        let before = self.table();
        let made = self.objects.ask(log, |objects| {
            (objects.version != before.version).then(|| Table::new(objects, &before.levels, self.seats, &self.metrics))
        });
        match made {
            Ok(Some(table)) => {
                let table = Arc::new(table);
                *self.table.write().unwrap_or_else(PoisonError::into_inner) = table.clone();
                table
            }
            Ok(None) => before,
            Err(error) => {
                tracing::error!(%error, "the objects of flow control cannot be read");
                before
            }
        }
    }
}

impl Flow {
    /// A seat, perhaps after waiting for a part of the time that the request has; 429 if there is none.
    pub async fn seat(
        self: &Arc<Self>,
        width: u32,
        allowed: Duration,
        (hash, who): (u64, Arc<Described>),
    ) -> Result<Seat, Status> {
        let began = Instant::now();
        let place = match self.level.take(began, width, &who) {
            Some(place) => {
                self.metrics.waited.observe(0.0);
                place
            }
            None => {
                let waiting = self.wait(began, allowed / QUEUE_WAIT_PART, (width, hash), who).boxed();
                waiting.await.map_err(|refused| {
                    let seconds = self.level.refused(refused);
                    failure::too_many_requests(i32::try_from(seconds).unwrap_or(i32::MAX))
                })?
            }
        };
        self.metrics.dispatched.inc();
        self.metrics.executing.inc();
        self.metrics.executing_seats.inc_by(place.width.into());
        Ok(Seat { flow: self.clone(), place })
    }

    async fn wait(
        &self,
        began: Instant,
        patience: Duration,
        wanted: (u32, u64),
        who: Arc<Described>,
    ) -> Result<Place, Refused> {
        self.metrics.waiting.inc();
        let mut waits = Waits { flow: self, since: began, ended: false };
        let outcome = self.level.wait(began, patience, wanted, who).await;
        waits.ended = true;
        match &outcome {
            Ok(_) => self.metrics.waited.observe(began.elapsed().as_secs_f64()),
            Err(refused) => self.metrics.refused(*refused, began.elapsed()),
        }
        outcome
    }

    /// Tells a client which schema and level its request was of, by their uids.
    pub fn mark(&self, headers: &mut HeaderMap) {
        headers.insert("x-kubernetes-pf-flowschema-uid", self.schema_uid.clone());
        headers.insert("x-kubernetes-pf-prioritylevel-uid", self.level_uid.clone());
    }
}

impl Drop for Waits<'_> {
    fn drop(&mut self) {
        self.flow.metrics.waiting.dec();
        if !self.ended {
            self.flow.metrics.refused(Refused::Cancelled, self.since.elapsed());
        }
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        let metrics = &self.flow.metrics;
        metrics.executing.dec();
        metrics.executing_seats.dec_by(self.place.width.into());
        metrics.executed.observe(self.place.since.elapsed().as_secs_f64());
    }
}

/// Divides the seats until the server stops.
pub(crate) async fn keep(core: Arc<Core>) {
    core.stopping.run_until_cancelled(core.fairness.keep()).await;
}
