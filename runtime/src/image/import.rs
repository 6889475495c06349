//! Takes an archive in: spool and decompress, recognise, unpack, commit.

use std::{
    fs::{self, File},
    io::{self, Write},
    path::{Path, PathBuf},
    pin::Pin,
};

use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};

use super::{
    archive::{Archive, TarIndex},
    compression::{Compression, decompress},
    config::ConfigFile,
    digest::LimitedReader,
    error::ImageError,
    formats::{Plan, PlannedConfig, PlannedLayer, missing, plan},
    layer::Budget,
    limits::{ARCHIVE_BYTES_MAX, COMMIT_ATTEMPTS_MAX},
    records::Records,
    reference::ImageName,
    scratch::Scratch,
    store::{Commit, ImageInfo, blocking, commit, present},
    tarball::reading,
    unpack::{Expected, PreparedLayer, prepare},
};

/// Where an image comes from.
pub enum ImportSource {
    Path(PathBuf),
    /// Read to its end; an error of the stream fails the import.
    Stream(Pin<Box<dyn AsyncRead + Send>>),
}

impl From<&Path> for ImportSource {
    fn from(path: &Path) -> Self {
        Self::Path(path.to_path_buf())
    }
}

pub async fn import(records: &Records, name: Option<ImageName>, source: ImportSource) -> Result<ImageInfo, ImageError> {
    let for_scratch = records.clone();
    let scratch = blocking(move || Scratch::new(&for_scratch)).await?;
    let (path, shown) = match source {
        ImportSource::Path(path) => (path.clone(), path.display().to_string()),
        ImportSource::Stream(stream) => {
            let spooled = scratch.path().join("stream");
            spool(stream, &spooled).await?;
            (spooled, "stream".to_owned())
        }
    };
    let records = records.clone();
    blocking(move || import_path(&records, &scratch, name.as_ref(), &path, &shown)).await
}

async fn spool(stream: Pin<Box<dyn AsyncRead + Send>>, to: &Path) -> Result<(), ImageError> {
    let writing = || ImageError::io("storing the stream");
    let mut file = tokio::fs::File::create(to).await.map_err(writing())?;
    let copied = tokio::io::copy(&mut stream.take(ARCHIVE_BYTES_MAX + 1), &mut file).await.map_err(writing())?;
    if copied > ARCHIVE_BYTES_MAX {
        return Err(ImageError::TooLarge {
            what: "the stream".into(),
            limit: format!("{} GiB", ARCHIVE_BYTES_MAX >> 30),
        });
    }
    file.flush().await.map_err(writing())
}

fn import_path(
    records: &Records,
    scratch: &Scratch,
    name: Option<&ImageName>,
    path: &Path,
    shown: &str,
) -> Result<ImageInfo, ImageError> {
    let named = |error: ImageError| match error {
        ImageError::NotAnImage { path, why } if path == "input" => {
            ImageError::NotAnImage { path: shown.to_owned(), why }
        }
        other => other,
    };
    let archive = open(scratch, path, shown).map_err(named)?;
    let plan = plan(&archive, shown, name).map_err(named)?;
    let reference = plan.names[0].canonical();
    if let PlannedConfig::Given(config) = &plan.config {
        // Before gigabytes are unpacked for nothing.
        ConfigFile::parse(config)?.check_platform(&reference)?;
    }
    let names: Vec<String> = plan
        .names
        .iter()
        .flat_map(|name| {
            let digests = plan.manifests.iter().map(|digest| name.with_digest(digest.as_str()));
            std::iter::once(name.canonical()).chain(digests)
        })
        .collect();
    for attempt in 0..COMMIT_ATTEMPTS_MAX {
        let layers = prepare_layers(records, scratch, &archive, &plan, attempt)?;
        let diff_ids: Vec<_> = layers.iter().map(|layer| layer.record.diff_id.clone()).collect();
        let made_up;
        let config = match &plan.config {
            PlannedConfig::Given(config) => config,
            PlannedConfig::MadeUp(body) => {
                made_up = ConfigFile::made_up(&diff_ids, body.as_ref());
                &made_up
            }
        };
        if let Some(info) = commit(records, &Commit { scratch, config, layers: &layers, names: &names })? {
            return Ok(info);
        }
    }
    Err(ImageError::Io {
        what: "importing".into(),
        source: io::Error::other("layers are being collected as fast as they are found; try again"),
    })
}

/// Opens the archive for reading by member: a compressed one is decompressed into the scratch folder first.
fn open(scratch: &Scratch, path: &Path, shown: &str) -> Result<Archive, ImageError> {
    let opening = || ImageError::io(format!("opening {shown}"));
    let metadata = match fs::metadata(path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(ImageError::NotAnImage { path: shown.to_owned(), why: "there is no such file".into() });
        }
        other => other.map_err(opening())?,
    };
    if metadata.is_dir() {
        return Ok(Archive::Directory(path.to_path_buf()));
    }
    let file = File::open(path).map_err(opening())?;
    let (mut plain, compression) = decompress(&file).map_err(reading)?;
    if compression == Compression::None && metadata.is_file() {
        drop(plain);
        let file = File::open(path).map_err(opening())?;
        return Ok(Archive::Tar(TarIndex::read(file)?));
    }
    let target = scratch.path().join("archive");
    let mut out = File::options().create_new(true).read(true).write(true).open(&target).map_err(opening())?;
    io::copy(&mut LimitedReader::new(&mut plain, ARCHIVE_BYTES_MAX), &mut out)
        .map_err(|error| spool_error(error, &target))?;
    out.flush().map_err(opening())?;
    // By a name of its own: the index reads from the start.
    Ok(Archive::Tar(TarIndex::read(File::open(&target).map_err(opening())?)?))
}

/// A full disk is not a damaged archive.
fn spool_error(error: io::Error, target: &Path) -> ImageError {
    match error.kind() {
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded => {
            ImageError::Io { what: format!("decompressing to {}", target.display()), source: error }
        }
        _ => reading(error),
    }
}

fn prepare_layers(
    records: &Records,
    scratch: &Scratch,
    archive: &Archive,
    plan: &Plan,
    attempt: u32,
) -> Result<Vec<PreparedLayer>, ImageError> {
    let budget = Budget::default();
    let mut prepared = Vec::new();
    for (number, layer) in plan.layers.iter().enumerate() {
        if let Some(diff_id) = &layer.diff_id
            && let Some(present) = present(records, diff_id)?
        {
            prepared.push(present);
            continue;
        }
        let folder = scratch.path().join(format!("layer-{attempt}-{number}"));
        let layer = unpack_layer(archive, layer, &folder, &budget, number)?;
        prepared.push(layer);
    }
    Ok(prepared)
}

fn unpack_layer(
    archive: &Archive,
    layer: &PlannedLayer,
    folder: &Path,
    budget: &Budget,
    number: usize,
) -> Result<PreparedLayer, ImageError> {
    let expected = Expected { blob: layer.blob.as_ref(), diff_id: layer.diff_id.as_ref() };
    match (&layer.member, archive) {
        (Some(path), _) => {
            let blob = archive.open(path)?.ok_or_else(|| missing(path))?;
            prepare(blob, expected, folder, budget, &format!("layer {}", number + 1))
        }
        (None, Archive::Tar(index)) => prepare(index.whole()?, expected, folder, budget, "root filesystem"),
        (None, Archive::Directory(_)) => unreachable!("a directory without a layout is refused by `plan`"),
    }
}
