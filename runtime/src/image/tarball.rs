//! Reads tar archives entry by entry in bounded memory: ustar, GNU (long names, sparse) and PAX.
//! Knows nothing of layers and writes nothing.
//!
//! The `tar` crate supplies the header fields. Its own iterator is not used: it reads extension headers of any size into
//! memory and cuts PAX records at newlines, which binary values such as `security.capability` contain.

use std::{
    collections::BTreeMap,
    io::{self, Read},
};

use tar::{EntryType, GnuExtSparseHeader, Header};

use super::{
    error::ImageError,
    limits::{TAR_EXTENSION_BYTES_MAX, TAR_SPARSE_SEGMENTS_MAX},
};

const BLOCK: u64 = 512;

/// Reading that can jump over data where the source is a file.
pub trait Source: Read + Sized {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let skipped = io::copy(&mut self.by_ref().take(bytes), &mut io::sink())?;
        if skipped < bytes { Err(io::ErrorKind::UnexpectedEof.into()) } else { Ok(()) }
    }
}

impl Source for Box<dyn Read + '_> {}
impl Source for &[u8] {}
impl<R: Read> Source for super::digest::HashingReader<R> {}
impl Source for io::BufReader<std::fs::File> {
    fn skip(&mut self, bytes: u64) -> io::Result<()> {
        let offset = i64::try_from(bytes).map_err(io::Error::other)?;
        self.seek_relative(offset)
    }
}

/// What an entry is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Kind {
    File,
    Directory,
    HardLink,
    Symlink,
    CharDevice { major: u32, minor: u32 },
    BlockDevice { major: u32, minor: u32 },
    Fifo,
}

/// One entry, its extension headers already applied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub path: Vec<u8>,
    pub kind: Kind,
    /// Target of a hard or symbolic link.
    pub link: Vec<u8>,
    pub mode: u32,
    pub uid: u32,
    pub gid: u32,
    /// Seconds and nanoseconds.
    pub mtime: (i64, u32),
    /// Size of the file as it will be seen.
    pub size: u64,
    pub xattrs: Vec<Record>,
    /// `(offset, length)` of the data segments of a sparse file.
    pub sparse: Option<Vec<(u64, u64)>>,
    /// Where the entry's data begins in the archive.
    pub data_offset: u64,
    /// Bytes of data in the archive.
    pub data_bytes: u64,
}

/// What comes before an entry and belongs to it.
#[derive(Default)]
struct Extensions {
    long_name: Option<Vec<u8>>,
    long_link: Option<Vec<u8>>,
    pax: Vec<Record>,
}

/// Key and value of a PAX header.
pub type Record = (Vec<u8>, Vec<u8>);

/// A tar archive being read.
pub struct TarReader<R> {
    source: R,
    position: u64,
    /// Data, and then padding, of the current entry that was not read yet.
    data_left: u64,
    padding_left: u64,
    global: BTreeMap<Vec<u8>, Vec<u8>>,
    entries: u64,
}

impl<R: Source> TarReader<R> {
    pub fn new(source: R) -> Self {
        Self { source, position: 0, data_left: 0, padding_left: 0, global: BTreeMap::new(), entries: 0 }
    }

    /// The source, to read what stands behind the archive's end.
    pub fn into_inner(self) -> R {
        self.source
    }

    /// The next entry; `None` at the archive's end mark. Data of the entry before is skipped.
    pub fn next_entry(&mut self) -> Result<Option<Entry>, ImageError> {
        let mut extensions = Extensions::default();
        loop {
            self.finish_entry()?;
            let Some(header) = self.header()? else { return Ok(None) };
            let kind = header.entry_type();
            if kind.is_gnu_longname() {
                extensions.long_name = Some(strip_nul(self.extension(&header)?));
            } else if kind.is_gnu_longlink() {
                extensions.long_link = Some(strip_nul(self.extension(&header)?));
            } else if kind.is_pax_local_extensions() {
                extensions.pax = parse_pax(&self.extension(&header)?)?;
            } else if kind.is_pax_global_extensions() {
                let records = parse_pax(&self.extension(&header)?)?;
                self.global.extend(records);
            } else if kind.as_byte() == b'V' {
                self.open_data(number(header.entry_size(), "size")?)?;
            } else {
                return self.entry(header, extensions).map(Some);
            }
        }
    }

