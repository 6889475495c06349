//! A client of the API with nothing in between: one connection, and it knows which outcomes it does not know.

use std::{fs, io, net::SocketAddr, path::Path, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{
    ClientConfig, RootCertStore,
    pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject},
};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::TlsConnector;

use super::limits::{CLIENT_PAUSE, CONNECT_TIME_MAX, REQUEST_TIME_MAX};

/// Who asks, and whom it believes.
#[derive(Clone)]
pub struct Credentials(Arc<ClientConfig>);

/// What a server said. Code 0: nothing, and whether it did what it was asked is not known.
#[derive(Clone, Debug, PartialEq)]
pub struct Answer {
    pub code: u16,
    pub body: Value,
}

pub struct Client {
    addresses: Vec<SocketAddr>,
    current: usize,
    credentials: Credentials,
    connection: Option<Connection>,
}

struct Connection {
    sender: http1::SendRequest<Full<Bytes>>,
    driver: JoinHandle<()>,
}

/// Why there was no answer.
enum Silence {
    /// The request never left.
    NotSent,
    Unknown,
}

impl Credentials {
    /// Those of a kubeconfig with everything embedded.
    pub fn read(kubeconfig: &Path) -> io::Result<Self> {
        let text = fs::read_to_string(kubeconfig)?;
        let field = |name: &str| {
            let line = text.lines().find_map(|line| line.trim().strip_prefix(name)?.strip_prefix(": "));
            let encoded = line.ok_or_else(|| io::Error::other(format!("the kubeconfig has no {name}")))?;
            STANDARD.decode(encoded.trim()).map_err(io::Error::other)
        };
        let mut roots = RootCertStore::empty();
        let ca = CertificateDer::from_pem_slice(&field("certificate-authority-data")?).map_err(io::Error::other)?;
        roots.add(ca).map_err(io::Error::other)?;
        let pem = field("client-certificate-data")?;
        let chain = CertificateDer::pem_slice_iter(&pem).collect::<Result<Vec<_>, _>>().map_err(io::Error::other)?;
        let key = PrivateKeyDer::from_pem_slice(&field("client-key-data")?).map_err(io::Error::other)?;
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions();
        let config = config.map_err(io::Error::other)?.with_root_certificates(roots);
        let mut config = config.with_client_auth_cert(chain, key).map_err(io::Error::other)?;
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Credentials(Arc::new(config)))
    }
}

impl Answer {
    const NONE: Answer = Answer { code: 0, body: Value::Null };

    /// It was done.
    pub fn done(&self) -> bool {
        (200..300).contains(&self.code)
    }

    /// It was certainly not done: the server refused it before it could be.
    pub fn refused(&self) -> bool {
        (400..500).contains(&self.code)
    }

    pub fn revision(&self) -> Option<u64> {
        self.body["metadata"]["resourceVersion"].as_str()?.parse().ok()
    }
}

impl Client {
    pub fn new(addresses: Vec<SocketAddr>, credentials: &Credentials) -> Self {
        Client { addresses, current: 0, credentials: credentials.clone(), connection: None }
    }

    /// Asks each server in turn until one answers.
    pub async fn get(&mut self, path: &str) -> Answer {
        for _ in 0..self.addresses.len() {
            let answer = self.ask(Method::GET, path, None).await;
            if answer.code != 0 && answer.code != 503 {
                return answer;
            }
        }
        Answer::NONE
    }

    /// One attempt. A server that does not answer, or cannot serve, is not asked again before the others were.
    pub async fn ask(&mut self, method: Method, path: &str, body: Option<&Value>) -> Answer {
        match tokio::time::timeout(REQUEST_TIME_MAX, self.exchange(method, path, body)).await {
            Ok(Ok(answer)) => {
                if answer.code >= 500 {
                    self.move_on().await;
                }
                answer
            }
            Ok(Err(Silence::NotSent)) => {
                self.move_on().await;
                Answer { code: 503, body: Value::Null }
            }
            Ok(Err(Silence::Unknown)) | Err(_) => {
                self.move_on().await;
                Answer::NONE
            }
        }
    }

    /// The start of an answer whose body is read as it comes.
    pub async fn open(&mut self, path: &str) -> Option<Response<Incoming>> {
        match tokio::time::timeout(REQUEST_TIME_MAX, self.send(Method::GET, path, None)).await {
            Ok(Ok(response)) if response.status().is_success() => Some(response),
            _ => {
                self.move_on().await;
                None
            }
        }
    }

    /// The next request goes to the next server.
    pub async fn move_on(&mut self) {
        self.connection = None;
        self.current = (self.current + 1) % self.addresses.len();
        tokio::time::sleep(CLIENT_PAUSE).await;
    }

    async fn exchange(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Answer, Silence> {
        let response = self.send(method, path, body).await?;
        let code = response.status().as_u16();
        let bytes = response.into_body().collect().await.map_err(|_| Silence::Unknown)?.to_bytes();
        Ok(Answer { code, body: serde_json::from_slice(&bytes).unwrap_or(Value::Null) })
    }

    async fn send(&mut self, method: Method, path: &str, body: Option<&Value>) -> Result<Response<Incoming>, Silence> {
        let host = self.addresses[self.current].to_string();
        let connection = self.connect().await.map_err(|_| Silence::NotSent)?;
        connection.sender.ready().await.map_err(|_| Silence::NotSent)?;
        let bytes = body.map_or_else(Bytes::new, |value| Bytes::from(value.to_string()));
        let request = Request::builder().method(method).uri(path).header("host", host);
        let request = request.header("content-type", "application/json").body(Full::new(bytes));
        let request = request.map_err(|_| Silence::NotSent)?;
        let sent = connection.sender.send_request(request).await;
        // Cancelled: the server had closed the connection before the request was written.
        sent.map_err(|error| if error.is_canceled() { Silence::NotSent } else { Silence::Unknown })
    }

    async fn connect(&mut self) -> io::Result<&mut Connection> {
        if self.connection.as_ref().is_none_or(|connection| connection.sender.is_closed()) {
            let address = self.addresses[self.current];
            let opening = Connection::open(address, &self.credentials);
            self.connection = Some(tokio::time::timeout(CONNECT_TIME_MAX, opening).await??);
        }
        self.connection.as_mut().ok_or_else(|| io::Error::other("connected"))
    }
}

impl Connection {
    async fn open(address: SocketAddr, credentials: &Credentials) -> io::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let name = ServerName::IpAddress(address.ip().into());
        let stream = TlsConnector::from(credentials.0.clone()).connect(name, stream).await?;
        let (sender, connection) = http1::handshake(TokioIo::new(stream)).await.map_err(io::Error::other)?;
        // How it ended is what the requests on it are told.
        let driver = tokio::spawn(async move { _ = connection.await });
        Ok(Connection { sender, driver })
    }
}

impl Drop for Connection {
    fn drop(&mut self) {
        self.driver.abort();
    }
}
