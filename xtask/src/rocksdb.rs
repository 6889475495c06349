//! RocksDB takes ten minutes of two cores: it is built once per version and compiler, in release, and linked everywhere.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, Result, bail};

use crate::tool;

const LIBRARY: &str = "librocksdb.a";

/// Where the cached archive for this lock file and compiler lies.
pub fn library_dir() -> Result<PathBuf> {
    let lock = fs::read_to_string(tool::root().join("Cargo.lock")).context("Cargo.lock")?;
    let version = locked_version(&lock, "librocksdb-sys").context("Cargo.lock has no librocksdb-sys")?;
    let compiler = tool::output(Command::new("rustc").arg("--version"))?;
    let compiler = compiler.split(' ').nth(1).context("rustc --version prints no version")?;
    Ok(tool::cache()?.join("rocksdb").join(format!("{version}-lz4-{compiler}")))
}

fn locked_version(lock: &str, package: &str) -> Option<String> {
    let at = lock.find(&format!("name = \"{package}\"\nversion = \""))?;
    lock[at..].split('"').nth(3).map(str::to_owned)
}

/// Builds the archive unless the cache has it.
pub fn ensure() -> Result<()> {
    let dir = library_dir()?;
    if dir.join(LIBRARY).is_file() {
        return Ok(());
    }
    println!("building RocksDB once for this machine (about ten minutes on two cores) ...");
    let scratch = tool::cache()?.join("rocksdb-build");
    let mut cargo = Command::new("cargo");
    cargo.current_dir(tool::root()).args(["build", "--release", "--locked", "--package", "librocksdb-sys"]);
    cargo.arg("--target-dir").arg(&scratch).env_remove("ROCKSDB_LIB_DIR").env_remove("ROCKSDB_STATIC");
    tool::run(&mut cargo)?;
    let built = newest_archive(&scratch.join("release/build"))?;
    fs::create_dir_all(&dir)?;
    // Renamed into place: a build that is killed half-way leaves no archive that looks whole.
    let partial = dir.join(format!("{LIBRARY}.{}", std::process::id()));
    fs::copy(&built, &partial)?;
    fs::rename(&partial, dir.join(LIBRARY))?;
    fs::remove_dir_all(&scratch).context("removing the scratch build")?;
    Ok(())
}

fn newest_archive(builds: &Path) -> Result<PathBuf> {
    let mut found = Vec::new();
    for entry in fs::read_dir(builds)? {
        let archive = entry?.path().join("out").join(LIBRARY);
        if let Ok(meta) = fs::metadata(&archive) {
            found.push((meta.modified()?, archive));
        }
    }
    found.sort();
    match found.pop() {
        Some((_, archive)) => Ok(archive),
        None => bail!("no {LIBRARY} below {}", builds.display()),
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn version_is_read_from_the_lock_file() {
        let lock = "[[package]]\nname = \"librocksdb-sys\"\nversion = \"0.19.0+11.8.1\"\n";
        assert_eq!(super::locked_version(lock, "librocksdb-sys").as_deref(), Some("0.19.0+11.8.1"));
        assert_eq!(super::locked_version(lock, "rocksdb"), None);
    }
}
