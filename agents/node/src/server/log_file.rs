//! A container's log on disk: the current file and the rotated ones behind it, read in order, line by line.
//! Blocking; knows the CRI format and how the runtime names rotated files.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    os::unix::fs::MetadataExt,
    path::{Path, PathBuf},
};

use k8s_openapi::jiff::Timestamp;

use crate::limits::{LOG_CHUNK, LOG_FILES_MAX};

/// What of a log is wanted, and how.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    pub since: Option<Timestamp>,
    pub timestamps: bool,
    pub tail_lines: Option<u64>,
    /// `Stdout` or `Stderr`; both if it is neither.
    pub stream: Option<String>,
}

/// Reads a log from its oldest wanted line on; at the end it can be asked again for what has come since.
pub struct LogFile {
    path: PathBuf,
    selection: Selection,
    file: Option<File>,
    /// The beginning of a line whose end was not there yet.
    rest: Vec<u8>,
}

impl LogFile {
    pub fn open(path: &Path, selection: Selection) -> io::Result<LogFile> {
        let mut log = LogFile { path: path.to_owned(), selection, file: None, rest: Vec::new() };
        log.file = match log.selection.tail_lines {
            Some(lines) => log.tail(lines)?,
            None => log.oldest().map(File::open).transpose()?,
        };
        Ok(log)
    }

    /// The next lines as they are to be shown; `None` when there are none now.
    pub fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        loop {
            let Some(file) = &mut self.file else {
                match self.oldest() {
                    Some(path) => self.file = Some(File::open(path)?),
                    None => return Ok(None),
                }
                continue;
            };
            let mut chunk = vec![0; LOG_CHUNK];
            let length = file.read(&mut chunk)?;
            if length == 0 {
                match self.newer()? {
                    Some(newer) => self.file = Some(newer),
                    None => return Ok(None),
                }
                continue;
            }
            self.rest.extend_from_slice(&chunk[..length]);
            let shown = self.take_lines();
            if !shown.is_empty() {
                return Ok(Some(shown));
            }
        }
    }

    fn take_lines(&mut self) -> Vec<u8> {
        let mut shown = Vec::new();
        let Some(end) = self.rest.iter().rposition(|byte| *byte == b'\n') else { return shown };
        let rest = self.rest.split_off(end + 1);
        for line in self.rest.split_inclusive(|byte| *byte == b'\n') {
            show(line, &self.selection, &mut shown);
        }
        self.rest = rest;
        shown
    }

    fn numbered(&self, number: usize) -> PathBuf {
        if number == 0 {
            return self.path.clone();
        }
        let mut name = self.path.as_os_str().to_owned();
        name.push(format!(".{number}"));
        name.into()
    }

    fn oldest(&self) -> Option<PathBuf> {
        (0..LOG_FILES_MAX).rev().map(|number| self.numbered(number)).find(|path| path.exists())
    }

    /// The file that follows the one being read; `None` if that is the current one.
    fn newer(&self) -> io::Result<Option<File>> {
        let inode = |metadata: fs::Metadata| (metadata.dev(), metadata.ino());
        let Some(file) = &self.file else { return Ok(None) };
        let current = inode(file.metadata()?);
        let place = (0..LOG_FILES_MAX)
            .find(|number| fs::metadata(self.numbered(*number)).is_ok_and(|metadata| inode(metadata) == current));
        let next = match place {
            Some(0) => return Ok(None),
            Some(number) => self.numbered(number - 1),
            // Rotated away while it was being read: on with the oldest that is left.
            None => match self.oldest() {
                Some(path) => path,
                None => return Ok(None),
            },
        };
        match File::open(next) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            opened => opened.map(Some),
        }
    }

    /// The file and place where the last `lines` lines begin.
    fn tail(&self, lines: u64) -> io::Result<Option<File>> {
        let mut left = lines;
        for number in 0..LOG_FILES_MAX {
            let path = self.numbered(number);
            let mut file = match File::open(&path) {
                Ok(file) => file,
                Err(error) if error.kind() == io::ErrorKind::NotFound => break,
                Err(error) => return Err(error),
            };
            let (offset, found) = from_end(&mut file, left)?;
            left -= found;
            let older = self.numbered(number + 1);
            if left == 0 || number + 1 == LOG_FILES_MAX || !older.exists() {
                file.seek(SeekFrom::Start(offset))?;
                return Ok(Some(file));
            }
        }
        Ok(None)
    }
}

