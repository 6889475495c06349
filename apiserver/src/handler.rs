//! The way of one request: read, authenticate, impersonate, bound, authorize, answer. The socket and the in-process
//! transport both end here.

mod asks;
mod bounds;
mod judging;

use std::{
    net::IpAddr,
    panic::AssertUnwindSafe,
    sync::Arc,
    time::{Duration, Instant},
};

use futures::FutureExt as _;
use http::{HeaderMap, HeaderValue, Method, header};
use hyper::upgrade::OnUpgrade;
use kontiki_kinds::Subresource;
use kontiki_model::Status;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use self::{asks::Asks, judging::Standing};
use crate::{
    aggregation,
    audit::{Arrived, Entry},
    authn::{self, Certified},
    authz::Question,
    content,
    core::Core,
    failure,
    fairness::{self, Asked, Flow, Seat},
    kontiki::at::{self, Moment},
    limits,
    metrics::RequestLabels,
    negotiate, paths,
    present::Known,
    proxy::Tunnel,
    request::{ApiBody, ApiRequest, ApiResponse, Identity, RequestBody, ResourceRequest},
    rest, reviews,
    route::{RequestInfo, ResourceInfo, Target},
    serve::{Place, Proved},
    streaming::Guarded,
    token_request, websocket,
};

const AUDIT_ID: header::HeaderName = header::HeaderName::from_static("audit-id");

/// A request as a transport hands it over.
pub(crate) struct Incoming {
    pub method: Method,
    /// Still percent-encoded.
    pub path: String,
    /// Without the question mark.
    pub raw_query: String,
    pub headers: HeaderMap,
    /// Taken by whoever reads it.
    pub body: Option<ApiBody>,
    pub upgrade: Option<OnUpgrade>,
    pub caller: Caller,
}

/// What the transport knows of the client.
pub(crate) enum Caller {
    /// A connection, with whom its certificate names, from where it was made, and its place, which whoever proves who they are keeps.
    Connection { certificate: Option<Arc<Certified>>, address: Option<IpAddr>, place: Option<Arc<Place>> },
    /// A part of this process, which is who it says it is.
    InProcess(Arc<Identity>),
}

impl Caller {
    /// From where the request came, if it came over a network.
    fn address(&self) -> Option<IpAddr> {
        match self {
            Caller::Connection { address, .. } => *address,
            Caller::InProcess(_) => None,
        }
    }

    /// Held for as long as anything goes on that came over the connection, also when it has become a tunnel.
    fn place(&self) -> Option<Arc<Place>> {
        match self {
            Caller::Connection { place, .. } => place.clone(),
            Caller::InProcess(_) => None,
        }
    }

    /// The client has proved to be this one.
    fn proved(&self, identity: &Identity) {
        if let Caller::Connection { certificate, place: Some(place), .. } = self
            && !identity.in_group(authn::UNAUTHENTICATED)
        {
            let how = if certificate.is_some() { Proved::ByCertificate } else { Proved::ByToken };
            place.keep(&identity.user, how);
        }
    }
}

pub(crate) struct Handler {
    core: Arc<Core>,
    /// All requests but long ones, in work or waiting for a seat.
    short: Arc<Semaphore>,
    long: Arc<Semaphore>,
}

/// What has come out about a request on its way, whatever it is answered.
#[derive(Default)]
struct Noted {
    /// Where requests are recorded.
    arrived: Option<Arrived>,
    entry: Option<Entry>,
    flow: Option<Arc<Flow>>,
    seat: Option<Arc<Seat>>,
}

impl Incoming {
    fn arrived(&self) -> Arrived {
        let address = match self.caller {
            Caller::Connection { address, .. } => address,
            Caller::InProcess(_) => None,
        };
        Arrived::new(&self.path, &self.raw_query, &self.headers, address)
    }
}

