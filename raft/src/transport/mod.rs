//! What servers say to each other travels in frames over byte streams that somebody else made and authenticated.
//! Knows peers, frames, connections; refuses to know what a frame says, and who may connect.
//!
//! One connection per peer and [`Purpose`], so that a snapshot never holds up a heartbeat. A connection begins with a hello that
//! names cluster, sender and receiver and is checked; after it, requests are numbered, written as they come, and answered in
//! any order. Pings tell a hung peer from an idle one.
mod channel;
mod frame;
mod heard;
mod hello;
mod incoming;
mod peers;
mod refusals;
#[cfg(test)]
mod tests;

pub use channel::{CallError, Channel, Pending, Reach};
pub use frame::Frame;
pub use hello::Identity;
pub use incoming::{Incoming, accept};
pub use peers::{Peer, Peers};
pub use refusals::Refusals;

use std::fmt;
use std::io;

use futures::future::BoxFuture;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncWrite};

/// A byte stream to or from another server, authenticated by whoever made it.
pub trait PeerStream: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> PeerStream for T {}

/// How this server reaches another one.
///
/// An error of kind [`io::ErrorKind::ConnectionRefused`] says that the other's machine is there and its process is not: it starts
/// an election sooner if that was the leader. Any other error only says that it was not reached.
pub trait Dial: Send + Sync + 'static {
    fn dial(&self, member: &Member) -> BoxFuture<'static, io::Result<Box<dyn PeerStream>>>;

    /// Told once, before the first dial: the number under which this server is known, for who shows it when dialing.
    fn introduce(&self, _node: u64) {}
}

/// A server of the cluster, as people and other servers know it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Member {
    #[serde(default)]
    pub name: String,
    /// `host:port`.
    pub address: String,
}

impl fmt::Display for Member {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(out, "{} at {}", self.name, self.address)
    }
}

/// What a connection is for. The numbers are on the wire.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Purpose {
    /// Votes and heartbeats: small, never behind anything large.
    Control = 1,
    /// Log entries, pipelined in order.
    Replicate = 2,
    /// Writes, read indexes and changes of membership on their way to the leader.
    Forward = 3,
    Snapshot = 4,
}

impl Purpose {
    fn from_wire(byte: u8) -> Option<Purpose> {
        [Purpose::Control, Purpose::Replicate, Purpose::Forward, Purpose::Snapshot]
            .into_iter()
            .find(|purpose| *purpose as u8 == byte)
    }
}
