//! What one image may come to, on the disk and in memory while it is unpacked.

use std::{
    path::Path,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::image::{
    error::ImageError,
    limits::{IMAGE_BYTES_MAX, IMAGE_DIRECTORY_NAMES_BYTES_MAX, IMAGE_FILES_MAX},
};

/// What an image may still unpack; shared by its layers, which may be unpacked at the same time.
#[derive(Debug)]
pub struct Budget {
    pub(super) bytes: AtomicU64,
    pub(super) files: AtomicU64,
    pub(super) directory_names: AtomicU64,
}

impl Default for Budget {
    fn default() -> Self {
        Self {
            bytes: AtomicU64::new(IMAGE_BYTES_MAX),
            files: AtomicU64::new(IMAGE_FILES_MAX),
            directory_names: AtomicU64::new(IMAGE_DIRECTORY_NAMES_BYTES_MAX),
        }
    }
}

impl Budget {
    pub(super) fn take_file(&self) -> Result<(), ImageError> {
        Self::take(&self.files, 1, || format!("{IMAGE_FILES_MAX} files"))
    }

    pub(super) fn take_bytes(&self, bytes: u64) -> Result<(), ImageError> {
        Self::take(&self.bytes, bytes, || format!("{} GiB unpacked", IMAGE_BYTES_MAX >> 30))
    }

    /// The paths of directories are kept in memory until the layer is unpacked.
    pub(super) fn take_directory(&self, path: &Path) -> Result<(), ImageError> {
        let limit = || format!("{} MiB of names of directories", IMAGE_DIRECTORY_NAMES_BYTES_MAX >> 20);
        Self::take(&self.directory_names, path.as_os_str().len() as u64, limit)
    }

    fn take(left: &AtomicU64, amount: u64, limit: impl Fn() -> String) -> Result<(), ImageError> {
        left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, |left| left.checked_sub(amount))
            .map(|_| ())
            .map_err(|_| ImageError::TooLarge { what: "the image".into(), limit: limit() })
    }
}
