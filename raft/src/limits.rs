//! Every bound of this crate, by name, and how they relate. Durations say their unit; the rest are counts or bytes.

use std::time::Duration;

pub const KIB: usize = 1024;
pub const MIB: usize = 1024 * KIB;

/// Bytes of one encoded log entry. Kubernetes takes 3 MiB in a request; an atomic apply carries several.
pub const ENTRY_BYTES_MAX: usize = 16 * MIB;
/// Mutations, and preconditions, of one command.
pub const COMMAND_PARTS_MAX: usize = 8_192;
/// Bytes of one part of a key; Kubernetes' own limit for names and namespaces is 253.
pub const KEY_PART_BYTES_MAX: usize = 512;

/// Entries that are applied and written as one batch.
pub const APPLY_BATCH_ENTRIES: usize = 256;
/// Entries that one read of the log returns, and their bytes.
pub const LOG_READ_ENTRIES: usize = 256;
pub const LOG_READ_BYTES: usize = 32 * MIB;
/// The newest entries, kept decoded between append and apply.
pub const LOG_CACHE_ENTRIES: usize = 2_048;
pub const LOG_CACHE_BYTES: usize = 16 * MIB;
/// Free bytes on the disk below which no write is taken, or that share of a small one.
pub const DISK_RESERVE_BYTES: u64 = 64 * MIB as u64;
pub const DISK_RESERVE_SHARE: u64 = 6;
/// Bytes that are held back, and given up so that what is under way gets to a full disk, or that share of a small one.
pub const BALLAST_BYTES: u64 = 32 * MIB as u64;
pub const BALLAST_SHARE: u64 = 16;
/// That share of it is kept for the next start: databases cannot be opened without writing.
pub const START_SHARE: u64 = 4;
/// What RocksDB sets aside for the list of its files.
pub const MANIFEST_PREALLOCATION_BYTES: usize = 64 * KIB;
/// How often the free space is looked at, and how long what finds none waits before it tries again.
pub const SPACE_INTERVAL: Duration = Duration::from_millis(250);
pub const SPACE_RETRY: Duration = Duration::from_millis(100);
/// How often the leader asks the others for the space they lack.
pub const ROOM_INTERVAL: Duration = Duration::from_millis(500);
/// How long what is committed waits for an append that notes it too.
pub const COMMITTED_NOTE_DELAY: Duration = Duration::from_millis(10);
/// Appends that wait for one `fdatasync`.
pub const FLUSH_QUEUE: usize = 4_096;
/// Readers that wait for one read index.
pub const BARRIER_QUEUE: usize = 4_096;

/// Recent events shared by all watchers.
pub const RING_EVENTS: usize = 8_192;
pub const RING_BYTES: usize = 16 * MIB;
/// What one watcher may hold before it delivers it.
pub const WATCH_BATCH_EVENTS: usize = 128;
pub const WATCH_BATCH_BYTES: usize = MIB;
/// Event records that a watcher behind the ring reads from disk in one step.
pub const WATCH_SCAN_RECORDS: usize = 2_048;
/// Events of one key that one call answers with.
pub const KEY_HISTORY_EVENTS_MAX: usize = 1_000;

/// Objects that one answer names of those whose bodies cannot be opened.
pub const UNOPENED_TOLD_MAX: usize = 10;

/// Keys that one call asks RocksDB for; what they find is pinned meanwhile.
pub const READ_MANY_KEYS: usize = 512;

/// How much of the past is kept, by class.
pub const HISTORY_BYTES: u64 = 1024 * MIB as u64;
pub const HISTORY_AGE: Duration = Duration::from_secs(7 * 24 * 3600);
pub const HISTORY_SHORT_BYTES: u64 = 64 * MIB as u64;
pub const HISTORY_SHORT_AGE: Duration = Duration::from_secs(3600);
pub const HISTORY_SENSITIVE_BYTES: u64 = 256 * MIB as u64;
pub const HISTORY_SENSITIVE_AGE: Duration = HISTORY_AGE;
/// After files were rewritten to shred what they held, as many times that long nothing is shredded again.
pub const SHRED_REST: u32 = 20;
/// Event records that one step of history compaction looks at.
pub const PRUNE_STEP_RECORDS: usize = 1_024;
/// Steps of history compaction in one round of housekeeping.
pub const PRUNE_STEPS: usize = 64;

