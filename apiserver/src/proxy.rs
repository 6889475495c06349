//! Passing requests on to a node agent: logs, exec, attach, port-forward, and everything below `nodes/<name>/proxy`.
//!
//! Bodies stream both ways and are never buffered. A protocol switch (WebSocket, SPDY) becomes a tunnel: once the agent
//! has agreed, bytes are copied both ways until either side closes.

use std::{net::IpAddr, sync::Arc};

use futures::FutureExt as _;
use http::{HeaderMap, HeaderName, HeaderValue, Request, Response, StatusCode, header};
use http_body_util::BodyExt as _;
use hyper::{body::Incoming, client::conn::http1, upgrade::OnUpgrade};
use hyper_util::rt::TokioIo;
use kontiki_model::Status;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use crate::{
    content,
    core::Core,
    failure, limits,
    peers::client_tls,
    pki::{Pki, PkiError},
    request::{ApiBody, ApiRequest, ApiResponse, BodyError},
};

/// Where a node agent listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    pub address: IpAddr,
    pub port: u16,
}

/// How this server speaks to node agents: mutual TLS, with its own identity.
pub struct NodeClient {
    tls: TlsConnector,
}

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

impl NodeClient {
    pub fn new(pki: &Pki) -> Result<Self, PkiError> {
        Ok(NodeClient { tls: client_tls(pki.ca_pem(), &pki.kubelet_client()?, &[])? })
    }

    async fn connect(&self, node: &NodeAddress) -> std::io::Result<TlsStream<TcpStream>> {
        let connected = async {
            let stream = TcpStream::connect((node.address, node.port)).await?;
            stream.set_nodelay(true)?;
            self.tls.connect(ServerName::from(node.address), stream).await
        };
        let timed_out = |_| std::io::Error::new(std::io::ErrorKind::TimedOut, "no connection in time");
        tokio::time::timeout(limits::NODE_CONNECT_TIME_MAX, connected).await.map_err(timed_out)?
    }
}

/// Sends the request on to a node agent as `path_and_query` and answers with what it says.
///
/// Method, headers, body and a protocol switch are the client's. An agent that cannot be reached is a 503 (with what to
/// look at), never an empty answer.
pub async fn forward(
    core: &Arc<Core>,
    node: &NodeAddress,
    path_and_query: &str,
    request: ApiRequest,
) -> Result<ApiResponse, Status> {
    let unreachable = |error: &dyn std::fmt::Display| {
        let message = format!("the node agent at {}:{} does not answer: {error}", node.address, node.port);
        failure::unavailable(message, limits::RETRY_AFTER_S)
    };
    let stream = core.nodes.connect(node).await.map_err(|error| unreachable(&error))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(|error| unreachable(&error))?;
    let ended = connection.with_upgrades().map(|ended| {
        if let Err(error) = ended {
            tracing::debug!(%error, "connection to a node agent ended");
        }
    });
    core.tunnels.spawn(core.stopping.clone().run_until_cancelled_owned(ended));
    let (outgoing, upgrade) = outgoing(node, path_and_query, request)?;
    let mut response = sender.send_request(outgoing).await.map_err(|error| unreachable(&error))?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let agent = hyper::upgrade::on(&mut response);
        let client = upgrade.ok_or_else(|| failure::bad_request("the node agent switched protocols unasked"))?;
        core.tunnels.spawn(tunnel(client, agent, core.stopping.clone()));
        return Ok(switched(response));
    }
    let (mut parts, body) = response.into_parts();
    remove_connection_headers(&mut parts.headers);
    Ok(Response::from_parts(parts, body.map_err(BodyError::new).boxed_unsync()))
}

/// The request as the agent gets it, and the client's half of a protocol switch it asked for.
fn outgoing(
    node: &NodeAddress,
    path_and_query: &str,
    request: ApiRequest,
) -> Result<(Request<ApiBody>, Option<OnUpgrade>), Status> {
    let ApiRequest { method, headers, body, upgrade, request_id, .. } = request;
    let protocol = headers.get(header::UPGRADE).cloned().filter(|_| upgrade.is_some());
    let mut outgoing = Request::new(body.into_body());
    *outgoing.method_mut() = method;
    *outgoing.uri_mut() =
        path_and_query.parse().map_err(|_| failure::bad_request(format!("not a path: {path_and_query:?}")))?;
    let mut kept = headers;
    remove_connection_headers(&mut kept);
    let ours = |name: &HeaderName| NOT_FORWARDED.contains(name) || name.as_str().starts_with("impersonate-");
    let ours: Vec<HeaderName> = kept.keys().filter(|name| ours(name)).cloned().collect();
    for name in ours {
        kept.remove(name);
    }
    // The body's framing is chosen anew for this connection, from what is known of its size.
    kept.remove(header::CONTENT_LENGTH);
    let host = match node.address {
        IpAddr::V4(address) => format!("{address}:{}", node.port),
        IpAddr::V6(address) => format!("[{address}]:{}", node.port),
    };
    kept.insert(header::HOST, value(&host)?);
    kept.insert("audit-id", value(&request_id)?);
    if let Some(protocol) = protocol {
        kept.insert(header::CONNECTION, HeaderValue::from_static("Upgrade"));
        kept.insert(header::UPGRADE, protocol);
    }
    *outgoing.headers_mut() = kept;
    Ok((outgoing, upgrade))
}

fn value(text: &str) -> Result<HeaderValue, Status> {
    HeaderValue::from_str(text).map_err(failure::internal)
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

/// The agent's agreement, for the client: it needs the connection headers that are otherwise dropped.
fn switched(response: Response<Incoming>) -> ApiResponse {
    let (parts, _) = response.into_parts();
    Response::from_parts(parts, content::empty())
}

async fn tunnel(client: OnUpgrade, agent: OnUpgrade, stopping: CancellationToken) {
    let copied = async {
        let (client, agent) = tokio::try_join!(client, agent)?;
        let (mut client, mut agent) = (TokioIo::new(client), TokioIo::new(agent));
        let copied = tokio::io::copy_bidirectional(&mut client, &mut agent).await;
        if let Err(error) = copied {
            tracing::debug!(%error, "tunnel to a node agent broke off");
        }
        Ok::<(), hyper::Error>(())
    };
    if let Some(Err(error)) = stopping.run_until_cancelled(copied).await {
        tracing::debug!(%error, "no tunnel to a node agent");
    }
}
