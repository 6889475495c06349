//! The way to a node agent: logs, exec, attach, port-forward, and everything below `nodes/<name>/proxy`.

use std::{net::IpAddr, sync::Arc};

use kontiki_model::Status;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use super::Outgoing;
use crate::{
    core::Core,
    failure, limits,
    peers::{self, Renewing},
    pki::{self, Pki, PkiError},
    request::{ApiRequest, ApiResponse},
    sockets,
};

/// Where the agent of a node listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodeAddress {
    pub node: String,
    pub address: IpAddr,
    pub port: u16,
}

/// How this server speaks to node agents: mutual TLS, with its own identity.
pub struct NodeClient {
    tls: Renewing,
}

impl NodeClient {
    pub fn new(pki: Arc<Pki>) -> Result<Self, PkiError> {
        let tls = Renewing::new(pki, &[], Pki::kubelet_client);
        tls.connector()?;
        Ok(NodeClient { tls })
    }

    async fn connect(&self, node: &NodeAddress) -> std::io::Result<TlsStream<TcpStream>> {
        let connected = async {
            let stream = TcpStream::connect((node.address, node.port)).await?;
            sockets::prepare(&stream)?;
            let tls = self.tls.connector().map_err(std::io::Error::other)?;
            let stream = tls.connect(ServerName::from(node.address), stream).await?;
            // Whoever has the address now may be another node.
            match peers::user(&stream) {
                Some(user) if user == pki::node_user(&node.node) => Ok(stream),
                _ => Err(std::io::Error::other(format!("it does not show the certificate of node {:?}", node.node))),
            }
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
        failure::unreachable(message)
    };
    let host = match node.address {
        IpAddr::V4(address) => format!("{address}:{}", node.port),
        IpAddr::V6(address) => format!("[{address}]:{}", node.port),
    };
    let outgoing = Outgoing::new(request, path_and_query, &host)?;
    let stream = core.nodes.connect(node).await.map_err(|error| unreachable(&error))?;
    outgoing.exchange(core, stream).await.map_err(|error| unreachable(&error))
}
