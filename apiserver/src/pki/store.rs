//! Files that are complete or absent, readable by their owner alone.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use super::PkiError;

pub struct Store {
    dir: PathBuf,
}

/// Held while the directory is read and written; other processes wait.
pub struct Lock(#[expect(dead_code, reason = "the lock lives as long as its file")] File);

const WRITTEN_ASIDE: &str = ".new";

impl Store {
    pub fn open(dir: &Path) -> Result<Self, PkiError> {
        make_dir(dir)?;
        Ok(Store { dir: dir.to_owned() })
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    pub fn lock(&self) -> Result<Lock, PkiError> {
        let path = self.path(".lock");
        let opened = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
        let file = opened.map_err(failed("open", &path))?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(Lock(file))
    }

    /// Removes what a crash left half written.
    pub fn remove_leftovers(&self) -> Result<(), PkiError> {
        let mut dirs = vec![self.dir.clone()];
        while let Some(dir) = dirs.pop() {
            for entry in fs::read_dir(&dir).map_err(failed("read", &dir))? {
                let entry = entry.map_err(failed("read", &dir))?;
                let path = entry.path();
                if entry.file_type().map_err(failed("read", &path))?.is_dir() {
                    dirs.push(path);
                } else if entry.file_name().to_string_lossy().ends_with(WRITTEN_ASIDE) {
                    fs::remove_file(&path).map_err(failed("remove", &path))?;
                }
            }
        }
        Ok(())
    }

    /// The file's text; `None` if there is none or, after a crash of the machine, it is empty.
    pub fn read(&self, name: &str) -> Result<Option<String>, PkiError> {
        let path = self.path(name);
        match fs::read_to_string(&path) {
            Ok(text) if text.is_empty() => Ok(None),
            Ok(text) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(failed("read", &path)(error)),
        }
    }

    pub fn remove(&self, name: &str) -> Result<(), PkiError> {
        let path = self.path(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => Err(failed("remove", &path)(error)),
            _ => Ok(()),
        }
    }

    /// Replaces the file in one step that survives a crash.
    pub fn write(&self, name: &str, text: &str) -> Result<(), PkiError> {
        let path = self.path(name);
        let parent = path.parent().unwrap_or(&self.dir);
        make_dir(parent)?;
        let aside = self.path(&format!("{name}{WRITTEN_ASIDE}"));
        let opened = OpenOptions::new().create(true).truncate(true).write(true).mode(0o600).open(&aside);
        let mut file = opened.map_err(failed("create", &aside))?;
        file.write_all(text.as_bytes()).map_err(failed("write", &aside))?;
        file.sync_all().map_err(failed("sync", &aside))?;
        fs::rename(&aside, &path).map_err(failed("rename", &aside))?;
        File::open(parent).and_then(|dir| dir.sync_all()).map_err(failed("sync", parent))
    }
}

fn make_dir(dir: &Path) -> Result<(), PkiError> {
    DirBuilder::new().recursive(true).mode(0o700).create(dir).map_err(failed("create", dir))
}

fn failed(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> PkiError {
    let path = path.to_owned();
    move |source| PkiError::File { action, path, source }
}
