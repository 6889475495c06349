//! What is written to, and one connection to it: HTTP/2, as the clients of both etcd and Kubernetes speak it, or HTTP/1.1.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kontiki_bench::grpc;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use rustls::{ClientConfig, RootCertStore};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;

#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Protocol {
    /// etcd's `KV.Put` over HTTP/2 without TLS
    Grpc,
    /// `POST` of a ConfigMap over HTTP/2 with TLS and a client certificate
    Api,
    /// The same over HTTP/1.1
    ApiHttp1,
}

const CONNECTION_WINDOW_BYTES: u32 = 1 << 30;
pub const CONFIG_MAPS: &str = "/api/v1/namespaces/default/configmaps";

/// The servers of one cluster and what one write to them is.
#[derive(Clone)]
pub struct Target {
    protocol: Protocol,
    servers: Vec<String>,
    tls: Option<TlsConnector>,
    value: String,
    /// The user for whom the administrator asks.
    user: Option<String>,
}

impl Target {
    pub fn new(protocol: Protocol, servers: &[String], pki: Option<&Path>, payload: usize) -> Result<Self> {
        let tls = pki.map(|pki| connector(pki, protocol)).transpose()?;
        Ok(Target { protocol, servers: servers.to_vec(), tls, value: "x".repeat(payload), user: None })
    }

    pub fn impersonating(self, user: Option<String>) -> Self {
        Target { user, ..self }
    }

    /// A connection for the client of this number; the next number gets the next server.
    pub async fn connect(&self, client: usize) -> Result<Connection> {
        let server = &self.servers[client % self.servers.len()];
        let stream = TcpStream::connect(server).await?;
        stream.set_nodelay(true)?;
        let sender = match &self.tls {
            None => self.handshake(TokioIo::new(stream)).await?,
            Some(connector) => {
                let host = server.rsplit_once(':').context("an address without a port")?.0;
                let name = ServerName::try_from(host.to_owned())?;
                self.handshake(TokioIo::new(connector.connect(name, stream).await?)).await?
            }
        };
        Ok(Connection { sender, server: server.clone(), user: self.user.clone() })
    }

    async fn handshake(
        &self,
        stream: impl hyper::rt::Read + hyper::rt::Write + Unpin + Send + 'static,
    ) -> Result<Sender> {
        if self.protocol == Protocol::ApiHttp1 {
            let (sender, connection) = http1::handshake(stream).await?;
            spawn(connection);
            return Ok(Sender::Http1(sender));
        }
        let mut handshake = http2::Builder::new(TokioExecutor::new());
        // As Go's client has it: one stream that is read late does not hold up the others.
        handshake.initial_connection_window_size(CONNECTION_WINDOW_BYTES);
        let (sender, connection) = handshake.handshake(stream).await?;
        spawn(connection);
        Ok(Sender::Http2(sender))
    }

    /// Further writes of what [`Target::write`] has made; every one changes something.
    pub async fn update(&self, connection: &mut Connection, name: &str, number: usize) -> Result<()> {
        let body = config_map(name, &format!("{number:08}{}", self.value));
        let path = format!("{CONFIG_MAPS}/{name}");
        let answer = connection.ask(Method::PUT, &path, body.into()).await?;
        if answer.status() != StatusCode::OK {
            bail!("answered {}", answer.status());
        }
        answer.into_body().collect().await?;
        Ok(())
    }

    /// A page of what there is.
    pub async fn list(&self, connection: &mut Connection, limit: usize) -> Result<()> {
        let answer = connection.ask(Method::GET, &format!("{CONFIG_MAPS}?limit={limit}"), Bytes::new()).await?;
        if answer.status() != StatusCode::OK {
            bail!("answered {}", answer.status());
        }
        answer.into_body().collect().await?;
        Ok(())
    }

    /// One write of a new key, acknowledged or an error.
    pub async fn write(&self, connection: &mut Connection, name: &str) -> Result<()> {
        let request = connection.impersonate(self.request(&connection.server, name)?)?;
        let response = connection.send(request).await?;
        match self.protocol {
            Protocol::Grpc => grpc_answer(response).await,
            Protocol::Api | Protocol::ApiHttp1 => api_answer(response).await,
        }
    }