    /// Reads data of the current entry; 0 at its end.
    pub fn read_data(&mut self, buffer: &mut [u8]) -> Result<usize, ImageError> {
        if self.data_left == 0 || buffer.is_empty() {
            return Ok(0);
        }
        let want = buffer.len().min(usize::try_from(self.data_left).unwrap_or(usize::MAX));
        let n = self.source.read(&mut buffer[..want]).map_err(reading)?;
        if n == 0 {
            return Err(self.truncated());
        }
        self.data_left -= n as u64;
        self.position += n as u64;
        Ok(n)
    }

    fn finish_entry(&mut self) -> Result<(), ImageError> {
        let left = self.data_left + self.padding_left;
        if left > 0 {
            self.source
                .skip(left)
                .map_err(|e| if e.kind() == io::ErrorKind::UnexpectedEof { self.truncated() } else { reading(e) })?;
            self.position += left;
        }
        (self.data_left, self.padding_left) = (0, 0);
        Ok(())
    }

    fn open_data(&mut self, bytes: u64) -> Result<(), ImageError> {
        let padding = (BLOCK - bytes % BLOCK) % BLOCK;
        if self.position.checked_add(bytes).and_then(|end| end.checked_add(padding)).is_none() {
            return Err(ImageError::BadArchive("an entry's size is beyond all limits".into()));
        }
        (self.data_left, self.padding_left) = (bytes, padding);
        Ok(())
    }

    fn block(&mut self) -> Result<Option<[u8; BLOCK as usize]>, ImageError> {
        let mut block = [0; BLOCK as usize];
        let mut filled = 0;
        while filled < block.len() {
            match self.source.read(&mut block[filled..]).map_err(reading)? {
                0 if filled == 0 => return Ok(None),
                0 => return Err(self.truncated()),
                n => filled += n,
            }
        }
        self.position += BLOCK;
        Ok(Some(block))
    }

    fn header(&mut self) -> Result<Option<Header>, ImageError> {
        let Some(block) = self.block()? else {
            // Nothing at all is an empty file; something without the end mark was cut off.
            return if self.position == 0 { Ok(None) } else { Err(self.truncated()) };
        };
        if block.iter().all(|b| *b == 0) {
            return Ok(None);
        }
        let header = Header::from_byte_slice(&block).clone();
        let sum = block[..148].iter().chain(&block[156..]).map(|b| u32::from(*b)).sum::<u32>() + 8 * u32::from(b' ');
        match header.cksum() {
            Ok(expected) if expected == sum => {}
            _ if self.entries == 0 => {
                return Err(ImageError::NotAnImage { path: "input".into(), why: "it is not a tar archive".into() });
            }
            _ => return Err(ImageError::BadArchive(format!("bad header checksum at byte {}", self.position - BLOCK))),
        }
        self.entries += 1;
        Ok(Some(header))
    }

    fn extension(&mut self, header: &Header) -> Result<Vec<u8>, ImageError> {
        let bytes = number(header.entry_size(), "size")?;
        if bytes > TAR_EXTENSION_BYTES_MAX {
            return Err(ImageError::TooLarge {
                what: "a tar extension header".into(),
                limit: format!("{TAR_EXTENSION_BYTES_MAX} bytes"),
            });
        }
        self.open_data(bytes)?;
        let mut data = vec![0; usize::try_from(bytes).expect("bounded above")];
        let mut filled = 0;
        while filled < data.len() {
            filled += self.read_data(&mut data[filled..])?;
        }
        Ok(data)
    }

