//! The other servers: who they are, and the channels to each.

use std::collections::HashMap;
use std::io;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::sync::watch;

use super::channel::{Channel, Connect, Reach};
use super::heard::Heard;
use super::hello::Identity;
use super::{Dial, Member, Purpose};

/// Clones share the channels.
#[derive(Clone)]
pub struct Peers {
    me: Identity,
    dial: Option<Arc<dyn Dial>>,
    known: Arc<Mutex<HashMap<u64, Arc<Peer>>>>,
    closed: Arc<AtomicBool>,
}

/// The channels to one server.
pub struct Peer {
    pub member: Member,
    pub heard: Heard,
    pub control: Channel,
    pub replicate: Channel,
    pub forward: Channel,
    pub snapshot: Channel,
}

impl Peers {
    pub fn new(me: Identity, dial: Option<Arc<dyn Dial>>) -> Self {
        Peers { me, dial, known: Arc::default(), closed: Arc::default() }
    }

    pub fn me(&self) -> &Identity {
        &self.me
    }

    /// The channels to a server, which may have moved since they were last asked for.
    pub fn get(&self, id: u64, member: &Member) -> Arc<Peer> {
        let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        match known.get(&id) {
            Some(peer) if peer.member == *member => peer.clone(),
            _ => {
                let peer = Arc::new(self.connect(id, member));
                known.insert(id, peer.clone());
                peer
            }
        }
    }

    /// How a server was last found that was ever asked for.
    pub fn reach(&self, id: u64) -> Reach {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).map_or(Reach::Unknown, |peer| *peer.reach().borrow())
    }

    /// A server has asked something of this one.
    pub fn heard(&self, id: u64) {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(peer) = known.get(&id) {
            peer.heard.note();
        }
    }

    /// How long nothing was heard of a server.
    pub fn silence_of(&self, id: u64) -> Option<Duration> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        known.get(&id).map(|peer| peer.heard.silent_for())
    }

    /// The servers of which something was heard within this time.
    pub fn heard_within(&self, time: Duration) -> impl Iterator<Item = u64> {
        let known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
        let heard = known.iter().filter(|(_, peer)| peer.heard.silent_for() <= time).map(|(id, _)| *id);
        heard.collect::<Vec<_>>().into_iter()
    }

    /// Connects to these servers and no others.
    pub fn keep<'a>(&self, members: impl Iterator<Item = (u64, &'a Member)>) {
        let others: HashMap<u64, &Member> = members.filter(|(id, _)| *id != self.me.node).collect();
        let gone = {
            let mut known = self.known.lock().unwrap_or_else(PoisonError::into_inner);
            let gone: Vec<_> = known.extract_if(|id, _| !others.contains_key(id)).collect();
            gone
        };
        // Closing channels is not for under the lock.
        drop(gone);
        others.into_iter().for_each(|(id, member)| drop(self.get(id, member)));
    }

    /// Whether this server ends.
    pub fn is_closed(&self) -> bool {
        self.closed.load(Ordering::SeqCst)
    }

    /// Lets go of all connections.
    pub fn close(&self) {
        self.closed.store(true, Ordering::SeqCst);
        let known = std::mem::take(&mut *self.known.lock().unwrap_or_else(PoisonError::into_inner));
        drop(known);
    }

    fn connect(&self, id: u64, member: &Member) -> Peer {
        let (dial, to) = (self.dial.clone(), member.clone());
        let connect: Connect = Arc::new(move || match &dial {
            Some(dial) => dial.dial(&to),
            None => Box::pin(async { Err(io::Error::other("this server was given no way to reach others")) }),
        });
        let heard = Heard::default();
        // Votes and forwarded writes cannot wait for a handshake.
        let channel = |purpose, keep| {
            Channel::new(self.me.clone(), (id, member.name.clone(), heard.clone()), purpose, connect.clone(), keep)
        };
        Peer {
            member: member.clone(),
            heard: heard.clone(),
            control: channel(Purpose::Control, true),
            replicate: channel(Purpose::Replicate, false),
            forward: channel(Purpose::Forward, true),
            snapshot: channel(Purpose::Snapshot, false),
        }
    }
}

impl Peer {
    /// How the server was last found.
    pub fn reach(&self) -> watch::Receiver<Reach> {
        self.control.reach()
    }
}
