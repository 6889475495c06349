//! The server of an API that is not this server's: TLS on loopback, for whoever shows a certificate.
#![allow(clippy::unwrap_used, dead_code)]

use std::{convert::Infallible, net::SocketAddr, sync::Arc};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::StreamExt as _;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::{BodyExt as _, Full, StreamBody, combinators::UnsyncBoxBody};
use hyper::{
    body::{Frame, Incoming},
    server::conn::http1,
    service::service_fn,
};
use hyper_util::rt::TokioIo;
use rcgen::{CertificateParams, KeyPair};
use rustls::{
    DigitallySignedStruct, Error, ServerConfig, SignatureScheme,
    client::danger::HandshakeSignatureValid,
    pki_types::{CertificateDer, PrivateKeyDer, UnixTime},
    server::danger::{ClientCertVerified, ClientCertVerifier},
};
use serde_json::{Value, json};
use tokio::{net::TcpListener, sync::Notify, task::JoinHandle};
use tokio_rustls::TlsAcceptor;
use x509_parser::{certificate::X509Certificate, prelude::FromDer as _};

pub const GROUP: &str = "metrics.example.com";
const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

type Body = UnsyncBoxBody<Bytes, Infallible>;

pub struct Extension {
    pub port: u16,
    certificate: String,
    serving: JoinHandle<()>,
    cut: Arc<Notify>,
}

impl Extension {
    pub async fn start() -> Extension {
        Extension::start_with(true).await
    }

    /// Older ones know no OpenAPI v3.
    pub async fn start_without_v3() -> Extension {
        Extension::start_with(false).await
    }

    async fn start_with(v3: bool) -> Extension {
        let key = KeyPair::generate().unwrap();
        let certificate =
            CertificateParams::new(vec!["metrics.default.svc".to_owned()]).unwrap().self_signed(&key).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_client_cert_verifier(Arc::new(Anybody));
        let key = PrivateKeyDer::try_from(key.serialize_der()).unwrap();
        let config = config.with_single_cert(vec![certificate.der().clone()], key).unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cut = Arc::new(Notify::new());
        let cutting = cut.clone();
        let serving = tokio::spawn(async move {
            let mut connections = tokio::task::JoinSet::new();
            loop {
                let (stream, peer) = tokio::select! {
                    accepted = listener.accept() => accepted.unwrap(),
                    () = cutting.notified() => {
                        connections.shutdown().await;
                        continue;
                    }
                };
                let acceptor = acceptor.clone();
                connections.spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let shown = stream.get_ref().1.peer_certificates().and_then(<[_]>::first).map(|one| name(one));
                    let service = service_fn(move |mut request: Request<Incoming>| {
                        request.extensions_mut().insert(peer);
                        answer(request, shown.clone(), v3)
                    });
                    _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).with_upgrades().await;
                });
            }
        });
        Extension { port, certificate: certificate.pem(), serving, cut }
    }

    pub fn bundle(&self) -> String {
        STANDARD.encode(&self.certificate)
    }

    /// Ends all connections, but goes on.
    pub fn cut(&self) {
        self.cut.notify_one();
    }

    pub fn stop(&self) {
        self.serving.abort();
    }
}

fn name(certificate: &[u8]) -> String {
    let (_, certificate) = X509Certificate::from_der(certificate).unwrap();
    certificate.subject().iter_common_name().next().unwrap().as_str().unwrap().to_owned()
}

