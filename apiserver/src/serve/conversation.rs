//! What goes on over one connection, and how long it may: while nobody asks anything, and while answers lie here because the client
//! does not take them.
//!
//! Ten thousand of these are idle watches: a look at them is rare, and what a stream notes at each event is one number.

use std::{
    collections::BTreeMap,
    pin::Pin,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use futures::FutureExt as _;
use http_body::{Body, Frame, SizeHint};
use tokio::{sync::Notify, time::Instant};

use crate::{
    fairness::{Departing, Unsent},
    limits::{
        IDLE_TIME_MAX, PIECE_BYTES, STALLED_TIME_MAX, STREAMS_LOOK_INTERVAL, TAKING_BYTES_PER_S, TAKING_TIME_MIN,
        UNTAKEN_LOOK_INTERVAL, UNTAKEN_TIME_MAX,
    },
    request::BodyError,
};

/// How a connection ends that its client has not ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// No further request is taken; what is under way is finished.
    InOrder,
    /// As it is.
    AtOnce,
}

pub struct Conversation {
    began: Instant,
    state: Mutex<State>,
    turned: Notify,
    /// Of all connections together.
    unsent: Unsent,
}

struct State {
    /// Requests in work and answers under way, watches among them.
    open: usize,
    idle_since: Instant,
    /// Answers in memory, by number.
    untaken: BTreeMap<u64, Untaken>,
    answers: u64,
    /// Bytes of all answers so far, and those of them that were taken.
    handed: usize,
    taken: usize,
    streams: Vec<Offered>,
    /// When the connection's task looks again; `None`: when it is told to.
    looks_at: Option<Instant>,
    told: Option<Ending>,
    /// Since when it ends in order.
    leaving: Option<Instant>,
    /// Since when memory is seen to be full of answers.
    pressed: Option<Instant>,
}

/// When a stream offered what its client has not taken yet, in milliseconds since the connection began; zero: it has offered nothing.
type Offered = Arc<AtomicU64>;

/// An answer that is not taken yet.
struct Untaken {
    size: usize,
    /// Bytes that were taken before it came.
    taken_before: usize,
    since: Instant,
    /// When its client last took a piece of it.
    moved: Instant,
    departing: Option<Arc<Departing>>,
}

/// What a look at a connection says.
#[derive(Debug, PartialEq, Eq)]
enum Look {
    End(Ending),
    AgainAt(Instant),
    WhenTold,
}

/// A request, until its answer has gone.
pub struct Exchange(Arc<Conversation>);

/// An answer's bytes, until the last of them is written.
struct Answer {
    bytes: Bytes,
    number: u64,
    exchange: Exchange,
}

/// An answer that comes bit by bit, and may have no end.
pub struct Streaming {
    offered: Offered,
    exchange: Exchange,
}

/// A large answer, piece by piece.
pub struct Pieces {
    left: Bytes,
    number: u64,
    conversation: Arc<Conversation>,
}

impl Conversation {
    pub fn new(unsent: Unsent) -> Arc<Self> {
        let now = Instant::now();
        let state = State {
            open: 0,
            idle_since: now,
            untaken: BTreeMap::new(),
            answers: 0,
            handed: 0,
            taken: 0,
            streams: Vec::new(),
            looks_at: Some(now),
            told: None,
            leaving: None,
            pressed: None,
        };
        Arc::new(Conversation { began: now, state: Mutex::new(state), turned: Notify::new(), unsent })
    }

    /// Asks the connection to end.
    pub fn end(&self, ending: Ending) {
        let mut state = self.lock();
        if state.told != Some(Ending::AtOnce) {
            state.told = Some(ending);
        }
        drop(state);
        self.turned.notify_one();
    }

    /// Until the connection has to end. It is asked once to end in order, after that only at once.
    pub async fn over(&self) -> Ending {
        loop {
            let look = self.look(Instant::now());
            match look {
                Look::End(ending) => return ending,
                Look::AgainAt(due) => _ = tokio::time::timeout_at(due, self.turned.notified()).boxed().await,
                Look::WhenTold => self.turned.notified().await,
            }
        }
    }

    fn look(&self, now: Instant) -> Look {
        let mut state = self.lock();
        state.pressed = self.unsent.is_much().then(|| state.pressed.unwrap_or(now));
        let stalled = self.millis(now).saturating_sub(STALLED_TIME_MAX.as_millis() as u64);
        state.look(now, stalled)
    }

