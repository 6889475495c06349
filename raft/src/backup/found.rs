//! A new cluster of one server from a state: what a restore into an empty directory, and the recovery of a cluster that has
//! lost its majority, come to.
//!
//! The new cluster is another one than that which the state comes from: its servers refuse each other. Its log begins where the
//! state ends, in a later term, and its revisions begin far behind all that may have been given out: by the
//! lost cluster, and by others that were made of the same past since.

use std::fs::File;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kontiki_model::Revision;

use super::archive::{Scratch, revision};
use super::source::pack;
use super::{BackupError, Moment, Reader, Stopped, UpTo, io_error};
use crate::Command;
use crate::codec::{AppliedRecord, LogPayload, LogRecord};
use crate::consensus::{Beginning, begin_log, sole_member};
use crate::disk::sync_dir;
use crate::limits::{CLOCK_SLACK, NODE_IDS, REVISIONS_PER_MS, REVISIONS_SINCE_MS};
use crate::store::{HistoryLimits, Store, rewind, unpack};
use crate::transport::Member;

/// What a new cluster is to be.
#[derive(Clone, Debug)]
pub struct Founding {
    /// What the new cluster calls its server, and where it is reached: until the server says otherwise.
    pub member: Member,
    /// The state is set back to this moment of a backup.
    pub to: Option<Moment>,
    pub skip: Skip,
}

/// Where the new cluster's revisions begin.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Skip {
    /// Behind all that any cluster has given out until this time, in milliseconds since the epoch. The same file may be restored
    /// again and again, and an older one after it.
    ByClock { now_ms: i64 },
    /// So many behind the last that is known: it is the caller's to know that nobody has seen more.
    Revisions(u64),
}

impl Skip {
    /// The revision that the state is set to. `known_ms` is a time that has certainly passed.
    fn next(self, last: Revision, known_ms: i64) -> Result<Revision, BackupError> {
        match self {
            Skip::Revisions(count) => last.checked_add(count).ok_or(BackupError::NoRevisions),
            Skip::ByClock { now_ms } => {
                let since_ms = u64::try_from(now_ms.saturating_sub(REVISIONS_SINCE_MS)).unwrap_or_default();
                let next = since_ms.saturating_mul(REVISIONS_PER_MS);
                let behind = now_ms.saturating_add(CLOCK_SLACK.as_millis() as i64) < known_ms;
                if behind || next <= last { Err(BackupError::ClockBehind) } else { Ok(next) }
            }
        }
    }
}

/// What became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Founded {
    /// Numbers that nobody has had before.
    pub node: u64,
    pub cluster: u64,
    /// The last revision of the past that was taken over.
    pub restored: Revision,
    /// The revision the state is at: the next event gets the one behind it.
    pub revision: Revision,
    /// Where the log begins.
    pub term: u64,
    pub index: u64,
}

impl Founding {
    /// Makes the log's directory `dir` from a backup. `record` is the new log's first command: it says what was done.
    pub fn from_backup(
        self,
        backup: impl Read,
        dir: &Path,
        record: impl FnOnce(&Founded) -> Command,
    ) -> Result<Founded, BackupError> {
        check_empty(dir)?;
        let draft = Draft::beside(dir)?;
        let (header, snapshot) = Reader::open(backup)?.unpack(&draft.path.join("incoming"))?;
        unpack(&snapshot, &draft.path.join("state"))?;
        snapshot.retire();
        let store = Store::open(&draft.path.join("state"), HistoryLimits::default(), 0)?;
        let to = revision(&header, &store, self.to)?;
        drop(store);
        drop(snapshot);
        std::fs::remove_dir_all(draft.path.join("incoming")).map_err(io_error("remove what was unpacked"))?;
        let known = Known { term: header.term, time_ms: header.origin.taken_ms };
        let founded = self.found(&draft.path, to, known, record)?;
        draft.publish(dir)?;
        Ok(founded)
    }

