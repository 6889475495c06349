//! A storm of writes, reads and watches against all servers, and the record of what each client was told.
//!
//! Each ConfigMap is a register. A client that gets no answer records that it does not know, and goes on with another server.

use std::{
    collections::BTreeMap,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
    time::{Duration, Instant},
};

use http::Method;
use http_body_util::BodyExt;
use rand::{Rng, SeedableRng, rngs::StdRng};
use serde_json::{Value, json};
use tokio::task::JoinSet;

use super::{
    client::{Answer, Client},
    limits::{CLIENT_PAUSE, REGISTER_OPERATIONS, WAIT_MAX, WATCH_SECONDS},
    servers::Servers,
};

pub const NAMESPACE: &str = "storm";

#[derive(Clone, Copy, Debug)]
pub struct StormPlan {
    pub clients: usize,
    pub watchers: usize,
    pub seed: u64,
}

/// What one client asked of one register, and what it was told. Times are since the storm began.
#[derive(Clone, Debug, PartialEq)]
pub struct Operation {
    pub register: String,
    pub asked: Asked,
    pub invoked: Duration,
    /// `None`: the outcome is not known, the write may happen at any time from `invoked` on.
    pub returned: Option<Duration>,
    /// Of an acknowledged write.
    pub revision: Option<u64>,
    /// The HTTP status; 0 where there was no answer.
    pub code: u16,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Asked {
    /// What was found; `None` if there was no such object.
    Read(Option<String>),
    Write(String),
    /// Replaced exactly this value by another.
    Swap {
        expected: Option<String>,
        value: String,
    },
}

/// One event of a watcher: its revision, and what the register held after it (`None`: deleted).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub revision: u64,
    pub register: String,
    pub value: Option<String>,
}

/// What a storm left behind.
#[derive(Default)]
pub struct Record {
    pub operations: Vec<Operation>,
    /// The stream of each watcher, from the first revision of the namespace on.
    pub watches: Vec<Vec<Seen>>,
    /// What the registers held at the end, by a consistent list.
    pub last: BTreeMap<String, (u64, String)>,
    /// Answers that no client should ever get.
    pub oddities: Vec<String>,
}

pub struct Storm {
    shared: Arc<Shared>,
    clients: JoinSet<()>,
    watchers: JoinSet<Vec<Seen>>,
    reader: Client,
}

struct Shared {
    began: Instant,
    calm: AtomicBool,
    /// Watchers end when they have seen this revision.
    until: AtomicUsize,
    issued: AtomicUsize,
    acknowledged: AtomicUsize,
    /// In the order in which they returned.
    operations: Mutex<Vec<Operation>>,
    oddities: Mutex<Vec<String>>,
}

impl Storm {
    /// Begins with an empty namespace.
    pub async fn begin(servers: &Servers, plan: StormPlan) -> Self {
        let mut reader = servers.client(0);
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": NAMESPACE}});
        let mut from = None;
        while from.is_none() {
            reader.ask(Method::POST, "/api/v1/namespaces", Some(&namespace)).await;
            from = reader.get(&format!("/api/v1/namespaces/{NAMESPACE}")).await.revision();
        }
        let from = from.unwrap_or_default();
        let shared = Arc::new(Shared {
            began: Instant::now(),
            calm: AtomicBool::new(false),
            until: AtomicUsize::new(usize::MAX),
            issued: AtomicUsize::new(0),
            acknowledged: AtomicUsize::new(0),
            operations: Mutex::default(),
            oddities: Mutex::default(),
        });
        let (mut clients, mut watchers) = (JoinSet::new(), JoinSet::new());
        for number in 0..plan.clients {
            let random = StdRng::seed_from_u64(plan.seed.wrapping_add(number as u64));
            clients.spawn(client(shared.clone(), servers.client(number), number, random));
        }
        for number in 0..plan.watchers {
            watchers.spawn(watcher(shared.clone(), servers.client(number), from));
        }
        Storm { shared, clients, watchers, reader }
    }

    /// Acknowledged writes so far.
    pub fn acknowledged(&self) -> usize {
        self.shared.acknowledged.load(Ordering::SeqCst)
    }

    /// Waits until this many more writes are acknowledged.
    pub async fn progress(&self, writes: usize) -> Result<(), String> {
        let (began, goal) = (Instant::now(), self.acknowledged() + writes);
        while self.acknowledged() < goal {
            if began.elapsed() > WAIT_MAX {
                return Err(format!("only {} of {goal} writes were acknowledged", self.acknowledged()));
            }
            tokio::time::sleep(CLIENT_PAUSE).await;
        }
        Ok(())
    }

