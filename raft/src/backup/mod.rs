//! A log in one file: saved while writes go on, verified, opened to read, and made the beginning of a new cluster.
//! Knows files, checksums and revisions; refuses to know what an object is, and who may have it.
//!
//! A file is a line of text, then frames (`length:u32le`, then a frame of `codec`): the [`Header`], the manifest of the state's
//! checkpoint, its files in chunks, a trailer with the SHA-256 of everything before it. Each frame carries a checksum, each
//! file another, so damage is found where it is, and a file that ends early is never taken for a whole one.
mod archive;
mod found;
mod header;
mod reader;
mod running;
mod source;
mod writer;

pub use archive::Archive;
pub use found::{Founded, Founding, Skip};
pub use header::{Header, Moment, Origin};
pub use reader::{Reader, Verified};
pub use source::{Figures, Stopped, UpTo};
pub use writer::Backup;

use std::io;

use crate::codec::CodecError;
use crate::snapshot::SnapshotError;
use crate::{DiskError, ReadError};

/// How every backup begins: readable, and telling the version of what follows.
const MAGIC: &[u8] = b"kontiki snapshot 1\n";
/// What all versions share.
const MAGIC_STEM: &[u8] = b"kontiki snapshot ";

/// Why a backup cannot be made, read or restored.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    #[error("this is not a snapshot of kontiki")]
    NotABackup,
    #[error("the snapshot was written in a format that this program does not know: {0}")]
    Version(String),
    #[error("the snapshot ends early, at byte {0}: it was not written to its end, or was cut")]
    Truncated(u64),
    #[error("the snapshot is damaged at byte {at}")]
    Damaged { at: u64, source: CodecError },
    #[error("the snapshot is damaged at byte {at}: {reason}")]
    Broken { at: u64, reason: String },
    #[error("the snapshot's files do not fit together")]
    Files(#[from] SnapshotError),
    #[error("the snapshot's SHA-256 is {found}, its content gives {computed}")]
    Checksum { found: String, computed: String },
    #[error("revision {asked} is not in the snapshot: it reaches from {first} to {last}")]
    OutOfRange { asked: u64, first: u64, last: u64 },
    #[error(
        "the snapshot cannot tell the state at that time: it reaches from its first event to when it was taken, which kontiki \
         snapshot inspect tells"
    )]
    TimeOutOfRange,
    #[error(
        "this machine's clock is behind what is restored, and revisions would be given out a second time: set the clock, or say how \
         many revisions are to be skipped (--skip-revisions)"
    )]
    ClockBehind,
    #[error("so many revisions cannot be skipped: there are none behind them")]
    NoRevisions,
    #[error("{0} is not empty")]
    NotEmpty(std::path::PathBuf),
    #[error("there is no log in {0}")]
    NoLog(std::path::PathBuf),
    #[error("the log is damaged: {0}")]
    LogDamaged(#[source] DiskError),
    #[error("cannot {step}")]
    Io { step: &'static str, source: io::Error },
    #[error(transparent)]
    Disk(#[from] DiskError),
    #[error(transparent)]
    Read(#[from] ReadError),
    #[error(transparent)]
    Open(#[from] crate::OpenError),
}

impl BackupError {
    /// Whether what is left of the log could be taken.
    pub fn is_loss(&self) -> bool {
        use crate::OpenError::{LogCut, LogLost};
        matches!(self, BackupError::LogDamaged(_) | BackupError::Open(LogCut { .. } | LogLost { .. }))
    }
}

fn io_error(step: &'static str) -> impl FnOnce(io::Error) -> BackupError {
    move |source| BackupError::Io { step, source }
}
