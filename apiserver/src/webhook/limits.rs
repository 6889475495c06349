//! Every bound of calls to webhooks, by name.

use std::time::Duration;

/// Largest answer that is read: an object's patch in base64, or a batch of converted objects.
pub const ANSWER_BYTES_MAX: usize = 32 * 1024 * 1024;
/// Of an answer that refuses, so much is repeated.
pub const REFUSAL_BYTES_MAX: usize = 2 * 1024;
/// Webhooks whose connections are kept, the least recently asked goes first.
pub const CLIENTS_MAX: usize = 200;
/// Connections to one webhook that are kept for the next call, and for how long.
pub const IDLE_CONNECTIONS_MAX: usize = 25;
pub const IDLE_TIME_MAX: Duration = Duration::from_secs(90);
/// Addresses of one webhook that are tried for one connection.
pub const ADDRESSES_TRIED_MAX: usize = 4;
/// Connecting, handshake included, where the call itself is more patient.
pub const CONNECT_TIME_MAX: Duration = Duration::from_secs(10);
/// A conversion waits this long for an answer.
pub const CONVERSION_TIME_MAX: Duration = Duration::from_secs(30);

const _: () = assert!(REFUSAL_BYTES_MAX < ANSWER_BYTES_MAX);
