//! Where the last lines of a log begin, found by reading backwards from its end: what comes before is not read.

use std::{fs::File, io, os::unix::fs::FileExt};

use super::entry::{Entry, Stream};
use crate::server::limits;

/// A place in a list of files, and how many lines that end after it do not belong to the last ones: the first of those
/// may begin before another stream's lines.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Start {
    pub file: usize,
    pub offset: u64,
    pub skip: u64,
}

/// Finds the last `count` lines; `files` are oldest first.
pub fn last_lines(files: &[File], count: u64, stream: Option<Stream>) -> io::Result<Start> {
    let mut search = Search {
        count,
        stream,
        found: 0,
        passed: 0,
        passed_bytes: 0,
        lines: [Line::Unseen; 2],
        start: Start::default(),
    };
    for (file, content) in files.iter().enumerate().rev() {
        let mut backward = Backward::new(content)?;
        if file + 1 == files.len() {
            search.start = Start { file, offset: backward.end_offset(), skip: 0 };
        }
        while let Some((offset, entry)) = backward.next()? {
            search.take(file, offset, entry);
            if search.is_done() {
                return Ok(search.start);
            }
        }
    }
    Ok(search.start)
}

/// The decisions, entry by entry, from the last one to the first.
struct Search {
    count: u64,
    stream: Option<Stream>,
    /// Lines found that are among the last ones.
    found: u64,
    /// Lines seen that are not, and the bytes seen since all were found.
    passed: u64,
    passed_bytes: u64,
    /// By stream: the line that was seen last.
    lines: [Line; 2],
    start: Start,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Line {
    /// There was none: a piece is the last of a line without an end.
    Unseen,
    /// It is among the last ones: pieces belong to it.
    Wanted,
    Passed,
}

impl Search {
    fn take(&mut self, file: usize, offset: u64, line: &[u8]) {
        if self.found == self.count {
            self.passed_bytes += line.len() as u64 + 1;
        }
        let Some(entry) = Entry::parse(line) else { return };
        if self.stream.is_some_and(|stream| stream != entry.stream) {
            return;
        }
        let line = match entry.stream {
            Stream::Stdout => &mut self.lines[0],
            Stream::Stderr => &mut self.lines[1],
        };
        match (entry.partial, *line) {
            (true, Line::Wanted) => self.start = Start { file, offset, skip: self.passed },
            (true, Line::Passed) => {}
            (true, Line::Unseen) | (false, _) if self.found < self.count => {
                self.found += 1;
                *line = Line::Wanted;
                self.start = Start { file, offset, skip: 0 };
            }
            (true, Line::Unseen) => *line = Line::Passed,
            (false, _) => {
                *line = Line::Passed;
                self.passed += 1;
            }
        }
    }

    fn is_done(&self) -> bool {
        let is_whole = self.lines.iter().all(|line| *line != Line::Wanted);
        self.found == self.count && (is_whole || self.passed_bytes > limits::LOG_TAIL_LOOKBACK_BYTES)
    }
}

/// The lines of a file from the last one to the first. What comes after the last line feed is still being written: it counts
/// as no line.
struct Backward<'a> {
    file: &'a File,
    /// Where `buffer` begins in the file.
    begin: u64,
    buffer: Vec<u8>,
    /// The part of `buffer` that is still to be given out; it ends with a line feed.
    end: usize,
}

