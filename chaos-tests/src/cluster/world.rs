//! What the whole simulation shares: one source of chance, one trace, the servers, the links between them, and what was seen.

use std::collections::hash_map::DefaultHasher;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::hash::{Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use kontiki_raft::simulation::Replica;
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::chronicle::Chronicle;
use super::client::Record;
use super::limits::{DELAY, SLOW_DELAY, TRACE_TAIL};
use super::mutants::Mutant;
use super::runtime::{Machine, Machines, true_now};
use super::server::Server;
use crate::invariants::leaders::Leaders;
use crate::invariants::{Violation, violated};

#[derive(Clone)]
pub struct World {
    inner: Arc<Inner>,
}

struct Inner {
    mutant: Option<Mutant>,
    state: Mutex<State>,
}

pub struct State {
    pub random: StdRng,
    pub trace: Trace,
    pub servers: BTreeMap<u64, Server>,
    pub links: Links,
    pub chronicle: Chronicle,
    pub leaders: Leaders,
    pub record: Record,
    /// Clients go on until they are told to stop.
    pub stopping: bool,
    moment: u64,
    violation: Option<Violation>,
}

/// Everything that happened, line by line: hashed, and the end of it kept.
#[derive(Default)]
pub struct Trace {
    hasher: DefaultHasher,
    lines: u64,
    tail: VecDeque<String>,
}

/// How the network is.
#[derive(Clone, Debug, Default)]
pub struct Links {
    /// Pairs of whom the first does not reach the second.
    pub cut: BTreeSet<(u64, u64)>,
    /// Of a hundred messages, how many are lost, come twice, or are slow.
    pub lossy: u32,
    pub doubling: u32,
    pub slow: u32,
}

/// What happens to one message.
pub struct Fate {
    pub lost: bool,
    pub twice: bool,
    pub delay: Duration,
}

impl Trace {
    fn line(&mut self, line: String) {
        line.hash(&mut self.hasher);
        self.lines += 1;
        self.tail.push_back(line);
        if self.tail.len() > TRACE_TAIL {
            self.tail.pop_front();
        }
    }

    pub fn hash(&self) -> u64 {
        self.hasher.finish()
    }

    pub fn lines(&self) -> u64 {
        self.lines
    }

    pub fn tail(&self) -> Vec<String> {
        self.tail.iter().cloned().collect()
    }
}

impl World {
    pub fn new(seed: u64, mutant: Option<Mutant>) -> Self {
        let state = State {
            random: StdRng::seed_from_u64(seed),
            trace: Trace::default(),
            servers: BTreeMap::new(),
            links: Links::default(),
            chronicle: Chronicle::default(),
            leaders: Leaders::default(),
            record: Record::default(),
            stopping: false,
            moment: 0,
            violation: None,
        };
        World { inner: Arc::new(Inner { mutant, state: Mutex::new(state) }) }
    }

    /// Not to be held while anything is awaited.
    pub fn state(&self) -> MutexGuard<'_, State> {
        self.inner.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn has(&self, mutant: Mutant) -> bool {
        self.inner.mutant == Some(mutant)
    }

    pub fn mutant(&self) -> Option<Mutant> {
        self.inner.mutant
    }

    pub fn note(&self, line: impl AsRef<str>) {
        let line = format!("{:>10} {}", true_now().as_micros(), line.as_ref());
        self.state().trace.line(line);
    }

    /// A number below a bound.
    pub fn draw(&self, below: u64) -> u64 {
        self.state().random.random_range(0..below.max(1))
    }

    /// One in so many.
    pub fn chance(&self, one_in: u64) -> bool {
        self.draw(one_in) == 0
    }

    /// From half of a duration to one and a half.
    pub fn about(&self, duration: Duration) -> Duration {
        let micros = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        Duration::from_micros(micros / 2 + self.draw(micros))
    }

    /// A moment of its own, later than all before it.
    pub fn moment(&self) -> u64 {
        let mut state = self.state();
        state.moment += 1;
        state.moment
    }

    pub fn fate(&self, from: u64, to: u64) -> Fate {
        let mut state = self.state();
        let Links { cut, lossy, doubling, slow } = state.links.clone();
        let mut of_a_hundred = |percent: u32| state.random.random_range(0..100) < percent;
        let (unlucky, twice, slow) = (of_a_hundred(lossy), of_a_hundred(doubling), of_a_hundred(slow));
        drop(state);
        let delay = self.about(if slow { SLOW_DELAY } else { DELAY });
        Fate { lost: unlucky || cut.contains(&(from, to)), twice, delay }
    }

    pub fn reaches(&self, from: u64, to: u64) -> bool {
        !self.state().links.cut.contains(&(from, to))
    }

    /// A server that is on.
    pub fn server(&self, id: u64) -> Option<(Arc<Machine>, Replica<Machines>)> {
        let state = self.state();
        let server = state.servers.get(&id)?;
        Some((server.machine.clone(), server.replica.clone()?))
    }

    /// Those that are on and have begun.
    pub fn running(&self) -> Vec<u64> {
        let state = self.state();
        state.servers.iter().filter(|(_, server)| server.replica.is_some()).map(|(id, _)| *id).collect()
    }

    pub fn pick(&self, from: &[u64]) -> Option<u64> {
        let position = usize::try_from(self.draw(from.len() as u64)).ok()?;
        from.get(position).copied()
    }

    /// The first violation ends the simulation.
    pub fn judge<T>(&self, verdict: Result<T, Violation>) -> Option<T> {
        match verdict {
            Ok(fine) => Some(fine),
            Err(violation) => {
                self.note(format!("VIOLATION {violation}"));
                self.state().violation.get_or_insert(violation);
                None
            }
        }
    }

    pub fn violation(&self) -> Option<Violation> {
        self.state().violation.clone()
    }

    pub fn stopping(&self) -> bool {
        let state = self.state();
        state.stopping || state.violation.is_some()
    }

    /// Compares what every server has applied so far.
    pub fn look(&self) {
        let mut state = self.state();
        let State { servers, chronicle, leaders, .. } = &mut *state;
        let mut verdict = Ok(());
        for (id, server) in servers.iter() {
            let Some(replica) = &server.replica else { continue };
            verdict = verdict.and_then(|()| chronicle.observe(*id, replica.store()));
            if let Some(why) = replica.failure().filter(|why| why.contains("panic")) {
                verdict = verdict.and_then(|()| violated("no server panics", format!("server {id}: {why}")));
            }
            let (leads, term) = replica.leads();
            if leads {
                verdict = verdict.and_then(|()| leaders.saw(term, *id));
            }
        }
        drop(state);
        self.judge(verdict);
    }
}
