//! What the store keeps on disk besides layers: blobs, image records, names. Every write is a synced rename, so that a file is
//! there whole or not at all; every read of a blob checks its digest.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write},
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

use nix::fcntl::{Flock, FlockArg};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use super::{digest::Digest, error::ImageError};

/// An image: which layers under which configuration.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImageRecord {
    pub id: Digest,
    /// Lowest first.
    pub layers: Vec<Digest>,
    /// Unpacked bytes of all layers.
    pub size: u64,
    pub imported_ms: i64,
}

/// A name (`registry/repository:tag` or `registry/repository@digest`) and what it stands for.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NameRecord {
    pub name: String,
    pub id: Digest,
}

/// Beside an unpacked layer.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LayerRecord {
    pub diff_id: Digest,
    pub bytes: u64,
    pub files: u64,
}

/// The store's folders.
#[derive(Clone, Debug)]
pub struct Records {
    root: PathBuf,
}

/// Held while names, records and layers change together; other processes wait.
pub struct IndexLock(#[allow(dead_code, reason = "unlocks when dropped")] Flock<File>);

impl Records {
    pub fn open(root: &Path) -> Result<Self, ImageError> {
        let records = Self { root: root.to_path_buf() };
        for folder in ["blobs/sha256", "images", "names", "layers", "tmp"] {
            let path = root.join(folder);
            fs::create_dir_all(&path).map_err(ImageError::io(format!("making {}", path.display())))?;
        }
        Ok(records)
    }

    pub fn lock(&self) -> Result<IndexLock, ImageError> {
        let path = self.root.join("index.lock");
        let what = || format!("locking {}", path.display());
        let file =
            OpenOptions::new().create(true).truncate(false).write(true).open(&path).map_err(ImageError::io(what()))?;
        let lock = Flock::lock(file, FlockArg::LockExclusive).map_err(|(_, e)| ImageError::sys(what())(e))?;
        Ok(IndexLock(lock))
    }

    pub fn layers_dir(&self) -> PathBuf {
        self.root.join("layers")
    }

    pub fn tmp_dir(&self) -> PathBuf {
        self.root.join("tmp")
    }

    pub fn layer_dir(&self, diff_id: &Digest) -> PathBuf {
        self.layers_dir().join(diff_id.hex())
    }

    /// Where the layer's files are.
    pub fn layer_files(&self, diff_id: &Digest) -> PathBuf {
        self.layer_dir(diff_id).join("diff")
    }

    pub fn layer(&self, diff_id: &Digest) -> Result<Option<LayerRecord>, ImageError> {
        read_json(&self.layer_dir(diff_id).join("layer.json"))
    }

    pub fn blob_path(&self, digest: &Digest) -> PathBuf {
        self.root.join("blobs/sha256").join(digest.hex())
    }

    /// Writes the blob, also over a damaged one.
    pub fn put_blob(&self, content: &[u8]) -> Result<Digest, ImageError> {
        let digest = Digest::of(content);
        self.write(&self.blob_path(&digest), content)?;
        Ok(digest)
    }

    /// The blob of an image; its absence or another content is damage.
    pub fn blob(&self, image: &Digest, digest: &Digest, what: &str) -> Result<Vec<u8>, ImageError> {
        let damaged = |actual: String| ImageError::Damaged { id: image.clone(), what: what.to_owned(), actual };
        let path = self.blob_path(digest);
        let content = match fs::read(&path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Err(damaged("none: it is missing".into())),
            other => other.map_err(ImageError::io(format!("reading {}", path.display())))?,
        };
        let actual = Digest::of(&content);
        if actual == *digest { Ok(content) } else { Err(damaged(actual.to_string())) }
    }

    pub fn image(&self, id: &Digest) -> Result<Option<ImageRecord>, ImageError> {
        read_json(&self.image_path(id))
    }

    pub fn put_image(&self, record: &ImageRecord) -> Result<(), ImageError> {
        self.write(&self.image_path(&record.id), &to_json(record))
    }

    pub fn remove_image(&self, id: &Digest) -> Result<(), ImageError> {
        remove_file(&self.image_path(id))
    }

    pub fn images(&self) -> Result<Vec<ImageRecord>, ImageError> {
        read_all(&self.root.join("images"))
    }

    pub fn name(&self, canonical: &str) -> Result<Option<NameRecord>, ImageError> {
        read_json(&self.name_path(canonical))
    }

    pub fn put_name(&self, record: &NameRecord) -> Result<(), ImageError> {
        self.write(&self.name_path(&record.name), &to_json(record))
    }

    pub fn remove_name(&self, canonical: &str) -> Result<(), ImageError> {
        remove_file(&self.name_path(canonical))
    }

    pub fn names(&self) -> Result<Vec<NameRecord>, ImageError> {
        let mut names: Vec<NameRecord> = read_all(&self.root.join("names"))?;
        names.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(names)
    }

    /// Digests of the files in `blobs` or the folders in `layers`.
    pub fn digests_in(&self, folder: &Path) -> Result<Vec<Digest>, ImageError> {
        let mut digests = Vec::new();
        for entry in read_dir(folder)? {
            if let Some(digest) = entry.to_str().and_then(|hex| Digest::parse(&format!("sha256:{hex}"))) {
                digests.push(digest);
            }
        }
        Ok(digests)
    }

    pub fn blobs_dir(&self) -> PathBuf {
        self.root.join("blobs/sha256")
    }

    fn image_path(&self, id: &Digest) -> PathBuf {
        self.root.join("images").join(format!("{}.json", id.hex()))
    }

    fn name_path(&self, canonical: &str) -> PathBuf {
        self.root.join("names").join(format!("{}.json", Digest::of(canonical.as_bytes()).hex()))
    }

    fn write(&self, path: &Path, content: &[u8]) -> Result<(), ImageError> {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let unique = format!("write-{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let draft = self.tmp_dir().join(unique);
        let write = || -> io::Result<()> {
            let mut file = File::create(&draft)?;
            file.write_all(content)?;
            file.sync_data()?;
            fs::rename(&draft, path)?;
            sync_dir(path.parent().expect("records lie in folders"))
        };
        write().map_err(|source| {
            // The error that is reported is the first one; a leftover draft is swept at the next start.
            let _ = fs::remove_file(&draft);
            ImageError::Io { what: format!("writing {}", path.display()), source }
        })
    }
}

pub fn sync_dir(path: &Path) -> io::Result<()> {
    File::open(path)?.sync_all()
}

pub fn to_json(record: &impl Serialize) -> Vec<u8> {
    serde_json::to_vec_pretty(record).expect("records have string keys")
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, ImageError> {
    let what = || format!("reading {}", path.display());
    let content = match fs::read(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(ImageError::io(what()))?,
    };
    let record = serde_json::from_slice(&content).map_err(|e| ImageError::io(what())(e.into()))?;
    Ok(Some(record))
}

fn read_all<T: DeserializeOwned>(folder: &Path) -> Result<Vec<T>, ImageError> {
    let mut records = Vec::new();
    for name in read_dir(folder)? {
        // One that went away meanwhile was removed by another process.
        records.extend(read_json(&folder.join(name))?);
    }
    Ok(records)
}

pub fn read_dir(folder: &Path) -> Result<Vec<std::ffi::OsString>, ImageError> {
    let what = || format!("listing {}", folder.display());
    let entries = fs::read_dir(folder).map_err(ImageError::io(what()))?;
    entries.map(|entry| entry.map(|e| e.file_name())).collect::<io::Result<_>>().map_err(ImageError::io(what()))
}

fn remove_file(path: &Path) -> Result<(), ImageError> {
    match fs::remove_file(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => {
            other.map_err(ImageError::io(format!("removing {}", path.display())))?;
            sync_dir(path.parent().expect("records lie in folders")).map_err(ImageError::io("syncing the store"))
        }
    }
}
