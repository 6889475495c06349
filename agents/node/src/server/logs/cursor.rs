//! A place in a log that moves on: through rotated files to the current one, and into its successors. Blocks.

use std::{
    collections::VecDeque,
    fs::File,
    io,
    os::unix::fs::{FileExt, MetadataExt},
    path::{Path, PathBuf},
};

use super::{options::LogOptions, selection::Selection, tail};
use crate::server::limits;

pub struct Cursor {
    path: PathBuf,
    /// `None` until there is a file.
    current: Option<File>,
    offset: u64,
    /// Files to be read after the current one, oldest first.
    next: VecDeque<File>,
    /// The current file has a successor: it is read to its end once more, then left.
    rotated: bool,
    /// An entry of which the end has not been read.
    torn: Vec<u8>,
    selection: Selection,
}

/// What a step has come to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Step {
    /// There may be more at once.
    More,
    /// Everything that was written has been read.
    End,
    /// The client has all that it asked for.
    Enough,
}

impl Cursor {
    /// Opens the log at the first line that is asked for. No file is an empty log.
    pub fn open(path: &Path, options: &LogOptions) -> io::Result<Cursor> {
        let mut files = open_files(path, None)?;
        if let (Some(since), None) = (options.since, options.tail_lines) {
            // A rotated file is not written to any more.
            let old = |file: &File| file.metadata().map(|metadata| metadata.mtime() < since.timestamp());
            while files.len() > 1 && old(&files[0])? {
                files.remove(0);
            }
        }
        let start = match options.tail_lines {
            Some(count) if !files.is_empty() => tail::last_lines(&files, count, options.stream)?,
            Some(_) | None => tail::Start::default(),
        };
        let mut next: VecDeque<File> = files.into_iter().skip(start.file).collect();
        Ok(Cursor {
            path: path.to_owned(),
            current: next.pop_front(),
            offset: start.offset,
            next,
            rotated: false,
            torn: Vec::new(),
            selection: Selection::new(options, start.skip),
        })
    }

    pub fn has_file(&self) -> bool {
        self.current.is_some()
    }

    /// Reads on a little; what is to be shown goes to `out`.
    pub fn step(&mut self, out: &mut Vec<u8>) -> io::Result<Step> {
        let Some(file) = &self.current else { return self.find_file() };
        let mut block = vec![0; limits::LOG_READ_BYTES];
        let length = file.read_at(&mut block, self.offset)?;
        if length == 0 {
            return self.at_end();
        }
        self.offset += length as u64;
        self.torn.extend_from_slice(&block[..length]);
        let mut begin = 0;
        while let Some(end) = self.torn[begin..].iter().position(|byte| *byte == b'\n') {
            if self.selection.take(&self.torn[begin..begin + end], out).is_break() {
                return Ok(Step::Enough);
            }
            begin += end + 1;
        }
        self.torn.drain(..begin);
        if self.torn.len() > limits::LOG_ENTRY_BYTES_MAX {
            // No entry is as long; what follows up to the next line feed is none either.
            self.torn.truncate(1);
        }
        Ok(Step::More)
    }

    /// There will be nothing more.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        self.selection.finish(out);
    }

    fn find_file(&mut self) -> io::Result<Step> {
        self.next = open_files(&self.path, None)?.into();
        self.current = self.next.pop_front();
        Ok(if self.has_file() { Step::More } else { Step::End })
    }

    fn at_end(&mut self) -> io::Result<Step> {
        if self.rotated || !self.next.is_empty() {
            self.current = self.next.pop_front();
            (self.offset, self.rotated) = (0, false);
            self.torn.clear();
            return Ok(Step::More);
        }
        let Some(file) = &self.current else { return Ok(Step::End) };
        let metadata = file.metadata()?;
        if metadata.len() < self.offset {
            // Somebody has emptied it.
            self.offset = 0;
            self.torn.clear();
            return Ok(Step::More);
        }
        self.next = open_files(&self.path, Some(metadata.ino()))?.into();
        self.rotated = !self.next.is_empty();
        Ok(if self.rotated { Step::More } else { Step::End })
    }
}

