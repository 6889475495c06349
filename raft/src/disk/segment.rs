//! One file of the log: which it is, then records one behind the other, then zeros.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | [`MAGIC`] |
//! | 8 | the segment's number |
//! | 4, 4 | a record's length, and the CRC-32 of the segment's number, the record's place and its content |
//! | | its content: how far the segment was synced when it was written, then operations; padded to [`ALIGN`] |
//!
//! The file is longer than what is in it: zeros are written ahead in steps, so that a record overwrites blocks which the file has
//! already, and making it durable needs no change of the file system's own. A record says how far the segment was durable before
//! it: so one that cannot be read is known for what it is. If a later record counts it as durable, it is damaged; if none does, it
//! was on its way when the machine stopped, and nobody was told of it.

use std::path::{Path, PathBuf};

pub const MAGIC: [u8; 8] = *b"ktk-log\x01";
pub const PREFIX_BYTES: usize = 16;
const HEAD_BYTES: usize = 8;
const SYNCED_BYTES: usize = 8;
const ALIGN: usize = 8;
const ENDING: &str = "wal";

/// One change of the log, as a record holds it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Op<'a> {
    /// An entry; those from its index on are gone.
    Entry(u64, &'a [u8]),
    Mark(&'a str, &'a [u8]),
    TruncateFrom(u64),
    PurgeTo(u64),
    /// Segments below this number are no part of the log any more.
    Oldest(u64),
    /// The segment ends here: another one follows.
    Sealed,
}

/// Where an entry's frame lies in its segment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spot {
    pub at: u32,
    pub length: u32,
}

/// What follows the last sound record of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// Nothing but zeros.
    Nothing,
    /// Something that was never known to be durable.
    Torn,
    /// Records that were durable, behind one that cannot be read.
    Damaged,
}

/// The name of a segment's file: they sort as their numbers do.
pub fn path(dir: &Path, number: u64) -> PathBuf {
    dir.join(format!("{number:020}.{ENDING}"))
}

/// The number in a name of [`path`].
pub fn number(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(ENDING)?.strip_suffix('.')?;
    (digits.len() == 20).then(|| digits.parse().ok()).flatten()
}

pub fn prefix(number: u64) -> [u8; PREFIX_BYTES] {
    let mut prefix = [0; PREFIX_BYTES];
    prefix[..8].copy_from_slice(&MAGIC);
    prefix[8..].copy_from_slice(&number.to_le_bytes());
    prefix
}

/// A record that is being written behind others, which the buffer may hold.
pub struct Draft {
    number: u64,
    /// Where the buffer begins in the segment.
    base: u64,
    /// Where the record begins in the buffer.
    start: usize,
}

impl Draft {
    pub fn begin(buffer: &mut Vec<u8>, number: u64, base: u64, synced: u64) -> Draft {
        let start = buffer.len();
        buffer.extend_from_slice(&[0; HEAD_BYTES]);
        buffer.extend_from_slice(&synced.to_le_bytes());
        Draft { number, base, start }
    }

    /// Returns where the operation's frame lies, if it has one.
    pub fn put(&self, buffer: &mut Vec<u8>, op: Op<'_>) -> Spot {
        let (kind, number, frame): (u8, Option<u64>, Option<&[u8]>) = match op {
            Op::Entry(index, frame) => (ENTRY, Some(index), Some(frame)),
            Op::Mark(_, frame) => (MARK, None, Some(frame)),
            Op::TruncateFrom(index) => (TRUNCATE, Some(index), None),
            Op::PurgeTo(index) => (PURGE, Some(index), None),
            Op::Oldest(segment) => (OLDEST, Some(segment), None),
            Op::Sealed => (SEALED, None, None),
        };
        buffer.push(kind);
        buffer.extend(number.into_iter().flat_map(u64::to_le_bytes));
        if let Op::Mark(name, _) = op {
            buffer.push(u8::try_from(name.len()).expect("marks have short names"));
            buffer.extend_from_slice(name.as_bytes());
        }
        let Some(frame) = frame else { return Spot::default() };
        buffer.extend_from_slice(&length(frame).to_le_bytes());
        let at = u32::try_from(self.base + buffer.len() as u64).expect("a segment is shorter than 4 GiB");
        buffer.extend_from_slice(frame);
        Spot { at, length: length(frame) }
    }

