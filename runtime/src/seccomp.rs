//! From a seccomp profile to the program that the kernel runs, compiled once per profile and kept on disk: compiling
//! takes as long as all the rest of starting a container. Knows profiles, not containers.

use std::{
    collections::HashSet,
    fs, io,
    path::{Path, PathBuf},
    str::FromStr,
};

use libseccomp::{
    ScmpAction, ScmpArch, ScmpArgCompare, ScmpCompareOp, ScmpFilterContext, ScmpSyscall, error::SeccompError,
};
use oci_spec::runtime::{LinuxSeccomp, LinuxSeccompAction, LinuxSeccompFilterFlag, LinuxSyscall};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::error::{Failure, FailureKind};

/// A compiled profile.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Filter {
    pub program: PathBuf,
    /// Of the seccomp system call.
    pub flags: u32,
}

/// Takes the profile's program from `folder`, making it there if need be.
pub fn compiled(profile: &LinuxSeccomp, folder: &Path) -> Result<Filter, Failure> {
    let invalid = |reason: &dyn std::fmt::Display| {
        Failure::new(FailureKind::InvalidSpec, format!("the seccomp profile cannot be used: {reason}"))
    };
    let flags = flags(profile).map_err(|reason| invalid(&reason))?;
    let text = serde_json::to_vec(profile).map_err(|error| invalid(&error))?;
    let program = folder.join(format!("{:x}.bpf", Sha256::digest(&text)));
    // An empty one is what a power loss may leave.
    if !fs::metadata(&program).is_ok_and(|found| found.len() > 0) {
        let context = compile(profile).map_err(|error| invalid(&error))?;
        store(&program, &context)
            .map_err(|error| Failure::new(FailureKind::Other, format!("cannot keep the seccomp filter: {error}")))?;
    }
    Ok(Filter { program, flags })
}

/// Whole or not at all: two containers may come with a new profile at once.
fn store(path: &Path, context: &ScmpFilterContext) -> io::Result<()> {
    static NEXT: std::sync::atomic::AtomicU64 = std::sync::atomic::AtomicU64::new(0);
    let number = NEXT.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    let new = path.with_extension(format!("{}-{number}.new", std::process::id()));
    context.export_bpf(fs::File::create(&new)?).map_err(io::Error::other)?;
    fs::File::open(&new)?.sync_all()?;
    fs::rename(&new, path)
}

fn flags(profile: &LinuxSeccomp) -> Result<u32, String> {
    let mut flags = 0;
    for flag in profile.flags().iter().flatten() {
        flags |= match flag {
            // Its purpose are other threads; there are none.
            LinuxSeccompFilterFlag::SeccompFilterFlagTsync => 0,
            LinuxSeccompFilterFlag::SeccompFilterFlagLog => libc::SECCOMP_FILTER_FLAG_LOG,
            LinuxSeccompFilterFlag::SeccompFilterFlagSpecAllow => libc::SECCOMP_FILTER_FLAG_SPEC_ALLOW,
            LinuxSeccompFilterFlag::SeccompFilterFlagWaitKillableRecv => {
                return Err(format!("its flag {flag} needs a listener, which is not supported"));
            }
        } as u32;
    }
    Ok(flags)
}

fn compile(profile: &LinuxSeccomp) -> Result<ScmpFilterContext, SeccompError> {
    let default = action(profile.default_action(), profile.default_errno_ret())?;
    let mut context = ScmpFilterContext::new(default)?;
    for architecture in profile.architectures().iter().flatten() {
        context.add_arch(ScmpArch::from_str(&architecture.to_string())?)?;
    }
    // A tree instead of a chain of comparisons: every system call of the container passes it.
    context.set_ctl_optimize(2)?;
    for rule in profile.syscalls().iter().flatten() {
        let action = action(rule.action(), rule.errno_ret())?;
        if action != default {
            add_rule(&mut context, rule, action)?;
        }
    }
    Ok(context)
}

