//! One seed, from an empty cluster to the verdict.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::atomic::Ordering;
use std::time::Duration;

use kontiki_model::{Head, Key, Revision};
use kontiki_raft::simulation::runtime::AsyncRuntime;
use kontiki_raft::{Author, Command, ListOptions, Mutation};
use openraft_rt_sim::{SimJoinHandle, SimRuntime};

use super::client::{self, scope, write};
use super::limits::{LOOK, READERS, RECOVERY, WATCHERS, WRITERS};
use super::mutants::Mutant;
use super::nemesis::{ANYTHING, Fault, nemesis};
use super::runtime::{Machine, sleep, true_now};
use super::server::{Disk, Server, open, scratch};
use super::watcher::{self, watcher};
use super::world::{Links, World};
use crate::invariants::{Violation, identical, violated};

/// What is to be simulated.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scenario {
    pub seed: u64,
    /// Faults, and other things that happen to the cluster.
    pub steps: u64,
    /// Voters at the beginning; one more server stands by.
    pub voters: u64,
    pub mutant: Option<Mutant>,
    /// What the faults are drawn from.
    pub faults: &'static [Fault],
}

/// A run in which every promise held.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    pub revision: Revision,
    pub operations: usize,
    pub crashes: u64,
    pub installs: u64,
    pub virtual_time: Duration,
    pub trace_lines: u64,
    pub trace_hash: u64,
}

/// A run in which one did not.
#[derive(Clone, Debug)]
pub struct Broken {
    pub scenario: Scenario,
    pub violation: Violation,
    /// The end of the trace.
    pub trace: Vec<String>,
}

impl fmt::Display for Broken {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Broken { scenario: Scenario { seed, steps, voters, mutant, .. }, violation, trace } = self;
        writeln!(out, "seed {seed}, {steps} steps, {voters} voters, mutant {mutant:?}: {violation}")?;
        trace.iter().try_for_each(|line| writeln!(out, "  {line}"))
    }
}

impl std::error::Error for Broken {}

impl Scenario {
    pub fn of(seed: u64) -> Self {
        let voters = if seed.is_multiple_of(4) { 5 } else { 3 };
        Scenario { seed, steps: 40, voters, mutant: None, faults: ANYTHING }
    }

    pub fn run(self) -> Result<Report, Box<Broken>> {
        let world = World::new(self.seed, self.mutant);
        let result = SimRuntime::with_seed(self.seed).block_on(live(world.clone(), self));
        let trace = world.state().trace.tail();
        // Servers know the world and the world knows them: let go.
        world.state().servers.clear();
        result.map_err(|violation| Box::new(Broken { scenario: self, violation, trace }))
    }
}

async fn live(world: World, scenario: Scenario) -> Result<Report, Violation> {
    let voters: BTreeSet<u64> = (1..=scenario.voters).collect();
    for id in 1..=scenario.voters + 1 {
        found(&world, id)?;
        power_on(&world, id).await;
    }
    begin(&world, voters).await?;
    let looking = SimRuntime::spawn(look(world.clone()));
    let mut clients: Vec<SimJoinHandle<()>> = Vec::new();
    clients.extend((0..WRITERS).map(|number| SimRuntime::spawn(client::writer(world.clone(), number))));
    clients.extend((0..READERS).map(|_| SimRuntime::spawn(client::reader(world.clone()))));
    let watchers: Vec<_> = (0..WATCHERS).map(|number| SimRuntime::spawn(watcher(world.clone(), number))).collect();
    nemesis(world.clone(), scenario.steps, scenario.faults).await;
    let recovered = recover(&world).await;
    world.state().stopping = true;
    for client in clients {
        joined(&world, client.await.map_err(|error| error.to_string()));
    }
    let watched = SimRuntime::timeout(RECOVERY, futures::future::join_all(watchers)).await;
    looking.await.ok();
    world.look();
    world.judge(judge_record(&world));
    world.judge(recovered);
    settle(&world).await;
    watcher::judge_end(&world, watched.is_ok());
    match world.violation() {
        Some(violation) => Err(violation),
        None => Ok(report(&world)),
    }
}

fn judge_record(world: &World) -> Result<(), Violation> {
    let state = world.state();
    state.record.judge(&state.chronicle)
}

fn report(world: &World) -> Report {
    let state = world.state();
    Report {
        revision: state.chronicle.revision(),
        operations: state.record.operations(),
        crashes: state.servers.values().map(|server| server.lives).sum(),
        installs: state.servers.values().map(|server| server.installed.len() as u64).sum(),
        virtual_time: true_now(),
        trace_lines: state.trace.lines(),
        trace_hash: state.trace.hash(),
    }
}

fn joined(world: &World, ended: Result<(), String>) {
    if let Err(error) = ended {
        world.judge::<()>(violated("the simulation itself is sound", error));
    }
}

/// A new machine with an empty directory.
fn found(world: &World, id: u64) -> Result<(), Violation> {
    let dir = scratch().or_else(|error| violated("there is a directory to work in", error.to_string()))?;
    let (machine, disk) = (Machine::start(), Disk::new(world.clone()));
    let server = Server { machine, disk, replica: None, dir, lives: 0, installed: BTreeSet::new() };
    world.state().servers.insert(id, server);
    Ok(())
}