    pub fn finish(self, buffer: &mut Vec<u8>) {
        let content = &buffer[self.start + HEAD_BYTES..];
        let (size, sum) = (length(content), checksum(self.number, self.base + self.start as u64, content));
        buffer[self.start..self.start + 4].copy_from_slice(&size.to_le_bytes());
        buffer[self.start + 4..self.start + HEAD_BYTES].copy_from_slice(&sum.to_le_bytes());
        buffer.resize(buffer.len().next_multiple_of(ALIGN), 0);
    }
}

/// How far a segment could be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Seen {
    /// Behind the last sound record.
    pub end: usize,
    /// How far it was durable for sure, as that record says.
    pub synced: usize,
    pub rest: Rest,
}

/// Reads a whole segment up to the last sound record. It is given its name with the first one in it.
pub fn read<E>(number: u64, bytes: &[u8], mut visit: impl FnMut(Op<'_>, Spot) -> Result<(), E>) -> Result<Seen, E> {
    let mut seen = Seen { end: 0, synced: 0, rest: Rest::Damaged };
    if bytes.get(..PREFIX_BYTES) != Some(&prefix(number)) {
        return Ok(seen);
    }
    seen.end = PREFIX_BYTES;
    while let Some(content) = record(number, bytes, seen.end) {
        let (begin, synced) = (seen.end + HEAD_BYTES, u64_of(content).unwrap_or_default() as usize);
        // An older one that was cleared, and whose clearing was lost.
        if synced < seen.synced {
            break;
        }
        // What has a right checksum and cannot be understood was written by another version.
        let Some(ops) = Ops::of(bytes, begin, content.len()) else { return Ok(seen) };
        for (op, spot) in ops {
            visit(op, spot)?;
        }
        seen.synced = synced;
        seen.end = (begin + content.len()).next_multiple_of(ALIGN);
    }
    if seen.end > PREFIX_BYTES {
        seen.rest = rest(number, bytes, seen.end);
    }
    Ok(seen)
}

/// The content of a sound record at a place.
fn record(number: u64, bytes: &[u8], at: usize) -> Option<&[u8]> {
    let head = bytes.get(at..at + HEAD_BYTES)?;
    let (size, sum) = (u32_of(head)? as usize, u32_of(&head[4..])?);
    if size < SYNCED_BYTES {
        return None;
    }
    let content = bytes.get(at + HEAD_BYTES..at + HEAD_BYTES + size)?;
    (checksum(number, at as u64, content) == sum).then_some(content)
}

fn rest(number: u64, bytes: &[u8], end: usize) -> Rest {
    let behind = bytes.get(end..).unwrap_or_default();
    if behind.iter().all(|byte| *byte == 0) {
        return Rest::Nothing;
    }
    let durable = |at: &usize| {
        let synced = bytes.get(at + HEAD_BYTES..).and_then(u64_of).unwrap_or_default() as usize;
        (end + 1..=*at).contains(&synced) && record(number, bytes, *at).is_some()
    };
    let found = (end..bytes.len()).step_by(ALIGN).any(|at| durable(&at));
    if found { Rest::Damaged } else { Rest::Torn }
}

/// The operations of a record, up to one that is none.
struct Ops<'a> {
    bytes: &'a [u8],
    at: usize,
    end: usize,
}

impl<'a> Ops<'a> {
    /// All of them, if each can be told.
    fn of(bytes: &'a [u8], at: usize, length: usize) -> Option<Vec<(Op<'a>, Spot)>> {
        let mut ops = Ops { bytes, at: at + SYNCED_BYTES, end: at + length };
        let mut told = Vec::new();
        while ops.at < ops.end {
            told.push(ops.next()?);
        }
        Some(told)
    }

