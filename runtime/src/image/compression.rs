//! Tells gzip, zstd and plain data apart by their first bytes (media types lie), and decompresses.

use std::io::{self, BufReader, Cursor, Read};

use flate2::read::MultiGzDecoder;

/// How a stream is compressed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Compression {
    None,
    Gzip,
    Zstd,
    /// Known, but not read here: the name of the format.
    Unsupported(&'static str),
}

const SNIFF_BYTES: usize = 6;

impl Compression {
    pub fn of(start: &[u8]) -> Self {
        match start {
            [0x1f, 0x8b, ..] => Self::Gzip,
            [0x28, 0xb5, 0x2f, 0xfd, ..] => Self::Zstd,
            [0xfd, b'7', b'z', b'X', b'Z', 0, ..] => Self::Unsupported("xz"),
            [b'B', b'Z', b'h', ..] => Self::Unsupported("bzip2"),
            _ => Self::None,
        }
    }
}

/// A reader of the decompressed bytes, and what the compression was.
pub fn decompress<'a>(mut reader: impl Read + 'a) -> io::Result<(Box<dyn Read + 'a>, Compression)> {
    let mut start = Vec::with_capacity(SNIFF_BYTES);
    reader.by_ref().take(SNIFF_BYTES as u64).read_to_end(&mut start)?;
    let compression = Compression::of(&start);
    let whole = BufReader::with_capacity(64 << 10, Cursor::new(start).chain(reader));
    let decoder: Box<dyn Read> = match compression {
        Compression::None => Box::new(whole),
        Compression::Gzip => Box::new(MultiGzDecoder::new(whole)),
        Compression::Zstd => Box::new(zstd::stream::read::Decoder::with_buffer(whole)?),
        Compression::Unsupported(name) => {
            return Err(io::Error::new(
                io::ErrorKind::Unsupported,
                format!("{name} compression is not supported: decompress it, or use gzip or zstd"),
            ));
        }
    };
    Ok((decoder, compression))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::io::Write;

    use super::*;

    fn read_back(data: &[u8]) -> (String, Compression) {
        let (mut reader, compression) = decompress(data).unwrap();
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        (text, compression)
    }

    #[test]
    fn the_first_bytes_decide() {
        let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
        gzip.write_all(b"hello").unwrap();
        assert_eq!(read_back(&gzip.finish().unwrap()), ("hello".into(), Compression::Gzip));
        let zstd = zstd::stream::encode_all(&b"hello"[..], 1).unwrap();
        assert_eq!(read_back(&zstd), ("hello".into(), Compression::Zstd));
        assert_eq!(read_back(b"hello"), ("hello".into(), Compression::None));
        assert_eq!(read_back(b""), (String::new(), Compression::None));
        let error = decompress(&b"BZh91AY"[..]).map(|_| ()).unwrap_err();
        assert!(error.to_string().contains("bzip2"), "{error}");
    }
}
