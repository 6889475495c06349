//! Faults on three real servers while clients write and watch: a short form of each scenario here, the long one by `make chaos`.
#![allow(clippy::unwrap_used)]

use std::{future::Future, io, path::Path};

use kontiki_chaos::faults::{
    StormPlan,
    scenarios::{self, Effort, Report},
};

const BINARY: &str = env!("CARGO_BIN_EXE_kontiki");

/// Rounds in the default run, and in the long one.
fn fight<S, F>(name: &'static str, short: usize, long: usize, scenario: S)
where
    S: FnOnce(&'static Path, Effort) -> F + Send + 'static,
    F: Future<Output = io::Result<Report>>,
{
    if !nix::unistd::geteuid().is_root() {
        eprintln!("SKIPPED: needs root for network namespaces");
        return;
    }
    let thorough = std::env::var_os("KONTIKI_CHAOS_LONG").is_some();
    let rounds = if thorough { long } else { short };
    let storm = StormPlan { clients: 8, watchers: 3, seed: 1 };
    let effort = Effort { storm, rounds, writes: if thorough { 400 } else { 100 } };
    let report =
        scenarios::run(move || scenario(Path::new(BINARY), effort)).unwrap_or_else(|error| panic!("{name}: {error}"));
    report.assert_clean(name);
    assert_eq!(report.gaps.len(), rounds);
}

#[test]
fn leader_killed() {
    fight("leader killed", 2, 50, scenarios::leader_killed);
}

#[test]
fn leader_ends_in_order() {
    fight("leader ends in order", 2, 20, scenarios::leader_ends);
}

#[test]
fn leader_paused() {
    fight("leader paused", 1, 20, scenarios::leader_paused);
}

#[test]
fn leader_cut_off() {
    fight("leader cut off", 1, 20, scenarios::leader_cut_off);
}

#[test]
fn leader_deaf_or_unheard() {
    fight("leader deaf or unheard", 2, 10, scenarios::leader_deaf);
}

#[test]
fn all_killed() {
    fight("all killed", 1, 20, scenarios::all_killed);
}

#[test]
fn leaders_sync_fails() {
    fight("leader's sync fails", 1, 20, scenarios::leader_sync_fails);
}

#[test]
fn leaders_disk_full() {
    fight("leader's disk full", 1, 10, scenarios::disk_full);
}

#[test]
fn disk_busy() {
    fight("disk busy", 5, 3600, scenarios::disk_busy);
}
