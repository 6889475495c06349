//! A server on a free loopback port, and a client that speaks TLS and HTTP/1.1 or HTTP/2 to it.
#![allow(clippy::unwrap_used, dead_code)]

use std::{net::SocketAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderMap, Method, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, client::conn};
use hyper_util::rt::{TokioExecutor, TokioIo};
use kontiki_apiserver::{ApiServer, Config, pki::Credential};
use kontiki_raft::{Log, LogConfig};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_rustls::{TlsConnector, client::TlsStream};

pub struct Running {
    pub api: ApiServer,
    pub log: Log,
    pub dir: tempfile::TempDir,
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Bytes,
}

/// Waits for the last of what a server writes by itself when it starts.
async fn settled(log: &Log) {
    let last = kontiki_model::Key::new("configmaps", "kube-system", "extension-apiserver-authentication");
    let mut watch = log.watch(kontiki_raft::Subject::Lasting, log.revision()).unwrap();
    while log.head(&last).is_none() {
        watch.next().await.unwrap();
    }
}

impl Running {
    pub async fn start() -> Running {
        Running::start_in(tempfile::tempdir().unwrap(), "192.0.2.7").await
    }

    /// `advertise` is an address that endpoints may carry; nobody connects to it.
    pub async fn start_in(dir: tempfile::TempDir, advertise: &str) -> Running {
        Running::start_with(dir, advertise, |_| {}).await
    }

    /// With something else than the defaults.
    pub async fn start_with(dir: tempfile::TempDir, advertise: &str, configure: impl FnOnce(&mut Config)) -> Running {
        Running::start_as(dir, advertise, |_, config| configure(config)).await
    }

    /// As [`Running::start`], with another log or configuration.
    pub async fn start_configured(configure: impl FnOnce(&mut LogConfig, &mut Config)) -> Running {
        Running::start_as(tempfile::tempdir().unwrap(), "192.0.2.7", configure).await
    }

    async fn start_as(
        dir: tempfile::TempDir,
        advertise: &str,
        configure: impl FnOnce(&mut LogConfig, &mut Config),
    ) -> Running {
        let mut log = LogConfig::new(dir.path().join("log"));
        let listen: SocketAddr = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::new(listen, advertise.parse().unwrap(), dir.path().join("pki"));
        configure(&mut log, &mut config);
        let log = Log::open(log).await.unwrap();
        let api = ApiServer::start(config, log.clone()).await.unwrap();
        settled(&log).await;
        Running { api, log, dir }
    }

    /// Ends everything; the directory is left for another start.
    pub async fn stop(self) -> tempfile::TempDir {
        self.api.shutdown().await;
        self.log.shutdown().await;
        self.dir
    }

    pub async fn connect(&self, credential: Option<&Credential>, protocol: &str) -> TlsStream<TcpStream> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.api.core().pki.ca_pem().as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let builder = builder.with_root_certificates(roots);
        let mut config = match credential {
            None => builder.with_no_client_auth(),
            Some(credential) => {
                let certificate = CertificateDer::from_pem_slice(credential.certificate_pem.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(credential.key_pem.as_bytes()).unwrap();
                builder.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        config.alpn_protocols = vec![protocol.as_bytes().to_vec()];
        let stream = TcpStream::connect(self.api.local_address()).await.unwrap();
        let name = ServerName::try_from("kubernetes.default.svc").unwrap();
        TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap()
    }

    pub async fn client(&self, credential: Option<&Credential>) -> Client {
        let stream = self.connect(credential, "http/1.1").await;
        let (sender, connection) = conn::http1::handshake(TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection.with_upgrades());
        Client { sender, token: None }
    }

    pub async fn admin(&self) -> Client {
        self.client(Some(&self.api.core().pki.admin().unwrap())).await
    }

    pub async fn bearer(&self, token: &str) -> Client {
        Client { token: Some(token.to_owned()), ..self.client(None).await }
    }

    /// One request over HTTP/2.
    pub async fn http2(&self, path: &str) -> Answer {
        self.http2_with(path, "x-nothing", "").await
    }

    pub async fn http2_with(&self, path: &str, name: &str, value: &str) -> Answer {
        let stream = self.connect(Some(&self.api.core().pki.admin().unwrap()), "h2").await;
        let (mut sender, connection) =
            conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let uri = format!("https://{}{path}", self.api.local_address());
        let request = Request::get(uri).header(name, value).body(Full::new(Bytes::new())).unwrap();
        read(sender.send_request(request).await.unwrap()).await
    }

    /// A HEAD over HTTP/2, and whether the stream ended well.
    pub async fn http2_head(&self, path: &str) -> (StatusCode, HeaderMap, Result<Bytes, hyper::Error>) {
        let stream = self.connect(Some(&self.api.core().pki.admin().unwrap()), "h2").await;
        let (mut sender, connection) =
            conn::http2::handshake(TokioExecutor::new(), TokioIo::new(stream)).await.unwrap();
        tokio::spawn(connection);
        let uri = format!("https://{}{path}", self.api.local_address());
        let request = Request::head(uri).body(Full::new(Bytes::new())).unwrap();
        let (parts, body) = sender.send_request(request).await.unwrap().into_parts();
        (parts.status, parts.headers, body.collect().await.map(|body| body.to_bytes()))
    }
}

/// One connection.
pub struct Client {
    sender: conn::http1::SendRequest<Full<Bytes>>,
    token: Option<String>,
}

impl Client {
    pub async fn send(&mut self, request: Request<Full<Bytes>>) -> Response<Incoming> {
        self.sender.ready().await.unwrap();
        let (mut parts, body) = request.into_parts();
        parts.headers.insert(header::HOST, "kubernetes".parse().unwrap());
        if let Some(token) = &self.token {
            parts.headers.insert(header::AUTHORIZATION, format!("Bearer {token}").parse().unwrap());
        }
        self.sender.send_request(Request::from_parts(parts, body)).await.unwrap()
    }

    pub async fn call(&mut self, method: Method, path: &str, body: impl Into<Bytes>) -> Answer {
        let request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, "application/json");
        read(self.send(request.body(Full::new(body.into())).unwrap()).await).await
    }

    pub async fn get(&mut self, path: &str) -> Answer {
        self.call(Method::GET, path, "").await
    }

    pub async fn get_with(&mut self, path: &str, name: &str, value: &str) -> Answer {
        let request = Request::get(path).header(name, value).body(Full::new(Bytes::new())).unwrap();
        read(self.send(request).await).await
    }

    pub async fn post(&mut self, path: &str, body: &Value) -> Answer {
        self.call(Method::POST, path, body.to_string()).await
    }

    /// A service account in `default`, and a token for it.
    pub async fn service_account(&mut self, name: &str) -> String {
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}});
        let made = self.post("/api/v1/namespaces/default/serviceaccounts", &account).await;
        assert_eq!(made.status, 201, "{:?}", made.body);
        let issued = self.post(&format!("/api/v1/namespaces/default/serviceaccounts/{name}/token"), &json!({})).await;
        assert_eq!(issued.status, 201, "{:?}", issued.body);
        issued.json()["status"]["token"].as_str().unwrap().to_owned()
    }
}

impl Answer {
    pub fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    pub fn text(&self) -> String {
        String::from_utf8(self.body.to_vec()).unwrap()
    }

    pub fn message(&self) -> String {
        self.json()["message"].as_str().unwrap_or("").to_owned()
    }
}

pub async fn read(response: Response<Incoming>) -> Answer {
    let (parts, body) = response.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    Answer { status: parts.status, headers: parts.headers, body }
}
