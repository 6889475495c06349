//! Header blocks: names and values, compressed by zlib with a dictionary that both sides know.

use std::io;

use bytes::{Buf, BufMut, Bytes};
use flate2::{Compress, Compression, Decompress, FlushCompress, FlushDecompress};

use crate::server::limits::SPDY_HEADERS_BYTES_MAX;

/// Names in lower case, and values.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Headers(pub Vec<(String, String)>);

impl Headers {
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    fn parse(mut block: &[u8]) -> io::Result<Headers> {
        let short = |_| malformed("a header block ends too early");
        let word = |block: &mut &[u8]| -> io::Result<String> {
            let length = block.try_get_u32().map_err(short)? as usize;
            let text = block.get(..length).ok_or_else(|| malformed("a header block ends too early"))?;
            block.advance(length);
            Ok(String::from_utf8_lossy(text).into_owned())
        };
        let count = block.try_get_u32().map_err(short)?;
        let pairs: io::Result<Vec<_>> = (0..count).map(|_| Ok((word(&mut block)?, word(&mut block)?))).collect();
        Ok(Headers(pairs?))
    }

    fn encode(&self) -> Vec<u8> {
        let mut block = Vec::new();
        block.put_u32(self.0.len() as u32);
        for word in self.0.iter().flat_map(|(name, value)| [name, value]) {
            block.put_u32(word.len() as u32);
            block.put_slice(word.as_bytes());
        }
        block
    }
}

pub fn malformed(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("SPDY: {what}"))
}

/// The blocks of one direction, in order: each is compressed with what came before it.
pub struct Inflater {
    /// Below zlib's own framing, which here only names the dictionary.
    deflate: Decompress,
    begun: bool,
}

impl Inflater {
    pub fn new() -> Inflater {
        Inflater { deflate: Decompress::new(false), begun: false }
    }

    pub fn headers(&mut self, block: Bytes) -> io::Result<Headers> {
        let mut block = block;
        if !self.begun {
            self.begun = true;
            self.learn_dictionary()?;
            skip_zlib_header(&mut block)?;
        }
        let plain = self.inflate(&block)?;
        Headers::parse(&plain)
    }

    /// Passes the dictionary through as a block that is stored uncompressed: what follows may refer back to it.
    fn learn_dictionary(&mut self) -> io::Result<()> {
        let dictionary = dictionary();
        let length = u16::try_from(dictionary.len()).map_err(|_| malformed("the dictionary is too long"))?;
        let mut stored = vec![0];
        stored.put_u16_le(length);
        stored.put_u16_le(!length);
        stored.extend_from_slice(&dictionary);
        match self.inflate(&stored)? == dictionary {
            true => Ok(()),
            false => Err(malformed("the dictionary did not pass")),
        }
    }

    fn inflate(&mut self, block: &[u8]) -> io::Result<Vec<u8>> {
        let (mut plain, before) =
            (vec![0; SPDY_HEADERS_BYTES_MAX], (self.deflate.total_in(), self.deflate.total_out()));
        let status = self.deflate.decompress(block, &mut plain, FlushDecompress::Sync);
        status.map_err(|error| malformed(&format!("a header block is damaged: {error}")))?;
        let (read, written) =
            ((self.deflate.total_in() - before.0) as usize, (self.deflate.total_out() - before.1) as usize);
        if read < block.len() {
            return Err(malformed("a header block is too large"));
        }
        plain.truncate(written);
        Ok(plain)
    }
}

/// Two bytes of method and flags and, where the flags say so, four of the dictionary's checksum.
fn skip_zlib_header(block: &mut Bytes) -> io::Result<()> {
    const PRESET_DICTIONARY: u8 = 0x20;
    let flags = *block.get(1).ok_or_else(|| malformed("a header block is empty"))?;
    let length = if flags & PRESET_DICTIONARY == 0 { 2 } else { 6 };
    if block.len() < length {
        return Err(malformed("a header block is too short"));
    }
    block.advance(length);
    Ok(())
}

/// Compresses without the dictionary, which is allowed and costs a few bytes in answers that have no headers anyway.
pub struct Deflater(Compress);

impl Deflater {
    pub fn new() -> Deflater {
        Deflater(Compress::new(Compression::fast(), true))
    }

    pub fn block(&mut self, headers: &Headers) -> io::Result<Vec<u8>> {
        let plain = headers.encode();
        // Never much larger than what goes in; a flush and the first block's header take a few bytes.
        let mut block = Vec::with_capacity(plain.len() + 64);
        let compressed = self.0.compress_vec(&plain, &mut block, FlushCompress::Sync);
        compressed.map_err(|error| malformed(&format!("headers cannot be compressed: {error}")))?;
        Ok(block)
    }
}

