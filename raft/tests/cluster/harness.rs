//! A cluster whose servers come and go, and a net between them that can be cut.

use std::collections::{HashMap, HashSet};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use futures::future::BoxFuture;
use kontiki_model::{Head, Key, Scope};
use kontiki_raft::{
    Command, Dial, DiskError, Log, LogConfig, Member, Mutation, OpenError, PeerStream, ProposeError, Role, Start,
    Stored, WatchItem,
};
use tempfile::TempDir;
use tokio::io::{DuplexStream, duplex};
use tokio_util::sync::CancellationToken;

/// No test waits longer for anything.
pub const PATIENCE: Duration = Duration::from_secs(60);
const PIPE_BYTES: usize = 256 * 1024;

/// Who can reach whom, by address.
#[derive(Clone, Default)]
pub struct Net(Arc<Mutex<State>>);

#[derive(Default)]
struct State {
    listening: HashMap<String, Log>,
    /// Pairs that hear nothing of each other.
    cut: HashSet<(String, String)>,
    /// Whose new connections are refused.
    barred: HashSet<String>,
    /// Each connection, by its ends; cancelling it stops the bytes without closing it.
    pipes: Vec<(String, String, CancellationToken)>,
}

struct Dialer {
    net: Net,
    from: String,
}

impl Dial for Dialer {
    fn dial(&self, member: &Member) -> BoxFuture<'static, io::Result<Box<dyn PeerStream>>> {
        let dialed = self.net.dial(&self.from, &member.address);
        Box::pin(async move {
            match dialed {
                Ok(stream) => Ok(Box::new(stream) as Box<dyn PeerStream>),
                // Nobody answers, not even to refuse.
                Err(error) if error.kind() == io::ErrorKind::TimedOut => std::future::pending().await,
                Err(error) => Err(error),
            }
        })
    }
}

impl Net {
    pub fn dialer(&self, from: &str) -> Arc<dyn Dial> {
        Arc::new(Dialer { net: self.clone(), from: from.into() })
    }

    pub fn listen(&self, address: &str, log: &Log) {
        self.0.lock().unwrap().listening.insert(address.into(), log.clone());
    }

    /// As when a process is killed: connections end, new ones are refused.
    pub fn kill(&self, address: &str) {
        let mut state = self.0.lock().unwrap();
        state.listening.remove(address);
        state.pipes.retain(|(from, to, _)| from != address && to != address);
    }

    /// New connections of a server are refused; those that are open stay.
    pub fn bar(&self, address: &str) {
        self.0.lock().unwrap().barred.insert(address.into());
    }

    /// Bytes between a server and all others get lost from now on.
    pub fn isolate(&self, address: &str) {
        let mut state = self.0.lock().unwrap();
        let others: Vec<String> = state.listening.keys().filter(|other| *other != address).cloned().collect();
        for other in others {
            state.cut.insert((address.into(), other.clone()));
            state.cut.insert((other, address.into()));
        }
        let between = state.pipes.iter().filter(|(from, to, _)| from == address || to == address);
        between.for_each(|(_, _, cut)| cut.cancel());
    }

    pub fn heal(&self) {
        self.0.lock().unwrap().cut.clear();
    }

    fn dial(&self, from: &str, to: &str) -> io::Result<DuplexStream> {
        let mut state = self.0.lock().unwrap();
        if state.cut.contains(&(from.into(), to.into())) {
            return Err(io::ErrorKind::TimedOut.into());
        }
        if state.barred.contains(from) {
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        let log = state.listening.get(to).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
        let (near, mut near_end) = duplex(PIPE_BYTES);
        let (mut far_end, far) = duplex(PIPE_BYTES);
        let cut = CancellationToken::new();
        state.pipes.push((from.into(), to.into(), cut.clone()));
        let net = self.clone();
        let key = (from.to_owned(), to.to_owned());
        tokio::spawn(async move {
            let copy = tokio::io::copy_bidirectional(&mut near_end, &mut far_end);
            let killed = net.killed(key);
            tokio::select! {
                _ = copy => (),
                () = killed => (),
                // Held open, and silent, until both ends have given up.
                () = cut.cancelled() => tokio::time::sleep(PATIENCE).await,
            }
        });
        tokio::spawn(async move { log.accept_peer(Box::new(far), None).await });
        Ok(near)
    }

    /// Returns when one of the ends was killed.
    async fn killed(&self, (from, to): (String, String)) {
        loop {
            tokio::time::sleep(Duration::from_millis(2)).await;
            let state = self.0.lock().unwrap();
            if !state.pipes.iter().any(|(one, other, _)| (one, other) == (&from, &to)) {
                return;
            }
        }
    }
}

/// Servers `a`, `b`, `c`, ... each in a directory of its own.
pub struct Cluster {
    pub net: Net,
    dir: TempDir,
    pub logs: HashMap<String, Log>,
    pub snapshot_entries: u64,
}

impl Cluster {
    pub async fn start(names: &[&str]) -> Cluster {
        Self::start_with(names, 50_000).await
    }

