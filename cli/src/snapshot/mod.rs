//! `kontiki snapshot`: the log in one file, and back.

mod inspect;
mod restore;
mod save;
mod show;
mod source;

use std::path::{Path, PathBuf};

use anyhow::Result;

pub use self::show::moment;
use crate::args::{ClusterTarget, DataDir, Snapshot, SnapshotAction};

pub async fn snapshot(arguments: Snapshot) -> Result<()> {
    match arguments.action {
        SnapshotAction::Inspect { file, output } => inspect::inspect(&file, output).await,
        SnapshotAction::Restore(restore) => restore::restore(*restore).await,
        SnapshotAction::Save(save) => save::save(save).await,
    }
}

/// The cluster that a kubeconfig names, or that of a data folder's running server.
fn target(kubeconfig: Option<PathBuf>, data_dir: &Path) -> ClusterTarget {
    ClusterTarget { kubeconfig, data: DataDir { data_dir: data_dir.to_owned() } }
}

/// What stands for standard input or output.
fn is_stdio(file: &Path) -> bool {
    file.as_os_str() == "-"
}
