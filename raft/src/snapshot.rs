//! Snapshots: a checkpoint of the state's database, a manifest that names and checksums its files, and the chunks they travel in.
//!
//! A snapshot is a directory: the files of the checkpoint and `MANIFEST.kontiki`. It gets its name last, so what is called otherwise
//! is a draft. Files are hard links to the live database's, so taking one copies next to nothing.

use std::fs::{self, File};
use std::io::{ErrorKind, Read, Seek, SeekFrom, Write};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};

use bincode::{Decode, Encode};
use kontiki_model::Revision;

use crate::codec::{self, AppliedRecord, CodecError, Tag};
use crate::disk::{DiskError, sync_dir};
use crate::limits::SNAPSHOT_CHUNK_BYTES;

const MANIFEST: &str = "MANIFEST.kontiki";
const FILES_MAX: usize = 100_000;
/// How the name of a snapshot begins that is complete; anything else is a draft.
const PUBLISHED: &str = "snapshot-";
const LOOK: &str = "look for snapshots";

/// What a snapshot is of, and what it is made of.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct Manifest {
    pub term: u64,
    pub index: Option<u64>,
    pub revision: Revision,
    /// The consensus module's own membership record.
    pub membership: Vec<u8>,
    pub files: Vec<SnapshotFile>,
}

#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct SnapshotFile {
    pub name: String,
    pub bytes: u64,
    pub crc32: u32,
}

impl Manifest {
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// How many chunks its files make.
    pub fn chunks(&self) -> u64 {
        self.files.iter().map(|file| file.bytes.div_ceil(SNAPSHOT_CHUNK_BYTES as u64).max(1)).sum()
    }
}

/// A piece of one file of a snapshot.
#[derive(Clone, Debug, PartialEq, Eq, Encode, Decode)]
pub struct Chunk {
    /// Position of the file in the manifest.
    pub file: u32,
    pub offset: u64,
    pub crc32: u32,
    pub bytes: Vec<u8>,
}

