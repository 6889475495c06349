//! Bytes on disk and on the wire: versioned, checksummed frames around bincode. The only module that calls bincode.
//!
//! A frame is `version:u8 · tag:u8 · crc32:u32le · payload`. The checksum covers version, tag and payload, so a frame that was
//! cut, mixed up or damaged is refused, never half read. Bodies of objects are opaque bytes inside a payload.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};
use kontiki_model::{Head, Key, Retention, Revision};

use crate::event::EventKind;
use crate::limits::ENTRY_BYTES_MAX;
use crate::{Author, Command};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 6;
const LENGTH_BYTES: usize = 4;
/// Where the head starts in a version's frame.
const VERSION_HEAD: usize = HEADER_BYTES + LENGTH_BYTES;
const HEAD_BYTES_TYPICAL: usize = 512;
/// A frame holds at most one entry's worth; the slack is for what frames add around it.
const PAYLOAD_BYTES_MAX: usize = 2 * ENTRY_BYTES_MAX;
const CONFIG: Configuration<LittleEndian, Varint, Limit<PAYLOAD_BYTES_MAX>> =
    bincode::config::standard().with_limit::<PAYLOAD_BYTES_MAX>();

/// Which record a frame holds. The numbers are on disk: never reuse one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum Tag {
    LogEntry = 1,
    Vote = 2,
    LogMark = 3,
    Event = 4,
    LiveVersion = 5,
    DeletedVersion = 6,
    Head = 7,
    Snapshot = 10,
    Identity = 11,
    Message = 12,
    Applied = 13,
    Floors = 14,
    Gaps = 20,
    BackupHeader = 21,
    BackupChunk = 22,
    BackupTrailer = 23,
}

#[derive(Debug, thiserror::Error, PartialEq, Eq)]
pub enum CodecError {
    #[error("the record is cut short: {0} bytes")]
    Short(usize),
    #[error("the record has format version {0}; this program reads version {VERSION}")]
    Version(u8),
    #[error("the record is of type {found}, not {expected:?}")]
    Tag { expected: Tag, found: u8 },
    #[error("the record's checksum is {found:08x}, its content gives {computed:08x}")]
    Checksum { found: u32, computed: u32 },
    #[error("the record cannot be decoded: {0}")]
    Payload(String),
}

/// A log entry as it lies on disk.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct LogRecord {
    pub term: u64,
    pub index: u64,
    pub payload: LogPayload,
}

#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub enum LogPayload {
    Blank,
    Command(std::sync::Arc<Command>),
    /// The consensus module's own membership record, as JSON: rare, and readable by hand.
    Membership(Vec<u8>),
}

/// What history says of one event besides the object's versions. Key and author are owned, or borrowed to be written.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct EventRecord<K = Key, A = Author> {
    pub kind: EventKind,
    pub key: K,
    /// The revision of the version that this event replaced.
    pub previous: Option<Revision>,
    pub index: u64,
    pub time_ms: i64,
    pub cause: Option<Revision>,
    pub retention: Retention,
    /// What the event counts for in the size of history.
    pub bytes: u64,
    pub author: A,
}

/// The live head of a key, for the index that is rebuilt at start; owned, or borrowed to be written.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct HeadRecord<H = Head> {
    pub revision: Revision,
    pub head: H,
}

const CLASSES: usize = Retention::ALL.len();

/// A count of bytes for each class of history.
pub type ByClass = [u64; CLASSES];

/// How far the state has come; written with each batch, so that batch and mark stand or fall together.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct AppliedRecord {
    pub term: u64,
    pub index: Option<u64>,
    pub revision: Revision,
    pub membership: Vec<u8>,
    /// The newest event's time; the next one is not earlier.
    pub time_ms: i64,
    /// Bytes ever added to history, by class.
    pub history_bytes: ByClass,
}

/// Where history begins.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct FloorsRecord {
    pub floor: Revision,
    /// When the event of `floor` happened.
    pub time_ms: i64,
    /// How far each class was dropped by its own limits, where they are narrower.
    pub dropped_to: [Revision; CLASSES],
    /// Resources whose own floor is above `floor`, because a class was dropped there.
    pub resources: Vec<(Retention, String, Revision)>,
    /// Bytes ever dropped from history, by class.
    pub history_bytes: ByClass,
    /// Resources of which sensitive history was dropped that may still be found in the files.
    pub to_shred: Vec<String>,
}