impl Handler {
    pub fn new(core: Arc<Core>) -> Self {
        Handler {
            core,
            short: Arc::new(Semaphore::new(limits::REQUESTS_IN_FLIGHT_MAX)),
            long: Arc::new(Semaphore::new(limits::LONG_REQUESTS_MAX)),
        }
    }

    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// Answers any request; failures and panics become answers too.
    pub async fn answer(&self, mut incoming: Incoming) -> ApiResponse {
        let started = Instant::now();
        let request_id = request_id(&incoming.headers);
        let accept = kept(&incoming.headers, &[header::ACCEPT]);
        let encoding = kept(&incoming.headers, &[header::ACCEPT_ENCODING]);
        let query: Vec<(String, String)> = form_urlencoded::parse(incoming.raw_query.as_bytes()).into_owned().collect();
        let pretty = negotiate::wants_pretty(&query, &incoming.headers);
        let mut noted = Noted { arrived: self.core.audit.as_ref().map(|_| incoming.arrived()), ..Noted::default() };
        let asks = bounds::check_head(&incoming).and_then(|()| {
            authn::take_token(&mut incoming.headers)?;
            Asks::read(&mut incoming, &query)
        });
        let labels = asks.as_ref().map(|asks| asks.labels(&self.core, &query, &incoming.headers)).unwrap_or_default();
        let long = asks.as_ref().is_ok_and(Asks::is_long);
        let served = self.serve(asks, query, &mut incoming, request_id.clone(), labels.clone(), &mut noted).boxed();
        let outcome = AssertUnwindSafe(served).catch_unwind().await.unwrap_or_else(|_| {
            self.core.metrics.panicked();
            tracing::error!(request_id, "a handler panicked");
            let status = failure::internal("This request caused apiserver to panic. Look in the logs for details.");
            if let Some(entry) = noted.entry.take() {
                entry.panicked(&status);
            }
            Err(status)
        });
        if let Some(unread) = incoming.body.take() {
            // Its client may take its time: nobody waits for that.
            noted.seat = None;
            content::drain(unread).boxed().await;
        }
        let failed = outcome.as_ref().err().filter(|_| noted.entry.is_some()).cloned();
        let response = outcome.unwrap_or_else(|status| content::failed(&accept, pretty, &status));
        if let Some(entry) = noted.entry.take() {
            entry.complete(&response, failed.as_ref());
        }
        let encoding = encoding.get(header::ACCEPT_ENCODING).and_then(|value| value.to_str().ok());
        let mut response = content::compress(encoding, response).await;
        let size = content::size_in_memory(&response).and_then(|size| usize::try_from(size).ok());
        if let Some(size) = size {
            response.extensions_mut().insert(Arc::new(self.core.fairness.unsent.send(size, noted.seat)));
        }
        finish(&mut response, &request_id, noted.flow.as_deref());
        let took = Some(started.elapsed()).filter(|_| !long);
        self.core.metrics.answered(labels, response.status().as_u16(), took);
        response
    }

