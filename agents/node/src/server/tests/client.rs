//! A served fake node on a free port of loopback, and clients of it that speak TLS with certificates of its CA.

use std::sync::Arc;

use bytes::Bytes;
use http::{Method, Request, Response, StatusCode};
use http_body_util::{BodyExt, Full};
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName, pem::PemObject};
use serde_json::Value;
use tokio::{net::TcpStream, task::JoinHandle};
use tokio_rustls::{TlsConnector, client::TlsStream};
use tokio_util::sync::CancellationToken;

use super::{
    certificates::{Authority, Signed},
    fake::Fake,
};
use crate::server::{self, ServerConfig};

pub struct Node {
    pub fake: Arc<Fake>,
    pub authority: Authority,
    pub cancel: CancellationToken,
    pub served: JoinHandle<()>,
    address: std::net::SocketAddr,
}

impl Node {
    pub async fn start() -> Node {
        let authority = Authority::new();
        let Signed { certificate_pem, key_pem } = authority.server();
        let config = ServerConfig {
            listen: "127.0.0.1:0".parse().unwrap(),
            client_ca_pem: authority.pem.as_bytes(),
            certificate_pem: certificate_pem.as_bytes(),
            key_pem: key_pem.as_bytes(),
        };
        let bound = server::bind(&config).await.unwrap();
        let (fake, cancel, address) = (Fake::new(), CancellationToken::new(), bound.address());
        let served = tokio::spawn(bound.serve(fake.clone(), cancel.clone()));
        Node { fake, authority, cancel, served, address }
    }

    pub fn api_server(&self) -> Signed {
        self.authority.client("apiserver-1", "kontiki:apiservers")
    }

    pub async fn connect(&self, identity: Option<&Signed>) -> std::io::Result<TlsStream<TcpStream>> {
        let mut roots = RootCertStore::empty();
        roots.add(CertificateDer::from_pem_slice(self.authority.pem.as_bytes()).unwrap()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ClientConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_root_certificates(roots);
        let config = match identity {
            None => config.with_no_client_auth(),
            Some(Signed { certificate_pem, key_pem }) => {
                let certificate = CertificateDer::from_pem_slice(certificate_pem.as_bytes()).unwrap();
                let key = PrivateKeyDer::from_pem_slice(key_pem.as_bytes()).unwrap();
                config.with_client_auth_cert(vec![certificate], key).unwrap()
            }
        };
        let stream = TcpStream::connect(self.address).await?;
        TlsConnector::from(Arc::new(config)).connect(ServerName::try_from("localhost").unwrap(), stream).await
    }

    pub async fn request(
        &self,
        identity: Option<&Signed>,
        request: Request<Full<Bytes>>,
    ) -> Result<Response<Incoming>, Box<dyn std::error::Error>> {
        let stream = self.connect(identity).await?;
        let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
        tokio::spawn(connection.with_upgrades());
        Ok(sender.send_request(request).await?)
    }

    /// Asks as the API server does.
    pub async fn ask(&self, method: Method, path: &str, body: &'static [u8]) -> Response<Incoming> {
        let request = Request::builder().method(method).uri(path).header("host", "node");
        let request = request.body(Full::new(Bytes::from_static(body))).unwrap();
        self.request(Some(&self.api_server()), request).await.unwrap()
    }

    pub async fn get(&self, path: &str) -> (StatusCode, String) {
        read(self.ask(Method::GET, path, b"").await).await
    }

    /// Code, reason and message of a failure.
    pub async fn refused(&self, method: Method, path: &str) -> (u16, String, String) {
        let (code, text) = read(self.ask(method, path, b"").await).await;
        refusal(code, &text)
    }
}

pub async fn read(response: Response<Incoming>) -> (StatusCode, String) {
    let code = response.status();
    let bytes = response.into_body().collect().await.unwrap().to_bytes();
    (code, String::from_utf8(bytes.to_vec()).unwrap())
}

pub fn refusal(code: StatusCode, text: &str) -> (u16, String, String) {
    let status: Value = serde_json::from_str(text).unwrap();
    assert_eq!((&status["kind"], &status["code"]), (&"Status".into(), &code.as_u16().into()), "{text}");
    let word = |name: &str| status[name].as_str().unwrap_or_default().to_owned();
    (code.as_u16(), word("reason"), word("message"))
}
