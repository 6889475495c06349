//! Passing requests on: to node agents, to pods and Services, to the servers of aggregated APIs.
//!
//! Bodies stream both ways and are never buffered. A protocol switch (WebSocket, SPDY) becomes a tunnel only once the other
//! side has agreed to it; any other answer is an answer, and the client's connection stays this server's.
mod node;
mod page;
mod rewrite;
mod tunnel;

use std::sync::Arc;

use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, header};
use http_body::Body as _;
use http_body_util::BodyExt as _;
use hyper::{client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use kontiki_model::Status;
use tokio::io::{AsyncRead, AsyncWrite};

pub use self::node::{NodeAddress, NodeClient, forward};
pub(crate) use self::{page::correct as correct_links, rewrite::Rewrite, tunnel::Tunnel};
use crate::{
    content,
    core::Core,
    failure,
    request::{ApiBody, ApiRequest, ApiResponse, BodyError, RequestBody},
};

/// Headers that belong to one connection (RFC 9110, section 7.6.1), and those that are for this server alone.
const NOT_FORWARDED: &[HeaderName] = &[
    header::AUTHORIZATION,
    header::CONNECTION,
    header::HOST,
    header::PROXY_AUTHENTICATE,
    header::PROXY_AUTHORIZATION,
    header::TE,
    header::TRAILER,
    header::TRANSFER_ENCODING,
    header::UPGRADE,
];

/// Why a request that was passed on has no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Unanswered {
    #[error(transparent)]
    Http(#[from] hyper::Error),
    #[error("the other side switched protocols unasked")]
    Unasked,
}

/// A connection that takes one request after the other.
pub(crate) type Sender = http1::SendRequest<ApiBody>;

/// A request that has no answer.
#[derive(Debug)]
pub(crate) struct Unsent {
    pub error: Unanswered,
    /// The request, where nothing of it was sent.
    pub outgoing: Option<Outgoing>,
}

/// Begins a connection, which goes on until the other side, or this server, ends it.
pub(crate) async fn begin<S>(core: &Core, stream: S) -> Result<Sender, Unanswered>
where
    S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
{
    let (sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    let ended = connection.with_upgrades().map(|ended| {
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection that requests were passed on by ended");
        }
    });
    core.tunnels.spawn(core.stopping.clone().run_until_cancelled_owned(ended));
    Ok(sender)
}

/// A request on its way out, and the client's half of a protocol switch that it asks for.
#[derive(Debug)]
pub(crate) struct Outgoing {
    pub request: Request<ApiBody>,
    upgrade: Option<OnUpgrade>,
}

impl Outgoing {
    /// The client's request, for `path_and_query` at `host`, without what is this server's alone.
    pub fn new(request: ApiRequest, path_and_query: &str, host: &str) -> Result<Self, Status> {
        let ApiRequest { method, mut headers, body, upgrade, request_id, .. } = request;
        let protocol = headers.get(header::UPGRADE).cloned().filter(|_| upgrade.is_some());
        let body = framed(&method, &mut headers, body);
        let mut outgoing = Request::new(body);
        *outgoing.method_mut() = method;
        *outgoing.uri_mut() =
            path_and_query.parse().map_err(|_| failure::bad_request(format!("not a path: {path_and_query:?}")))?;
        remove_connection_headers(&mut headers);
        let ours = |name: &HeaderName| NOT_FORWARDED.contains(name) || name.as_str().starts_with("impersonate-");
        remove_all(&mut headers, ours);
        headers.insert(header::HOST, value(host)?);
        headers.insert("audit-id", value(&request_id)?);
        if let Some(protocol) = protocol {
            headers.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
            headers.insert(header::UPGRADE, protocol);
        }
        *outgoing.headers_mut() = headers;
        Ok(Outgoing { request: outgoing, upgrade })
    }

    /// Sends it over a connection of its own, and answers with what comes back.
    pub async fn exchange<S>(self, core: &Arc<Core>, stream: S) -> Result<ApiResponse, Unanswered>
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
        let mut sender = begin(core, stream).await?;
        self.send(&mut sender).await.map_err(|unsent| unsent.error)
    }

    /// Whether it asks for another protocol.
    pub fn switches(&self) -> bool {
        self.upgrade.is_some()
    }

    /// The same request, where it may be sent twice: it reads, and nothing but its head is sent.
    pub fn again(&self) -> Option<Self> {
        let reads = matches!(*self.request.method(), Method::GET | Method::HEAD) && !self.switches();
        if !reads || self.request.body().size_hint().exact() != Some(0) {
            return None;
        }
        let mut request = Request::new(content::empty());
        *request.method_mut() = self.request.method().clone();
        *request.uri_mut() = self.request.uri().clone();
        *request.headers_mut() = self.request.headers().clone();
        Some(Outgoing { request, upgrade: None })
    }

    /// Sends it over a connection that takes requests, and answers with what comes back.
    pub async fn send(self, sender: &mut Sender) -> Result<ApiResponse, Box<Unsent>> {
        let Outgoing { request, upgrade } = self;
        let mut response = match sender.try_send_request(request).await {
            Ok(response) => response,
            Err(mut failed) => {
                let outgoing = failed.take_message().map(|request| Outgoing { request, upgrade });
                return Err(Box::new(Unsent { error: failed.into_error().into(), outgoing }));
            }
        };
        if response.status() == StatusCode::SWITCHING_PROTOCOLS {
            let other = hyper::upgrade::on(&mut response);
            let unasked = || Box::new(Unsent { error: Unanswered::Unasked, outgoing: None });
            let client = upgrade.ok_or_else(unasked)?;
            // The client needs the connection headers that are otherwise dropped.
            let mut response = response.map(|_| content::empty());
            response.extensions_mut().insert(Tunnel::new(client, other));
            return Ok(response);
        }
        let (mut parts, body) = response.into_parts();
        remove_connection_headers(&mut parts.headers);
        Ok(Response::from_parts(parts, body.map_err(BodyError::new).boxed_unsync()))
    }
}

/// The body, with a length the other connection is told: the client's where it said one, none where nothing can follow.
fn framed(method: &Method, headers: &mut HeaderMap, body: RequestBody) -> ApiBody {
    let chunked = headers.contains_key(header::TRANSFER_ENCODING);
    let told = headers.get(header::CONTENT_LENGTH).and_then(|length| length.to_str().ok()?.parse::<u64>().ok());
    let streamed = matches!(body, RequestBody::Stream(_));
    if chunked || told.is_none() || !streamed {
        headers.remove(header::CONTENT_LENGTH);
    }
    let nothing = matches!(*method, Method::GET | Method::HEAD) && !chunked && told.is_none();
    if streamed && nothing { content::empty() } else { body.into_body() }
}

fn value(text: &str) -> Result<HeaderValue, Status> {
    HeaderValue::from_str(text).map_err(failure::internal)
}

/// Removes the headers that this says yes to.
pub(crate) fn remove_all(headers: &mut HeaderMap, which: impl Fn(&HeaderName) -> bool) {
    let names: Vec<HeaderName> = headers.keys().filter(|name| which(name)).cloned().collect();
    for name in names {
        headers.remove(name);
    }
}

/// Drops what the Connection header names, and itself.
fn remove_connection_headers(headers: &mut HeaderMap) {
    let named: Vec<HeaderName> = headers
        .get_all(header::CONNECTION)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .filter_map(|name| name.trim().parse().ok())
        .collect();
    for name in named {
        headers.remove(name);
    }
    for name in [header::CONNECTION, header::TRANSFER_ENCODING, header::UPGRADE] {
        headers.remove(name);
    }
    headers.remove("keep-alive");
}
