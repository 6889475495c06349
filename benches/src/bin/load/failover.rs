//! Kills a server in the middle of a storm. Clients move to the next server when theirs is gone or does not answer, as clients
//! of a cluster do; a proposal that died with the leader is thus not what is measured, but the cluster.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Result, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::Serialize;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::target::Target;

/// Writes flow for this long before the kill.
const BEFORE: Duration = Duration::from_millis(700);
/// A write that is not answered by then is sent again, to the next server. Also the pace at which a dead server is tried.
const PATIENCE: Duration = Duration::from_millis(250);
const AFTER_ERROR: Duration = Duration::from_millis(5);
const GIVE_UP: Duration = Duration::from_secs(20);

#[derive(Debug, Serialize)]
pub struct Outcome {
    /// From the kill to the first acknowledgement of a write that was sent after it.
    pub gap_ms: f64,
    /// Writes acknowledged before the kill, to see that there was a storm.
    pub before: u64,
}

pub async fn run(target: Target, prefix: &str, clients: usize, victim: i32) -> Result<Outcome> {
    let storm = Arc::new(Storm { target, prefix: prefix.to_owned(), acknowledged: AtomicU64::new(0) });
    let (killed, was_killed) = watch::channel(None);
    let mut tasks = JoinSet::new();
    for client in 0..clients {
        tasks.spawn(write(storm.clone(), client, was_killed.clone()));
    }
    tokio::time::sleep(BEFORE).await;
    let before = storm.acknowledged.load(Ordering::Relaxed);
    if before == 0 {
        bail!("nothing was acknowledged before the kill");
    }
    let at = Instant::now();
    kill(Pid::from_raw(victim), Signal::SIGKILL)?;
    killed.send(Some(at))?;
    // The first client whose write was sent after the kill and acknowledged ends the storm.
    match tokio::time::timeout(GIVE_UP, tasks.join_next()).await {
        Ok(Some(acknowledged)) => Ok(Outcome { gap_ms: (acknowledged? - at).as_secs_f64() * 1e3, before }),
        Ok(None) => bail!("a storm without clients"),
        Err(_) => bail!("no write was acknowledged for {GIVE_UP:?} after the kill"),
    }
}

struct Storm {
    target: Target,
    prefix: String,
    acknowledged: AtomicU64,
}

/// Writes until one that was sent after the kill is acknowledged; returns when that was.
async fn write(storm: Arc<Storm>, client: usize, killed: watch::Receiver<Option<Instant>>) -> Instant {
    let mut server = client;
    let mut number = 0_u64;
    loop {
        let Ok(Ok(mut connection)) = tokio::time::timeout(PATIENCE, storm.target.connect(server)).await else {
            server += 1;
            tokio::time::sleep(AFTER_ERROR).await;
            continue;
        };
        loop {
            let name = format!("{}-{client}-{number}", storm.prefix);
            number += 1;
            let after_kill = killed.borrow().is_some();
            let written = tokio::time::timeout(PATIENCE, storm.target.write(&mut connection, &name)).await;
            if !matches!(written, Ok(Ok(()))) {
                break;
            }
            storm.acknowledged.fetch_add(1, Ordering::Relaxed);
            if after_kill {
                return Instant::now();
            }
        }
        server += 1;
        tokio::time::sleep(AFTER_ERROR).await;
    }
}
