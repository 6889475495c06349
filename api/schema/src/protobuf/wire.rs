//! Protobuf's wire format, without any idea of what the fields mean.

use crate::decode::DecodeError;

/// What stands behind a field number.
#[derive(Clone, Copy)]
pub enum Wire<'a> {
    Varint(u64),
    Fixed(u64),
    Bytes(&'a [u8]),
}

impl<'a> Wire<'a> {
    pub fn bytes(self) -> Result<&'a [u8], DecodeError> {
        match self {
            Wire::Bytes(bytes) => Ok(bytes),
            Wire::Varint(_) | Wire::Fixed(_) => Err(wrong_type()),
        }
    }

    pub fn varint(self) -> Result<u64, DecodeError> {
        match self {
            Wire::Varint(number) => Ok(number),
            Wire::Fixed(_) | Wire::Bytes(_) => Err(wrong_type()),
        }
    }

    pub fn fixed(self) -> Result<u64, DecodeError> {
        match self {
            Wire::Fixed(bits) => Ok(bits),
            Wire::Varint(_) | Wire::Bytes(_) => Err(wrong_type()),
        }
    }
}

fn wrong_type() -> DecodeError {
    DecodeError("proto: wrong wireType".to_owned())
}

fn cut_off() -> DecodeError {
    DecodeError("unexpected EOF".to_owned())
}

/// The fields of a message, in the order they stand in.
pub fn fields(mut bytes: &[u8]) -> impl Iterator<Item = Result<(u32, Wire<'_>), DecodeError>> {
    std::iter::from_fn(move || {
        if bytes.is_empty() {
            return None;
        }
        let field = field(&mut bytes);
        if field.is_err() {
            bytes = &[];
        }
        Some(field)
    })
}

fn field<'a>(bytes: &mut &'a [u8]) -> Result<(u32, Wire<'a>), DecodeError> {
    let tag = varint(bytes)?;
    let number = u32::try_from(tag >> 3).map_err(|_| wrong_type())?;
    let wire = match tag & 7 {
        0 => Wire::Varint(varint(bytes)?),
        1 => {
            let (bits, rest) = bytes.split_first_chunk::<8>().ok_or_else(cut_off)?;
            *bytes = rest;
            Wire::Fixed(u64::from_le_bytes(*bits))
        }
        2 => {
            let length = usize::try_from(varint(bytes)?).map_err(|_| cut_off())?;
            let (block, rest) = bytes.split_at_checked(length).ok_or_else(cut_off)?;
            *bytes = rest;
            Wire::Bytes(block)
        }
        _ => return Err(wrong_type()),
    };
    Ok((number, wire))
}

pub fn varint(bytes: &mut &[u8]) -> Result<u64, DecodeError> {
    let mut out = 0u64;
    for shift in (0..64).step_by(7) {
        let (first, rest) = bytes.split_first().ok_or_else(cut_off)?;
        *bytes = rest;
        out |= u64::from(first & 0x7f) << shift;
        if first & 0x80 == 0 {
            return Ok(out);
        }
    }
    Err(DecodeError("proto: integer overflow".to_owned()))
}

/// The last value of a field: later ones replace earlier ones.
pub fn last(bytes: &[u8], number: u32) -> Result<Option<Wire<'_>>, DecodeError> {
    let mut found = None;
    for field in fields(bytes) {
        let (one, wire) = field?;
        if one == number {
            found = Some(wire);
        }
    }
    Ok(found)
}

pub fn text_of(bytes: &[u8], number: u32) -> Result<String, DecodeError> {
    last(bytes, number)?.map_or(Ok(String::new()), |wire| utf8(wire.bytes()?))
}

pub fn number_of(bytes: &[u8], number: u32) -> Result<i64, DecodeError> {
    last(bytes, number)?.map_or(Ok(0), |wire| wire.varint().map(u64::cast_signed))
}

pub fn utf8(bytes: &[u8]) -> Result<String, DecodeError> {
    let text = std::str::from_utf8(bytes).map_err(|_| DecodeError("proto: invalid UTF-8 string".to_owned()))?;
    Ok(text.to_owned())
}

const VARINT_BYTES_MAX: usize = 10;

pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

fn put_tag(out: &mut Vec<u8>, number: u32, wire: u8) {
    put_varint(out, u64::from(number) << 3 | u64::from(wire));
}

pub fn put_number(out: &mut Vec<u8>, number: u32, value: u64) {
    put_tag(out, number, 0);
    put_varint(out, value);
}

pub fn put_fixed(out: &mut Vec<u8>, number: u32, bits: u64) {
    put_tag(out, number, 1);
    out.extend_from_slice(&bits.to_le_bytes());
}

pub fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_tag(out, number, 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

/// A message within the message. It is written in its place, and moved where its length turns out to need more room than
/// one byte: that is cheaper than to measure everything first.
pub fn put_message<E>(
    out: &mut Vec<u8>,
    number: u32,
    write: impl FnOnce(&mut Vec<u8>) -> Result<(), E>,
) -> Result<(), E> {
    put_tag(out, number, 2);
    let start = out.len() + 1;
    out.push(0);
    write(out)?;
    let length = out.len() - start;
    if length < 0x80 {
        out[start - 1] = length as u8;
        return Ok(());
    }
    let mut prefix = Vec::with_capacity(VARINT_BYTES_MAX);
    put_varint(&mut prefix, length as u64);
    out.splice(start - 1..start, prefix);
    Ok(())
}
