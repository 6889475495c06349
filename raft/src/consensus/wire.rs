//! What servers say to each other, as records of our own: openraft's types change with its versions, these do not.

use bincode::{Decode, Encode};
use openraft::raft::{
    AppendEntriesRequest, StreamAppendError, StreamAppendResult, TransferLeaderError, TransferLeaderRequest,
    TransferLeaderResponse, VoteRequest, VoteResponse,
};

use super::{LogId, Member, TypeConfig, Vote, from_record, log_id, to_record};
use crate::codec::{self, CodecError, LogRecord, Tag};
use crate::snapshot::Manifest;
use crate::store::Outcome;
use crate::{DiskError, Shortage};

/// Kinds of requests. The numbers are on the wire.
pub const APPEND_FIRST: u8 = 1;
pub const APPEND: u8 = 2;
pub const HEARTBEAT: u8 = 3;
pub const VOTE: u8 = 4;
pub const PRE_VOTE: u8 = 5;
pub const TRANSFER: u8 = 6;
pub const SNAPSHOT_BEGIN: u8 = 7;
pub const SNAPSHOT_CHUNK: u8 = 8;
pub const SNAPSHOT_END: u8 = 9;
pub const PROPOSE: u8 = 10;
pub const READ_INDEX: u8 = 11;
pub const CHANGE: u8 = 12;
/// The receiver acknowledged an entry that it does not have.
pub const LOST: u8 = 13;
/// What the receiver's disk lacks.
pub const SHORTAGE: u8 = 14;
/// Whether the receiver is not about to end.
pub const STAYS: u8 = 15;
/// The other server is no member any more.
pub const LET_GO: u8 = 16;
/// Kinds of answers.
pub const DONE: u8 = 0x80;
/// The request was understood and could not be served; the payload says why, for people.
pub const FAILED: u8 = 0x81;

