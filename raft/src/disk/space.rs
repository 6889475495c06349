//! Room on the file system: when too little is left, writes are refused before the disk refuses them.
//!
//! Two things keep what was admitted safe. A **reserve** of free bytes, below which no new write is taken; and a **ballast**, a
//! file that holds blocks of its own and is given up when the disk is all but full, so that what is under way gets to the disk;
//! all but a part without which a server that is killed then could not be started, not even to be read. Once there is room for
//! both again, the ballast is laid down anew and writes go on.

use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, MutexGuard, PoisonError};

use bincode::{Decode, Encode};
use nix::errno::Errno;
use nix::fcntl::{FallocateFlags, fallocate};

use super::DiskError;
use crate::limits::{BALLAST_BYTES, BALLAST_SHARE, DISK_RESERVE_BYTES, DISK_RESERVE_SHARE, MIB, START_SHARE};

/// What a file system has, in bytes; `free` is what this process may still use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Room {
    pub free: u64,
    pub total: u64,
}

/// Why writes are refused.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode, thiserror::Error)]
#[error(
    "the disk below {dir} is full: {} MiB are free, and {} MiB must be for writes to go on. Reads go on. Free some space there; \
     writes then go on by themselves",
    free / MIB as u64, needed.div_ceil(MIB as u64)
)]
pub struct Shortage {
    pub dir: String,
    pub free: u64,
    pub needed: u64,
}

type Probe = Box<dyn Fn(&Path) -> io::Result<Room> + Send + Sync>;

pub struct Space {
    dir: PathBuf,
    probe: Probe,
    /// Blocks held by the ballast; held also while it changes.
    ballast: Mutex<u64>,
    low: AtomicBool,
    free: AtomicU64,
    needed: AtomicU64,
    /// Bytes that were taken and get to the disk later, for which there must be room then.
    owed: AtomicU64,
}

impl Space {
    /// Looks after the file system that holds `dir`; the ballast lies there.
    pub fn open(dir: &Path) -> Result<Self, DiskError> {
        Self::open_with(dir, Box::new(probe))
    }

    /// Space that never ends, for a disk that is only simulated: no ballast, no limit.
    pub fn boundless(dir: &Path) -> Self {
        Self::new(dir, Box::new(|_| Ok(Room { free: u64::MAX, total: 0 })), 0, false)
    }

    fn open_with(dir: &Path, probe: Probe) -> Result<Self, DiskError> {
        let step = "look after the space of the log's directory";
        let ballast = match fs::metadata(ballast_path(dir)) {
            Ok(found) => found.len(),
            Err(error) if error.kind() == io::ErrorKind::NotFound => 0,
            Err(error) => return Err(DiskError::io(step)(error)),
        };
        let space = Self::new(dir, probe, ballast, true);
        space.look().map_err(DiskError::io(step))?;
        space.tend();
        Ok(space)
    }

    fn new(dir: &Path, probe: Probe, ballast: u64, low: bool) -> Self {
        let (dir, ballast, low) = (dir.to_owned(), Mutex::new(ballast), AtomicBool::new(low));
        let [free, needed, owed] = Default::default();
        Space { dir, probe, ballast, low, free, needed, owed }
    }

    /// So many bytes in all wait to be written: the state gets to the disk when there is enough of it.
    pub fn owe(&self, bytes: u64) {
        self.owed.store(bytes, Ordering::Relaxed);
    }

    /// What may still be taken.
    fn room(&self) -> io::Result<Room> {
        let Room { free, total } = (self.probe)(&self.dir)?;
        Ok(Room { free: free.saturating_sub(self.owed.load(Ordering::Relaxed)), total })
    }

    /// Why writes are refused, if they are.
    pub fn shortage(&self) -> Option<Shortage> {
        let of = |figure: &AtomicU64| figure.load(Ordering::Relaxed);
        let shortage =
            || Shortage { dir: self.dir.display().to_string(), free: of(&self.free), needed: of(&self.needed) };
        self.low.load(Ordering::Relaxed).then(shortage)
    }