    fn entry(&mut self, header: Header, extensions: Extensions) -> Result<Entry, ImageError> {
        let mut pax = self.global.clone();
        pax.extend(extensions.pax.iter().cloned());
        let text = |key: &str| pax.get(key.as_bytes());
        let parsed =
            |key: &str| text(key).and_then(|v| std::str::from_utf8(v).ok()).and_then(|v| v.trim().parse::<u64>().ok());

        let path = text("GNU.sparse.name")
            .cloned()
            .or(extensions.long_name)
            .or_else(|| text("path").cloned())
            .unwrap_or_else(|| header.path_bytes().into_owned());
        let kind = kind_of(&header, &path)?;
        let link = extensions
            .long_link
            .or_else(|| text("linkpath").cloned())
            .or_else(|| header.link_name_bytes().map(|name| name.into_owned()))
            .unwrap_or_default();
        // As Go's reader does: only files have data, whatever the size field says.
        let data_bytes = match kind {
            Kind::File => parsed("size").map_or_else(|| number(header.entry_size(), "size"), Ok)?,
            _ => 0,
        };
        self.open_data(data_bytes)?;
        let xattrs = pax
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix(b"SCHILY.xattr.")?.to_vec(), value.clone())))
            .collect();
        let mut entry = Entry {
            path,
            link,
            mode: number(header.mode(), "mode")? & 0o7777,
            uid: id(parsed("uid").map_or_else(|| number(header.uid(), "uid"), Ok)?)?,
            gid: id(parsed("gid").map_or_else(|| number(header.gid(), "gid"), Ok)?)?,
            mtime: text("mtime").and_then(|v| pax_time(v)).unwrap_or_else(|| (header_time(&header), 0)),
            size: data_bytes,
            xattrs,
            sparse: None,
            data_offset: self.position,
            data_bytes,
            kind,
        };
        if header.entry_type().is_gnu_sparse() {
            self.old_gnu_sparse(&header, &mut entry)?;
        } else if entry.kind == Kind::File {
            self.pax_sparse(&pax, &extensions.pax, &mut entry)?;
        }
        Ok(entry)
    }

    fn old_gnu_sparse(&mut self, header: &Header, entry: &mut Entry) -> Result<(), ImageError> {
        let bad = || ImageError::BadArchive("sparse entry without a GNU header".into());
        let gnu = header.as_gnu().ok_or_else(bad)?;
        let mut segments = Vec::new();
        let mut push = |blocks: &[tar::GnuSparseHeader]| -> Result<(), ImageError> {
            for block in blocks.iter().filter(|block| !block.is_empty()) {
                segments.push((number(block.offset(), "sparse offset")?, number(block.length(), "sparse length")?));
                sparse_limit(segments.len())?;
            }
            Ok(())
        };
        push(&gnu.sparse)?;
        let mut more = gnu.is_extended();
        while more {
            // The extension blocks stand between the header and the data and are not counted by its size.
            let block = self.block()?.ok_or_else(|| ImageError::Truncated("in a sparse map".into()))?;
            let mut extended = GnuExtSparseHeader::new();
            extended.as_mut_bytes().copy_from_slice(&block);
            push(extended.sparse())?;
            more = extended.is_extended();
        }
        entry.data_offset = self.position;
        entry.size = number(gnu.real_size(), "real size")?;
        set_sparse(entry, segments)
    }

    fn pax_sparse(
        &mut self,
        pax: &BTreeMap<Vec<u8>, Vec<u8>>,
        records: &[Record],
        entry: &mut Entry,
    ) -> Result<(), ImageError> {
        let get = |key: &str| pax.get(key.as_bytes()).and_then(|v| std::str::from_utf8(v).ok());
        let bad = || ImageError::BadArchive("malformed sparse map".into());
        let parse = |text: &str| text.parse::<u64>().map_err(|_| bad());
        let numbers: Vec<u64> = if get("GNU.sparse.major") == Some("1") {
            self.sparse_map_in_data()?
        } else if let Some(map) = get("GNU.sparse.map") {
            map.split(',').map(parse).collect::<Result<_, _>>()?
        } else if get("GNU.sparse.numblocks").is_some() {
            // Version 0.0 repeats its two keys, so the records' order matters.
            let part = |(key, _): &&Record| key == b"GNU.sparse.offset" || key == b"GNU.sparse.numbytes";
            let value = |(_, value): &Record| parse(std::str::from_utf8(value).map_err(|_| bad())?);
            records.iter().filter(part).map(value).collect::<Result<_, _>>()?
        } else {
            return Ok(());
        };
        let size = get("GNU.sparse.realsize").or_else(|| get("GNU.sparse.size")).ok_or_else(bad)?;
        if !numbers.len().is_multiple_of(2) {
            return Err(bad());
        }
        sparse_limit(numbers.len() / 2)?;
        entry.size = parse(size)?;
        entry.data_offset = self.position;
        entry.data_bytes = self.data_left;
        set_sparse(entry, numbers.chunks_exact(2).map(|pair| (pair[0], pair[1])).collect())
    }

    /// Version 1.0: decimal lines at the head of the data, padded to a block.
    fn sparse_map_in_data(&mut self) -> Result<Vec<u64>, ImageError> {
        let bad = || ImageError::BadArchive("malformed sparse map".into());
        let mut numbers = Vec::new();
        let mut line = String::new();
        let mut expected = None;
        loop {
            let mut block = [0; BLOCK as usize];
            let mut filled = 0;
            while filled < block.len() {
                match self.read_data(&mut block[filled..])? {
                    0 => return Err(bad()),
                    n => filled += n,
                }
            }
            for byte in block {
                if byte != b'\n' {
                    line.push(char::from(byte));
                    if line.len() > 20 {
                        return Err(bad());
                    }
                    continue;
                }
                let value: u64 = line.parse().map_err(|_| bad())?;
                line.clear();
                match expected {
                    None => {
                        sparse_limit(usize::try_from(value).unwrap_or(usize::MAX))?;
                        expected = Some(2 * usize::try_from(value).expect("bounded above"));
                    }
                    Some(_) => numbers.push(value),
                }
                if expected == Some(numbers.len()) {
                    return Ok(numbers);
                }
            }
        }
    }

    fn truncated(&self) -> ImageError {
        ImageError::Truncated(format!("it ends at byte {} without an end mark", self.position))
    }
}