    /// How long after a moment the first write was acknowledged of those that began after it.
    pub async fn next_write(&self, after: Instant) -> Result<Duration, String> {
        let after = after - self.shared.began;
        loop {
            let first = {
                let operations = self.shared.operations.lock().unwrap_or_else(PoisonError::into_inner);
                // What returned before is of no interest, and in a long storm there is much of it.
                let recent = operations.iter().rev().take_while(|one| one.returned.is_none_or(|at| at > after));
                let later = recent.filter(|one| one.revision.is_some() && one.invoked > after);
                later.filter_map(|one| one.returned).min()
            };
            match first {
                Some(returned) => return Ok(returned - after),
                None if self.shared.began.elapsed() - after > WAIT_MAX => {
                    return Err("no write was acknowledged".into());
                }
                None => tokio::time::sleep(CLIENT_PAUSE).await,
            }
        }
    }

    /// Ends the storm: clients finish what they are at, watchers follow to the end.
    pub async fn end(mut self) -> Record {
        self.shared.calm.store(true, Ordering::SeqCst);
        while self.clients.join_next().await.is_some() {}
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
        let list = loop {
            let list = self.reader.get(&path).await;
            if list.done() {
                break list;
            }
        };
        let last = registers(&list);
        let newest = last.values().map(|(revision, _)| *revision).max().unwrap_or_default();
        self.shared.until.store(usize::try_from(newest).unwrap_or(usize::MAX), Ordering::SeqCst);
        let mut watches = Vec::new();
        while let Some(seen) = self.watchers.join_next().await {
            watches.push(seen.expect("a watcher does not panic"));
        }
        let operations = std::mem::take(&mut *self.shared.operations.lock().unwrap_or_else(PoisonError::into_inner));
        let oddities = std::mem::take(&mut *self.shared.oddities.lock().unwrap_or_else(PoisonError::into_inner));
        Record { operations, watches, last, oddities }
    }
}

fn registers(list: &Answer) -> BTreeMap<String, (u64, String)> {
    let items = list.body["items"].as_array().map(Vec::as_slice).unwrap_or_default();
    let ours = items.iter().filter_map(|item| {
        let revision = item["metadata"]["resourceVersion"].as_str()?.parse().ok()?;
        Some((item["metadata"]["name"].as_str()?.to_owned(), (revision, value_of(item)?)))
    });
    ours.collect()
}

/// A register's value; `None` for ConfigMaps that are none, such as the cluster's root CA.
fn value_of(object: &Value) -> Option<String> {
    object["data"]["value"].as_str().map(str::to_owned)
}

impl Shared {
    fn odd(&self, what: String) {
        self.oddities.lock().unwrap_or_else(PoisonError::into_inner).push(what);
    }

    fn record(&self, operation: Operation) {
        if operation.revision.is_some() {
            self.acknowledged.fetch_add(1, Ordering::SeqCst);
        }
        self.operations.lock().unwrap_or_else(PoisonError::into_inner).push(operation);
    }
}

/// One client's view of one operation under way.
struct Attempt<'a> {
    shared: &'a Shared,
    client: &'a mut Client,
    register: String,
    path: String,
}

async fn client(shared: Arc<Shared>, mut client: Client, number: usize, mut random: StdRng) {
    let mut sequence = 0_u64;
    while !shared.calm.load(Ordering::SeqCst) {
        let register = format!("register-{}", shared.issued.fetch_add(1, Ordering::SeqCst) / REGISTER_OPERATIONS);
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps/{register}");
        let mut attempt = Attempt { shared: &shared, client: &mut client, register, path };
        sequence += 1;
        let value = format!("{number}-{sequence}");
        match random.random_range(0..10) {
            0..2 => drop(attempt.read().await),
            2..5 => attempt.swap(value).await,
            _ => attempt.write(value).await,
        }
    }
}