    async fn serve(
        &self,
        asks: Result<Asks, Status>,
        query: Vec<(String, String)>,
        incoming: &mut Incoming,
        request_id: String,
        labels: RequestLabels,
        noted: &mut Noted,
    ) -> Result<ApiResponse, Status> {
        let started = Instant::now();
        let asks = asks?;
        let allowed = bounds::time_allowed(&query, asks.is_long())?;
        self.core.knows_enough(&asks.info.target)?;
        let asked = asks.judged().unwrap_or(&asks.info);
        let real =
            self.authenticate(asked, &incoming.caller, (&incoming.headers, &incoming.path), &request_id, noted).await?;
        let wanted = authn::requested(&incoming.headers)?;
        let mut identity = self.act(&real, wanted.as_ref(), asked, noted).await?;
        if asks.is_queued() {
            self.seat(&asks, &identity, &query, allowed, noted).await?;
        }
        // After the queues: whoever waits in one takes nothing from those who need not.
        let permit = self.admit(asks.is_long())?;
        let standing = self.standing(&asks, &query, &real, wanted.as_ref(), &mut identity).await?;
        let field_selector = query.iter().find(|(key, _)| key == "fieldSelector").map_or("", |(_, value)| value);
        if let Some(RequestInfo { verb, target }) = asks.judged() {
            let question = Question { identity: &identity, verb, target, field_selector };
            self.authorize(question, standing, noted).await?;
        }
        let elsewhere = asks.served_elsewhere(&self.core);
        let (writes, long) = (!matches!(asks.info.verb, "get" | "head" | "list"), asks.is_long());
        let work = async {
            let method = incoming.method.clone();
            let headers = std::mem::take(&mut incoming.headers);
            let mut body = incoming.body.take().unwrap_or_else(content::empty);
            let body = if asks.passes_through() || elsewhere.is_some() {
                RequestBody::stream(body)
            } else {
                let read = bounds::read_body(&headers, &mut body).await;
                RequestBody::Bytes(read.inspect_err(|_| incoming.body = Some(body))?)
            };
            if let Some(entry) = &mut noted.entry {
                entry.sent(&headers, body.bytes());
            }
            let request = ApiRequest {
                method,
                path: std::mem::take(&mut incoming.path),
                raw_query: std::mem::take(&mut incoming.raw_query),
                query,
                headers,
                body,
                upgrade: incoming.upgrade.take(),
                identity,
                real: wanted.is_some().then(|| Arc::new(real)),
                from: incoming.caller.address(),
                request_id,
                at: None,
                is_present: standing == Standing::Present(Known::Confirmed),
                seat: noted.seat.clone(),
                annotations: noted.entry.as_ref().map(|entry| entry.annotations().clone()),
            };
            match elsewhere {
                Some(api) => aggregation::forward(&self.core, &api, request, incoming.caller.address()).boxed().await,
                None => self.dispatch(asks, request).await,
            }
        };
        if long {
            let gauge = self.core.metrics.long_request(&labels);
            let mut response = work.await?;
            let tunnel = Tunnel::take(&mut response);
            return Ok(self.prolong(response, tunnel, (permit, gauge, incoming.caller.place()), noted));
        }
        let _gauge = self.core.metrics.short_request(writes);
        let outcome = tokio::time::timeout(allowed.saturating_sub(started.elapsed()), work).await;
        let mut response = outcome
            .unwrap_or_else(|_| Err(failure::timeout("request did not complete within the allotted timeout")))?;
        // What nobody took for long becomes so by a switch of protocols.
        let Some(tunnel) = Tunnel::take(&mut response) else { return Ok(response) };
        let held = (self.admit(true)?, self.core.metrics.long_request(&labels), incoming.caller.place());
        Ok(self.prolong(response, Some(tunnel), held, noted))
    }

