//! What is done to the servers while the storm rages: one function per scenario, one line per step.

use std::{
    collections::BTreeMap,
    future::Future,
    io,
    path::Path,
    time::{Duration, Instant},
};

use super::{
    limits::SILENCE,
    servers::{Disk, Servers},
    storm::{Storm, StormPlan},
    verdict::Verdict,
};

/// How hard, and how often.
#[derive(Clone, Copy, Debug)]
pub struct Effort {
    pub storm: StormPlan,
    /// How many times the fault is done.
    pub rounds: usize,
    /// Acknowledged writes between two faults.
    pub writes: usize,
}

/// What came of it: the gaps in which no write was acknowledged, and what was wrong.
#[derive(Debug, Default)]
pub struct Report {
    pub gaps: Vec<Duration>,
    pub acknowledged: usize,
    /// Writes whose outcome no client knows, by HTTP status (0: no answer).
    pub unknown: BTreeMap<u16, usize>,
    pub verdict: Verdict,
}

/// Runs a scenario on a thread of its own, which lives in the hub's network namespace.
pub fn run<S, F>(scenario: S) -> io::Result<Report>
where
    S: FnOnce() -> F + Send + 'static,
    F: Future<Output = io::Result<Report>>,
{
    let thread = std::thread::Builder::new().name("scenario".into()).spawn(move || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(scenario())
    })?;
    thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
}

/// `kill -9` of the leader, again and again; it comes back while the others go on.
pub async fn leader_killed(binary: &Path, effort: Effort) -> io::Result<Report> {
    let mut fight = Fight::begin(binary, Disk::Shared, effort).await?;
    for _ in 0..effort.rounds {
        let leader = fight.servers.leader().await?;
        let fault = Instant::now();
        fight.servers.servers[leader].kill();
        fight.gap(fault).await?;
        fight.servers.restart(leader)?;
        fight.servers.wait_ready(&fight.servers.servers[leader]).await?;
    }
    fight.end().await
}

/// SIGTERM of the leader: it hands over, and every write that a client sent is answered.
pub async fn leader_ends(binary: &Path, effort: Effort) -> io::Result<Report> {
    let mut fight = Fight::begin(binary, Disk::Shared, effort).await?;
    for _ in 0..effort.rounds {
        let leader = fight.servers.leader().await?;
        let fault = Instant::now();
        fight.servers.servers[leader].terminate().await?;
        fight.gap(fault).await?;
        fight.servers.restart(leader)?;
        fight.servers.wait_ready(&fight.servers.servers[leader]).await?;
    }
    let mut report = fight.end().await?;
    if !report.unknown.is_empty() {
        report.verdict.faults.push(format!("{:?} writes were not answered during planned hand-overs", report.unknown));
    }
    Ok(report)
}

/// SIGSTOP of the leader for longer than an election takes, then SIGCONT: it must not believe that it still leads.
pub async fn leader_paused(binary: &Path, effort: Effort) -> io::Result<Report> {
    let mut fight = Fight::begin(binary, Disk::Shared, effort).await?;
    for _ in 0..effort.rounds {
        let leader = fight.servers.leader().await?;
        let fault = Instant::now();
        fight.servers.servers[leader].pause()?;
        let gap = fight.gap(fault).await;
        fight.servers.servers[leader].resume()?;
        gap?;
        fight.servers.wait_ready(&fight.servers.servers[leader]).await?;
    }
    fight.end().await
}

/// The leader is cut off from everybody, its clients too.
pub async fn leader_cut_off(binary: &Path, effort: Effort) -> io::Result<Report> {
    let mut fight = Fight::begin(binary, Disk::Shared, effort).await?;
    for _ in 0..effort.rounds {
        let leader = fight.servers.leader().await?;
        let fault = Instant::now();
        fight.servers.servers[leader].machine.plug(false)?;
        let gap = fight.gap(fault).await;
        fight.servers.servers[leader].machine.plug(true)?;
        gap?;
        fight.servers.wait_ready(&fight.servers.servers[leader]).await?;
    }
    fight.end().await
}

/// The leader no longer hears the others, who still hear it; its clients reach it all the time.
pub async fn leader_deaf(binary: &Path, effort: Effort) -> io::Result<Report> {
    let mut fight = Fight::begin(binary, Disk::Shared, effort).await?;
    for round in 0..effort.rounds {
        let leader = fight.servers.leader().await?;
        let others: Vec<usize> = (0..3).filter(|position| *position != leader).collect();
        // In turn: it does not hear them, they do not hear it.
        let fault = Instant::now();
        for other in others {
            let (deaf, speaker) = if round % 2 == 0 { (leader, other) } else { (other, leader) };
            let address = fight.servers.servers[speaker].machine.address;
            fight.servers.servers[deaf].machine.deafen(address)?;
        }
        tokio::time::sleep(SILENCE).await;
        let gap = fight.gap(fault).await;
        for server in &fight.servers.servers {
            server.machine.listen()?;
        }
        gap?;
        fight.servers.wait_ready(&fight.servers.servers[leader]).await?;
    }
    fight.end().await
}

