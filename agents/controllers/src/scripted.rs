//! An API for tests, which answers by a rule and remembers what it was asked.

use std::{
    convert::Infallible,
    sync::{Arc, Mutex},
    time::Duration,
};

use http::{Request, Response};
use kontiki_informer::Clients;
use kube::client::Body;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use crate::{CertificateAuthority, ControllerConfig, Unsigned, context::Context};

/// The requests so far: method and path.
#[derive(Clone, Default)]
pub struct Asked(Arc<Mutex<Vec<String>>>);

impl Asked {
    /// Those with this method, in order of their paths.
    pub fn with(&self, method: &str) -> Vec<String> {
        let asked = self.0.lock().unwrap();
        let mut paths: Vec<String> = asked
            .iter()
            .filter_map(|request| request.strip_prefix(method))
            .map(|path| path.trim().to_owned())
            .collect();
        paths.sort();
        paths
    }
}

struct SignsNothing;

impl CertificateAuthority for SignsNothing {
    fn sign(&self, _: &[u8], _: &[String], _: Option<Duration>) -> Result<String, Unsigned> {
        Err(Unsigned::Refused("a test has no CA".to_owned()))
    }
}

/// A context whose requests `answer` gets, as method and path, to give status code and body.
pub fn context(answer: impl Fn(&str, &str) -> (u16, Value) + Clone + Send + Sync + 'static) -> (Context, Asked) {
    let asked = Asked::default();
    let noted = asked.clone();
    let transport = tower::service_fn(move |request: Request<Body>| {
        let (method, path) = (request.method().as_str(), request.uri().path());
        noted.0.lock().unwrap().push(format!("{method} {path}"));
        let (code, body) = answer(method, path);
        let response = Response::builder().status(code).body(Body::from(body.to_string().into_bytes())).unwrap();
        async move { Ok::<_, Infallible>(response) }
    });
    let config = ControllerConfig { root_ca: String::new(), balance: true, authority: Arc::new(SignsNothing) };
    (Context::new(Clients::new(transport, "test"), config, CancellationToken::new()), asked)
}

/// A failure as the API tells it; of the object with this name, if it has one.
pub fn failure(code: u16, reason: &str, name: &str) -> (u16, Value) {
    let details = json!({"name": name});
    let status = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": code,
                        "reason": reason, "message": reason, "details": details});
    (code, status)
}
