//! Frames on the wire: a word that says control or data, flags, a length, and what they are about.

use std::io;

use bytes::{Buf, BufMut, Bytes, BytesMut};
use tokio_util::codec::{Decoder, Encoder};

use super::headers::{Deflater, Headers, Inflater, malformed};
use crate::server::limits::SPDY_FRAME_BYTES_MAX;

const CONTROL: u32 = 0x8000_0000;
const VERSION: u32 = 3;
const FIN: u8 = 1;
const HEAD_BYTES: usize = 8;

const SYN_STREAM: u16 = 1;
const SYN_REPLY: u16 = 2;
const RST_STREAM: u16 = 3;
const PING: u16 = 6;
const GOAWAY: u16 = 7;
const HEADERS: u16 = 8;

/// `RST_STREAM` with this status says that the stream is no longer wanted.
const CANCEL: u32 = 5;

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Frame {
    /// The sender opens a stream; with `fin` it will send nothing on it.
    Open { stream: u32, fin: bool, headers: Headers },
    /// The stream is accepted.
    Accepted { stream: u32 },
    /// With `fin` the last of its direction.
    Data { stream: u32, fin: bool, bytes: Bytes },
    /// The stream ends at once, in both directions.
    Reset { stream: u32 },
    /// To be sent back.
    Ping { id: u32 },
    /// No stream will be opened any more.
    GoAway,
    /// Of no use here: settings, windows, further headers.
    Other,
}

/// Both directions of one connection.
pub struct Codec {
    inflater: Inflater,
    deflater: Deflater,
}

impl Codec {
    pub fn new() -> Codec {
        Codec { inflater: Inflater::new(), deflater: Deflater::new() }
    }

    fn control(&mut self, kind: u16, flags: u8, mut body: Bytes) -> io::Result<Frame> {
        let short = |_| malformed("a frame is too short");
        let fin = flags & FIN != 0;
        Ok(match kind {
            SYN_STREAM => {
                let stream = id(body.try_get_u32().map_err(short)?)?;
                // The stream it belongs to, its priority and its slot.
                body.try_get_u32().map_err(short)?;
                body.try_get_u16().map_err(short)?;
                Frame::Open { stream, fin, headers: self.inflater.headers(body)? }
            }
            SYN_REPLY | HEADERS => {
                let stream = id(body.try_get_u32().map_err(short)?)?;
                // Read for what later blocks refer to.
                self.inflater.headers(body)?;
                if kind == SYN_REPLY { Frame::Accepted { stream } } else { Frame::Other }
            }
            RST_STREAM => Frame::Reset { stream: id(body.try_get_u32().map_err(short)?)? },
            PING => Frame::Ping { id: body.try_get_u32().map_err(short)? },
            GOAWAY => Frame::GoAway,
            _ => Frame::Other,
        })
    }
}

fn id(word: u32) -> io::Result<u32> {
    match word & !CONTROL {
        0 => Err(malformed("there is no stream 0")),
        id => Ok(id),
    }
}

impl Decoder for Codec {
    type Item = Frame;
    type Error = io::Error;

    fn decode(&mut self, buffer: &mut BytesMut) -> io::Result<Option<Frame>> {
        if buffer.len() < HEAD_BYTES {
            return Ok(None);
        }
        let mut head = &buffer[..HEAD_BYTES];
        let (word, flags_and_length) = (head.get_u32(), head.get_u32());
        let (flags, length) = ((flags_and_length >> 24) as u8, (flags_and_length & 0x00ff_ffff) as usize);
        if length > SPDY_FRAME_BYTES_MAX {
            return Err(malformed(&format!("a frame has {length} bytes, at most {SPDY_FRAME_BYTES_MAX} are taken")));
        }
        if buffer.len() < HEAD_BYTES + length {
            buffer.reserve(HEAD_BYTES + length - buffer.len());
            return Ok(None);
        }
        buffer.advance(HEAD_BYTES);
        let body = buffer.split_to(length).freeze();
        if word & CONTROL == 0 {
            return Ok(Some(Frame::Data { stream: id(word)?, fin: flags & FIN != 0, bytes: body }));
        }
        if word >> 16 & 0x7fff != VERSION {
            return Err(malformed("a frame is of another version than 3"));
        }
        self.control((word & 0xffff) as u16, flags, body).map(Some)
    }
}

