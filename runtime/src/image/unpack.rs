//! From a layer's blob to a prepared directory: decompress, unpack, and check both digests on the way.

use std::{
    fs,
    io::Read,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
};

use super::{
    compression::decompress,
    config::Descriptor,
    digest::{Digest, HashingReader, LimitedReader},
    error::ImageError,
    layer::{Budget, Unpacked, unpack},
    limits::ARCHIVE_BYTES_MAX,
    records::{LayerRecord, to_json},
    tarball::{TarReader, reading},
};

/// A layer that is ready to be moved into the store, or one that was there already.
#[derive(Clone, Debug)]
pub struct PreparedLayer {
    pub record: LayerRecord,
    /// A folder in the scratch space; `None` where the store had the layer.
    pub folder: Option<PathBuf>,
}

/// What is known of a layer before it is unpacked.
#[derive(Clone, Copy, Debug, Default)]
pub struct Expected<'a> {
    /// Of the blob as it is transported.
    pub blob: Option<&'a Descriptor>,
    /// Of the archive inside.
    pub diff_id: Option<&'a Digest>,
}

/// Unpacks a layer below `folder`, which is made. Blocking. On failure the folder's content is worthless.
pub fn prepare(
    blob: impl Read,
    expected: Expected<'_>,
    folder: &Path,
    budget: &Budget,
    what: &str,
) -> Result<PreparedLayer, ImageError> {
    let files = folder.join("diff");
    fs::create_dir_all(&files).map_err(ImageError::io(format!("making {}", files.display())))?;
    // The layer's root becomes the container's: the process' umask must not show.
    fs::set_permissions(&files, fs::Permissions::from_mode(0o755)).map_err(ImageError::io("chmod"))?;

    let mut blob = HashingReader::new(blob);
    let unpacked = unpack_archive(&mut blob, &files, budget);
    if let Some(descriptor) = expected.blob {
        // The blob's digest is asked first: it explains whatever else went wrong.
        let (actual, _) = blob.finish().map_err(reading)?;
        check(what, &descriptor.digest, &actual)?;
    }
    let (diff_id, Unpacked { bytes, files }) = unpacked?;
    if let Some(expected) = expected.diff_id {
        check(&format!("content of {what}"), expected, &diff_id)?;
    }
    let record = LayerRecord { diff_id, bytes, files };
    fs::write(folder.join("layer.json"), to_json(&record)).map_err(ImageError::io("writing a layer's record"))?;
    Ok(PreparedLayer { record, folder: Some(folder.to_path_buf()) })
}

fn unpack_archive(blob: impl Read, files: &Path, budget: &Budget) -> Result<(Digest, Unpacked), ImageError> {
    let (archive, _) = decompress(blob).map_err(reading)?;
    let archive = HashingReader::new(LimitedReader::new(archive, ARCHIVE_BYTES_MAX));
    let mut reader = TarReader::new(archive);
    let unpacked = unpack(&mut reader, files, budget)?;
    let (diff_id, _) = reader.into_inner().finish().map_err(reading)?;
    Ok((diff_id, unpacked))
}

pub fn check(what: &str, expected: &Digest, actual: &Digest) -> Result<(), ImageError> {
    if expected == actual {
        return Ok(());
    }
    Err(ImageError::DigestMismatch { what: what.to_owned(), expected: expected.clone(), actual: actual.clone() })
}