    /// Looks how much is left, and refuses writes if it is too little. Cheap enough to come before each sync.
    pub fn glance(&self) {
        if let Err(error) = self.look() {
            tracing::warn!(%error, dir = %self.dir.display(), "the free space cannot be told");
        }
    }

    /// Gives the ballast up when all but nothing is left; lays it down again, and lets writes go on, when there is room.
    pub fn tend(&self) {
        self.glance();
        let (Ok(there), Ok(room)) = ((self.probe)(&self.dir), self.room()) else { return };
        let mut held = self.ballast();
        let needs = Needs::of(room);
        if there.free < needs.critical {
            self.lighten(&mut held, needs.start);
        }
        if !self.low.load(Ordering::Relaxed) || room.free < needs.to_resume(*held) {
            return;
        }
        match lay(&ballast_path(&self.dir), needs.ballast) {
            Err(error) => {
                tracing::warn!(%error, dir = %self.dir.display(), "no ballast can be laid down; writes are refused")
            }
            Ok(()) => {
                *held = needs.ballast;
                self.low.store(false, Ordering::Relaxed);
                tracing::info!(dir = %self.dir.display(), free = room.free, "there is room on the disk; writes are taken");
            }
        }
    }

    /// Gives the ballast up, for something that has to be written.
    pub fn release(&self) {
        self.low.store(true, Ordering::Relaxed);
        if let Ok(room) = (self.probe)(&self.dir) {
            self.lighten(&mut self.ballast(), Needs::of(room).start);
        }
    }

    /// Gives up all of the ballast below a directory, for without it nothing can be opened there. False if there was none.
    pub fn give_up(dir: &Path) -> io::Result<bool> {
        match fs::remove_file(ballast_path(dir)) {
            Ok(()) => Ok(true),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            Err(error) => Err(error),
        }
    }

    /// Whether so many bytes can be written now.
    pub fn has_room_for(&self, bytes: u64) -> bool {
        (self.probe)(&self.dir).is_ok_and(|room| room.free >= bytes)
    }

    /// Why so many bytes cannot be written without touching the reserve, if so.
    pub fn shortage_for(&self, bytes: u64) -> Option<Shortage> {
        let room = self.room().ok()?;
        let needed = bytes.saturating_add(Needs::of(room).reserve);
        (room.free < needed).then(|| Shortage { dir: self.dir.display().to_string(), free: room.free, needed })
    }

    fn look(&self) -> io::Result<()> {
        let room = self.room()?;
        let needs = Needs::of(room);
        self.free.store(room.free, Ordering::Relaxed);
        self.needed.store(needs.to_resume(*self.ballast()), Ordering::Relaxed);
        if room.free < needs.reserve && !self.low.swap(true, Ordering::Relaxed) {
            tracing::error!(dir = %self.dir.display(), free = room.free, needed = needs.reserve, "the disk is full; writes are refused");
        }
        Ok(())
    }

    fn lighten(&self, held: &mut u64, left: u64) {
        if *held <= left {
            return;
        }
        let lightened =
            OpenOptions::new().write(true).open(ballast_path(&self.dir)).and_then(|file| file.set_len(left));
        match lightened {
            Ok(()) => *held = left,
            Err(error) => tracing::error!(%error, dir = %self.dir.display(), "the ballast cannot be given up"),
        }
    }

    fn ballast(&self) -> MutexGuard<'_, u64> {
        self.ballast.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a file system of some size has to spare.
struct Needs {
    /// Below this, no write is taken.
    reserve: u64,
    /// Below this, the ballast is given up.
    critical: u64,
    ballast: u64,
    /// What is left of the ballast when it is given up.
    start: u64,
}

impl Needs {
    fn of(room: Room) -> Self {
        let reserve = DISK_RESERVE_BYTES.min(room.total / DISK_RESERVE_SHARE);
        let ballast = BALLAST_BYTES.min(room.total / BALLAST_SHARE);
        Needs { reserve, critical: reserve / 4, ballast, start: ballast / START_SHARE }
    }