impl<'a> Backward<'a> {
    fn new(file: &'a File) -> io::Result<Backward<'a>> {
        let begin = file.metadata()?.len();
        let mut backward = Backward { file, begin, buffer: Vec::new(), end: 0 };
        while backward.begin > 0 {
            backward.end = 0;
            backward.read_block()?;
            if let Some(feed) = backward.last_feed(backward.end) {
                backward.end = feed + 1;
                return Ok(backward);
            }
        }
        backward.end = 0;
        Ok(backward)
    }

    /// Where the lines end that have not been given out.
    fn end_offset(&self) -> u64 {
        self.begin + self.end as u64
    }

    fn next(&mut self) -> io::Result<Option<(u64, &[u8])>> {
        loop {
            let line_end = self.end.saturating_sub(1);
            let line_begin = match self.last_feed(line_end) {
                Some(feed) => feed + 1,
                None if self.begin > 0 && self.end <= limits::LOG_ENTRY_BYTES_MAX => {
                    self.read_block()?;
                    continue;
                }
                None if self.end == 0 => return Ok(None),
                // The file's first line, or too long for one.
                None => 0,
            };
            self.end = line_begin;
            return Ok(Some((self.begin + line_begin as u64, &self.buffer[line_begin..line_end])));
        }
    }

    fn last_feed(&self, end: usize) -> Option<usize> {
        self.buffer[..end].iter().rposition(|byte| *byte == b'\n')
    }

    fn read_block(&mut self) -> io::Result<()> {
        let length = usize::try_from(self.begin).unwrap_or(usize::MAX).min(limits::LOG_READ_BYTES);
        let mut block = vec![0; length];
        self.begin -= length as u64;
        self.file.read_exact_at(&mut block, self.begin)?;
        block.extend_from_slice(&self.buffer[..self.end]);
        self.end = block.len();
        self.buffer = block;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    /// `o` and `e` are a stream's whole line, `O` and `E` a piece of one.
    fn entries(letters: &str) -> Vec<u8> {
        let mut text = Vec::new();
        for letter in letters.chars() {
            let (stream, tag) = match letter {
                'o' => ("stdout", "F"),
                'O' => ("stdout", "P"),
                'e' => ("stderr", "F"),
                'E' => ("stderr", "P"),
                _ => panic!("no such entry"),
            };
            writeln!(text, "2026-11-21T08:00:00Z {stream} {tag} {letter}").unwrap();
        }
        text
    }

    fn file(content: &[u8]) -> File {
        let mut file = tempfile::tempfile().unwrap();
        file.write_all(content).unwrap();
        file
    }

    /// The entries from the start that is found, `|` between files; and the lines to skip.
    fn tail(files: &[&str], count: u64, stream: Option<Stream>) -> (String, u64) {
        let length = entries("o").len() as u64;
        let opened: Vec<File> = files.iter().map(|letters| file(&entries(letters))).collect();
        let start = last_lines(&opened, count, stream).unwrap();
        assert_eq!(start.offset % length, 0);
        let first = &files[start.file][(start.offset / length) as usize..];
        let rest = files[start.file + 1..].iter().copied();
        (std::iter::once(first).chain(rest).collect::<Vec<_>>().join("|"), start.skip)
    }

    #[test]
    fn the_last_lines_are_found() {
        let table: &[(&[&str], u64, &str, u64)] = &[
            (&["ooo"], 2, "oo", 0),
            (&["ooo"], 3, "ooo", 0),
            (&["ooo"], 9, "ooo", 0),
            (&["ooo"], 0, "", 0),
            (&[""], 5, "", 0),
            (&["ooo", "oo"], 3, "o|oo", 0),
            (&["ooo", "oo"], 2, "oo", 0),
            (&["ooo", ""], 2, "oo|", 0),
            (&["oe", "eo", "e"], 4, "e|eo|e", 0),
            // Pieces belong to the line that they are pieces of.
            (&["oOOo"], 1, "OOo", 0),
            (&["oOOo"], 2, "oOOo", 0),
            (&["oO", "Oo"], 1, "O|Oo", 0),
            // The other stream's line between them is not one of the last.
            (&["oOeOo"], 1, "OeOo", 1),
            (&["oOeOo"], 2, "OeOo", 0),
            (&["oOeeOo"], 2, "OeeOo", 1),
            // A line without an end is one too.
            (&["ooO"], 1, "O", 0),
            (&["ooOO"], 1, "OO", 0),
            (&["ooO"], 2, "oO", 0),
            (&["ooO"], 0, "", 0),
            (&["oOe"], 1, "e", 0),
            (&["oOe"], 2, "Oe", 0),
        ];
        for (files, count, expected, skip) in table {
            assert_eq!(tail(files, *count, None), ((*expected).to_owned(), *skip), "{count} of {files:?}");
        }
    }

    #[test]
    fn lines_of_one_stream_are_found() {
        assert_eq!(tail(&["oeoeoooo"], 2, Some(Stream::Stderr)), ("eoeoooo".into(), 0));
        assert_eq!(tail(&["oeEooe"], 1, Some(Stream::Stderr)), ("Eooe".into(), 0));
    }

    #[test]
    fn blocks_may_end_anywhere() {
        let line = |number: usize| format!("2026-11-21T08:00:00Z stdout F {}\n", "x".repeat(number % 300));
        let text: String = (0..5_000).map(line).collect();
        assert!(text.len() > 5 * limits::LOG_READ_BYTES);
        for torn in ["", "2026-11-21T08:0"] {
            let file = file(format!("{text}{torn}").as_bytes());
            for count in [1, 2, 333, 4_999, 5_000, 6_000] {
                let start = last_lines(std::slice::from_ref(&file), count, None).unwrap();
                let shown = text[start.offset as usize..].lines().count() as u64;
                assert_eq!((shown, start.skip), (count.min(5_000), 0), "{count}");
            }
        }
    }

    #[test]
    fn a_file_of_anything_is_survived() {
        for content in [vec![b'x'; 300_000], vec![b'\n'; 300_000], vec![0], b"\n".to_vec()] {
            let start = last_lines(&[file(&content)], 3, None).unwrap();
            assert_eq!((start.file, start.skip), (0, 0));
        }
    }
}
