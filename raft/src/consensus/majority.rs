//! For how long no leader has had a majority behind it, as far as this server can tell, and what is said of it once that will not
//! pass by itself.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use openraft::Instant as _;
use openraft::async_runtime::watch::WatchReceiver;
use tokio::time::Instant;

use super::membership::MemberStatus;
use super::node::Node;
use crate::limits::{LEADER_WAIT, NO_MAJORITY_AFTER, NO_MAJORITY_WAIT, PART_TAKEN_WITHIN};

/// Since when no leader is known. Clones share it.
#[derive(Clone)]
pub struct Leaderless(Arc<Mutex<Option<Instant>>>);

impl Default for Leaderless {
    /// Nobody leads as far as a server knows that has just started.
    fn default() -> Self {
        Leaderless(Arc::new(Mutex::new(Some(Instant::now()))))
    }
}

impl Leaderless {
    fn note(&self, leader: Option<u64>) {
        let mut since = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *since = if leader.is_some() { None } else { since.or_else(|| Some(Instant::now())) };
    }

    fn lasts(&self) -> Duration {
        let since = *self.0.lock().unwrap_or_else(PoisonError::into_inner);
        since.map_or(Duration::ZERO, |since| since.elapsed())
    }
}

impl Node {
    pub async fn note_leaders(self) {
        let mut news = self.raft.server_metrics();
        loop {
            self.leaderless.note(news.borrow_and_update().current_leader);
            if news.changed().await.is_err() {
                return;
            }
        }
    }

    /// How long a leader is waited for: hardly, where there has been none for long.
    pub fn leader_wait(&self) -> Duration {
        if self.without_majority() < NO_MAJORITY_AFTER { LEADER_WAIT } else { NO_MAJORITY_WAIT }
    }

    /// Why nothing can be written or confirmed, once no election will soon end it.
    pub(super) fn without_majority_for_long(&self) -> Option<String> {
        let lasts = self.without_majority();
        (lasts >= NO_MAJORITY_AFTER).then(|| told(&self.status().members, &self.taking_part(), lasts))
    }

    /// This server, and those that something was heard of just now.
    pub(super) fn taking_part(&self) -> BTreeSet<u64> {
        self.peers.heard_within(PART_TAKEN_WITHIN).chain([self.id()]).collect()
    }

    fn without_majority(&self) -> Duration {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow_watched();
        // It is no member of a cluster yet, or the only one that votes.
        if metrics.membership_config.membership().voter_ids().nth(1).is_none() {
            return Duration::ZERO;
        }
        match metrics.current_leader {
            None => self.leaderless.lasts(),
            // A leader that loses its majority goes on as one that nobody confirms.
            Some(leader) if leader == metrics.id => {
                metrics.last_quorum_acked.as_ref().map_or(Duration::ZERO, |acked| acked.elapsed())
            }
            // Who is asked for votes and gets none goes on naming the leader that it had.
            Some(leader) => self.peers.silence_of(leader).unwrap_or_default(),
        }
    }
}

/// Who takes part and who does not, where that is no majority.
pub fn no_majority(members: &[MemberStatus], taking_part: &BTreeSet<u64>) -> String {
    let Parts { heard, of, silent } = Parts::of(members, taking_part);
    format!("only {heard} of {of} servers take part, which is no majority; nothing is heard of {}", silent.join(", "))
}

fn told(members: &[MemberStatus], taking_part: &BTreeSet<u64>, lasts: Duration) -> String {
    let Parts { heard, of, .. } = Parts::of(members, taking_part);
    if 2 * heard > of {
        return format!("no leader was found in {} s, although {heard} of {of} servers take part", lasts.as_secs());
    }
    let missing = no_majority(members, taking_part);
    format!("{missing}. Start them again; if they are lost for good, `kontiki recover` lets one server go on alone")
}

/// The voters: how many there are, and how many are heard of.
struct Parts<'a> {
    heard: usize,
    of: usize,
    silent: Vec<&'a str>,
}

impl<'a> Parts<'a> {
    fn of(members: &'a [MemberStatus], taking_part: &BTreeSet<u64>) -> Self {
        let (heard, silent): (Vec<&MemberStatus>, Vec<_>) =
            members.iter().filter(|member| member.voter).partition(|voter| taking_part.contains(&voter.id));
        let of = heard.len() + silent.len();
        let mut silent: Vec<&str> = silent.into_iter().map(|voter| voter.name.as_str()).collect();
        silent.sort_unstable();
        Parts { heard: heard.len(), of, silent }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_has_no_majority_says_who_is_missing_and_what_to_do() {
        let member = |(id, name): (u64, &str)| MemberStatus {
            id,
            name: name.into(),
            voter: name != "learner",
            ..MemberStatus::default()
        };
        let members: Vec<_> = [(7, "c"), (9, "b"), (11, "learner"), (12, "a")].map(member).into();
        let table = [
            (
                vec![9],
                "only 1 of 3 servers take part, which is no majority; nothing is heard of a, c. Start them again; if they are lost for \
                 good, `kontiki recover` lets one server go on alone",
            ),
            (
                vec![11],
                "only 0 of 3 servers take part, which is no majority; nothing is heard of a, b, c. Start them again; if they are lost \
                 for good, `kontiki recover` lets one server go on alone",
            ),
            (vec![9, 12], "no leader was found in 17 s, although 2 of 3 servers take part"),
        ];
        for (taking_part, expected) in table {
            assert_eq!(told(&members, &taking_part.into_iter().collect(), Duration::from_secs(17)), expected);
        }
    }

    #[tokio::test(start_paused = true)]
    async fn time_without_a_leader_is_counted_from_its_first_moment() {
        let leaderless = Leaderless::default();
        tokio::time::advance(Duration::from_secs(3)).await;
        assert_eq!(leaderless.lasts(), Duration::from_secs(3), "since the start");
        leaderless.note(Some(1));
        assert_eq!(leaderless.lasts(), Duration::ZERO);
        leaderless.note(None);
        tokio::time::advance(Duration::from_secs(2)).await;
        leaderless.note(None);
        assert_eq!(leaderless.lasts(), Duration::from_secs(2));
    }
}
