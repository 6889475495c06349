//! The door: one handle to the log, its state, its past and its stream.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use kontiki_model::{Head, Key, Revision, Scope};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::JoinHandle;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::codec::{self, LogPayload, LogRecord};
use crate::config::{LogConfig, open_storage};
use crate::consensus::{ClusterChange, MemberStatus, Node, NodeError, NodeOptions, Proof};
use crate::housekeeping::{flush, keep_house, prune, take_snapshot, tend_space};
use crate::limits::{BARRIER_QUEUE, ENTRY_BYTES_MAX, LEADER_RETRY};
use crate::shred::shred;
use crate::snapshot::SnapshotDir;
use crate::status::{Leadership, Status};
use crate::store::{ListOptions, Outcome, Page, Store, StoreFigures};
use crate::transport::{Member, PeerStream};
use crate::watch::Recent;
use crate::{Command, Event, OpenError, ProposeError, ReadError, SealCensus, Stored, Subject, Watch};

/// A committed command: the index of its entry, and its events, in revision order.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    pub index: u64,
    pub events: Vec<Arc<Event>>,
}

/// A handle to the log; clones share it. Reads block on the disk only for bodies, and never wait for a write.
#[derive(Clone)]
pub struct Log {
    inner: Arc<Inner>,
}

struct Inner {
    node: Node,
    store: Arc<Store>,
    barriers: mpsc::Sender<oneshot::Sender<Result<(), NodeError>>>,
    leadership: watch::Receiver<Leadership>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
    cancel: CancellationToken,
    /// Ends the tasks when the last handle goes.
    _cancel_on_drop: DropGuard,
}

impl Log {
    /// Opens the log. The only voter of a cluster can serve when this returns; other servers have only begun to take part, and
    /// can serve when [`Log::ready`] returns.
    pub async fn open(config: LogConfig) -> Result<Log, OpenError> {
        let storage = config.clone();
        let opened = tokio::task::spawn_blocking(move || open_storage(&storage));
        let (me, log, store) = opened.await.map_err(|error| OpenError::Raft(error.to_string()))??;
        let LogConfig { member, start, dial, snapshot_entries, log_keep_entries: keep_entries, clock_slack, .. } =
            config;
        if let Some(dial) = &dial {
            dial.introduce(me.node);
        }
        let node = Node::start(
            me,
            member.clone(),
            NodeOptions { start, keep_entries, clock_slack },
            dial,
            (log, store.clone()),
        )
        .await?;
        let cancel = CancellationToken::new();
        let (barriers, waiting) = mpsc::channel(BARRIER_QUEUE);
        let (leadership_now, leadership) = watch::channel(node.leadership());
        let tasks = vec![
            spawn(&cancel, answer_barriers(node.clone(), waiting)),
            spawn(&cancel, tend_space(node.clone())),
            spawn(&cancel, node.clone().note_committed()),
            spawn(&cancel, keep_house(node.clone(), store.clone(), snapshot_entries)),
            spawn(&cancel, node.clone().follow_leadership(leadership_now)),
            spawn(&cancel, node.clone().follow_members()),
            spawn(&cancel, node.clone().watch_leader()),
            spawn(&cancel, node.clone().note_leaders()),
            spawn(&cancel, node.clone().regain()),
            spawn(&cancel, node.clone().ask_for_room()),
            spawn(&cancel, node.clone().announce(member)),
        ];
        let tasks = Mutex::new(tasks);
        let _cancel_on_drop = cancel.clone().drop_guard();
        Ok(Log { inner: Arc::new(Inner { node, store, barriers, leadership, tasks, cancel, _cancel_on_drop }) })
    }

    /// From now on this server is about to end: nobody hands leadership to it, and once it can reach no majority any more it does
    /// not wait for one.
    pub fn leave(&self) {
        self.inner.node.leave();
    }

    /// Returns when another server has said that this one is no member any more. Whoever asks it knows.
    pub async fn let_go(&self) {
        self.inner.node.let_go.notified().await;
    }

