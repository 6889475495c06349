//! A seat beyond its request: until a watch has told its initial events, or, while memory is full of such, until an answer has
//! been taken. A client that takes nothing keeps others waiting only so long.

use std::sync::{
    Arc, Mutex, PoisonError,
    atomic::{AtomicUsize, Ordering},
};

use tokio::sync::oneshot;

use super::{
    Seat,
    limits::{ANSWER_OVERHEAD_BYTES, LEASE_TIME_MAX, UNSENT_BYTES_FREE},
};

/// Holds a seat until it is dropped, or its time is over.
pub(crate) struct Lease {
    _end: oneshot::Sender<()>,
}

/// Bytes of answers that their clients have not taken yet.
#[derive(Clone, Default)]
pub(crate) struct Unsent(Arc<AtomicUsize>);

/// An answer on its way, counted until it is dropped. While there is much of that, it keeps its seat: whoever fills the memory with
/// answers gets no more of them.
pub(crate) struct Departing {
    bytes: usize,
    unsent: Unsent,
    seat: Mutex<Option<Arc<Seat>>>,
}

impl Seat {
    /// Keeps the seat of a watch that begins.
    pub(crate) fn lease(self: Arc<Self>) -> Lease {
        let (_end, ended) = oneshot::channel();
        tokio::spawn(async move {
            // Either way, it is over.
            _ = tokio::time::timeout(LEASE_TIME_MAX, ended).await;
            drop(self);
        });
        Lease { _end }
    }
}

impl Unsent {
    pub fn send(&self, size: usize, seat: Option<Arc<Seat>>) -> Departing {
        let bytes = size + ANSWER_OVERHEAD_BYTES;
        self.0.fetch_add(bytes, Ordering::Relaxed);
        Departing { bytes, unsent: self.clone(), seat: Mutex::new(seat.filter(|_| self.is_much())) }
    }

    pub fn is_much(&self) -> bool {
        self.0.load(Ordering::Relaxed) > UNSENT_BYTES_FREE
    }

    #[cfg(test)]
    pub fn pretend(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }

    #[cfg(test)]
    pub fn forget(&self, bytes: usize) {
        self.0.fetch_sub(bytes, Ordering::Relaxed);
    }
}

impl Departing {
    /// There is room again: the seat is for others.
    pub fn rise(&self) {
        drop(self.seat.lock().unwrap_or_else(PoisonError::into_inner).take());
    }
}

impl Drop for Departing {
    fn drop(&mut self) {
        self.unsent.0.fetch_sub(self.bytes, Ordering::Relaxed);
    }
}
