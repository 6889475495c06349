//! The audit file and those before it: `audit.log` becomes `audit-2026-01-02T15-04-05.000.log` when it is full, and the oldest go.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufWriter, Write as _},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
};

use chrono::{DateTime, NaiveDateTime, TimeDelta, Utc};

const STAMP: &str = "%Y-%m-%dT%H-%M-%S%.3f";

/// How many files there may be, how old and how large. 0 is no bound.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Rotation {
    pub age_days_max: u32,
    pub backups_max: u32,
    pub megabytes_max: u32,
}

pub(super) struct RotatingFile {
    path: PathBuf,
    rotation: Rotation,
    file: BufWriter<File>,
    size: u64,
}

impl RotatingFile {
    /// Goes on with the file that is there.
    pub fn open(path: &Path, rotation: Rotation) -> io::Result<Self> {
        let file = OpenOptions::new().create(true).append(true).mode(0o600).open(path)?;
        let size = file.metadata()?.len();
        Ok(RotatingFile { path: path.to_owned(), rotation, file: BufWriter::new(file), size })
    }

    pub fn write(&mut self, line: &[u8], now: DateTime<Utc>) -> io::Result<()> {
        let max = u64::from(self.rotation.megabytes_max) * 1024 * 1024;
        if max > 0 && self.size > 0 && self.size + line.len() as u64 > max {
            self.rotate(now)?;
        }
        self.file.write_all(line)?;
        self.size += line.len() as u64;
        Ok(())
    }

    pub fn flush(&mut self) -> io::Result<()> {
        self.file.flush()
    }

    fn rotate(&mut self, now: DateTime<Utc>) -> io::Result<()> {
        self.file.flush()?;
        std::fs::rename(&self.path, self.path.with_file_name(backup(&self.path, now)))?;
        *self = RotatingFile::open(&self.path, self.rotation)?;
        let folder = self.path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        let names: Vec<String> =
            std::fs::read_dir(folder)?.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect();
        for name in obsolete(&self.path, &names, self.rotation, now) {
            std::fs::remove_file(folder.join(name))?;
        }
        Ok(())
    }
}

fn parts(path: &Path) -> (String, String) {
    let text = |part: Option<&std::ffi::OsStr>| part.map(|part| part.to_string_lossy().into_owned());
    let extension = text(path.extension()).map(|extension| format!(".{extension}")).unwrap_or_default();
    (format!("{}-", text(path.file_stem()).unwrap_or_default()), extension)
}

fn backup(path: &Path, now: DateTime<Utc>) -> String {
    let (stem, extension) = parts(path);
    format!("{stem}{}{extension}", now.format(STAMP))
}

/// Those of these files that are backups of the file and have had their time.
fn obsolete(path: &Path, names: &[String], rotation: Rotation, now: DateTime<Utc>) -> Vec<String> {
    let (stem, extension) = parts(path);
    let dated = |name: &String| {
        let stamp = name.strip_prefix(&stem)?.strip_suffix(&extension)?;
        let written = NaiveDateTime::parse_from_str(stamp, STAMP).ok()?.and_utc();
        Some((written, name.clone()))
    };
    let mut backups: Vec<_> = names.iter().filter_map(dated).collect();
    backups.sort_by(|one, other| other.cmp(one));
    let age = Some(rotation.age_days_max).filter(|days| *days > 0);
    let oldest = age.and_then(|days| now.checked_sub_signed(TimeDelta::days(days.into())));
    let is_obsolete = |(index, (written, _)): &(usize, (DateTime<Utc>, String))| {
        let too_many = rotation.backups_max > 0 && *index >= rotation.backups_max as usize;
        too_many || oldest.is_some_and(|oldest| *written < oldest)
    };
    backups.into_iter().enumerate().filter(is_obsolete).map(|(_, (_, name))| name).collect()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn time(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn old_files_go_by_number_and_by_age() {
        let path = Path::new("/var/log/audit.log");
        let now = time("2026-03-10T00:00:00Z");
        let names: Vec<String> = ["2026-03-09T10-00-00.000", "2026-03-08T10-00-00.000", "2026-03-01T10-00-00.000"]
            .map(|stamp| format!("audit-{stamp}.log"))
            .into_iter()
            .chain(["audit.log", "audit-x.log", "other-2020-03-01T10-00-00.000.log"].map(str::to_owned))
            .collect();
        let gone = |age_days_max, backups_max| {
            obsolete(path, &names, Rotation { age_days_max, backups_max, megabytes_max: 1 }, now)
        };
        assert_eq!(gone(0, 0), [""; 0]);
        assert_eq!(gone(0, 2), [names[2].clone()]);
        assert_eq!(gone(u32::MAX, 0), [""; 0], "before all time");
        assert_eq!(gone(5, 0), [names[2].clone()]);
        assert_eq!(gone(1, 2), [names[1].clone(), names[2].clone()]);
        assert_eq!(gone(100, 1), [names[1].clone(), names[2].clone()]);
    }

    #[test]
    fn a_full_file_is_set_aside() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("audit.log");
        let rotation = Rotation { age_days_max: 0, backups_max: 1, megabytes_max: 1 };
        let line = vec![b'x'; 600 * 1024];
        let mut file = RotatingFile::open(&path, rotation).unwrap();
        for second in ["01", "02", "03"] {
            file.write(&line, time(&format!("2026-01-02T15:04:{second}Z"))).unwrap();
        }
        file.flush().unwrap();
        let mut names: Vec<_> = std::fs::read_dir(dir.path())
            .unwrap()
            .map(|entry| entry.unwrap().file_name().into_string().unwrap())
            .collect();
        names.sort();
        assert_eq!(names, ["audit-2026-01-02T15-04-03.000.log", "audit.log"], "one backup is kept, the newest");
        // A restart goes on with what is there.
        let mut file = RotatingFile::open(&path, rotation).unwrap();
        file.write(b"more", time("2026-01-02T15:05:00Z")).unwrap();
        file.flush().unwrap();
        assert_eq!(std::fs::metadata(&path).unwrap().len(), 600 * 1024 + 4);
    }
}
