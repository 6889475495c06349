//! From the bytes of a backup to what is in it: everything is verified before it is believed.

use std::io::{ErrorKind, Read};
use std::path::Path;

use bincode::{Decode, Encode};
use sha2::{Digest, Sha256};

use super::header::Header;
use super::{BackupError, MAGIC, MAGIC_STEM, io_error};
use crate::codec::{self, Tag};
use crate::limits::BACKUP_FRAME_BYTES_MAX;
use crate::snapshot::{Chunk, Manifest, SnapshotDir, SnapshotReceiver, Verifier};

const MAGIC_LINE_BYTES_MAX: usize = 64;
const LENGTH_BYTES: usize = 4;

/// How a backup ends.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub(super) struct Trailer {
    /// Of everything before it.
    pub bytes: u64,
    pub sha256: Vec<u8>,
}

/// A backup that was read to its end and is whole.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    pub header: Header,
    /// Of the file.
    pub bytes: u64,
    pub chunks: u64,
    /// Of everything but the trailer.
    pub sha256: String,
}

/// A backup that is being read, from a file or from a stream. Blocks on its source.
pub struct Reader<R> {
    source: R,
    sum: Sha256,
    offset: u64,
    header: Header,
    manifest: Manifest,
}

impl<R: Read> Reader<R> {
    /// Reads what the backup says of itself.
    pub fn open(source: R) -> Result<Self, BackupError> {
        let (header, manifest) = (Header::default(), Manifest::default());
        let mut reader = Reader { source, sum: Sha256::new(), offset: 0, header, manifest };
        reader.read_magic()?;
        let json: Vec<u8> = reader.frame(Tag::BackupHeader)?;
        let broken = |error: serde_json::Error| reader.broken(error.to_string());
        reader.header = serde_json::from_slice(&json).map_err(broken)?;
        reader.manifest = reader.frame(Tag::Snapshot)?;
        Ok(reader)
    }

    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Reads to the end and checks everything; keeps nothing.
    pub fn verify(mut self) -> Result<Verified, BackupError> {
        let mut verifier = Verifier::new(self.manifest.clone());
        let mut chunks = 0;
        self.each_chunk(|chunk| {
            chunks += 1;
            verifier.check(chunk).map(drop)
        })?;
        verifier.finish()?;
        let sha256 = self.read_trailer()?;
        Ok(Verified { header: self.header, bytes: self.offset, chunks, sha256 })
    }

    /// Unpacks into a directory, where it appears only if everything is right.
    pub(super) fn unpack(mut self, dir: &Path) -> Result<(Header, SnapshotDir), BackupError> {
        let mut receiver = SnapshotReceiver::begin(dir, self.manifest.clone())?;
        self.each_chunk(|chunk| receiver.accept(chunk))?;
        self.read_trailer()?;
        Ok((self.header, receiver.finish()?))
    }

    fn read_magic(&mut self) -> Result<(), BackupError> {
        let mut line = Vec::with_capacity(MAGIC_LINE_BYTES_MAX);
        while line.last() != Some(&b'\n') {
            let so_far = line.len().min(MAGIC_STEM.len());
            if line.len() == MAGIC_LINE_BYTES_MAX || line[..so_far] != MAGIC_STEM[..so_far] {
                return Err(BackupError::NotABackup);
            }
            let byte: [u8; 1] = self.read_array().map_err(|error| match error {
                BackupError::Truncated(_) if line.len() < MAGIC_STEM.len() => BackupError::NotABackup,
                other => other,
            })?;
            line.extend(byte);
        }
        match line.as_slice() {
            MAGIC => Ok(()),
            line if line.starts_with(MAGIC_STEM) => {
                let version = String::from_utf8_lossy(&line[MAGIC_STEM.len()..]).trim().to_owned();
                Err(BackupError::Version(version))
            }
            _ => Err(BackupError::NotABackup),
        }
    }

    /// As many chunks as the manifest's files make.
    fn each_chunk(
        &mut self,
        mut take: impl FnMut(&Chunk) -> Result<(), crate::snapshot::SnapshotError>,
    ) -> Result<(), BackupError> {
        for _ in 0..self.manifest.chunks() {
            let at = self.offset;
            let chunk: Chunk = self.frame(Tag::BackupChunk)?;
            take(&chunk).map_err(|error| match error {
                crate::snapshot::SnapshotError::Io { .. } => BackupError::Files(error),
                damaged => BackupError::Broken { at, reason: damaged.to_string() },
            })?;
        }
        Ok(())
    }

    /// The sum of all that was read; nothing may follow.
    fn read_trailer(&mut self) -> Result<String, BackupError> {
        let (at, computed) = (self.offset, self.sum.clone().finalize().to_vec());
        let trailer: Trailer = self.frame(Tag::BackupTrailer)?;
        if trailer.sha256 != computed || trailer.bytes != at {
            return Err(BackupError::Checksum { found: hex(&trailer.sha256), computed: hex(&computed) });
        }
        let mut more = [0];
        match self.source.read(&mut more).map_err(io_error("read the snapshot"))? {
            0 => Ok(hex(&computed)),
            _ => Err(self.broken("something follows its end")),
        }
    }

    fn frame<T: Decode<()>>(&mut self, tag: Tag) -> Result<T, BackupError> {
        let at = self.offset;
        let length = u32::from_le_bytes(self.read_array::<LENGTH_BYTES>()?) as usize;
        if length > BACKUP_FRAME_BYTES_MAX {
            return Err(BackupError::Broken { at, reason: format!("a part of {length} bytes") });
        }
        let mut frame = vec![0; length];
        self.fill(&mut frame)?;
        codec::decode(tag, &frame).map_err(|source| BackupError::Damaged { at, source })
    }

    fn read_array<const N: usize>(&mut self) -> Result<[u8; N], BackupError> {
        let mut bytes = [0; N];
        self.fill(&mut bytes)?;
        Ok(bytes)
    }

    fn fill(&mut self, buffer: &mut [u8]) -> Result<(), BackupError> {
        self.source.read_exact(buffer).map_err(|error| match error.kind() {
            ErrorKind::UnexpectedEof => BackupError::Truncated(self.offset),
            _ => BackupError::Io { step: "read the snapshot", source: error },
        })?;
        self.sum.update(&*buffer);
        self.offset += buffer.len() as u64;
        Ok(())
    }

    fn broken(&self, reason: impl Into<String>) -> BackupError {
        BackupError::Broken { at: self.offset, reason: reason.into() }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
