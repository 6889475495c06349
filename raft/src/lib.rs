//! The log and what is derived from it: state, history, watch, snapshots, membership.
//! Knows keys, heads and bytes; knows no kind, no HTTP, no Kubernetes struct.
//!
//! Within: [`command`] enters the log, `state` decides purely what it changes, [`event`] is what comes of it. `store` keeps
//! state and history, `watch` tells them on, `snapshot` packs them up. RocksDB stays inside `disk`, openraft inside
//! `consensus`, bincode inside `codec`; [`Log`] is the door.
mod aside;
pub mod backup;
mod codec;
pub mod command;
mod config;
mod consensus;
mod disk;
mod error;
pub mod event;
mod housekeeping;
pub mod limits;
mod log;
mod outage;
mod seal;
mod shred;
#[doc(hidden)]
pub mod simulation;
pub mod snapshot;
mod state;
mod status;
mod store;
mod transport;
mod watch;

pub use aside::set_aside;
pub use command::{Author, Command, Expect, Malformed, Mutation, Precondition, Rejection};
pub use config::LogConfig;
pub use consensus::{MemberStatus, Proof, Start};
pub use disk::{DiskError, Shortage};
pub use error::{OpenError, ProposeError, ReadError};
pub use event::{Event, EventKind, Stored};
pub use log::{Applied, Log};
pub use outage::Outage;
pub use seal::{SEALED, Seal, SealCensus, SealFault, Standing, Unopened};
pub use status::{Leadership, LostEntries, Role, Status};
pub use store::{Filter, HistoryLimits, ListOptions, Page, Rest, Retain};
pub use transport::{Dial, Member, PeerStream};
pub use watch::{Subject, Watch, WatchItem};
