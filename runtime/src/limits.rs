//! Every bound of the runtime, by name. Knows nothing of what it bounds.

use std::time::Duration;

/// Longest line of a container log entry; longer lines are cut into partial entries (CRI).
pub const LOG_LINE_BYTES_MAX: usize = 16 * 1024;
/// A log file is rotated when it would grow beyond this.
pub const LOG_FILE_BYTES_MAX: u64 = 10 * 1024 * 1024;
/// Log files kept per container, the current one included.
pub const LOG_FILES_MAX: usize = 5;
/// Bytes taken from one stream before the others get their turn.
pub const STREAM_READ_BYTES: usize = 64 * 1024;
/// Reads from one stream after its container exited; a pipe holds at most 1 MiB.
pub const STREAM_DRAIN_READS_MAX: usize = 64;
/// Output waiting for one attached client; a client further behind is cut off.
pub const ATTACH_BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// Input waiting for a container that does not read its stdin.
pub const STDIN_BUFFER_BYTES_MAX: usize = 64 * 1024;

/// One message on a socket of the shim.
pub const MESSAGE_BYTES_MAX: usize = 256 * 1024;
/// One message of a helper process to its shim.
pub const REPORT_BYTES_MAX: usize = 32 * 1024;
/// Messages waiting for one client of the shim.
pub const CLIENT_BUFFER_BYTES_MAX: usize = 1024 * 1024;
/// File descriptors in one message.
pub const MESSAGE_FDS_MAX: usize = 3;
/// Clients of one shim at a time.
pub const CLIENTS_MAX: usize = 256;
/// Commands and attachments that clients may have open in one sandbox. The rest of its shim's clients is the agent.
pub const SESSIONS_MAX: usize = 128;
/// Error lines kept of one failed helper.
pub const TRACES_MAX: usize = 16;
/// Path of a unix socket (`sun_path`), less its terminating zero.
pub const SOCKET_PATH_BYTES_MAX: usize = 107;

/// A helper that takes longer is killed and its operation fails.
pub const HELPER_TIME_MAX: Duration = Duration::from_secs(60);
/// A shim that has not said that it listens by then is given up.
pub const SHIM_START_TIME_MAX: Duration = Duration::from_secs(20);
/// A shim that lives and says nothing for so long is taken in as it was last; what it says later is heard.
pub const SHIM_FIRST_WORD_TIME_MAX: Duration = Duration::from_secs(5);
/// Sandboxes of an earlier agent that are looked at side by side.
pub const ADOPTIONS_MAX: usize = 64;
/// An answer of the shim, other than of operations that wait for a helper.
pub const SHIM_ANSWER_TIME_MAX: Duration = Duration::from_secs(90);
/// Between two attempts to remove what the kernel is still letting go of.
pub const REMOVE_RETRY_INTERVAL: Duration = Duration::from_millis(10);
pub const REMOVE_ATTEMPTS_MAX: usize = 500;
/// For folders that other sandboxes, or another agent, may still use.
pub const REMOVE_SHARED_ATTEMPTS_MAX: usize = 20;
/// Waiting subscribers of `Runtime::changes` that lag further lose the oldest ids.
pub const CHANGES_MAX: usize = 1024;

pub const SHM_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
pub const PASSWD_BYTES_MAX: u64 = 1024 * 1024;

const _: () = assert!(LOG_LINE_BYTES_MAX < STREAM_READ_BYTES);
const _: () = assert!((LOG_FILE_BYTES_MAX as usize) > 4 * STREAM_READ_BYTES);
const _: () = assert!(2 * SESSIONS_MAX <= CLIENTS_MAX);
const _: () = assert!(HELPER_TIME_MAX.as_secs() < SHIM_ANSWER_TIME_MAX.as_secs());
const _: () = assert!(STREAM_DRAIN_READS_MAX * STREAM_READ_BYTES >= 1024 * 1024);