impl Attempt<'_> {
    /// The register's value and revision, if the answer is known and there is such an object.
    async fn read(&mut self) -> Option<(u64, String)> {
        let invoked = self.shared.began.elapsed();
        let answer = self.client.ask(Method::GET, &self.path, None).await;
        let found = match answer.code {
            200 => Some((answer.revision()?, value_of(&answer.body)?)),
            404 => None,
            // A read that failed says nothing.
            _ => return None,
        };
        self.record(Asked::Read(found.clone().map(|(_, value)| value)), invoked, &answer);
        found
    }

    async fn write(&mut self, value: String) {
        let invoked = self.shared.began.elapsed();
        let answer = self.client.ask(Method::PUT, &self.path, Some(&self.object(&value, None))).await;
        if answer.code == 404 {
            self.record(Asked::Read(None), invoked, &answer);
            return self.create(value).await;
        }
        self.written(answer, Asked::Write(value), invoked);
    }

    async fn create(&mut self, value: String) {
        let invoked = self.shared.began.elapsed();
        let path = format!("/api/v1/namespaces/{NAMESPACE}/configmaps");
        let answer = self.client.ask(Method::POST, &path, Some(&self.object(&value, None))).await;
        self.written(answer, Asked::Swap { expected: None, value }, invoked);
    }

    async fn swap(&mut self, value: String) {
        let Some((revision, expected)) = self.read().await else { return };
        let invoked = self.shared.began.elapsed();
        let answer = self.client.ask(Method::PUT, &self.path, Some(&self.object(&value, Some(revision)))).await;
        self.written(answer, Asked::Swap { expected: Some(expected), value }, invoked);
    }

    /// Done, certainly not done, or nobody knows.
    fn written(&self, answer: Answer, asked: Asked, invoked: Duration) {
        match answer.code {
            200..300 if answer.revision().is_none() => {
                self.shared.odd(format!("{}: written, but the answer has no revision", self.register));
            }
            // No answer, a deadline, an error of the server: it may be.
            200..300 | 0 | 500..503 | 504..507 | 508.. => self.record(asked, invoked, &answer),
            // Refused, or never sent: it is not in the log.
            409 | 429 | 503 | 507 => {}
            _ => self.shared.odd(format!("{}: {answer:?}", self.register)),
        }
    }

    fn object(&self, value: &str, revision: Option<u64>) -> Value {
        let mut object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": self.register}});
        object["data"] = json!({ "value": value });
        if let Some(revision) = revision {
            object["metadata"]["resourceVersion"] = json!(revision.to_string());
        }
        object
    }

    fn record(&self, asked: Asked, invoked: Duration, answer: &Answer) {
        let wrote = !matches!(asked, Asked::Read(_));
        let known = !wrote || answer.done();
        self.shared.record(Operation {
            register: self.register.clone(),
            asked,
            invoked,
            returned: known.then(|| self.shared.began.elapsed()),
            revision: answer.revision().filter(|_| wrote && known),
            code: answer.code,
        });
    }
}

/// Follows the registers from a revision, on whichever server answers, resuming where it was.
async fn watcher(shared: Arc<Shared>, mut client: Client, from: u64) -> Vec<Seen> {
    let (mut seen, mut at) = (Vec::new(), from);
    while at < shared.until.load(Ordering::SeqCst) as u64 {
        let path = format!(
            "/api/v1/namespaces/{NAMESPACE}/configmaps?watch=true&allowWatchBookmarks=true&resourceVersion={at}&timeoutSeconds={WATCH_SECONDS}"
        );
        let Some(mut response) = client.open(&path).await else { continue };
        let mut rest = Vec::new();
        while let Some(Ok(frame)) = response.frame().await {
            rest.extend_from_slice(frame.data_ref().map_or(&[][..], |data| data));
            while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
                let line: Vec<u8> = rest.drain(..=end).collect();
                match serde_json::from_slice(&line) {
                    Ok(event) => at = event_at(&shared, &event, at, &mut seen),
                    Err(error) => shared.odd(format!("a watch sent no JSON: {error}")),
                }
            }
            if at >= shared.until.load(Ordering::SeqCst) as u64 {
                return seen;
            }
        }
        // Elsewhere next time: a watch goes on at any server.
        client.move_on().await;
    }
    seen
}

/// Takes one event; the revision from which a watch goes on after it.
fn event_at(shared: &Shared, event: &Value, at: u64, seen: &mut Vec<Seen>) -> u64 {
    let object = &event["object"];
    let revision = object["metadata"]["resourceVersion"].as_str().and_then(|text| text.parse().ok());
    let (Some(kind), Some(revision)) = (event["type"].as_str(), revision) else {
        shared.odd(format!("a watch from {at} sent {event}"));
        return at;
    };
    if kind != "BOOKMARK" {
        let register = object["metadata"]["name"].as_str().unwrap_or_default().to_owned();
        let value = if kind == "DELETED" { None } else { value_of(object) };
        seen.push(Seen { revision, register, value });
    }
    revision
}
