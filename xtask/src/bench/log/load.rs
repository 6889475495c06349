//! Calls of the load client, with the servers' syncs counted by the kernel meanwhile.

use std::{fs, path::PathBuf, process::Command};

use anyhow::{Context, Result};
use serde::{Deserialize, de::DeserializeOwned};

use super::{super::Scratch, cluster::Cluster};
use crate::{build, tool};

/// What a client writes, in bytes.
pub const PAYLOAD: usize = 1024;
/// A shell in a mount namespace of its own: the counters need tracefs, which not every machine has mounted.
const WITH_TRACEFS: &str = r#"mount -t tracefs nodev /sys/kernel/tracing 2>/dev/null; exec "$@""#;
const SYNCS: &str = "syscalls:sys_enter_fdatasync,syscalls:sys_enter_fsync";

/// What the client saw.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct Seen {
    pub ops: f64,
    pub errors: usize,
    pub error: Option<String>,
    pub seconds: f64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    /// User and system time of the servers meanwhile.
    pub server_cpu_seconds: f64,
    /// Of all servers together; absent where the kernel does not tell.
    #[serde(skip)]
    pub syncs: Option<f64>,
}

#[derive(Deserialize)]
struct Failover {
    gap_ms: f64,
}

/// Clients write for a while: one to the leader, several spread over all servers.
pub fn storm(scratch: &Scratch, cluster: &mut Cluster<'_>, prefix: &str, clients: usize, millis: u64) -> Result<Seen> {
    let leader = cluster.wait_for_leader()?;
    let pids: Vec<String> = cluster.pids().iter().map(u32::to_string).collect();
    let counts = scratch.dir.join("syncs");
    let mut command = scratch.inside("unshare");
    command.args(["--mount", "sh", "-c", WITH_TRACEFS, "sh", "perf", "stat", "-x", ",", "-e", SYNCS]);
    command.args(["-p", &pids.join(","), "-o"]).arg(&counts).arg("--").arg(client()?).arg("storm");
    command.args(["--clients", &clients.to_string(), "--millis", &millis.to_string()]);
    for pid in &pids {
        command.args(["--pid", pid]);
    }
    to(&mut command, cluster, leader, prefix);
    let mut seen: Seen = json(&mut command)?;
    seen.syncs = fs::read_to_string(&counts).ok().and_then(|text| counted(&text));
    Ok(seen)
}

/// Kills the leader in a storm; the gap in milliseconds. The server is started again.
pub fn failover(scratch: &Scratch, cluster: &mut Cluster<'_>, prefix: &str, clients: usize) -> Result<f64> {
    let leader = cluster.wait_for_leader()?;
    let victim = cluster.pids()[leader];
    let mut command = scratch.inside(client()?);
    command.args(["failover", "--clients", &clients.to_string(), "--kill", &victim.to_string()]);
    to(&mut command, cluster, leader, prefix);
    let outcome: Failover = json(&mut command)?;
    cluster.restart(leader)?;
    Ok(outcome.gap_ms)
}

/// The disk's own append and fdatasync, by several writers at once.
pub fn disk(scratch: &Scratch, writers: usize, millis: u64) -> Result<Seen> {
    let mut command = Command::new(client()?);
    command.arg("disk").arg("--dir").arg(&scratch.dir).args(["--writers", &writers.to_string()]);
    command.args(["--millis", &millis.to_string(), "--payload", &PAYLOAD.to_string()]);
    json(&mut command)
}

fn client() -> Result<PathBuf> {
    Ok(build::target_dir()?.join("release/load"))
}

fn to(command: &mut Command, cluster: &Cluster<'_>, leader: usize, prefix: &str) {
    command.args(["--protocol", cluster.system.protocol(), "--prefix", prefix, "--payload", &PAYLOAD.to_string()]);
    if let Some(pki) = cluster.pki() {
        command.arg("--pki").arg(pki);
    }
    for address in cluster.addresses_from(leader) {
        command.args(["--server", &address]);
    }
}

fn json<T: DeserializeOwned>(command: &mut Command) -> Result<T> {
    let printed = tool::output(command)?;
    let line = printed.lines().last().context("the load client printed nothing")?;
    let value = serde_json::from_str(line).with_context(|| format!("the load client printed {line}"))?;
    Ok(value)
}

/// The sum of perf's counters; `None` if it could not count one of them.
fn counted(text: &str) -> Option<f64> {
    let mut sum = 0.0;
    let lines = text.lines().filter(|line| !line.is_empty() && !line.starts_with('#'));
    for line in lines {
        sum += line.split(',').next()?.parse::<f64>().ok()?;
    }
    Some(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counters_are_added_and_a_missing_one_is_no_zero() {
        let text =
            "# started on Sat\n\n12,,syscalls:sys_enter_fdatasync,1,100.00,,\n3,,syscalls:sys_enter_fsync,1,100.00,,\n";
        assert_eq!(counted(text), Some(15.0));
        assert_eq!(counted("<not supported>,,syscalls:sys_enter_fsync,0,100.00,,\n"), None);
    }
}
