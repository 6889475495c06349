//! From a checkpoint to the bytes of a backup, piece by piece.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::archive::Scratch;
use super::header::{Header, Origin};
use super::reader::Trailer;
use super::{BackupError, MAGIC};
use crate::codec::{self, Tag};
use crate::snapshot::SnapshotDir;
use crate::store::census;

/// A backup on its way out. It holds the checkpoint's files until it is dropped.
pub struct Backup {
    header: Header,
    snapshot: Arc<SnapshotDir>,
    /// Where the checkpoint lies, if it was made for this alone.
    _dir: Option<Scratch>,
}

impl Backup {
    /// Looks into a checkpoint: what it holds is read from the checkpoint itself, opened aside in `scratch`.
    pub(crate) fn of(snapshot: Arc<SnapshotDir>, origin: Origin, scratch: &Path) -> Result<Self, BackupError> {
        let census = census(&snapshot, scratch)?;
        let manifest = snapshot.manifest();
        let header = Header {
            format: 1,
            origin,
            term: manifest.term,
            index: manifest.index.unwrap_or_default(),
            // Revisions begin at one.
            first_revision: census.floor.max(1),
            last_revision: manifest.revision,
            first_time_ms: census.first_time_ms,
            last_time_ms: census.last_time_ms,
            objects: census.objects,
            files: manifest.files.len() as u64,
            bytes: manifest.files.iter().map(|file| file.bytes).sum(),
        };
        Ok(Backup { header, snapshot, _dir: None })
    }

    /// The checkpoint goes with the backup.
    pub(super) fn in_dir(self, dir: Scratch) -> Self {
        Backup { _dir: Some(dir), ..self }
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The bytes of the file, in pieces of about a chunk. Blocks on the disk.
    pub fn pieces(&self) -> impl Iterator<Item = Result<Bytes, BackupError>> + '_ {
        let json = serde_json::to_vec(&self.header).expect("a header holds nothing that JSON cannot");
        let opening = [
            MAGIC.to_vec(),
            framed(&codec::encode(Tag::BackupHeader, &json)),
            framed(&codec::encode(Tag::Snapshot, self.snapshot.manifest())),
        ];
        let chunks = self.snapshot.chunks().map(|chunk| Ok(framed(&codec::encode(Tag::BackupChunk, &chunk?))));
        let (mut sum, mut bytes) = (Sha256::new(), 0u64);
        let pieces = opening.into_iter().map(Ok::<_, BackupError>).chain(chunks).map(Some).chain([None]);
        pieces.map(move |piece| {
            let piece = match piece {
                Some(piece) => piece?,
                // After everything, and over everything.
                None => {
                    let trailer = Trailer { bytes, sha256: sum.clone().finalize().to_vec() };
                    framed(&codec::encode(Tag::BackupTrailer, &trailer))
                }
            };
            sum.update(&piece);
            bytes += piece.len() as u64;
            Ok(Bytes::from(piece))
        })
    }
}

fn framed(frame: &[u8]) -> Vec<u8> {
    let length = u32::try_from(frame.len()).expect("a frame is no longer than the codec allows");
    let mut out = Vec::with_capacity(frame.len() + 4);
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(frame);
    out
}
