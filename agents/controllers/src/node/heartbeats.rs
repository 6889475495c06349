//! How long each node has been silent. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use k8s_openapi::jiff::Timestamp;
use tokio::time::Instant;

use crate::time::{Watched, whole_seconds};

/// Every node renews its Lease each 10 s. When nobody did for this long, it may be the API that takes none.
const QUIET_DOUBTED: Duration = Duration::from_secs(10);
/// When nobody did for this long, and no other Lease was taken, silence says nothing about nodes.
const QUIET_MAX: Duration = Duration::from_secs(15);

/// The last that was heard of a node, by its own clock: a change of either is a heartbeat.
#[derive(Clone, Copy, PartialEq)]
pub struct Beat {
    /// When it renewed its Lease.
    pub renewed: Option<Timestamp>,
    /// When it told its conditions.
    pub told: Option<Timestamp>,
}

/// Silence counts only in time in which Leases are known to be taken: a control plane that takes no writes hears nobody,
/// and must not take all nodes for dead when it recovers.
pub struct Heartbeats {
    watched: Watched,
    /// When a Lease was last seen to be taken, in watched time.
    taken: Duration,
    /// The part of the watched time that counts.
    counted: Duration,
    /// Each node's last heartbeat and when it came, in counted time: clocks of nodes are not trusted.
    heard: BTreeMap<String, (Beat, Duration)>,
}

impl Heartbeats {
    pub fn new(step_max: Duration) -> Self {
        Heartbeats {
            watched: Watched::new(step_max),
            taken: Duration::ZERO,
            counted: Duration::ZERO,
            heard: BTreeMap::new(),
        }
    }

    pub fn advance(&mut self, to: Instant) {
        let before = self.watched.now();
        self.watched.advance(to);
        if self.quiet() <= QUIET_MAX {
            self.counted += self.watched.now() - before;
        }
    }

    pub fn hear(&mut self, node: &str, beat: Beat) {
        let (last, since) = self.heard.entry(node.to_owned()).or_insert((beat, self.counted));
        if *last != beat {
            (*last, *since) = (beat, self.counted);
            self.taken = self.watched.now();
        }
    }

    pub fn retain(&mut self, nodes: &BTreeSet<String>) {
        self.heard.retain(|name, _| nodes.contains(name));
    }

    /// Notes that a Lease was taken just now, or that there is none that could be renewed.
    pub fn taken(&mut self) {
        self.taken = self.watched.now();
    }

    /// Whether it is time to find out if Leases are taken.
    pub fn in_doubt(&self) -> bool {
        self.quiet() >= QUIET_DOUBTED
    }

    /// Gives every node its time anew.
    pub fn restart(&mut self) {
        self.heard.values_mut().for_each(|(_, since)| *since = self.counted);
    }

    pub fn silent_s(&self, node: &str) -> i64 {
        self.heard.get(node).map_or(0, |(_, since)| whole_seconds(self.counted - *since))
    }

    /// Everything that was watched, heartbeats or none.
    pub fn now(&self) -> Duration {
        self.watched.now()
    }

    fn quiet(&self) -> Duration {
        self.watched.now() - self.taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Seconds of silence of nodes `a` and `b` after each second, in which `heard` were heard and a Lease was taken if
    /// `taken` says so.
    fn silence(
        seconds: u32,
        heard: impl Fn(u32) -> &'static [&'static str],
        taken: impl Fn(u32) -> bool,
    ) -> Vec<[i64; 2]> {
        let (start, mut heartbeats) = (Instant::now(), Heartbeats::new(Duration::from_secs(5)));
        let mut renewed = BTreeMap::from([("a", 0), ("b", 0)]);
        let mut told = Vec::new();
        for second in 0..=seconds {
            heartbeats.advance(start + Duration::from_secs(1) * second);
            heard(second).iter().for_each(|node| *renewed.entry(node).or_default() = i64::from(second));
            for (node, at) in &renewed {
                heartbeats.hear(node, Beat { renewed: Timestamp::from_second(*at).ok(), told: None });
            }
            if heartbeats.in_doubt() && taken(second) {
                heartbeats.taken();
            }
            told.push(["a", "b"].map(|node| heartbeats.silent_s(node)));
        }
        told
    }

    #[test]
    fn a_node_is_silent_while_another_is_heard() {
        let every_ten: fn(u32) -> &'static [&'static str] = |second| if second % 10 == 0 { &["b"] } else { &[] };
        assert_eq!(silence(60, every_ten, |_| false).last(), Some(&[60, 0]));
    }

    #[test]
    fn all_are_silent_only_if_leases_are_taken() {
        assert_eq!(silence(60, |_| &[], |_| true).last(), Some(&[60, 60]));
        assert_eq!(silence(600, |_| &[], |_| false).last(), Some(&[15, 15]));
    }

    #[test]
    fn nodes_get_time_to_speak_after_an_api_that_took_nothing() {
        let back = |second: u32| second >= 300;
        let heard: fn(u32) -> &'static [&'static str] =
            |second| if second >= 310 && second % 10 == 0 { &["a", "b"] } else { &[] };
        let told = silence(330, heard, back);
        assert!(told.iter().flatten().all(|silent| *silent < 40), "{told:?}");
    }

    #[test]
    fn a_node_that_tells_its_conditions_is_heard_too() {
        let (start, mut heartbeats) = (Instant::now(), Heartbeats::new(Duration::from_secs(5)));
        for second in 0..=10 {
            heartbeats.advance(start + Duration::from_secs(1) * second);
            let told = Timestamp::from_second(i64::from(second).min(7)).ok();
            heartbeats.hear("a", Beat { renewed: None, told });
        }
        assert_eq!(heartbeats.silent_s("a"), 3);
    }

    #[test]
    fn a_restart_gives_everybody_the_time_anew() {
        let (start, mut heartbeats) = (Instant::now(), Heartbeats::new(Duration::from_secs(5)));
        heartbeats.advance(start);
        heartbeats.hear("a", Beat { renewed: None, told: None });
        for second in 1..=10 {
            heartbeats.advance(start + Duration::from_secs(1) * second);
        }
        assert_eq!(heartbeats.silent_s("a"), 10);
        heartbeats.restart();
        assert_eq!(heartbeats.silent_s("a"), 0);
    }
}
