//! openraft's state machine over the store: hands committed entries over in batches, packs and installs snapshots.

use std::io;
use std::sync::Arc;

use futures::{Stream, StreamExt};
use openraft::storage::{EntryResponder, RaftStateMachine};
use openraft::{AsyncRuntime, OptionalSend, RaftSnapshotBuilder};
use tokio::sync::watch;

use super::{LogId, LogStore, Snapshot, SnapshotMeta, StoredMembership, Types, from_json, log_id, to_json, to_record};
use crate::codec::{AppliedRecord, LogPayload, LogRecord};
use crate::disk::DiskError;
use crate::limits::{APPLY_BATCH_ENTRIES, SPACE_RETRY};
use crate::snapshot::{Manifest, SnapshotDir};
use crate::store::{Checkpoint, Store};

pub struct Machine {
    store: Arc<Store>,
    log: LogStore,
    /// Tells how far the state is applied.
    applied: watch::Sender<u64>,
}

/// A checkpoint that was taken between two batches, still to be completed.
pub struct Builder {
    store: Arc<Store>,
    checkpoint: Option<Result<Checkpoint, DiskError>>,
}

impl Machine {
    pub fn new(store: Arc<Store>, log: LogStore) -> Self {
        let applied = watch::Sender::new(store.applied_record().index.unwrap_or_default());
        Machine { store, log, applied }
    }

    /// How far the state is applied.
    pub fn applied(&self) -> watch::Receiver<u64> {
        self.applied.subscribe()
    }
}

impl<C: Types> RaftStateMachine<C> for Machine {
    type SnapshotData = Arc<SnapshotDir>;
    type SnapshotBuilder = Builder;

    async fn applied_state(&mut self) -> Result<(Option<LogId>, StoredMembership), io::Error> {
        let AppliedRecord { term, index, membership, .. } = self.store.applied_record();
        Ok((index.map(|index| log_id(term, index)), decode_membership(&membership)?))
    }

    async fn apply<Strm>(&mut self, entries: Strm) -> Result<(), io::Error>
    where
        Strm: Stream<Item = Result<EntryResponder<C>, io::Error>> + Unpin + OptionalSend,
    {
        let mut chunks = entries.ready_chunks(APPLY_BATCH_ENTRIES);
        while let Some(chunk) = chunks.next().await {
            let (mut records, mut responders) = (Vec::with_capacity(chunk.len()), Vec::with_capacity(chunk.len()));
            for item in chunk {
                let (entry, responder) = item?;
                records.push(applied_form(&entry)?);
                responders.push(responder);
            }
            // Others may have made a majority without this server's disk. The state gets to the disk when it likes, and must not be
            // ahead of the log there: one that is longer than its log is how a log is known that has lost entries.
            if let Some(last) = records.last() {
                self.log.durable(last.index).await?;
            }
            let outcomes = loop {
                match self.store.apply(&records) {
                    // Nothing of it was applied. What is committed waits for room, as the log does.
                    Err(error) if error.is_full() && !self.store.is_closed() => {
                        C::AsyncRuntime::sleep(SPACE_RETRY).await
                    }
                    applied => break applied?,
                }
            };
            assert_eq!(outcomes.len(), responders.len(), "each entry has one outcome");
            if let Some(last) = records.last() {
                self.applied.send_replace(last.index);
            }
            self.log.owe(self.store.unflushed()?);
            for (responder, outcome) in responders.into_iter().zip(outcomes) {
                if let Some(responder) = responder {
                    responder.send(outcome);
                }
            }
        }
        Ok(())
    }

    /// Taken here, between two batches, so that the snapshot is of exactly what Raft knows to be applied.
    async fn get_snapshot_builder(&mut self) -> Builder {
        Builder { store: self.store.clone(), checkpoint: Some(checkpoint::<C>(self.store.clone()).await) }
    }

    /// A full disk is no reason to stop: whoever asked asks again.
    async fn try_create_snapshot_builder(&mut self, _force: bool) -> Option<Builder> {
        match checkpoint::<C>(self.store.clone()).await {
            Err(error) if error.is_full() => {
                tracing::warn!(%error, "no snapshot while the disk is full");
                None
            }
            checkpoint => Some(Builder { store: self.store.clone(), checkpoint: Some(checkpoint) }),
        }
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Arc<SnapshotDir>) -> Result<(), io::Error> {
        assert_eq!(*meta, describe(snapshot.manifest())?, "a snapshot is what it says it is");
        let index = snapshot.manifest().index;
        loop {
            let (store, snapshot) = (self.store.clone(), snapshot.clone());
            let install = C::blocking(move || {
                store.install(&snapshot)?;
                store.set_snapshot(snapshot, None);
                Ok::<_, DiskError>(())
            });
            match install.await? {
                Err(error) if error.is_full() && !self.store.is_closed() => C::AsyncRuntime::sleep(SPACE_RETRY).await,
                installed => break installed?,
            }
        }
        self.applied.send_replace(index.unwrap_or_default());
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Result<Option<Snapshot>, io::Error> {
        self.store.snapshot().map(to_snapshot).transpose()
    }
}

impl<C: Types> RaftSnapshotBuilder<C> for Builder {
    type SnapshotData = Arc<SnapshotDir>;

    async fn build_snapshot(&mut self) -> Result<Snapshot, io::Error> {
        let Checkpoint { mut draft, applied, number } = match self.checkpoint.take() {
            Some(checkpoint) => checkpoint?,
            None => checkpoint::<C>(self.store.clone()).await?,
        };
        let snapshot = loop {
            let (mut tried, applied) = (draft, applied.clone());
            let complete = C::blocking(move || (tried.complete(&applied), tried));
            let (complete, back) = complete.await?;
            draft = back;
            match complete {
                Err(error) if error.is_full() && !self.store.is_closed() => C::AsyncRuntime::sleep(SPACE_RETRY).await,
                complete => break Arc::new(complete.map_err(io::Error::other)?),
            }
        };
        self.store.set_snapshot(snapshot.clone(), Some(number));
        to_snapshot(snapshot)
    }
}

async fn checkpoint<C: Types>(store: Arc<Store>) -> Result<Checkpoint, DiskError> {
    let taken = C::blocking(move || store.checkpoint());
    taken.await.map_err(|error| DiskError::Io { step: "take a checkpoint", message: error.to_string() })?
}

/// The store keeps a membership with the entry it came from.
pub(super) fn applied_form(entry: &super::Entry) -> Result<LogRecord, DiskError> {
    let mut record = to_record(entry)?;
    if let super::Payload::Membership(membership) = &entry.payload {
        let stored = StoredMembership::new(Some(entry.log_id), membership.clone());
        record.payload = LogPayload::Membership(to_json(&stored)?);
    }
    Ok(record)
}

pub(super) fn decode_membership(json: &[u8]) -> Result<StoredMembership, DiskError> {
    if json.is_empty() { Ok(StoredMembership::default()) } else { from_json(json) }
}

pub(super) fn describe(manifest: &Manifest) -> Result<SnapshotMeta, DiskError> {
    Ok(SnapshotMeta {
        last_log_id: manifest.index.map(|index| log_id(manifest.term, index)),
        last_membership: decode_membership(&manifest.membership)?,
    })
}

fn to_snapshot(snapshot: Arc<SnapshotDir>) -> io::Result<Snapshot> {
    Ok(Snapshot { meta: describe(snapshot.manifest())?, snapshot })
}