pub fn encode(tag: Tag, value: &impl Encode) -> Vec<u8> {
    // Counted first: growing step by step would copy a message of many entries as often as it has digits.
    let mut out = header(tag, encoded_bytes(value) - HEADER_BYTES);
    bincode::encode_into_std_write(value, &mut out, CONFIG).expect("records hold nothing that bincode cannot write");
    seal(out)
}

/// The length of what [`encode`] gives.
pub fn encoded_bytes(value: &impl Encode) -> usize {
    let mut counter = bincode::enc::write::SizeWriter::default();
    bincode::encode_into_writer(value, &mut counter, CONFIG).expect("counting cannot fail");
    HEADER_BYTES + counter.bytes_written
}

pub fn decode<T: Decode<()>>(tag: Tag, frame: &[u8]) -> Result<T, CodecError> {
    let payload = open(tag, frame)?;
    let (value, read) =
        bincode::decode_from_slice(payload, CONFIG).map_err(|error| CodecError::Payload(error.to_string()))?;
    if read != payload.len() {
        return Err(CodecError::Payload(format!("{} bytes are left over", payload.len() - read)));
    }
    Ok(value)
}

/// A version of an object: the length of its head, the head, then the body to the end of the frame.
pub fn encode_version(deleted: bool, head: &Head, body: &[u8]) -> Vec<u8> {
    let tag = if deleted { Tag::DeletedVersion } else { Tag::LiveVersion };
    let mut out = header(tag, LENGTH_BYTES + HEAD_BYTES_TYPICAL + body.len());
    out.extend_from_slice(&[0; LENGTH_BYTES]);
    bincode::encode_into_std_write(head, &mut out, CONFIG).expect("a head holds nothing that bincode cannot write");
    let length = u32::try_from(out.len() - VERSION_HEAD).expect("a head is no longer than an entry");
    out[HEADER_BYTES..VERSION_HEAD].copy_from_slice(&length.to_le_bytes());
    out.extend_from_slice(body);
    seal(out)
}

/// The inverse of [`encode_version`]: whether it is a deletion, the head, and where in the frame the body starts.
pub fn decode_version(frame: &[u8]) -> Result<(bool, Head, usize), CodecError> {
    let body = version_body(frame)?;
    let head = &frame[VERSION_HEAD..body];
    let (value, read) =
        bincode::decode_from_slice(head, CONFIG).map_err(|error| CodecError::Payload(error.to_string()))?;
    if read != head.len() {
        return Err(CodecError::Payload(format!("{} bytes of the head are left over", head.len() - read)));
    }
    Ok((version_is_deleted(frame), value, body))
}

/// Where in a version's frame the body starts; the frame is checked, the head is not decoded.
pub fn version_body(frame: &[u8]) -> Result<usize, CodecError> {
    let tag = if version_is_deleted(frame) { Tag::DeletedVersion } else { Tag::LiveVersion };
    let payload = open(tag, frame)?;
    let length = payload.first_chunk::<LENGTH_BYTES>().ok_or(CodecError::Short(frame.len()))?;
    let body = VERSION_HEAD + u32::from_le_bytes(*length) as usize;
    if body > frame.len() { Err(CodecError::Short(frame.len())) } else { Ok(body) }
}

/// Whether a version's frame is a deletion's; the frame itself is not checked.
pub fn version_is_deleted(frame: &[u8]) -> bool {
    frame.get(1) == Some(&(Tag::DeletedVersion as u8))
}

/// The beginning of a frame, with room for its payload.
fn header(tag: Tag, payload_bytes: usize) -> Vec<u8> {
    let mut out = Vec::with_capacity(HEADER_BYTES + payload_bytes);
    out.extend_from_slice(&[VERSION, tag as u8, 0, 0, 0, 0]);
    out
}

fn seal(mut frame: Vec<u8>) -> Vec<u8> {
    let sum = checksum(&frame);
    frame[2..HEADER_BYTES].copy_from_slice(&sum.to_le_bytes());
    frame
}

fn checksum(frame: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&frame[..2]);
    hasher.update(&frame[HEADER_BYTES..]);
    hasher.finalize()
}

