//! The trial cluster's processes: the list that scripts read, and whether one is still the process it was.

use std::{
    fs,
    path::{Path, PathBuf},
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

/// Waits for a condition; its last objection is the error, with the last lines of the log.
pub fn wait_for<T>(what: &str, patience: Duration, log: PathBuf, mut look: impl FnMut() -> Result<T>) -> Result<T> {
    let deadline = Instant::now() + patience;
    loop {
        match look() {
            Ok(value) => return Ok(value),
            Err(error) if Instant::now() > deadline => {
                let text = fs::read_to_string(&log).unwrap_or_default();
                let lines: Vec<&str> = text.lines().collect();
                let tail = lines[lines.len().saturating_sub(20)..].join("\n");
                bail!("waited {patience:?} for {what}: {error:#}\nlast lines of {}:\n{tail}", log.display());
            }
            Err(_) => thread::sleep(POLL),
        }
    }
}
