//! A priority level at work: its queues behind a lock, and those who wait woken when it is their turn.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use chrono::{DateTime, Utc};
use tokio::sync::oneshot;

use super::{
    Refused,
    demand::Wanted,
    described::Described,
    limits::{WIDTH_MAX, WIDTH_PART_OF_LEVEL},
    queues::{FairQueues, Figures, QueueFigures, Queuing, Refusal, Seats, Ticket},
    retry::RetryAfter,
};

pub(super) struct Level {
    pub name: String,
    /// Nothing limits its requests.
    pub exempt: bool,
    held: Mutex<Held>,
    pub counts: Counts,
}

struct Held {
    queues: FairQueues<Waking>,
    retry: RetryAfter,
    /// Those in work, by the numbers of their places.
    working: BTreeMap<u64, Listed>,
    places: u64,
}

/// Whom a place is sent to.
struct Waking {
    sender: oneshot::Sender<Place>,
    who: Arc<Described>,
}

/// A request as it looks from outside: one that waits has a place in its queue, one that is in work began at some time.
#[derive(Clone)]
pub(super) struct Listed {
    /// None where it never waited.
    pub queue: Option<u32>,
    pub place: Option<usize>,
    pub width: u32,
    pub began: Option<DateTime<Utc>>,
    pub who: Arc<Described>,
}

/// What became of its requests so far.
#[derive(Default)]
pub(super) struct Counts {
    pub dispatched: AtomicU64,
    pub rejected: AtomicU64,
    pub timed_out: AtomicU64,
    pub cancelled: AtomicU64,
}

/// Seats of a level, given back when it is dropped.
pub(super) struct Place {
    level: Arc<Level>,
    seats: Option<Seats>,
    number: u64,
    pub width: u32,
    pub since: Instant,
}

/// Somebody who waits; leaves the queue when it is dropped.
struct Waiter {
    level: Arc<Level>,
    ticket: Ticket,
    /// It waited for as long as it may.
    late: bool,
}

impl Held {
    /// Lists who begins; the answer is the number of their place.
    fn begins(&mut self, seats: &Seats, who: Arc<Described>) -> u64 {
        self.places += 1;
        let (queue, width, began) = (seats.queue(), seats.width(), Some(Utc::now()));
        self.working.insert(self.places, Listed { queue, place: None, width, began, who });
        self.places
    }
}

impl Level {
    pub fn new(name: &str, exempt: bool, seats: u32, queuing: Option<Queuing>) -> Self {
        let now = Instant::now();
        let seats = if exempt { u32::MAX } else { seats };
        let (queues, retry) = (FairQueues::new(seats, queuing, now), RetryAfter::new(now));
        let held = Held { queues, retry, working: BTreeMap::new(), places: 0 };
        Level { name: name.to_owned(), exempt, held: Mutex::new(held), counts: Counts::default() }
    }

    /// A place at once, where nobody waits for one.
    pub fn take(self: &Arc<Self>, now: Instant, width: u32, who: &Arc<Described>) -> Option<Place> {
        let mut held = self.lock();
        let width = self.width(&held, width);
        let seats = held.queues.take(now, width)?;
        let number = held.begins(&seats, who.clone());
        drop(held);
        Some(self.place(number, seats, now))
    }

    /// A place when it is this flow's turn. Whoever stops waiting for it has none.
    pub async fn wait(
        self: &Arc<Self>,
        now: Instant,
        patience: Duration,
        (width, flow): (u32, u64),
        who: Arc<Described>,
    ) -> Result<Place, Refused> {
        let (mut waiter, seated) = {
            let mut held = self.lock();
            let width = self.width(&held, width);
            let (sender, seated) = oneshot::channel();
            let ticket =
                held.queues.wait(now, width, flow, Waking { sender, who }).map_err(|refusal| match refusal {
                    Refusal::NoSeat => Refused::ConcurrencyLimit,
                    Refusal::QueueFull => Refused::QueueFull,
                })?;
            self.seat_next(held, now);
            (Waiter { level: self.clone(), ticket, late: false }, seated)
        };
        if let Ok(Ok(place)) = tokio::time::timeout(patience, seated).await {
            return Ok(place);
        }
        waiter.late = true;
        Err(Refused::TimeOut)
    }

