//! What happens next, drawn from the seed: commands likely to collide, watchers that lag, restarts, crashes, forgetting.

use kontiki_model::{Head, Key, Retention, Revision, Scope};
use kontiki_raft::{Command, Expect, Mutation, Precondition};
use rand::rngs::StdRng;
use rand::seq::IndexedRandom;
use rand::{Rng, SeedableRng};

use crate::model::Model;

pub const RESOURCES: [&str; 3] = ["pods", "nodes", "leases"];
const NAMESPACES: [&str; 2] = ["a", "b"];
const NAMES: usize = 6;
const WATCHERS: usize = 6;
const BURST: usize = 24;
const BODY_BYTES_MAX: usize = 3_000;
/// Far in the future, so that the server's own clock forgets nothing of the simulation.
const EPOCH_MS: i64 = 1_000_000_000_000_000;

#[derive(Clone, Debug)]
pub enum Step {
    Propose(Command),
    /// Many at once, each of its own key and without preconditions: they succeed in some order.
    Burst(Vec<Command>),
    /// Replaces a watcher by one from a revision, which may be forgotten or still to come.
    Watch {
        watcher: usize,
        scope: Scope,
        from: Revision,
    },
    /// Lets a watcher read so many events.
    Follow {
        watcher: usize,
        events: usize,
    },
    List {
        scope: Scope,
        at: Option<Revision>,
        limit: usize,
    },
    Get {
        key: Key,
        at: Option<Revision>,
    },
    History {
        key: Key,
    },
    Compact {
        now_ms: i64,
    },
    Snapshot,
    /// An orderly shutdown, then the same directory again.
    Restart,
    /// What is on disk at this moment, opened elsewhere.
    Crash,
}

/// Draws steps; the same seed and the same model give the same ones.
pub struct Plan {
    random: StdRng,
    now_ms: i64,
}

impl Plan {
    pub fn new(seed: u64) -> Self {
        Plan { random: StdRng::seed_from_u64(seed), now_ms: EPOCH_MS }
    }

    pub fn next(&mut self, model: &Model) -> Step {
        self.now_ms += self.random.random_range(0..20);
        match self.random.random_range(0..100) {
            0..40 => Step::Propose(self.command(model)),
            40..44 => self.burst(),
            44..50 => Step::Watch {
                watcher: self.random.random_range(0..WATCHERS),
                scope: self.scope(),
                from: self.revision(model),
            },
            50..70 => {
                Step::Follow { watcher: self.random.random_range(0..WATCHERS), events: self.random.random_range(1..40) }
            }
            70..80 => Step::List {
                scope: self.scope(),
                at: self.maybe_revision(model),
                limit: self.random.random_range(1..8),
            },
            80..88 => Step::Get { key: self.key(), at: self.maybe_revision(model) },
            88..92 => Step::History { key: self.key() },
            92..95 => Step::Compact { now_ms: self.now_ms },
            95..97 => Step::Snapshot,
            97 => Step::Restart,
            _ => Step::Crash,
        }
    }

    fn command(&mut self, model: &Model) -> Command {
        let mut mutations = Vec::new();
        for _ in 0..self.random.random_range(1..4) {
            let key = self.key();
            if mutations.iter().all(|earlier: &Mutation| *earlier.key() != key) {
                mutations.push(self.mutation(key, model));
            }
        }
        let preconditions = (0..self.random.random_range(0..3)).map(|_| self.precondition(model)).collect();
        Command { mutations, preconditions, time_ms: self.now_ms, ..Command::default() }
    }

    fn burst(&mut self) -> Step {
        let commands = (0..self.random.random_range(2..BURST)).map(|number| {
            let mut key = self.key();
            key.name = format!("burst-{number}");
            let mutations = vec![self.put(key)];
            Command { mutations, time_ms: self.now_ms, ..Command::default() }
        });
        Step::Burst(commands.collect())
    }

    fn mutation(&mut self, key: Key, model: &Model) -> Mutation {
        // Now and then a deletion of what is not there, which must reject the whole command.
        let likely_deletable = model.live().contains_key(&key) || self.random.random_ratio(1, 10);
        if likely_deletable && self.random.random_ratio(1, 3) {
            let last = self.random.random_bool(0.5).then(|| (self.head(&key), self.body()));
            return Mutation::Delete { key, last };
        }
        self.put(key)
    }

    fn put(&mut self, key: Key) -> Mutation {
        Mutation::Put { head: self.head(&key), body: self.body(), key }
    }

    fn precondition(&mut self, model: &Model) -> Precondition {
        let key = self.key();
        let live = model.live().get(&key);
        let truth = self.random.random_ratio(4, 5);
        let expect = match (live, truth) {
            (None, true) => Expect::Absent,
            (None, false) => Expect::Present,
            (Some(object), true) if self.random.random_bool(0.5) => Expect::Revision(object.revision),
            (Some(object), true) => Expect::Uid(object.head.uid.clone()),
            (Some(object), false) if self.random.random_bool(0.5) => Expect::Revision(object.revision.wrapping_sub(1)),
            (Some(_), false) => Expect::Uid("nobody".into()),
        };
        Precondition { key, expect }
    }

    fn head(&mut self, key: &Key) -> Head {
        let uid = format!("uid-{}", self.random.random_range(0..1_000_000));
        let labels = [("tier".to_owned(), self.random.random_range(0..3).to_string())].into();
        let retention = if key.resource == "leases" { Retention::Short } else { Retention::Normal };
        Head { uid, labels, retention, ..Head::default() }
    }

    fn body(&mut self) -> Vec<u8> {
        let length = self.random.random_range(0..BODY_BYTES_MAX);
        let filling = self.random.random_range(b'a'..=b'z');
        vec![filling; length]
    }

    fn key(&mut self) -> Key {
        let resource = self.pick(&RESOURCES);
        let namespace = if resource == "nodes" { "" } else { self.pick(&NAMESPACES) };
        Key::new(resource, namespace, format!("n{}", self.random.random_range(0..NAMES)))
    }

    fn scope(&mut self) -> Scope {
        let resource = self.pick(&RESOURCES).to_owned();
        let namespace = self.random.random_bool(0.5).then(|| self.pick(&NAMESPACES).to_owned());
        Scope { resource, namespace }
    }

    /// Mostly recent, sometimes anything, seldom just beyond the present.
    fn revision(&mut self, model: &Model) -> Revision {
        let now = model.revision();
        match self.random.random_range(0..10) {
            0 => now + 1,
            1..4 => self.random.random_range(0..=now),
            _ => now - self.random.random_range(0..=now.min(30)),
        }
    }

    fn maybe_revision(&mut self, model: &Model) -> Option<Revision> {
        self.random.random_bool(0.6).then(|| self.revision(model))
    }

    fn pick(&mut self, from: &[&'static str]) -> &'static str {
        from.choose(&mut self.random).copied().expect("there is something to pick from")
    }
}