#[derive(Debug, thiserror::Error)]
pub enum SnapshotError {
    #[error("cannot {step} of a snapshot")]
    Io { step: &'static str, source: std::io::Error },
    #[error("a snapshot's manifest is damaged")]
    Manifest(#[from] CodecError),
    #[error("a snapshot's manifest names the file {0:?}, which is not a plain file name")]
    Name(String),
    #[error("chunk at {offset} of snapshot file {file} was not expected, or is damaged")]
    Chunk { file: u32, offset: u64 },
    #[error("snapshot file {0} is incomplete or damaged")]
    File(String),
}

impl SnapshotError {
    /// Whether it is only that there was no room on the disk.
    pub fn is_full(&self) -> bool {
        matches!(self, SnapshotError::Io { source, .. } if source.kind() == ErrorKind::StorageFull)
    }
}

/// A complete snapshot on disk. When it is retired, its files go with its last reader.
#[derive(Debug)]
pub struct SnapshotDir {
    path: PathBuf,
    manifest: Manifest,
    retired: AtomicBool,
}

impl Drop for SnapshotDir {
    fn drop(&mut self) {
        if self.retired.load(Ordering::SeqCst)
            && let Err(error) = fs::remove_dir_all(&self.path)
        {
            tracing::warn!(path = %self.path.display(), %error, "an old snapshot cannot be removed");
        }
    }
}

impl SnapshotDir {
    /// The newest complete snapshot below a directory, if there is one. Nothing is changed.
    pub fn find(dir: &Path) -> Result<Option<Self>, DiskError> {
        let mut newest: Option<SnapshotDir> = None;
        for path in below(dir)?.into_iter().filter(|path| is_published(path)) {
            match Self::read(&path) {
                Ok(found) if newest.as_ref().is_none_or(|one| one.position() < found.position()) => {
                    newest = Some(found);
                }
                Ok(_) => {}
                Err(SnapshotError::Io { source, .. }) if source.kind() != ErrorKind::NotFound => {
                    return Err(DiskError::io(LOOK)(source));
                }
                Err(reason) => tracing::warn!(path = %path.display(), %reason, "a snapshot is damaged"),
            }
        }
        Ok(newest)
    }

    /// Removes everything else below a directory: drafts, and what this one replaces.
    pub fn remove_others(dir: &Path, current: Option<&Path>) -> Result<(), DiskError> {
        for path in below(dir)?.into_iter().filter(|path| Some(path.as_path()) != current) {
            tracing::info!(path = %path.display(), "removing an unfinished or replaced snapshot");
            fs::remove_dir_all(&path).map_err(DiskError::io("remove a snapshot"))?;
        }
        Ok(())
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    pub fn manifest(&self) -> &Manifest {
        &self.manifest
    }

    /// Its files go when the last handle is dropped.
    pub fn retire(&self) {
        self.retired.store(true, Ordering::SeqCst);
    }

    /// The snapshot in pieces, in the order a [`SnapshotReceiver`] wants them. Blocks on the disk.
    pub fn chunks(&self) -> impl Iterator<Item = Result<Chunk, SnapshotError>> + '_ {
        let pieces = |file: &SnapshotFile| (0..file.bytes.max(1)).step_by(SNAPSHOT_CHUNK_BYTES);
        let places = self
            .manifest
            .files
            .iter()
            .enumerate()
            .flat_map(move |(at, file)| pieces(file).map(move |offset| (at, file, offset)));
        places.map(|(at, file, offset)| {
            let length = (file.bytes - offset).min(SNAPSHOT_CHUNK_BYTES as u64) as usize;
            let mut bytes = vec![0; length];
            let read = File::open(self.path.join(&file.name)).and_then(|mut file| {
                file.seek(SeekFrom::Start(offset))?;
                file.read_exact(&mut bytes)
            });
            read.map_err(io("read a file"))?;
            Ok(Chunk { file: at as u32, offset, crc32: crc32fast::hash(&bytes), bytes })
        })
    }

    /// Puts the database of this snapshot at a path that does not exist yet. Tables are linked: they never change.
    pub fn copy_database(&self, path: &Path) -> Result<(), DiskError> {
        let step = "copy a snapshot's database";
        fs::create_dir_all(path).map_err(DiskError::io(step))?;
        for SnapshotFile { name, .. } in &self.manifest.files {
            let (from, to) = (self.path.join(name), path.join(name));
            if name.ends_with(".sst") {
                fs::hard_link(from, to).map_err(DiskError::io(step))?;
            } else {
                fs::copy(from, &to).map_err(DiskError::io(step))?;
                File::open(to).and_then(|file| file.sync_all()).map_err(DiskError::io(step))?;
            }
        }
        sync_dir(path)
    }

    fn position(&self) -> Option<u64> {
        self.manifest.index
    }

    fn read(path: &Path) -> Result<Self, SnapshotError> {
        let frame = fs::read(path.join(MANIFEST)).map_err(io("read the manifest"))?;
        let manifest: Manifest = codec::decode(Tag::Snapshot, &frame)?;
        for file in &manifest.files {
            let length = fs::metadata(path.join(&file.name)).map_err(io("read a file"))?.len();
            if length != file.bytes {
                return Err(SnapshotError::File(file.name.clone()));
            }
        }
        Ok(SnapshotDir { path: path.to_owned(), manifest, retired: AtomicBool::new(false) })
    }
}

/// What is to become a snapshot. Until it has, it goes when it is dropped: its files take room, and may hold what is shredded
/// elsewhere.
#[derive(Debug)]
pub struct Draft {
    path: PathBuf,
    published: bool,
}

impl Drop for Draft {
    fn drop(&mut self) {
        if self.published {
            return;
        }
        match fs::remove_dir_all(&self.path) {
            Err(error) if error.kind() != ErrorKind::NotFound => {
                tracing::warn!(path = %self.path.display(), %error, "an unfinished snapshot cannot be removed");
            }
            _ => {}
        }
    }
}

impl Draft {
    /// What lies at a path, or will.
    pub fn at(path: PathBuf) -> Self {
        Draft { path, published: false }
    }

    /// Completes a checkpoint: checksums its files, writes the manifest, gives it its final name. May be tried again.
    pub fn complete(&mut self, applied: &AppliedRecord) -> Result<SnapshotDir, SnapshotError> {
        let AppliedRecord { term, index, revision, membership, .. } = applied.clone();
        let manifest = Manifest { term, index, revision, membership, files: describe(&self.path)? };
        self.publish(manifest)
    }

    fn publish(&mut self, manifest: Manifest) -> Result<SnapshotDir, SnapshotError> {
        let draft = self.path.as_path();
        let step = "write the manifest";
        let mut file = File::create(draft.join(MANIFEST)).map_err(io(step))?;
        file.write_all(&codec::encode(Tag::Snapshot, &manifest)).map_err(io(step))?;
        file.sync_all().map_err(io(step))?;
        // An older snapshot of the same entry may still be read: each gets a name of its own.
        let (term, index) = (manifest.term, manifest.index.unwrap_or_default());
        let name = |copy: u32| format!("{PUBLISHED}{term}-{index}-{copy}");
        let names = (0..u32::MAX).map(|copy| draft.with_file_name(name(copy)));
        let path = names.into_iter().find(|path| !path.exists()).expect("some number is free");
        fs::rename(draft, &path).map_err(io("name the directory"))?;
        self.published = true;
        for dir in [Some(path.as_path()), path.parent()].into_iter().flatten() {
            File::open(dir).and_then(|dir| dir.sync_all()).map_err(io("sync the directory"))?;
        }
        Ok(SnapshotDir { path, manifest, retired: AtomicBool::new(false) })
    }
}

/// Checks a snapshot's chunks as they come: each, that they are in order, then each file, then the whole.
pub struct Verifier {
    manifest: Manifest,
    file: usize,
    offset: u64,
    hasher: crc32fast::Hasher,
}

impl Verifier {
    pub fn new(manifest: Manifest) -> Self {
        Verifier { manifest, file: 0, offset: 0, hasher: crc32fast::Hasher::new() }
    }

    /// The file that the next chunk belongs to.
    pub fn file(&self) -> Option<&SnapshotFile> {
        self.manifest.files.get(self.file)
    }

    /// True if the chunk is right and completes its file.
    pub fn check(&mut self, chunk: &Chunk) -> Result<bool, SnapshotError> {
        let unexpected = || SnapshotError::Chunk { file: chunk.file, offset: chunk.offset };
        let expected = self.file().ok_or_else(unexpected)?;
        let end = chunk.offset.checked_add(chunk.bytes.len() as u64).ok_or_else(unexpected)?;
        let in_order = (chunk.file as usize, chunk.offset) == (self.file, self.offset);
        let fits = chunk.bytes.len() <= SNAPSHOT_CHUNK_BYTES && end <= expected.bytes;
        if !in_order || !fits || crc32fast::hash(&chunk.bytes) != chunk.crc32 {
            return Err(unexpected());
        }
        let complete = end == expected.bytes;
        let (name, crc32) = (expected.name.clone(), expected.crc32);
        self.hasher.update(&chunk.bytes);
        self.offset = end;
        if complete {
            if std::mem::take(&mut self.hasher).finalize() != crc32 {
                return Err(SnapshotError::File(name));
            }
            (self.file, self.offset) = (self.file + 1, 0);
        }
        Ok(complete)
    }

    /// What the chunks were of; an error if some are missing.
    pub fn finish(self) -> Result<Manifest, SnapshotError> {
        match self.file() {
            Some(missing) => Err(SnapshotError::File(missing.name.clone())),
            None => Ok(self.manifest),
        }
    }
}

/// Takes a snapshot's chunks in order and puts them where they belong.
pub struct SnapshotReceiver {
    draft: Draft,
    verifier: Verifier,
    open: Option<File>,
}

impl SnapshotReceiver {
    /// Starts a draft below the snapshots' directory; one that was begun before is thrown away.
    pub fn begin(dir: &Path, manifest: Manifest) -> Result<Self, SnapshotError> {
        let plain = |name: &str| Path::new(name).file_name() == Some(name.as_ref()) && name != MANIFEST;
        if let Some(file) = manifest.files.iter().find(|file| !plain(&file.name)) {
            return Err(SnapshotError::Name(file.name.clone()));
        }
        let draft = dir.join("receiving");
        if draft.exists() {
            fs::remove_dir_all(&draft).map_err(io("remove an earlier draft"))?;
        }
        fs::create_dir_all(&draft).map_err(io("create the draft"))?;
        Ok(SnapshotReceiver { draft: Draft::at(draft), verifier: Verifier::new(manifest), open: None })
    }

    pub fn accept(&mut self, chunk: &Chunk) -> Result<(), SnapshotError> {
        let name = self.verifier.file().map(|file| file.name.clone());
        let complete = self.verifier.check(chunk)?;
        let name = name.expect("a chunk that was found right belongs to a file");
        if self.open.is_none() {
            self.open = Some(File::create(self.draft.path.join(name)).map_err(io("create a file"))?);
        }
        let file = self.open.as_mut().expect("opened above");
        file.write_all(&chunk.bytes).map_err(io("write a file"))?;
        if complete {
            file.sync_all().map_err(io("sync a file"))?;
            self.open = None;
        }
        Ok(())
    }

    pub fn finish(mut self) -> Result<SnapshotDir, SnapshotError> {
        self.draft.publish(self.verifier.finish()?)
    }
}

/// What lies below the snapshots' directory.
fn below(dir: &Path) -> Result<Vec<PathBuf>, DiskError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(DiskError::io(LOOK))?,
    };
    entries.map(|entry| Ok(entry.map_err(DiskError::io(LOOK))?.path())).collect()
}

