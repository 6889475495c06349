//! One question to a server, over a connection of its own: for what happens seldom and must not hang.

use std::{io, time::Duration};

use bytes::Bytes;
use http::{Method, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use rustls_pki_types::ServerName;
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

use crate::{authn, limits, pki::SERVER_USER, sockets};

/// A server's answer, whole.
#[derive(Clone, Debug)]
pub struct Answer {
    pub status: StatusCode,
    pub body: Bytes,
}

/// A question: what is asked of which server, and how long it may take.
#[derive(Clone, Debug)]
pub struct Question {
    pub method: Method,
    /// `host:port`.
    pub address: String,
    pub path: String,
    /// JSON, or empty.
    pub body: Bytes,
    pub patience: Duration,
    /// Only a server of the cluster may answer.
    of_server: bool,
}

impl Question {
    pub fn get(address: &str, path: &str, patience: Duration) -> Self {
        let (address, path) = (address.to_owned(), path.to_owned());
        Question { method: Method::GET, address, path, body: Bytes::new(), patience, of_server: true }
    }

    /// The same of whoever is certified for the host.
    pub fn of_anybody(self) -> Self {
        Question { of_server: false, ..self }
    }

    pub fn post(address: &str, path: &str, body: &serde_json::Value, patience: Duration) -> Self {
        let body = Bytes::from(body.to_string());
        Question { method: Method::POST, body, ..Question::get(address, path, patience) }
    }
}

/// TLS to `host:port`, the certificate verified for that host.
async fn reach(tls: &TlsConnector, address: &str) -> io::Result<TlsStream<TcpStream>> {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host).trim_matches(['[', ']']);
    let name = ServerName::try_from(host.to_owned());
    let name = name.map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, format!("{address:?} is no address")))?;
    let stream = TcpStream::connect(address).await?;
    sockets::prepare(&stream)?;
    tls.connect(name, stream).await
}

/// TLS to the server at `host:port`: its certificate is for that host, and a server's. A node's may be for an address, too.
pub async fn connect(tls: &TlsConnector, address: &str) -> io::Result<TlsStream<TcpStream>> {
    let stream = reach(tls, address).await?;
    match user(&stream) {
        Some(user) if user == SERVER_USER => Ok(stream),
        _ => {
            let why = format!("{address} does not show a server's certificate");
            Err(io::Error::new(io::ErrorKind::PermissionDenied, why))
        }
    }
}

/// As whom the other side of a connection is certified.
pub(crate) fn user(stream: &TlsStream<TcpStream>) -> Option<String> {
    let certificate = stream.get_ref().1.peer_certificates()?.first()?;
    Some(authn::identity_of(certificate)?.user)
}

/// Asks, within the question's patience.
pub async fn ask(tls: &TlsConnector, question: Question) -> io::Result<Answer> {
    let patience = question.patience;
    let late = |_| io::Error::new(io::ErrorKind::TimedOut, format!("no answer within {patience:?}"));
    tokio::time::timeout(patience, exchange(tls, question)).await.map_err(late)?
}

async fn exchange(tls: &TlsConnector, question: Question) -> io::Result<Answer> {
    let Question { method, address, path, body, patience: _, of_server } = question;
    let stream = if of_server { connect(tls, &address).await? } else { reach(tls, &address).await? };
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
    let request = Request::builder()
        .method(method)
        .uri(path)
        .header(header::HOST, address)
        .header(header::ACCEPT, "application/json")
        .header(header::USER_AGENT, "kontiki-server")
        .header(header::CONTENT_TYPE, "application/json")
        .body(Full::new(body))
        .map_err(io::Error::other)?;
    let answered = async {
        let response = sender.send_request(request).await.map_err(io::Error::other)?;
        let (parts, body) = response.into_parts();
        let body = Limited::new(body, limits::PEER_ANSWER_BYTES_MAX).collect().await.map_err(io::Error::other)?;
        Ok(Answer { status: parts.status, body: body.to_bytes() })
    };
    tokio::pin!(answered, connection);
    tokio::select! {
        answer = &mut answered => answer,
        // The connection may end in the moment the answer is there.
        ended = &mut connection => match ended {
            Ok(()) => answered.await,
            Err(error) => Err(io::Error::other(error)),
        },
    }
}