impl Encoder<Frame> for Codec {
    type Error = io::Error;

    fn encode(&mut self, frame: Frame, buffer: &mut BytesMut) -> io::Result<()> {
        let flags = |fin: bool| if fin { FIN } else { 0 };
        match frame {
            Frame::Open { stream, fin, headers } => {
                let block = self.deflater.block(&headers)?;
                put_control(buffer, SYN_STREAM, flags(fin), 10 + block.len());
                buffer.put_u32(stream);
                buffer.put_u32(0);
                buffer.put_u16(0);
                buffer.put_slice(&block);
            }
            Frame::Accepted { stream } => {
                let block = self.deflater.block(&Headers::default())?;
                put_control(buffer, SYN_REPLY, 0, 4 + block.len());
                buffer.put_u32(stream);
                buffer.put_slice(&block);
            }
            Frame::Data { stream, fin, bytes } => {
                buffer.reserve(HEAD_BYTES + bytes.len());
                buffer.put_u32(stream);
                put_flags_and_length(buffer, flags(fin), bytes.len());
                buffer.put_slice(&bytes);
            }
            Frame::Reset { stream } => {
                put_control(buffer, RST_STREAM, 0, 8);
                buffer.put_u32(stream);
                buffer.put_u32(CANCEL);
            }
            Frame::Ping { id } => {
                put_control(buffer, PING, 0, 4);
                buffer.put_u32(id);
            }
            Frame::GoAway => {
                put_control(buffer, GOAWAY, 0, 8);
                buffer.put_u64(0);
            }
            Frame::Other => {}
        }
        Ok(())
    }
}

fn put_control(buffer: &mut BytesMut, kind: u16, flags: u8, length: usize) {
    buffer.put_u32(CONTROL | VERSION << 16 | u32::from(kind));
    put_flags_and_length(buffer, flags, length);
}

fn put_flags_and_length(buffer: &mut BytesMut, flags: u8, length: usize) {
    assert!(length <= SPDY_FRAME_BYTES_MAX, "frames are made of pieces that are smaller");
    buffer.put_u32(u32::from(flags) << 24 | length as u32);
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn frames_are_read_as_they_were_written() {
        let headers = Headers(vec![("streamtype".to_owned(), "stdin".to_owned())]);
        let frames = [
            Frame::Open { stream: 1, fin: false, headers: headers.clone() },
            Frame::Open { stream: 3, fin: true, headers },
            Frame::Accepted { stream: 3 },
            Frame::Data { stream: 1, fin: false, bytes: "hello".into() },
            Frame::Data { stream: 1, fin: true, bytes: Bytes::new() },
            Frame::Reset { stream: 3 },
            Frame::Ping { id: 1 },
            Frame::GoAway,
        ];
        let (mut ours, mut theirs, mut wire) = (Codec::new(), Codec::new(), BytesMut::new());
        for frame in frames.clone() {
            ours.encode(frame, &mut wire).unwrap();
        }
        // Byte by byte: nothing is read before it is whole.
        let (mut arrived, mut read) = (BytesMut::new(), Vec::new());
        for byte in wire {
            arrived.put_u8(byte);
            read.extend(theirs.decode(&mut arrived).unwrap());
        }
        assert_eq!(read, frames);
        assert!(arrived.is_empty());
    }

    #[test]
    fn frames_that_break_the_rules() {
        let table: [&[u8]; 5] = [
            b"\x80\x02\x00\x06\x00\x00\x00\x04\x00\x00\x00\x01",
            b"\x00\x00\x00\x00\x00\x00\x00\x00",
            b"\x00\x00\x00\x01\x00\xff\xff\xff",
            b"\x80\x03\x00\x01\x00\x00\x00\x02\x00\x00",
            b"\x80\x03\x00\x03\x00\x00\x00\x00",
        ];
        for wire in table {
            assert!(Codec::new().decode(&mut wire.into()).is_err(), "{wire:?}");
        }
        let mut settings = BytesMut::from(&b"\x80\x03\x00\x04\x00\x00\x00\x04\x00\x00\x00\x00"[..]);
        assert_eq!(Codec::new().decode(&mut settings).unwrap(), Some(Frame::Other));
    }
}