/// Starts a server that is off, on a disk that works.
pub async fn power_on(world: &World, id: u64) {
    let (machine, disk) = (Machine::start(), Disk::new(world.clone()));
    let (path, lives) = {
        let mut state = world.state();
        let Some(server) = state.servers.get_mut(&id) else { return };
        (server.machine, server.disk) = (machine.clone(), disk.clone());
        (server.dir.path().to_owned(), server.lives)
    };
    let opening = world.clone();
    let opened = machine.spawn(async move { open(opening, id, &path, disk, lives).await }).await;
    match opened {
        Ok(Ok(replica)) => {
            world.note(format!("{id} is on, at revision {}", replica.store().revision()));
            let mut state = world.state();
            state.chronicle.restarted(id);
            if let Some(server) = state.servers.get_mut(&id) {
                server.replica = Some(replica);
            }
        }
        Ok(Err(error)) => {
            world.judge::<()>(violated("a server starts again", format!("server {id}: {error}")));
        }
        Err(error) => {
            world.judge::<()>(violated("no server panics", format!("server {id}, starting: {error}")));
        }
    }
}

/// What it has applied is looked at a last time; then it is gone, with what it had not synced.
pub fn power_off(world: &World, id: u64) {
    world.look();
    let crashed = {
        let mut state = world.state();
        let Some(server) = state.servers.get_mut(&id).filter(|server| server.replica.is_some()) else { return };
        server.lives += 1;
        server.crash()
    };
    world.note(format!("{id} is off"));
    world.judge(crashed.or_else(|error| violated("a crash leaves an image", error.to_string())));
}

async fn begin(world: &World, voters: BTreeSet<u64>) -> Result<(), Violation> {
    let begun = client::on_server(world, 1, move |replica| async move { replica.initialize(&voters).await }).await;
    match begun {
        Some(Ok(())) => Ok(()),
        other => violated("a cluster begins", format!("{other:?}")),
    }
}

async fn look(world: World) {
    while !world.stopping() {
        world.look();
        sleep(LOOK).await;
    }
}

/// Everything is whole again: there must soon be a leader, and all must agree.
async fn recover(world: &World) -> Result<(), Violation> {
    world.note("everything is whole again");
    world.state().links = Links::default();
    let all: Vec<u64> = world.state().servers.keys().copied().collect();
    let deadline = true_now() + RECOVERY;
    while true_now() < deadline && world.violation().is_none() {
        for id in &all {
            if world.server(*id).is_some_and(|(_, replica)| replica.failure().is_some()) {
                power_off(world, *id);
            }
            if world.server(*id).is_none() {
                power_on(world, *id).await;
            }
            let state = world.state();
            if let Some(server) = state.servers.get(id) {
                server.disk.slow.store(false, Ordering::SeqCst);
                server.disk.failing.store(false, Ordering::SeqCst);
            }
        }
        let author = Author { request_id: format!("last-{}", true_now().as_millis()), ..Author::default() };
        let put = Mutation::Put { key: Key::new("pods", "z", "last"), head: Head::default(), body: b"last x".to_vec() };
        let command = Command { author, mutations: vec![put], ..Command::default() };
        if write(world, 0, command).await.is_some() {
            return Ok(());
        }
        sleep(LOOK).await;
    }
    match world.violation() {
        Some(violation) => Err(violation),
        None => violated("a cluster that is whole takes writes", format!("not within {RECOVERY:?}")),
    }
}

/// Waits until every member has applied everything, and compares them.
async fn settle(world: &World) {
    let deadline = true_now() + RECOVERY;
    while world.violation().is_none() {
        world.look();
        let revision = world.state().chronicle.revision();
        let members = members(world);
        let at = |id| world.server(id).map_or(0, |(_, replica)| replica.store().revision());
        match members.iter().find(|id| at(**id) < revision) {
            None if !members.is_empty() => return world.judge(compare(world, &members)).unwrap_or_default(),
            _ if true_now() < deadline => sleep(LOOK).await,
            Some(id) => {
                let seen = format!("server {id} is at {} of {revision}", at(*id));
                world.judge::<()>(violated("every member catches up", seen));
            }
            None => {
                world.judge::<()>(violated("a cluster that is whole has a leader", format!("not within {RECOVERY:?}")));
            }
        }
    }
}

/// As the leader knows them. Whoever was added by a leader that could not commit it is no member, whatever its own log says.
fn members(world: &World) -> BTreeSet<u64> {
    let running = world.running().into_iter().filter_map(|id| Some(world.server(id)?.1));
    let leader = running.filter(|replica| replica.leads().0).max_by_key(|replica| replica.leads().1);
    leader.map(|leader| leader.members()).unwrap_or_default()
}

fn compare(world: &World, members: &BTreeSet<u64>) -> Result<(), Violation> {
    let revision = world.state().chronicle.revision();
    let expected = world.state().chronicle.live_at(&scope(), revision);
    let mut voters = None;
    for (id, replica) in members.iter().filter_map(|id| Some((*id, world.server(*id)?.1))) {
        match replica.store().list(&scope(), ListOptions::default()) {
            Ok(page) => identical::check_state(id, revision, &page.items, &expected)?,
            Err(error) => violated("a server can be read", error.to_string())?,
        }
        identical::check_voters(id, &replica.voters(), voters.get_or_insert_with(|| replica.voters()))?;
    }
    Ok(())
}

impl super::world::State {
    /// How often a server was started again.
    pub fn lives(&self, id: u64) -> u64 {
        self.servers.get(&id).map_or(0, |server| server.lives)
    }

    /// Whether a server got a revision as the last one of a snapshot.
    pub fn installed(&self, id: u64, revision: Revision) -> bool {
        self.servers.get(&id).is_some_and(|server| server.installed.contains(&revision))
    }
}
