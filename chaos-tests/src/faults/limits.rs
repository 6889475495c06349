//! Every bound of the faults on real processes.

use std::time::Duration;

/// What the harness waits for is there by then, or the scenario has failed.
pub const WAIT_MAX: Duration = Duration::from_secs(90);
/// Between two looks at a condition.
pub const POLL: Duration = Duration::from_millis(20);
/// A request that is not answered within this time has an unknown outcome.
pub const REQUEST_TIME_MAX: Duration = Duration::from_secs(8);
pub const CONNECT_TIME_MAX: Duration = Duration::from_millis(500);
/// Between two attempts of a client whose server did not answer.
pub const CLIENT_PAUSE: Duration = Duration::from_millis(5);
/// A watch is asked to end by then, so that watchers resume often, faults or not.
pub const WATCH_SECONDS: u32 = 5;
/// Operations on one register, so that checking its history stays cheap.
pub const REGISTER_OPERATIONS: usize = 64;
/// A server that was asked to end has ended by then.
pub const SHUTDOWN_TIME_MAX: Duration = Duration::from_secs(20);
/// How long a one-way partition lasts before anybody asks who leads: several election timeouts.
pub const SILENCE: Duration = Duration::from_secs(2);
