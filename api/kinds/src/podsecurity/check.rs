//! A check is one thing that a level forbids; it may have been revised from one release to the next.

use super::checks::CHECKS;
use super::level::{Level, LevelVersion, Version};
use super::subject::Subject;

pub(super) struct Check {
    pub id: &'static str,
    /// The lowest level that forbids it.
    pub level: Level,
    /// The oldest first.
    pub revisions: &'static [Revision],
    /// The checks of `baseline` whose place it takes, from its first revision on, because it forbids all that they do.
    pub overrides: &'static [&'static str],
}

/// How a check is done from one release on, until the next revision.
pub(super) struct Revision {
    /// `v1.<since>`.
    pub since: i64,
    pub violated: fn(Subject<'_>) -> Option<Violation>,
}

/// What a pod does that is forbidden.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Violation {
    pub reason: &'static str,
    pub detail: String,
}

/// Everything that a pod does and may not, in the order of the checks.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Violations(Vec<Violation>);

impl Violations {
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// `host namespaces, privileged`: what many pods may have in common.
    pub fn reasons(&self) -> String {
        self.0.iter().map(|violation| violation.reason).collect::<Vec<_>>().join(", ")
    }

    /// `host namespaces (hostPID=true), privileged (container "a" must not set …)`: what one pod's author has to know.
    pub fn details(&self) -> String {
        let told = |violation: &Violation| format!("{} ({})", violation.reason, violation.detail);
        self.0.iter().map(told).collect::<Vec<_>>().join(", ")
    }
}

/// Holds a pod against a level, as it was in a version.
pub fn evaluate(asked: LevelVersion, subject: Subject<'_>) -> Violations {
    let minor = match asked.version {
        Version::Minor(minor) => minor,
        Version::Latest => i64::MAX,
    };
    let applies = |check: &Check| check.level <= asked.level && check.revision(minor).is_some();
    let overridden =
        |check: &Check| CHECKS.iter().filter(|other| applies(other)).any(|other| other.overrides.contains(&check.id));
    let done = CHECKS.iter().filter(|check| applies(check) && !overridden(check));
    let found = done.filter_map(|check| (check.revision(minor)?.violated)(subject));
    Violations(found.collect())
}

impl Check {
    /// The one that is in force in `v1.<minor>`; none before the first.
    fn revision(&self, minor: i64) -> Option<&Revision> {
        self.revisions.iter().rev().find(|revision| revision.since <= minor)
    }
}