    /// Counts a refusal; the answer is how many seconds its client is to stay away.
    pub fn refused(&self, refused: Refused) -> u32 {
        let count = if refused == Refused::TimeOut { &self.counts.timed_out } else { &self.counts.rejected };
        count.fetch_add(1, Ordering::Relaxed);
        self.lock().retry.refused(Instant::now())
    }

    pub fn configure(self: &Arc<Self>, seats: u32, queuing: Option<Queuing>) {
        let mut held = self.lock();
        held.queues.configure(queuing);
        self.give(held, seats);
    }

    pub fn set_seats(self: &Arc<Self>, seats: u32) {
        self.give(self.lock(), seats);
    }

    fn give(self: &Arc<Self>, mut held: MutexGuard<'_, Held>, seats: u32) {
        held.queues.set_seats(if self.exempt { u32::MAX } else { seats });
        self.seat_next(held, Instant::now());
    }

    pub fn wanted(&self, now: Instant) -> Wanted {
        self.lock().queues.wanted(now)
    }

    pub fn figures(&self) -> Figures {
        self.lock().queues.figures()
    }

    pub fn queue_figures(&self) -> Vec<QueueFigures> {
        self.lock().queues.queue_figures()
    }

    /// Queue by queue: who waits, then who is in work; in the end those who never waited.
    pub fn requests(&self) -> Vec<Listed> {
        let held = self.lock();
        let waiting = held.queues.waiting().map(|(queue, place, width, one)| {
            let (queue, place, who) = (Some(queue), Some(place), one.who.clone());
            Listed { queue, place, width, began: None, who }
        });
        let mut all: Vec<Listed> = waiting.chain(held.working.values().cloned()).collect();
        drop(held);
        all.sort_by_key(|one| (one.queue.is_none(), one.queue, one.place.is_none(), one.place));
        all
    }

    /// No request leaves nothing to the others.
    fn width(&self, held: &Held, width: u32) -> u32 {
        width.min(WIDTH_MAX).min(held.queues.seats() / WIDTH_PART_OF_LEVEL).max(1)
    }

    fn lock(&self) -> MutexGuard<'_, Held> {
        self.held.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn place(self: &Arc<Self>, number: u64, seats: Seats, since: Instant) -> Place {
        self.counts.dispatched.fetch_add(1, Ordering::Relaxed);
        let width = seats.width();
        Place { level: self.clone(), seats: Some(seats), number, width, since }
    }

    /// Seats whose turn it is, and wakes them without the lock.
    fn seat_next(self: &Arc<Self>, mut held: MutexGuard<'_, Held>, now: Instant) {
        let mut next = Vec::new();
        while let Some((seats, Waking { sender, who })) = held.queues.next(now) {
            next.push((held.begins(&seats, who), seats, sender));
        }
        drop(held);
        for (number, seats, sender) in next {
            // Who went away meanwhile gives the place back: it is dropped here.
            drop(sender.send(self.place(number, seats, now)));
        }
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let Some(seats) = self.seats.take() else { return };
        let now = Instant::now();
        let mut held = self.level.lock();
        held.working.remove(&self.number);
        held.queues.leave(now, seats);
        self.level.seat_next(held, now);
    }
}

impl Drop for Waiter {
    fn drop(&mut self) {
        let now = Instant::now();
        let mut held = self.level.lock();
        // Whoever stood behind a wide request that leaves may fit now.
        if held.queues.give_up(now, self.ticket) {
            if !self.late {
                self.level.counts.cancelled.fetch_add(1, Ordering::Relaxed);
            }
            self.level.seat_next(held, now);
        }
    }
}

#[cfg(test)]
mod tests;