    fn millis(&self, at: Instant) -> u64 {
        (at - self.began).as_millis() as u64 + 1
    }

    #[cfg(test)]
    pub fn told(&self) -> Option<Ending> {
        self.lock().told
    }

    pub fn begin(self: &Arc<Self>) -> Exchange {
        self.lock().open += 1;
        Exchange(self.clone())
    }

    /// Has the connection's task look at it soon.
    fn attend(&self, mut state: MutexGuard<'_, State>, now: Instant) {
        if state.looks_at.is_none_or(|at| at > now + UNTAKEN_LOOK_INTERVAL) {
            state.looks_at = Some(now);
            drop(state);
            self.turned.notify_one();
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// `stalled`: a stream that has offered something since then, or before, has stalled.
    fn look(&mut self, now: Instant, stalled: u64) -> Look {
        if self.pressed.is_none() {
            self.untaken.values().filter_map(|answer| answer.departing.as_ref()).for_each(|departing| departing.rise());
        }
        let late = self.untaken.values().any(|answer| answer.is_late(now, self.handed, self.pressed));
        let stalls = self.streams.iter().any(|stream| (1..=stalled).contains(&stream.load(Ordering::Relaxed)));
        // Whoever does not go when asked to is not waited for; the end of what was sent may still be on its way.
        let quiet_until = (self.open == 0).then(|| match self.leaving {
            None => self.idle_since + IDLE_TIME_MAX,
            Some(since) => since.max(self.idle_since) + UNTAKEN_TIME_MAX,
        });
        let is_over = quiet_until.is_some_and(|until| until <= now);
        let ending = match self.told.take() {
            Some(Ending::AtOnce) => Some(Ending::AtOnce),
            _ if late || stalls || is_over && self.leaving.is_some() => Some(Ending::AtOnce),
            _ if is_over => Some(Ending::InOrder),
            Some(Ending::InOrder) if self.leaving.is_none() => Some(Ending::InOrder),
            _ => None,
        };
        if let Some(ending) = ending {
            self.leaving.get_or_insert(now);
            self.looks_at = Some(now);
            return Look::End(ending);
        }
        self.looks_at = match (self.untaken.is_empty(), self.streams.is_empty()) {
            (false, _) => Some(now + UNTAKEN_LOOK_INTERVAL),
            (true, false) => Some(now + STREAMS_LOOK_INTERVAL),
            (true, true) => quiet_until,
        };
        self.looks_at.map_or(Look::WhenTold, Look::AgainAt)
    }
}

impl Untaken {
    /// Answers share what the client takes in: each has the time for all that was to be taken since it came, `handed` bytes so far.
    fn is_late(&self, now: Instant, handed: usize, pressed: Option<Instant>) -> bool {
        let taking = Duration::from_secs((handed.wrapping_sub(self.taken_before) / TAKING_BYTES_PER_S) as u64);
        let allowed = |least: Duration| (least + taking).min(STALLED_TIME_MAX);
        now >= self.moved + allowed(UNTAKEN_TIME_MAX)
            || pressed.is_some_and(|since| now >= since.max(self.since) + allowed(TAKING_TIME_MIN))
    }
}

impl Exchange {
    /// What the client is sent: bytes that count as not taken until all that is made of them is written.
    pub fn answer(self, bytes: Bytes, departing: Option<Arc<Departing>>) -> Bytes {
        match bytes.is_empty() {
            true => bytes,
            false => Bytes::from_owner(self.answers(bytes, departing)),
        }
    }

    /// The same, seen to be taken piece by piece.
    pub fn answer_in_pieces(self, bytes: Bytes, departing: Option<Arc<Departing>>) -> Pieces {
        let conversation = self.0.clone();
        let answer = self.answers(bytes, departing);
        Pieces { number: answer.number, left: Bytes::from_owner(answer), conversation }
    }

    pub fn stream(self) -> Streaming {
        let offered = Offered::default();
        let mut state = self.0.lock();
        state.streams.push(offered.clone());
        // Who has a time to look at the connection finds it then.
        if state.looks_at.is_none() {
            self.0.attend(state, Instant::now());
        } else {
            drop(state);
        }
        Streaming { offered, exchange: self }
    }

    fn answers(self, bytes: Bytes, departing: Option<Arc<Departing>>) -> Answer {
        let now = Instant::now();
        let mut state = self.0.lock();
        state.answers += 1;
        state.handed = state.handed.wrapping_add(bytes.len());
        let (number, size, taken_before) = (state.answers, bytes.len(), state.taken);
        state.untaken.insert(number, Untaken { size, taken_before, since: now, moved: now, departing });
        self.0.attend(state, now);
        Answer { bytes, number, exchange: self }
    }
}

impl Drop for Exchange {
    fn drop(&mut self) {
        let mut state = self.0.lock();
        state.open -= 1;
        if state.open == 0 {
            let now = Instant::now();
            state.idle_since = now;
            // It is looked at when it will have been idle for long, or before.
            if state.looks_at.is_none() {
                self.0.attend(state, now);
            }
        }
    }
}

impl Streaming {
    /// The client is offered something, and asks for more when it has taken that.
    pub fn offers(&self) {
        let conversation = &self.exchange.0;
        self.offered.store(conversation.millis(Instant::now()), Ordering::Relaxed);
    }

    pub fn waits(&self) {
        self.offered.store(0, Ordering::Relaxed);
    }
}

impl Drop for Streaming {
    fn drop(&mut self) {
        self.exchange.0.lock().streams.retain(|one| !Arc::ptr_eq(one, &self.offered));
    }
}

impl AsRef<[u8]> for Answer {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        let mut state = self.exchange.0.lock();
        let taken = state.untaken.remove(&self.number);
        state.taken = state.taken.wrapping_add(taken.as_ref().map_or(0, |answer| answer.size));
        if state.untaken.is_empty() {
            // An empty one may keep room, and a watch comes next.
            state.untaken = BTreeMap::new();
        }
        drop((state, taken));
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    /// Asked for when the one before is on its way.
    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        if let Some(answer) = self.conversation.lock().untaken.get_mut(&self.number) {
            answer.moved = Instant::now();
        }
        let piece = self.left.len().min(PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);
    const IN_ORDER: Look = Look::End(Ending::InOrder);
    const AT_ONCE: Look = Look::End(Ending::AtOnce);

    fn body(bytes: usize) -> Bytes {
        Bytes::from(vec![b'x'; bytes])
    }

    fn piece(pieces: &mut Pieces) -> Bytes {
        let waker = futures::task::noop_waker();
        let Poll::Ready(Some(Ok(frame))) = Pin::new(pieces).poll_frame(&mut Context::from_waker(&waker)) else {
            panic!("there is a piece")
        };
        frame.into_data().unwrap()
    }

    #[test]
    fn a_connection_is_idle_when_nothing_is_under_way() {
        let conversation = Conversation::new(Unsent::default());
        let began = Instant::now();
        assert!(matches!(conversation.look(began), Look::AgainAt(due) if due <= began + IDLE_TIME_MAX));
        // A watch.
        let exchange = conversation.begin();
        assert_eq!(conversation.look(began + 10 * IDLE_TIME_MAX), Look::WhenTold);
        drop(exchange);
        assert!(conversation.turned.notified().now_or_never().is_some(), "it has no timer, and is told");
        assert!(matches!(conversation.look(Instant::now()), Look::AgainAt(_)));
        let late = Instant::now() + IDLE_TIME_MAX;
        assert_eq!(conversation.look(late), IN_ORDER);
        let exchange = conversation.begin();
        assert_eq!(
            conversation.look(late + 10 * IDLE_TIME_MAX),
            Look::WhenTold,
            "asked once, it finishes what it is at"
        );
        drop(exchange);
        assert_eq!(conversation.look(late), Look::AgainAt(late + UNTAKEN_TIME_MAX));
        assert_eq!(conversation.look(late + UNTAKEN_TIME_MAX), AT_ONCE, "its client does not go");
    }

    #[test]
    fn an_answer_is_taken_when_the_last_piece_of_it_is_dropped() {
        let conversation = Conversation::new(Unsent::default());
        conversation.look(Instant::now());
        let answer = conversation.begin().answer(body(10), None);
        assert!(conversation.turned.notified().now_or_never().is_some(), "its task would look much later");
        let (now, part) = (Instant::now(), answer.slice(3..4));
        assert_eq!(conversation.look(now), Look::AgainAt(now + UNTAKEN_LOOK_INTERVAL));
        drop(answer);
        assert_eq!(conversation.look(Instant::now() + UNTAKEN_TIME_MAX), AT_ONCE);
        drop(part);
        assert_eq!(conversation.lock().open, 0);
        assert!(conversation.begin().answer(Bytes::new(), None).is_empty());
        assert_eq!(conversation.lock().open, 0, "nothing is left to be taken");
    }

    #[test]
    fn a_slow_client_has_time_while_there_is_room() {
        let conversation = Conversation::new(Unsent::default());
        let size = 20 * TAKING_BYTES_PER_S;
        let mut pieces = conversation.begin().answer_in_pieces(body(size), None);
        let first = piece(&mut pieces);
        assert_eq!(first.len(), PIECE_BYTES);
        // As if it had begun long ago.
        let age = |since: Duration, moved: Duration| {
            let mut state = conversation.lock();
            let answer = state.untaken.values_mut().next().unwrap();
            let now = Instant::now();
            (answer.since, answer.moved) = (now.checked_sub(since).unwrap(), now.checked_sub(moved).unwrap());
            now
        };
        // One beside it, which is taken, leaves it no less time.
        drop(conversation.begin().answer(body(TAKING_BYTES_PER_S), None));
        let (handed, whole) = (conversation.lock().handed, 21 * SECOND);
        for (since, moved, pressed, late) in [
            (SECOND, SECOND, Some(SECOND), false),
            (3600 * SECOND, SECOND, None, false),
            (3600 * SECOND, UNTAKEN_TIME_MAX, None, false),
            (3600 * SECOND, UNTAKEN_TIME_MAX + whole, None, true),
            (3600 * SECOND, SECOND, Some(TAKING_TIME_MIN), false),
            (3600 * SECOND, SECOND, Some(TAKING_TIME_MIN + whole), true),
            (TAKING_TIME_MIN, SECOND, Some(TAKING_TIME_MIN + whole), false),
        ] {
            let now = age(since, moved);
            let pressed = pressed.map(|since| now.checked_sub(since).unwrap());
            let is_late = conversation.lock().untaken.values().all(|answer| answer.is_late(now, handed, pressed));
            assert_eq!(is_late, late, "{since:?} {moved:?} {pressed:?}");
        }
        piece(&mut pieces);
        let moved = conversation.lock().untaken.values().next().unwrap().moved;
        assert!(moved.elapsed() < SECOND, "it goes on");
        drop((first, pieces));
        assert!(conversation.lock().untaken.is_empty());
    }

    #[test]
    fn a_stream_stalls_when_nobody_takes_what_it_offers() {
        let conversation = Conversation::new(Unsent::default());
        conversation.look(Instant::now());
        let (idle, offering) = (conversation.begin().stream(), conversation.begin().stream());
        let now = Instant::now();
        assert_eq!(
            conversation.look(now + 10 * STALLED_TIME_MAX),
            Look::AgainAt(now + 10 * STALLED_TIME_MAX + STREAMS_LOOK_INTERVAL)
        );
        offering.offers();
        assert!(matches!(conversation.look(now + STALLED_TIME_MAX - SECOND), Look::AgainAt(_)));
        assert_eq!(conversation.look(Instant::now() + STALLED_TIME_MAX), AT_ONCE);
        offering.waits();
        assert!(matches!(conversation.look(now + 10 * STALLED_TIME_MAX), Look::AgainAt(_)));
        drop((idle, offering));
        let state = conversation.lock();
        assert!(state.streams.is_empty() && state.open == 0);
    }

    #[tokio::test]
    async fn whoever_is_told_to_end_at_once_does() {
        let conversation = Conversation::new(Unsent::default());
        let watch = conversation.begin();
        conversation.end(Ending::InOrder);
        assert_eq!(conversation.over().await, Ending::InOrder);
        conversation.end(Ending::InOrder);
        assert!(conversation.over().now_or_never().is_none(), "it is already");
        conversation.end(Ending::AtOnce);
        conversation.end(Ending::InOrder);
        assert_eq!(conversation.over().await, Ending::AtOnce);
        drop(watch);
    }
}
