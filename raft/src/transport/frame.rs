//! One message: `length:u32le · id:u64le · kind:u8 · crc32:u32le · payload`. The checksum covers id, kind and payload.

use std::io;

use bytes::Bytes;
use tokio::io::{AsyncRead, AsyncReadExt};

use crate::limits::FRAME_BYTES_MAX;

const HEADER_BYTES: usize = 4 + 8 + 1 + 4;

/// Kinds of the transport's own; what it carries has kinds below these.
pub const PING: u8 = 0xf0;
pub const PONG: u8 = 0xf1;
/// From the answering side: it will answer what it was sent, and wants no more.
pub const LEAVING: u8 = 0xf2;

/// A request or its answer, which bears the same number.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Frame {
    pub id: u64,
    pub kind: u8,
    pub payload: Bytes,
}

/// Appends a frame to what is to be written.
pub fn put(out: &mut Vec<u8>, id: u64, kind: u8, payload: &[u8]) {
    assert!(payload.len() <= FRAME_BYTES_MAX, "what is sent was bounded before");
    let length = u32::try_from(payload.len()).expect("a frame's length fits");
    out.reserve(HEADER_BYTES + payload.len());
    out.extend_from_slice(&length.to_le_bytes());
    out.extend_from_slice(&id.to_le_bytes());
    out.push(kind);
    out.extend_from_slice(&checksum(id, kind, payload).to_le_bytes());
    out.extend_from_slice(payload);
}

/// The next frame; `None` at an end between two frames. Not cancel safe.
pub async fn read(stream: &mut (impl AsyncRead + Unpin)) -> io::Result<Option<Frame>> {
    let mut header = [0; HEADER_BYTES];
    if stream.read(&mut header[..1]).await? == 0 {
        return Ok(None);
    }
    stream.read_exact(&mut header[1..]).await?;
    let [l0, l1, l2, l3, rest @ ..] = header;
    let length = u32::from_le_bytes([l0, l1, l2, l3]) as usize;
    let [i0, i1, i2, i3, i4, i5, i6, i7, kind, c0, c1, c2, c3] = rest;
    let (id, sum) = (u64::from_le_bytes([i0, i1, i2, i3, i4, i5, i6, i7]), u32::from_le_bytes([c0, c1, c2, c3]));
    if length > FRAME_BYTES_MAX {
        return Err(damaged(format!("a frame of {length} bytes; the limit is {FRAME_BYTES_MAX}")));
    }
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await?;
    let computed = checksum(id, kind, &payload);
    if computed != sum {
        return Err(damaged(format!("a frame whose checksum is {sum:08x} and whose content gives {computed:08x}")));
    }
    Ok(Some(Frame { id, kind, payload: payload.into() }))
}

pub fn damaged(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

fn checksum(id: u64, kind: u8, payload: &[u8]) -> u32 {
    let mut hasher = crc32fast::Hasher::new();
    hasher.update(&id.to_le_bytes());
    hasher.update(&[kind]);
    hasher.update(payload);
    hasher.finalize()
}
