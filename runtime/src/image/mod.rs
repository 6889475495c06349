//! The image store: content by digest below one directory, safe against being killed at any point and against others doing
//! the same thing at the same time. Speaks OCI; knows nothing of containers that run from it except that ids may be in use.
//!
//! ```text
//! blobs/sha256/<hex>     image configurations, checked at each read
//! images/<hex>.json      one record for each image: its layers, lowest first
//! names/<hex>.json       one record for each name or repository@digest
//! layers/<hex>/diff      an unpacked layer, ready to be an overlayfs lower directory; there whole or not at all
//! tmp/                   work in progress; what nobody holds a lock on is swept when the store is opened
//! ```
//!
//! Layers keep no blob: it would double the space, and an image that is damaged is fetched again.

mod answer;
mod archive;
mod compression;
mod config;
mod digest;
mod error;
mod formats;
mod import;
mod layer;
mod limits;
mod pull;
mod records;
mod reference;
mod registry;
mod scratch;
mod store;
mod tarball;
mod unpack;

#[cfg(test)]
mod tests;

pub use config::ImageConfig;
pub use digest::Digest;
pub use error::{ImageError, ImageErrorKind};
pub use import::ImportSource;
pub use limits::LAYERS_MAX;
pub use pull::{PullEvent, PullProgress};
pub use reference::ImageName;
pub use registry::Credentials;
pub use store::{GcReport, ImageInfo, ImageStore, Removed};
