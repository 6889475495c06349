//! `/healthz`, `/livez`, `/readyz`: is this process worth keeping, is it worth asking.

use http::StatusCode;
use kontiki_raft::Role;

use crate::{
    content,
    core::Core,
    request::{ApiRequest, ApiResponse},
};

struct Check {
    name: &'static str,
    /// Only readiness depends on it.
    readiness: bool,
    /// The error is for the log; clients are told that it failed, as Kubernetes tells them.
    passes: fn(&Core) -> Result<(), String>,
}

static CHECKS: &[Check] = &[
    Check { name: "ping", readiness: false, passes: |_| Ok(()) },
    Check { name: "log", readiness: false, passes: log_works },
    Check { name: "leader", readiness: true, passes: has_leader },
    Check { name: "poststarthook/bootstrap", readiness: true, passes: bootstrapped },
    Check { name: "shutdown", readiness: true, passes: not_stopping },
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

fn has_leader(core: &Core) -> Result<(), String> {
    let status = core.log.status();
    status.leader.map(|_| ()).ok_or_else(|| format!("no leader in term {}", status.term))
}

fn bootstrapped(core: &Core) -> Result<(), String> {
    if core.is_bootstrapped() { Ok(()) } else { Err("the first objects are not there yet".to_owned()) }
}

fn not_stopping(core: &Core) -> Result<(), String> {
    if core.stopping.is_cancelled() { Err("stopping".to_owned()) } else { Ok(()) }
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
    CHECKS.iter().filter(move |check| ready || !check.readiness)
}

/// Answers `/<endpoint>` or `/<endpoint>/<check>`.
pub(crate) fn answer(core: &Core, endpoint: &str, check: &str, request: &ApiRequest) -> ApiResponse {
    if !check.is_empty() {
        return match checks(endpoint).find(|one| one.name == check) {
            Some(found) => one(core, found),
            None => content::page_not_found(),
        };
    }
    let excluded: Vec<&str> =
        request.query.iter().filter(|(key, _)| key == "exclude").map(|(_, value)| value.as_str()).collect();
    let mut report = String::new();
    let mut failed = false;
    for check in checks(endpoint) {
        let name = check.name;
        if excluded.contains(&name) {
            report.push_str(&format!("[+]{name} excluded: ok\n"));
            continue;
        }
        match (check.passes)(core) {
            Ok(()) => report.push_str(&format!("[+]{name} ok\n")),
            Err(reason) => {
                tracing::warn!(check = name, reason, "health check failed");
                failed = true;
                report.push_str(&format!("[-]{name} failed: reason withheld\n"));
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

fn one(core: &Core, check: &Check) -> ApiResponse {
    match (check.passes)(core) {
        Ok(()) => content::text(StatusCode::OK, "ok"),
        Err(reason) => {
            tracing::warn!(check = check.name, reason, "health check failed");
            content::text(StatusCode::INTERNAL_SERVER_ERROR, "internal server error: reason withheld\n")
        }
    }
}
