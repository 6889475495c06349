//! The store's handle: what is there, under which names, and what may go.

use std::{
    collections::{HashMap, HashSet},
    fs,
    path::{Path, PathBuf},
    sync::Arc,
    time::{SystemTime, UNIX_EPOCH},
};

use serde::Serialize;
use tokio::sync::Mutex as AsyncMutex;

use super::{
    config::{ConfigFile, ImageConfig},
    digest::Digest,
    error::ImageError,
    import::{self, ImportSource},
    records::{ImageRecord, IndexLock, LayerRecord, NameRecord, Records, sync_dir},
    reference::ImageName,
    scratch::{Scratch, remove_all, sweep},
    unpack::PreparedLayer,
};

/// An image of the store.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct ImageInfo {
    /// Digest of the image configuration.
    pub id: Digest,
    /// `registry/repository:tag`, sorted.
    pub names: Vec<String>,
    /// `registry/repository@digest`, sorted.
    pub digests: Vec<String>,
    /// Lowest first.
    pub layers: Vec<Digest>,
    /// Unpacked bytes of all layers.
    pub size: u64,
    pub imported_ms: i64,
    pub config: ImageConfig,
}

/// What `remove` did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct Removed {
    pub untagged: Vec<String>,
    pub deleted: Vec<Digest>,
    pub bytes: u64,
}

/// What `gc` did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize)]
pub struct GcReport {
    pub images: u64,
    pub layers: u64,
    pub blobs: u64,
    /// Bytes of unpacked layers.
    pub bytes: u64,
}

/// A cheap handle; several of them, in several processes, may have one directory open.
#[derive(Clone, Debug)]
pub struct ImageStore {
    inner: Arc<Inner>,
}

#[derive(Debug)]
struct Inner {
    records: Records,
    /// Pulls under way, by name: the second of two waits and finds the layers there.
    pulls: AsyncMutex<HashMap<String, Arc<AsyncMutex<()>>>>,
}

impl ImageStore {
    /// Opens the store, making it where there is none, and sweeps what killed processes left.
    pub async fn open(directory: impl Into<PathBuf>) -> Result<Self, ImageError> {
        let directory = directory.into();
        let records = blocking(move || {
            let records = Records::open(&directory)?;
            let lock = records.lock()?;
            let swept = sweep(&records, &lock)?;
            if swept > 0 {
                tracing::info!(swept, "removed unfinished work from the image store");
            }
            Ok(records)
        })
        .await?;
        Ok(Self { inner: Arc::new(Inner { records, pulls: AsyncMutex::default() }) })
    }

    /// Takes an image in, under `name` or under the names in the archive. The source is a path to a plain root filesystem, a
    /// docker archive or an OCI layout, as a tar (also compressed by gzip or zstd) or, for a layout, as a directory; or a stream
    /// of such a tar.
    pub async fn import(&self, name: Option<&str>, source: ImportSource) -> Result<ImageInfo, ImageError> {
        let name = name.map(ImageName::parse).transpose()?;
        import::import(&self.inner.records, name, source).await
    }

    /// The image of this name, `repository@digest` or id. Fails where its configuration is damaged.
    pub async fn resolve(&self, reference: &str) -> Result<Option<ImageInfo>, ImageError> {
        let reference = reference.to_owned();
        self.with_records(move |records| match find(records, &reference)? {
            Some(record) => info(records, record, &records.names()?).map(Some),
            None => Ok(None),
        })
        .await
    }

    /// All images, by their first name. A damaged one is in the list with an empty configuration.
    pub async fn list(&self) -> Result<Vec<ImageInfo>, ImageError> {
        self.with_records(|records| {
            let names = records.names()?;
            let mut images = Vec::new();
            for record in records.images()? {
                images.push(match info(records, record.clone(), &names) {
                    Err(error @ ImageError::Damaged { .. }) => {
                        tracing::warn!(%error, "damaged image");
                        with_config(record, ImageConfig::default(), &names)
                    }
                    other => other?,
                });
            }
            images.sort_by(|a, b| (&a.names, &a.id).cmp(&(&b.names, &b.id)));
            Ok(images)
        })
        .await
    }

    /// Removes a name, and with its last name the image; an id (or its first digits) removes the image with all its names.
    /// Refused while a container uses the image: `used` has the ids of all that are in use.
    pub async fn remove(&self, reference: &str, used: &HashSet<String>) -> Result<Removed, ImageError> {
        let (reference, used) = (reference.to_owned(), used.clone());
        self.with_records(move |records| remove(records, &reference, &used)).await
    }

