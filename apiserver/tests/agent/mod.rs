//! A node's agent, as far as the server sees it: TLS by the node's certificate, and whatever it is to answer.
#![allow(clippy::unwrap_used)]

use std::{convert::Infallible, error::Error, sync::Arc};

use bytes::Bytes;
use http::{Request, Response};
use http_body::Body;
use hyper::{body::Incoming, server::conn::http1, service::Service};
use hyper_util::rt::TokioIo;
use kontiki_apiserver::pki::Pki;
use rustls::{RootCertStore, ServerConfig, server::WebPkiClientVerifier};
use rustls_pki_types::{CertificateDer, PrivateKeyDer, pem::PemObject as _};
use serde_json::json;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

use crate::wire::Client;

/// Listens as this node; the port.
pub async fn serve<S, B>(pki: &Pki, node: &str, answer: S) -> u16
where
    S: Service<Request<Incoming>, Response = Response<B>, Error = Infallible> + Clone + Send + 'static,
    S::Future: Send,
    B: Body<Data = Bytes> + Send + 'static,
    B::Error: Into<Box<dyn Error + Send + Sync>>,
{
    let credentials = pki.node(node, &["127.0.0.1".parse().unwrap()]).unwrap();
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(pki.ca_pem().as_bytes()).unwrap()).unwrap();
    let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider.clone()).build().unwrap();
    let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
    let certificate = CertificateDer::from_pem_slice(credentials.server.certificate_pem.as_bytes()).unwrap();
    let key = PrivateKeyDer::from_pem_slice(credentials.server.key_pem.as_bytes()).unwrap();
    let config = config.with_client_cert_verifier(verifier).with_single_cert(vec![certificate], key).unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(config));
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            let (acceptor, answer) = (acceptor.clone(), answer.clone());
            tokio::spawn(async move {
                let stream = acceptor.accept(stream).await.unwrap();
                let connection = http1::Builder::new().serve_connection(TokioIo::new(stream), answer);
                connection.with_upgrades().await.ok();
            });
        }
    });
    port
}

/// A node whose agent is there.
pub async fn register(admin: &mut Client, name: &str, port: u16) {
    let status = json!({
        "addresses": [{"type": "InternalIP", "address": "127.0.0.1"}],
        "daemonEndpoints": {"kubeletEndpoint": {"Port": port}},
    });
    let node = json!({"apiVersion": "v1", "kind": "Node", "metadata": {"name": name}, "status": status});
    let made = admin.post("/api/v1/nodes", &node).await;
    assert_eq!(made.status, 201, "{}", made.text());
}