    fn next(&mut self) -> Option<(Op<'a>, Spot)> {
        let none = Spot::default();
        Some(match self.take(1)?[0] {
            ENTRY => {
                let index = self.number()?;
                let (frame, spot) = self.frame()?;
                (Op::Entry(index, frame), spot)
            }
            MARK => {
                let length = self.take(1)?[0] as usize;
                let name = std::str::from_utf8(self.take(length)?).ok()?;
                let (frame, spot) = self.frame()?;
                (Op::Mark(name, frame), spot)
            }
            TRUNCATE => (Op::TruncateFrom(self.number()?), none),
            PURGE => (Op::PurgeTo(self.number()?), none),
            OLDEST => (Op::Oldest(self.number()?), none),
            SEALED => (Op::Sealed, none),
            _ => return None,
        })
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let taken = self.bytes.get(self.at..self.at.checked_add(length)?).filter(|_| self.at + length <= self.end)?;
        self.at += length;
        Some(taken)
    }

    fn number(&mut self) -> Option<u64> {
        u64_of(self.take(8)?)
    }

    fn frame(&mut self) -> Option<(&'a [u8], Spot)> {
        let length = u32_of(self.take(4)?)?;
        let at = self.at as u32;
        Some((self.take(length as usize)?, Spot { at, length }))
    }
}

const ENTRY: u8 = 1;
const MARK: u8 = 2;
const TRUNCATE: u8 = 3;
const PURGE: u8 = 4;
const OLDEST: u8 = 5;
const SEALED: u8 = 6;

/// Limits of the log keep all of it far below what four bytes can tell.
fn length(bytes: &[u8]) -> u32 {
    u32::try_from(bytes.len()).expect("a record is shorter than 4 GiB")
}

fn checksum(number: u64, at: u64, content: &[u8]) -> u32 {
    let mut sum = crc32fast::Hasher::new();
    sum.update(&number.to_le_bytes());
    sum.update(&at.to_le_bytes());
    sum.update(content);
    sum.finalize()
}

fn u32_of(bytes: &[u8]) -> Option<u32> {
    bytes.first_chunk().map(|bytes| u32::from_le_bytes(*bytes))
}

