//! etcd's `KV.Put`, by hand: a gRPC message is five bytes of prefix and a protobuf of two fields. The same bytes go to etcd and
//! to the log server, so that neither is measured through a lighter protocol.

use anyhow::{Context, Result, ensure};
use bytes::{BufMut, Bytes, BytesMut};

pub const PUT: &str = "/etcdserverpb.KV/Put";
pub const CONTENT_TYPE: &str = "application/grpc";

/// Not compressed, then the length of the message.
const PREFIX_BYTES: usize = 5;
/// Field numbers 1 and 2, both length-delimited.
const KEY_TAG: u8 = 0x0a;
const VALUE_TAG: u8 = 0x12;
const VARINT_BYTES_MAX: usize = 10;

/// A framed `PutRequest`.
pub fn put_request(key: &[u8], value: &[u8]) -> Bytes {
    let mut out = BytesMut::with_capacity(PREFIX_BYTES + 2 + 2 * VARINT_BYTES_MAX + key.len() + value.len());
    out.put_bytes(0, PREFIX_BYTES);
    for (tag, field) in [(KEY_TAG, key), (VALUE_TAG, value)] {
        out.put_u8(tag);
        put_varint(&mut out, field.len());
        out.put_slice(field);
    }
    let length = u32::try_from(out.len() - PREFIX_BYTES).expect("a request is far below 4 GiB");
    out[1..PREFIX_BYTES].copy_from_slice(&length.to_be_bytes());
    out.freeze()
}

/// A framed empty message: `PutResponse` with every field at its default.
pub fn empty_message() -> Bytes {
    Bytes::from_static(&[0; PREFIX_BYTES])
}

/// Key and value of a framed `PutRequest`.
pub fn read_put_request(framed: &[u8]) -> Result<(&[u8], &[u8])> {
    ensure!(framed.len() >= PREFIX_BYTES && framed[0] == 0, "not one uncompressed message");
    let mut rest = &framed[PREFIX_BYTES..];
    let (mut key, mut value) = (&[][..], &[][..]);
    while let Some((tag, after)) = rest.split_first() {
        let (length, after) = read_varint(after)?;
        let (field, after) = after.split_at_checked(length).context("a field is cut short")?;
        match *tag {
            KEY_TAG => key = field,
            VALUE_TAG => value = field,
            other => anyhow::bail!("a field with tag {other} that the benchmark does not send"),
        }
        rest = after;
    }
    Ok((key, value))
}

fn put_varint(out: &mut BytesMut, mut number: usize) {
    while number >= 0x80 {
        out.put_u8((number & 0x7f) as u8 | 0x80);
        number >>= 7;
    }
    out.put_u8(number as u8);
}

fn read_varint(bytes: &[u8]) -> Result<(usize, &[u8])> {
    let mut number = 0;
    for (at, byte) in bytes.iter().enumerate().take(VARINT_BYTES_MAX - 1) {
        number |= usize::from(byte & 0x7f) << (7 * at);
        if byte & 0x80 == 0 {
            return Ok((number, &bytes[at + 1..]));
        }
    }
    anyhow::bail!("a length without an end");
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn a_request_is_what_protobuf_says() {
        assert_eq!(put_request(b"k", b"vv").as_ref(), b"\0\0\0\0\x07\x0a\x01k\x12\x02vv");
    }

    #[test]
    fn requests_read_back_and_cut_ones_are_refused() {
        let value = vec![7; 1_000];
        let request = put_request(b"a/key", &value);
        assert_eq!(read_put_request(&request).unwrap(), (&b"a/key"[..], &value[..]));
        for cut in 1..request.len() {
            // A message that ends behind its first field is a whole one without the second.
            let after_key = PREFIX_BYTES + 2 + b"a/key".len();
            assert_eq!(read_put_request(&request[..cut]).is_ok(), cut == PREFIX_BYTES || cut == after_key, "{cut}");
        }
    }
}