    /// An answer that goes on: until its end, it is recorded and counts.
    fn prolong<T: Send + Unpin + 'static>(
        &self,
        response: ApiResponse,
        tunnel: Option<Tunnel>,
        counts: T,
        noted: &mut Noted,
    ) -> ApiResponse {
        let mut entry = noted.entry.take();
        if let Some(entry) = &mut entry {
            entry.started(response.status().as_u16());
        }
        let (held, stopping) = ((counts, entry), self.core.stopping.clone());
        match tunnel {
            Some(tunnel) => {
                self.core.tunnels.spawn(tunnel.carry(held, stopping));
                response
            }
            None => websocket::begin(&self.core, response.map(|body| Guarded::new(body, held, stopping).boxed())),
        }
    }

    /// Room for one more request at all; who gets to work when is a matter of fairness.
    fn admit(&self, long: bool) -> Result<OwnedSemaphorePermit, Status> {
        let pool = if long { &self.long } else { &self.short };
        pool.clone().try_acquire_owned().map_err(|_| failure::too_many_requests(limits::RETRY_AFTER_S))
    }

    /// Waits for a seat among the requests in work.
    async fn seat(
        &self,
        asks: &Asks,
        identity: &Identity,
        query: &[(String, String)],
        allowed: Duration,
        noted: &mut Noted,
    ) -> Result<(), Status> {
        let fairness = &self.core.fairness;
        let asked = Asked { identity, verb: asks.info.verb, target: asks.queued_as() };
        let Some(flow) = fairness.classify(&self.core.log, asked) else { return Ok(()) };
        noted.flow = Some(flow.clone());
        let width = fairness::width(&self.core, &asks.info, query);
        noted.seat = Some(Arc::new(flow.seat(width, allowed, fairness.describe(&flow, asked)).await?));
        Ok(())
    }

    /// Each way is boxed: a request is moved about until it begins, and would be as large as the largest of them.
    async fn dispatch(&self, asks: Asks, request: ApiRequest) -> Result<ApiResponse, Status> {
        let Asks { info, own, past, .. } = asks;
        if let Some(own) = own {
            return own.answer(&self.core, request).await;
        }
        if past.is_some() {
            at::check(&request.method, &info.target)?;
        }
        let resource = match &info.target {
            Target::Path(path) => {
                let registry = match past {
                    Some(moment) => at::documents(&self.core, moment, path).boxed().await?,
                    None => self.core.registry(),
                };
                return paths::answer(&self.core, &registry, path, &request).boxed().await;
            }
            Target::Resource(resource) => resource,
        };
        if let Some(review) = reviews::find(resource) {
            return reviews::answer(&self.core, review, info.verb, resource, &request).boxed().await;
        }
        if let Some(moment) = past {
            return self.answer_past(&moment?, (resource, info.verb), request).boxed().await;
        }
        let registry = self.core.registry();
        // An unknown version of a known group is told as a Status, as an unknown resource is.
        if !registry.discovery().knows(&resource.group) {
            return Ok(content::page_not_found());
        }
        let route = resource.resolve(&registry.kinds, info.verb, &request.method)?;
        drop(registry);
        if serves(resource, &route, Subresource::Token) {
            return token_request::issue(&self.core, &route, &request).boxed().await;
        }
        rest::handle(&self.core, route, request).await
    }

    async fn answer_past(
        &self,
        moment: &Moment,
        (resource, verb): (&ResourceInfo, &'static str),
        request: ApiRequest,
    ) -> Result<ApiResponse, Status> {
        let past = moment.past(&self.core).await?;
        let registry = at::registry(&self.core, past.revision, resource, verb).await?;
        if !registry.discovery().knows(&resource.group) {
            return Ok(content::page_not_found());
        }
        let route = resource.resolve(&registry.kinds, verb, &request.method)?;
        drop(registry);
        at::check_retained(&self.core, &route.kind, past.revision)?;
        let request = ApiRequest { at: Some(past), ..request };
        let mut response = rest::handle(&self.core, route, request).await?;
        at::mark(&mut response, past.revision);
        Ok(response)
    }
}

fn serves(resource: &ResourceInfo, route: &ResourceRequest, subresource: Subresource) -> bool {
    resource.subresource == subresource.name() && route.kind.has(subresource)
}

/// What the request is called in the audit and by the log's authors: as its client calls it, or by a name of its own.
fn request_id(headers: &HeaderMap) -> String {
    let given = headers.get(AUDIT_ID).and_then(|value| value.to_str().ok());
    let given = given.filter(|id| (1..=limits::AUDIT_ID_BYTES_MAX).contains(&id.len()));
    given.map_or_else(|| uuid::Uuid::new_v4().to_string(), str::to_owned)
}

fn kept(headers: &HeaderMap, names: &[header::HeaderName]) -> HeaderMap {
    let values =
        names.iter().flat_map(|name| headers.get_all(name).iter().map(move |value| (name.clone(), value.clone())));
    values.collect()
}

fn finish(response: &mut ApiResponse, request_id: &str, flow: Option<&Flow>) {
    let headers = response.headers_mut();
    if let Some(flow) = flow {
        flow.mark(headers);
    }
    if let Ok(value) = HeaderValue::from_str(request_id) {
        headers.insert(AUDIT_ID, value);
    }
    headers.entry(header::CACHE_CONTROL).or_insert(HeaderValue::from_static("no-cache, private"));
}

#[cfg(test)]
mod tests;
