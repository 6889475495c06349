//! How the log is, for whoever asks about its health, leads by it or measures it.

use kontiki_model::Revision;

use crate::Shortage;
use crate::consensus::MemberStatus;

/// Whether this server leads, and in which term: what a controller stamps its writes with.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Leadership {
    pub leader: bool,
    pub term: u64,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    Learner,
    Follower,
    Candidate,
    Leader,
    #[default]
    Shutdown,
}

/// Entries that a server acknowledged and has no more, by index.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "this server has lost entries of the log: it had acknowledged all up to {acknowledged}, and its log ends at {end}. Its folder \
     is an older copy, or its disk forgot what was synced. It takes them from the leader again, and votes for nobody who \
     lacks them too until it has them"
)]
pub struct LostEntries {
    pub acknowledged: u64,
    pub end: u64,
}

/// How the log is, for health checks and metrics.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Status {
    pub node: u64,
    pub role: Role,
    pub term: u64,
    pub leader: Option<u64>,
    pub leader_name: Option<String>,
    /// As this server knows them.
    pub members: Vec<MemberStatus>,
    pub last_index: u64,
    pub applied_index: u64,
    pub snapshot_index: u64,
    pub purged_index: u64,
    pub revision: Revision,
    pub floor: Revision,
    pub objects: usize,
    pub history_bytes: u64,
    /// Why this server takes no writes for now: its disk is full. Reads go on, and writes do once there is room.
    pub shortage: Option<Shortage>,
    /// What this server acknowledged and has no more: until it does, it votes for nobody who lacks it too.
    pub lost: Option<LostEntries>,
    /// Why this server no longer takes part: a failed disk, above all. It is healthy while this is `None`.
    pub failure: Option<String>,
}