/// All three are killed at once and come back on what they had written.
pub async fn all_killed(binary: &Path, effort: Effort) -> io::Result<Report> {
    let mut fight = Fight::begin(binary, Disk::Shared, effort).await?;
    for _ in 0..effort.rounds {
        let fault = Instant::now();
        fight.servers.servers.iter_mut().for_each(super::servers::Server::kill);
        for position in 0..3 {
            fight.servers.restart(position)?;
        }
        fight.gap(fault).await?;
        for server in &fight.servers.servers {
            fight.servers.wait_ready(server).await?;
        }
    }
    fight.end().await
}

/// The leader's disk is full; then there is room again, and nobody restarted anything.
pub async fn disk_full(binary: &Path, effort: Effort) -> io::Result<Report> {
    let mut fight = Fight::begin(binary, Disk::Small(SMALL_DISK_MIB), effort).await?;
    for _ in 0..effort.rounds {
        let leader = fight.servers.leader().await?;
        let fault = Instant::now();
        fight.servers.servers[leader].fill_disk()?;
        let gap = fight.gap(fault).await;
        fight.servers.servers[leader].free_disk()?;
        gap?;
        fight.servers.wait_ready(&fight.servers.servers[leader]).await?;
        if !fight.servers.servers[leader].lives()? {
            return Err(io::Error::other("a server ended because its disk was full"));
        }
    }
    fight.end().await
}

/// The leader's disk fails a sync: the leader acknowledges nothing on it and goes, and comes back on what the disk has.
pub async fn leader_sync_fails(binary: &Path, effort: Effort) -> io::Result<Report> {
    let mut fight = Fight::begin(binary, Disk::Shared, effort).await?;
    for _ in 0..effort.rounds {
        let leader = fight.servers.leader().await?;
        let fault = Instant::now();
        let failing = fight.servers.servers[leader].fail_syncs()?;
        let gap = fight.gap(fault).await;
        fight.servers.servers[leader].gives_up().await?;
        drop(failing);
        gap?;
        fight.servers.restart(leader)?;
        fight.servers.wait_ready(&fight.servers.servers[leader]).await?;
    }
    fight.end().await
}

/// No fault at all, only somebody else who keeps the disk busy: whoever leads goes on leading. A round is a second.
pub async fn disk_busy(binary: &Path, effort: Effort) -> io::Result<Report> {
    // Few clients: the record of an hour is to be checked too.
    let storm = StormPlan { clients: 2, watchers: 1, ..effort.storm };
    let mut fight = Fight::begin(binary, Disk::Shared, Effort { storm, writes: 0, ..effort }).await?;
    let before = fight.servers.elections()?;
    let busy = fight.servers.keep_disk_busy()?;
    for _ in 0..effort.rounds {
        fight.gap(Instant::now()).await?;
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
    busy.end()?;
    let after = fight.servers.elections()?;
    let mut report = fight.end().await?;
    if after != before {
        report.verdict.faults.push(format!("{} elections although no server failed", after - before));
    }
    Ok(report)
}

const SMALL_DISK_MIB: u32 = 256;

/// A storm on three servers, under way.
struct Fight {
    storm: Storm,
    servers: Servers,
    effort: Effort,
    gaps: Vec<Duration>,
}

impl Fight {
    async fn begin(binary: &Path, disk: Disk, effort: Effort) -> io::Result<Self> {
        let servers = Servers::start(binary, disk).await?;
        let storm = Storm::begin(&servers, effort.storm).await;
        storm.progress(effort.writes).await.map_err(io::Error::other)?;
        Ok(Fight { storm, servers, effort, gaps: Vec::new() })
    }

    /// Measures how long after a fault a write succeeds again, then lets the storm go on for a while.
    async fn gap(&mut self, fault: Instant) -> io::Result<()> {
        let gap = self.storm.next_write(fault).await.map_err(|why| self.stuck(&why))?;
        self.gaps.push(gap);
        self.storm.progress(self.effort.writes).await.map_err(|why| self.stuck(&why))
    }

    fn stuck(&self, why: &str) -> io::Error {
        let logs = self.servers.servers.iter().map(|server| format!("--- {}\n{}\n", server.name, server.log()));
        io::Error::other(format!("{why}\n{}", logs.collect::<String>()))
    }

    async fn end(self) -> io::Result<Report> {
        let record = self.storm.end().await;
        let acknowledged = record.operations.iter().filter(|operation| operation.revision.is_some()).count();
        let mut unknown = BTreeMap::new();
        for operation in record.operations.iter().filter(|operation| operation.returned.is_none()) {
            *unknown.entry(operation.code).or_default() += 1;
        }
        Ok(Report { gaps: self.gaps, acknowledged, unknown, verdict: Verdict::of(&record) })
    }
}

impl Report {
    /// Fails the test that asked if a promise was broken, and prints what was measured.
    pub fn assert_clean(&self, name: &str) {
        let mut gaps = self.gaps.clone();
        gaps.sort();
        let at = |share: usize| gaps.get((gaps.len() * share / 100).min(gaps.len().saturating_sub(1)));
        println!(
            "{name}: {} writes acknowledged, {:?} of unknown outcome, {} faults; until the next write p50 {:?} p99 {:?}",
            self.acknowledged,
            self.unknown,
            gaps.len(),
            at(50).unwrap_or(&Duration::ZERO),
            at(99).unwrap_or(&Duration::ZERO)
        );
        self.verdict.assert_clean();
    }
}
