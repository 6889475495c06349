//! How simulated servers reach each other: as the simulation lets them.

use std::sync::Arc;

use openraft::base::BoxFuture;
use openraft::errors::{RPCError, ReplicationClosed, StreamingError, Unreachable};
use openraft::network::RPCOption;
use openraft::raft::{
    AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, TransferLeaderRequest, TransferLeaderResponse,
    VoteRequest, VoteResponse,
};
use openraft::{OptionalSend, RaftNetworkFactory, RaftNetworkV2};

use super::{Runtime, Simulated};
use crate::consensus::{Member, Snapshot, Vote};
use crate::snapshot::SnapshotDir;

/// What one server asks another.
#[derive(Clone)]
pub enum Request<R: Runtime> {
    Append(AppendEntriesRequest<Simulated<R>>),
    Vote(VoteRequest<Simulated<R>>),
    PreVote(VoteRequest<Simulated<R>>),
    Snapshot(Vote, Arc<SnapshotDir>),
    Transfer(TransferLeaderRequest<Simulated<R>>),
}

impl<R: Runtime> Request<R> {
    /// Whoever asks this as the leader of a term: the term and the leader.
    pub fn leader(&self) -> Option<(u64, u64)> {
        let vote = match self {
            Request::Append(request) => &request.vote,
            Request::Snapshot(vote, _) => vote,
            Request::Vote(_) | Request::PreVote(_) | Request::Transfer(_) => return None,
        };
        Some((vote.leader_id.term, vote.leader_id.voted_for))
    }

    pub fn name(&self) -> &'static str {
        match self {
            Request::Append(request) if request.entries.is_empty() => "heartbeat",
            Request::Append(_) => "append",
            Request::Vote(_) => "vote",
            Request::PreVote(_) => "pre-vote",
            Request::Snapshot(..) => "snapshot",
            Request::Transfer(_) => "transfer",
        }
    }
}

/// What it is answered.
pub enum Answer<R: Runtime> {
    Append(AppendEntriesResponse<Simulated<R>>),
    Vote(VoteResponse<Simulated<R>>),
    Snapshot(SnapshotResponse<Simulated<R>>),
    Transfer(TransferLeaderResponse<Simulated<R>>),
}

/// How requests travel. An error is a request, or an answer, that was lost.
pub trait Wire<R: Runtime>: Send + Sync + 'static {
    fn ask(&self, from: u64, to: u64, request: Request<R>) -> BoxFuture<'static, Result<Answer<R>, String>>;
}

pub struct Network<R: Runtime> {
    pub from: u64,
    pub wire: Arc<dyn Wire<R>>,
}

pub struct Peer<R: Runtime> {
    from: u64,
    to: u64,
    wire: Arc<dyn Wire<R>>,
}

impl<R: Runtime> RaftNetworkFactory<Simulated<R>> for Network<R> {
    type Network = Peer<R>;

    async fn new_client(&mut self, target: u64, _member: &Member) -> Peer<R> {
        Peer { from: self.from, to: target, wire: self.wire.clone() }
    }
}

impl<R: Runtime> Peer<R> {
    async fn ask(&self, request: Request<R>) -> Result<Answer<R>, RPCError<Simulated<R>>> {
        let answer = self.wire.ask(self.from, self.to, request).await;
        answer.map_err(|lost| RPCError::Unreachable(Unreachable::from_string(lost)))
    }
}

fn unexpected<R: Runtime>() -> RPCError<Simulated<R>> {
    RPCError::Unreachable(Unreachable::from_string("an answer to something else"))
}

impl<R: Runtime> RaftNetworkV2<Simulated<R>> for Peer<R> {
    type SnapshotData = Arc<SnapshotDir>;

    async fn append_entries(
        &mut self,
        request: AppendEntriesRequest<Simulated<R>>,
        _option: RPCOption,
    ) -> Result<AppendEntriesResponse<Simulated<R>>, RPCError<Simulated<R>>> {
        match self.ask(Request::Append(request)).await? {
            Answer::Append(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<Simulated<R>>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Simulated<R>>, RPCError<Simulated<R>>> {
        match self.ask(Request::Vote(request)).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }

    async fn pre_vote(
        &mut self,
        request: VoteRequest<Simulated<R>>,
        _option: RPCOption,
    ) -> Result<VoteResponse<Simulated<R>>, RPCError<Simulated<R>>> {
        match self.ask(Request::PreVote(request)).await? {
            Answer::Vote(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> Result<SnapshotResponse<Simulated<R>>, StreamingError<Simulated<R>>> {
        let sending = Box::pin(self.ask(Request::Snapshot(vote, snapshot.snapshot)));
        match futures::future::select(sending, Box::pin(cancel)).await {
            futures::future::Either::Left((answer, _)) => match answer? {
                Answer::Snapshot(answer) => Ok(answer),
                _ => Err(StreamingError::from(unexpected())),
            },
            futures::future::Either::Right((closed, _)) => Err(StreamingError::Closed(closed)),
        }
    }

    async fn transfer_leader(
        &mut self,
        request: TransferLeaderRequest<Simulated<R>>,
        _option: RPCOption,
    ) -> Result<TransferLeaderResponse<Simulated<R>>, RPCError<Simulated<R>>> {
        match self.ask(Request::Transfer(request)).await? {
            Answer::Transfer(answer) => Ok(answer),
            _ => Err(unexpected()),
        }
    }
}
