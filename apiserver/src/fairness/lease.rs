//! A seat beyond its request: until a watch has told its initial events, or, where memory is full of such, until a large answer has
//! been sent. A client that takes nothing keeps others waiting only so long.

use std::{
    pin::Pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll},
    time::Duration,
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio::sync::oneshot;

use super::{
    Seat,
    limits::{HELD_BODY_BYTES_MIN, HELD_BODY_PIECE_BYTES, LEASE_TIME_MAX, UNSENT_BYTES_FREE},
};
use crate::{
    content,
    limits::REQUEST_TIME_MAX,
    request::{ApiResponse, BodyError},
};

/// Holds a seat until it is dropped, or its time is over.
pub(crate) struct Lease {
    _end: oneshot::Sender<()>,
}

/// Bytes of large answers that their clients have not taken yet.
#[derive(Clone, Default)]
pub(crate) struct Unsent(Arc<AtomicUsize>);

impl Seat {
    /// Keeps the seat of a watch that begins.
    pub(crate) fn lease(self: Arc<Self>) -> Lease {
        self.lease_for(LEASE_TIME_MAX)
    }

    fn lease_for(self: Arc<Self>, most: Duration) -> Lease {
        let (_end, ended) = oneshot::channel();
        tokio::spawn(async move {
            // Either way, it is over.
            _ = tokio::time::timeout(most, ended).await;
            drop(self);
        });
        Lease { _end }
    }
}

impl Unsent {
    /// Sends a large answer in pieces, so that its end is known. If there is much of that already, the seat is held until then:
    /// whoever fills the memory with answers gets no more of them.
    pub fn send(&self, response: ApiResponse, seat: Arc<Seat>) -> ApiResponse {
        let size = content::size_in_memory(&response).and_then(|size| usize::try_from(size).ok()).unwrap_or_default();
        if size < HELD_BODY_BYTES_MIN {
            return response;
        }
        let much = self.0.fetch_add(size, Ordering::Relaxed) + size > UNSENT_BYTES_FREE;
        let seat = much.then(|| seat.lease_for(REQUEST_TIME_MAX));
        content::as_stream(response, |left| Pieces { left, size, unsent: self.clone(), _seat: seat }.boxed_unsync())
    }

    #[cfg(test)]
    pub fn pretend(&self, bytes: usize) {
        self.0.fetch_add(bytes, Ordering::Relaxed);
    }
}

struct Pieces {
    left: Bytes,
    size: usize,
    unsent: Unsent,
    _seat: Option<Lease>,
}

impl Drop for Pieces {
    fn drop(&mut self) {
        self.unsent.0.fetch_sub(self.size, Ordering::Relaxed);
    }
}

impl Body for Pieces {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if self.left.is_empty() {
            return Poll::Ready(None);
        }
        let piece = self.left.len().min(HELD_BODY_PIECE_BYTES);
        Poll::Ready(Some(Ok(Frame::data(self.left.split_to(piece)))))
    }

    fn is_end_stream(&self) -> bool {
        self.left.is_empty()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left.len() as u64)
    }
}
