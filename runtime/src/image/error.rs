//! What can go wrong with an image, said so that the reader knows what to do next.

use std::{io, path::PathBuf};

use super::digest::Digest;

/// A failure of the image store. `kind` is what a caller acts on, the text is for people.
#[derive(Debug, thiserror::Error)]
pub enum ImageError {
    #[error("invalid image name {name:?}: {why}")]
    InvalidName { name: String, why: String },
    #[error("image {0} not found")]
    NotFound(String),
    #[error("image {reference} not found in registry {registry}: {detail}")]
    NotInRegistry { reference: String, registry: String, detail: String },
    #[error("registry {registry} refused access to {reference}: {detail}")]
    Unauthorized { reference: String, registry: String, detail: String },
    #[error("registry {registry} cannot be reached: {detail}")]
    Unreachable { registry: String, detail: String },
    #[error("registry {registry} failed on {reference}: {detail}")]
    Registry { reference: String, registry: String, detail: String },
    #[error("{what}: digest mismatch: expected {expected}, actual {actual}")]
    DigestMismatch { what: String, expected: Digest, actual: Digest },
    #[error(
        "image {id} is damaged in the store: {what} has digest {actual}; remove it (`kontiki image rm {id}`) and import or pull it again"
    )]
    Damaged { id: Digest, what: String, actual: String },
    #[error("image {reference} is for {image}, this machine is {machine}: use an image built for {machine}")]
    WrongPlatform { reference: String, image: String, machine: String },
    #[error("the archive does not name its image: give a name, for instance `--name demo:1`")]
    NoName,
    #[error(
        "the archive holds {} images ({}): give the name of one of them, or save them one at a time",
        .0.len(), .0.join(", ")
    )]
    SeveralImages(Vec<String>),
    #[error("{path}: {why}")]
    NotAnImage { path: String, why: String },
    #[error("archive is truncated: {0}; copy or save it again")]
    Truncated(String),
    #[error("damaged archive: {0}")]
    BadArchive(String),
    #[error("layer entry {path:?}: {why}")]
    BadEntry { path: String, why: String },
    #[error("{what} is larger than the limit of {limit}")]
    TooLarge { what: String, limit: String },
    #[error("image {reference} is in use by a container: delete its pods first")]
    InUse { reference: String },
    #[error(
        "the image store {0} is on overlayfs, which cannot hold whiteouts: put the state directory on ext4, xfs, btrfs or a volume"
    )]
    StoreOnOverlay(PathBuf),
    #[error("images can only be unpacked by root: {0}")]
    NotRoot(io::Error),
    #[error("{what}: {source}")]
    Io { what: String, source: io::Error },
}

/// Classes of failure that callers treat differently.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImageErrorKind {
    /// Will not get better by itself: the name cannot be parsed.
    InvalidName,
    NotFound,
    Unauthorized,
    /// Network or registry trouble: worth another try.
    Unreachable,
    /// What was offered is not a usable image for this machine.
    Unusable,
    InUse,
    /// This machine's fault: disk, permissions.
    Local,
}

impl ImageError {
    pub fn kind(&self) -> ImageErrorKind {
        match self {
            Self::InvalidName { .. } => ImageErrorKind::InvalidName,
            Self::NotFound(_) | Self::NotInRegistry { .. } => ImageErrorKind::NotFound,
            Self::Unauthorized { .. } => ImageErrorKind::Unauthorized,
            Self::Unreachable { .. } | Self::Registry { .. } => ImageErrorKind::Unreachable,
            Self::DigestMismatch { .. }
            | Self::Damaged { .. }
            | Self::WrongPlatform { .. }
            | Self::NoName
            | Self::SeveralImages(_)
            | Self::NotAnImage { .. }
            | Self::Truncated(_)
            | Self::BadArchive(_)
            | Self::BadEntry { .. }
            | Self::TooLarge { .. } => ImageErrorKind::Unusable,
            Self::InUse { .. } => ImageErrorKind::InUse,
            Self::StoreOnOverlay(_) | Self::NotRoot(_) | Self::Io { .. } => ImageErrorKind::Local,
        }
    }

    pub(super) fn io(what: impl Into<String>) -> impl FnOnce(io::Error) -> Self {
        let what = what.into();
        move |source| Self::Io { what, source }
    }

    pub(super) fn sys(what: impl Into<String>) -> impl FnOnce(nix::Error) -> Self {
        let what = what.into();
        move |errno| Self::Io { what, source: errno.into() }
    }
}
