//! Clients: they write, read consistently and read the past, on whichever server answers, and remember what they saw.

use std::collections::{BTreeMap, BTreeSet};

use kontiki_model::{Head, Key, Revision, Scope};
use kontiki_raft::simulation::runtime::AsyncRuntime;
use kontiki_raft::simulation::{NodeError, Outcome, Replica};
use kontiki_raft::{Author, Command, Expect, ListOptions, Mutation, Precondition, Rejection, Stored};
use openraft_rt_sim::SimRuntime;

use super::chronicle::Chronicle;
use super::limits::{OBJECTS, PATIENCE, RETRY, THINK};
use super::mutants::Mutant;
use super::runtime::{Machines, sleep, true_now};
use super::world::World;
use crate::invariants::{Violation, acknowledged, atomic, consecutive, identical, past, violated};
use crate::linearizability::{Action, OPERATIONS_MAX, Operation, check};

/// What all clients did and saw.
#[derive(Default)]
pub struct Record {
    writes: Vec<Write>,
    reads: Vec<Read>,
    /// The newest revision that anybody was acknowledged.
    pub acknowledged: Revision,
}

struct Write {
    command: Command,
    invoked: u64,
    answer: Answered,
}

enum Answered {
    Applied {
        first: Revision,
        returned: u64,
    },
    /// A precondition did not hold: the object was found so.
    Refused {
        key: Key,
        found: Option<Revision>,
        returned: u64,
    },
    /// Nobody knows.
    Unknown,
}

struct Read {
    key: Key,
    value: Option<String>,
    invoked: u64,
    returned: u64,
}

/// What became of a write, for the one who asked for it.
enum Told {
    Outcome(Outcome),
    Unknown,
    /// It certainly did not enter the log.
    NotDone,
}

pub fn scope() -> Scope {
    Scope { resource: "pods".into(), namespace: None }
}

fn object(number: u64) -> Key {
    Key::new("pods", if number.is_multiple_of(2) { "a" } else { "b" }, format!("o{number}"))
}

/// Runs something on a server as its own. `None`: the server died over it, or took too long.
pub async fn on_server<T: Send + 'static, F: Future<Output = T> + Send + 'static>(
    world: &World,
    server: u64,
    work: impl FnOnce(Replica<Machines>) -> F,
) -> Option<T> {
    let (machine, replica) = world.server(server)?;
    let task = machine.spawn(work(replica));
    match SimRuntime::timeout(PATIENCE, task).await {
        Ok(Ok(done)) => Some(done),
        Ok(Err(error)) => {
            world.judge::<()>(violated("no server panics", format!("server {server}: {error}")));
            None
        }
        Err(_) => None,
    }
}

pub async fn writer(world: World, number: u64) {
    let mut count = 0;
    while !world.stopping() {
        sleep(world.about(THINK)).await;
        count += 1;
        let command = draw_command(&world, format!("w{number}-{count}"));
        write(&world, number, command).await;
    }
}

/// One command of one client, until it is known what became of it or that nobody knows.
pub async fn write(world: &World, client: u64, command: Command) -> Option<Revision> {
    let id = command.author.request_id.clone();
    let (invoked, newest) = (world.moment(), world.state().record.acknowledged);
    let mut sent = command.clone();
    if world.has(Mutant::PreconditionOnStaleState) {
        sent.preconditions.clear();
    }
    let told = propose(world, client, sent).await;
    let returned = world.moment();
    let answer = match told {
        Told::NotDone => {
            world.note(format!("{id} not done"));
            return None;
        }
        Told::Outcome(Outcome::Applied { first, .. }) => {
            world.note(format!("{id} is {first}"));
            world.judge(consecutive::in_time(newest, first))?;
            let mut state = world.state();
            let last = first + command.mutations.len() as u64 - 1;
            state.record.acknowledged = state.record.acknowledged.max(last);
            Answered::Applied { first, returned }
        }
        Told::Outcome(Outcome::Rejected(Rejection::Precondition { key, found, .. })) => {
            let found = found.map(|(revision, _)| revision);
            world.note(format!("{id} refused, {} is {found:?}", key.name));
            Answered::Refused { key, found, returned }
        }
        Told::Outcome(other) => {
            return world.judge(violated("a command has a command's outcome", format!("{id}: {other:?}")));
        }
        Told::Unknown => {
            world.note(format!("{id} unknown"));
            Answered::Unknown
        }
    };
    let first = if let Answered::Applied { first, .. } = answer { Some(first) } else { None };
    world.state().record.writes.push(Write { command, invoked, answer });
    first
}

