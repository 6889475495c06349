//! `/healthz`, `/livez`, `/readyz`: is this process worth keeping, is it worth asking.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use futures::{FutureExt as _, future::BoxFuture};
use http::StatusCode;
use kontiki_raft::{MemberStatus, Outage, Role};

use crate::{
    content,
    core::Core,
    limits,
    peers::Question,
    pki::SERVERS,
    request::{ApiRequest, ApiResponse},
};

struct Check {
    name: &'static str,
    part: Part,
    /// The error is for the log and for the other servers; clients are told that it failed, as Kubernetes tells them.
    passes: Passes,
}

impl Check {
    async fn ask(&self, core: &Arc<Core>) -> Result<(), String> {
        let result = (self.passes)(core).await;
        core.failing.note(self.name, &result, core.is_draining());
        result
    }
}

/// What depends on a check.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Part {
    Liveness,
    /// Readiness alone.
    Readiness,
    /// Neither: asked for by name alone, of the server that leads.
    Leadership,
}

type Passes = fn(&Arc<Core>) -> BoxFuture<'_, Result<(), String>>;

/// The checks as they were last asked for: probes ask all the time, and the log is told what has changed.
#[derive(Default)]
pub(crate) struct Failing(Mutex<BTreeMap<&'static str, Known>>);

#[derive(Default)]
struct Known {
    /// What has not passed yet is on its way, and no failure.
    passed: bool,
    outage: Outage,
}

impl Failing {
    fn note(&self, check: &'static str, result: &Result<(), String>, is_draining: bool) {
        let mut failing = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Known { passed, outage } = failing.entry(check).or_default();
        match result {
            Ok(()) => {
                *passed = true;
                if outage.over() {
                    tracing::info!(check, "health check passes");
                }
            }
            Err(reason) if outage.failed(reason).is_none() => (),
            Err(reason) if !*passed || is_draining => tracing::info!(check, reason, "health check does not pass"),
            Err(reason) => tracing::warn!(check, reason, "health check failed"),
        }
    }
}

const FIRST_OBJECTS: Passes = |core| async { bootstrapped(core) }.boxed();

/// In the order in which they are told.
static CHECKS: &[Check] = &[
    Check { name: "ping", part: Part::Liveness, passes: |_| async { Ok(()) }.boxed() },
    Check { name: "log", part: Part::Liveness, passes: |core| async { log_works(core) }.boxed() },
    // The same by the name that other people's probes ask for.
    Check { name: "etcd", part: Part::Liveness, passes: |core| async { log_works(core) }.boxed() },
    Check { name: "disk", part: Part::Readiness, passes: |core| async { disk_has_room(core) }.boxed() },
    Check { name: "member", part: Part::Readiness, passes: |core| async { is_member(core) }.boxed() },
    Check { name: "quorum", part: Part::Readiness, passes: |core| quorum(core).boxed() },
    Check { name: "etcd-readiness", part: Part::Readiness, passes: |core| quorum(core).boxed() },
    // One step writes the first objects; these are the names under which Kubernetes tells when they are there.
    Check { name: "poststarthook/bootstrap-controller", part: Part::Readiness, passes: FIRST_OBJECTS },
    Check { name: "poststarthook/rbac/bootstrap-roles", part: Part::Readiness, passes: FIRST_OBJECTS },
    Check {
        name: "poststarthook/scheduling/bootstrap-system-priority-classes",
        part: Part::Readiness,
        passes: FIRST_OBJECTS,
    },
    Check { name: "shutdown", part: Part::Readiness, passes: |core| async { not_stopping(core) }.boxed() },
    Check { name: "controller-manager", part: Part::Leadership, passes: |core| controls(core).boxed() },
    Check { name: "scheduler", part: Part::Leadership, passes: |core| controls(core).boxed() },
];

/// The disk takes writes and Raft runs.
fn log_works(core: &Core) -> Result<(), String> {
    let status = core.log.status();
    match (status.failure, status.role) {
        (Some(failure), _) => Err(failure),
        (None, Role::Shutdown) => Err("the log was shut down".to_owned()),
        (None, Role::Learner | Role::Follower | Role::Candidate | Role::Leader) => Ok(()),
    }
}

/// Reads go on; whoever wants to write is better served elsewhere.
fn disk_has_room(core: &Core) -> Result<(), String> {
    core.log.status().shortage.map_or(Ok(()), |shortage| Err(shortage.to_string()))
}

/// A learner's promises count for nothing yet, and those of a server that has lost what it promised for nothing any more.
fn is_member(core: &Core) -> Result<(), String> {
    let status = core.log.status();
    if let Some(lost) = status.lost {
        return Err(lost.to_string());
    }
    match status.role {
        Role::Learner if core.is_caught_up() => Err("a learner, which is still catching up".to_owned()),
        Role::Learner => Err("not yet a member of the cluster".to_owned()),
        Role::Follower | Role::Candidate | Role::Leader | Role::Shutdown => Ok(()),
    }
}

/// Whether a majority stands behind what this server would answer now.
pub(crate) async fn quorum(core: &Arc<Core>) -> Result<(), String> {
    match tokio::time::timeout(limits::QUORUM_TIME_MAX, core.log.barrier()).await {
        Ok(Ok(_)) => Ok(()),
        Ok(Err(error)) => Err(error.to_string()),
        Err(_) => Err(format!("no leader with a majority answers within {:?}", limits::QUORUM_TIME_MAX)),
    }
}

fn bootstrapped(core: &Core) -> Result<(), String> {
    if core.is_bootstrapped() { Ok(()) } else { Err("the first objects are not there yet".to_owned()) }
}

fn not_stopping(core: &Core) -> Result<(), String> {
    if core.is_draining() { Err("stopping".to_owned()) } else { Ok(()) }
}

/// They run, and what they decide can be written.
async fn controls(core: &Arc<Core>) -> Result<(), String> {
    if !core.is_controlling() {
        return Err("controllers and scheduler do not run in this process".to_owned());
    }
    quorum(core).await
}

/// Whether a member is ready, asked of itself.
pub(crate) async fn of_member(core: &Arc<Core>, member: &MemberStatus) -> Result<(), String> {
    if member.id != core.log.node_id() {
        return asked(core, member, "/readyz?verbose").await;
    }
    for check in checks("readyz") {
        (check.passes)(core).await.map_err(|reason| format!("{}: {reason}", check.name))?;
    }
    Ok(())
}

/// Whether a member's process answers at all.
pub(crate) async fn reaches(core: &Arc<Core>, member: &MemberStatus) -> Result<(), String> {
    if member.id == core.log.node_id() { Ok(()) } else { asked(core, member, "/livez?verbose").await }
}

/// Whether what only the leader runs does run there.
pub(crate) async fn of_leader(core: &Arc<Core>, name: &str) -> Result<(), String> {
    let members = core.log.members();
    let leader = members.iter().find(|member| member.leader).ok_or("no server leads: nothing is controlled")?;
    if leader.id != core.log.node_id() {
        return asked(core, leader, &format!("/livez/{name}")).await;
    }
    let check = CHECKS.iter().find(|check| check.name == name).ok_or("no such check")?;
    (check.passes)(core).await
}

async fn asked(core: &Arc<Core>, member: &MemberStatus, path: &str) -> Result<(), String> {
    let question = Question::get(&member.address, path, limits::PEER_ANSWER_TIME_MAX);
    let answer = core.peers.ask(question).await;
    let answer = answer.map_err(|error| format!("{} does not answer: {error}", member.address))?;
    if answer.status == StatusCode::OK {
        return Ok(());
    }
    let told = String::from_utf8_lossy(&answer.body).into_owned();
    let failed = failed_checks(&told);
    Err(if failed.is_empty() { format!("answers {}: {}", answer.status, told.trim()) } else { failed.join(", ") })
}

/// What has failed by a server's verbose answer, as this server tells it of itself: `disk: there is no room`.
fn failed_checks(told: &str) -> Vec<String> {
    let failed = told.lines().filter_map(|line| line.strip_prefix("[-]"));
    failed.map(|line| line.replacen(" failed: ", ": ", 1)).collect()
}

/// The endpoints below which checks are served.
pub(crate) const ENDPOINTS: &[&str] = &["healthz", "livez", "readyz"];

/// The paths of all checks, for the list at `/`.
pub(crate) fn paths() -> Vec<String> {
    let mut paths = Vec::new();
    for endpoint in ENDPOINTS {
        paths.push(format!("/{endpoint}"));
        paths.extend(checks(endpoint).map(|check| format!("/{endpoint}/{}", check.name)));
    }
    paths
}

fn checks(endpoint: &str) -> impl Iterator<Item = &'static Check> {
    let ready = endpoint == "readyz";
    CHECKS.iter().filter(move |check| check.part == Part::Liveness || ready && check.part == Part::Readiness)
}

