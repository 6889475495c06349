//! The runtime's view of a pod, as the machine wants it.

use std::{
    collections::BTreeMap,
    fs,
    io::{self, Read, Seek, SeekFrom},
    path::Path,
};

use k8s_openapi::api::core::v1::{Container, LinuxContainerUser};
use kontiki_runtime::spec::{ContainerState, ContainerStatus, ProcessUser, SandboxStatus};
use tracing::warn;

use super::Worker;
use crate::{
    clock,
    limits::{TERMINATION_LOG_BYTES_MAX, TERMINATION_LOG_LINES_MAX, TERMINATION_MESSAGE_MAX},
    machine::{Attempt, AttemptState, Exit, Sandbox},
    pod,
    spec::attempt_of,
    volumes::told,
};

impl Worker {
    /// Looks at the runtime; `false` if it did not answer, or what is kept of an attempt cannot be read: nothing may be concluded.
    pub(super) async fn observe(&mut self) -> bool {
        let status = match self.node.containers.status(&self.id.uid).await {
            Ok(status) => status,
            Err(error) => {
                warn!(pod = self.id.full_name(), %error, "the runtime does not answer");
                return false;
            }
        };
        self.observed.sandbox = match &status {
            None => Sandbox::Absent,
            Some(status) if status.lost => Sandbox::Lost,
            Some(status) => Sandbox::Ready { address: status.address.map(Into::into), created_ms: status.created_ms },
        };
        let before = std::mem::take(&mut self.observed.attempts);
        if let Some(status) = status {
            for container in &status.containers {
                if let Err(error) = self.observe_container(&status, container) {
                    warn!(pod = self.id.full_name(), container = container.id, %error, "an attempt's files cannot be read");
                    self.observed.attempts = before;
                    return false;
                }
            }
            for ((name, _), attempt) in &self.failed {
                self.observed.attempts.entry(name.clone()).or_default().push(attempt.clone());
            }
            for attempts in self.observed.attempts.values_mut() {
                attempts.sort_by_key(|attempt| attempt.number);
            }
        } else {
            self.remember(before);
        }
        self.end_kills();
        true
    }

    /// The sandbox is gone: what ran in it becomes history.
    fn remember(&mut self, attempts: BTreeMap<String, Vec<Attempt>>) {
        for (name, attempts) in attempts {
            if let Some(last) = attempts.into_iter().next_back() {
                self.observed.history.insert(name, last);
            }
        }
        self.exits.clear();
        self.failed.clear();
    }

    fn observe_container(&mut self, sandbox: &SandboxStatus, status: &ContainerStatus) -> io::Result<()> {
        let Some((name, number)) = attempt_of(&status.id) else { return Ok(()) };
        let key = (name.to_owned(), number);
        if self.failed.contains_key(&key) {
            return Ok(());
        }
        let state = match &status.state {
            ContainerState::Created if sandbox.lost => AttemptState::Exited(self.exit(&key, vanished(0))),
            ContainerState::Created => AttemptState::Created,
            ContainerState::Running { started_ms, .. } if sandbox.lost => {
                AttemptState::Exited(self.exit(&key, vanished(*started_ms)))
            }
            ContainerState::Running { started_ms, .. } => AttemptState::Running { started_ms: *started_ms },
            ContainerState::Exited { exit_code, oom_killed, started_ms, finished_ms, signal: _ } => {
                let reason = match (oom_killed, exit_code) {
                    (true, _) => "OOMKilled",
                    (false, 0) => "Completed",
                    (false, _) => "Error",
                };
                AttemptState::Exited(self.exit(
                    &key,
                    Exit {
                        exit_code: *exit_code,
                        // As every runtime below Kubernetes: the exit code says it.
                        signal: None,
                        started_ms: *started_ms,
                        finished_ms: *finished_ms,
                        reason: reason.to_owned(),
                        message: None,
                    },
                ))
            }
        };
        let image_asked = told(&self.place.image_asked(name, number), |text| Some(text.to_owned()))?;
        let resources = told(&self.place.resources(name, number), |text| serde_json::from_str(text).ok())?;
        let round = told(&self.place.round(name, number), |text| text.parse().ok())?.unwrap_or(0);
        let user = status.user.as_ref().map(user);
        let attempt = Attempt { number, state, image: status.image.clone(), image_asked, resources, user, round };
        self.observed.attempts.entry(key.0).or_default().push(attempt);
        Ok(())
    }

