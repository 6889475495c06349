//! The seats of one priority level, and the queues of those who wait for one. Pure: the clock is an argument, and who waits is
//! the caller's.
//!
//! Start-time fair queuing (Goyal, Vin and Cheng 1996) over several seats: each queue's next request has a start tag, the least
//! goes first, and being seated moves its queue's next tag by what the request costs, its seats times how long it keeps them.
//! How long that is comes out at its end, so an estimate is charged first and corrected then. A queue without a request saves
//! nothing up: it begins where the level is. While nobody waits, nothing is charged, and being seated costs a comparison.
//!
//! A part of the seats is never taken by wide requests. Those that need a single seat find one there although a wide one has its turn
//! and no room; more than that part they do not take before it.

use std::{
    collections::{BTreeMap, VecDeque},
    time::{Duration, Instant},
};

use super::{
    demand::{Demand, Wanted},
    limits::{DURATION_ESTIMATE, NARROW_PART, SPENT_QUEUES_MAX},
    shuffle::deal,
};

/// Seats times microseconds.
type Work = u64;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Queuing {
    pub queues: u32,
    pub hand: u32,
    /// Requests that may wait in one queue.
    pub length: usize,
}

/// What was taken; must be given back to the same queues.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Seats {
    width: u32,
    charged: Option<Charged>,
}

#[derive(Debug, PartialEq, Eq)]
struct Charged {
    queue: u32,
    since: Instant,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Refusal {
    /// There is no seat, and this level has no queues.
    NoSeat,
    QueueFull,
}

/// A request that waits; unique within its level.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Ticket {
    number: u64,
    queue: u32,
}

pub(super) struct FairQueues<W> {
    seats: u32,
    queuing: Option<Queuing>,
    /// Those that hold or owe something.
    queues: BTreeMap<u32, Queue<W>>,
    /// The start tag of what was seated last.
    reached: Work,
    in_use: u32,
    /// Of those, by requests that need a single seat.
    narrow: u32,
    executing: usize,
    waiting: usize,
    waiting_width: u32,
    tickets: u64,
    demand: Demand,
}

struct Queue<W> {
    /// Up to where it has used its part.
    used: Work,
    waiting: VecDeque<Waiting<W>>,
    waiting_width: u32,
    executing: usize,
    executing_width: u32,
}

struct Waiting<W> {
    ticket: u64,
    width: u32,
    /// Where the level was when it came.
    came_at: Work,
    who: W,
}

/// What a level looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Figures {
    pub seats: u32,
    pub in_use: u32,
    pub executing: usize,
    pub waiting: usize,
    pub active_queues: usize,
}

/// What one queue looks like from outside.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct QueueFigures {
    pub index: u32,
    pub waiting: usize,
    pub executing: usize,
    pub in_use: u32,
    pub waiting_width: u32,
    /// In microseconds.
    pub next_start: u64,
}

impl Figures {
    pub fn is_idle(self) -> bool {
        self.executing == 0 && self.waiting == 0
    }
}

impl Seats {
    pub fn width(&self) -> u32 {
        self.width
    }

    /// The queue that they were waited for in.
    pub fn queue(&self) -> Option<u32> {
        self.charged.as_ref().map(|charged| charged.queue)
    }
}

impl<W> FairQueues<W> {
    pub fn new(seats: u32, queuing: Option<Queuing>, now: Instant) -> Self {
        FairQueues {
            seats,
            queuing,
            queues: BTreeMap::new(),
            reached: 0,
            in_use: 0,
            narrow: 0,
            executing: 0,
            waiting: 0,
            waiting_width: 0,
            tickets: 0,
            demand: Demand::new(now),
        }
    }

    /// A seat at once, where nobody waits for one.
    pub fn take(&mut self, now: Instant, width: u32) -> Option<Seats> {
        if self.waiting > 0 || self.is_jail() || !self.has_room(width) {
            return None;
        }
        Some(self.seat(now, width, None))
    }