    pub async fn start_with(names: &[&str], snapshot_entries: u64) -> Cluster {
        let (net, dir) = (Net::default(), tempfile::tempdir().unwrap());
        let mut cluster = Cluster { net, dir, logs: HashMap::new(), snapshot_entries };
        cluster.open(names[0], Start::Alone).await;
        for name in &names[1..] {
            cluster.open(name, Start::Join).await;
            cluster.add(names[0], name).await;
        }
        cluster
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub async fn open(&mut self, name: &str, start: Start) -> Log {
        let log = open_log(&self.net, &self.path(name), name, start, self.snapshot_entries).await;
        self.logs.insert(name.into(), log.clone());
        log
    }

    pub async fn add(&self, asked: &str, name: &str) {
        self.log(asked).add_member(self.log(name).node_id(), member(name)).await.unwrap();
    }

    pub fn log(&self, name: &str) -> &Log {
        &self.logs[name]
    }

    /// As `kill -9` does it, but for the writes that the kernel has.
    pub async fn kill(&mut self, name: &str) {
        self.net.kill(name);
        self.logs.remove(name).unwrap().abort().await;
    }

    pub async fn stop(&mut self, name: &str) {
        let log = self.logs.remove(name).unwrap();
        log.shutdown().await;
        self.net.kill(name);
    }

    /// The name of the server that leads, and is known to the others that live.
    pub async fn leader(&self) -> String {
        until("one leader", || {
            let leading = self.logs.iter().filter(|(_, log)| log.status().role == Role::Leader);
            let leader = leading.max_by_key(|(_, log)| log.status().term)?;
            let known = self.logs.values().all(|log| log.status().leader == Some(leader.1.node_id()));
            known.then(|| leader.0.clone())
        })
        .await
    }

    /// The leader of the rest, when one server is dead or cut off.
    pub async fn leader_of_others(&self, without: &str) -> String {
        until("a leader of the others", || {
            let others = self.logs.iter().filter(|(name, _)| *name != without);
            let leader = others.clone().find(|(_, log)| log.status().role == Role::Leader)?;
            others.clone().all(|(_, log)| log.status().leader == Some(leader.1.node_id())).then(|| leader.0.clone())
        })
        .await
    }

    pub async fn follower(&self) -> String {
        let leader = self.leader().await;
        self.logs.keys().find(|name| **name != leader).unwrap().clone()
    }

    /// Waits until all servers show the same, and returns it.
    pub async fn converged(&self) -> Vec<String> {
        until("the same state everywhere", || {
            let mut states = self.logs.values().map(state);
            let first = states.next()?;
            states.all(|state| state == first).then_some(first)
        })
        .await
    }
}

pub async fn open_log(net: &Net, path: &Path, name: &str, start: Start, snapshot_entries: u64) -> Log {
    let config = LogConfig {
        member: member(name),
        start,
        dial: Some(net.dialer(name)),
        snapshot_entries,
        log_keep_entries: snapshot_entries,
        ..LogConfig::new(path)
    };
    // The server that had this directory before may still be letting go of it.
    let opening = async {
        loop {
            match Log::open(config.clone()).await {
                Err(OpenError::Disk(DiskError::Locked { .. })) => tokio::time::sleep(Duration::from_millis(5)).await,
                opened => return opened.unwrap(),
            }
        }
    };
    let log = tokio::time::timeout(PATIENCE, opening).await.expect("the directory is let go of");
    net.listen(name, &log);
    log
}

pub fn member(name: &str) -> Member {
    Member { name: name.into(), address: name.into() }
}

/// Waits for a condition, bounded.
pub async fn until<T>(what: &str, mut found: impl FnMut() -> Option<T>) -> T {
    let waited = tokio::time::timeout(PATIENCE, async {
        loop {
            if let Some(found) = found() {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    });
    waited.await.unwrap_or_else(|_| panic!("waited in vain for {what}"))
}

pub fn key(name: &str) -> Key {
    Key::new("configmaps", "default", name)
}

pub fn configmaps() -> Scope {
    Scope { resource: "configmaps".into(), namespace: None }
}

pub fn put(name: &str, body: &str) -> Command {
    let head = Head { uid: name.into(), ..Head::default() };
    let mutations = vec![Mutation::Put { key: key(name), head, body: body.into() }];
    // History is kept by age.
    let now = std::time::SystemTime::UNIX_EPOCH.elapsed().unwrap();
    Command { mutations, time_ms: now.as_millis() as i64, ..Command::default() }
}

pub fn body(log: &Log, name: &str) -> Option<String> {
    log.get(&key(name)).unwrap().map(|stored| String::from_utf8(stored.body.to_vec()).unwrap())
}

pub fn state(log: &Log) -> Vec<String> {
    let show =
        |stored: &Stored| format!("{}@{}={}", stored.key.name, stored.revision, String::from_utf8_lossy(&stored.body));
    log.list(&configmaps(), kontiki_raft::ListOptions::default()).unwrap().items.iter().map(show).collect()
}

/// Writes numbered objects one after the other until told to stop; the names of those that were acknowledged.
pub async fn write_until(log: Log, prefix: String, stop: CancellationToken) -> (Vec<String>, Vec<ProposeError>) {
    let (mut acknowledged, mut failed) = (Vec::new(), Vec::new());
    for number in 0.. {
        if stop.is_cancelled() {
            break;
        }
        let name = format!("{prefix}-{number:05}");
        match log.propose(put(&name, "x")).await {
            Ok(_) => acknowledged.push(name),
            // Its server was killed.
            Err(_) if log.status().role == Role::Shutdown => break,
            Err(error) => failed.push(error),
        }
    }
    (acknowledged, failed)
}

/// The revisions of the next events of a watch.
pub async fn next_revisions(watch: &mut kontiki_raft::Watch, count: usize) -> Vec<u64> {
    let mut revisions = Vec::with_capacity(count);
    let delivered = tokio::time::timeout(PATIENCE, async {
        while revisions.len() < count {
            if let WatchItem::Event(event) = watch.next().await.unwrap() {
                revisions.push(event.revision());
            }
        }
    });
    delivered.await.expect("events come");
    revisions
}
