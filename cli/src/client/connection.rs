//! One server of a cluster, and one connection to it.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use bytes::Bytes;
use http::{HeaderMap, HeaderValue, Method, Request, Response, Uri, header};
use http_body_util::Empty;
use hyper::{body::Incoming, client::conn::http1};
use hyper_util::rt::TokioIo;
use kontiki_apiserver::sockets;
use kube::client::ConfigExt;
use rustls::{ClientConfig, pki_types::ServerName};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tower::{BoxError, ServiceBuilder, ServiceExt, service_fn, util::BoxCloneService};

use super::{Body, abrupt::Abrupt};

/// TCP and TLS, together.
const CONNECT_TIME_MAX: Duration = Duration::from_secs(3);

/// Where a server is, and how it is told who asks.
pub struct Server {
    pub url: Uri,
    /// What its certificate must be for, if not for the URL's host.
    name: Option<String>,
    tls: Arc<ClientConfig>,
    /// A service is shared between threads only under a lock; it is cloned, never waited for.
    credentials: Mutex<Credentials>,
}

type Credentials = BoxCloneService<Request<Empty<Bytes>>, Response<()>, BoxError>;

pub struct Connection {
    sender: http1::SendRequest<Body>,
    /// Credentials beyond the connection's certificate.
    credentials: HeaderMap,
    host: HeaderValue,
    /// Of the server's URL, before every path.
    prefix: String,
}

impl Server {
    pub fn new(config: &kube::Config) -> Result<Self> {
        let url = config.cluster_url.clone();
        let tls = config.rustls_client_config().with_context(|| format!("setting up TLS for {url}"))?;
        let credentials = Mutex::new(credentials(config)?);
        Ok(Server { url, name: config.tls_server_name.clone(), tls: Arc::new(tls), credentials })
    }

    pub async fn connect(&self) -> Result<Connection> {
        let connecting = tokio::time::timeout(CONNECT_TIME_MAX, self.open());
        connecting.await.unwrap_or_else(|_| Err(anyhow!("no connection within {CONNECT_TIME_MAX:?}")))
    }

    async fn open(&self) -> Result<Connection> {
        let host = self.url.host().context("the server's URL has no host")?.trim_matches(['[', ']']);
        let secure = match self.url.scheme_str() {
            Some("https") => true,
            Some("http") => false,
            _ => bail!("the server's URL is neither https nor http"),
        };
        let port = self.url.port_u16().unwrap_or(if secure { 443 } else { 80 });
        let stream = TcpStream::connect((host, port)).await?;
        // An answer may have no end, and nothing in it for hours.
        sockets::prepare(&stream)?;
        let sender = if secure {
            let name = self.name.clone().unwrap_or_else(|| host.to_owned());
            let name = ServerName::try_from(name).context("the server's name")?;
            let stream = TlsConnector::from(self.tls.clone()).connect(name, stream).await?;
            handshake(TokioIo::new(Abrupt(stream))).await?
        } else {
            handshake(TokioIo::new(stream)).await?
        };
        let service = self.credentials.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let answer = service.oneshot(Request::new(Empty::new())).await.map_err(anyhow::Error::from_boxed);
        let credentials = answer.context("reading the kubeconfig's credentials")?.into_parts().0.headers;
        let authority = self.url.authority().context("the server's URL has no host")?;
        Ok(Connection {
            sender,
            credentials,
            host: HeaderValue::from_str(authority.as_str())?,
            prefix: self.url.path().trim_end_matches('/').to_owned(),
        })
    }
}

async fn handshake<T>(io: T) -> Result<http1::SendRequest<Body>>
where
    T: hyper::rt::Read + hyper::rt::Write + Send + Unpin + 'static,
{
    let (sender, connection) = http1::handshake(io).await?;
    // It ends with the last use of the sender and of the answer's body.
    tokio::spawn(connection);
    Ok(sender)
}

/// Gives the headers that a kubeconfig's user adds to each request: a token, or whom to act as.
fn credentials(config: &kube::Config) -> Result<Credentials> {
    // The layers change requests on their way to a service: this one gives back what it got.
    let echo = service_fn(|request: Request<Empty<Bytes>>| async {
        let mut response = Response::new(());
        *response.headers_mut() = request.into_parts().0.headers;
        Ok::<_, BoxError>(response)
    });
    let service = ServiceBuilder::new().layer(config.extra_headers_layer()?).option_layer(config.auth_layer()?);
    Ok(BoxCloneService::new(service.service(echo)))
}

impl Connection {
    /// One request; the connection is used up.
    pub async fn send(self, method: Method, path: &str, headers: HeaderMap, body: Body) -> Result<Response<Incoming>> {
        let Connection { mut sender, credentials, host, prefix } = self;
        let mut request = Request::builder().method(method).uri(format!("{prefix}{path}")).body(body)?;
        *request.headers_mut() = headers;
        request.headers_mut().extend(credentials);
        request.headers_mut().insert(header::HOST, host);
        Ok(sender.send_request(request).await?)
    }
}
