//! A backup that is unpacked and can be read: the state at any revision in it.

use std::collections::BTreeMap;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use kontiki_model::{Key, Revision};

use super::{BackupError, Header, Moment, Reader, io_error};
use crate::seal::Door;
use crate::store::Store;
use crate::{ReadError, Stored};

/// An unpacked backup in a directory of its own, which goes with it.
pub struct Archive {
    header: Header,
    // Before the directory: it holds files in it open.
    store: Arc<Store>,
    _dir: Scratch,
}

impl Archive {
    /// Unpacks and verifies a backup below a directory that does not exist yet. Blocks on the source and the disk.
    pub fn unpack(backup: impl Read, dir: &Path) -> Result<Self, BackupError> {
        Archive::unpack_behind(Door::default(), backup, dir)
    }

    /// As [`Archive::unpack`]; bodies that are sealed in it are told where the door opens them.
    pub(super) fn unpack_behind(door: Door, backup: impl Read, dir: &Path) -> Result<Self, BackupError> {
        let scratch = Scratch::make(dir)?;
        let (header, snapshot) = Reader::open(backup)?.unpack(&dir.join("incoming"))?;
        let store = Store::of_snapshot(door, &snapshot, &dir.join("state"))?;
        snapshot.retire();
        Ok(Archive { header, store, _dir: scratch })
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The revision of a moment, if the backup can tell the state then; its last without one.
    pub fn revision(&self, moment: Option<Moment>) -> Result<Revision, BackupError> {
        revision(&self.header, &self.store, moment)
    }

    /// The live keys at a revision, each with the revision of its object.
    pub fn keys_at(&self, revision: Revision) -> Result<BTreeMap<Key, Revision>, BackupError> {
        Ok(self.store.keys_at(self.header.check(revision)?)?)
    }

    /// An object as it was at a revision. `Compacted` where it is of the short class and that was dropped.
    pub fn get_at(&self, key: &Key, revision: Revision) -> Result<Option<Stored>, ReadError> {
        self.store.get_at(key, revision)
    }
}

/// The revision of a moment in a backup whose state is unpacked.
pub(super) fn revision(header: &Header, store: &Store, moment: Option<Moment>) -> Result<Revision, BackupError> {
    match moment {
        None => Ok(header.last_revision),
        Some(Moment::Revision(revision)) => header.check(revision),
        Some(Moment::Time(time_ms)) => {
            header.check_time(time_ms)?;
            header.check(store.revision_at(time_ms, i64::MAX)?)
        }
    }
}

/// A directory that is removed at the end.
pub(super) struct Scratch(PathBuf);

impl Scratch {
    pub fn make(dir: &Path) -> Result<Self, BackupError> {
        let step = "make a directory for what is unpacked";
        if dir.exists() {
            std::fs::remove_dir_all(dir).map_err(io_error(step))?;
        }
        crate::disk::private_dir(dir).map_err(io_error(step))?;
        Ok(Scratch(dir.to_owned()))
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        match std::fs::remove_dir_all(&self.0) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
                tracing::warn!(path = %self.0.display(), %error, "what was unpacked cannot be removed");
            }
            _ => {}
        }
    }
}