/// Log entries, or bytes of them, after which a snapshot is taken so that the log can be purged.
pub const SNAPSHOT_ENTRIES: u64 = 50_000;
pub const SNAPSHOT_LOG_BYTES: u64 = 256 * MIB as u64;
/// Entries that are applied again after a crash, about.
pub const STATE_FLUSH_ENTRIES: u64 = 10_000;
/// Entries that stay in the log behind a snapshot, for followers that are only a little late.
pub const LOG_KEEP_ENTRIES: u64 = 40_000;
/// How long taking one may last; its files are checksummed.
pub const SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(600);
/// How long purging the log waits for those who still read it.
pub const PURGE_TIMEOUT: Duration = Duration::from_secs(10);
pub const SNAPSHOT_POLL: Duration = Duration::from_millis(100);
pub const SNAPSHOT_RETRY: Duration = Duration::from_secs(1);
pub const SNAPSHOT_CHUNK_BYTES: usize = MIB;
/// One part of a backup: the longest is the list of its files.
pub const BACKUP_FRAME_BYTES_MAX: usize = 32 * MIB;
/// Snapshots that a backup takes, at most, until one holds all that was acknowledged when it was asked for.
pub const BACKUP_ATTEMPTS: usize = 3;
/// A restored or recovered cluster begins at the revision that a cluster would be at which had given out so many each
/// millisecond since the beginning of 2026. None does, so all that was given out before lies below, by whichever cluster.
pub const REVISIONS_PER_MS: u64 = 100;
pub const REVISIONS_SINCE_MS: i64 = 1_767_225_600_000;
/// Ranges of skipped revisions that a log remembers, one for each time it was restored or recovered.
pub const GAPS_MAX: usize = 1_024;

/// The log's files: how long each grows, how far it is laid out ahead of what is written, what is written without waiting for a sync.
pub const LOG_SEGMENT_BYTES: u64 = 16 * MIB as u64;
pub const LOG_AHEAD_BYTES: u64 = MIB as u64 / 2;
pub const LOG_BUFFER_BYTES: usize = MIB;
/// What is left of the log when it is rewritten; one place in a segment is told in four bytes.
pub const LOG_REWRITE_BYTES_MAX: u64 = 2 << 30;

/// RocksDB's memory: write buffer and block cache of the state.
pub const STATE_WRITE_BUFFER_BYTES: usize = 32 * MIB;
pub const STATE_BLOCK_CACHE_BYTES: usize = 64 * MIB;
pub const OPEN_FILES_MAX: i32 = 256;
pub const VERIFY_READAHEAD_BYTES: usize = 2 * MIB;

/// Raft's clock.
pub const HEARTBEAT_MS: u64 = 50;
pub const ELECTION_TIMEOUT_MS_MIN: u64 = 150;
pub const ELECTION_TIMEOUT_MS_MAX: u64 = 300;
/// When a leader's process is found gone, followers ask for votes this far apart, so many times.
pub const FAILOVER_STAGGER: Duration = Duration::from_millis(15);
pub const FAILOVER_ROUNDS: usize = 5;
/// How long a write waits for its commit, or for being applied where it was asked for; then its fate is not known.
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(15);
/// One round of asking the leader for a read index.
pub const READ_ROUND_TIMEOUT: Duration = Duration::from_millis(1_000);
/// A learner that lacks no more entries than these is made a voter.
pub const CAUGHT_UP_ENTRIES: u64 = 200;
/// Adding a server, from its first entry (or a snapshot) to its vote.
pub const MEMBERSHIP_TIMEOUT: Duration = Duration::from_secs(900);
/// Handing leadership over, and answering what is in flight after it.
pub const TRANSFER_TIMEOUT: Duration = Duration::from_secs(3);
/// How long a leader that looks for its successor waits for a server to say that it is not about to end itself. Only those are
/// asked that it hears: one that is late is busy.
pub const STAYS_TIMEOUT: Duration = Duration::from_secs(1);
/// How long a server that was removed is told so. It may be dead; if not, it finds out by itself a little later.
pub const LET_GO_TIMEOUT: Duration = Duration::from_millis(300);
/// How often a server that is about to end looks whether the others are a majority still.
pub const FORSAKEN_POLL: Duration = Duration::from_millis(20);
/// How long opening waits for a leader.
pub const OPEN_TIMEOUT: Duration = Duration::from_secs(30);
/// How long a write or a linearizable read waits out a leader whose lease has just lapsed or who is just elected.
pub const LEADER_WAIT: Duration = Duration::from_secs(5);
/// Without a leader that has a majority for so long, no election will soon end that: nobody is told to try again.
pub const NO_MAJORITY_AFTER: Duration = Duration::from_secs(10);
/// How long a leader is waited for then.
pub const NO_MAJORITY_WAIT: Duration = Duration::from_millis(500);
/// Servers that nothing was heard of for longer take no part.
pub const PART_TAKEN_WITHIN: Duration = Duration::from_secs(2);
pub const LEADER_RETRY: Duration = Duration::from_millis(10);
/// When another server leads, what a former leader was sent is waited for until it has been silent for so long.
pub const FORMER_LEADER_SILENCE: Duration = Duration::from_millis(300);
/// How far a command's time may be ahead of the leader's clock, and the log's time ahead of a reader's.
pub const CLOCK_SLACK: Duration = Duration::from_secs(5);
pub const HOUSEKEEPING_INTERVAL: Duration = Duration::from_secs(1);

