//! What every follower of the watch stream shares: informers, work queues, clients that name their cause, events.
//! Knows no particular kind; needs nothing but a Kubernetes API.

mod clients;
mod failure;
mod informer;
mod outage;
mod queue;
mod recorder;

/// The annotation in which a node says on which of its ports something listens, as in `22/TCP,53/UDP`.
pub const LISTENING: &str = "kontiki.dev/listening";

pub use clients::{Clients, caused_by};
pub use failure::{interruption, is_unserved, message};
pub use informer::{Change, Informer, ObjectKey, Subscription};
pub use outage::Outage;
pub use queue::Queue;
pub use recorder::{Note, Recorder, reference};