    /// Makes the log's directory `dir` from all that a stopped server has, which is not changed.
    pub fn from_server(
        self,
        server: &Stopped,
        dir: &Path,
        record: impl FnOnce(&Founded) -> Command,
    ) -> Result<Founded, BackupError> {
        check_empty(dir)?;
        let draft = Draft::beside(dir)?;
        let store = server.copy(UpTo::End, &draft.path.join("state"))?;
        let revision = store.revision();
        store.flush()?;
        drop(store);
        let known = Known { term: server.figures()?.term, time_ms: 0 };
        let founded = self.found(&draft.path, revision, known, record)?;
        draft.publish(dir)?;
        Ok(founded)
    }

    fn found(
        &self,
        draft: &Path,
        to: Revision,
        known: Known,
        record: impl FnOnce(&Founded) -> Command,
    ) -> Result<Founded, BackupError> {
        let state = draft.join("state");
        let last = Store::open(&state, HistoryLimits::default(), 0)?.applied_record();
        let next = self.skip.next(last.revision, known.time_ms)?;
        let AppliedRecord { index, term: applied, .. } = rewind(&state, to, next)?;
        let place = (known.term.max(applied) + 1, index.map_or(0, |index| index + 1));
        let store = Store::open(&state, HistoryLimits::default(), 0)?;
        let (node, cluster) = (rand::random_range(1..NODE_IDS), rand::random_range(1..u64::MAX));
        let membership = sole_member(place, node, self.member.clone())?;
        let (term, index) = place;
        store.apply(&[LogRecord { term, index, payload: LogPayload::Membership(membership) }])?;
        let founded = Founded { node, cluster, restored: to, revision: next, term, index: index + 1 };
        let command = Arc::new(record(&founded));
        store.apply(&[LogRecord { term, index: index + 1, payload: LogPayload::Command(command) }])?;
        pack(&store)?;
        drop(store);
        begin_log(&draft.join("log"), Beginning { node, cluster, term, index: index + 1 })?;
        Ok(founded)
    }
}

/// The newest term and a time that are known of: the new cluster's are later.
struct Known {
    term: u64,
    time_ms: i64,
}

fn check_empty(dir: &Path) -> Result<(), BackupError> {
    let mut entries = match std::fs::read_dir(dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        entries => entries.map_err(io_error("look into the directory"))?,
    };
    if entries.next().is_some() { Err(BackupError::NotEmpty(dir.to_owned())) } else { Ok(()) }
}

/// A directory that gets its name only when it is complete.
struct Draft {
    path: PathBuf,
    _removed: Scratch,
}

impl Draft {
    fn beside(dir: &Path) -> Result<Self, BackupError> {
        let mut name = dir.file_name().unwrap_or_default().to_owned();
        name.push(".draft");
        let path = dir.with_file_name(name);
        Ok(Draft { _removed: Scratch::make(&path)?, path })
    }

    fn publish(self, dir: &Path) -> Result<(), BackupError> {
        for part in [self.path.join("log"), self.path.join("state"), self.path.clone()] {
            sync_dir(&part)?;
        }
        std::fs::rename(&self.path, dir).map_err(io_error("give the directory its name"))?;
        let parent = dir.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(io_error("sync the directory above"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn revisions_begin_behind_all_that_were_given_out_or_it_is_refused() {
        let by_clock = |after_ms: i64| Skip::ByClock { now_ms: REVISIONS_SINCE_MS + after_ms };
        let next = |skip: Skip, last, known_ms| skip.next(last, known_ms).ok();
        assert_eq!(next(by_clock(60_000), 5_000, REVISIONS_SINCE_MS), Some(6_000_000));
        assert_eq!(next(by_clock(60_000), 5_999_999, 0), Some(6_000_000), "whatever was skipped before");
        assert_eq!(next(by_clock(60_000), 6_000_000, 0), None, "the clock is not where it was");
        assert_eq!(next(by_clock(-1), 0, 0), None);
        assert_eq!(next(by_clock(60_000), 5_000, REVISIONS_SINCE_MS + 65_000), Some(6_000_000));
        assert_eq!(next(by_clock(60_000), 5_000, REVISIONS_SINCE_MS + 65_001), None, "the file comes from the future");
        assert_eq!(next(Skip::ByClock { now_ms: i64::MIN }, 0, 0), None);
        assert_eq!(next(Skip::Revisions(10), 5_000, i64::MAX), Some(5_010));
        assert_eq!(next(Skip::Revisions(u64::MAX), 1, 0), None);
    }
}
