//! A webhook on loopback: TLS with a certificate of its own, answers from the test, and a record of what it was asked.
#![allow(clippy::unwrap_used, dead_code)]

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::future::BoxFuture;
use http::{Request, Response};
use http_body_util::{BodyExt as _, Full};
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair};
use rustls_pki_types::{PrivateKeyDer, pem::PemObject as _};
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;

/// What a webhook answers with.
pub enum Reply {
    Review(Value),
    Raw(u16, String),
    /// Nothing, ever.
    Silence,
}

type Answer = dyn Fn(String, Value) -> BoxFuture<'static, Reply> + Send + Sync;

pub struct Hook {
    pub address: SocketAddr,
    /// For `caBundle`.
    pub ca: String,
    asked: Arc<Mutex<Vec<Value>>>,
}

impl Hook {
    /// Answers each review, at whichever path, with what `answer` makes of the path and the request in it.
    pub async fn start(answer: impl Fn(&str, &Value) -> Reply + Send + Sync + 'static) -> Self {
        Hook::start_async(move |path, request| {
            let reply = answer(&path, &request);
            Box::pin(async move { reply })
        })
        .await
    }

    pub async fn start_async(
        answer: impl Fn(String, Value) -> BoxFuture<'static, Reply> + Send + Sync + 'static,
    ) -> Self {
        let names = ["127.0.0.1", "hooks.default.svc"].map(str::to_owned);
        let mut params = CertificateParams::new(names.to_vec()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let key = KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        let private = PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config =
            rustls::ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let config = config.with_no_client_auth().with_single_cert(vec![certificate.der().clone()], private).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let hook = Hook {
            address: listener.local_addr().unwrap(),
            ca: STANDARD.encode(certificate.pem()),
            asked: Arc::default(),
        };
        let (asked, answer): (_, Arc<Answer>) = (hook.asked.clone(), Arc::new(answer));
        tokio::spawn(serve(listener, TlsAcceptor::from(Arc::new(config)), asked, answer));
        hook
    }

    /// Says yes to everything.
    pub async fn agreeable() -> Self {
        Hook::start(|_, request| yes(request)).await
    }

    /// The requests so far.
    pub fn asked(&self) -> Vec<Value> {
        self.asked.lock().unwrap().clone()
    }

    /// A `clientConfig` that leads here.
    pub fn client(&self, path: &str) -> Value {
        json!({"url": format!("https://{}{path}", self.address), "caBundle": self.ca})
    }
}

async fn serve(listener: TcpListener, tls: TlsAcceptor, asked: Arc<Mutex<Vec<Value>>>, answer: Arc<Answer>) {
    while let Ok((stream, _)) = listener.accept().await {
        let (tls, asked, answer) = (tls.clone(), asked.clone(), answer.clone());
        tokio::spawn(async move {
            // Who does not trust the certificate goes away.
            let Ok(stream) = tls.accept(stream).await else { return };
            let service = service_fn(|request| respond(request, &asked, &answer));
            _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}

async fn respond(
    request: Request<Incoming>,
    asked: &Mutex<Vec<Value>>,
    answer: &Arc<Answer>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let review: Value = serde_json::from_slice(&body).unwrap();
    let question = review["request"].clone();
    asked.lock().unwrap().push(question.clone());
    let (code, body) = match answer(path, question).await {
        Reply::Silence => std::future::pending().await,
        Reply::Raw(code, body) => (code, body),
        Reply::Review(response) => {
            let (kind, version) = (&review["kind"], &review["apiVersion"]);
            (200, json!({"kind": kind, "apiVersion": version, "response": response}).to_string())
        }
    };
    Ok(Response::builder().status(code).body(Full::from(body)).unwrap())
}

pub fn yes(request: &Value) -> Reply {
    Reply::Review(json!({"uid": request["uid"], "allowed": true}))
}

pub fn no(request: &Value, status: &Value) -> Reply {
    Reply::Review(json!({"uid": request["uid"], "allowed": false, "status": status}))
}

/// Yes, and these operations of a JSON patch.
pub fn patch(request: &Value, operations: &Value) -> Reply {
    let patch = STANDARD.encode(operations.to_string());
    Reply::Review(json!({"uid": request["uid"], "allowed": true, "patchType": "JSONPatch", "patch": patch}))
}
