//! Where a log lies and how it is to be; opening what lies there.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::consensus::{LogStore, Start, check_log_reaches};
use crate::disk::Space;
use crate::limits::{CLOCK_SLACK, LOG_KEEP_ENTRIES, NODE_IDS, RING_EVENTS, SNAPSHOT_ENTRIES};
use crate::seal::Door;
use crate::store::{HistoryLimits, Store};
use crate::transport::{Dial, Identity, Member};
use crate::{DiskError, OpenError, Seal};

/// Where the log lies, how much it keeps, and which server this is.
#[derive(Clone)]
pub struct LogConfig {
    /// Created if missing. One process at a time.
    pub dir: PathBuf,
    /// What the cluster calls this server, and where the others reach it. It may change from start to start.
    pub member: Member,
    pub start: Start,
    /// How to reach the others; a cluster of one needs none.
    pub dial: Option<Arc<dyn Dial>>,
    pub history: HistoryLimits,
    /// Recent events in memory, at most [`RING_EVENTS`].
    pub ring_events: usize,
    /// Entries after which a snapshot is taken and the log purged.
    pub snapshot_entries: u64,
    /// Entries that stay in the log behind a snapshot, for servers that are only a little late.
    pub log_keep_entries: u64,
    /// How far a command's time may be ahead of this server's clock, where this one leads. What is further ahead gets the clock's.
    pub clock_slack: Duration,
    /// Seals bodies before they are proposed, and opens those that are told. Without one they are stored as they are.
    pub seal: Option<Arc<dyn Seal>>,
}

impl LogConfig {
    pub fn new(dir: impl Into<PathBuf>) -> Self {
        LogConfig {
            dir: dir.into(),
            member: Member::default(),
            start: Start::Alone,
            dial: None,
            history: HistoryLimits::default(),
            ring_events: RING_EVENTS,
            snapshot_entries: SNAPSHOT_ENTRIES,
            log_keep_entries: LOG_KEEP_ENTRIES,
            clock_slack: CLOCK_SLACK,
            seal: None,
        }
    }
}

/// What a log consists of: whose it is, and its two databases.
pub(crate) type Storage = (Identity, LogStore, Arc<Store>);

/// Opens both databases, or refuses before anything is changed. Blocks. On a full disk the ballast is given up for it.
pub(crate) fn open_storage(config: &LogConfig) -> Result<Storage, OpenError> {
    let opened = open_databases(config);
    let Err(OpenError::Disk(full)) = &opened else { return opened };
    if !full.is_full() || !Space::give_up(&config.dir).map_err(DiskError::io("give the ballast up"))? {
        return opened;
    }
    tracing::warn!(error = %full, "the ballast is given up, so that what there is can be read");
    open_databases(config)
}

fn open_databases(config: &LogConfig) -> Result<Storage, OpenError> {
    crate::disk::private_dir(&config.dir).map_err(DiskError::io("create the log's directory"))?;
    let log = LogStore::open(&config.dir.join("log"))?;
    let node = log.claim(rand::random_range(1..NODE_IDS))?;
    let me = Identity::new(node, log.cluster()?);
    let door = Door::new(config.seal.clone());
    let store = Store::open_behind(door, &config.dir.join("state"), config.history, config.ring_events)?;
    check_log_reaches(&config.dir, &log, &store)?;
    store.remove_leftovers()?;
    // RocksDB syncs what is in its directories, not their names.
    crate::disk::sync_dir(&config.dir)?;
    if let Some(parent) = config.dir.parent().filter(|parent| !parent.as_os_str().is_empty()) {
        crate::disk::sync_dir(parent)?;
    }
    Ok((me, log, store))
}
