//! What can go wrong at this crate's door.

use std::path::PathBuf;
use std::time::Duration;

use kontiki_model::Revision;

use crate::consensus::NodeError;
use crate::disk::{DiskError, Shortage, WAY_OUT};
use crate::{Malformed, Rejection, SealFault, Unopened};

/// Why a log cannot be opened. Nothing was changed, unless it says otherwise.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(
        "the log in {path} ends before entry {end}, but was synced up to entry {synced}: it is damaged, or a part of it is gone. \
         Nothing was changed. {WAY_OUT}"
    )]
    LogCut { path: PathBuf, end: u64, synced: u64 },
    #[error(
        "the state in {dir} was applied up to entry {applied}, but the log was purged up to entry {purged}: a part of the state is \
         gone. {WAY_OUT}"
    )]
    StateLost { dir: PathBuf, applied: u64, purged: u64 },
    #[error(
        "the log in {dir} ends at entry {log}, but the state was applied up to entry {applied}: acknowledged entries are lost. \
         Nothing was changed. {WAY_OUT}"
    )]
    LogLost { dir: PathBuf, log: u64, applied: u64 },
    #[error("Raft does not start: {0}")]
    Raft(String),
    #[error("the log's sync thread cannot be started")]
    Thread(#[source] std::io::Error),
    #[error("no leader within {0:?}")]
    NoLeader(Duration),
}

fn who_leads(leader: Option<u64>) -> String {
    match leader {
        Some(leader) => format!("this server is not the leader; server {leader} is"),
        None => "no server leads: a majority of them must be there and reach each other".to_owned(),
    }
}

/// Why a command was not acknowledged.
#[derive(Debug, thiserror::Error)]
pub enum ProposeError {
    /// It was decided, and changed nothing.
    #[error(transparent)]
    Rejected(#[from] Rejection),
    /// It never entered the log.
    #[error(transparent)]
    Malformed(#[from] Malformed),
    #[error("the command takes {bytes} bytes; the limit is {max}")]
    TooLarge { bytes: usize, max: usize },
    #[error("{}", who_leads(*leader))]
    NotLeader { leader: Option<u64>, address: Option<String> },
    /// It may still be committed: the leader changed while it was on its way.
    #[error("the leader changed; whether the command was committed is not known")]
    Unknown,
    /// The cluster is not changed that way.
    #[error("{0}")]
    Refused(String),
    /// A body that must not be stored as it is cannot be sealed.
    #[error("the command cannot be sealed: {0}")]
    Seal(#[source] SealFault),
    /// There is no room on a disk. The command did not enter the log; reads go on.
    #[error(transparent)]
    DiskFull(#[from] Shortage),
    /// There is no leader, or the log was shut down. The command did not enter the log.
    #[error("the log takes no writes: {0}")]
    Unavailable(String),
    /// No leader has had a majority for long, and none will soon: who takes part, and what can be done. The command did not enter
    /// the log.
    #[error("{0}")]
    NoMajority(String),
    /// The disk failed, and this server has stopped taking part. Whether the command was committed is not known.
    #[error("the log's storage failed: {0}")]
    Storage(String),
}

/// Why something cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum ReadError {
    /// History no longer reaches back that far: Kubernetes' 410.
    #[error("revision {requested} is too old: history begins at {floor}")]
    Compacted { requested: Revision, floor: Revision },
    #[error("revision {requested} is in the future: the state is at {revision}")]
    Future { requested: Revision, revision: Revision },
    /// A clock ran ahead, and the log's time with it: which events came before the time that was asked for is not known.
    #[error(
        "the log's time has been ahead of this server's clock since revision {since}: what was then cannot be told by its time, \
         only by its revision"
    )]
    ClockAhead { since: Revision },
    #[error("{}", who_leads(*leader))]
    NotLeader { leader: Option<u64>, address: Option<String> },
    #[error("no leader can confirm what the newest state is: {0}")]
    Unavailable(String),
    /// No leader has had a majority for long, and none will soon: who takes part, and what can be done.
    #[error("{0}")]
    NoMajority(String),
    /// What was asked for is sealed, and its key is not at hand.
    #[error(transparent)]
    Sealed(#[from] Unopened),
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error("the log was shut down")]
    Closed,
}

impl From<NodeError> for ProposeError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::NotLeader { leader, address } => ProposeError::NotLeader { leader, address },
            NodeError::Unknown => ProposeError::Unknown,
            NodeError::Full(shortage) => ProposeError::DiskFull(shortage),
            NodeError::Unavailable(reason) => ProposeError::Unavailable(reason),
            NodeError::NoMajority(why) => ProposeError::NoMajority(why),
            NodeError::Refused(reason) => ProposeError::Refused(reason),
            NodeError::Storage(reason) => ProposeError::Storage(reason),
        }
    }
}

impl From<NodeError> for ReadError {
    fn from(error: NodeError) -> Self {
        match error {
            NodeError::NotLeader { leader, address } => ReadError::NotLeader { leader, address },
            NodeError::Unknown => ReadError::Unavailable("the leader changed".into()),
            NodeError::Full(shortage) => ReadError::Unavailable(shortage.to_string()),
            NodeError::NoMajority(why) => ReadError::NoMajority(why),
            NodeError::Unavailable(reason) | NodeError::Refused(reason) | NodeError::Storage(reason) => {
                ReadError::Unavailable(reason)
            }
        }
    }
}
