//! Every bound of the image store in one place, and how they relate. A refusal names the limit it met.

/// Entries of `rootfs.diff_ids`: what overlayfs takes as lower directories.
pub const LAYERS_MAX: usize = 500;
/// Bytes of file content of one image, after decompression.
pub const IMAGE_BYTES_MAX: u64 = 64 << 30;
/// Files, directories, links and devices of one image.
pub const IMAGE_FILES_MAX: u64 = 4_000_000;
/// Paths of the directories of one image: each is remembered until its layer is unpacked, for its time is set last.
pub const IMAGE_DIRECTORY_NAMES_BYTES_MAX: u64 = 256 << 20;
/// An archive or stream on its way in, as it is sent and after decompression.
pub const ARCHIVE_BYTES_MAX: u64 = 2 * IMAGE_BYTES_MAX;
/// A manifest, an index, `manifest.json`, `repositories`.
pub const MANIFEST_BYTES_MAX: u64 = 4 << 20;
/// An image configuration.
pub const CONFIG_BYTES_MAX: u64 = 8 << 20;
/// A long name, a long link or a PAX header of one tar entry.
pub const TAR_EXTENSION_BYTES_MAX: u64 = 1 << 20;
/// Data segments of one sparse file.
pub const TAR_SPARSE_SEGMENTS_MAX: usize = 100_000;
/// Members an image archive (not a root filesystem) is indexed for.
pub const ARCHIVE_MEMBERS_MAX: usize = 20_000;
/// Layers of one image downloaded at the same time.
pub const PULL_LAYERS_AT_ONCE: usize = 3;
/// Seconds to reach a registry, and seconds without a byte from it.
pub const PULL_CONNECT_S_MAX: u64 = 10;
pub const PULL_READ_S_MAX: u64 = 60;
/// The least that an answer of a registry brings within so many seconds, over and over until it ends.
pub const PULL_PROGRESS_BYTES_MIN: u64 = 512 << 10;
pub const PULL_PROGRESS_S_MAX: u64 = 120;
/// A token server's answer, and what is read of a refusal.
pub const PULL_TOKEN_BYTES_MAX: u64 = 64 << 10;
pub const PULL_REFUSAL_BYTES_MAX: usize = 64 << 10;
/// How often a commit that finds a layer collected under its feet extracts it again.
pub const COMMIT_ATTEMPTS_MAX: u32 = 3;

const _: () = assert!(MANIFEST_BYTES_MAX <= CONFIG_BYTES_MAX);
const _: () = assert!(PULL_CONNECT_S_MAX + PULL_READ_S_MAX < PULL_PROGRESS_S_MAX);
const _: () = assert!(IMAGE_BYTES_MAX < ARCHIVE_BYTES_MAX);
// A docker archive has up to three members for each layer, and a few more.
const _: () = assert!(ARCHIVE_MEMBERS_MAX > 4 * LAYERS_MAX);
