//! Building, testing and checking the workspace.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, ensure};

use crate::{
    ha, rocksdb,
    setup::{self, Need},
    tool::{self, cargo, installed, run},
};

/// The release binary, at `bin/kontiki`.
pub fn build() -> Result<()> {
    build_with(&[])
}

/// With others in one build: the features of what they share are those of all of them.
pub fn build_with(others: &[&str]) -> Result<()> {
    setup::install(Need::Run)?;
    rocksdb::ensure()?;
    run(cargo(&["build", "--release", "--locked", "--package", "kontiki"])?.args(others))?;
    let bin = tool::root().join("bin");
    fs::create_dir_all(&bin)?;
    // A running `kontiki` keeps the file it was started from: the new one is renamed over it.
    let partial = bin.join(format!("kontiki.{}", std::process::id()));
    fs::copy(target_dir()?.join("release/kontiki"), &partial).context("copying the binary")?;
    fs::rename(&partial, bin.join("kontiki")).context("placing the binary")
}

/// Starts (or finds running) the one-machine cluster of this checkout.
pub fn up() -> Result<()> {
    build()?;
    let root = tool::root();
    let mut up = Command::new(root.join("bin/kontiki"));
    run(up.current_dir(&root).args(["up", "--detach", "--data-dir", ".kontiki"]))
}

/// Stops it.
pub fn down(of: &ha::Of) -> Result<()> {
    let several = ha::down(of)?;
    if of.is_elsewhere() {
        return Ok(());
    }
    let root = tool::root();
    let binary = root.join("bin/kontiki");
    if !binary.exists() || !root.join(".kontiki/log").exists() {
        if several {
            return Ok(());
        }
        println!("nothing to stop: `make up` has not run here");
        return Ok(());
    }
    run(Command::new(binary).current_dir(&root).args(["down", "--data-dir", ".kontiki"]))
}

/// Every test.
pub fn test() -> Result<()> {
    setup::install(Need::Test)?;
    rocksdb::ensure()?;
    if installed("cargo-nextest") {
        run(&mut cargo(&["nextest", "run", "--workspace", "--locked", "--no-fail-fast"])?)
    } else {
        run(&mut cargo(&["test", "--workspace", "--locked", "--no-fail-fast"])?)
    }
}

/// Of simulated clusters in the long form, and how many processes share them: they wait for their disks more than they compute.
const SEEDS: u64 = 1_000;
const SIMULATORS: u64 = 8;
/// A file system in memory.
const MEMORY: &str = "/dev/shm";
/// Of each, before it ends: as many as a test has.
const STEPS: u64 = 40;

/// The long form of what `test` does in short: hours of faults, on the release build. The simulation is given seeds it has not had;
/// which ones is told, and `first` asks for those again.
pub fn chaos(first: Option<u64>) -> Result<()> {
    setup::install(Need::Test)?;
    rocksdb::ensure()?;
    // One scenario at a time: each has the machine to itself, and its gaps mean something.
    let faults = ["test", "--release", "--locked", "--package", "kontiki", "--test", "faults", "--"];
    run(cargo(&faults)?.args(["--nocapture", "--test-threads=1"]).env("KONTIKI_CHAOS_LONG", "1"))?;
    let today = || SystemTime::now().duration_since(UNIX_EPOCH).map(|since| since.as_secs() / 86_400 * 10_000);
    simulate(first.map_or_else(today, Ok)?)
}

fn simulate(first: u64) -> Result<()> {
    run(&mut cargo(&["build", "--release", "--locked", "--package", "kontiki-chaos", "--example", "simulate"])?)?;
    let simulate = target_dir()?.join("release/examples/simulate");
    println!("simulating {SEEDS} clusters from seed {first}");
    let share = SEEDS.div_ceil(SIMULATORS);
    let shares = (first..first + SEEDS).step_by(share as usize).map(|seed| (seed, share.min(first + SEEDS - seed)));
    let start = |(seed, count): (u64, u64)| {
        let numbers = [seed, count, STEPS].map(|number| number.to_string());
        let mut command = Command::new(&simulate);
        // The seed decides what a crash loses, not the disk: syncs to memory cost nothing and hide nothing.
        if Path::new(MEMORY).is_dir() {
            command.env("TMPDIR", MEMORY);
        }
        command.args(numbers).spawn().with_context(|| format!("cannot start {}", simulate.display()))
    };
    let simulators: Vec<_> = shares.map(start).collect();
    let mut broken = 0;
    for simulator in simulators {
        let held = simulator.and_then(|mut one| Ok(one.wait()?)).is_ok_and(|status| status.success());
        broken += u32::from(!held);
    }
    ensure!(broken == 0, "{broken} of the simulators found a promise broken");
    Ok(())
}

/// Formatting, tidy, lints. Changes no source.
pub fn verify() -> Result<()> {
    setup::install(Need::Build)?;
    run(Command::new("cargo").current_dir(tool::root()).args(["fmt", "--all", "--check"]))?;
    crate::tidy::check()?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--locked", "--", "--deny", "warnings"])?)
}

/// Formats and applies what clippy can fix.
pub fn fix() -> Result<()> {
    run(Command::new("cargo").current_dir(tool::root()).args(["fmt", "--all"]))?;
    run(&mut cargo(&["clippy", "--workspace", "--all-targets", "--fix", "--allow-dirty", "--allow-staged"])?)?;
    run(Command::new("cargo").current_dir(tool::root()).args(["fmt", "--all"]))
}

/// Licences, sources, duplicates; advisories where their database can be reached.
pub fn deny() -> Result<()> {
    if !installed("cargo-deny") {
        run(Command::new("cargo").args(["install", "--locked", "cargo-deny"]))?;
    }
    run(Command::new("cargo").current_dir(tool::root()).args(["deny", "check", "bans", "licenses", "sources"]))
}

/// Where cargo puts what it builds.
pub fn target_dir() -> Result<PathBuf> {
    let metadata = cargo_metadata::MetadataCommand::new().current_dir(tool::root()).no_deps().exec()?;
    Ok(metadata.target_directory.into_std_path_buf())
}
