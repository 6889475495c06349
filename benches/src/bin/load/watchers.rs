//! Many watches of the same objects: what they cost while nothing happens, and how soon each is told when something does.

use std::{
    collections::HashMap,
    fs,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use bytes::{Bytes, BytesMut};
use futures::{StreamExt as _, TryStreamExt as _, stream};
use http::{Method, StatusCode};
use http_body_util::BodyExt as _;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::Value;
use tokio::task::JoinSet;

use crate::{
    storm::processor_seconds,
    target::{Connection, Target, config_map},
};

/// Handshakes at once.
const CONNECTING: usize = 32;
/// Nothing happens for this long before memory is read.
const IDLE: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(120);
const OURS: &[u8] = b"\"name\":\"map-";
const BEFORE_REVISION: &[u8] = b"\"resourceVersion\":\"";

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub watchers: usize,
    pub per_connection: usize,
    pub writes: usize,
}

#[derive(Debug, Serialize)]
pub struct Outcome {
    events: usize,
    seconds: f64,
    /// From the moment a write was sent until a watcher was told.
    sent_p50_ms: f64,
    sent_p99_ms: f64,
    /// From the moment it was acknowledged; whoever was told before counts as at once.
    acknowledged_p50_ms: f64,
    acknowledged_p99_ms: f64,
    kib_per_watcher: f64,
    server_cpu_seconds: f64,
}

/// A write: when it was sent, and when it was acknowledged.
struct Write {
    sent: Instant,
    acknowledged: Instant,
}

pub async fn run(target: Target, prefix: &str, plan: Plan, server: u32) -> Result<Outcome> {
    let path = format!("/api/v1/namespaces/{prefix}/configmaps");
    let mut writer = target.connect(0).await?;
    let namespace = format!(r#"{{"apiVersion":"v1","kind":"Namespace","metadata":{{"name":"{prefix}"}}}}"#);
    post(&mut writer, "/api/v1/namespaces", namespace).await?;
    let before = anonymous_kib(server)?;
    let watches = open(&target, &path, plan).await?;
    tokio::time::sleep(IDLE).await;
    let kib_per_watcher = (anonymous_kib(server)? - before) / plan.watchers as f64;

    let mut watching = JoinSet::new();
    for watch in watches {
        watching.spawn(told(watch, plan.writes));
    }
    let (cpu, start) = (processor_seconds(&[server])?, Instant::now());
    let mut writes = HashMap::new();
    for number in 0..plan.writes {
        let sent = Instant::now();
        let revision = post(&mut writer, &path, config_map(&format!("map-{number}"), &"x".repeat(1024))).await?;
        writes.insert(revision, Write { sent, acknowledged: Instant::now() });
    }
    let (mut since_sent, mut since_acknowledged, mut end) = (Vec::new(), Vec::new(), start);
    while let Some(told) = tokio::time::timeout(PATIENCE, watching.join_next()).await.context("not all were told")? {
        for (revision, at) in told?? {
            // Controllers make objects of their own in a new namespace.
            let Some(write) = writes.get(&revision) else { continue };
            since_sent.push(at - write.sent);
            since_acknowledged.push(at.saturating_duration_since(write.acknowledged));
            end = end.max(at);
        }
    }
    let server_cpu_seconds = processor_seconds(&[server])? - cpu;
    since_sent.sort_unstable();
    since_acknowledged.sort_unstable();
    Ok(Outcome {
        events: since_sent.len(),
        seconds: (end - start).as_secs_f64(),
        sent_p50_ms: at(&since_sent, 0.5),
        sent_p99_ms: at(&since_sent, 0.99),
        acknowledged_p50_ms: at(&since_acknowledged, 0.5),
        acknowledged_p99_ms: at(&since_acknowledged, 0.99),
        kib_per_watcher,
        server_cpu_seconds,
    })
}

/// Opens the watches, each where the list ended.
async fn open(target: &Target, path: &str, plan: Plan) -> Result<Vec<Incoming>> {
    let mut asker = target.connect(0).await?;
    let list = asker.ask(Method::GET, path, Bytes::new()).await?.into_body().collect().await?.to_bytes();
    let list: Value = serde_json::from_slice(&list)?;
    let since = list["metadata"]["resourceVersion"].as_str().context("a list without a version")?.to_owned();
    let query = &format!("{path}?watch=true&resourceVersion={since}&timeoutSeconds=3600");
    let connections = stream::iter(0..plan.watchers.div_ceil(plan.per_connection)).map(|number| async move {
        let connection = target.connect(number).await?;
        let first = number * plan.per_connection;
        let count = plan.per_connection.min(plan.watchers - first);
        let mut handles = (1..count).map(|_| connection.share()).collect::<Result<Vec<_>>>()?;
        handles.push(connection);
        stream::iter(handles).then(|connection| watch(connection, query)).try_collect::<Vec<Incoming>>().await
    });
    let opened: Vec<Vec<Incoming>> = connections.buffer_unordered(CONNECTING).try_collect().await?;
    Ok(opened.into_iter().flatten().collect())
}

async fn watch(mut connection: Connection, query: &str) -> Result<Incoming> {
    let answer = connection.ask(Method::GET, query, Bytes::new()).await?;
    if answer.status() != StatusCode::OK {
        bail!("a watch was answered {}", answer.status());
    }
    Ok(answer.into_body())
}

/// Reads a watch until it has told of so many ConfigMaps of this client's; their revisions, and when each came.
async fn told(mut watch: Incoming, writes: usize) -> Result<Vec<(u64, Instant)>> {
    let (mut events, mut read) = (Vec::with_capacity(writes), BytesMut::new());
    while events.len() < writes {
        let frame = watch.frame().await.context("a watch ended")??;
        let Ok(data) = frame.into_data() else { continue };
        let now = Instant::now();
        read.extend_from_slice(&data);
        while let Some(end) = read.iter().position(|byte| *byte == b'\n') {
            let line = read.split_to(end + 1);
            if let Some(revision) = revision(&line).filter(|_| is_ours(&line)) {
                events.push((revision, now));
            }
        }
    }
    Ok(events)
}

fn is_ours(line: &[u8]) -> bool {
    line.windows(OURS.len()).any(|part| part == OURS)
}

fn revision(line: &[u8]) -> Option<u64> {
    let at = line.windows(BEFORE_REVISION.len()).position(|part| part == BEFORE_REVISION)? + BEFORE_REVISION.len();
    let end = line[at..].iter().position(|byte| *byte == b'"')? + at;
    std::str::from_utf8(&line[at..end]).ok()?.parse().ok()
}

async fn post(connection: &mut Connection, path: &str, body: String) -> Result<u64> {
    let answer = connection.ask(Method::POST, path, body.into()).await?;
    let status = answer.status();
    let body = answer.into_body().collect().await?.to_bytes();
    if status != StatusCode::CREATED {
        bail!("answered {status}: {}", String::from_utf8_lossy(&body));
    }
    revision(&body).context("an answer without a version")
}

fn at(sorted: &[Duration], share: f64) -> f64 {
    let last = sorted.len().saturating_sub(1) as f64;
    sorted.get((last * share).round() as usize).map_or(0.0, |took| took.as_secs_f64() * 1e3)
}

/// Memory of a process that no file backs.
fn anonymous_kib(pid: u32) -> Result<f64> {
    let status = fs::read_to_string(format!("/proc/{pid}/status")).with_context(|| format!("process {pid}"))?;
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).context("no RssAnon")?;
    Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
}
