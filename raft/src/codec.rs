//! Bytes on disk and on the wire: versioned, checksummed frames around bincode. The only module that calls bincode.
//!
//! A frame is `version:u8 · tag:u8 · crc32:u32le · payload`. The checksum covers version, tag and payload, so a frame that was
//! cut, mixed up or damaged is refused, never half read. Bodies of objects are opaque bytes inside a payload.

use bincode::config::{Configuration, Limit, LittleEndian, Varint};
use bincode::{Decode, Encode};
use kontiki_model::{Head, Key, Revision};

use crate::event::EventKind;
use crate::limits::ENTRY_BYTES_MAX;
use crate::{Author, Command};

const VERSION: u8 = 1;
const HEADER_BYTES: usize = 6;
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
    Applied = 8,
    Floors = 9,
    Snapshot = 10,
    Identity = 11,
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

/// What history says of one event besides the object's versions.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct EventRecord {
    pub kind: EventKind,
    pub key: Key,
    /// The revision of the version that this event replaced.
    pub previous: Option<Revision>,
    pub index: u64,
    pub time_ms: i64,
    pub cause: Option<Revision>,
    pub short_lived: bool,
    /// What the event counts for in the size of history.
    pub bytes: u64,
    pub author: Author,
}

/// The live head of a key, for the index that is rebuilt at start.
#[derive(Clone, Debug, PartialEq, Encode, Decode)]
pub struct HeadRecord {
    pub revision: Revision,
    pub head: Head,
}

/// How far the state has come; written with each batch, so that batch and mark stand or fall together.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct AppliedRecord {
    pub term: u64,
    pub index: Option<u64>,
    pub revision: Revision,
    pub membership: Vec<u8>,
    /// Bytes ever added to history, by class (normal, short).
    pub history_bytes: [u64; 2],
}

/// Where history begins.
#[derive(Clone, Debug, Default, PartialEq, Encode, Decode)]
pub struct FloorsRecord {
    pub floor: Revision,
    /// How far the short class has been dropped.
    pub short: Revision,
    /// Resources whose own floor is above `floor`, because the short class was dropped there.
    pub resources: Vec<(String, Revision)>,
    /// Bytes ever dropped from history, by class.
    pub history_bytes: [u64; 2],
}

pub fn encode(tag: Tag, value: &impl Encode) -> Vec<u8> {
    let mut out = header(tag);
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

/// A version of an object: its head, then its body to the end of the frame.
pub fn encode_version(deleted: bool, head: &Head, body: &[u8]) -> Vec<u8> {
    let mut out = header(if deleted { Tag::DeletedVersion } else { Tag::LiveVersion });
    out.reserve(256 + body.len());
    bincode::encode_into_std_write(head, &mut out, CONFIG).expect("a head holds nothing that bincode cannot write");
    out.extend_from_slice(body);
    seal(out)
}

/// The inverse of [`encode_version`]: whether it is a deletion, the head, and where in the frame the body starts.
pub fn decode_version(frame: &[u8]) -> Result<(bool, Head, usize), CodecError> {
    let deleted = version_is_deleted(frame);
    let payload = open(if deleted { Tag::DeletedVersion } else { Tag::LiveVersion }, frame)?;
    let (head, read) =
        bincode::decode_from_slice(payload, CONFIG).map_err(|error| CodecError::Payload(error.to_string()))?;
    Ok((deleted, head, HEADER_BYTES + read))
}

/// Whether a version's frame is a deletion's; the frame itself is not checked.
pub fn version_is_deleted(frame: &[u8]) -> bool {
    frame.get(1) == Some(&(Tag::DeletedVersion as u8))
}

fn header(tag: Tag) -> Vec<u8> {
    vec![VERSION, tag as u8, 0, 0, 0, 0]
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