fn action(action: LinuxSeccompAction, errno: Option<u32>) -> Result<ScmpAction, SeccompError> {
    let value = errno.map_or(libc::EPERM, |errno| errno as i32);
    ScmpAction::from_str(&action.to_string(), Some(value))
}

fn add_rule(context: &mut ScmpFilterContext, rule: &LinuxSyscall, action: ScmpAction) -> Result<(), SeccompError> {
    let mut comparisons = Vec::new();
    for argument in rule.args().iter().flatten() {
        let operator = match ScmpCompareOp::from_str(&argument.op().to_string())? {
            // The mask is the first value, what must be left of the argument the second.
            ScmpCompareOp::MaskedEqual(_) => ScmpCompareOp::MaskedEqual(argument.value()),
            operator => operator,
        };
        let datum = match operator {
            ScmpCompareOp::MaskedEqual(_) => argument.value_two().unwrap_or(0),
            _ => argument.value(),
        };
        comparisons.push((argument.index(), ScmpArgCompare::new(argument.index() as u32, operator, datum)));
    }
    // One rule compares each argument once; several comparisons of one argument are rules of their own, as runc has it.
    let mut seen = HashSet::new();
    let repeated = !comparisons.iter().all(|(index, _)| seen.insert(*index));
    let comparisons: Vec<ScmpArgCompare> = comparisons.into_iter().map(|(_, comparison)| comparison).collect();
    for name in rule.names() {
        // A name that this machine's library does not know is a call that its kernel does not have, either.
        let Ok(syscall) = ScmpSyscall::from_name(name) else { continue };
        if repeated {
            for comparison in &comparisons {
                context.add_rule_conditional(action, syscall, std::slice::from_ref(comparison))?;
            }
        } else {
            context.add_rule_conditional(action, syscall, &comparisons)?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn profile(json: serde_json::Value) -> LinuxSeccomp {
        serde_json::from_value(json).unwrap()
    }

    #[test]
    fn a_profile_is_compiled_once() {
        let folder = tempfile::tempdir().unwrap();
        let profile = profile(serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "defaultErrnoRet": 1,
            "flags": ["SECCOMP_FILTER_FLAG_LOG"],
            "syscalls": [
                { "names": ["read", "no_such_call"], "action": "SCMP_ACT_ALLOW" },
                {
                    "names": ["clone"],
                    "action": "SCMP_ACT_ALLOW",
                    "args": [{ "index": 0, "value": 0x7e020000, "valueTwo": 0, "op": "SCMP_CMP_MASKED_EQ" }],
                },
            ],
        }));
        let filter = compiled(&profile, folder.path()).unwrap();
        assert_eq!(filter.flags, 2);
        let program = fs::read(&filter.program).unwrap();
        assert!(!program.is_empty() && program.len().is_multiple_of(8));
        fs::write(&filter.program, b"kept").unwrap();
        assert_eq!(compiled(&profile, folder.path()).unwrap(), filter);
        assert_eq!(fs::read(&filter.program).unwrap(), b"kept");
        fs::write(&filter.program, b"").unwrap();
        assert_eq!(compiled(&profile, folder.path()).unwrap(), filter);
        assert_eq!(fs::read(&filter.program).unwrap(), program, "an empty one was never whole");
    }

    #[test]
    fn what_cannot_be_compiled_is_told() {
        let folder = tempfile::tempdir().unwrap();
        let profile = profile(serde_json::json!({
            "defaultAction": "SCMP_ACT_ERRNO",
            "flags": ["SECCOMP_FILTER_FLAG_WAIT_KILLABLE_RECV"],
        }));
        let failure = compiled(&profile, folder.path()).unwrap_err();
        assert_eq!(failure.kind, FailureKind::InvalidSpec);
        assert!(failure.message.contains("needs a listener"), "{failure}");
    }
}
