//! Room where it counts: writes are refused while too few servers have room for them to make a majority.
//!
//! A follower's reserve is for what it is sent, so one full disk among three stops nobody. Two would stop the cluster in the
//! middle of its writes, whose fate nobody could tell, while the leader's own disk fills up. So the leader asks the others what
//! they lack, and refuses writes in time.

use std::collections::{BTreeMap, BTreeSet};

use futures::future::join_all;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::sync::watch;

use super::node::Node;
use super::wire;
use crate::Shortage;
use crate::limits::{PEER_SILENCE, ROOM_INTERVAL};
use crate::transport::Member;

/// What the other servers lack, as far as the leader was told; clones share it.
#[derive(Clone, Default)]
pub struct Rooms(watch::Sender<Known>);

#[derive(Clone, Default, PartialEq, Eq)]
struct Known {
    short: BTreeMap<u64, Shortage>,
    /// Too few have room.
    refused: Option<Shortage>,
}

impl Rooms {
    pub fn refused(&self) -> Option<Shortage> {
        self.0.borrow().refused.clone()
    }

    pub fn of(&self, server: u64) -> Option<Shortage> {
        self.0.borrow().short.get(&server).cloned()
    }

    fn note(&self, known: Known) {
        let before = self.0.send_replace(known.clone());
        match (before.refused, known.refused) {
            (None, Some(shortage)) => {
                tracing::error!(%shortage, "too few servers have room for writes: they are refused")
            }
            (Some(_), None) => tracing::info!("enough servers have room for writes, which are taken again"),
            (None, None) | (Some(_), Some(_)) => (),
        }
    }
}

impl Node {
    /// Asks the others what they lack, for as long as this server leads.
    pub async fn ask_for_room(self) {
        let mut round = tokio::time::interval(ROOM_INTERVAL);
        round.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            round.tick().await;
            let known = if self.raft.is_leader() { self.rooms_of_others().await } else { Known::default() };
            self.rooms.note(known);
        }
    }

    async fn rooms_of_others(&self) -> Known {
        let membership = self.raft.server_metrics().borrow_watched().membership_config.clone();
        let others = membership.nodes().filter(|(id, _)| **id != self.id());
        let answers = join_all(others.map(|(id, member)| self.room_of(*id, member))).await;
        let answers: BTreeMap<u64, Option<Shortage>> = answers.into_iter().flatten().collect();
        let has_room = |id: &u64| *id == self.id() || answers.get(id).is_some_and(Option::is_none);
        let voters: BTreeSet<u64> = membership.voter_ids().collect();
        let with_room = voters.iter().filter(|id| has_room(id)).count();
        let mut short = BTreeMap::new();
        short.extend(answers.into_iter().filter_map(|(id, shortage)| Some((id, shortage?))));
        let refused =
            refused(voters.len(), with_room, short.iter().find(|(id, _)| voters.contains(id)).map(|(_, it)| it));
        Known { short, refused }
    }

    /// What a server lacks; nothing, if it does not answer.
    async fn room_of(&self, id: u64, member: &Member) -> Option<(u64, Option<Shortage>)> {
        let asked = self.peers.get(id, member);
        let answer = asked.control.call(wire::SHORTAGE, wire::encode(&()), PEER_SILENCE).await.ok()?;
        // A server of an earlier version does not know the question.
        let told = (answer.kind == wire::DONE).then(|| wire::decode::<Option<Shortage>>(&answer.payload));
        let shortage = told.and_then(Result::ok).flatten();
        let there = |shortage: Shortage| Shortage { dir: format!("{}:{}", member.name, shortage.dir), ..shortage };
        Some((id, shortage.map(there)))
    }
}

/// Why no write is taken: too few voters have room for it. Those that are silent have not said that they lack any, but count for no
/// majority either.
fn refused(voters: usize, with_room: usize, lacks: Option<&Shortage>) -> Option<Shortage> {
    lacks.filter(|_| with_room <= voters / 2).cloned()
}

#[cfg(test)]
mod tests {
    use super::refused;
    use crate::Shortage;

    #[test]
    fn writes_are_refused_when_those_with_room_are_no_majority() {
        let full = Shortage { dir: "b:/data/log".into(), free: 0, needed: 1 };
        // Voters, how many of them have room, whether another lacks it; whether writes are refused.
        for (voters, with_room, lacks, expected) in [
            (1, 1, false, false),
            (3, 3, false, false),
            (3, 2, true, false),
            (3, 1, true, true),
            (3, 1, false, false),
            (2, 1, true, true),
            (4, 2, true, true),
            (5, 3, true, false),
            (5, 2, true, true),
        ] {
            let seen = refused(voters, with_room, lacks.then_some(&full));
            assert_eq!(seen, expected.then(|| full.clone()), "{with_room} of {voters} have room");
        }
    }
}
