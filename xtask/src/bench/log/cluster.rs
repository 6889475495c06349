//! Three processes of one system, started in a folder of the disk, and what the kernel knows of them.

use std::{
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};

use super::super::{Scratch, WAIT_MAX};
use crate::tool;

pub const NODES: usize = 3;
const POLL: Duration = Duration::from_millis(50);
const MEBIBYTE: f64 = 1024.0 * 1024.0;

/// A kind of cluster that can be compared with another one.
pub trait System {
    /// As the table calls it.
    fn label(&self) -> &'static str;
    /// What it is and how it is reached, in one line.
    fn describe(&self) -> String;
    /// The load client's word for how it is written to.
    fn protocol(&self) -> &'static str;
    /// Where the load client finds certificates, if it needs any.
    fn pki(&self, _place: &Place<'_>) -> Option<PathBuf> {
        None
    }
    /// Where clients reach a server.
    fn address(&self, node: usize) -> String;
    /// The command that starts a server, for the first time or again.
    fn command(&self, place: &Place<'_>, node: usize) -> Result<Command>;
    /// Makes a server that was started for the first time part of the cluster.
    fn join(&self, _place: &Place<'_>, _node: usize) -> Result<()> {
        Ok(())
    }
    /// Whether servers are started one after the other, each joining those before.
    fn one_by_one(&self) -> bool;
    /// The leader among the first `nodes` servers, once all of them serve.
    fn leader(&self, place: &Place<'_>, nodes: usize) -> Result<Option<usize>>;
}

/// The folder and the network that the processes live in.
pub struct Place<'a> {
    pub scratch: &'a Scratch,
    pub dir: PathBuf,
}

impl Place<'_> {
    pub fn data(&self, node: usize) -> PathBuf {
        self.dir.join(format!("n{node}"))
    }

    /// curl inside the namespace; an answer that is not JSON, or none, is no answer.
    pub fn ask(&self, arguments: &[&str]) -> Option<serde_json::Value> {
        let mut curl = self.scratch.inside("curl");
        curl.args(["--silent", "--fail", "--max-time", "2"]).args(arguments).stderr(Stdio::null());
        serde_json::from_slice(&curl.output().ok()?.stdout).ok()
    }
}

pub struct Cluster<'a> {
    pub system: &'a dyn System,
    place: Place<'a>,
    nodes: Vec<Child>,
}

/// Resident memory of one server, in MiB.
#[derive(Clone, Copy)]
pub struct Memory {
    pub resident: f64,
    /// Not backed by files: what no other use can take.
    pub anonymous: f64,
}

impl<'a> Cluster<'a> {
    pub fn start(system: &'a dyn System, scratch: &'a Scratch, name: &str) -> Result<Self> {
        let place = Place { scratch, dir: scratch.dir.join(name) };
        fs::create_dir_all(&place.dir)?;
        let mut cluster = Cluster { system, place, nodes: Vec::new() };
        for node in 0..NODES {
            cluster.nodes.push(cluster.spawn(node)?);
            if system.one_by_one() {
                if node > 0 {
                    system.join(&cluster.place, node)?;
                }
                cluster.wait_for_leader()?;
            }
        }
        cluster.wait_for_leader()?;
        Ok(cluster)
    }

    fn spawn(&self, node: usize) -> Result<Child> {
        let log = fs::File::options().create(true).append(true).open(self.log_of(node))?;
        let mut command = self.system.command(&self.place, node)?;
        command.current_dir(&self.place.dir).stdin(Stdio::null());
        command
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("starting {}", self.system.label()))
    }

    fn log_of(&self, node: usize) -> PathBuf {
        self.place.dir.join(format!("n{node}.log"))
    }

    /// Waits until every server serves and knows the leader; which one that is.
    pub fn wait_for_leader(&mut self) -> Result<usize> {
        let deadline = Instant::now() + WAIT_MAX;
        loop {
            if let Some(leader) = self.system.leader(&self.place, self.nodes.len())? {
                return Ok(leader);
            }
            for (number, node) in self.nodes.iter_mut().enumerate() {
                if let Some(status) = node.try_wait()? {
                    let log = fs::read_to_string(self.place.dir.join(format!("n{number}.log")))?;
                    let said: Vec<&str> = log.lines().rev().take(5).collect();
                    bail!("{} n{number} ended with {status}: {}", self.system.label(), said.join("\n"));
                }
            }
            if Instant::now() > deadline {
                bail!("waited {WAIT_MAX:?} for {} to have a leader", self.system.label());
            }
            thread::sleep(POLL);
        }
    }

    /// nsenter becomes the server: the same pid.
    pub fn pids(&self) -> Vec<u32> {
        self.nodes.iter().map(Child::id).collect()
    }

    /// The servers' addresses, the given one first.
    pub fn addresses_from(&self, first: usize) -> Vec<String> {
        (0..NODES).map(|offset| self.system.address((first + offset) % NODES)).collect()
    }

    pub fn pki(&self) -> Option<PathBuf> {
        self.system.pki(&self.place)
    }

    /// Starts a server that was killed, and waits until the cluster is whole.
    pub fn restart(&mut self, node: usize) -> Result<()> {
        self.nodes[node].wait()?;
        self.nodes[node] = self.spawn(node)?;
        self.wait_for_leader()?;
        Ok(())
    }

    /// The mean of the servers.
    pub fn memory(&self) -> Result<Memory> {
        let mut sum = Memory { resident: 0.0, anonymous: 0.0 };
        for pid in self.pids() {
            let status = fs::read_to_string(format!("/proc/{pid}/status"))?;
            sum.resident += mebibytes(&status, "VmRSS:")?;
            sum.anonymous += mebibytes(&status, "RssAnon:")?;
        }
        let nodes = NODES as f64;
        Ok(Memory { resident: sum.resident / nodes, anonymous: sum.anonymous / nodes })
    }

    /// What the servers' folders hold on the disk, in MiB, the mean of them.
    pub fn disk(&self) -> Result<f64> {
        let folders: Vec<PathBuf> = (0..NODES).map(|node| self.place.data(node)).collect();
        let listed = tool::output(Command::new("du").args(["--summarize", "--bytes"]).args(&folders))?;
        let bytes = listed.lines().filter_map(|line| line.split_whitespace().next()?.parse::<f64>().ok());
        Ok(bytes.sum::<f64>() / NODES as f64 / MEBIBYTE)
    }
}

impl Drop for Cluster<'_> {
    fn drop(&mut self) {
        for node in &mut self.nodes {
            if let Err(error) = node.kill().and_then(|()| node.wait()) {
                eprintln!("ending a server: {error}");
            }
        }
    }
}

fn mebibytes(status: &str, field: &str) -> Result<f64> {
    let line = status.lines().find(|line| line.starts_with(field)).with_context(|| format!("no {field}"))?;
    let kibibytes: f64 = line.split_whitespace().nth(1).context("no figure")?.parse()?;
    Ok(kibibytes / 1024.0)
}