/// Numbers of servers are below this: JSON's numbers are exact that far.
pub const NODE_IDS: u64 = 1 << 53;
/// Bytes of one message between servers: an entry of the largest size, and what is around it.
pub const FRAME_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;
/// Requests of one connection that wait for their answers.
pub const CALLS_IN_FLIGHT: usize = 1_024;
/// Requests of one connection that the other side has taken and not begun with: so many that its reader never waits, for it
/// answers pings as well.
pub const SERVED_IN_FLIGHT: usize = 2 * CALLS_IN_FLIGHT;
/// Appends to one follower that wait for their answers, and the bytes of the entries in one of them (or one entry).
pub const APPENDS_IN_FLIGHT: usize = 32;
pub const APPEND_BYTES: usize = MIB;
/// Snapshot chunks on their way to one follower.
pub const CHUNKS_IN_FLIGHT: usize = 4;
/// What a follower is sent of a snapshot; the rest of the disk and the network is for the log.
pub const SNAPSHOT_BYTES_PER_SECOND: u32 = 48 * MIB as u32;
/// What gathers before it is written to a connection.
pub const WRITE_COALESCE_BYTES: usize = 64 * KIB;
/// Connecting, with all handshakes.
pub const DIAL_TIMEOUT: Duration = Duration::from_millis(1_000);
pub const RECONNECT_DELAY_MIN: Duration = Duration::from_millis(10);
pub const RECONNECT_DELAY_MAX: Duration = Duration::from_millis(100);
/// What goes on failing, for other reasons than before, is told no sooner again.
pub const TOLD_INTERVAL: Duration = Duration::from_secs(10);
/// How long a server that ends waits for the others to let go of their connections to it.
pub const LEAVE_TIMEOUT: Duration = Duration::from_secs(2);
/// A connection over which nothing comes for so long has a hung peer behind it.
pub const PEER_SILENCE: Duration = Duration::from_millis(2_000);
pub const PING_INTERVAL: Duration = Duration::from_millis(500);
/// The same while an answer is waited for.
pub const ASKING_PING_INTERVAL: Duration = Duration::from_millis(50);

const _: () = assert!(ENTRY_BYTES_MAX <= LOG_READ_BYTES, "any one entry can be read");
const _: () = assert!(ENTRY_BYTES_MAX <= LOG_CACHE_BYTES, "any one entry can be cached");
const _: () = assert!(WATCH_BATCH_EVENTS <= RING_EVENTS && WATCH_BATCH_BYTES <= RING_BYTES);
const _: () = assert!(APPLY_BATCH_ENTRIES <= LOG_CACHE_ENTRIES, "what is applied next is usually still cached");
const _: () = assert!(2 * SNAPSHOT_CHUNK_BYTES <= BACKUP_FRAME_BYTES_MAX, "any one chunk fits");
const _: () = assert!(HISTORY_SHORT_BYTES <= HISTORY_BYTES, "the short class is the shorter one");
const _: () = assert!(STATE_FLUSH_ENTRIES < SNAPSHOT_ENTRIES);
const _: () = assert!(LOG_KEEP_ENTRIES < SNAPSHOT_ENTRIES, "each snapshot frees something");
const _: () = assert!(ENTRY_BYTES_MAX + APPEND_BYTES <= FRAME_BYTES_MAX, "any one append fits in a frame");
const _: () = assert!(2 * SNAPSHOT_CHUNK_BYTES <= FRAME_BYTES_MAX, "any one chunk fits in a frame");
const _: () = assert!(APPENDS_IN_FLIGHT < CALLS_IN_FLIGHT && CALLS_IN_FLIGHT < SERVED_IN_FLIGHT);
const _: () = assert!(PING_INTERVAL.as_millis() * 3 < PEER_SILENCE.as_millis(), "a lost ping ends no connection");
const _: () =
    assert!(ASKING_PING_INTERVAL.as_millis() * 3 < FORMER_LEADER_SILENCE.as_millis(), "a late pong loses no answer");
const _: () = assert!(
    FORMER_LEADER_SILENCE.as_millis() + HEARTBEAT_MS as u128
        <= (ELECTION_TIMEOUT_MS_MIN + ELECTION_TIMEOUT_MS_MAX) as u128,
    "a leader that hangs has been silent for so long when another one is elected"
);
const _: () = assert!(2 * HEARTBEAT_MS < ELECTION_TIMEOUT_MS_MIN, "one lost heartbeat starts no election");
const _: () = assert!(ELECTION_TIMEOUT_MS_MIN < ELECTION_TIMEOUT_MS_MAX);
