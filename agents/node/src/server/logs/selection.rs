//! Which entries of a log are shown, and how: a pure fold over entries in the order of the file.
//! Pieces of a long line are joined, also when the other stream wrote between them.

use std::ops::ControlFlow;

use chrono::{DateTime, Utc};

use super::{
    entry::{Entry, Stream},
    options::LogOptions,
};
use crate::server::limits;

#[derive(Debug)]
pub struct Selection {
    since: Option<DateTime<Utc>>,
    timestamps: bool,
    stream: Option<Stream>,
    /// Lines that are passed over, as `tail` has counted them.
    skip: u64,
    bytes_left: u64,
    stdout: Line,
    stderr: Line,
}

/// The line that a stream is in.
#[derive(Debug, Default)]
struct Line {
    begun: bool,
    hidden: bool,
    pieces: Vec<u8>,
}

impl Selection {
    pub fn new(options: &LogOptions, skip: u64) -> Selection {
        Selection {
            since: options.since,
            timestamps: options.timestamps,
            stream: options.stream,
            skip,
            bytes_left: options.limit_bytes.unwrap_or(u64::MAX),
            stdout: Line::default(),
            stderr: Line::default(),
        }
    }

    /// Takes the next entry; what it lets be shown goes to `out`. Breaks when no more will be shown.
    pub fn take(&mut self, entry: &[u8], out: &mut Vec<u8>) -> ControlFlow<()> {
        let Some(entry) = Entry::parse(entry) else { return ControlFlow::Continue(()) };
        if self.stream.is_some_and(|stream| stream != entry.stream) {
            return ControlFlow::Continue(());
        }
        let line = match entry.stream {
            Stream::Stdout => &mut self.stdout,
            Stream::Stderr => &mut self.stderr,
        };
        if !line.begun {
            line.begun = true;
            line.hidden = self.since.is_some_and(|since| entry.is_before(since));
            if self.timestamps {
                line.pieces.extend_from_slice(entry.time.as_bytes());
                line.pieces.push(b' ');
            }
        }
        line.pieces.extend_from_slice(entry.text);
        if entry.partial {
            if line.pieces.len() <= limits::LOG_LINE_BYTES_MAX {
                return ControlFlow::Continue(());
            }
            let piece = std::mem::take(&mut line.pieces);
            return if self.skip > 0 || line.hidden { ControlFlow::Continue(()) } else { self.show(&piece, out) };
        }
        line.pieces.push(b'\n');
        let Line { hidden, pieces, .. } = std::mem::take(line);
        if self.skip > 0 {
            self.skip -= 1;
            return ControlFlow::Continue(());
        }
        if hidden { ControlFlow::Continue(()) } else { self.show(&pieces, out) }
    }

    /// There will be no more entries: lines without an end are shown as far as they came.
    pub fn finish(&mut self, out: &mut Vec<u8>) {
        for line in [std::mem::take(&mut self.stdout), std::mem::take(&mut self.stderr)] {
            if line.begun && !line.hidden && self.show(&line.pieces, out).is_break() {
                return;
            }
        }
    }

    fn show(&mut self, bytes: &[u8], out: &mut Vec<u8>) -> ControlFlow<()> {
        let shown = bytes.len().min(usize::try_from(self.bytes_left).unwrap_or(usize::MAX));
        out.extend_from_slice(&bytes[..shown]);
        self.bytes_left -= shown as u64;
        if self.bytes_left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LOG: &[&str] = &[
        "2026-11-21T08:00:01.000000000Z stdout F one",
        "not an entry",
        "2026-11-21T08:00:02.000000000Z stdout P tw",
        "2026-11-21T08:00:02.500000000Z stderr F oops",
        "2026-11-21T08:00:03.000000000Z stdout P o",
        "2026-11-21T08:00:04.000000000Z stdout F !",
        "2026-11-21T08:00:05.000000000Z stdout F ",
        "2026-11-21T08:00:06.000000000Z stderr P half",
    ];

    fn select(options: &LogOptions, skip: u64) -> String {
        let (mut selection, mut out) = (Selection::new(options, skip), Vec::new());
        for entry in LOG {
            if selection.take(entry.as_bytes(), &mut out).is_break() {
                return String::from_utf8(out).expect("text");
            }
        }
        selection.finish(&mut out);
        String::from_utf8(out).expect("text")
    }

    #[test]
    fn entries_become_lines() {
        let all = LogOptions::default;
        let since = |text: &str| DateTime::parse_from_rfc3339(text).ok().map(|time| time.with_timezone(&Utc));
        let table = [
            (all(), 0, "one\noops\ntwo!\n\nhalf"),
            (all(), 2, "two!\n\nhalf"),
            (LogOptions { stream: Some(Stream::Stdout), ..all() }, 0, "one\ntwo!\n\n"),
            (LogOptions { stream: Some(Stream::Stderr), ..all() }, 0, "oops\nhalf"),
            (LogOptions { since: since("2026-11-21T08:00:02Z"), ..all() }, 0, "oops\ntwo!\n\nhalf"),
            // The line began before.
            (LogOptions { since: since("2026-11-21T08:00:03Z"), ..all() }, 0, "\nhalf"),
            (LogOptions { limit_bytes: Some(6), ..all() }, 0, "one\noo"),
            (LogOptions { limit_bytes: Some(4), ..all() }, 0, "one\n"),
            (LogOptions { limit_bytes: Some(4), ..all() }, 1, "oops"),
            (
                LogOptions { timestamps: true, stream: Some(Stream::Stdout), ..all() },
                0,
                "2026-11-21T08:00:01.000000000Z one\n2026-11-21T08:00:02.000000000Z two!\n2026-11-21T08:00:05.000000000Z \n",
            ),
        ];
        for (options, skip, expected) in table {
            assert_eq!(select(&options, skip), expected, "{options:?}, {skip} skipped");
        }
    }

    #[test]
    fn a_line_without_end_is_passed_on_in_parts() {
        let piece = [b"2026-11-21T08:00:01.000000000Z stdout P ".as_slice(), &[b'x'; 16 * 1024]].concat();
        let (mut selection, mut out) = (Selection::new(&LogOptions::default(), 0), Vec::new());
        for _ in 0..100 {
            assert!(selection.take(&piece, &mut out).is_continue());
            assert!(selection.stdout.pieces.len() <= limits::LOG_LINE_BYTES_MAX);
        }
        selection.finish(&mut out);
        assert_eq!(out.len(), 100 * 16 * 1024);
    }
}
