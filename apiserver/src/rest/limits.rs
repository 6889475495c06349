//! Every bound of the generic store, by name.

use std::time::Duration;

use chrono::TimeDelta;

/// Attempts of one write that other writers keep overtaking; then it is a Conflict.
pub const WRITE_ATTEMPTS_MAX: usize = 64;
/// The same for a write that is charged to quotas. Writes of another server, which nothing keeps in line with this one's, may
/// overtake it for as long as they come without a pause.
pub const CHARGED_ATTEMPTS_MAX: usize = 2_048;
/// Times that a write of a custom object is read and judged by a kind that becomes another meanwhile.
pub const DEFINITION_ATTEMPTS_MAX: usize = 8;
/// How long a charged write waits for its turn; then it is decided without.
pub const TURN_WAIT_MAX: Duration = Duration::from_secs(5);
/// Namespaces with quotas that are remembered before those without a writer are forgotten.
pub const TURNS_SWEPT_AT: usize = 1_024;
/// Operations of a transaction that are decided before other requests have their turn.
pub const TRANSACTION_OPERATIONS_AT_ONCE: usize = 16;
/// Objects that a conversion webhook is sent at once, and their bytes.
pub const CONVERSION_BATCH_OBJECTS: usize = 500;
pub const CONVERSION_BATCH_BYTES: usize = 8 * 1024 * 1024;
/// Times that a list by a field of the request's version is begun on a present that is forgotten before it is read.
pub const SELECTED_ATTEMPTS_MAX: usize = 3;
/// Objects that one attempt of a write sees in other versions, to know who says what.
pub const FORMS_MAX: usize = 64;
/// Converted objects that are kept for further readers.
pub const CONVERTED_BYTES_MAX: usize = 16 * 1024 * 1024;
/// Random suffixes tried for one `generateName`.
pub const NAME_ATTEMPTS_MAX: usize = 8;
/// Longest name that a `generateName` is cut to, and the length of its random suffix.
pub const GENERATED_NAME_BYTES_MAX: usize = 63;
pub const SUFFIX_BYTES: usize = 5;
/// How long a `continue` token shows the state of its first page, as long as Kubernetes keeps one: clients are made to begin again
/// behind that, or to go on in the present.
pub const CONTINUE_TIME_MAX: TimeDelta = TimeDelta::minutes(5);
/// Objects that a watch reads at once for its initial events.
pub const INITIAL_EVENTS_PAGE: usize = 500;
/// Objects that a DELETE of a collection lists at once, and deletes at the same time.
pub const DELETE_COLLECTION_PAGE: usize = 500;
pub const DELETE_COLLECTION_WIDTH: usize = 16;
/// Rendered watch events that are kept for further watchers, and their bytes.
pub const FRAMES_MAX: usize = 1_024;
pub const FRAMES_BYTES_MAX: usize = 8 * 1024 * 1024;
/// A watch that asks for bookmarks gets one this often.
pub const BOOKMARK_INTERVAL: Duration = Duration::from_secs(60);
/// A watch whose kind is no more waits at most so long for what is applied to be told.
pub const DRAIN_TIME_MAX: Duration = Duration::from_secs(5);
/// A watch without `timeoutSeconds` ends after this time to twice this time, so that clients spread over the servers.
pub const WATCH_TIME_MIN: Duration = Duration::from_secs(1800);
/// Longest `timeoutSeconds` that is taken literally.
pub const WATCH_TIME_MAX: Duration = Duration::from_secs(24 * 3600);
/// Longest grace period, 68 years: a moment that clocks cannot tell is no end.
pub const GRACE_PERIOD_S_MAX: i64 = i32::MAX as i64;
/// Seconds a client waits before it asks again for a revision that does not exist yet.
pub const TOO_LARGE_RETRY_S: i32 = 1;
/// Bytes of a node agent's refusal that are told on.
pub const NODE_ERROR_BYTES_MAX: usize = 64 * 1024;
/// The part of an address or port pool that is left to those who ask for a value: a sixteenth of the addresses, a
/// thirty-second of the ports, within these bounds.
pub const RESERVED_MIN: u64 = 16;
pub const RESERVED_ADDRESSES_MAX: u64 = 256;
pub const RESERVED_PORTS_MAX: u64 = 128;

const _: () = assert!(WRITE_ATTEMPTS_MAX < CHARGED_ATTEMPTS_MAX);
const _: () = assert!(SUFFIX_BYTES < GENERATED_NAME_BYTES_MAX);
