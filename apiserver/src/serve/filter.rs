//! The one warp filter: whatever comes goes to the handler; below the API tree the routes are data.

use std::{
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    task::{Context, Poll, ready},
};

use bytes::{Buf, Bytes};
use futures::{Stream, TryStreamExt as _};
use http::{HeaderMap, Method, StatusCode, header};
use http_body::{Body as _, Frame};
use http_body_util::{BodyExt as _, Collected, StreamBody};
use hyper::upgrade::OnUpgrade;
use warp::{Filter, Rejection, Reply as _, path::FullPath, reply::Response};

use super::{
    Peer,
    conversation::{Exchange, Streaming},
};
use crate::{
    content,
    fairness::Departing,
    handler::{Caller, Handler, Incoming},
    limits,
    request::{ApiBody, ApiResponse, BodyError, Endless},
};

pub fn everything(
    handler: Arc<Handler>,
) -> impl Filter<Extract = (Response,), Error = Rejection> + Clone + Send + Sync + 'static {
    let query = warp::query::raw().or(warp::any().map(String::new)).unify();
    warp::any()
        .map(move || handler.clone())
        .and(warp::method())
        .and(warp::path::full())
        .and(query)
        .and(warp::header::headers_cloned())
        .and(warp::ext::get::<Peer>())
        .and(warp::ext::optional::<OnUpgrade>())
        .and(warp::body::stream())
        .then(answer)
}

#[expect(clippy::too_many_arguments, reason = "one per extracted part of the request")]
async fn answer(
    handler: Arc<Handler>,
    method: Method,
    path: FullPath,
    raw_query: String,
    headers: HeaderMap,
    peer: Peer,
    upgrade: Option<OnUpgrade>,
    body: impl Stream<Item = Result<impl Buf + Send, warp::Error>> + Send + 'static,
) -> Response {
    let frames = body.map_ok(|mut data| Frame::data(data.copy_to_bytes(data.remaining()))).map_err(BodyError::new);
    let exchange = peer.place.conversation.begin();
    let head = method == Method::HEAD;
    let incoming = Incoming {
        method,
        path: path.as_str().to_owned(),
        raw_query,
        headers,
        body: Some(StreamBody::new(frames).boxed_unsync()),
        upgrade,
        caller: Caller::Connection { certificate: peer.certificate, address: peer.address, place: Some(peer.place) },
    };
    let response = handler.answer(incoming).await;
    if head { head_of(response) } else { reply(response, exchange).await }
}

/// What a HEAD is answered: HTTP/2 takes a body behind it for a broken stream.
fn head_of(response: ApiResponse) -> Response {
    let length = response.body().size_hint().exact();
    let (mut parts, _) = response.into_parts();
    let has_body = !matches!(parts.status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    if let Some(length) = length.filter(|_| has_body) {
        parts.headers.insert(header::CONTENT_LENGTH, length.into());
    }
    let mut reply = http::Response::new(Bytes::new()).into_response();
    *reply.status_mut() = parts.status;
    *reply.headers_mut() = parts.headers;
    reply
}

/// Hands an answer to warp: a small body in memory in one piece, all else as a stream. The length is told wherever it is known.
async fn reply(response: ApiResponse, exchange: Exchange) -> Response {
    let in_memory = content::size_in_memory(&response).is_some();
    let (mut parts, body) = response.into_parts();
    let endless = parts.extensions.remove::<Endless>();
    let departing = parts.extensions.remove::<Arc<Departing>>();
    let mut reply = if in_memory {
        match body.collect().await.map(Collected::to_bytes) {
            Ok(whole) if whole.len() > limits::PIECE_BYTES => {
                parts.headers.insert(header::CONTENT_LENGTH, whole.len().into());
                let pieces = exchange.answer_in_pieces(whole, departing).boxed_unsync();
                warp::reply::stream(Shared { body: Mutex::new(pieces), streaming: None }).into_response()
            }
            Ok(whole) => http::Response::new(exchange.answer(whole, departing)).into_response(),
            Err(_) => http::StatusCode::INTERNAL_SERVER_ERROR.into_response(),
        }
    } else {
        let length = body.size_hint().exact().filter(|_| parts.status.is_success());
        if let Some(length) = length {
            parts.headers.insert(header::CONTENT_LENGTH, length.into());
        }
        warp::reply::stream(Shared { body: Mutex::new(body), streaming: Some(exchange.stream()) }).into_response()
    };
    *reply.status_mut() = parts.status;
    *reply.headers_mut() = parts.headers;
    if let Some(endless) = endless {
        reply.extensions_mut().insert(endless);
    }
    reply
}

/// warp wants streams that may be shared between threads. The mutex makes one of a body; it is never locked.
struct Shared {
    body: Mutex<ApiBody>,
    /// Of what is not in memory.
    streaming: Option<Streaming>,
}

impl Shared {
    fn next(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        let body = self.body.get_mut().unwrap_or_else(PoisonError::into_inner);
        loop {
            match ready!(Pin::new(&mut *body).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(error))),
                // Trailers cannot be passed on, and no handler sends any.
                Some(Ok(frame)) => {
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }
}

impl Stream for Shared {
    type Item = Result<Bytes, BodyError>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let next = self.next(context);
        if let Some(streaming) = &self.streaming {
            match next.is_ready() {
                true => streaming.offers(),
                false => streaming.waits(),
            }
        }
        next
    }
}
