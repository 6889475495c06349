//! A container's log file in the CRI format: one line per entry with time, stream and tag, rotated by size.
//! Never blocks its caller and never fails it: what a full disk refuses is counted and told later.
//!
//! `<log>` is the current file, `<log>.1` the one before it, up to `LOG_FILES_MAX` files in all.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    mem,
    path::{Path, PathBuf},
};

use chrono::{DateTime, SecondsFormat, Utc};

use crate::limits::{LOG_FILE_BYTES_MAX, LOG_FILES_MAX, LOG_LINE_BYTES_MAX};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

impl Stream {
    fn name(self) -> &'static str {
        match self {
            Stream::Stdout => "stdout",
            Stream::Stderr => "stderr",
        }
    }
}

/// Cuts one stream into entries: whole lines are full, a line longer than the limit comes in partial pieces.
#[derive(Debug)]
pub struct LineCutter {
    stream: Stream,
    line: Vec<u8>,
}

impl LineCutter {
    pub fn new(stream: Stream) -> LineCutter {
        LineCutter { stream, line: Vec::new() }
    }

    /// Appends the entries that `bytes` complete to `entries`; returns how many.
    pub fn cut(&mut self, mut bytes: &[u8], now: DateTime<Utc>, entries: &mut Vec<u8>) -> u64 {
        let mut count = 0;
        while !bytes.is_empty() {
            let room = LOG_LINE_BYTES_MAX - self.line.len();
            let window = &bytes[..bytes.len().min(room + 1)];
            if let Some(end) = window.iter().position(|&byte| byte == b'\n') {
                self.line.extend_from_slice(&bytes[..end]);
                self.emit(b'F', now, entries);
                bytes = &bytes[end + 1..];
            } else if window.len() > room {
                self.line.extend_from_slice(&bytes[..room]);
                self.emit(b'P', now, entries);
                bytes = &bytes[room..];
            } else {
                self.line.extend_from_slice(window);
                break;
            }
            count += 1;
        }
        count
    }

    /// What comes behind the last line feed is a piece of a line, to which no end came.
    pub fn finish(&mut self, now: DateTime<Utc>, entries: &mut Vec<u8>) -> u64 {
        if self.line.is_empty() {
            return 0;
        }
        self.emit(b'P', now, entries);
        self.line = Vec::new();
        1
    }

    fn emit(&mut self, tag: u8, now: DateTime<Utc>, entries: &mut Vec<u8>) {
        let line = mem::take(&mut self.line);
        write_entry(entries, now, self.stream, tag, &line);
        self.line = line;
        self.line.clear();
    }
}

fn write_entry(entries: &mut Vec<u8>, now: DateTime<Utc>, stream: Stream, tag: u8, line: &[u8]) {
    entries.extend_from_slice(now.to_rfc3339_opts(SecondsFormat::Nanos, true).as_bytes());
    entries.push(b' ');
    entries.extend_from_slice(stream.name().as_bytes());
    entries.extend_from_slice(&[b' ', tag, b' ']);
    entries.extend_from_slice(line);
    entries.push(b'\n');
}

#[derive(Debug)]
pub struct LogFile {
    path: PathBuf,
    file: Option<File>,
    bytes: u64,
    file_bytes_max: u64,
    dropped_entries: u64,
    dropped_reason: String,
}

impl LogFile {
    /// Opens for appending: a restarted container may share its file with the one before.
    pub fn open(path: &Path) -> io::Result<LogFile> {
        let mut log = LogFile {
            path: path.to_owned(),
            file: None,
            bytes: 0,
            file_bytes_max: LOG_FILE_BYTES_MAX,
            dropped_entries: 0,
            dropped_reason: String::new(),
        };
        log.reopen()?;
        Ok(log)
    }

    /// Writes `count` whole entries, or none of them.
    pub fn write(&mut self, entries: &[u8], count: u64, now: DateTime<Utc>) {
        if count == 0 {
            return;
        }
        let mut notice = Vec::new();
        if self.dropped_entries > 0 {
            let text = format!("[log: {} entries were dropped: {}]", self.dropped_entries, self.dropped_reason);
            write_entry(&mut notice, now, Stream::Stderr, b'F', text.as_bytes());
        }
        notice.extend_from_slice(entries);
        match self.try_write(&notice) {
            Ok(()) => self.dropped_entries = 0,
            Err(error) => {
                self.dropped_entries += count;
                self.dropped_reason = error.to_string();
            }
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> io::Result<()> {
        if self.file.is_some() && self.bytes > 0 && self.bytes + bytes.len() as u64 > self.file_bytes_max {
            self.rotate()?;
        }
        if self.file.is_none() {
            self.reopen()?;
        }
        let file = self.file.as_mut().expect("reopen has succeeded or returned");
        if let Err(error) = file.write_all(bytes) {
            // Half an entry would spoil the next one: back to where the last whole entry ended.
            file.set_len(self.bytes)?;
            return Err(error);
        }
        self.bytes += bytes.len() as u64;
        Ok(())
    }

    fn rotate(&mut self) -> io::Result<()> {
        for number in (1..LOG_FILES_MAX).rev() {
            let older = numbered(&self.path, number);
            let newer = if number == 1 { self.path.clone() } else { numbered(&self.path, number - 1) };
            match std::fs::rename(&newer, &older) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
                _ => {}
            }
        }
        self.file = None;
        self.reopen()
    }

    fn reopen(&mut self) -> io::Result<()> {
        let file = OpenOptions::new().create(true).append(true).open(&self.path)?;
        self.bytes = file.metadata()?.len();
        self.file = Some(file);
        Ok(())
    }
}

fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    name.push(format!(".{number}"));
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn now() -> DateTime<Utc> {
        DateTime::from_timestamp(1_795_248_000, 123_456_789).unwrap()
    }

