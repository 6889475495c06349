//! Every bound of the node's API, by name, and how they relate.

use std::time::Duration;

pub const CONNECTIONS_MAX: usize = 1_024;
pub const TLS_HANDSHAKE_MAX: Duration = Duration::from_secs(10);
pub const HEADER_READ_MAX: Duration = Duration::from_secs(10);
/// A connection is probed after this much silence, and again: a command without output is no reason to keep one whose caller's machine
/// is gone.
pub const PROBE_INTERVAL: Duration = Duration::from_secs(30);
/// What a connection without a certificate is kept for, unless a token lets its caller in: a stranger must not hold a place.
pub const STRANGER_MAX: Duration = Duration::from_secs(10);
/// Questions to the API server about tokens at a time: they share its attention with the node's own lease and statuses.
pub const REVIEWS_MAX: usize = 4;
pub const VERDICTS_MAX: usize = 256;
/// Of a token that is asked about: each of those is kept for a while.
pub const TOKEN_BYTES_MAX: usize = 16 * 1024;
/// As long as the kubelet takes a token's word.
pub const VERDICT_ALLOWED_TTL: Duration = Duration::from_secs(120);
/// Shorter: whoever is given a permission does not wait for long.
pub const VERDICT_REFUSED_TTL: Duration = Duration::from_secs(10);
/// Pause after the system refused to accept (out of file descriptors, for instance).
pub const ACCEPT_RETRY: Duration = Duration::from_millis(100);
/// What requests in work get to end when the server stops.
pub const SHUTDOWN_MAX: Duration = Duration::from_secs(5);
/// An upload that sends nothing for this long is given up.
pub const UPLOAD_IDLE_MAX: Duration = Duration::from_secs(120);

/// Bytes of a log file read at once.
pub const LOG_READ_BYTES: usize = 64 * 1024;
/// An entry of a log file that is longer is no entry: the runtime cuts lines at 16 KiB.
pub const LOG_ENTRY_BYTES_MAX: usize = 64 * 1024;
/// Pieces of a line held back until its end; a longer line is passed on in parts.
pub const LOG_LINE_BYTES_MAX: usize = 256 * 1024;
/// How far before the first of the last lines its own beginning is looked for, when another stream's lines lie between.
pub const LOG_TAIL_LOOKBACK_BYTES: u64 = 256 * 1024;
/// Log files of one container: `<log>`, `<log>.1` and so on.
pub const LOG_FILES_MAX: usize = 16;
/// A follower looks for news this soon after there was some, and this rarely when there has been none for long. Inotify would
/// tell at once, but a user has 128 instances of it by default, and followers would use up what containers need.
pub const LOG_POLL_MIN: Duration = Duration::from_millis(20);
pub const LOG_POLL_MAX: Duration = Duration::from_millis(250);

/// Bytes of a stream passed on at once.
pub const STREAM_READ_BYTES: usize = 32 * 1024;
/// Pieces of streams waiting in one direction.
pub const STREAM_PIECES_MAX: usize = 16;
/// After a command's end its output counts as complete when this long nothing comes: a process that it left behind may keep
/// the streams open for ever.
pub const DRAIN_QUIET: Duration = Duration::from_millis(250);
/// What a client gets to say goodbye after the end.
pub const CLOSE_MAX: Duration = Duration::from_secs(2);
/// What a client gets to open the streams of its command.
pub const STREAMS_OPEN_MAX: Duration = Duration::from_secs(30);
/// Bytes of SPDY in a tunnel that wait to be read.
pub const TUNNEL_BUFFER_BYTES: usize = 64 * 1024;
pub const SPDY_FRAME_BYTES_MAX: usize = 4 << 20;
/// A block of headers, decompressed.
pub const SPDY_HEADERS_BYTES_MAX: usize = 64 * 1024;
/// Connections that one client forwards at a time.
pub const FORWARDS_MAX: usize = 1_024;
pub const WEBSOCKET_MESSAGE_BYTES_MAX: usize = 4 << 20;
/// Two channels each, numbered by one byte whose last value closes a channel.
pub const PORTS_MAX: usize = 127;
/// Arguments of one command.
pub const COMMAND_ARGS_MAX: usize = 4_096;

const _: () = assert!(VERDICT_REFUSED_TTL.as_secs() < VERDICT_ALLOWED_TTL.as_secs());
const _: () = assert!(LOG_READ_BYTES <= LOG_ENTRY_BYTES_MAX);
const _: () = assert!(LOG_ENTRY_BYTES_MAX <= LOG_LINE_BYTES_MAX);
const _: () = assert!(LOG_POLL_MIN.as_millis() < LOG_POLL_MAX.as_millis());
const _: () = assert!(STREAM_READ_BYTES < WEBSOCKET_MESSAGE_BYTES_MAX);
const _: () = assert!(STREAM_READ_BYTES < SPDY_FRAME_BYTES_MAX && SPDY_FRAME_BYTES_MAX < 1 << 24);
