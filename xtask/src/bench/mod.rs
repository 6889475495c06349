//! `make bench`: what a user waits for, and what it costs, beside the programs that do the same, in the same run. Prints tables;
//! judges nothing.

mod api;
mod containers;
mod log;
mod plot;
mod scratch;
mod server;

use std::{
    io::Write,
    time::{Duration, Instant},
};

use anyhow::Result;

use self::scratch::Scratch;
use crate::{build, setup, tool};

/// How long an idle process is left alone before its memory is read.
const IDLE: Duration = Duration::from_secs(5);
const WAIT_MAX: Duration = Duration::from_secs(120);
const POLL: Duration = Duration::from_millis(2);

/// What can be measured by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Part {
    /// Requests, lists and watches of one server
    Api,
    /// From process start to the first write, and idle memory
    Start,
    /// From the API to a running pod
    Pods,
    /// A container's start and end, beside runc and crun
    Containers,
    /// Three servers' writes, beside etcd
    Log,
}

/// One row: a name and its samples in milliseconds, or one figure with a unit.
enum Row {
    Times(String, Vec<f64>),
    Figure(String, String),
}

/// Little of it, on the debug build: shows that it runs, and no figure worth keeping.
pub fn trial() -> Result<()> {
    setup::install(setup::Need::Bench)?;
    tool::run(&mut tool::cargo(&["build", "--locked", "--workspace", "--bins"])?)?;
    let debug = build::target_dir()?.join("debug");
    api::api(&api::Programs { kontiki: debug.join("kontiki"), load: debug.join("load") }, &api::TRIAL)
}

/// `built`: with what an earlier run has built.
pub fn bench(only: Option<Part>, built: bool) -> Result<()> {
    let wanted = |part| only.is_none_or(|only| only == part);
    setup::install(setup::Need::Bench)?;
    if !built {
        build::build_with(&[
            "--package",
            "kontiki-bench",
            "--package",
            "kontiki-runtime",
            "--bins",
            "--example",
            "shimctl",
        ])?;
    }
    let mut rows = Vec::new();
    let scratch = Scratch::new()?;
    if wanted(Part::Start) {
        server::starts(&scratch, &mut rows)?;
    }
    if wanted(Part::Pods) {
        server::pods(&scratch, &mut rows)?;
    }
    // A part that fails does not take the other figures with it.
    let containers = if wanted(Part::Containers) { containers::containers(&scratch, &mut rows) } else { Ok(()) };
    if !rows.is_empty() {
        print(&rows);
    }
    drop(scratch);
    if wanted(Part::Api) {
        let load = build::target_dir()?.join("release/load");
        api::api(&api::Programs { kontiki: tool::root().join("bin/kontiki"), load }, &api::WHOLE)?;
    }
    if wanted(Part::Log) {
        log::log()?;
    }
    containers
}

fn millis(since: Instant) -> f64 {
    since.elapsed().as_secs_f64() * 1000.0
}

fn print(rows: &[Row]) {
    let mut out = std::io::stdout().lock();
    let mut line = |text: String| writeln!(out, "{text}");
    let mut printed = line(format!("{:<62} {:>9} {:>9} {:>9}", "milliseconds", "min", "median", "p99"));
    for row in rows {
        printed = printed.and_then(|()| match row {
            Row::Times(name, samples) => {
                let mut sorted = samples.clone();
                sorted.sort_by(f64::total_cmp);
                let at = |share: f64| sorted[((sorted.len() - 1) as f64 * share).round() as usize];
                line(format!("{name:<62} {:>9.1} {:>9.1} {:>9.1}", at(0.0), at(0.5), at(0.99)))
            }
            Row::Figure(name, figure) => line(format!("{name:<62} {figure:>9}")),
        });
    }
    if let Err(error) = printed {
        eprintln!("printing: {error}");
    }
}