fn kind_of(header: &Header, path: &[u8]) -> Result<Kind, ImageError> {
    let device = || -> Result<(u32, u32), ImageError> {
        Ok((
            number(header.device_major(), "device")?.unwrap_or_default(),
            number(header.device_minor(), "device")?.unwrap_or_default(),
        ))
    };
    Ok(match header.entry_type() {
        // Before POSIX a directory was a file whose name ends in a slash.
        EntryType::Regular if path.ends_with(b"/") => Kind::Directory,
        EntryType::Regular | EntryType::Continuous | EntryType::GNUSparse => Kind::File,
        EntryType::Directory => Kind::Directory,
        EntryType::Link => Kind::HardLink,
        EntryType::Symlink => Kind::Symlink,
        EntryType::Fifo => Kind::Fifo,
        EntryType::Char => device().map(|(major, minor)| Kind::CharDevice { major, minor })?,
        EntryType::Block => device().map(|(major, minor)| Kind::BlockDevice { major, minor })?,
        other => {
            return Err(ImageError::BadArchive(format!(
                "entry {:?} has the unknown type {:?}",
                String::from_utf8_lossy(path),
                char::from(other.as_byte())
            )));
        }
    })
}

/// PAX records: `length key=value\n`, the length in bytes, so that values may hold anything.
fn parse_pax(mut data: &[u8]) -> Result<Vec<Record>, ImageError> {
    let bad = || ImageError::BadArchive("malformed PAX header".into());
    let mut records = Vec::new();
    while !data.is_empty() {
        let space = data.iter().position(|b| *b == b' ').ok_or_else(bad)?;
        let length: usize = std::str::from_utf8(&data[..space]).ok().and_then(|n| n.parse().ok()).ok_or_else(bad)?;
        let record = data.get(space + 1..length).and_then(|r| r.strip_suffix(b"\n")).ok_or_else(bad)?;
        let equals = record.iter().position(|b| *b == b'=').ok_or_else(bad)?;
        records.push((record[..equals].to_vec(), record[equals + 1..].to_vec()));
        data = &data[length..];
    }
    Ok(records)
}

