//! Three servers in one process, over loopback TCP, on one disk: `cluster_throughput [DIR] [SECONDS] [FAILOVERS]`.
//!
//! Writes per second and their latency with 1, 16 and 256 writers, asked of the leader and of a follower; then the time from a
//! leader's death to the next acknowledged write, while others write; then the longest wait in a planned hand-over.

use std::collections::HashMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use futures::future::BoxFuture;
use kontiki_model::{Head, Key};
use kontiki_raft::{Command, Dial, Log, LogConfig, Member, Mutation, PeerStream, Role, Start};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

const BODY_BYTES: usize = 900;
const OBJECTS: usize = 1_000;
const BACKGROUND_WRITERS: usize = 8;

type Failure = Box<dyn std::error::Error + Send + Sync>;

struct Tcp;

impl Dial for Tcp {
    fn dial(&self, member: &Member) -> BoxFuture<'static, io::Result<Box<dyn PeerStream>>> {
        let address = member.address.clone();
        Box::pin(async move {
            let stream = TcpStream::connect(address).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn PeerStream>)
        })
    }
}

struct Server {
    log: Log,
    listening: AbortHandle,
}

struct Cluster {
    dir: PathBuf,
    addresses: HashMap<String, String>,
    servers: HashMap<String, Server>,
}

impl Cluster {
    async fn open(&mut self, name: &str, start: Start) -> Result<Log, Failure> {
        let address = self.addresses.get(name).cloned().unwrap_or_else(|| "127.0.0.1:0".into());
        let listener = TcpListener::bind(&address).await?;
        let address = listener.local_addr()?.to_string();
        self.addresses.insert(name.into(), address.clone());
        let member = Member { name: name.into(), address };
        let config = LogConfig { member, start, dial: Some(Arc::new(Tcp)), ..LogConfig::new(self.dir.join(name)) };
        let log = Log::open(config).await?;
        let listening = tokio::spawn(accept(listener, log.clone())).abort_handle();
        self.servers.insert(name.into(), Server { log: log.clone(), listening });
        Ok(log)
    }

