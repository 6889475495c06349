//! Three servers' writes: Kontiki's log, and its API on top, beside etcd, on one disk, in turns. Prints a table with the goals
//! beside the figures, and draws it.

mod cluster;
mod etcd;
mod kontiki;
mod load;
mod log_server;
mod report;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use anyhow::Result;

use self::{
    cluster::{Cluster, System},
    report::{Disk, Load, Measured},
};
use super::{IDLE, Scratch, WAIT_MAX, plot};
use crate::build;

/// Clients at once.
pub const LOADS: [usize; 3] = [1, 16, 256];
const ROUNDS: usize = 3;
const RUN_MS: u64 = 3_000;
const DISK_MS: u64 = 1_000;
/// What a run leaves behind (compaction, snapshots) is not charged to the next one.
const SETTLE: Duration = Duration::from_millis(700);
const FAILOVERS: usize = 8;
const FAILOVER_CLIENTS: usize = 16;

pub fn log() -> Result<()> {
    let scratch = Scratch::new()?;
    let systems: [&dyn System; 3] = [&etcd::Etcd, &log_server::LogServer, &kontiki::Kontiki];
    let mut clusters = Vec::new();
    for (number, system) in systems.into_iter().enumerate() {
        clusters.push(Cluster::start(system, &scratch, &format!("cluster-{number}"))?);
    }
    thread::sleep(IDLE);
    let mut measured = Vec::new();
    for cluster in &clusters {
        measured.push(Measured::new(cluster.system, cluster.memory()?));
    }
    let disk = storms(&scratch, &mut clusters, &mut measured)?;
    for (cluster, measured) in clusters.iter().zip(&mut measured) {
        measured.loaded = Some((cluster.memory()?, cluster.disk()?));
    }
    failovers(&scratch, &mut clusters, &mut measured)?;
    drop(clusters);
    let lines = report::table(&measured, &disk);
    print!("{lines}");
    let folder = build::target_dir()?.join("bench");
    for (name, content) in [("log.txt", lines), ("log.svg", plot::svg(&report::panels(&measured, &disk)))] {
        let path = folder.join(name);
        fs::write(&path, content)?;
        println!("written: {}", path.display());
    }
    Ok(())
}

/// In turns, and each round begins with another one: no system always follows the same neighbour.
fn storms(scratch: &Scratch, clusters: &mut [Cluster<'_>], measured: &mut [Measured]) -> Result<Disk> {
    let mut disk = Disk::default();
    for round in 0..ROUNDS {
        disk.alone.push(load::disk(scratch, 1, DISK_MS)?);
        disk.shared.push(load::disk(scratch, cluster::NODES, DISK_MS)?);
        for (step, clients) in LOADS.into_iter().enumerate() {
            for turn in 0..clusters.len() {
                let which = (round + turn) % clusters.len();
                thread::sleep(SETTLE);
                let prefix = format!("run-{round}-{clients}");
                let seen = load::storm(scratch, &mut clusters[which], &prefix, clients, RUN_MS)?;
                report::progress(round, clients, clusters[which].system.label(), &seen);
                let loads = &mut measured[which].loads;
                if loads.len() == step {
                    loads.push(Load { clients, runs: Vec::new() });
                }
                loads[step].runs.push(seen);
            }
        }
    }
    Ok(disk)
}

fn failovers(scratch: &Scratch, clusters: &mut [Cluster<'_>], measured: &mut [Measured]) -> Result<()> {
    for number in 0..FAILOVERS {
        for (cluster, measured) in clusters.iter_mut().zip(measured.iter_mut()) {
            let gap = load::failover(scratch, cluster, &format!("failover-{number}"), FAILOVER_CLIENTS)?;
            eprintln!("failover {number}: {:<12} {gap:>8.0} ms", cluster.system.label());
            measured.gaps_ms.push(gap);
            thread::sleep(SETTLE);
        }
    }
    Ok(())
}

/// Asks until there is an answer; `None` if there is none in time.
fn wait<T>(mut ask: impl FnMut() -> Option<T>) -> Option<T> {
    let deadline = Instant::now() + WAIT_MAX;
    while Instant::now() < deadline {
        if let Some(answer) = ask() {
            return Some(answer);
        }
        thread::sleep(Duration::from_millis(100));
    }
    None
}