async fn propose(world: &World, client: u64, command: Command) -> Told {
    let deadline = true_now() + PATIENCE;
    let command = std::sync::Arc::new(command);
    let mut hint = None;
    while true_now() < deadline {
        let running = world.running();
        let Some(server) = hint.take().filter(|id| running.contains(id)).or_else(|| world.pick(&running)) else {
            sleep(RETRY).await;
            continue;
        };
        let sent = command.clone();
        let reuses = world.has(Mutant::RevisionReusedAfterRestart) && world.state().lives(server) > 0;
        match on_server(world, server, |replica| async move { replica.write(sent).await }).await {
            None | Some(Err(NodeError::Unknown | NodeError::Storage(_))) => return Told::Unknown,
            Some(Ok((_, Outcome::Applied { first, count }))) if reuses => {
                return Told::Outcome(Outcome::Applied { first: first.saturating_sub(1).max(1), count });
            }
            Some(Ok((_, outcome))) => return Told::Outcome(outcome),
            Some(Err(NodeError::NotLeader { leader, .. })) => hint = leader,
            Some(Err(
                NodeError::Unavailable(_) | NodeError::NoMajority(_) | NodeError::Refused(_) | NodeError::Full(_),
            )) => {}
        }
        sleep(world.about(RETRY) + RETRY * u32::try_from(client % 3).unwrap_or(0)).await;
    }
    Told::NotDone
}

/// Puts, deletions, swaps of what a server shows, and several at once.
fn draw_command(world: &World, id: String) -> Command {
    let now_ms = i64::try_from(true_now().as_millis()).unwrap_or(i64::MAX);
    let skew = i64::try_from(world.draw(4_000)).unwrap_or(0) - 2_000;
    let author = Author { request_id: id.clone(), ..Author::default() };
    let time_ms = 1_000_000 + now_ms + if world.chance(10) { skew } else { 0 };
    let mut command = Command { author, time_ms, ..Command::default() };
    let key = object(world.draw(OBJECTS));
    match world.draw(10) {
        0..3 => command.mutations.push(put(key, &id)),
        3 => command.mutations.push(Mutation::Delete { key, last: None }),
        4..7 => {
            let Some(expect) = seen_by_some_server(world, &key) else { return command_of(command, key, &id) };
            command.preconditions.push(Precondition { key: key.clone(), expect });
            command.mutations.push(put(key, &id));
        }
        _ => {
            let first = world.draw(OBJECTS);
            let several = (0..2 + world.draw(2)).map(|step| object((first + step) % OBJECTS));
            command.mutations.extend(several.map(|key| put(key, &id)));
        }
    }
    command
}

fn command_of(mut command: Command, key: Key, id: &str) -> Command {
    command.mutations.push(put(key, id));
    command
}

fn seen_by_some_server(world: &World, key: &Key) -> Option<Expect> {
    let server = world.pick(&world.running())?;
    let (_, replica) = world.server(server)?;
    Some(match replica.store().head(key) {
        Some((revision, _)) => Expect::Revision(revision),
        None => Expect::Absent,
    })
}

/// Each value is written once: the command that wrote it is its name.
fn put(key: Key, id: &str) -> Mutation {
    let body = format!("{id} {}", "x".repeat(100)).into_bytes();
    Mutation::Put { key, head: Head::default(), body }
}

fn value(body: &[u8]) -> String {
    String::from_utf8_lossy(body).split(' ').next().unwrap_or_default().to_owned()
}

pub async fn reader(world: World) {
    while !world.stopping() {
        sleep(world.about(THINK)).await;
        match world.draw(3) {
            0 => read_past(&world),
            _ => read_now(&world).await,
        }
    }
}

async fn read_now(world: &World) {
    let key = object(world.draw(OBJECTS));
    let invoked = world.moment();
    let Some(server) = world.pick(&world.running()) else { return };
    let Some(found) = consistent(world, server, &key).await else { return };
    let value = found.map(|stored| value(&stored.body));
    let returned = world.moment();
    world.note(format!("read {} at {server}: {value:?}", key.name));
    world.state().record.reads.push(Read { key, value, invoked, returned });
}