async fn answer(mut request: Request<Incoming>, shown: Option<String>, v3: bool) -> Result<Response<Body>, Infallible> {
    let accept = request.headers().get(header::ACCEPT).map(|value| value.to_str().unwrap().to_owned());
    let accept = accept.unwrap_or_default();
    let version = format!("/apis/{GROUP}/v1beta1");
    let rest = request.uri().path().strip_prefix(&version).map(str::to_owned);
    let path = request.uri().path().to_owned();
    Ok(match (path.as_str(), rest.as_deref()) {
        ("/apis", _) if accept.contains("as=APIGroupDiscoveryList") => typed(AGGREGATED, &discovery()),
        (path, _) if path.starts_with("/openapi/v3") && !v3 => {
            Response::builder().status(StatusCode::NOT_FOUND).body(empty()).unwrap()
        }
        ("/openapi/v3", _) => {
            let place = format!("/openapi/v3{version}?hash=1");
            json_answer(&json!({"paths": {version.trim_start_matches('/'): {"serverRelativeURL": place}}}))
        }
        ("/openapi/v2", _) => json_answer(&openapi(&version)),
        (path, _) if path == format!("/openapi/v3{version}") => {
            json_answer(&json!({"openapi": "3.0.0", "info": {"title": "metrics"}}))
        }
        (_, Some("")) => json_answer(&json!({
            "kind": "APIResourceList", "apiVersion": "v1", "groupVersion": format!("{GROUP}/v1beta1"),
            "resources": [{"name": "nodes", "singularName": "", "namespaced": false, "kind": "NodeMetrics", "verbs": ["get", "list"]}],
        })),
        (_, Some("/away")) => Response::builder().status(302).header("location", "/elsewhere").body(empty()).unwrap(),
        (_, Some("/tunnel")) => {
            let switched = hyper::upgrade::on(&mut request);
            tokio::spawn(async move {
                let (mut read, mut write) = tokio::io::split(TokioIo::new(switched.await.unwrap()));
                _ = tokio::io::copy(&mut read, &mut write).await;
            });
            let response = Response::builder().status(StatusCode::SWITCHING_PROTOCOLS);
            response.header(header::CONNECTION, "Upgrade").header(header::UPGRADE, "echo").body(empty()).unwrap()
        }
        (_, Some("/nodes")) if request.uri().query() == Some("watch=true") => {
            let numbers = futures::stream::iter(0..3)
                .map(|number| Frame::data(Bytes::from(json!({"number": number}).to_string())));
            let paced = numbers.then(|frame| async move {
                tokio::task::yield_now().await;
                Ok(frame)
            });
            Response::new(StreamBody::new(paced.chain(futures::stream::pending())).boxed_unsync())
        }
        _ => json_answer(&echo(request, shown).await),
    })
}

async fn echo(request: Request<Incoming>, shown: Option<String>) -> Value {
    let (parts, body) = request.into_parts();
    let body = body.collect().await.unwrap().to_bytes();
    json!({
        "method": parts.method.as_str(), "target": parts.uri.to_string(), "headers": told(&parts.headers),
        "certificate": shown, "body": String::from_utf8_lossy(&body),
        "peer": parts.extensions.get::<SocketAddr>().unwrap().to_string(),
    })
}

fn told(headers: &HeaderMap) -> Value {
    let mut all = json!({});
    for (name, value) in headers {
        let values = &mut all[name.as_str()];
        let value = json!(String::from_utf8_lossy(value.as_bytes()));
        match values.as_array_mut() {
            Some(values) => values.push(value),
            None => *values = json!([value]),
        }
    }
    all
}

fn discovery() -> Value {
    let kind = json!({"group": "", "version": "", "kind": "NodeMetrics"});
    json!({"kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {}, "items": [{
        "metadata": {"name": GROUP}, "versions": [{"version": "v1beta1", "freshness": "Current", "resources": [
            {"resource": "nodes", "responseKind": kind, "scope": "Cluster", "singularResource": "", "verbs": ["get", "list"]}]}],
    }]})
}

fn openapi(version: &str) -> Value {
    let schema = json!({"$ref": "#/definitions/com.example.NodeMetrics"});
    let operation =
        json!({"operationId": "listNodeMetrics", "responses": {"200": {"description": "OK", "schema": schema}}});
    json!({
        "swagger": "2.0", "info": {"title": "metrics", "version": "1"}, "paths": {format!("{version}/nodes"): {"get": operation}},
        "definitions": {"com.example.NodeMetrics": {"type": "object", "properties": {"usage": {"type": "string"}}}},
    })
}

fn typed(content_type: &str, value: &Value) -> Response<Body> {
    let body = Full::from(value.to_string()).boxed_unsync();
    Response::builder().header(header::CONTENT_TYPE, content_type).body(body).unwrap()
}

fn json_answer(value: &Value) -> Response<Body> {
    typed("application/json", value)
}

fn empty() -> Body {
    Full::default().boxed_unsync()
}

/// Whose certificate it is tells the test.
#[derive(Debug)]
struct Anybody;

impl ClientCertVerifier for Anybody {
    fn root_hint_subjects(&self) -> &[rustls::DistinguishedName] {
        &[]
    }

    fn verify_client_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        Ok(ClientCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        _: &[u8],
        _: &CertificateDer<'_>,
        _: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        Ok(HandshakeSignatureValid::assertion())
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        rustls::crypto::ring::default_provider().signature_verification_algorithms.supported_schemes()
    }
}