    /// Deletes images without a name that are not in use, then layers and blobs of no image.
    pub async fn gc(&self, used: &HashSet<String>) -> Result<GcReport, ImageError> {
        let used = used.clone();
        self.with_records(move |records| {
            let scratch = Scratch::new(records)?;
            let lock = records.lock()?;
            let names = records.names()?;
            let mut report = GcReport::default();
            for image in records.images()? {
                let named = names.iter().any(|name| name.id == image.id && !name.name.contains('@'));
                if !named && !used.contains(image.id.as_str()) {
                    delete_image(records, &image.id, &names)?;
                    report.images += 1;
                }
            }
            collect(records, &scratch, &lock, &mut report)?;
            Ok(report)
        })
        .await
    }

    /// The image's layer directories, lowest first, as `rootfs::mount` takes them.
    pub fn layer_paths(&self, image: &ImageInfo) -> Vec<PathBuf> {
        image.layers.iter().map(|layer| self.inner.records.layer_files(layer)).collect()
    }

    pub(super) fn records(&self) -> &Records {
        &self.inner.records
    }

    /// The right to pull `name` alone.
    pub(super) async fn pull_turn(&self, name: &str) -> Arc<AsyncMutex<()>> {
        let mut pulls = self.inner.pulls.lock().await;
        // Turns that nobody holds are only noise.
        pulls.retain(|_, turn| Arc::strong_count(turn) > 1);
        pulls.entry(name.to_owned()).or_default().clone()
    }

    async fn with_records<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Records) -> Result<T, ImageError> + Send + 'static,
    ) -> Result<T, ImageError> {
        let records = self.inner.records.clone();
        blocking(move || work(&records)).await
    }
}

/// Runs file work where it may block. It goes on if the caller is dropped, and leaves the store whole.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, ImageError> + Send + 'static,
) -> Result<T, ImageError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(ImageError::Io { what: "running file work".into(), source: std::io::Error::other(error) }),
    }
}

/// Everything `commit` needs.
pub(super) struct Commit<'a> {
    pub scratch: &'a Scratch,
    pub config: &'a [u8],
    pub layers: &'a [PreparedLayer],
    /// Canonical names and digests the image gets.
    pub names: &'a [String],
}

/// Makes a prepared image part of the store. `None`: a layer that was there at first has been collected meanwhile.
pub(super) fn commit(records: &Records, commit: &Commit<'_>) -> Result<Option<ImageInfo>, ImageError> {
    let file = ConfigFile::parse(commit.config)?;
    assert_eq!(
        file.rootfs.diff_ids,
        commit.layers.iter().map(|layer| layer.record.diff_id.clone()).collect::<Vec<_>>(),
        "layers were checked against the configuration"
    );
    if commit.layers.iter().any(|layer| layer.folder.is_some()) {
        commit.scratch.sync()?;
    }
    let _lock = records.lock()?;
    for layer in commit.layers {
        let target = records.layer_dir(&layer.record.diff_id);
        if target.exists() {
            continue;
        }
        match &layer.folder {
            // The same layer twice in one image: the first one was moved, and is the target.
            Some(folder) => {
                fs::rename(folder, &target).map_err(ImageError::io(format!("moving {}", target.display())))?
            }
            None => return Ok(None),
        }
    }
    sync_dir(&records.layers_dir()).map_err(ImageError::io("syncing the layers"))?;
    let id = records.put_blob(commit.config)?;
    let record = match records.image(&id)? {
        Some(record) => record,
        None => ImageRecord {
            id: id.clone(),
            layers: file.rootfs.diff_ids.clone(),
            size: commit.layers.iter().map(|layer| layer.record.bytes).sum(),
            imported_ms: now_ms(),
        },
    };
    records.put_image(&record)?;
    for name in commit.names {
        records.put_name(&NameRecord { name: name.clone(), id: id.clone() })?;
    }
    Ok(Some(with_config(record, file.into_config(), &records.names()?)))
}

/// The layer where the store has it whole.
pub(super) fn present(records: &Records, diff_id: &Digest) -> Result<Option<PreparedLayer>, ImageError> {
    Ok(records.layer(diff_id)?.map(|record| PreparedLayer { record, folder: None }))
}

fn find(records: &Records, reference: &str) -> Result<Option<ImageRecord>, ImageError> {
    if let Some(id) = Digest::parse(reference).or_else(|| Digest::parse(&format!("sha256:{reference}"))) {
        return records.image(&id);
    }
    match records.name(&ImageName::parse(reference)?.canonical())? {
        Some(name) => records.image(&name.id),
        None => Ok(None),
    }
}

fn info(records: &Records, record: ImageRecord, names: &[NameRecord]) -> Result<ImageInfo, ImageError> {
    let raw = records.blob(&record.id, &record.id, "its configuration")?;
    for layer in &record.layers {
        if records.layer(layer)?.is_none() {
            let what = format!("layer {layer}");
            return Err(ImageError::Damaged { id: record.id, what, actual: "none: it is missing".into() });
        }
    }
    Ok(with_config(record, ConfigFile::parse(&raw)?.into_config(), names))
}

