//! How many files this program may hold open. A server holds one for each connection, so it takes what the machine allows;
//! containers get what it was started with: programs that use select(2) rely on a low number.

use std::{io, sync::OnceLock};

use nix::sys::resource::{Resource, getrlimit, setrlimit};

/// The soft limit before it was raised. A process has one.
static STARTED_WITH: OnceLock<u64> = OnceLock::new();

/// Raises the soft limit to the hard one; gives both as they were.
pub fn raise_open_files() -> io::Result<(u64, u64)> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    STARTED_WITH.get_or_init(|| soft);
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard)?;
    Ok((soft, hard))
}

/// What is for containers; nothing, if this program's own was not raised.
pub(crate) fn for_containers() -> Option<u64> {
    STARTED_WITH.get().copied()
}

/// Lowers this process's soft limit, and so that of what it will start.
pub(crate) fn lower(soft: u64) -> io::Result<()> {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    Ok(setrlimit(Resource::RLIMIT_NOFILE, soft.min(hard), hard)?)
}