    /// Ends the log in order. A leader hands over first, and what is in flight is answered; then watches close and the state is
    /// flushed. Files stay open until the last handle and watch are dropped.
    pub async fn shutdown(&self) {
        Box::pin(self.inner.node.hand_over()).await;
        self.inner.store.close();
        self.inner.cancel.cancel();
        self.inner.node.left().await;
        let tasks = std::mem::take(&mut *self.inner.tasks.lock().unwrap_or_else(PoisonError::into_inner));
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "a task of the log ended badly");
            }
        }
        self.inner.node.shutdown().await;
        if let Err(error) = flush(&self.inner.node, &self.inner.store).await {
            tracing::warn!(%error, "the state was not flushed; the next start applies the log again");
        }
    }

    /// Ends the log as a crash would, as far as the others can tell: nothing is handed over, nothing more is answered.
    pub async fn abort(&self) {
        self.inner.store.close();
        self.inner.cancel.cancel();
        self.inner.node.shutdown().await;
    }

    /// This server's number in the cluster: chosen when its directory was created, and kept by it.
    pub fn node_id(&self) -> u64 {
        self.inner.node.id()
    }

    /// The number of the cluster, which a restored or recovered one does not share; zero until this server is let in.
    pub fn cluster(&self) -> u64 {
        self.inner.node.cluster()
    }

    /// Returns once a leader is known and this server has all that was acknowledged before.
    pub async fn ready(&self) -> Result<(), ReadError> {
        loop {
            match self.barrier().await {
                Ok(_) => return Ok(()),
                Err(ReadError::Closed) => return Err(ReadError::Closed),
                Err(error) => tracing::debug!(%error, "not ready"),
            }
            // Some fail at once: on a server whose disk did, or that is about to end.
            tokio::time::sleep(LEADER_RETRY).await;
        }
    }

    /// Serves one connection that another server made, until it ends, what it has proven does, or the log is shut down.
    pub async fn accept_peer(&self, stream: Box<dyn PeerStream>, proven: Option<Proof>) {
        Box::pin(self.inner.node.accept(stream, proven, &self.inner.cancel)).await;
    }

    /// Tells that a connection was refused before it came here; the same is told once in a while.
    pub fn refuse_peer(&self, why: &str) {
        self.inner.node.refuse(why);
    }

    /// The cluster as this server knows it.
    pub fn members(&self) -> Vec<MemberStatus> {
        self.inner.node.status().members
    }

    /// Adds a server that was opened with [`Start::Join`], on any server: returns when it has caught up and is a voter. A member
    /// that has moved is added again with its new address.
    pub async fn add_member(&self, id: u64, member: Member) -> Result<(), ProposeError> {
        Ok(Box::pin(self.inner.node.change(ClusterChange::add(id, member))).await?)
    }

    /// Removes a server, on any server. A leader that is to be removed hands over first.
    pub async fn remove_member(&self, id: u64) -> Result<(), ProposeError> {
        Ok(Box::pin(self.inner.node.change(ClusterChange::Remove { id })).await?)
    }

    /// Makes another voter the leader: this one, or the one that is best prepared.
    pub async fn transfer_leadership(&self, to: Option<u64>) -> Result<(), ProposeError> {
        Ok(Box::pin(self.inner.node.change(ClusterChange::Transfer { to })).await?)
    }

    /// Commits and applies a command. Once it returns, every read of this server shows it.
    ///
    /// Dropping the future does not take the command back: it may still be committed. Bodies in the answer that another key
    /// sealed and that cannot be opened are told as they are stored.
    pub async fn propose(&self, mut command: Command) -> Result<Applied, ProposeError> {
        command.validate()?;
        self.inner.store.door().seal(&mut command).map_err(ProposeError::Seal)?;
        let command = Arc::new(command);
        check_size(&command)?;
        // Boxed: callers' futures stay small, and the compiler's work with them.
        let (index, outcome) = Box::pin(self.inner.node.write(command)).await?;
        match outcome {
            Outcome::Applied { first, count } => {
                let events = self.inner.store.events_run(first, count as usize);
                let events = events.map_err(|error| ProposeError::Storage(error.to_string()))?;
                Ok(Applied { index, events })
            }
            Outcome::Rejected(rejection) => Err(rejection.into()),
            Outcome::Internal => unreachable!("a command has a command's outcome"),
        }
    }

    /// Waits until the local state holds everything that was acknowledged, anywhere, before the call; concurrent calls share
    /// one round. Returns a revision that may now be read.
    pub async fn barrier(&self) -> Result<Revision, ReadError> {
        let (done, answer) = oneshot::channel();
        self.inner.barriers.send(done).await.map_err(|_| ReadError::Closed)?;
        answer.await.map_err(|_| ReadError::Closed)??;
        Ok(self.revision())
    }

    /// The revision of the applied state.
    pub fn revision(&self) -> Revision {
        self.inner.store.revision()
    }

    /// The oldest revision from which a watch can resume. Resources of the short class may begin later:
    /// see [`Log::floor_of`].
    pub fn floor(&self) -> Revision {
        self.inner.store.floor()
    }

    /// The oldest revision from which a resource's past can be told: [`Log::floor`], or later if the short class was dropped.
    pub fn floor_of(&self, resource: &str) -> Revision {
        self.inner.store.floor_of(resource)
    }

    pub fn get(&self, key: &Key) -> Result<Option<Stored>, ReadError> {
        self.inner.store.get(key)
    }

    /// What the index knows of a live object, from memory.
    pub fn head(&self, key: &Key) -> Option<(Revision, Arc<Head>)> {
        self.inner.store.head(key)
    }

    /// The object as it was at a revision, while that is retained.
    pub fn get_at(&self, key: &Key, revision: Revision) -> Result<Option<Stored>, ReadError> {
        self.inner.store.get_at(key, revision)
    }

    /// The objects of a scope at one revision, in key order.
    pub fn list(&self, scope: &Scope, options: ListOptions<'_>) -> Result<Page, ReadError> {
        self.inner.store.list(scope, options)
    }

    /// Which version of each object of a scope there was at a revision, in key order: what tells two states apart without their bodies.
    pub fn versions(&self, scope: &Scope, at: Revision) -> Result<Vec<(Key, Revision)>, ReadError> {
        self.inner.store.versions(scope, at)
    }

    /// What a scope has, in key order and without bodies; from memory.
    pub fn heads(&self, scope: &Scope) -> Vec<(Key, Revision, Arc<Head>)> {
        self.inner.store.heads(scope)
    }

    /// How many objects a scope has, counted up to a bound; from memory.
    pub fn count(&self, scope: &Scope, most: usize) -> usize {
        self.inner.store.count(scope, most)
    }

    /// The events of a scope, or of all there is, after a revision: those that are past, then those to come.
    pub fn watch(&self, subject: impl Into<Subject>, from: Revision) -> Result<Watch, ReadError> {
        self.inner.store.watch(subject.into(), from)
    }

    /// The next events of a subject after a revision, as many as a watch would fetch at once, and the revision up to which they
    /// are all of them: for who keeps a view up to date at the moment it is asked. From memory, without waiting; `None` where
    /// memory does not reach back that far.
    pub fn recent(&self, subject: &Subject, after: Revision) -> Option<(Vec<Arc<Event>>, Revision)> {
        match self.inner.store.hub().after(subject, after) {
            Recent::Events(events, seen) => {
                let door = self.inner.store.door();
                let opened: Result<_, _> = events.into_iter().map(|event| door.open_event(event)).collect();
                // Whoever cannot be told what happened looks at what is, and is told why not.
                Some((opened.ok()?, seen))
            }
            Recent::Evicted => None,
        }
    }

    /// Whether a live object is stored as it would be today; if not, writing it again has a point although it changes nothing.
    pub fn is_sealed_as_today(&self, key: &Key, revision: Revision) -> Result<bool, ReadError> {
        self.inner.store.is_sealed_as_today(key, revision)
    }

    /// How the live objects are stored that are sealed, or sensitive. Reads them all.
    pub async fn seal_census(&self) -> Result<SealCensus, ReadError> {
        let store = self.inner.store.clone();
        tokio::task::spawn_blocking(move || store.seal_census()).await.map_err(|_| ReadError::Closed)?
    }

    /// The event of a revision, while it is retained: what changed, who asked, and why.
    pub fn event(&self, revision: Revision) -> Result<Arc<Event>, ReadError> {
        self.inner.store.event(revision)
    }

    /// The last revision at or before a time in milliseconds since the epoch; `Compacted` if history begins later, `Future` if
    /// the time has not come, `ClockAhead` if the log's time got ahead of the clock before it. A write that is under way may
    /// still get an earlier time than the one asked for: who must not miss it asks for a moment that is past.
    pub fn revision_at(&self, time_ms: i64) -> Result<Revision, ReadError> {
        self.inner.store.revision_at(time_ms, now_ms())
    }

    /// When a revision came to be, in milliseconds since the epoch; of one whose event is not retained, when the one before it did.
    pub fn time_of(&self, revision: Revision) -> Result<i64, ReadError> {
        self.inner.store.time_of(revision)
    }

    /// Waits until a revision is applied here; `Future` if it is not within the timeout.
    pub async fn wait_for(&self, revision: Revision, timeout: Duration) -> Result<(), ReadError> {
        self.inner.store.wait_for(revision, timeout).await
    }

    /// What is retained of a key's events before a revision (or all), newest first.
    pub fn history(&self, key: &Key, before: Option<Revision>, limit: usize) -> Result<Vec<Arc<Event>>, ReadError> {
        self.inner.store.key_history(key, before, limit)
    }

    pub fn leadership(&self) -> watch::Receiver<Leadership> {
        self.inner.leadership.clone()
    }

    pub fn status(&self) -> Status {
        let StoreFigures { revision, floor, objects, history_bytes } = self.inner.store.figures();
        Status { revision, floor, objects, history_bytes, ..self.inner.node.status() }
    }

    /// Takes a snapshot soon, after which the log is purged. It happens by itself; tests and backups ask for it.
    pub async fn snapshot(&self) -> Result<(), ReadError> {
        take_snapshot(&self.inner.node, &self.inner.store).await
    }

    /// The newest complete snapshot: what a follower or a backup is sent.
    pub fn newest_snapshot(&self) -> Option<Arc<SnapshotDir>> {
        self.inner.store.snapshot()
    }

    /// Drops history beyond its limits as of a time, all of it. It happens by itself; tests ask for it.
    pub async fn compact_history(&self, now_ms: i64) -> Result<(), ReadError> {
        while prune(&self.inner.store, now_ms).await? {}
        Ok(())
    }

    /// Removes what sensitive history has dropped from every file. It happens by itself; tests ask for it.
    pub async fn shred(&self) -> Result<(), ReadError> {
        while !shred(&self.inner.node, &self.inner.store).await? {}
        Ok(())
    }
}

