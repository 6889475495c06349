//! What would otherwise become shell: setup, builds, tests, tidy, benchmarks.

mod bench;
mod build;
mod codegen;
mod fuzz;
mod ha;
mod replay;
mod rocksdb;
mod setup;
mod tidy;
mod tool;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(about = "Builds, tests and checks the workspace")]
struct Arguments {
    #[command(subcommand)]
    task: Task,
}

#[derive(Subcommand)]
enum Task {
    /// Latencies, rates and sizes, beside etcd, runc and crun
    Bench {
        /// One part alone
        #[arg(long)]
        only: Option<bench::Part>,
        /// Only to see that the API's part runs: on the debug build, with little load
        #[arg(long, conflicts_with = "only")]
        trial: bool,
        /// With what was built before
        #[arg(long)]
        built: bool,
    },
    /// The release binary, at bin/kontiki
    Build,
    /// The long form of the simulation and of the faults on real processes
    Chaos {
        /// The first of the simulation's seeds; another one each day, if absent
        #[arg(long)]
        seed: Option<u64>,
    },
    /// Write the generated sources from the committed facts
    Codegen {
        /// Change nothing; fail when a generated file is stale
        #[arg(long)]
        check: bool,
    },
    /// Licences, sources and duplicates of the dependencies
    Deny,
    /// Stop the clusters of this checkout
    Down(ha::Of),
    /// Format and apply clippy's fixes
    Fix,
    /// Each fuzz target for a while
    Fuzz {
        #[arg(long, default_value_t = 60)]
        seconds: u32,
        /// So many inputs instead, the same each time
        #[arg(long, conflicts_with = "seconds")]
        runs: Option<u64>,
    },
    /// Start a process of the trial cluster again
    HaRestart {
        /// server-1, agent-2, …
        name: String,
        #[command(flatten)]
        of: ha::Of,
    },
    /// Ask the servers of this checkout what a recorded API server was asked, and compare
    Replay,
    /// Install the Debian packages that are missing
    Setup,
    /// Every test
    Test,
    /// The edges between the rooms and the "never" list
    Tidy,
    /// Build, and start the cluster of this checkout
    Up,
    /// Start three servers and two agents on this machine
    UpHa(ha::Of),
    /// Formatting, lints and tidy, changing nothing
    Verify,
}

fn main() -> ExitCode {
    match run(Arguments::parse().task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error:#}");
            ExitCode::FAILURE
        }
    }
}

fn run(task: Task) -> Result<()> {
    match task {
        Task::Bench { trial: true, .. } => bench::trial(),
        Task::Bench { only, trial: false, built } => bench::bench(only, built),
        Task::Build => build::build(),
        Task::Chaos { seed } => build::chaos(seed),
        Task::Codegen { check } => codegen::run(check),
        Task::Deny => build::deny(),
        Task::Down(of) => build::down(&of),
        Task::Fix => build::fix(),
        Task::Fuzz { seconds, runs } => fuzz::fuzz(&runs.map_or(fuzz::Until::Seconds(seconds), fuzz::Until::Inputs)),
        Task::HaRestart { name, of } => ha::restart(&name, &of),
        Task::Replay => replay::replay(),
        Task::Setup => setup::install(setup::Need::Bench),
        Task::Test => build::test(),
        Task::Tidy => tidy::check(),
        Task::Up => build::up(),
        Task::UpHa(of) => ha::up(&of),
        Task::Verify => build::verify(),
    }
}
