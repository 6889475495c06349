//! The load that `make bench` puts on a cluster, and its yardstick, the disk. Prints one line of JSON; judges nothing.

mod disk;
mod failover;
mod fill;
mod list;
mod storm;
mod target;
mod watchers;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::target::{Protocol, Target};

#[derive(Parser)]
#[command(about = "Writes to a cluster, or to the disk, and tells how long it took")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Closed-loop clients, each with its own connection, for a while
    Storm {
        #[command(flatten)]
        to: To,
        #[arg(long)]
        clients: usize,
        #[arg(long, value_name = "MS")]
        millis: u64,
        #[arg(long, default_value = "create")]
        verb: storm::Verb,
        /// Servers whose processor time is told
        #[arg(long = "pid")]
        pids: Vec<u32>,
    },
    /// ConfigMaps until there are so many
    Fill {
        #[command(flatten)]
        to: To,
        #[arg(long)]
        objects: usize,
    },
    /// Consistent lists of all ConfigMaps, one after the other
    List {
        #[command(flatten)]
        to: To,
        #[arg(long)]
        rounds: usize,
        /// Items of a page; everything at once if absent
        #[arg(long)]
        limit: Option<usize>,
        #[arg(long = "pid")]
        pids: Vec<u32>,
    },
    /// Watches that are idle first, and then all told of the same writes
    Watch {
        #[command(flatten)]
        to: To,
        #[arg(long)]
        watchers: usize,
        #[arg(long)]
        per_connection: usize,
        #[arg(long)]
        writes: usize,
        /// The server whose memory and processor time are told
        #[arg(long)]
        pid: u32,
    },
    /// A storm in which a process is killed: the time until a write that was sent later is acknowledged
    Failover {
        #[command(flatten)]
        to: To,
        #[arg(long)]
        clients: usize,
        /// Killed with SIGKILL
        #[arg(long)]
        kill: i32,
    },
    /// Appends with one fdatasync each, by several writers at once
    Disk {
        #[arg(long)]
        dir: PathBuf,
        #[arg(long)]
        writers: usize,
        #[arg(long, value_name = "MS")]
        millis: u64,
        #[arg(long)]
        payload: usize,
    },
}

#[derive(Args)]
struct To {
    #[arg(long)]
    protocol: Protocol,
    /// host:port; clients are dealt out over them
    #[arg(long = "server", required = true)]
    servers: Vec<String>,
    /// A folder with ca.crt, admin.crt and admin.key
    #[arg(long)]
    pki: Option<PathBuf>,
    #[arg(long)]
    payload: usize,
    /// Names of a run begin with it
    #[arg(long)]
    prefix: String,
    /// Whom to impersonate
    #[arg(long = "as", value_name = "USER")]
    user: Option<String>,
}

fn main() -> Result<()> {
    match Arguments::parse().task {
        Task::Storm { to, clients, millis, verb, pids } => {
            let outcome = runtime(clients)?.block_on(async {
                storm::run((&to.target()?, verb), &to.prefix, clients, Duration::from_millis(millis), &pids).await
            })?;
            println!("{}", serde_json::to_string(&outcome)?);
        }
        Task::Fill { to, objects } => {
            let outcome =
                runtime(fill::CLIENTS)?.block_on(async { fill::run(&to.target()?, &to.prefix, objects).await })?;
            println!("{}", serde_json::to_string(&outcome)?);
        }
        Task::List { to, rounds, limit, pids } => {
            let outcome = runtime(1)?.block_on(async { list::run(&to.target()?, rounds, limit, &pids).await })?;
            println!("{}", serde_json::to_string(&outcome)?);
        }
        Task::Watch { to, watchers, per_connection, writes, pid } => {
            let plan = watchers::Plan { watchers, per_connection, writes };
            let outcome = runtime(2)?.block_on(async { watchers::run(to.target()?, &to.prefix, plan, pid).await })?;
            println!("{}", serde_json::to_string(&outcome)?);
        }
        Task::Failover { to, clients, kill } => {
            let outcome =
                runtime(clients)?.block_on(async { failover::run(to.target()?, &to.prefix, clients, kill).await })?;
            println!("{}", serde_json::to_string(&outcome)?);
        }
        Task::Disk { dir, writers, millis, payload } => {
            let outcome = disk::run(&dir, writers, Duration::from_millis(millis), payload)?;
            println!("{}", serde_json::to_string(&outcome)?);
        }
    }
    Ok(())
}

impl To {
    fn target(&self) -> Result<Target> {
        Ok(Target::new(self.protocol, &self.servers, self.pki.as_deref(), self.payload)?
            .impersonating(self.user.clone()))
    }
}

/// One thread for one client: its latency shall not have a hop between threads in it.
fn runtime(clients: usize) -> std::io::Result<tokio::runtime::Runtime> {
    match clients {
        1 => tokio::runtime::Builder::new_current_thread().enable_all().build(),
        _ => tokio::runtime::Builder::new_multi_thread().enable_all().build(),
    }
}