/// The payload of a frame whose version, tag and checksum are right.
fn open(tag: Tag, frame: &[u8]) -> Result<&[u8], CodecError> {
    let Some(header) = frame.first_chunk::<HEADER_BYTES>() else { return Err(CodecError::Short(frame.len())) };
    let [version, found_tag, sum @ ..] = *header;
    if version != VERSION {
        return Err(CodecError::Version(version));
    }
    let (found, computed) = (u32::from_le_bytes(sum), checksum(frame));
    if found != computed {
        return Err(CodecError::Checksum { found, computed });
    }
    if found_tag != tag as u8 {
        return Err(CodecError::Tag { expected: tag, found: found_tag });
    }
    Ok(&frame[HEADER_BYTES..])
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::BTreeMap;
    use std::fmt::Write;
    use std::sync::Arc;

    use expect_test::{Expect, expect};
    use kontiki_model::OwnerRef;

    use super::*;
    use crate::{Expect as Expected, Mutation, Precondition};

    /// Sixteen bytes a line. What is on disk must be readable for ever: a difference here is a new format version.
    fn check_golden(frame: &[u8], golden: &Expect) {
        let lines = frame.chunks(16).map(|line| {
            line.iter().fold(String::new(), |mut out, byte| {
                write!(out, "{byte:02x}").unwrap();
                out
            })
        });
        golden.assert_eq(&lines.collect::<Vec<_>>().join("\n"));
    }

    fn head() -> Head {
        let owner = OwnerRef {
            uid: "o".into(),
            kind: "ReplicaSet".into(),
            name: "web".into(),
            controller: true,
            block_deletion: false,
        };
        Head {
            uid: "u-1".into(),
            generation: 3,
            labels: BTreeMap::from([("app".into(), "web".into())]),
            owners: vec![owner],
            finalizers: vec!["f".into()],
            deletion: Some("2026-11-21T08:00:00Z".into()),
            fields: BTreeMap::from([("spec.nodeName".into(), "n1".into())]),
            splice: 300,
            retention: Retention::Short,
        }
    }

    fn author() -> Author {
        Author {
            user: "ann".into(),
            impersonator: "bob".into(),
            user_agent: "kubectl".into(),
            verb: "create".into(),
            request_id: "r".into(),
        }
    }

    fn command() -> LogRecord {
        let key = |name: &str| Key::new("pods", "ns", name);
        let expect = |name: &str, expect| Precondition { key: key(name), expect };
        let command = Command {
            author: author(),
            cause: Some(41),
            term: Some(7),
            time_ms: 1_700_000_000_000,
            preconditions: vec![
                expect("a", Expected::Absent),
                expect("b", Expected::Present),
                expect("c", Expected::Revision(1_000)),
                expect("d", Expected::Uid("x".into())),
            ],
            mutations: vec![
                Mutation::Put { key: key("a"), head: head(), body: b"{}".to_vec() },
                Mutation::Delete { key: key("b"), last: None },
                Mutation::Delete { key: key("c"), last: Some((Head::default(), b"{}".to_vec())) },
            ],
        };
        LogRecord { term: 7, index: 70_000, payload: LogPayload::Command(Arc::new(command)) }
    }

    fn event() -> EventRecord {
        EventRecord {
            kind: EventKind::Updated,
            key: Key::new("pods", "ns", "a"),
            previous: Some(41),
            index: 70_000,
            time_ms: -1,
            cause: None,
            retention: Retention::Normal,
            bytes: 512,
            author: author(),
        }
    }

    #[test]
    fn golden_bytes_of_a_command() {
        let frame = encode(Tag::LogEntry, &command());
        assert_eq!(frame.len(), encoded_bytes(&command()));
        assert_eq!(decode(Tag::LogEntry, &frame), Ok(command()));
        check_golden(
            &frame,
            &expect![[r#"
                010186d0c5c707fc701101000103616e
                6e03626f62076b75626563746c066372
                65617465017201290107fd00d0ca9f17
                0300000404706f6473026e7301610004
                706f6473026e7301620104706f647302
                6e73016302fbe80304706f6473026e73
                0164030178030004706f6473026e7301
                6103752d310601036170700377656201
                016f0a5265706c696361536574037765
                6201000101660114323032362d31312d
                32315430383a30303a30305a010d7370
                65632e6e6f64654e616d65026e31fb2c
                0101027b7d0104706f6473026e730162
                000104706f6473026e73016301000000
                000000000000027b7d"#]],
        );
    }

    #[test]
    fn golden_bytes_of_an_event_and_its_version() {
        let frame = encode(Tag::Event, &event());
        assert_eq!(decode(Tag::Event, &frame), Ok(event()));
        check_golden(
            &frame,
            &expect![[r#"
                0104fef1640e0104706f6473026e7301
                610129fc70110100010000fb00020361
                6e6e03626f62076b75626563746c0663
                72656174650172"#]],
        );
        let frame = encode_version(false, &head(), b"{body}");
        let (deleted, found, body) = decode_version(&frame).unwrap();
        assert_eq!((deleted, found, &frame[body..]), (false, head(), &b"{body}"[..]));
        check_golden(
            &frame,
            &expect![[r#"
                0105301937125100000003752d310601
                036170700377656201016f0a5265706c
                69636153657403776562010001016601
                14323032362d31312d32315430383a30
                303a30305a010d737065632e6e6f6465
                4e616d65026e31fb2c01017b626f6479
                7d"#]],
        );
        let frame = encode_version(true, &Head::default(), b"");
        assert_eq!(decode_version(&frame).unwrap(), (true, Head::default(), frame.len()));
        check_golden(
            &frame,
            &expect![[r#"
            010651997f1109000000000000000000
            000000"#]],
        );
    }

    #[test]
    fn golden_bytes_of_the_marks() {
        let applied = AppliedRecord {
            term: 1,
            index: Some(2),
            revision: 3,
            membership: b"{}".to_vec(),
            time_ms: 1_700_000_000_000,
            history_bytes: [4, 500, 0],
        };
        check_golden(
            &encode(Tag::Applied, &applied),
            &expect![[r#"
                010d2897a66c01010203027b7dfd00d0
                ca9f1703000004fbf40100"#]],
        );
        let floors = FloorsRecord {
            floor: 1,
            time_ms: 70_000,
            dropped_to: [0, 2, 3],
            resources: vec![(Retention::Short, "leases".into(), 2), (Retention::Sensitive, "secrets".into(), 3)],
            history_bytes: [3, 4, 5],
            to_shred: vec!["secrets".into()],
        };
        check_golden(
            &encode(Tag::Floors, &floors),
            &expect![[r#"
                010ef51d906501fce022020000020302
                01066c65617365730202077365637265
                747303030405010773656372657473"#]],
        );
        check_golden(
            &encode(Tag::Head, &HeadRecord { revision: 9, head: Head::default() }),
            &expect!["010749b45e3509000000000000000000"],
        );
        check_golden(&encode(Tag::Vote, &(3u64, 1u64, true)), &expect!["0102a8a9113d030101"]);
        check_golden(&encode(Tag::LogMark, &(3u64, 70_000u64)), &expect!["01030252f0fc03fc70110100"]);
        check_golden(
            &encode(Tag::LogEntry, &LogRecord { term: 1, index: 0, payload: LogPayload::Blank }),
            &expect!["0101ffd33c42010000"],
        );
    }

    #[test]
    fn every_single_bit_counts() {
        let frame = encode(Tag::Event, &event());
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(decode::<EventRecord>(Tag::Event, &damaged).is_err(), "bit {bit}");
        }
        for length in 0..frame.len() {
            assert!(decode::<EventRecord>(Tag::Event, &frame[..length]).is_err(), "cut at {length}");
        }
    }

    #[test]
    fn another_records_frame_and_a_newer_format_are_told_apart() {
        let frame = encode(Tag::Event, &event());
        let expected = CodecError::Tag { expected: Tag::Head, found: Tag::Event as u8 };
        assert_eq!(decode::<HeadRecord>(Tag::Head, &frame), Err(expected));
        let mut newer = frame.clone();
        newer[0] = 2;
        assert_eq!(decode::<EventRecord>(Tag::Event, &newer), Err(CodecError::Version(2)));
        let mut longer = header(Tag::Event, frame.len());
        longer.extend_from_slice(&frame[HEADER_BYTES..]);
        longer.push(0);
        let expected = CodecError::Payload("1 bytes are left over".into());
        assert_eq!(decode::<EventRecord>(Tag::Event, &seal(longer)), Err(expected));
    }
}
