//! One entry of a log file in the CRI format: `<RFC 3339 time> stdout|stderr P|F <text>`.

use chrono::{DateTime, Utc};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stream {
    Stdout,
    Stderr,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Entry<'a> {
    pub time: &'a str,
    pub stream: Stream,
    /// More of the same line follows.
    pub partial: bool,
    pub text: &'a [u8],
}

impl<'a> Entry<'a> {
    /// `line` is without its line feed. `None` if it is no entry.
    pub fn parse(line: &'a [u8]) -> Option<Entry<'a>> {
        let mut fields = line.splitn(4, |byte| *byte == b' ');
        let time = std::str::from_utf8(fields.next()?).ok()?;
        let stream = match fields.next()? {
            b"stdout" => Stream::Stdout,
            b"stderr" => Stream::Stderr,
            _ => return None,
        };
        // Further tags may come after a colon.
        let partial = match fields.next()?.split(|byte| *byte == b':').next()? {
            b"P" => true,
            b"F" => false,
            _ => return None,
        };
        Some(Entry { time, stream, partial, text: fields.next().unwrap_or_default() })
    }

    pub fn is_before(&self, since: DateTime<Utc>) -> bool {
        DateTime::parse_from_rfc3339(self.time).is_ok_and(|time| time < since)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_are_taken_apart() {
        let entry = |stream, partial, text: &'static str| {
            Some(Entry { time: "2026-11-21T08:00:00.123456789Z", stream, partial, text: text.as_bytes() })
        };
        let table = [
            ("2026-11-21T08:00:00.123456789Z stdout F one two", entry(Stream::Stdout, false, "one two")),
            ("2026-11-21T08:00:00.123456789Z stderr P  x ", entry(Stream::Stderr, true, " x ")),
            ("2026-11-21T08:00:00.123456789Z stdout F ", entry(Stream::Stdout, false, "")),
            ("2026-11-21T08:00:00.123456789Z stdout F", entry(Stream::Stdout, false, "")),
            ("2026-11-21T08:00:00.123456789Z stdout P:x y", entry(Stream::Stdout, true, "y")),
            ("2026-11-21T08:00:00.123456789Z stdin F x", None),
            ("2026-11-21T08:00:00.123456789Z stdout X x", None),
            ("2026-11-21T08:00:00.123456789Z stdout", None),
            ("no entry", None),
            ("", None),
        ];
        for (line, expected) in table {
            assert_eq!(Entry::parse(line.as_bytes()), expected, "{line}");
        }
    }
}