fn with_config(record: ImageRecord, config: ImageConfig, names: &[NameRecord]) -> ImageInfo {
    let own = names.iter().filter(|name| name.id == record.id).map(|name| name.name.clone());
    let (digests, names) = own.partition(|name| name.contains('@'));
    let ImageRecord { id, layers, size, imported_ms } = record;
    ImageInfo { id, names, digests, layers, size, imported_ms, config }
}

fn remove(records: &Records, reference: &str, used: &HashSet<String>) -> Result<Removed, ImageError> {
    let scratch = Scratch::new(records)?;
    let lock = records.lock()?;
    let names = records.names()?;
    let (image, untag_only) = find_to_remove(records, reference, &names)?;
    let own: Vec<&NameRecord> = names.iter().filter(|name| name.id == image).collect();
    if let Some(name) = untag_only
        && own.iter().any(|other| !other.name.contains('@') && other.name != name)
    {
        records.remove_name(&name)?;
        return Ok(Removed { untagged: vec![name], ..Removed::default() });
    }
    if used.contains(image.as_str()) {
        return Err(ImageError::InUse { reference: reference.to_owned() });
    }
    let untagged = own.iter().map(|name| name.name.clone()).collect();
    delete_image(records, &image, &names)?;
    let mut report = GcReport::default();
    collect(records, &scratch, &lock, &mut report)?;
    Ok(Removed { untagged, deleted: vec![image], bytes: report.bytes })
}

/// The image that is meant and, where it is meant by a tag, the tag.
fn find_to_remove(
    records: &Records,
    reference: &str,
    names: &[NameRecord],
) -> Result<(Digest, Option<String>), ImageError> {
    let not_found = || ImageError::NotFound(reference.to_owned());
    if let Some(image) = find(records, reference).or_else(|error| match error {
        // Not a name; the first digits of an id, perhaps.
        ImageError::InvalidName { .. } => Ok(None),
        other => Err(other),
    })? {
        let tag = ImageName::parse(reference).ok().map(|name| name.canonical());
        let tag = tag.filter(|tag| !tag.contains('@') && names.iter().any(|name| name.name == *tag));
        return Ok((image.id, tag));
    }
    let digits = reference.strip_prefix("sha256:").unwrap_or(reference);
    if digits.len() < ID_DIGITS_MIN || !digits.bytes().all(|b| b.is_ascii_hexdigit()) {
        return Err(not_found());
    }
    let mut matching = records.images()?.into_iter().filter(|image| image.id.hex().starts_with(digits));
    match (matching.next(), matching.next()) {
        (Some(image), None) => Ok((image.id, None)),
        (None, _) => Err(not_found()),
        (Some(_), Some(_)) => Err(ImageError::InvalidName {
            name: reference.to_owned(),
            why: "several images have an id that begins so: give more digits".into(),
        }),
    }
}

/// Digits of an id that are enough to mean it.
const ID_DIGITS_MIN: usize = 6;

/// Names first: a name of no image is harmless, an image of no name is what `gc` looks for.
fn delete_image(records: &Records, id: &Digest, names: &[NameRecord]) -> Result<(), ImageError> {
    for name in names.iter().filter(|name| name.id == *id) {
        records.remove_name(&name.name)?;
    }
    records.remove_image(id)
}

/// Moves layers and blobs of no image aside, to be deleted with the scratch folder, after the lock is given back.
fn collect(records: &Records, scratch: &Scratch, _held: &IndexLock, report: &mut GcReport) -> Result<(), ImageError> {
    let images = records.images()?;
    let layers: HashSet<&Digest> = images.iter().flat_map(|image| &image.layers).collect();
    let blobs: HashSet<&Digest> = images.iter().map(|image| &image.id).collect();
    for layer in records.digests_in(&records.layers_dir())? {
        if !layers.contains(&layer) {
            let LayerRecord { bytes, .. } =
                records.layer(&layer)?.unwrap_or(LayerRecord { diff_id: layer.clone(), bytes: 0, files: 0 });
            move_aside(&records.layer_dir(&layer), &scratch.path().join(layer.hex()))?;
            report.layers += 1;
            report.bytes += bytes;
        }
    }
    for blob in records.digests_in(&records.blobs_dir())? {
        if !blobs.contains(&blob) {
            remove_all(&records.blob_path(&blob))?;
            report.blobs += 1;
        }
    }
    Ok(())
}

fn move_aside(from: &Path, to: &Path) -> Result<(), ImageError> {
    fs::rename(from, to).map_err(ImageError::io(format!("removing {}", from.display())))
}

pub(super) fn now_ms() -> i64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    i64::try_from(since.as_millis()).unwrap_or(i64::MAX)
}