fn set_sparse(entry: &mut Entry, mut segments: Vec<(u64, u64)>) -> Result<(), ImageError> {
    // The last one, of length 0, only marks the file's end.
    segments.retain(|(_, length)| *length > 0);
    let mut end = 0;
    let mut data = 0;
    for (offset, length) in &segments {
        let next = offset.checked_add(*length).filter(|next| *offset >= end && *next <= entry.size);
        end = next.ok_or_else(|| ImageError::BadArchive("sparse map overlaps or exceeds the file".into()))?;
        data += length;
    }
    if data != entry.data_bytes {
        return Err(ImageError::BadArchive(format!("sparse map has {data} bytes, the entry {}", entry.data_bytes)));
    }
    entry.sparse = Some(segments);
    Ok(())
}

fn sparse_limit(segments: usize) -> Result<(), ImageError> {
    if segments > TAR_SPARSE_SEGMENTS_MAX {
        return Err(ImageError::TooLarge {
            what: "the map of a sparse file".into(),
            limit: format!("{TAR_SPARSE_SEGMENTS_MAX} segments"),
        });
    }
    Ok(())
}

fn pax_time(value: &[u8]) -> Option<(i64, u32)> {
    let text = std::str::from_utf8(value).ok()?;
    let (seconds, fraction) = text.split_once('.').unwrap_or((text, ""));
    let negative = seconds.starts_with('-');
    let seconds: i64 = seconds.parse().ok()?;
    let nanoseconds: u32 = format!("{fraction:0<9}").get(..9)?.parse().ok()?;
    match (negative, nanoseconds) {
        (true, 1..) => Some((seconds - 1, 1_000_000_000 - nanoseconds)),
        _ => Some((seconds, nanoseconds)),
    }
}

fn header_time(header: &Header) -> i64 {
    header.mtime().ok().and_then(|time| i64::try_from(time).ok()).unwrap_or_default()
}

fn number<T>(field: io::Result<T>, what: &str) -> Result<T, ImageError> {
    field.map_err(|_| ImageError::BadArchive(format!("an entry's {what} is not a number")))
}

fn id(value: u64) -> Result<u32, ImageError> {
    u32::try_from(value).map_err(|_| ImageError::BadArchive(format!("user or group {value} is out of range")))
}

fn strip_nul(mut name: Vec<u8>) -> Vec<u8> {
    while name.last() == Some(&0) {
        name.pop();
    }
    name
}

/// Decompressors and limits speak through `io::Error`: tell cut off, damaged and too large apart again.
pub fn reading(error: io::Error) -> ImageError {
    if error.get_ref().is_some_and(|inner| inner.is::<super::digest::TooMuch>()) {
        return ImageError::TooLarge {
            what: "the image".into(),
            limit: format!("{} GiB", super::limits::IMAGE_BYTES_MAX >> 30),
        };
    }
    match error.kind() {
        io::ErrorKind::UnexpectedEof => ImageError::Truncated("compressed data ends too early".into()),
        io::ErrorKind::InvalidData | io::ErrorKind::InvalidInput | io::ErrorKind::Other => {
            ImageError::BadArchive(error.to_string())
        }
        io::ErrorKind::Unsupported => ImageError::NotAnImage { path: "input".into(), why: error.to_string() },
        _ => ImageError::Io { what: "reading the image".into(), source: error },
    }
}

#[cfg(test)]
mod tests;
