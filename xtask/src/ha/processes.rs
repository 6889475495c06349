//! The trial cluster's processes: the list that scripts read, and whether one is still the process it was.

use std::{
    fs,
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, Serialize};

use crate::tool::run;

const STOP_TIME_MAX: Duration = Duration::from_secs(30);
const POLL: Duration = Duration::from_millis(50);

/// One line of `processes.json`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub name: String,
    pub role: String,
    pub pid: u32,
    pub address: String,
    pub netns: String,
}

pub fn read(file: &Path) -> Result<Vec<Process>> {
    match fs::read(file) {
        Ok(text) => serde_json::from_slice(&text).with_context(|| format!("reading {}", file.display())),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => Ok(Vec::new()),
        Err(error) => Err(error).with_context(|| format!("reading {}", file.display())),
    }
}

/// Whole or not at all: somebody may be reading.
pub fn write(file: &Path, processes: &[Process]) -> Result<()> {
    let partial = file.with_extension("json.new");
    fs::write(&partial, serde_json::to_vec_pretty(processes)?)?;
    fs::rename(&partial, file).with_context(|| format!("writing {}", file.display()))
}

/// Whether the process lives and is the one that runs this data folder: pids are used again.
pub fn is_ours(pid: u32, data: &Path) -> bool {
    let Ok(line) = fs::read(format!("/proc/{pid}/cmdline")) else { return false };
    let data = data.as_os_str().as_encoded_bytes();
    !is_zombie(pid) && line.split(|byte| *byte == 0).any(|argument| argument == data)
}

/// Dead, but not yet waited for by whoever started it.
fn is_zombie(pid: u32) -> bool {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
    stat.rsplit_once(')').is_some_and(|(_, rest)| rest.trim_start().starts_with('Z'))
}

/// The process that holds a data folder, if it lives: as its lock file says.
pub fn holder(data: &Path) -> Option<u32> {
    let pid = fs::read_to_string(data.join("lock")).ok()?.trim().parse().ok()?;
    is_ours(pid, data).then_some(pid)
}

/// Ends a process: asked first, also when it is paused, and then not asked any more.
pub fn end(pid: u32, data: &Path) -> Result<()> {
    signal(pid, "TERM")?;
    signal(pid, "CONT")?;
    let deadline = Instant::now() + STOP_TIME_MAX;
    while is_ours(pid, data) {
        if Instant::now() > deadline {
            signal(pid, "KILL")?;
            break;
        }
        thread::sleep(POLL);
    }
    Ok(())
}

fn signal(pid: u32, name: &str) -> Result<()> {
    let mut kill = Command::new("kill");
    let sent = run(kill.args([format!("-{name}"), pid.to_string()]));
    // It may have gone in between.
    if Path::new(&format!("/proc/{pid}")).exists() { sent } else { Ok(()) }
}

/// What somebody who waits for a condition finds.
pub enum Found<T> {
    It(T),
    NotYet(anyhow::Error),
    /// It will never be.
    Never(anyhow::Error),
}

/// Waits for a condition; its last objection is the error, with the last lines of the log.
pub fn wait_for<T>(what: &str, patience: Duration, log: &Path, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    wait_while(what, patience, log, || look().map_or_else(Found::NotYet, Found::It))
}

/// The same, of something that can become impossible.
pub fn wait_while<T>(what: &str, patience: Duration, log: &Path, mut look: impl FnMut() -> Found<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Found::It(value) => return Ok(value),
            Found::Never(error) => bail!("{error:#}\n{}", last_words(log)),
            Found::NotYet(error) if Instant::now() > deadline => {
                bail!("waited {patience:?} for {what}: {error:#}\n{}", last_words(log))
            }
            Found::NotYet(_) => thread::sleep(POLL),
        }
    }
}

fn last_words(log: &Path) -> String {
    let text = fs::read_to_string(log).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    format!("last lines of {}:\n{}", log.display(), lines[lines.len().saturating_sub(20)..].join("\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_waits_for_what_will_never_be() {
        let mut looks = 0;
        let waited = wait_while::<()>("it", Duration::from_secs(3600), Path::new("/no/log"), || {
            looks += 1;
            if looks == 1 { Found::NotYet(anyhow::anyhow!("soon")) } else { Found::Never(anyhow::anyhow!("it ended")) }
        });
        let why = waited.map_err(|error| error.to_string());
        assert_eq!(why.as_ref().map_err(|why| why.lines().next()), Err(Some("it ended")));
    }
}
