//! Every check, those of `baseline` first, each level's in the order of their ids: the order in which violations are told.
//!
//! Kubernetes lets root in from release 35 on where a pod says `hostUsers: false`, since root is nobody outside a user namespace.
//! No node of this cluster makes any, so none of that is here.

mod app_armor;
mod capabilities;
mod escalation;
mod host_namespaces;
mod host_ports;
mod host_probes;
mod host_process;
mod proc_mount;
mod run_as;
mod se_linux;
mod seccomp;
mod sysctls;
mod volumes;

use super::check::{Check, Revision, Violation};
use super::level::Level;
use super::subject::{Subject, context};
use super::words;

const fn since(since: i64, violated: fn(Subject<'_>) -> Option<Violation>) -> Revision {
    Revision { since, violated }
}

const fn baseline(id: &'static str, revisions: &'static [Revision]) -> Check {
    Check { id, level: Level::Baseline, revisions, overrides: &[] }
}

const fn restricted(id: &'static str, revisions: &'static [Revision], overrides: &'static [&'static str]) -> Check {
    Check { id, level: Level::Restricted, revisions, overrides }
}

pub(super) static CHECKS: &[Check] = &[
    baseline("appArmorProfile", &[since(0, app_armor::profile)]),
    baseline("capabilities_baseline", &[since(0, capabilities::not_default)]),
    baseline("hostNamespaces", &[since(0, host_namespaces::shared)]),
    baseline("hostPathVolumes", &[since(0, volumes::host_path)]),
    baseline("hostPorts", &[since(0, host_ports::used)]),
    baseline("hostProbesAndHostLifecycle", &[since(34, host_probes::elsewhere)]),
    baseline("privileged", &[since(0, escalation::privileged)]),
    baseline("procMount", &[since(0, proc_mount::unmasked)]),
    baseline("seLinuxOptions", &[since(0, se_linux::options), since(31, se_linux::options_31)]),
    baseline("seccompProfile_baseline", &[since(0, seccomp::annotations), since(19, seccomp::profile)]),
    baseline("sysctls", SYSCTLS),
    baseline("windowsHostProcess", &[since(0, host_process::used)]),
    restricted(
        "allowPrivilegeEscalation",
        &[since(8, escalation::allowed), since(25, |pod| unless_windows(pod, escalation::allowed))],
        &[],
    ),
    restricted(
        "capabilities_restricted",
        &[since(22, capabilities::kept), since(25, |pod| unless_windows(pod, capabilities::kept))],
        &["capabilities_baseline"],
    ),
    restricted("restrictedVolumes", &[since(0, volumes::restricted)], &["hostPathVolumes"]),
    restricted("runAsNonRoot", &[since(0, run_as::maybe_root)], &[]),
    restricted("runAsUser", &[since(23, run_as::user_root)], &[]),
    restricted(
        "seccompProfile_restricted",
        &[since(19, seccomp::profile_missing), since(25, |pod| unless_windows(pod, seccomp::profile_missing))],
        &["seccompProfile_baseline"],
    ),
];

const SYSCTLS: &[Revision] = &[
    since(0, sysctls::unsafe_in::<0>),
    since(27, sysctls::unsafe_in::<27>),
    since(29, sysctls::unsafe_in::<29>),
    since(32, sysctls::unsafe_in::<32>),
];

type Finding = fn(Subject<'_>) -> Option<Violation>;

/// What Windows has no notion of need not be set for it; that it is not set to the contrary, validation sees to.
fn unless_windows(pod: Subject<'_>, check: Finding) -> Option<Violation> {
    if pod.is_windows() { None } else { check(pod) }
}
