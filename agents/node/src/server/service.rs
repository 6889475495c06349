//! One request: who asks, for what, and who answers.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use http::{HeaderValue, Method, Request, Response, Version, header};
use hyper::body::Incoming;
use k8s_openapi::api::core::v1::Pod;
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use super::{
    access,
    backend::Backend,
    body::{self, Body},
    failure::{self, Refused},
    figures, images, logs,
    route::{NoRoute, PodName, Route, route},
    streams,
    tls::Caller,
    usage,
    verdicts::Verdicts,
};

/// What every request needs; one per connection.
#[derive(Clone)]
pub struct Service {
    pub backend: Arc<dyn Backend>,
    pub stopping: CancellationToken,
    /// Streams that outlive their request.
    pub tasks: TaskTracker,
    verdicts: Arc<Verdicts>,
    caller: Option<Arc<Caller>>,
    /// It has a certificate, or has shown a token that counts.
    is_let_in: Arc<AtomicBool>,
}

impl Service {
    pub fn new(
        backend: Arc<dyn Backend>,
        verdicts: Arc<Verdicts>,
        stopping: CancellationToken,
        tasks: TaskTracker,
    ) -> Service {
        Service { backend, verdicts, stopping, tasks, caller: None, is_let_in: Arc::default() }
    }

    pub fn called_by(mut self, caller: Option<Caller>) -> Service {
        self.is_let_in = Arc::new(AtomicBool::new(caller.is_some()));
        self.caller = caller.map(Arc::new);
        self
    }

    /// Whether its connection is more than a stranger's.
    pub fn is_let_in(&self) -> bool {
        self.is_let_in.load(Ordering::Acquire)
    }

    pub fn let_in(&self) {
        self.is_let_in.store(true, Ordering::Release);
    }

    pub async fn answer(self, request: Request<Incoming>) -> Response<Body> {
        let head_only = request.method() == Method::HEAD;
        let persists = request.version() != Version::HTTP_2;
        let mut response = match self.clone().route(request).await {
            Ok(response) => response,
            Err(refused) => failure::response(&refused),
        };
        response.headers_mut().insert("x-content-type-options", HeaderValue::from_static("nosniff"));
        response.headers_mut().insert(header::CACHE_CONTROL, HeaderValue::from_static("no-cache, private"));
        if persists && !self.is_let_in() {
            response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
        }
        if head_only {
            *response.body_mut() = body::empty();
        }
        response
    }

    pub fn pod(&self, name: &PodName) -> Result<Arc<Pod>, Refused> {
        self.backend.pod(&name.namespace, &name.name).ok_or_else(|| failure::no_such_pod(&name.name))
    }

    async fn route(self, request: Request<Incoming>) -> Result<Response<Body>, Refused> {
        let route = route(request.method(), request.uri().path());
        if route == Ok(Route::Health) {
            return Ok(body::text("ok"));
        }
        // Strangers do not learn which paths there are.
        let caller = self.caller.as_deref();
        let asked = route.as_ref().ok();
        access::decide(&*self.backend, &self.verdicts, caller, request.headers(), asked).await?;
        self.let_in();
        let route = route.map_err(|none| match none {
            NoRoute::Path => failure::no_such_path(),
            NoRoute::Method => failure::method_not_allowed(),
        })?;
        let query = request.uri().query().map(str::to_owned);
        let (backend, query) = (self.backend.clone(), query.as_deref());
        match route {
            Route::Health => Ok(body::text("ok")),
            Route::Pods => Ok(figures::pods(&*backend)),
            Route::Metrics => figures::metrics(&*backend),
            Route::Resource => Ok(usage::metrics(&*backend).await),
            Route::Probes => figures::probes(&*backend),
            Route::Cadvisor => Ok(usage::cadvisor(&*backend).await),
            Route::Summary => Ok(usage::summary(&*backend, query).await),
            Route::ListImages => images::list(&*backend).await,
            Route::ImportImage => images::import(&*backend, query, request.into_body()).await,
            Route::RemoveImage => images::remove(&*backend, query).await,
            Route::Logs(name) => logs::answer(backend, &name, query, self.stopping).await,
            Route::Exec(name) => streams::exec(&self, &name, request).await,
            Route::Attach(name) => streams::attach(&self, &name, request).await,
            Route::PortForward(name) => streams::port_forward(&self, &name, request).await,
        }
    }
}
