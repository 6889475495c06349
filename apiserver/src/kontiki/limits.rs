//! Every bound of what is told about the past, by name, and how they relate.

use std::time::Duration;

/// Events that one answer about an object tells, and how many unless it is said.
pub const HISTORY_EVENTS_MAX: usize = 500;
pub const HISTORY_EVENTS_DEFAULT: usize = 50;
/// Events of an object that are read at once, and the bytes after which an answer ends early.
pub const HISTORY_STEP_EVENTS: usize = 32;
pub const HISTORY_BYTES_MAX: usize = 8 * 1024 * 1024;
/// Events of one object that are looked through for a change of content, and how many at once.
pub const SEARCH_EVENTS_MAX: usize = 2_000;
pub const SEARCH_STEP_EVENTS: usize = 64;
/// Links of one chain of causes; further ones are cut off.
pub const LINKS_MAX: usize = 64;
/// Differences that one event tells; further ones are counted.
pub const CHANGES_MAX: usize = 64;
/// Nesting beyond which a difference is told as a whole.
pub const CHANGES_DEPTH_MAX: usize = 32;
/// Sets of definitions that are no more whose kinds are kept at hand for requests of the past.
pub const ERAS_MAX: usize = 4;
/// How often a stream without events says that it lives.
pub const PROGRESS_INTERVAL: Duration = Duration::from_secs(2);
/// How often the start of history is looked for while history is being dropped.
pub const START_TRIES: usize = 8;

const _: () = assert!(HISTORY_EVENTS_DEFAULT <= HISTORY_EVENTS_MAX);
const _: () = assert!(HISTORY_STEP_EVENTS <= kontiki_raft::limits::KEY_HISTORY_EVENTS_MAX, "one read gives a step");
const _: () = assert!(SEARCH_STEP_EVENTS <= kontiki_raft::limits::KEY_HISTORY_EVENTS_MAX, "one read gives a step");
