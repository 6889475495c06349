//! The log's files without Raft: read when its server is stopped, begun where a restored state ends.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::{Path, PathBuf};

use bincode::Decode;
use openraft::Membership;

use super::log_store::{CLUSTER, COMMITTED, IDENTITY, PURGED, VOTE, end_mark, end_of};
use super::machine::{applied_form, decode_membership};
use super::{Member, StoredMembership, decode_entry, log_id, to_json};
use crate::OpenError;
use crate::codec::{self, LogRecord, Tag};
use crate::disk::{DiskError, EndMark, LogDb, LogOp};

/// Term and index of an entry.
pub type Place = (u64, u64);

/// A log that no server runs. It is read and never changed: opened to write, a damaged one would lose what lies behind the damage.
pub struct StoppedLog {
    path: PathBuf,
    db: LogDb,
    /// The index behind the last entry that was synced.
    synced: u64,
}

impl StoppedLog {
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        StoppedLog::over(path, LogDb::open_to_read(path)?)
    }

    /// The same up to where it is damaged.
    pub fn open_what_is_left(path: &Path) -> Result<Self, DiskError> {
        StoppedLog::over(path, LogDb::open_what_is_left(path)?)
    }

    fn over(path: &Path, db: LogDb) -> Result<Self, DiskError> {
        Ok(StoppedLog { path: path.to_owned(), db, synced: EndMark::look(&end_mark(path))? })
    }

    /// Refuses a log that ends before what was synced.
    pub fn check_end(&self) -> Result<(), OpenError> {
        let (path, end, synced) = (self.path.clone(), end_of(&self.db)?, self.synced);
        if end < synced { Err(OpenError::LogCut { path, end, synced }) } else { Ok(()) }
    }

    /// The last entry that was synced, whether it is still there or not.
    pub fn synced(&self) -> Option<u64> {
        self.synced.checked_sub(1)
    }

    /// Whose log it is.
    pub fn node(&self) -> Result<Option<u64>, DiskError> {
        self.marked(IDENTITY, Tag::Identity)
    }

    /// The last entry known to be committed. There may be more: this is written when there is time.
    pub fn committed(&self) -> Result<Option<Place>, DiskError> {
        self.marked(COMMITTED, Tag::LogMark)
    }

    /// The last entry, or the last that was purged.
    pub fn last(&self) -> Result<Option<Place>, DiskError> {
        let Some((index, frame)) = self.db.last()? else { return self.marked(PURGED, Tag::LogMark) };
        let record: LogRecord = codec::decode(Tag::LogEntry, &frame).map_err(DiskError::record("a log entry"))?;
        Ok(Some((record.term, index)))
    }

    /// The newest term this server has taken part in.
    pub fn term(&self) -> Result<u64, DiskError> {
        let vote: Option<(u64, u64, bool)> = self.marked(VOTE, Tag::Vote)?;
        Ok(vote.map_or(0, |(term, ..)| term))
    }

    fn marked<T: Decode<()>>(&self, name: &'static str, tag: Tag) -> Result<Option<T>, DiskError> {
        let decode =
            |frame: Vec<u8>| codec::decode(tag, &frame).map_err(DiskError::record(format!("the log's {name}")));
        self.db.mark(name)?.map(decode).transpose()
    }

    /// Entries from the start of a range, some of them, in the form the store applies.
    pub fn read(&self, range: Range<u64>) -> Result<Vec<LogRecord>, DiskError> {
        let frames = self.db.read(range.clone())?;
        let expected = range.start..;
        let records = frames.into_iter().zip(expected).map(|((index, frame), expected)| {
            if index != expected {
                return Err(DiskError::Missing(format!("log entry {expected}")));
            }
            applied_form(&decode_entry(&frame)?)
        });
        records.collect()
    }
}

/// How a new cluster's log begins: behind everything that its state has applied already.
#[derive(Clone, Copy, Debug)]
pub struct Beginning {
    pub node: u64,
    pub cluster: u64,
    /// Of the state's last entry.
    pub term: u64,
    pub index: u64,
}

/// Makes the log of a cluster whose past is all in its state.
pub fn begin_log(path: &Path, beginning: Beginning) -> Result<(), DiskError> {
    let Beginning { node, cluster, term, index } = beginning;
    let db = LogDb::open(path)?;
    db.write(&[
        LogOp::Mark(IDENTITY, codec::encode(Tag::Identity, &node)),
        LogOp::Mark(CLUSTER, codec::encode(Tag::Identity, &cluster)),
        // Not a committed vote: the server has to be elected, in a later term.
        LogOp::Mark(VOTE, codec::encode(Tag::Vote, &(term, node, false))),
        LogOp::Mark(PURGED, codec::encode(Tag::LogMark, &(term, index))),
    ])?;
    db.sync()
}

/// A membership of one voter, as the entry at a place says it.
pub fn sole_member((term, index): Place, node: u64, member: Member) -> Result<Vec<u8>, DiskError> {
    let membership = Membership::new(vec![[node].into()], BTreeMap::from([(node, member)]));
    let membership = membership.expect("every voter has its node");
    to_json(&StoredMembership::new(Some(log_id(term, index)), membership))
}

/// The servers of a stored membership, and whether each may vote.
pub fn members(stored: &[u8]) -> Result<Vec<(u64, Member, bool)>, DiskError> {
    let stored = decode_membership(stored)?;
    let membership = stored.membership();
    let voters: Vec<u64> = membership.voter_ids().collect();
    Ok(membership.nodes().map(|(id, member)| (*id, member.clone(), voters.contains(id))).collect())
}