fn is_published(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(PUBLISHED.as_bytes()))
}

fn describe(dir: &Path) -> Result<Vec<SnapshotFile>, SnapshotError> {
    let mut files = Vec::new();
    for entry in fs::read_dir(dir).map_err(io("list the files"))? {
        let entry = entry.map_err(io("list the files"))?;
        let name = entry.file_name().into_string().map_err(|name| SnapshotError::Name(format!("{name:?}")))?;
        // Of an attempt that found no room.
        if name == MANIFEST {
            continue;
        }
        let (bytes, crc32) = checksum(&entry.path()).map_err(io("read a file"))?;
        files.push(SnapshotFile { name, bytes, crc32 });
    }
    assert!(files.len() <= FILES_MAX, "a database of this size is not a snapshot");
    files.sort_by(|left, right| left.name.cmp(&right.name));
    Ok(files)
}

fn checksum(path: &Path) -> std::io::Result<(u64, u32)> {
    let (mut file, mut hasher) = (File::open(path)?, crc32fast::Hasher::new());
    let (mut buffer, mut bytes) = (vec![0; SNAPSHOT_CHUNK_BYTES], 0);
    loop {
        match file.read(&mut buffer)? {
            0 => return Ok((bytes, hasher.finalize())),
            read => {
                hasher.update(&buffer[..read]);
                bytes += read as u64;
            }
        }
    }
}

fn io(step: &'static str) -> impl FnOnce(std::io::Error) -> SnapshotError {
    move |source| SnapshotError::Io { step, source }
}
