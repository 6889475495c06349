//! The watch stream: recent events in memory for everybody, and cursors over them that fall back to history on disk.
//! Knows keys and revisions; knows no selector, no protocol, no kind.
mod cursor;
mod hub;
mod subject;

pub use cursor::{Watch, WatchItem};
pub use hub::{Hub, Recent};
pub use subject::Subject;