/// Term and index.
pub type WireLogId = (u64, u64);

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct WireVote {
    term: u64,
    node: u64,
    committed: bool,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct AppendMessage {
    vote: WireVote,
    previous: Option<WireLogId>,
    commit: Option<WireLogId>,
    entries: Vec<LogRecord>,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum AppendAnswer {
    Matches(Option<WireLogId>),
    Conflict(WireLogId),
    HigherVote(WireVote),
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct VoteMessage {
    vote: WireVote,
    last: Option<WireLogId>,
    transfer: bool,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct VoteAnswer {
    vote: WireVote,
    last: Option<WireLogId>,
    granted: bool,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct TransferMessage {
    from: WireVote,
    to: u64,
    last: Option<WireLogId>,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum TransferAnswer {
    Done,
    VoteChanged { expected: WireVote, actual: WireVote },
    NotFlushed { expected: Option<WireLogId>, actual: Option<WireLogId> },
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct SnapshotMessage {
    pub vote: WireVote,
    pub manifest: Manifest,
}

/// What became of something that was forwarded to the leader.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum Forwarded<T> {
    Done(T),
    /// The receiver does not lead; nothing was done.
    NotLeader {
        leader: Option<u64>,
    },
    /// It may or may not have been done.
    Unknown,
    /// Nothing was done.
    Unavailable(String),
    Storage(String),
    /// Whoever asked is no member (any more); nothing was done.
    NotMember,
    /// The leader's disk is full, or those of too many others; nothing was done.
    Full(Shortage),
    /// What was asked for cannot be done; nothing was.
    Refused(String),
    /// The leader has had no majority for long; nothing was done.
    NoMajority(String),
}

/// Where a forwarded command ended.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct Written {
    pub index: u64,
    pub outcome: Outcome,
}

/// A change of the cluster itself.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum ClusterChange {
    Add { id: u64, name: String, address: String },
    Remove { id: u64 },
    Transfer { to: Option<u64> },
}

impl ClusterChange {
    pub fn add(id: u64, Member { name, address }: Member) -> Self {
        ClusterChange::Add { id, name, address }
    }
}

pub fn encode(message: &impl Encode) -> Vec<u8> {
    codec::encode(Tag::Message, message)
}

pub fn decode<T: Decode<()>>(payload: &[u8]) -> Result<T, CodecError> {
    codec::decode(Tag::Message, payload)
}

pub fn wire_id(id: &LogId) -> WireLogId {
    (id.committed_leader_id().term, id.index)
}

fn wire_id_option(id: Option<&LogId>) -> Option<WireLogId> {
    id.map(wire_id)
}

fn id_option(id: Option<WireLogId>) -> Option<LogId> {
    id.map(|(term, index)| log_id(term, index))
}

impl From<&Vote> for WireVote {
    fn from(vote: &Vote) -> Self {
        WireVote { term: vote.leader_id.term, node: vote.leader_id.voted_for, committed: vote.committed }
    }
}

impl From<WireVote> for Vote {
    fn from(WireVote { term, node, committed }: WireVote) -> Self {
        if committed { Vote::new_committed(term, node) } else { Vote::new(term, node) }
    }
}

impl AppendMessage {
    pub fn new(request: &AppendEntriesRequest<TypeConfig>) -> Result<Self, DiskError> {
        Ok(AppendMessage {
            vote: WireVote::from(&request.vote),
            previous: wire_id_option(request.prev_log_id.as_ref()),
            commit: wire_id_option(request.leader_commit.as_ref()),
            entries: request.entries.iter().map(to_record).collect::<Result<_, _>>()?,
        })
    }

    pub fn into_request(self) -> Result<AppendEntriesRequest<TypeConfig>, DiskError> {
        Ok(AppendEntriesRequest {
            vote: self.vote.into(),
            prev_log_id: id_option(self.previous),
            leader_commit: id_option(self.commit),
            entries: self.entries.into_iter().map(from_record).collect::<Result<_, _>>()?,
        })
    }
}

impl From<StreamAppendResult<TypeConfig>> for AppendAnswer {
    fn from(result: StreamAppendResult<TypeConfig>) -> Self {
        match result {
            Ok(matching) => AppendAnswer::Matches(wire_id_option(matching.as_ref())),
            Err(StreamAppendError::Conflict(id)) => AppendAnswer::Conflict(wire_id(&id)),
            Err(StreamAppendError::HigherVote(vote)) => AppendAnswer::HigherVote(WireVote::from(&vote)),
        }
    }
}

impl From<AppendAnswer> for StreamAppendResult<TypeConfig> {
    fn from(answer: AppendAnswer) -> Self {
        match answer {
            AppendAnswer::Matches(matching) => Ok(id_option(matching)),
            AppendAnswer::Conflict((term, index)) => Err(StreamAppendError::Conflict(log_id(term, index))),
            AppendAnswer::HigherVote(vote) => Err(StreamAppendError::HigherVote(vote.into())),
        }
    }
}

impl From<&VoteRequest<TypeConfig>> for VoteMessage {
    fn from(request: &VoteRequest<TypeConfig>) -> Self {
        VoteMessage {
            vote: WireVote::from(&request.vote),
            last: wire_id_option(request.last_log_id.as_ref()),
            transfer: request.leadership_transfer,
        }
    }
}

impl From<VoteMessage> for VoteRequest<TypeConfig> {
    fn from(VoteMessage { vote, last, transfer }: VoteMessage) -> Self {
        let mut request = VoteRequest::new(vote.into(), id_option(last));
        request.leadership_transfer = transfer;
        request
    }
}

impl From<&VoteResponse<TypeConfig>> for VoteAnswer {
    fn from(response: &VoteResponse<TypeConfig>) -> Self {
        VoteAnswer {
            vote: WireVote::from(&response.vote),
            last: wire_id_option(response.last_log_id.as_ref()),
            granted: response.vote_granted,
        }
    }
}

impl From<VoteAnswer> for VoteResponse<TypeConfig> {
    fn from(VoteAnswer { vote, last, granted }: VoteAnswer) -> Self {
        VoteResponse { vote: vote.into(), vote_granted: granted, last_log_id: id_option(last) }
    }
}

impl From<&TransferLeaderRequest<TypeConfig>> for TransferMessage {
    fn from(request: &TransferLeaderRequest<TypeConfig>) -> Self {
        TransferMessage {
            from: WireVote::from(request.from_leader()),
            to: *request.to_node_id(),
            last: wire_id_option(request.last_log_id()),
        }
    }
}

impl From<TransferMessage> for TransferLeaderRequest<TypeConfig> {
    fn from(TransferMessage { from, to, last }: TransferMessage) -> Self {
        TransferLeaderRequest::new(from.into(), to, id_option(last))
    }
}

impl From<TransferLeaderResponse<TypeConfig>> for TransferAnswer {
    fn from(response: TransferLeaderResponse<TypeConfig>) -> Self {
        match response {
            Ok(()) => TransferAnswer::Done,
            Err(TransferLeaderError::VoteChanged { expected, actual }) => {
                TransferAnswer::VoteChanged { expected: WireVote::from(&expected), actual: WireVote::from(&actual) }
            }
            Err(TransferLeaderError::LogNotFlushed { expected, actual }) => TransferAnswer::NotFlushed {
                expected: wire_id_option(expected.as_ref()),
                actual: wire_id_option(actual.as_ref()),
            },
        }
    }
}

impl From<TransferAnswer> for TransferLeaderResponse<TypeConfig> {
    fn from(answer: TransferAnswer) -> Self {
        match answer {
            TransferAnswer::Done => Ok(()),
            TransferAnswer::VoteChanged { expected, actual } => {
                Err(TransferLeaderError::VoteChanged { expected: expected.into(), actual: actual.into() })
            }
            TransferAnswer::NotFlushed { expected, actual } => {
                Err(TransferLeaderError::LogNotFlushed { expected: id_option(expected), actual: id_option(actual) })
            }
        }
    }
}