/// SPDY/3's, as section 2.6.10.1 of its draft has it: words with their length before them, then text.
fn dictionary() -> Vec<u8> {
    let mut dictionary = Vec::new();
    for word in WORDS {
        dictionary.put_u32(word.len() as u32);
        dictionary.put_slice(word.as_bytes());
    }
    dictionary.put_slice(TEXT.as_bytes());
    dictionary
}

#[rustfmt::skip]
const WORDS: &[&str] = &[
    "options", "head", "post", "put", "delete", "trace", "accept", "accept-charset", "accept-encoding",
    "accept-language", "accept-ranges", "age", "allow", "authorization", "cache-control", "connection",
    "content-base", "content-encoding", "content-language", "content-length", "content-location", "content-md5",
    "content-range", "content-type", "date", "etag", "expect", "expires", "from", "host", "if-match",
    "if-modified-since", "if-none-match", "if-range", "if-unmodified-since", "last-modified", "location",
    "max-forwards", "pragma", "proxy-authenticate", "proxy-authorization", "range", "referer", "retry-after",
    "server", "te", "trailer", "transfer-encoding", "upgrade", "user-agent", "vary", "via", "warning",
    "www-authenticate", "method", "get", "status", "200 OK", "version", "HTTP/1.1", "url", "public", "set-cookie",
    "keep-alive", "origin",
];
const TEXT: &str = "100101201202205206300302303304305306307402405406407408409410411412413414415416417502504505\
    203 Non-Authoritative Information204 No Content301 Moved Permanently400 Bad Request401 Unauthorized\
    403 Forbidden404 Not Found500 Internal Server Error501 Not Implemented503 Service Unavailable\
    Jan Feb Mar Apr May Jun Jul Aug Sept Oct Nov Dec 00:00:00 Mon, Tue, Wed, Thu, Fri, Sat, Sun, GMT\
    chunked,text/html,image/png,image/jpg,image/gif,application/xml,application/xhtml+xml,text/plain,text/javascript,\
    publicprivatemax-age=gzip,deflate,sdchcharset=utf-8charset=iso-8859-1,utf-,*,enq=0.";

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(pairs: &[(&str, &str)]) -> Headers {
        Headers(pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect())
    }

    #[test]
    fn the_dictionary_is_the_one_that_clients_have() {
        let (mut a, mut b) = (1_u32, 0_u32);
        for byte in dictionary() {
            a = (a + u32::from(byte)) % 65_521;
            b = (b + a) % 65_521;
        }
        // Its Adler-32 checksum is how zlib streams name it.
        assert_eq!((dictionary().len(), b << 16 | a), (1_423, 0xe3c6_a7c2));
    }

    #[test]
    fn blocks_depend_on_those_before() {
        let (mut deflater, mut inflater) = (Deflater::new(), Inflater::new());
        for port in ["80", "443", "80", ""] {
            let sent = headers(&[("streamtype", "data"), ("port", port), ("requestid", "7")]);
            let block = deflater.block(&sent).unwrap();
            assert_eq!(inflater.headers(block.into()).unwrap(), sent);
        }
    }

    /// Compressed by another zlib, with the dictionary.
    #[test]
    fn blocks_that_refer_to_the_dictionary() {
        let blocks = BLOCKS.map(|hex| -> Vec<u8> {
            (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(&hex[at..at + 2], 16).unwrap()).collect()
        });
        let mut inflater = Inflater::new();
        let error = inflater.headers(blocks[0].clone().into()).unwrap();
        assert_eq!(
            error,
            headers(&[("streamtype", "error"), ("port", "8080"), ("requestid", "0"), ("host", "origin")])
        );
        let data = inflater.headers(blocks[1].clone().into()).unwrap();
        assert_eq!(data, headers(&[("streamtype", "data"), ("port", "8080"), ("requestid", "0"), ("host", "origin")]));
    }

    const BLOCKS: [&str; 2] = [
        "78f9e3c6a7c202256f703a2b294a4dcc851625aca9a0808614cb45e01c6061606100a4398b20d198094ade8c06480509343102000000ffff",
        "c26a1ca8644a24c73400000000ffff",
    ];

    #[test]
    fn damaged_blocks_are_refused() {
        for block in [&b""[..], b"\x78", b"\x78\xbb", b"\x78\x9c\xff\xff\xff", &[0; 64]] {
            assert!(Inflater::new().headers(Bytes::copy_from_slice(block)).is_err(), "{block:?}");
        }
        let huge = headers(&[("a", &"x".repeat(SPDY_HEADERS_BYTES_MAX))]);
        let block = Deflater::new().block(&huge);
        assert!(block.and_then(|block| Inflater::new().headers(block.into())).is_err());
    }
}
