//! HTTP questions of probes and hooks. Certificates are not checked: the pod is reached by its address.

use std::{net::IpAddr, sync::Arc};

use bytes::Bytes;
use http::{HeaderName, HeaderValue, Request, Uri, header};
use http_body_util::{BodyExt, Empty};
use hyper_util::rt::TokioIo;
use k8s_openapi::api::core::v1::{Container, HTTPGetAction};
use rustls::{
    ClientConfig, DigitallySignedStruct, SignatureScheme,
    client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier},
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
};
use tokio_rustls::TlsConnector;

use super::check::Outcome;
use crate::{
    env::port,
    limits::{PROBE_OUTPUT_MAX, PROBE_REDIRECTS_MAX},
};

/// As the API names it in its own probes.
const USER_AGENT: &str = "kube-probe/1.36";

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HttpRequest {
    tls: bool,
    host: String,
    port: u16,
    /// Path and query.
    path: String,
    headers: Vec<(String, String)>,
}

impl HttpRequest {
    pub fn of(action: &HTTPGetAction, container: &Container, address: IpAddr) -> Result<HttpRequest, String> {
        let port =
            port(container, &action.port).ok_or_else(|| format!("the container has no port {:?}", action.port))?;
        let path = action.path.clone().unwrap_or_default();
        let headers = action.http_headers.iter().flatten().map(|header| (header.name.clone(), header.value.clone()));
        Ok(HttpRequest {
            tls: action.scheme.as_deref() == Some("HTTPS"),
            host: action.host.clone().filter(|host| !host.is_empty()).unwrap_or(address.to_string()),
            port,
            path: if path.starts_with('/') { path } else { format!("/{path}") },
            headers: headers.collect(),
        })
    }

    fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}:{}{}", self.host, self.port, self.path)
    }
}

pub async fn check(request: &HttpRequest) -> Outcome {
    let mut request = request.clone();
    for _ in 0..=PROBE_REDIRECTS_MAX {
        let answer = match get(&request).await {
            Ok(answer) => answer,
            Err(message) => return Outcome::Unhealthy(format!("Get {:?}: {message}", request.url())),
        };
        match (answer.status, answer.location) {
            (200..300, _) => return Outcome::Healthy,
            (300..400, Some(location)) => match redirected(&request, &location) {
                Some(next) => request = next,
                None => return Outcome::Warning(format!("Probe terminated redirects, Response body: {}", answer.body)),
            },
            (300..400, None) => return Outcome::Healthy,
            (status, _) => return Outcome::Unhealthy(format!("HTTP probe failed with statuscode: {status}")),
        }
    }
    Outcome::Unhealthy(format!("Get {:?}: stopped after {PROBE_REDIRECTS_MAX} redirects", request.url()))
}

/// The next request, if it stays on the same host.
fn redirected(request: &HttpRequest, location: &str) -> Option<HttpRequest> {
    let uri: Uri = location.parse().ok()?;
    let mut next = request.clone();
    if let Some(host) = uri.host() {
        if host != request.host {
            return None;
        }
        next.tls = uri.scheme_str().map_or(request.tls, |scheme| scheme == "https");
        next.port = uri.port_u16().unwrap_or(if next.tls { 443 } else { 80 });
    }
    next.path = uri.path_and_query().map_or_else(|| "/".to_owned(), ToString::to_string);
    Some(next)
}

pub struct HttpAnswer {
    pub status: u16,
    location: Option<String>,
    body: String,
}

/// Sends the request and reads the beginning of the answer.
pub async fn get(request: &HttpRequest) -> Result<HttpAnswer, String> {
    let address = format!("{}:{}", request.host, request.port);
    let stream = TcpStream::connect((request.host.as_str(), request.port))
        .await
        .map_err(|error| format!("dial tcp {address}: {error}"))?;
    if !request.tls {
        return over(request, stream).await;
    }
    let name = ServerName::try_from(request.host.clone()).map_err(|error| error.to_string())?;
    let stream = TlsConnector::from(Arc::new(any_certificate()?))
        .connect(name, stream)
        .await
        .map_err(|error| format!("tls: {error}"))?;
    over(request, stream).await
}