    /// Waits in the shortest queue of the flow's hand.
    pub fn wait(&mut self, now: Instant, width: u32, flow: u64, who: W) -> Result<Ticket, Refusal> {
        let Some(Queuing { queues, hand, length }) = self.queuing else { return Err(Refusal::NoSeat) };
        let load = |index: &u32| self.queues.get(index).map(|queue| (queue.waiting.len() >= length, queue.load()));
        let index = deal(flow, queues, hand).into_iter().min_by_key(load).unwrap_or_default();
        self.forget_spent();
        let queue = self.queues.entry(index).or_default();
        if queue.waiting.len() >= length {
            return Err(Refusal::QueueFull);
        }
        self.tickets += 1;
        queue.waiting.push_back(Waiting { ticket: self.tickets, width, came_at: self.reached, who });
        queue.waiting_width += width;
        self.waiting += 1;
        self.waiting_width += width;
        self.tell_demand(now);
        Ok(Ticket { number: self.tickets, queue: index })
    }

    /// Gives up waiting. False if it waits no more: it was seated.
    pub fn give_up(&mut self, now: Instant, ticket: Ticket) -> bool {
        let Some(queue) = self.queues.get_mut(&ticket.queue) else { return false };
        let Ok(place) = queue.waiting.binary_search_by_key(&ticket.number, |one| one.ticket) else { return false };
        let Some(left) = queue.waiting.remove(place) else { return false };
        queue.waiting_width -= left.width;
        self.waiting -= 1;
        self.waiting_width -= left.width;
        self.drop_spent(ticket.queue);
        self.tell_demand(now);
        true
    }

    /// Gives seats back. Whoever calls this seats the next ones.
    pub fn leave(&mut self, now: Instant, seats: Seats) {
        self.in_use -= seats.width;
        self.narrow -= u32::from(seats.width == 1);
        self.executing -= 1;
        if let Some(Charged { queue: index, since }) = seats.charged
            && let Some(queue) = self.queues.get_mut(&index)
        {
            let lasted = now.saturating_duration_since(since);
            queue.used = (queue.used + work(seats.width, lasted)).saturating_sub(estimate(seats.width));
            queue.executing -= 1;
            queue.executing_width -= seats.width;
            self.drop_spent(index);
        }
        if self.executing == 0 && self.waiting == 0 {
            self.queues.clear();
        }
        self.tell_demand(now);
    }

    /// Seats the next one whose turn it is, if there is room for it. Nobody takes the seats that it waits for.
    pub fn next(&mut self, now: Instant) -> Option<(Seats, W)> {
        if self.is_jail() {
            return None;
        }
        let (start, index, width) = self.first(|_| true)?;
        let (start, index, width) = if self.has_room(width) {
            (start, index, width)
        } else {
            let kept = width > 1 && self.narrow < self.kept() && self.has_room(1);
            kept.then(|| self.first(|width| width == 1))??
        };
        let queue = self.queues.get_mut(&index)?;
        let Waiting { who, .. } = queue.waiting.pop_front()?;
        queue.waiting_width -= width;
        queue.used = start + estimate(width);
        queue.executing += 1;
        queue.executing_width += width;
        self.reached = self.reached.max(start);
        self.waiting -= 1;
        self.waiting_width -= width;
        Some((self.seat(now, width, Some(Charged { queue: index, since: now })), who))
    }

    pub fn configure(&mut self, queuing: Option<Queuing>) {
        self.queuing = queuing;
    }

    /// How many seats there are from now on. Who sits keeps its seats.
    pub fn set_seats(&mut self, seats: u32) {
        self.seats = seats;
    }

    pub fn seats(&self) -> u32 {
        self.seats
    }

    /// What was wanted since the last time this was asked.
    pub fn wanted(&mut self, now: Instant) -> Wanted {
        self.demand.take(now)
    }

    pub fn figures(&self) -> Figures {
        let active = |queue: &&Queue<W>| queue.executing > 0 || !queue.waiting.is_empty();
        Figures {
            seats: self.seats,
            in_use: self.in_use,
            executing: self.executing,
            waiting: self.waiting,
            active_queues: self.queues.values().filter(active).count(),
        }
    }