fn u64_of(bytes: &[u8]) -> Option<u64> {
    bytes.first_chunk().map(|bytes| u64::from_le_bytes(*bytes))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::convert::Infallible;

    use super::*;

    const NUMBER: u64 = 7;

    /// A segment of records that each hold one entry; where each begins. The first `durable` of them were synced one by one.
    fn segment(entries: usize, durable: usize) -> (Vec<u8>, Vec<usize>) {
        let (mut bytes, mut starts) = (prefix(NUMBER).to_vec(), Vec::new());
        for index in 0..entries {
            let synced = starts.get(durable).copied().unwrap_or(bytes.len());
            starts.push(bytes.len());
            let draft = Draft::begin(&mut bytes, NUMBER, 0, synced as u64);
            let frame = vec![index as u8 + 1; 10 + index];
            let spot = draft.put(&mut bytes, Op::Entry(index as u64, &frame));
            assert_eq!(bytes[spot.at as usize..][..spot.length as usize], frame);
            draft.finish(&mut bytes);
        }
        bytes.resize(bytes.len() + 100, 0);
        (bytes, starts)
    }

    /// How many entries there are, and what is behind them.
    fn told(bytes: &[u8]) -> (usize, Rest) {
        let mut count = 0;
        let Ok(Seen { rest, .. }) = read(NUMBER, bytes, |op, spot| -> Result<(), Infallible> {
            let Op::Entry(index, frame) = op else { panic!("{op:?}") };
            assert_eq!((index, frame), (count as u64, &bytes[spot.at as usize..][..spot.length as usize]));
            count += 1;
            Ok(())
        });
        (count, rest)
    }

    #[test]
    fn every_operation_is_told_as_it_was_written() {
        let ops = [
            Op::Entry(u64::MAX, b"frame"),
            Op::Mark("vote", b"x"),
            Op::Mark("", b""),
            Op::TruncateFrom(3),
            Op::PurgeTo(2),
            Op::Oldest(1),
            Op::Sealed,
        ];
        let mut bytes = prefix(NUMBER).to_vec();
        for some in [&ops[..], &ops[..1], &[]] {
            let draft = Draft::begin(&mut bytes, NUMBER, 0, 0);
            some.iter().for_each(|op| _ = draft.put(&mut bytes, *op));
            draft.finish(&mut bytes);
        }
        let mut told = Vec::new();
        let end = read(NUMBER, &bytes, |op, _| -> Result<(), Infallible> {
            told.push(format!("{op:?}"));
            Ok(())
        });
        let expected: Vec<_> = ops.iter().chain(&ops[..1]).map(|op| format!("{op:?}")).collect();
        let whole = Seen { end: bytes.len(), synced: 0, rest: Rest::Nothing };
        assert_eq!((told, end), (expected, Ok(whole)));
        assert_eq!(number(path(Path::new(""), NUMBER).to_str().unwrap()), Some(NUMBER));
        assert_eq!(["7.wal", "LOCK", "00000000000000000007.wal.new"].map(number), [None; 3]);
    }

    #[test]
    fn any_changed_bit_of_what_was_durable_is_damage_unless_nothing_follows() {
        let (whole, starts) = segment(4, 4);
        assert_eq!(told(&whole), (4, Rest::Nothing));
        let of_another = read(NUMBER + 1, &whole, |_, _| Ok::<_, Infallible>(()));
        assert_eq!(of_another, Ok(Seen { end: 0, synced: 0, rest: Rest::Damaged }));
        for at in 0..whole.len() {
            for bit in [1, 0x80] {
                let mut bytes = whole.clone();
                bytes[at] ^= bit;
                let expected = match starts.iter().rposition(|start| *start <= at) {
                    None => (0, Rest::Damaged),
                    // Padding and what lies ahead say nothing.
                    Some(_) if record_end(&whole, at) => continue,
                    Some(3) => (3, Rest::Torn),
                    Some(record) => (record, Rest::Damaged),
                };
                assert_eq!(told(&bytes), expected, "byte {at}");
            }
        }
    }

    #[test]
    fn what_another_version_wrote_is_not_taken_for_torn() {
        let (mut bytes, _) = segment(1, 1);
        bytes.truncate(bytes.len() - 100);
        let synced = bytes.len() as u64;
        let draft = Draft::begin(&mut bytes, NUMBER, 0, synced);
        bytes.push(99);
        draft.finish(&mut bytes);
        assert_eq!(told(&bytes), (1, Rest::Damaged));
    }

    /// Whether a byte is behind the content of the record before it.
    fn record_end(bytes: &[u8], at: usize) -> bool {
        let mut start = PREFIX_BYTES;
        while let Some(content) = record(NUMBER, bytes, start) {
            let end = start + HEAD_BYTES + content.len();
            if (end..end.next_multiple_of(ALIGN)).contains(&at) {
                return true;
            }
            start = end.next_multiple_of(ALIGN);
        }
        at >= start
    }

    #[test]
    fn what_was_on_its_way_is_torn_in_whatever_order_it_came() {
        let (whole, starts) = segment(4, 1);
        for lost in 1..4 {
            let mut bytes = whole.clone();
            let end = starts.get(lost + 1).copied().unwrap_or(whole.len());
            bytes[starts[lost]..end].fill(0);
            let rest = if lost == 3 { Rest::Nothing } else { Rest::Torn };
            assert_eq!(told(&bytes), (lost, rest), "record {lost} never came");
        }
        for cut in 0..whole.len() {
            // It never is without its first record, whose padding says nothing.
            let first = starts[0] + HEAD_BYTES + record(NUMBER, &whole, starts[0]).unwrap().len();
            let expected = cut < first;
            assert_eq!(told(&whole[..cut]).1 == Rest::Damaged, expected, "cut at {cut}");
        }
    }
}
