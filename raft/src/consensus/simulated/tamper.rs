//! Planted bugs, around the real storage and never in it.

use std::fmt::Debug;
use std::io;
use std::ops::RangeBounds;
use std::sync::Arc;

use futures::{Stream, StreamExt, stream};
use openraft::storage::{EntryResponder, IOFlushed, RaftLogStorage, RaftStateMachine};
use openraft::{LogState, OptionalSend, RaftLogReader};

use super::{Runtime, Simulated};
use crate::consensus::log_store::COMMITTED;
use crate::consensus::machine::{Builder, Machine};
use crate::consensus::{Entry, LogId, LogStore, Payload, Snapshot, SnapshotMeta, StoredMembership, Vote, log_id};
use crate::limits::APPLY_BATCH_ENTRIES;
use crate::snapshot::SnapshotDir;

/// What a planted bug does to a server's storage and state. The default is a server without bugs.
pub trait Tamper: Send + Sync + 'static {
    /// Whether a vote reaches the disk.
    fn keeps_vote(&self) -> bool {
        true
    }

    /// How often an entry is applied.
    fn times_applied(&self, _index: u64) -> usize {
        1
    }

    /// Whether a leader that starts again goes on leading in its old term.
    fn restores_leader(&self) -> bool {
        false
    }

    /// Where the server, starting, believes that its state ends: so many entries before where it does.
    fn forgets_applied(&self) -> u64 {
        0
    }
}

/// The log, with what [`Tamper`] does to it.
#[derive(Clone)]
pub struct TamperedLog {
    pub log: LogStore,
    pub tamper: Arc<dyn Tamper>,
}

impl<R: Runtime> RaftLogReader<Simulated<R>> for TamperedLog {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, io::Error> {
        RaftLogReader::<Simulated<R>>::try_get_log_entries(&mut self.log, range).await
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, io::Error> {
        RaftLogReader::<Simulated<R>>::limited_get_log_entries(&mut self.log, start, end).await
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, io::Error> {
        RaftLogReader::<Simulated<R>>::read_vote(&mut self.log).await
    }
}

impl<R: Runtime> RaftLogStorage<Simulated<R>> for TamperedLog {
    type LogReader = Self;

    async fn get_log_state(&mut self) -> Result<LogState<Simulated<R>>, io::Error> {
        self.log.get_log_state().await
    }

    async fn get_log_reader(&mut self) -> Self {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), io::Error> {
        if !self.tamper.keeps_vote() {
            return Ok(());
        }
        RaftLogStorage::<Simulated<R>>::save_vote(&mut self.log, vote).await
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), io::Error> {
        RaftLogStorage::<Simulated<R>>::save_committed(&mut self.log, committed).await
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, io::Error> {
        RaftLogStorage::<Simulated<R>>::read_committed(&mut self.log).await
    }

    async fn append<I>(&mut self, entries: I, callback: IOFlushed<Simulated<R>>) -> Result<(), io::Error>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        self.log.append(entries, callback).await
    }

    async fn truncate_after(&mut self, last: Option<LogId>) -> Result<(), io::Error> {
        RaftLogStorage::<Simulated<R>>::truncate_after(&mut self.log, last).await
    }

    async fn purge(&mut self, id: LogId) -> Result<(), io::Error> {
        RaftLogStorage::<Simulated<R>>::purge(&mut self.log, id).await
    }
}

/// The state machine, with what [`Tamper`] does to it.
pub struct TamperedMachine {
    pub machine: Machine,
    pub log: LogStore,
    pub tamper: Arc<dyn Tamper>,
}

impl<R: Runtime> RaftStateMachine<Simulated<R>> for TamperedMachine {
    type SnapshotData = Arc<SnapshotDir>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let (last, membership) = RaftStateMachine::<Simulated<R>>::applied_state(&mut self.machine).await?;
        // Raft applies again what it knows to be committed, and notices at once where it does not.
        let forgotten = if self.log.mark(COMMITTED)? >= last { self.tamper.forgets_applied() } else { 0 };
        let earlier = |id: LogId| log_id(id.committed_leader_id().term, id.index.saturating_sub(forgotten).max(1));
        Ok((last.map(earlier), membership))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<Simulated<R>>, io::Error>> + Unpin + OptionalSend,
    {
        let tamper = self.tamper.clone();
        let mut chunks = entries.ready_chunks(APPLY_BATCH_ENTRIES);
        while let Some(chunk) = chunks.next().await {
            let tampered: Vec<_> = chunk.into_iter().flat_map(|item| tampered(&*tamper, item)).collect();
            self.machine.apply(stream::iter(tampered)).await?;
        }
        Ok(())
    }

    async fn get_snapshot_builder(&mut self) -> Builder {
        RaftStateMachine::<Simulated<R>>::get_snapshot_builder(&mut self.machine).await
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Arc<SnapshotDir>) -> Result<(), io::Error> {
        RaftStateMachine::<Simulated<R>>::install_snapshot(&mut self.machine, meta, snapshot).await
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        RaftStateMachine::<Simulated<R>>::get_current_snapshot(&mut self.machine).await
    }
}

type Applied<R> = Result<EntryResponder<Simulated<R>>, io::Error>;

/// Only commands are tampered with: leave an election or a membership out, and Raft itself notices.
fn tampered<R: Runtime>(tamper: &dyn Tamper, item: Applied<R>) -> Vec<Applied<R>> {
    let Ok((entry, responder)) = item else { return vec![item] };
    let Payload::Normal(_) = &entry.payload else { return vec![Ok((entry, responder))] };
    match tamper.times_applied(entry.log_id.index) {
        0 => vec![Ok((Entry { payload: Payload::Blank, ..entry }, responder))],
        times => {
            let again = (1..times).map(|_| Ok((entry.clone(), None))).collect::<Vec<_>>();
            std::iter::once(Ok((entry.clone(), responder))).chain(again).collect()
        }
    }
}