    /// Free bytes from which writes go on, when so much ballast is still there.
    fn to_resume(&self, held: u64) -> u64 {
        self.reserve + self.ballast.saturating_sub(held)
    }
}

fn ballast_path(dir: &Path) -> PathBuf {
    dir.join("ballast")
}

fn probe(dir: &Path) -> io::Result<Room> {
    let found = nix::sys::statvfs::statvfs(dir)?;
    let unit = found.fragment_size();
    Ok(Room { free: found.blocks_available() as u64 * unit, total: found.blocks() as u64 * unit })
}

/// Makes a file hold blocks: without writing them where the file system can, or else by zeros.
fn lay(path: &Path, bytes: u64) -> io::Result<()> {
    let mut file = OpenOptions::new().create(true).truncate(false).write(true).open(path)?;
    let length = i64::try_from(bytes).map_err(io::Error::other)?;
    match fallocate(&file, FallocateFlags::empty(), 0, length) {
        Ok(()) => {}
        Err(Errno::EOPNOTSUPP) => {
            let zeros = vec![0; MIB];
            let mut left = bytes;
            while left > 0 {
                let some = left.min(MIB as u64);
                file.write_all(&zeros[..some as usize])?;
                left -= some;
            }
        }
        Err(error) => return Err(error.into()),
    }
    file.set_len(bytes)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use super::*;

    const TOTAL: u64 = 256 * MIB as u64;

    #[test]
    fn writes_stop_before_the_disk_is_full_and_go_on_when_there_is_room_again() {
        let dir = tempfile::tempdir().unwrap();
        let free = Arc::new(AtomicU64::new(TOTAL));
        let seen = free.clone();
        let probe = move |_: &Path| Ok(Room { free: seen.load(Ordering::SeqCst), total: TOTAL });
        let space = Space::open_with(dir.path(), Box::new(probe)).unwrap();
        let needs = Needs::of(Room { free: 0, total: TOTAL });
        let ballast = || fs::metadata(dir.path().join("ballast")).map_or(0, |found| found.len());
        // Free bytes, whether writes are refused then, and what the ballast holds.
        let steps = [
            (TOTAL, false, needs.ballast),
            (needs.reserve, false, needs.ballast),
            (needs.reserve - 1, true, needs.ballast),
            (needs.reserve, false, needs.ballast),
            (0, true, needs.start),
            (needs.reserve, true, needs.start),
            (needs.to_resume(needs.start) - 1, true, needs.start),
            (needs.to_resume(needs.start), false, needs.ballast),
        ];
        space.owe(7);
        let steps = steps.map(|(bytes, refused, held)| (if bytes > 0 { bytes + 7 } else { 0 }, refused, held));
        for (at, (bytes, refused, held)) in steps.into_iter().enumerate() {
            free.store(bytes, Ordering::SeqCst);
            space.tend();
            assert_eq!((space.shortage().is_some(), ballast()), (refused, held), "step {at}");
        }
        space.release();
        assert_eq!((space.shortage().is_some(), ballast()), (true, needs.start));
        space.owe(0);
        let spare = TOTAL - needs.reserve;
        free.store(TOTAL, Ordering::SeqCst);
        assert_eq!(space.shortage_for(spare), None);
        let short = space.shortage_for(spare + 1).unwrap();
        assert_eq!((short.free, short.needed), (TOTAL, TOTAL + 1), "the reserve is the log's");
        assert_eq!([(); 2].map(|()| Space::give_up(dir.path()).unwrap()), [true, false]);
        assert_eq!(ballast(), 0);
    }

    #[test]
    fn a_shortage_says_what_to_do() {
        let shortage = Shortage { dir: "/data/log".into(), free: 3 * MIB as u64, needed: 41_943_041 };
        assert_eq!(
            shortage.to_string(),
            "the disk below /data/log is full: 3 MiB are free, and 41 MiB must be for writes to go on. Reads go on. Free some \
             space there; writes then go on by themselves"
        );
    }
}