/// The log's files, oldest first; with `known` only those newer than the file with that inode.
/// Newest first is the safe order to open them: a rotation meanwhile shows a file twice, but hides none.
fn open_files(path: &Path, known: Option<u64>) -> io::Result<Vec<File>> {
    let mut files: Vec<File> = Vec::new();
    let mut inodes: Vec<u64> = Vec::new();
    for number in 0..limits::LOG_FILES_MAX {
        let file = match File::open(numbered(path, number)) {
            Ok(file) => file,
            // The runtime has moved the current file away and not yet made its successor; the next look finds both.
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 && known.is_some() => break,
            Err(error) if error.kind() == io::ErrorKind::NotFound && number == 0 => continue,
            Err(error) if error.kind() == io::ErrorKind::NotFound => break,
            Err(error) => return Err(error),
        };
        let inode = file.metadata()?.ino();
        if known == Some(inode) {
            break;
        }
        if !inodes.contains(&inode) {
            inodes.push(inode);
            files.push(file);
        }
    }
    files.reverse();
    Ok(files)
}

/// As the runtime names them.
fn numbered(path: &Path, number: usize) -> PathBuf {
    let mut name = path.as_os_str().to_owned();
    if number > 0 {
        name.push(format!(".{number}"));
    }
    PathBuf::from(name)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::{fs, io::Write};

    use super::*;

    struct Log {
        folder: tempfile::TempDir,
    }

    impl Log {
        fn new() -> Log {
            Log { folder: tempfile::tempdir().unwrap() }
        }

        fn path(&self) -> PathBuf {
            self.folder.path().join("0.log")
        }

        fn write(&self, text: &str) {
            let mut file = fs::OpenOptions::new().create(true).append(true).open(self.path()).unwrap();
            for word in text.split(' ') {
                writeln!(file, "2026-11-21T08:00:00Z stdout F {word}").unwrap();
            }
        }

        fn rotate(&self) {
            for number in (1..5).rev() {
                let (newer, older) = (numbered(&self.path(), number - 1), numbered(&self.path(), number));
                if newer.exists() {
                    fs::rename(newer, older).unwrap();
                }
            }
        }

        fn open(&self, options: LogOptions) -> Cursor {
            Cursor::open(&self.path(), &options).unwrap()
        }
    }

    /// The words up to the end.
    fn read(cursor: &mut Cursor) -> String {
        let mut out = Vec::new();
        for _ in 0..1_000 {
            if cursor.step(&mut out).unwrap() != Step::More {
                return String::from_utf8(out).unwrap().lines().collect::<Vec<_>>().join(" ");
            }
        }
        panic!("no end");
    }

    #[test]
    fn rotated_files_are_read_first() {
        let log = Log::new();
        log.write("a b");
        log.rotate();
        log.write("c");
        log.rotate();
        log.write("d e");
        assert_eq!(read(&mut log.open(LogOptions::default())), "a b c d e");
        let tail = |lines| LogOptions { tail_lines: Some(lines), ..LogOptions::default() };
        assert_eq!(read(&mut log.open(tail(3))), "c d e");
        assert_eq!(read(&mut log.open(tail(0))), "");
    }

    #[test]
    fn a_follower_goes_through_rotations() {
        let log = Log::new();
        let mut cursor = log.open(LogOptions::default());
        assert!(!cursor.has_file());
        assert_eq!(read(&mut cursor), "");
        log.write("a");
        assert_eq!(read(&mut cursor), "a");
        assert_eq!(read(&mut cursor), "");
        log.write("b");
        log.rotate();
        // Between the two steps of a rotation.
        assert_eq!(read(&mut cursor), "b");
        assert_eq!(read(&mut cursor), "");
        log.write("c");
        assert_eq!(read(&mut cursor), "c");
        log.write("d");
        log.rotate();
        log.write("e");
        log.rotate();
        log.write("f");
        assert_eq!(read(&mut cursor), "d e f");
        for word in ["g", "h", "i", "j", "k", "l"] {
            log.write(word);
            log.rotate();
        }
        log.write("m");
        assert_eq!(read(&mut cursor), "g i j k l m", "what is left after it fell behind");
    }

    #[test]
    fn an_entry_is_shown_when_it_is_whole() {
        let log = Log::new();
        fs::write(log.path(), "2026-11-21T08:00:00Z stdo").unwrap();
        let mut cursor = log.open(LogOptions { tail_lines: Some(10), ..LogOptions::default() });
        assert_eq!(read(&mut cursor), "");
        let mut file = fs::OpenOptions::new().append(true).open(log.path()).unwrap();
        write!(file, "ut F a").unwrap();
        assert_eq!(read(&mut cursor), "");
        writeln!(file, "b").unwrap();
        log.write("c");
        assert_eq!(read(&mut cursor), "ab c");
    }
}