/// Answers `/<endpoint>` or `/<endpoint>/<check>`.
pub(crate) async fn answer(core: &Arc<Core>, endpoint: &str, check: &str, request: &ApiRequest) -> ApiResponse {
    if !check.is_empty() {
        // By name each can be asked for at each endpoint, as scripts do for the hooks of Kubernetes.
        return match CHECKS.iter().find(|one| one.name == check) {
            Some(found) => one(core, found, Told::to(request)).await,
            None => content::page_not_found(),
        };
    }
    let excluded: Vec<&str> =
        request.query.iter().filter(|(key, _)| key == "exclude").map(|(_, value)| value.as_str()).collect();
    let told = Told::to(request);
    let mut report = String::new();
    let mut failed = false;
    for check in checks(endpoint) {
        let name = check.name;
        if excluded.contains(&name) {
            report.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match check.ask(core).await {
            Ok(()) => report.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => {
                failed = true;
                report.push_str(&format!("[-]{name} failed: {}\n", told.reason(&reason)));
            }
        }
    }
    let unknown: Vec<String> = excluded
        .iter()
        .filter(|name| !name.is_empty() && !checks(endpoint).any(|check| check.name == **name))
        .map(|name| format!("{name:?}"))
        .collect();
    if !unknown.is_empty() {
        report
            .push_str(&format!("warn: some health checks cannot be excluded: no matches for {}\n", unknown.join(", ")));
    }
    if failed {
        report.push_str(&format!("{endpoint} check failed\n"));
        return content::text(StatusCode::INTERNAL_SERVER_ERROR, report);
    }
    if request.query_value("verbose").is_some() {
        report.push_str(&format!("{endpoint} check passed\n"));
        return content::text(StatusCode::OK, report);
    }
    content::text(StatusCode::OK, "ok")
}

/// Who is told why a check failed: the other servers, which tell it to administrators.
#[derive(Clone, Copy)]
enum Told {
    Reason,
    Nothing,
}

impl Told {
    fn to(request: &ApiRequest) -> Self {
        if request.identity.in_group(SERVERS) { Told::Reason } else { Told::Nothing }
    }

    fn reason(self, reason: &str) -> String {
        match self {
            Told::Reason => reason.replace('\n', " "),
            Told::Nothing => "reason withheld".to_owned(),
        }
    }
}

async fn one(core: &Arc<Core>, check: &Check, told: Told) -> ApiResponse {
    match check.ask(core).await {
        Ok(()) => content::text(StatusCode::OK, "ok"),
        Err(reason) => {
            let report = format!("internal server error: {}\n", told.reason(&reason));
            content::text(StatusCode::INTERNAL_SERVER_ERROR, report)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_lack_is_told_as_what_this_server_lacks() {
        let told =
            "[+]ping ok\n[-]disk failed: the write failed: no room\n[-]quorum failed: silence\nreadyz check failed\n";
        assert_eq!(failed_checks(told), ["disk: the write failed: no room", "quorum: silence"]);
    }
}