    pub fn queue_figures(&self) -> Vec<QueueFigures> {
        let told = |(index, queue): (&u32, &Queue<W>)| QueueFigures {
            index: *index,
            waiting: queue.waiting.len(),
            executing: queue.executing,
            in_use: queue.executing_width,
            waiting_width: queue.waiting_width,
            next_start: queue.next().map_or(queue.used, |(start, _)| start),
        };
        self.queues.iter().map(told).collect()
    }

    /// Those who wait: their queue, their place in it, and the seats they want.
    pub fn waiting(&self) -> impl Iterator<Item = (u32, usize, u32, &W)> {
        self.queues.iter().flat_map(|(index, queue)| {
            queue.waiting.iter().enumerate().map(|(place, one)| (*index, place, one.width, &one.who))
        })
    }

    /// Whose turn it is among requests of some widths: its start tag, its queue and its width.
    fn first(&self, takes: impl Fn(u32) -> bool) -> Option<(Work, u32, u32)> {
        let heads = self.queues.iter().filter_map(|(index, queue)| {
            let width = queue.waiting.front().map(|head| head.width).filter(|width| takes(*width))?;
            queue.next().map(|(start, ticket)| (start, ticket, *index, width))
        });
        heads.min().map(|(start, _, index, width)| (start, index, width))
    }

    fn seat(&mut self, now: Instant, width: u32, charged: Option<Charged>) -> Seats {
        self.in_use += width;
        self.narrow += u32::from(width == 1);
        self.executing += 1;
        self.tell_demand(now);
        Seats { width, charged }
    }

    /// Without a seat, who can wait does; as in Kubernetes, who cannot goes alone.
    fn is_jail(&self) -> bool {
        self.seats == 0 && self.queuing.is_some()
    }

    /// What is wider than the whole level goes alone.
    fn has_room(&self, width: u32) -> bool {
        let others = if width > 1 { self.narrow.max(self.kept()) } else { self.narrow };
        self.executing == 0 || self.in_use - self.narrow + others + width <= self.seats
    }

    /// Seats that are kept for requests that need one.
    fn kept(&self) -> u32 {
        self.seats / NARROW_PART
    }

    fn tell_demand(&mut self, now: Instant) {
        self.demand.set(now, self.in_use + self.waiting_width);
    }

    fn drop_spent(&mut self, index: u32) {
        if self.queues.get(&index).is_some_and(|queue| queue.is_spent(self.reached)) {
            self.queues.remove(&index);
        }
    }

    /// Queues that the level has passed meanwhile.
    fn forget_spent(&mut self) {
        if self.queues.len() > self.waiting + self.executing + SPENT_QUEUES_MAX {
            let reached = self.reached;
            self.queues.retain(|_, queue| !queue.is_spent(reached));
        }
    }
}

impl<W> Default for Queue<W> {
    fn default() -> Self {
        Queue { used: 0, waiting: VecDeque::new(), waiting_width: 0, executing: 0, executing_width: 0 }
    }
}

impl<W> Queue<W> {
    /// The start tag of its next request, and that request's number: among equals, who came first goes first.
    fn next(&self) -> Option<(Work, u64)> {
        self.waiting.front().map(|head| (head.came_at.max(self.used), head.ticket))
    }

    /// Seats that its requests have or want.
    fn load(&self) -> u32 {
        self.executing_width + self.waiting_width
    }

    /// Nothing is lost with it.
    fn is_spent(&self, reached: Work) -> bool {
        self.waiting.is_empty() && self.executing == 0 && self.used <= reached
    }
}

fn estimate(width: u32) -> Work {
    work(width, DURATION_ESTIMATE)
}

fn work(width: u32, lasted: Duration) -> Work {
    u64::from(width) * u64::try_from(lasted.as_micros()).unwrap_or(u64::MAX / u64::from(u32::MAX))
}

#[cfg(test)]
mod tests;
