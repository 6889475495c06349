//! Every bound of priority and fairness, by name. Where Kubernetes has the same figure, it is Kubernetes'.

use std::time::Duration;

/// Seats of a server, where its configuration names none: so many for each processor, within these bounds. The upper one is
/// what Kubernetes has on any machine.
pub const SEATS_PER_PROCESSOR: u32 = 50;
pub const SEATS_MIN: u32 = 100;
pub const SEATS_MAX: u32 = 600;
/// Objects that a list tells for each seat it takes, and the most seats it takes.
pub const OBJECTS_PER_SEAT: u32 = 100;
pub const WIDTH_MAX: u32 = 10;
/// No request takes more than this part of what its level has now: others must get in beside it.
pub const WIDTH_PART_OF_LEVEL: u32 = 2;
/// The part of a level's seats that is kept for requests that need a single one.
pub const NARROW_PART: u32 = 4;
/// A request that has waited in a queue for this part of its time is refused: the rest is for being answered.
pub const QUEUE_WAIT_PART: u32 = 4;
/// What a request is taken to last, for each seat, until it has ended.
pub const DURATION_ESTIMATE: Duration = Duration::from_millis(3);
/// How often seats that nobody uses are lent, and taken back.
pub const ADJUST_INTERVAL: Duration = Duration::from_secs(1);
/// How much of what a level wanted in the past counts at each adjustment: a half after five minutes.
pub const DEMAND_MEMORY: f64 = 0.9977;
/// Most seconds that a refused client is told to wait.
pub const RETRY_AFTER_S_MAX: u32 = 32;
/// So many refusals in each second of waiting make the next ones wait longer.
pub const REFUSALS_PER_SECOND: u32 = 3;
/// Queues that are kept for what they still owe, besides one for each request.
pub const SPENT_QUEUES_MAX: usize = 64;
/// A watch that tells what there is keeps its seat for so long at most: the rest is waiting for its client.
pub const LEASE_TIME_MAX: Duration = Duration::from_secs(5);
/// When more than this is on its way to clients, answers keep their requests' seats until they are taken.
pub const UNSENT_BYTES_FREE: usize = 64 * 1024 * 1024;
/// What an answer is counted as beside its body.
pub const ANSWER_OVERHEAD_BYTES: usize = 4 * 1024;
/// Pause before the conditions of flow schemas are looked at again after they could not be written.
pub const CONDITIONS_RETRY_INTERVAL: Duration = Duration::from_secs(1);

const _: () = assert!(QUEUE_WAIT_PART > 1);
const _: () = assert!(SEATS_MIN <= SEATS_MAX && WIDTH_MAX <= SEATS_MIN);
