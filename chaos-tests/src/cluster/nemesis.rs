//! What goes wrong, drawn from the seed.

use std::collections::BTreeSet;
use std::sync::atomic::Ordering;

use super::client::on_server;
use super::limits::FAULT_PAUSE;
use super::run::{power_off, power_on};
use super::runtime::{TRUE_RATE, sleep};
use super::world::{Links, World};

/// Something that happens to a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    PowerOff,
    AllOff,
    /// Some of those that are off, or whose disk failed, start again.
    Restart,
    Partition,
    /// Nobody hears one server, which hears everybody.
    Mute,
    IsolateLeader,
    Whole,
    Weather,
    Disk,
    Clock,
    Snapshot,
    Prune,
    Transfer,
    Members,
}

/// What is drawn from when a scenario says nothing else; what stands here more often comes more often.
pub const ANYTHING: &[Fault] = &[
    Fault::PowerOff,
    Fault::PowerOff,
    Fault::PowerOff,
    Fault::PowerOff,
    Fault::AllOff,
    Fault::Restart,
    Fault::Restart,
    Fault::Restart,
    Fault::Restart,
    Fault::Restart,
    Fault::Restart,
    Fault::Partition,
    Fault::Partition,
    Fault::Mute,
    Fault::IsolateLeader,
    Fault::IsolateLeader,
    Fault::Whole,
    Fault::Whole,
    Fault::Whole,
    Fault::Weather,
    Fault::Weather,
    Fault::Disk,
    Fault::Clock,
    Fault::Snapshot,
    Fault::Snapshot,
    Fault::Prune,
    Fault::Transfer,
    Fault::Members,
    Fault::Members,
];

pub async fn nemesis(world: World, steps: u64, faults: &[Fault]) {
    for _ in 0..steps {
        sleep(world.about(FAULT_PAUSE)).await;
        if world.violation().is_some() {
            return;
        }
        let drawn = usize::try_from(world.draw(faults.len() as u64)).unwrap_or_default();
        if let Some(fault) = faults.get(drawn) {
            happen(&world, *fault).await;
        }
    }
}

async fn happen(world: &World, fault: Fault) {
    let all: Vec<u64> = world.state().servers.keys().copied().collect();
    let Some(one) = world.pick(&all) else { return };
    match fault {
        Fault::PowerOff => power_off(world, one),
        Fault::AllOff => all.iter().for_each(|id| power_off(world, *id)),
        Fault::Restart => restart_some(world, &all).await,
        Fault::Partition => partition(world, &all),
        Fault::Mute => {
            world.note(format!("{one} is not heard"));
            let cut = all.iter().filter(|id| **id != one).map(|id| (one, *id));
            world.state().links.cut.extend(cut);
        }
        Fault::IsolateLeader => isolate_leader(world, &all),
        Fault::Whole => {
            world.note("the network is whole");
            world.state().links = Links::default();
        }
        Fault::Weather => weather(world),
        Fault::Disk => disk(world, one),
        Fault::Clock => clock(world, one),
        Fault::Snapshot => snapshot(world, one).await,
        Fault::Prune => prune(world, one),
        Fault::Transfer => transfer(world, &all).await,
        Fault::Members => members(world, &all).await,
    }
}

async fn restart_some(world: &World, all: &[u64]) {
    for id in all {
        let failed = world.server(*id).is_some_and(|(_, replica)| replica.failure().is_some());
        if failed {
            power_off(world, *id);
        }
        if world.server(*id).is_none() && !world.chance(4) {
            power_on(world, *id).await;
        }
    }
}

fn partition(world: &World, all: &[u64]) {
    let side: BTreeSet<u64> = all.iter().copied().filter(|_| world.chance(2)).collect();
    world.note(format!("{side:?} are cut off"));
    let cut = all.iter().flat_map(|one| all.iter().map(move |two| (*one, *two)));
    let cut = cut.filter(|(one, two)| side.contains(one) != side.contains(two));
    world.state().links.cut.extend(cut);
}

/// Nobody hears from whoever leads, and it hears from nobody; clients still do.
fn isolate_leader(world: &World, all: &[u64]) {
    let leads = |id: &&u64| world.server(**id).is_some_and(|(_, replica)| replica.leads().0);
    let Some(leader) = all.iter().find(leads).copied() else { return };
    world.note(format!("{leader}, which leads, is alone"));
    let others = all.iter().copied().filter(|id| *id != leader);
    world.state().links.cut.extend(others.flat_map(|id| [(id, leader), (leader, id)]));
}

fn weather(world: &World) {
    let of_a_hundred = |most| u32::try_from(world.draw(most)).unwrap_or_default();
    let (lossy, doubling, slow) = (of_a_hundred(25), of_a_hundred(30), of_a_hundred(30));
    world.note(format!("of a hundred messages {lossy} are lost, {doubling} doubled, {slow} slow"));
    let links = &mut world.state().links;
    (links.lossy, links.doubling, links.slow) = (lossy, doubling, slow);
}

fn disk(world: &World, id: u64) {
    let fails = world.chance(4);
    let state = world.state();
    let Some(server) = state.servers.get(&id) else { return };
    let disk = server.disk.clone();
    drop(state);
    if fails {
        world.note(format!("the disk of {id} fails"));
        disk.failing.store(true, Ordering::SeqCst);
    } else {
        let slow = !disk.slow.fetch_xor(true, Ordering::SeqCst);
        world.note(format!("the disk of {id} is {}", if slow { "slow" } else { "fast" }));
    }
}

fn clock(world: &World, id: u64) {
    let rate = TRUE_RATE * 3 / 4 + world.draw(TRUE_RATE / 2);
    let Some((machine, _)) = world.server(id) else { return };
    world.note(format!("the clock of {id} runs at {rate}"));
    machine.set_rate(rate);
}

async fn snapshot(world: &World, id: u64) {
    let taken = on_server(world, id, |replica| async move { replica.snapshot().await }).await;
    world.note(format!("snapshot at {id}: {}", matches!(taken, Some(Ok(())))));
}

fn prune(world: &World, id: u64) {
    let Some((_, replica)) = world.server(id) else { return };
    world.look();
    // More than one step at a time is housekeeping's business.
    let pruned = replica.store().prune(0);
    world.note(format!("history of {id} begins at {} ({})", replica.store().floor(), pruned.is_ok()));
}

async fn transfer(world: &World, all: &[u64]) {
    let leads = |id: &&u64| world.server(**id).is_some_and(|(_, replica)| replica.leads().0);
    let (Some(leader), Some(to)) = (all.iter().find(leads).copied(), world.pick(all)) else { return };
    world.note(format!("{leader} hands over to {to}"));
    on_server(world, leader, move |replica| async move { replica.transfer_leader(to).await }).await;
}

/// Other voters: any but one, or all.
async fn members(world: &World, all: &[u64]) {
    let leads = |id: &&u64| world.server(**id).is_some_and(|(_, replica)| replica.leads().0);
    let Some(leader) = all.iter().find(leads).copied() else { return };
    let without = world.pick(all).filter(|_| !world.chance(3));
    let voters: BTreeSet<u64> = all.iter().copied().filter(|id| Some(*id) != without).collect();
    world.note(format!("{leader} makes {voters:?} the voters"));
    let learners = voters.clone();
    let changed = on_server(world, leader, move |replica| async move {
        for learner in learners.difference(&replica.voters()) {
            replica.add_learner(*learner).await?;
        }
        replica.change_voters(voters).await
    });
    let changed = changed.await;
    world.note(format!("voters changed: {}", matches!(changed, Some(Ok(())))));
}