    /// Feeds `chunks` and the end of the stream; returns `(tag, length or text)` of each entry.
    fn cut(chunks: &[&[u8]]) -> Vec<String> {
        let mut cutter = LineCutter::new(Stream::Stdout);
        let mut entries = Vec::new();
        let mut count: u64 = chunks.iter().map(|chunk| cutter.cut(chunk, now(), &mut entries)).sum();
        count += cutter.finish(now(), &mut entries);
        let text = String::from_utf8(entries).unwrap();
        assert_eq!(text.lines().count() as u64, count);
        text.lines()
            .map(|line| {
                let rest = line.strip_prefix("2026-11-21T08:00:00.123456789Z stdout ").expect(line);
                if rest.len() > 100 { format!("{} {} bytes", &rest[..1], rest.len() - 2) } else { rest.to_owned() }
            })
            .collect()
    }

    #[test]
    fn lines_are_full_entries() {
        assert_eq!(cut(&[b"one\ntwo\n"]), ["F one", "F two"]);
        assert_eq!(cut(&[b"on", b"e\n\nla", b"st"]), ["F one", "F ", "P last"]);
        assert_eq!(cut(&[]), Vec::<String>::new());
    }

    #[test]
    fn long_lines_are_cut_into_partial_entries() {
        let exactly = vec![b'x'; LOG_LINE_BYTES_MAX];
        assert_eq!(cut(&[&exactly, b"\n"]), ["F 16384 bytes"]);
        assert_eq!(cut(&[&exactly, b"y\n"]), ["P 16384 bytes", "F y"]);
        let long = vec![b'x'; 2 * LOG_LINE_BYTES_MAX + 200];
        assert_eq!(cut(&[&long, b"\nnext\n"]), ["P 16384 bytes", "P 16384 bytes", "F 200 bytes", "F next"]);
        for split in [1, 16_383, 16_384, 16_385, 32_768] {
            let (a, b) = long.split_at(split);
            assert_eq!(cut(&[a, b]), ["P 16384 bytes", "P 16384 bytes", "P 200 bytes"], "split at {split}");
        }
    }

    fn entry(text: &str) -> Vec<u8> {
        let mut entries = Vec::new();
        write_entry(&mut entries, now(), Stream::Stdout, b'F', text.as_bytes());
        entries
    }

    #[test]
    fn a_full_file_makes_room_and_the_oldest_goes() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let mut log = LogFile::open(&path).unwrap();
        log.file_bytes_max = 100;
        for number in 0..20 {
            log.write(&entry(&format!("number {number:02}")), 1, now());
        }
        let mut files: Vec<String> =
            folder.path().read_dir().unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
        files.sort();
        assert_eq!(files, ["0.log", "0.log.1", "0.log.2", "0.log.3", "0.log.4"]);
        let last = |file: &str| {
            let text = std::fs::read_to_string(folder.path().join(file)).unwrap();
            text.lines().last().unwrap().rsplit(' ').next().unwrap().to_owned()
        };
        assert_eq!(["0.log", "0.log.1", "0.log.4"].map(last), ["19", "17", "11"]);
    }

    #[test]
    fn what_a_full_disk_refuses_is_counted() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("0.log");
        let mut log = LogFile::open(&path).unwrap();
        log.write(&entry("before"), 1, now());
        // A device that is always full, in place of the file.
        let real = log.file.replace(OpenOptions::new().append(true).open("/dev/full").unwrap());
        let bytes = log.bytes;
        log.write(&entry("lost"), 1, now());
        log.write(&entry("lost too"), 2, now());
        assert_eq!((log.dropped_entries, log.bytes), (3, bytes));
        log.file = real;
        log.write(&entry("after"), 1, now());
        let text = std::fs::read_to_string(&path).unwrap();
        let lines: Vec<&str> = text.lines().map(|line| line.splitn(4, ' ').nth(3).unwrap()).collect();
        assert_eq!(lines[0], "before");
        assert!(lines[1].starts_with("[log: 3 entries were dropped: "), "{}", lines[1]);
        assert_eq!(lines[2], "after");
    }
}