    /// The exit with its termination message, which is read once.
    fn exit(&mut self, key: &(String, u32), exit: Exit) -> Exit {
        if let Some(known) = self.exits.get(key) {
            return known.clone();
        }
        let spec = pod::spec(&self.pod);
        let (name, number) = key;
        let message = pod::container(&spec, name).and_then(|container| {
            let file = self.place.termination_message(name, *number);
            termination_message(&container, exit.exit_code, &file, &self.place.log(name, *number))
        });
        let exit = Exit { message: message.or(exit.message), ..exit };
        self.exits.insert(key.clone(), exit.clone());
        exit
    }
}

fn vanished(started_ms: i64) -> Exit {
    Exit {
        exit_code: 137,
        signal: None,
        started_ms,
        finished_ms: clock::now(),
        reason: "ContainerStatusUnknown".to_owned(),
        message: Some("The container ended with its sandbox: the machine or the sandbox's shim was stopped".to_owned()),
    }
}

fn termination_message(container: &Container, exit_code: i32, file: &Path, log: &Path) -> Option<String> {
    let mut written = Vec::new();
    if let Ok(opened) = fs::File::open(file) {
        // What cannot be read is no message.
        let _ = opened.take(TERMINATION_MESSAGE_MAX as u64).read_to_end(&mut written);
    }
    if !written.is_empty() {
        return Some(String::from_utf8_lossy(&written).into_owned());
    }
    let from_log = container.termination_message_policy.as_deref() == Some("FallbackToLogsOnError");
    if exit_code == 0 || !from_log {
        return None;
    }
    log_tail(log).filter(|text| !text.is_empty())
}

/// The end of a log, as text without the log's own marks.
fn log_tail(path: &Path) -> Option<String> {
    let mut file = fs::File::open(path).ok()?;
    let length = file.metadata().ok()?.len();
    // Twice as much as is shown: every line has a mark in front.
    let from = length.saturating_sub(TERMINATION_LOG_BYTES_MAX * 4);
    file.seek(SeekFrom::Start(from)).ok()?;
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes).ok()?;
    let text = String::from_utf8_lossy(&bytes).into_owned();
    let whole = if from > 0 { text.split_once('\n')?.1 } else { text.as_str() };
    let lines: Vec<String> = whole.lines().filter_map(plain).collect();
    let first = lines.len().saturating_sub(TERMINATION_LOG_LINES_MAX);
    let mut tail: String = lines[first..].concat();
    let over = tail.len().saturating_sub(TERMINATION_LOG_BYTES_MAX as usize);
    let cut = (over..tail.len()).find(|at| tail.is_char_boundary(*at)).unwrap_or(tail.len());
    Some(tail.split_off(cut))
}

/// `2026-… stdout F text` as `text` with its newline; a partial entry has none.
fn plain(line: &str) -> Option<String> {
    let mut parts = line.splitn(4, ' ').skip(2);
    let (tag, text) = (parts.next()?, parts.next().unwrap_or_default());
    Some(if tag == "F" { format!("{text}\n") } else { text.to_owned() })
}

fn user(process: &ProcessUser) -> LinuxContainerUser {
    let groups = process.groups.iter().copied().map(i64::from).collect();
    LinuxContainerUser { uid: process.uid.into(), gid: process.gid.into(), supplemental_groups: Some(groups) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_message_is_the_files_or_the_logs_end() {
        let scratch = tempfile::tempdir().unwrap();
        let (file, log) = (scratch.path().join("message"), scratch.path().join("0.log"));
        let lines: String = (0..200).map(|n| format!("2026-01-01T00:00:00.0Z stdout F line {n}\n")).collect();
        fs::write(&log, lines).unwrap();
        let with = |policy: Option<&str>, code| {
            let container =
                serde_json::from_value(serde_json::json!({"name": "c", "terminationMessagePolicy": policy})).unwrap();
            termination_message(&container, code, &file, &log)
        };
        assert_eq!(with(None, 1), None);
        assert_eq!(with(Some("FallbackToLogsOnError"), 0), None);
        let tail = with(Some("FallbackToLogsOnError"), 1).unwrap();
        assert!(tail.starts_with("line 120\n") && tail.ends_with("line 199\n"), "{tail}");
        fs::write(&file, "bad day").unwrap();
        assert_eq!(with(None, 1).as_deref(), Some("bad day"));
    }
}