/// Asks the leader how far a read must see, waits until this server has got there, and reads.
async fn consistent(world: &World, server: u64, key: &Key) -> Option<Option<Stored>> {
    let (_, replica) = world.server(server)?;
    let (leads, _) = replica.leads();
    let unchecked =
        (world.has(Mutant::FollowerReadsWithoutIndex) && !leads) || (world.has(Mutant::DeposedLeaderAnswers) && leads);
    if !unchecked {
        let leader = replica.leader()?;
        let fate = world.fate(server, leader);
        if fate.lost {
            return None;
        }
        sleep(fate.delay).await;
        let asked = on_server(world, leader, |replica| async move { replica.read_index().await }).await;
        let index = asked?.ok()?;
        if !world.reaches(leader, server) {
            return None;
        }
        let deadline = true_now() + PATIENCE;
        loop {
            // This server may have died meanwhile, and another life of it has begun.
            let (_, now) = world.server(server)?;
            if now.applied_index() >= index {
                break;
            }
            if true_now() >= deadline {
                return None;
            }
            sleep(RETRY).await;
        }
    }
    let (_, replica) = world.server(server)?;
    replica.store().get(key).ok()
}

/// Reads an object and a list as they were, and judges them at once.
fn read_past(world: &World) {
    let Some((server, replica)) = world.pick(&world.running()).and_then(|id| Some((id, world.server(id)?.1))) else {
        return;
    };
    world.look();
    let store = replica.store();
    let (floor, revision) = (store.floor(), store.revision());
    let at = floor + world.draw(revision - floor + 1);
    let key = object(world.draw(OBJECTS));
    let asked = if world.has(Mutant::PastIsPresent) { revision } else { at };
    let Ok(seen) = store.get_at(&key, asked) else { return };
    let now = store.list(&scope(), ListOptions::default());
    let state = world.state();
    let chronicle = &state.chronicle;
    let verdict = past::check(&key, at, seen.as_ref(), chronicle.object_at(&key, at).map(|event| &**event));
    let verdict = verdict.and_then(|()| match now {
        Ok(page) => {
            let expected = chronicle.live_at(&scope(), page.revision);
            identical::check_state(server, page.revision, &page.items, &expected)?;
            atomic::check_shown(page.revision, chronicle.goes_on(page.revision))
        }
        Err(_) => Ok(()),
    });
    drop(state);
    world.judge(verdict);
}

impl Record {
    /// What can only be judged when everything is over.
    pub fn judge(&self, chronicle: &Chronicle) -> Result<(), Violation> {
        for write in &self.writes {
            if let Answered::Applied { first, .. } = write.answer {
                acknowledged::check(&write.command, first, |revision| chronicle.get(revision).map(|event| &**event))?;
            }
        }
        for (key, history) in self.histories(chronicle) {
            assert!(history.len() <= OPERATIONS_MAX, "a simulation is short enough for its histories to be judged");
            if let Err(why) = check(&history) {
                return violated("reads and writes are linearizable", format!("{}: {why:?}", key.name));
            }
        }
        Ok(())
    }

    pub fn operations(&self) -> usize {
        self.writes.len() + self.reads.len()
    }

    /// Per object: what was done to it, when, and what was answered.
    fn histories(&self, chronicle: &Chronicle) -> BTreeMap<Key, Vec<Operation<String>>> {
        let mut histories: BTreeMap<Key, Vec<Operation<String>>> = BTreeMap::new();
        let mut add = |key: &Key, action, invoked, returned| {
            histories.entry(key.clone()).or_default().push(Operation { action, invoked, returned });
        };
        let value_at = |revision| chronicle.get(revision).map(|event| value(&event.object.body));
        let happened: BTreeSet<&str> =
            chronicle.events().iter().map(|event| event.author.request_id.as_str()).collect();
        for Write { command, invoked, answer } in &self.writes {
            let returned = match answer {
                Answered::Applied { returned, .. } => Some(*returned),
                Answered::Refused { key, found, returned } => {
                    add(key, Action::Read(found.and_then(value_at)), *invoked, Some(*returned));
                    continue;
                }
                // In the end it is known after all whether it happened, only not when.
                Answered::Unknown if happened.contains(command.author.request_id.as_str()) => None,
                Answered::Unknown => continue,
            };
            for mutation in &command.mutations {
                let expected = command.preconditions.iter().find(|one| one.key == *mutation.key());
                let value = match mutation {
                    Mutation::Put { body, .. } => Some(value(body)),
                    Mutation::Delete { .. } => None,
                };
                let action = match expected.map(|one| &one.expect) {
                    Some(Expect::Revision(revision)) => Action::Swap { expected: value_at(*revision), value },
                    Some(Expect::Absent) => Action::Swap { expected: None, value },
                    _ => Action::Write(value),
                };
                add(mutation.key(), action, *invoked, returned);
            }
        }
        for Read { key, value, invoked, returned } in &self.reads {
            add(key, Action::Read(value.clone()), *invoked, Some(*returned));
        }
        histories
    }
}
