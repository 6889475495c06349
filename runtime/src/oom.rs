//! Whom the kernel ends when the machine has no memory left: containers before the shims, whose end is that of their pod, and
//! those before the agent. The scores are those of the kubelet and of containerd.

use std::{fs, io, path::Path};

const FILE: &str = "/proc/self/oom_score_adj";
const AGENT: i32 = -999;
const SHIM: i32 = -998;

/// Puts this process, an agent, last but for what may never be ended. Takes CAP_SYS_RESOURCE.
pub fn spare_agent() -> io::Result<()> {
    lower(Path::new(FILE), AGENT)
}

/// Puts this process, a shim, before its agent. It stays with the score of an agent that could not lower its own.
pub(crate) fn spare_shim() -> io::Result<()> {
    match lower(Path::new(FILE), SHIM) {
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => Ok(()),
        done => done,
    }
}

fn lower(file: &Path, score: i32) -> io::Result<()> {
    fs::write(file, score.to_string())
}