    fn request(&self, server: &str, name: &str) -> Result<Request<Full<Bytes>>> {
        let (scheme, path, content_type, body) = match self.protocol {
            Protocol::Grpc => {
                let key = format!("/registry/configmaps/default/{name}");
                ("http", grpc::PUT, grpc::CONTENT_TYPE, grpc::put_request(key.as_bytes(), self.value.as_bytes()))
            }
            Protocol::Api | Protocol::ApiHttp1 => {
                ("https", CONFIG_MAPS, "application/json", config_map(name, &self.value).into())
            }
        };
        let request = Request::builder().method(Method::POST).uri(format!("{scheme}://{server}{path}"));
        Ok(request.header("content-type", content_type).header("te", "trailers").body(Full::new(body))?)
    }
}

pub struct Connection {
    sender: Sender,
    server: String,
    user: Option<String>,
}

enum Sender {
    Http1(http1::SendRequest<Full<Bytes>>),
    Http2(http2::SendRequest<Full<Bytes>>),
}

impl Connection {
    /// A request of the API, and the answer's head.
    pub async fn ask(&mut self, method: Method, path: &str, body: Bytes) -> Result<Response<Incoming>> {
        let request = Request::builder().method(method).uri(format!("https://{}{path}", self.server));
        let request = request.header("content-type", "application/json").body(Full::new(body))?;
        let request = self.impersonate(request)?;
        self.send(request).await
    }

    fn impersonate(&self, mut request: Request<Full<Bytes>>) -> Result<Request<Full<Bytes>>> {
        if let Some(user) = &self.user {
            request.headers_mut().insert("impersonate-user", user.parse()?);
        }
        Ok(request)
    }

    async fn send(&mut self, mut request: Request<Full<Bytes>>) -> Result<Response<Incoming>> {
        match &mut self.sender {
            Sender::Http1(sender) => {
                // The server is named by a header, not by the request's line.
                let path = request.uri().path_and_query().context("a request without a path")?.as_str().parse()?;
                *request.uri_mut() = path;
                request.headers_mut().insert(header::HOST, HeaderValue::from_str(&self.server)?);
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
            Sender::Http2(sender) => {
                sender.ready().await?;
                Ok(sender.send_request(request).await?)
            }
        }
    }

    /// Another handle on the same connection.
    pub fn share(&self) -> Result<Self> {
        let Sender::Http2(sender) = &self.sender else { bail!("a connection of HTTP/1.1 has one request at a time") };
        Ok(Connection { sender: Sender::Http2(sender.clone()), server: self.server.clone(), user: self.user.clone() })
    }
}

pub fn config_map(name: &str, value: &str) -> String {
    format!(r#"{{"apiVersion":"v1","kind":"ConfigMap","metadata":{{"name":"{name}"}},"data":{{"v":"{value}"}}}}"#)
}

/// The connection ends with its sender, or with the answer that it is still read for.
fn spawn(connection: impl Future<Output = hyper::Result<()>> + Send + 'static) {
    // What ends a connection is told to its requests too.
    tokio::spawn(async move { connection.await.is_ok() });
}

async fn grpc_answer(response: Response<Incoming>) -> Result<()> {
    let (head, body) = response.into_parts();
    let body = body.collect().await?;
    let trailers = body.trailers().unwrap_or(&head.headers);
    let status = trailers.get("grpc-status").map(|value| value.as_bytes());
    if head.status != StatusCode::OK || status != Some(b"0") {
        bail!("answered {} with gRPC status {status:?}", head.status);
    }
    Ok(())
}

async fn api_answer(response: Response<Incoming>) -> Result<()> {
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    if status != StatusCode::CREATED {
        bail!("answered {status}: {}", String::from_utf8_lossy(&body));
    }
    Ok(())
}

fn connector(pki: &Path, protocol: Protocol) -> Result<TlsConnector> {
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_file(pki.join("ca.crt"))?)?;
    let chain: Vec<_> = CertificateDer::pem_file_iter(pki.join("admin.crt"))?.collect::<Result<_, _>>()?;
    let key = PrivateKeyDer::from_pem_file(pki.join("admin.key"))?;
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut config = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(roots)
        .with_client_auth_cert(chain, key)?;
    let spoken: &[u8] = if protocol == Protocol::ApiHttp1 { b"http/1.1" } else { b"h2" };
    config.alpn_protocols = vec![spoken.to_vec()];
    Ok(TlsConnector::from(Arc::new(config)))
}
