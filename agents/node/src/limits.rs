//! Every bound of the node agent, in one place.

use std::time::Duration;

use crate::clock::Millis;

pub const PODS_MAX: u32 = 110;

pub const CRASH_BACKOFF_FIRST_MS: Millis = 10_000;
pub const CRASH_BACKOFF_MAX_MS: Millis = 300_000;
/// A container that ran longer than this since its last restart starts with a clean record.
pub const CRASH_BACKOFF_RESET_MS: Millis = 2 * CRASH_BACKOFF_MAX_MS;
const _: () = assert!(CRASH_BACKOFF_FIRST_MS < CRASH_BACKOFF_MAX_MS);

pub const PULL_BACKOFF_FIRST_MS: Millis = 10_000;
pub const PULL_BACKOFF_MAX_MS: Millis = 300_000;
/// How long a first error stays visible before its back-off is shown in its place.
pub const ERROR_SHOWN_MS: Millis = 5_000;
const _: () = assert!(ERROR_SHOWN_MS < PULL_BACKOFF_FIRST_MS);

/// Pause before a failed step of a pod (volumes, sandbox, container creation) is tried again.
pub const RETRY_MS: Millis = 10_000;
/// Pause between two attempts to remove what did not go away.
pub const REMOVE_RETRY_MS: Millis = 2_000;
/// Pause before a pod whose worker has died gets another.
pub const WORKER_RETRY: Duration = Duration::from_secs(2);
/// Pods look at the runtime this often even if it reported nothing.
pub const RESYNC: Duration = Duration::from_secs(60);

/// What a container gets between its stop signal and SIGKILL when its pre-stop hook, or the end of those that end before it,
/// took the whole grace period.
pub const GRACE_AFTER_WAIT: Duration = Duration::from_secs(2);
/// What a pod gets that was deleted with a grace period of zero.
pub const GRACE_MIN_S: i64 = 1;
pub const GRACE_DEFAULT_S: i64 = 30;
/// Ten years: whoever asks for more waits no longer, and times stay far from overflowing.
pub const GRACE_MAX_S: i64 = 10 * 365 * 24 * 3600;

pub const LEASE_PERIOD: Duration = Duration::from_secs(10);
pub const LEASE_DURATION_S: i32 = 40;
/// A node status without change is sent again after this time.
pub const NODE_STATUS_PERIOD: Duration = Duration::from_secs(300);
pub const NODE_STATUS_CHECK: Duration = Duration::from_secs(10);
pub const IMAGES_IN_STATUS_MAX: usize = 50;
/// Ports that a node says it listens on: it is in everybody's cache.
pub const LISTENING_MAX: usize = 4096;

pub const API_RETRY_FIRST: Duration = Duration::from_millis(200);
pub const API_RETRY_MAX: Duration = Duration::from_secs(10);
/// Attempts of one status write that meet somebody else's write.
pub const CONFLICTS_MAX: usize = 5;

pub const EVENT_QUEUE_MAX: usize = 1_024;

pub const PROBE_RESULTS_MAX: usize = 256;
/// Bytes of an HTTP answer or of a command's output that a probe reads.
pub const PROBE_OUTPUT_MAX: usize = 10 * 1024;
pub const PROBE_REDIRECTS_MAX: usize = 10;

pub const TERMINATION_MESSAGE_MAX: usize = 4_096;
/// Of all containers of a pod together.
pub const TERMINATION_MESSAGES_MAX: usize = 12 * 1024;
pub const TERMINATION_LOG_LINES_MAX: usize = 80;
pub const TERMINATION_LOG_BYTES_MAX: u64 = 2_048;

/// What is read of a file of variables.
pub const ENV_FILE_BYTES_MAX: u64 = 1 << 20;
/// Bounds of one variable of it, as Kubernetes has them.
pub const ENV_FILE_KEY_MAX: usize = 128;
pub const ENV_FILE_VALUE_MAX: usize = 32 * 1024;

/// A token is renewed when this share of its life is over, or after a day.
pub const TOKEN_RENEW_AT: f64 = 0.8;
pub const TOKEN_AGE_MAX_MS: Millis = 24 * 3_600 * 1_000;

/// Rotated files the runtime keeps of one log.
pub const LOG_FILES_MAX: usize = 5;

/// How often it is looked at what bounded pods have on the node's disk.
pub const STORAGE_CHECK: Duration = Duration::from_secs(10);
pub const IMAGE_GC_PERIOD: Duration = Duration::from_secs(300);
/// Images that can be pulled again go when less than this is free, until this is.
pub const IMAGE_GC_FREE_PERCENT_MIN: u64 = 15;
pub const IMAGE_GC_FREE_PERCENT: u64 = 20;
const _: () = assert!(IMAGE_GC_FREE_PERCENT_MIN < IMAGE_GC_FREE_PERCENT);
const _: () = assert!(DISK_PRESSURE_PERCENT < IMAGE_GC_FREE_PERCENT_MIN);
/// An image younger than this is left alone: its pod may just be on the way.
pub const IMAGE_AGE_MIN_MS: Millis = 120_000;

pub const MEMORY_PRESSURE_BYTES: u64 = 100 << 20;
/// Kubernetes' own threshold; but on a large disk a tenth is no want.
pub const DISK_PRESSURE_PERCENT: u64 = 10;
pub const DISK_PRESSURE_BYTES: u64 = 5 << 30;
pub const INODE_PRESSURE_PERCENT: u64 = 5;
pub const PID_PRESSURE_PERCENT: u64 = 5;
/// A pressure stays reported for this long after it was last seen.
pub const PRESSURE_HOLD_MS: Millis = 300_000;

/// How long a pod's clean-up waits for the answer to its final status before it asks again.
pub const PUBLISH_RETRY_MS: Millis = 1_000;
