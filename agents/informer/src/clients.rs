//! Clients over one transport that say which revision a write reacts to.

use std::sync::{Arc, Mutex};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body_util::{BodyExt, combinators::UnsyncBoxBody};
use kube::client::{Body, Client};
use tower::{BoxError, Service, ServiceExt, service_fn, util::BoxCloneService};

/// The request header that names the revision a write reacts to.
pub const CAUSE_HEADER: &str = "kontiki-cause";

type Transport = BoxCloneService<Request<Body>, Response<UnsyncBoxBody<Bytes, BoxError>>, BoxError>;

/// Makes `kube` clients that share one transport, each naming the cause of what it writes.
#[derive(Clone)]
pub struct Clients {
    transport: Arc<Mutex<Transport>>,
    plain: Client,
    user_agent: HeaderValue,
}

impl Clients {
    /// `transport` answers requests that carry path and query only; `user_agent` is how history shows the writer.
    /// Must be called within a tokio runtime.
    pub fn new<S, B>(transport: S, user_agent: &'static str) -> Self
    where
        S: Service<Request<Body>, Response = Response<B>> + Clone + Send + 'static,
        S::Future: Send + 'static,
        S::Error: Into<BoxError>,
        B: http_body::Body<Data = Bytes> + Send + 'static,
        B::Error: Into<BoxError>,
    {
        let user_agent = HeaderValue::from_static(user_agent);
        let boxed = |response: Response<B>| response.map(|body| body.map_err(Into::into).boxed_unsync());
        let transport = Transport::new(transport.map_response(boxed).map_err(Into::into));
        let plain = client(transport.clone(), user_agent.clone(), None);
        Clients { transport: Arc::new(Mutex::new(transport)), plain, user_agent }
    }

    /// A client for reads and for writes that nothing in particular caused.
    pub fn plain(&self) -> Client {
        self.plain.clone()
    }

    /// A client whose writes react to `resource_version`.
    pub fn caused_by(&self, resource_version: Option<&str>) -> Client {
        match resource_version.map(HeaderValue::from_str) {
            Some(Ok(cause)) => {
                let transport = self.transport.lock().expect("cloning a transport does not panic").clone();
                client(transport, self.user_agent.clone(), Some(cause))
            }
            // Not a header value: some other server's resource version. The cause is lost, the write is not.
            Some(Err(_)) | None => self.plain.clone(),
        }
    }
}

/// The same client, for writes that react to `resource_version`.
pub fn caused_by(client: &Client, resource_version: Option<&str>) -> Client {
    let Some(Ok(cause)) = resource_version.map(HeaderValue::from_str) else { return client.clone() };
    let (inner, namespace) = (client.clone(), client.default_namespace().to_owned());
    let stamped = service_fn(move |mut request: Request<Body>| {
        request.headers_mut().insert(CAUSE_HEADER, cause.clone());
        let inner = inner.clone();
        async move { inner.send(request).await }
    });
    Client::new(stamped, namespace)
}

fn client(transport: Transport, user_agent: HeaderValue, cause: Option<HeaderValue>) -> Client {
    let stamped = transport.map_request(move |mut request: Request<Body>| {
        request.headers_mut().insert(http::header::USER_AGENT, user_agent.clone());
        if let Some(cause) = &cause {
            request.headers_mut().insert(CAUSE_HEADER, cause.clone());
        }
        request
    });
    Client::new(stamped, "default")
}
