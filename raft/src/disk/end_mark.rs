//! Where the log ended when it was last synced, beside the log itself.
//!
//! A record that is cut at the very end is taken for one that was never acknowledged, and dropped. Damage can look like
//! that: a length that reads too large makes everything behind it the end. This mark tells the two apart. It is written after
//! each sync and not synced itself, so it never says more than what is durable; a truncation lowers it first, durably.

use std::fs::{File, OpenOptions};
use std::io::ErrorKind;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::DiskError;

const BYTES: usize = 12;
const OPEN: &str = "open the mark of the log's end";

pub struct EndMark {
    file: File,
    end: u64,
}

impl EndMark {
    /// Opens or creates it. A mark that cannot be read says nothing.
    pub fn open(path: &Path) -> Result<Self, DiskError> {
        let file = OpenOptions::new().create(true).truncate(false).read(true).write(true).open(path);
        let file = file.map_err(DiskError::io(OPEN))?;
        let end = read(&file, path)?;
        Ok(EndMark { file, end })
    }

    /// What it says, without changing anything; nothing where there is none.
    pub fn look(path: &Path) -> Result<u64, DiskError> {
        match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(0),
            opened => read(&opened.map_err(DiskError::io(OPEN))?, path),
        }
    }

    /// The index behind the last entry that was synced.
    pub fn end(&self) -> u64 {
        self.end
    }

    pub fn set(&mut self, end: u64) -> Result<(), DiskError> {
        if end != self.end {
            self.file.write_all_at(&encode(end), 0).map_err(DiskError::io("mark the log's end"))?;
            self.end = end;
        }
        Ok(())
    }

    /// Before entries from an index on are removed.
    pub fn lower(&mut self, end: u64) -> Result<(), DiskError> {
        if end < self.end {
            // Believed only when it is durable: after a failure all of this is done again.
            self.file.write_all_at(&encode(end), 0).map_err(DiskError::io("mark the log's end"))?;
            self.file.sync_data().map_err(DiskError::sync("sync the mark of the log's end"))?;
            self.end = end;
        }
        Ok(())
    }
}

fn read(file: &File, path: &Path) -> Result<u64, DiskError> {
    let mut bytes = [0; BYTES];
    let end = match file.read_exact_at(&mut bytes, 0) {
        Ok(()) => decode(&bytes),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => Some(0),
        Err(error) => return Err(DiskError::io(OPEN)(error)),
    };
    if end.is_none() {
        tracing::warn!(path = %path.display(), "the mark of the log's end is damaged; the log is taken as it is");
    }
    Ok(end.unwrap_or_default())
}

fn encode(end: u64) -> [u8; BYTES] {
    let mut bytes = [0; BYTES];
    bytes[..8].copy_from_slice(&end.to_le_bytes());
    bytes[8..].copy_from_slice(&crc32fast::hash(&end.to_le_bytes()).to_le_bytes());
    bytes
}

fn decode(bytes: &[u8; BYTES]) -> Option<u64> {
    let end = u64::from_le_bytes(*bytes.first_chunk()?);
    (encode(end) == *bytes).then_some(end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn it_is_there_after_a_restart_and_says_nothing_when_it_is_damaged() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("end");
        assert_eq!((EndMark::look(&path).unwrap(), path.exists()), (0, false));
        assert_eq!(EndMark::open(&path).unwrap().end(), 0);
        let mut mark = EndMark::open(&path).unwrap();
        mark.set(70_000).unwrap();
        mark.lower(70_001).unwrap();
        assert_eq!(EndMark::open(&path).unwrap().end(), 70_000);
        mark.lower(5).unwrap();
        assert_eq!((EndMark::open(&path).unwrap().end(), EndMark::look(&path).unwrap()), (5, 5));
        let whole = std::fs::read(&path).unwrap();
        for bit in 0..whole.len() * 8 {
            let mut damaged = whole.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            std::fs::write(&path, damaged).unwrap();
            assert_eq!(EndMark::open(&path).unwrap().end(), 0, "bit {bit}");
        }
    }
}
