//! What a crash leaves of a directory that a living log works in: a copy of the files as they are at one moment.
//!
//! Whatever the log holds in memory, its unsynced appends and the unflushed state, is not in it.

use std::path::{Path, PathBuf};
use std::time::SystemTime;
use std::{fs, io};

use tempfile::TempDir;

/// The log flushes and compacts when it likes; a copy counts only if nothing moved meanwhile.
const TRIES: usize = 100;

/// RocksDB's own diary, which is written to at any time and is not data.
const DIARY: &str = "LOG";

#[derive(PartialEq)]
struct Seen {
    path: PathBuf,
    length: u64,
    changed: SystemTime,
}

pub fn image(dir: &Path) -> io::Result<TempDir> {
    image_in(dir, tempfile::tempdir()?)
}

/// The same, into a directory that is empty.
pub fn image_in(dir: &Path, image: TempDir) -> io::Result<TempDir> {
    for _ in 0..TRIES {
        let before = look(dir);
        let copied = copy(dir, image.path());
        match (before, copied, look(dir)) {
            (Ok(before), Ok(()), Ok(after)) if before == after => return Ok(image),
            (Ok(_), Ok(()), Ok(_)) => {}
            (Err(error), ..) | (_, Err(error), _) | (.., Err(error)) if error.kind() != io::ErrorKind::NotFound => {
                return Err(error);
            }
            _ => {}
        }
        empty(image.path())?;
    }
    Err(io::Error::other(format!("{} did not hold still in {TRIES} tries", dir.display())))
}

fn empty(dir: &Path) -> io::Result<()> {
    fs::remove_dir_all(dir)?;
    fs::create_dir(dir)
}

fn look(dir: &Path) -> io::Result<Vec<Seen>> {
    let mut seen = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let (path, data) = (entry.path(), entry.metadata()?);
        if data.is_dir() {
            seen.extend(look(&path)?);
        } else if entry.file_name() != DIARY {
            seen.push(Seen { path, length: data.len(), changed: data.modified()? });
        }
    }
    seen.sort_by(|left, right| left.path.cmp(&right.path));
    Ok(seen)
}

fn copy(from: &Path, to: &Path) -> io::Result<()> {
    fs::create_dir_all(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let target = to.join(entry.file_name());
        if entry.file_type()?.is_dir() {
            copy(&entry.path(), &target)?;
        } else {
            fs::copy(entry.path(), target)?;
        }
    }
    Ok(())
}