impl Log {
    pub(crate) fn store(&self) -> &Arc<Store> {
        &self.inner.store
    }
}

fn check_size(command: &Arc<Command>) -> Result<(), ProposeError> {
    let payload = LogPayload::Command(command.clone());
    let bytes = codec::encoded_bytes(&LogRecord { term: u64::MAX, index: u64::MAX, payload });
    if bytes > ENTRY_BYTES_MAX { Err(ProposeError::TooLarge { bytes, max: ENTRY_BYTES_MAX }) } else { Ok(()) }
}

fn spawn(cancel: &CancellationToken, task: impl Future<Output = ()> + Send + 'static) -> JoinHandle<()> {
    let cancel = cancel.clone();
    tokio::spawn(async move {
        cancel.run_until_cancelled_owned(task).await;
    })
}

/// One read index for everybody who asked before it began.
async fn answer_barriers(node: Node, mut waiting: mpsc::Receiver<oneshot::Sender<Result<(), NodeError>>>) {
    let mut batch = Vec::new();
    while waiting.recv_many(&mut batch, BARRIER_QUEUE).await > 0 {
        let answer = node.read_index(node.leader_wait()).await;
        for reader in batch.drain(..) {
            // A reader that has gone away needs no answer.
            _ = reader.send(answer.clone());
        }
    }
}

/// The clock decides what this server forgets and how far ahead a command's time may be, never what is applied.
pub(crate) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
