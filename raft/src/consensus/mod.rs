//! Raft, by openraft; the only module that knows its types.
//! Refuses to know what a command means: entries go to the log's database, committed ones to the store.
mod accept;
mod failover;
mod forward;
mod in_order;
mod leaving;
mod log_store;
mod lost;
mod machine;
mod majority;
mod membership;
mod network;
mod node;
mod offline;
mod room;
mod service;
pub mod simulated;
#[cfg(test)]
mod suite;
#[cfg(test)]
mod tests;
mod together;
mod wire;

pub use accept::Proof;
pub use log_store::LogStore;
pub use membership::MemberStatus;
pub use node::{Node, NodeError, NodeOptions, Start};
pub use offline::{Beginning, Place, StoppedLog, begin_log, members, sole_member};
pub use together::{check_log_reaches, drop_overtaken};
pub use wire::ClusterChange;

/// openraft's interface to a runtime, for whoever brings one.
pub mod runtime {
    pub use openraft::async_runtime::Mutex;
    pub use openraft::{AsyncRuntime, Instant, OptionalSend};
}

use std::fmt;
use std::future::Future;
use std::io;
use std::sync::Arc;

use openraft::RaftTypeConfig;
use openraft::impls::leader_id_std::LeaderId;
use openraft::type_config::alias::{
    CommittedLeaderIdOf, EntryOf, LogIdOf, SnapshotMetaOf, SnapshotOf, StoredMembershipOf, VoteOf,
};
use serde::{Deserialize, Deserializer, Serialize, Serializer, de};

use crate::codec::{self, LogPayload, LogRecord, Tag};
use crate::snapshot::SnapshotDir;
use crate::store::Outcome;
use crate::transport::Member;
use crate::{Command, DiskError, Mutation};

openraft::declare_raft_types!(
    /// One leader per term (`leader_id_std`), so that a term alone fences a deposed leader's writers.
    pub TypeConfig:
        D = Proposal,
        R = Outcome,
        NodeId = u64,
        Node = Member,
        LeaderId = LeaderId<u64, u64>,
);

/// What storage asks of a configuration, whatever it runs on: tokio, or a simulation with a clock and a disk of its own.
pub trait Types:
    RaftTypeConfig<
        D = Proposal,
        R = Outcome,
        NodeId = u64,
        Node = Member,
        Term = u64,
        LeaderId = LeaderId<u64, u64>,
        Vote = Vote,
        Payload = Payload,
        Entry = Entry,
    >
{
    /// Runs work that blocks on the disk where it holds up nothing else.
    fn blocking<T: Send + 'static>(
        work: impl FnOnce() -> T + Send + 'static,
    ) -> impl Future<Output = io::Result<T>> + Send;
}

impl Types for TypeConfig {
    async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
        tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
    }
}

pub type CommittedLeaderId = CommittedLeaderIdOf<TypeConfig>;
pub type Entry = EntryOf<TypeConfig>;
pub type LogId = LogIdOf<TypeConfig>;
pub type Payload = openraft::EntryPayload<Proposal, u64, Member>;
pub type Snapshot = SnapshotOf<TypeConfig, Arc<SnapshotDir>>;
pub type SnapshotMeta = SnapshotMetaOf<TypeConfig>;
pub type StoredMembership = StoredMembershipOf<TypeConfig>;
pub type Vote = VoteOf<TypeConfig>;

/// A command on its way through Raft: shared, never copied.
#[derive(Clone, Debug)]
pub struct Proposal(pub Arc<Command>);

impl fmt::Display for Proposal {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "command of {} mutations", self.0.mutations.len())
    }
}

/// On the wire a command is its frame, as on disk.
impl Serialize for Proposal {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let payload = LogPayload::Command(self.0.clone());
        serializer.serialize_bytes(&codec::encode(Tag::LogEntry, &LogRecord { term: 0, index: 0, payload }))
    }
}

impl<'de> Deserialize<'de> for Proposal {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let frame = <Vec<u8>>::deserialize(deserializer)?;
        match codec::decode::<LogRecord>(Tag::LogEntry, &frame).map_err(de::Error::custom)?.payload {
            LogPayload::Command(command) => Ok(Proposal(command)),
            LogPayload::Blank | LogPayload::Membership(_) => Err(de::Error::custom("not a command")),
        }
    }
}

pub fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId { term }, index)
}

fn encode_entry(entry: &Entry) -> Result<Vec<u8>, DiskError> {
    Ok(codec::encode(Tag::LogEntry, &to_record(entry)?))
}

fn to_record(entry: &Entry) -> Result<LogRecord, DiskError> {
    let payload = match &entry.payload {
        Payload::Blank => LogPayload::Blank,
        Payload::Normal(Proposal(command)) => LogPayload::Command(command.clone()),
        Payload::Membership(membership) => LogPayload::Membership(to_json(membership)?),
    };
    Ok(LogRecord { term: entry.log_id.committed_leader_id().term, index: entry.log_id.index, payload })
}

fn decode_entry(frame: &[u8]) -> Result<Entry, DiskError> {
    from_record(codec::decode(Tag::LogEntry, frame).map_err(DiskError::record("a log entry"))?)
}

fn from_record(LogRecord { term, index, payload }: LogRecord) -> Result<Entry, DiskError> {
    let payload = match payload {
        LogPayload::Blank => Payload::Blank,
        LogPayload::Command(command) => Payload::Normal(Proposal(command)),
        LogPayload::Membership(json) => Payload::Membership(from_json(&json)?),
    };
    Ok(Entry { log_id: log_id(term, index), payload })
}

/// About what an entry takes on the wire.
fn payload_bytes(entry: &Entry) -> usize {
    const AROUND: usize = 512;
    let body = |mutation: &Mutation| match mutation {
        Mutation::Put { body, .. } => AROUND + body.len(),
        Mutation::Delete { last, .. } => AROUND + last.as_ref().map_or(0, |(_, body)| body.len()),
    };
    match &entry.payload {
        Payload::Normal(Proposal(command)) => AROUND + command.mutations.iter().map(body).sum::<usize>(),
        Payload::Blank | Payload::Membership(_) => AROUND,
    }
}

fn to_json(value: &impl Serialize) -> Result<Vec<u8>, DiskError> {
    serde_json::to_vec(value).map_err(json_error)
}

fn from_json<T: de::DeserializeOwned>(bytes: &[u8]) -> Result<T, DiskError> {
    serde_json::from_slice(bytes).map_err(json_error)
}

fn json_error(error: serde_json::Error) -> DiskError {
    DiskError::Io { step: "read or write a membership record", message: error.to_string() }
}