    async fn leader(&self) -> String {
        loop {
            let leads = |server: &&Server| server.log.status().role == Role::Leader;
            if let Some((name, leader)) = self.servers.iter().find(|(_, server)| leads(server)) {
                let known = |server: &Server| server.log.status().leader == Some(leader.log.node_id());
                if self.servers.values().all(known) {
                    return name.clone();
                }
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    }

    fn log(&self, name: &str) -> Log {
        self.servers[name].log.clone()
    }

    fn other(&self, name: &str) -> String {
        self.servers.keys().find(|other| *other != name).expect("there are three").clone()
    }

    /// Its port closes, its connections end, nothing more is said.
    async fn kill(&mut self, name: &str) {
        let Server { log, listening } = self.servers.remove(name).expect("it runs");
        listening.abort();
        tokio::spawn(async move { log.abort().await });
    }
}

async fn accept(listener: TcpListener, log: Log) {
    let mut connections = JoinSet::new();
    while let Ok((stream, _)) = listener.accept().await {
        // A connection without it only waits longer.
        _ = stream.set_nodelay(true);
        let log = log.clone();
        connections.spawn(async move { log.accept_peer(Box::new(stream), None).await });
    }
}

#[tokio::main]
async fn main() -> Result<(), Failure> {
    let mut arguments = std::env::args().skip(1);
    let dir = arguments.next().map_or_else(|| std::env::temp_dir().join("kontiki-cluster"), PathBuf::from);
    let run = Duration::from_secs(arguments.next().map_or(Ok(5), |text| text.parse())?);
    let failovers: usize = arguments.next().map_or(Ok(20), |text| text.parse())?;
    let mut cluster = Cluster { dir: dir.clone(), addresses: HashMap::new(), servers: HashMap::new() };
    let first = cluster.open("a", Start::Alone).await?;
    for name in ["b", "c"] {
        let log = cluster.open(name, Start::Join).await?;
        let member = Member { name: name.into(), address: cluster.addresses[name].clone() };
        first.add_member(log.node_id(), member).await?;
    }
    let term = first.status().term;
    // A killed server's files are free only when nobody holds its log.
    drop(first);
    heading();
    report("fdatasync", disk_limit(&dir, run)?, run);
    for (asked, name) in [("leader", cluster.leader().await), ("follower", cluster.other(&cluster.leader().await))] {
        for writers in [1, 16, 256] {
            report(&format!("{asked} {writers}"), write_from(&cluster.log(&name), writers, run).await?, run);
        }
    }
    println!("{:>14} {} elections after the first", "", cluster.log("a").status().term.saturating_sub(term));
    let mut gaps = Vec::new();
    for _ in 0..failovers {
        gaps.push(fail_over(&mut cluster).await?);
    }
    report("failover", gaps, Duration::from_secs(1));
    let mut gaps = Vec::new();
    for _ in 0..failovers {
        gaps.push(hand_over(&cluster).await?);
    }
    report("hand-over", gaps, Duration::from_secs(1));
    for Server { log, .. } in cluster.servers.into_values() {
        log.shutdown().await;
    }
    std::fs::remove_dir_all(&dir)?;
    Ok(())
}

/// Kills the leader while writers are busy on the others; how long until a new write is acknowledged.
async fn fail_over(cluster: &mut Cluster) -> Result<Duration, Failure> {
    let leader = cluster.leader().await;
    let survivors: Vec<Log> =
        cluster.servers.iter().filter(|(name, _)| **name != leader).map(|(_, s)| s.log.clone()).collect();
    let mut busy = JoinSet::new();
    for writer in 0..BACKGROUND_WRITERS {
        let log = survivors[writer % survivors.len()].clone();
        busy.spawn(async move {
            loop {
                _ = log.propose(command(writer)).await;
            }
        });
    }
    tokio::time::sleep(Duration::from_millis(200)).await;
    cluster.kill(&leader).await;
    let killed = Instant::now();
    while survivors[0].propose(command(0)).await.is_err() {}
    let gap = killed.elapsed();
    busy.shutdown().await;
    // The dead one's files are let go of in its own time.
    while cluster.open(&leader, Start::Join).await.is_err() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    cluster.log(&leader).ready().await?;
    Ok(gap)
}

/// The longest that a write takes while leadership is handed over; none may fail.
async fn hand_over(cluster: &Cluster) -> Result<Duration, Failure> {
    let leader = cluster.leader().await;
    let run = Duration::from_millis(600);
    let writing = tokio::spawn({
        let log = cluster.log(&cluster.other(&leader));
        async move { write_from(&log, BACKGROUND_WRITERS, run).await }
    });
    tokio::time::sleep(run / 3).await;
    cluster.log(&leader).transfer_leadership(None).await?;
    Ok(writing.await??.into_iter().max().unwrap_or_default())
}

async fn write_from(log: &Log, writers: usize, run: Duration) -> Result<Vec<Duration>, Failure> {
    let end = Instant::now() + run;
    let tasks: Vec<_> = (0..writers).map(|writer| tokio::spawn(writes(log.clone(), writer, end))).collect();
    let mut latencies = Vec::new();
    for task in tasks {
        latencies.extend(task.await??);
    }
    Ok(latencies)
}

async fn writes(log: Log, writer: usize, end: Instant) -> Result<Vec<Duration>, Failure> {
    let mut latencies = Vec::new();
    while Instant::now() < end {
        let command = command(writer * 31 + latencies.len());
        let started = Instant::now();
        log.propose(command).await?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

fn command(number: usize) -> Command {
    let key = Key::new("configmaps", "default", format!("object-{}", number % OBJECTS));
    let head = Head { uid: "7f1f2f6e-0000-4000-8000-000000000000".into(), ..Head::default() };
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap_or_default();
    let mutations = vec![Mutation::Put { key, head, body: vec![b'x'; BODY_BYTES] }];
    Command { mutations, time_ms: now.as_millis() as i64, ..Command::default() }
}

fn disk_limit(dir: &Path, run: Duration) -> io::Result<Vec<Duration>> {
    use std::io::Write;
    let mut file = std::fs::File::create(dir.join("limit"))?;
    let (end, mut latencies) = (Instant::now() + run, Vec::new());
    while Instant::now() < end {
        let started = Instant::now();
        file.write_all(&[b'x'; BODY_BYTES])?;
        file.sync_data()?;
        latencies.push(started.elapsed());
    }
    Ok(latencies)
}

fn heading() {
    println!("{:>14} {:>10} {:>10} {:>10} {:>10}", "", "per second", "p50 ms", "p99 ms", "max ms");
}

fn report(name: &str, mut latencies: Vec<Duration>, run: Duration) {
    latencies.sort();
    let last = latencies.len().saturating_sub(1);
    let at = |share: usize| latencies.get(last * share / 1000).map_or(0.0, |took| took.as_secs_f64() * 1e3);
    let rate = latencies.len() as f64 / run.as_secs_f64();
    println!("{name:>14} {rate:>10.0} {:>10.2} {:>10.2} {:>10.2}", at(500), at(990), at(1000));
}
