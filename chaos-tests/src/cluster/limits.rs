//! How large, slow and long a simulated cluster is. Durations are of virtual time.

use std::time::Duration;

/// What watchers may lag behind before they read from disk: little, so that they do.
pub const RING_EVENTS: usize = 6;
/// Entries kept behind a snapshot: fewer than a server misses while it is away, so that it needs the snapshot.
pub const LOG_KEEP_ENTRIES: u64 = 4;
/// Of history, when it is compacted: bytes.
pub const HISTORY_BYTES: u64 = 24_000;

pub const WRITERS: u64 = 3;
pub const READERS: u64 = 2;
pub const WATCHERS: u64 = 3;
/// Objects that all of them fight for.
pub const OBJECTS: u64 = 5;

/// Between two operations of one client.
pub const THINK: Duration = Duration::from_millis(60);
/// How long a client waits for an answer before it does not know what became of its write.
pub const PATIENCE: Duration = Duration::from_millis(1_500);
pub const RETRY: Duration = Duration::from_millis(15);
/// Between two looks of a watcher.
pub const WATCH_PAUSE: Duration = Duration::from_millis(30);

/// One way of a message, at least; a slow one takes much longer.
pub const DELAY: Duration = Duration::from_micros(300);
pub const SLOW_DELAY: Duration = Duration::from_millis(120);
/// When a server gives up waiting for another one's answer.
pub const ANSWER_TIMEOUT: Duration = Duration::from_millis(250);
/// One sync of the log; a slow one takes much longer.
pub const SYNC: Duration = Duration::from_micros(400);
pub const SLOW_SYNC: Duration = Duration::from_millis(80);

/// Between two faults.
pub const FAULT_PAUSE: Duration = Duration::from_millis(250);
/// How often the cluster is looked at while it runs.
pub const LOOK: Duration = Duration::from_millis(20);
/// Everything is whole again: so long a cluster may take to have a leader and to agree.
pub const RECOVERY: Duration = Duration::from_secs(60);

/// Lines of the trace that a failure shows.
pub const TRACE_TAIL: usize = 60;
