//! The audit: what was asked of this server, by whom, and what became of it, as far as a policy says, in the file that users of
//! Kubernetes know.
//!
//! Writes are in the log already, with their author, verb and request id, which is the `auditID` here: `kontiki tail` and
//! `kontiki why` tell them for as long as history reaches. The file adds what changes nothing: reads, refusals, and what was
//! asked for in which words. Of reads, every so many may be recorded alone.

mod event;
mod limits;
mod policy;
mod rotation;
mod sink;

use std::{
    net::IpAddr,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

use bytes::Bytes;
use chrono::{DateTime, Utc};
use http::{HeaderMap, header};
use kontiki_model::Status;

pub(crate) use self::sink::AuditMetrics;
pub use self::{
    event::Annotations,
    policy::{Policy, PolicyError},
    rotation::Rotation,
    sink::Target,
};
use self::{
    event::{Head, Outcome, Payload, Record},
    limits::SOURCE_ADDRESSES_MAX,
    policy::{Level, Plan, Stage},
    sink::Sink,
};
use crate::{
    authz::Decision,
    content,
    request::{ApiRequest, ApiResponse, Identity},
    route::{self, RequestInfo},
};

/// What is recorded, and where.
#[derive(Clone, Debug)]
pub struct Settings {
    pub policy: Policy,
    pub target: Target,
    /// Of requests that change nothing, every so many is recorded; 1: all.
    pub reads_every: u64,
}

pub(crate) struct Audit {
    policy: Policy,
    sink: Sink,
    reads_every: u64,
    reads: AtomicU64,
}

/// A request as it comes, before anything is known about it.
pub(crate) struct Arrived {
    pub uri: String,
    pub addresses: Vec<String>,
    pub user_agent: String,
    pub at: DateTime<Utc>,
}

/// A request that is recorded, to its end: that of its answer, or of itself.
pub(crate) struct Entry {
    audit: Arc<Audit>,
    head: Arc<Head>,
    plan: Plan,
    acts_as: Option<Arc<Identity>>,
    sent: Option<Arc<Payload>>,
    /// What a long request was answered.
    outcome: Option<Outcome>,
    /// Its end is recorded.
    ended: bool,
}

impl Arrived {
    pub fn new(path: &str, raw_query: &str, headers: &HeaderMap, address: Option<IpAddr>) -> Self {
        let uri = if raw_query.is_empty() { path.to_owned() } else { format!("{path}?{raw_query}") };
        let user_agent = headers.get(header::USER_AGENT).and_then(|value| value.to_str().ok()).unwrap_or_default();
        Arrived { uri, addresses: addresses(headers, address), user_agent: user_agent.to_owned(), at: Utc::now() }
    }
}

impl Audit {
    pub fn open(settings: Settings, metrics: AuditMetrics) -> std::io::Result<Arc<Self>> {
        let Settings { policy, target, reads_every } = settings;
        let sink = Sink::open(target, metrics)?;
        Ok(Arc::new(Audit { policy, sink, reads_every: reads_every.max(1), reads: AtomicU64::new(0) }))
    }

    /// Begins to record a request of somebody who is known, if the policy says so.
    pub fn begin(self: &Arc<Self>, arrived: Arrived, info: &RequestInfo, user: &Identity, id: &str) -> Option<Entry> {
        let plan = self.policy.plan(user, info);
        if plan.level == Level::None || self.is_skipped(info) {
            return None;
        }
        let Arrived { uri, addresses, user_agent, at } = arrived;
        let head = Head {
            id: id.to_owned(),
            level: plan.level,
            omit_managed_fields: plan.omit_managed_fields,
            uri,
            verb: info.verb,
            user: user.clone(),
            addresses,
            user_agent,
            resource: match &info.target {
                route::Target::Resource(resource) => Some(resource.clone()),
                route::Target::Path(_) => None,
            },
            received: at,
            annotations: Arc::default(),
        };
        let (audit, head) = (self.clone(), Arc::new(head));
        Some(Entry { audit, head, plan, acts_as: None, sent: None, outcome: None, ended: false })
    }

    /// The same of one of several things that a request asks for.
    pub fn begin_part(self: &Arc<Self>, request: &ApiRequest, part: &RequestInfo) -> Option<Entry> {
        let ApiRequest { path, raw_query, headers, from, real, identity, request_id, .. } = request;
        let arrived = Arrived::new(path, raw_query, headers, *from);
        let mut entry = self.begin(arrived, part, real.as_deref().unwrap_or(identity), request_id)?;
        if real.is_some() {
            entry.acts_as(identity);
        }
        entry.received();
        Some(entry)
    }

    /// Writes what was recorded, and ends. Blocks.
    pub fn close(&self) {
        self.sink.close();
    }

    fn is_skipped(&self, info: &RequestInfo) -> bool {
        let reads = matches!(info.verb, "get" | "head" | "list" | "watch" | "options") && !info.reaches_through();
        reads && self.reads_every > 1 && !self.reads.fetch_add(1, Ordering::Relaxed).is_multiple_of(self.reads_every)
    }
}

impl Entry {
    pub fn annotations(&self) -> &Arc<Annotations> {
        &self.head.annotations
    }

    pub fn received(&self) {
        self.put(Stage::RequestReceived, self.head.received, None, None);
    }

    /// Who it counts as.
    pub fn acts_as(&mut self, identity: &Identity) {
        self.acts_as = Some(Arc::new(identity.clone()));
    }

    pub fn decided(&self, decision: &Decision) {
        let word = if decision.allowed { "allow" } else { "forbid" };
        self.annotations().add("authorization.k8s.io/decision", word);
        self.annotations().add("authorization.k8s.io/reason", decision.reason.as_str());
    }

    /// What was sent. Kept only where it is told, or names a new object.
    pub fn sent(&mut self, headers: &HeaderMap, bytes: &Bytes) {
        let names = self.head.verb == "create" && self.head.resource.as_ref().is_some_and(|one| one.name.is_empty());
        if self.head.resource.is_some() && !bytes.is_empty() && (names || self.plan.level >= Level::Request) {
            let media = content::media_type(headers).to_owned();
            self.sent = Some(Arc::new(Payload { media, bytes: bytes.clone() }));
        }
    }

    /// Who asked is not known.
    pub fn unknown(mut self, status: &Status) {
        let message = "Authentication failed, attempted: bearer".to_owned();
        let outcome = Outcome::failed(&Status { message, ..status.clone() });
        self.ended = true;
        self.put(Stage::ResponseStarted, Utc::now(), Some(outcome), None);
    }

    pub fn panicked(mut self, status: &Status) {
        self.ended = true;
        self.put(Stage::Panic, Utc::now(), Some(Outcome::failed(status)), None);
    }

    /// A long request is answered. It is complete when this is dropped.
    pub fn started(&mut self, code: u16) {
        let outcome = Outcome::of(code);
        self.outcome = Some(outcome.clone());
        self.put(Stage::ResponseStarted, Utc::now(), Some(outcome), None);
    }

    /// A request is answered, with a failure perhaps.
    pub fn complete(mut self, response: &ApiResponse, failed: Option<&Status>) {
        self.ended = true;
        let outcome = failed.map_or_else(|| Outcome::of(response.status().as_u16()), Outcome::failed);
        // A Status says what became of a deletion, whatever the level.
        let told = self.plan.level >= Level::RequestResponse || self.head.verb == "delete";
        let bytes = content::bytes_in_memory(response).filter(|_| told && self.head.resource.is_some());
        let media = response.headers().get(header::CONTENT_TYPE).and_then(|value| value.to_str().ok());
        let media = media.and_then(|media| media.split(';').next()).unwrap_or_default().to_owned();
        self.put(Stage::ResponseComplete, Utc::now(), Some(outcome), bytes.map(|bytes| Payload { media, bytes }));
    }

    /// One of several things is done, or failed. The object is what it is told as, in JSON.
    pub fn ended(mut self, code: u16, failed: Option<&Status>, object: Option<Bytes>) {
        self.ended = true;
        let outcome = failed.map_or_else(|| Outcome::of(code), Outcome::failed);
        let told = object.filter(|_| self.plan.level >= Level::RequestResponse);
        let answered = told.map(|bytes| Payload { media: "application/json".to_owned(), bytes });
        self.put(Stage::ResponseComplete, Utc::now(), Some(outcome), answered);
    }

    fn put(&self, stage: Stage, at: DateTime<Utc>, outcome: Option<Outcome>, answered: Option<Payload>) {
        if !self.plan.records(stage) {
            return;
        }
        let (head, acts_as, sent) = (self.head.clone(), self.acts_as.clone(), self.sent.clone());
        self.audit.sink.put(Record { head, stage, at, acts_as, sent, outcome, answered });
    }
}

impl Drop for Entry {
    fn drop(&mut self) {
        if !self.ended {
            let outcome = self.outcome.take().unwrap_or_else(Outcome::closed_early);
            self.put(Stage::ResponseComplete, Utc::now(), Some(outcome), None);
        }
    }
}

/// From where a request came: what forwarders say, which anybody may, and then who connected.
fn addresses(headers: &HeaderMap, connected: Option<IpAddr>) -> Vec<String> {
    let text = |value: &http::HeaderValue| value.to_str().ok().map(str::to_owned);
    let forwarded = headers.get_all("x-forwarded-for").iter().filter_map(text).collect::<Vec<_>>().join(",");
    let real = headers.get("x-real-ip").and_then(text).unwrap_or_default();
    let mut all: Vec<IpAddr> = forwarded.split(',').filter_map(|one| one.trim().parse().ok()).collect();
    all.extend(real.trim().parse::<IpAddr>().ok().filter(|real| !all.contains(real)));
    all.truncate(SOURCE_ADDRESSES_MAX);
    all.extend(connected.filter(|connected| all.last() != Some(connected)));
    all.iter().map(ToString::to_string).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn addresses_are_told_from_the_farthest_to_the_nearest() {
        let connected = "192.0.2.9".parse().unwrap();
        let told = |headers: &[(&'static str, &str)]| {
            let headers = headers.iter().map(|(name, value)| (name.parse().unwrap(), value.parse().unwrap())).collect();
            addresses(&headers, Some(connected)).join(" ")
        };
        assert_eq!(told(&[]), "192.0.2.9");
        assert_eq!(told(&[("x-forwarded-for", "10.0.0.1, 10.0.0.2, x")]), "10.0.0.1 10.0.0.2 192.0.2.9");
        assert_eq!(told(&[("x-forwarded-for", "10.0.0.1"), ("x-real-ip", "10.0.0.1")]), "10.0.0.1 192.0.2.9");
        assert_eq!(told(&[("x-real-ip", "192.0.2.9")]), "192.0.2.9");
        assert_eq!(addresses(&HeaderMap::new(), None), [""; 0]);
        let many = vec!["10.0.0.1"; 100].join(",");
        assert_eq!(told(&[("x-forwarded-for", &many)]).split(' ').count(), SOURCE_ADDRESSES_MAX + 1);
    }
}
