//! Every bound of the audit, by name.

use std::time::Duration;

/// Events between requests and the file; further ones are dropped and counted.
pub const QUEUE_EVENTS_MAX: usize = 10_000;
/// Bytes of bodies, addresses and user agents among them.
pub const QUEUE_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Events that are written before the file is flushed, if more are waiting.
pub const FLUSH_EVENTS: usize = 256;
/// Of a client's list of forwarders, so many addresses are told.
pub const SOURCE_ADDRESSES_MAX: usize = 16;
/// Pause after the file could not be opened; what comes meanwhile is dropped.
pub const REOPEN_INTERVAL: Duration = Duration::from_secs(1);