/// Where the last `lines` lines of a file begin, and how many there are.
fn from_end(file: &mut File, lines: u64) -> io::Result<(u64, u64)> {
    let length = file.metadata()?.len();
    let mut end = length;
    let mut found = 0;
    let mut chunk = vec![0; LOG_CHUNK];
    while end > 0 {
        let begin = end.saturating_sub(LOG_CHUNK as u64);
        let size = (end - begin) as usize;
        file.seek(SeekFrom::Start(begin))?;
        file.read_exact(&mut chunk[..size])?;
        for at in (0..size).rev().filter(|at| chunk[*at] == b'\n') {
            // A newline ends the line before it; the one behind the wanted lines is where they begin.
            if found == lines {
                return Ok((begin + at as u64 + 1, found));
            }
            found += 1;
        }
        end = begin;
    }
    Ok((0, found))
}

/// `2026-11-21T08:00:00.1Z stdout F text` as the reader wants it.
fn show(line: &[u8], selection: &Selection, shown: &mut Vec<u8>) {
    let mut parts = line.splitn(4, |byte| *byte == b' ');
    let (Some(time), Some(stream), Some(tag), Some(text)) = (parts.next(), parts.next(), parts.next(), parts.next())
    else {
        return;
    };
    let wanted = match selection.stream.as_deref() {
        Some("Stdout") => stream == b"stdout",
        Some("Stderr") => stream == b"stderr",
        Some(_) | None => true,
    };
    if !wanted {
        return;
    }
    if let Some(since) = selection.since {
        let written = std::str::from_utf8(time).ok().and_then(|time| time.parse::<Timestamp>().ok());
        if written.is_some_and(|written| written < since) {
            return;
        }
    }
    if selection.timestamps {
        shown.extend_from_slice(time);
        shown.push(b' ');
    }
    // A partial entry goes on in the next line.
    shown.extend_from_slice(if tag == b"P" { text.strip_suffix(b"\n").unwrap_or(text) } else { text });
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    fn line(second: u32, stream: &str, tag: &str, text: &str) -> String {
        format!("2026-11-21T08:00:{second:02}.000000001Z {stream} {tag} {text}\n")
    }

    fn all(log: &mut LogFile) -> String {
        let mut text = Vec::new();
        while let Some(chunk) = log.next().unwrap() {
            text.extend(chunk);
        }
        String::from_utf8(text).unwrap()
    }

    fn read(path: &Path, selection: Selection) -> String {
        all(&mut LogFile::open(path, selection).unwrap())
    }

    #[test]
    fn rotated_files_are_one_log() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("0.log");
        fs::write(scratch.path().join("0.log.2"), line(1, "stdout", "F", "one")).unwrap();
        fs::write(scratch.path().join("0.log.1"), line(2, "stderr", "P", "tw") + &line(3, "stderr", "F", "o")).unwrap();
        fs::write(&path, line(4, "stdout", "F", "three") + &line(5, "stdout", "F", "")).unwrap();
        let with = |tail_lines, since: Option<&str>, stream: Option<&str>| {
            let since = since.map(|text| text.parse().unwrap());
            read(&path, Selection { tail_lines, since, stream: stream.map(str::to_owned), timestamps: false })
        };
        assert_eq!(with(None, None, None), "one\ntwo\nthree\n\n");
        assert_eq!(with(Some(1), None, None), "\n");
        assert_eq!(with(Some(3), None, None), "o\nthree\n\n");
        assert_eq!(with(Some(4), None, None), "two\nthree\n\n");
        assert_eq!(with(Some(9), None, None), "one\ntwo\nthree\n\n");
        assert_eq!(with(Some(0), None, None), "");
        assert_eq!(with(None, Some("2026-11-21T08:00:04Z"), None), "three\n\n");
        assert_eq!(with(None, None, Some("Stderr")), "two\n");
    }

    #[test]
    fn what_is_written_later_is_read_later_also_across_rotation() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("0.log");
        let mut log = LogFile::open(&path, Selection::default()).unwrap();
        assert_eq!(all(&mut log), "");
        let mut file = File::create(&path).unwrap();
        write!(file, "{}2026-11-21T08:00:02.0Z std", line(1, "stdout", "F", "one")).unwrap();
        assert_eq!(all(&mut log), "one\n");
        writeln!(file, "out F two").unwrap();
        fs::rename(&path, scratch.path().join("0.log.1")).unwrap();
        fs::write(&path, line(3, "stdout", "F", "three")).unwrap();
        assert_eq!(all(&mut log), "two\nthree\n");
    }

    #[test]
    fn timestamps_are_shown_as_they_were_written() {
        let scratch = tempfile::tempdir().unwrap();
        let path = scratch.path().join("0.log");
        fs::write(&path, line(1, "stdout", "F", "a b")).unwrap();
        let shown = read(&path, Selection { timestamps: true, ..Selection::default() });
        assert_eq!(shown, "2026-11-21T08:00:01.000000001Z a b\n");
    }
}