async fn over(
    request: &HttpRequest,
    stream: impl AsyncRead + AsyncWrite + Send + Unpin + 'static,
) -> Result<HttpAnswer, String> {
    let text = |error: &dyn std::fmt::Display| error.to_string();
    let (mut sender, connection) =
        hyper::client::conn::http1::handshake(TokioIo::new(stream)).await.map_err(|error| text(&error))?;
    let message = message(request).map_err(|error| text(&error))?;
    let exchange = async {
        let answer = sender.send_request(message).await.map_err(|error| text(&error))?;
        let status = answer.status().as_u16();
        let location = answer.headers().get(header::LOCATION).and_then(|value| value.to_str().ok()).map(str::to_owned);
        let mut body = answer.into_body();
        let mut kept = Vec::new();
        while kept.len() < PROBE_OUTPUT_MAX
            && let Some(Ok(frame)) = body.frame().await
        {
            kept.extend_from_slice(frame.data_ref().map(Bytes::as_ref).unwrap_or_default());
        }
        kept.truncate(PROBE_OUTPUT_MAX);
        Ok(HttpAnswer { status, location, body: String::from_utf8_lossy(&kept).into_owned() })
    };
    tokio::pin!(exchange);
    tokio::select! {
        answer = &mut exchange => answer,
        end = connection => match end {
            // The connection may end with the answer already read.
            Ok(()) => exchange.await,
            Err(error) => Err(text(&error)),
        },
    }
}

fn message(request: &HttpRequest) -> Result<Request<Empty<Bytes>>, http::Error> {
    let host = format!("{}:{}", request.host, request.port);
    let mut message = Request::get(&request.path).body(Empty::new())?;
    let headers = message.headers_mut();
    headers.insert(header::HOST, HeaderValue::try_from(host)?);
    headers.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
    headers.insert(header::ACCEPT, HeaderValue::from_static("*/*"));
    headers.insert(header::CONNECTION, HeaderValue::from_static("close"));
    for (name, value) in &request.headers {
        headers.insert(HeaderName::try_from(name.as_str())?, HeaderValue::try_from(value.as_str())?);
    }
    Ok(message)
}

fn any_certificate() -> Result<ClientConfig, String> {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let verifier = Arc::new(AnyCertificate(provider.clone()));
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?;
    Ok(builder.dangerous().with_custom_certificate_verifier(verifier).with_no_client_auth())
}

/// Probes ask for an answer, not for an identity, as in Kubernetes.
#[derive(Debug)]
struct AnyCertificate(Arc<rustls::crypto::CryptoProvider>);

impl ServerCertVerifier for AnyCertificate {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls12_signature(message, certificate, signature, algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        let algorithms = &self.0.signature_verification_algorithms;
        rustls::crypto::verify_tls13_signature(message, certificate, signature, algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.0.signature_verification_algorithms.supported_schemes()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use k8s_openapi::apimachinery::pkg::util::intstr::IntOrString;

    #[test]
    fn requests_and_redirects() {
        let action = HTTPGetAction {
            path: Some("healthz?x=1".into()),
            port: IntOrString::String("web".into()),
            ..HTTPGetAction::default()
        };
        let container: Container =
            serde_json::from_value(serde_json::json!({"name": "c", "ports": [{"name": "web", "containerPort": 8080}]}))
                .unwrap();
        let request = HttpRequest::of(&action, &container, "10.0.0.1".parse().unwrap()).unwrap();
        assert_eq!(request.url(), "http://10.0.0.1:8080/healthz?x=1");
        let next = |location: &str| redirected(&request, location).map(|next| next.url());
        assert_eq!(next("/other"), Some("http://10.0.0.1:8080/other".into()));
        assert_eq!(next("https://10.0.0.1/x"), Some("https://10.0.0.1:443/x".into()));
        assert_eq!(next("http://elsewhere/x"), None);
    }
}
