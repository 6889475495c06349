//! Bodies of long requests: they hold their place in the bounds until they end, and end when the server stops.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};
use http_body_util::BodyExt as _;
use tokio_util::sync::{CancellationToken, WaitForCancellationFutureOwned};

use crate::request::{ApiBody, BodyError};

pub(crate) struct Guarded<T> {
    body: ApiBody,
    _held: T,
    stopping: Pin<Box<WaitForCancellationFutureOwned>>,
}

impl<T: Send + Unpin + 'static> Guarded<T> {
    /// `held` is dropped when the body is.
    pub fn new(body: ApiBody, held: T, stopping: CancellationToken) -> Self {
        Guarded { body, _held: held, stopping: Box::pin(stopping.cancelled_owned()) }
    }

    pub fn boxed(self) -> ApiBody {
        self.boxed_unsync()
    }
}

impl<T: Unpin> Body for Guarded<T> {
    type Data = Bytes;
    type Error = BodyError;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, BodyError>>> {
        if let Poll::Ready(frame) = Pin::new(&mut self.body).poll_frame(context) {
            return Poll::Ready(frame);
        }
        self.stopping.as_mut().poll(context).map(|()| None)
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
