//! Sets a damaged log aside, so that its server can take everything from its peers.

use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::disk::{DiskError, sync_dir};

/// Renames a log's directory to `<dir>.damaged-<seconds since the epoch>` and returns that name; `None` if there is nothing to
/// set aside. No server may run on it.
///
/// Opened again, the directory is empty: the server gets a new id and joins as a learner. Its old id still counts as a voter
/// until it is removed from the cluster, which who admits it does for it.
pub fn set_aside(dir: &Path) -> Result<Option<PathBuf>, DiskError> {
    let step = "set the log aside";
    if !dir.try_exists().map_err(DiskError::io(step))? {
        return Ok(None);
    }
    let seconds = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    let name =
        dir.file_name().and_then(|name| name.to_str()).ok_or_else(|| DiskError::Missing("the log's name".into()))?;
    let aside = (seconds..).map(|number| dir.with_file_name(format!("{name}.damaged-{number}")));
    let aside = aside.into_iter().find(|path| !path.exists()).expect("some number is free");
    std::fs::rename(dir, &aside).map_err(DiskError::io(step))?;
    sync_dir(aside.parent().unwrap_or(Path::new(".")))?;
    Ok(Some(aside))
}
