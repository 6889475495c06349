//! Snapshots on their way: from wherever they come, verified while they are passed on.

use std::{
    io::{self, Read, Write},
    path::Path,
};

use anyhow::{Context, Result};
use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use kontiki_raft::backup::{Backup, Reader, Verified};
use tokio::sync::mpsc::{self, Receiver};

use super::is_stdio;

/// Pieces between a connection and whoever writes them to the disk.
const PIECES_MAX: usize = 4;

/// Reads a snapshot to its end, writing on all that is read; what was written is whole exactly if this succeeds.
pub fn pass_on(source: impl Read, mut sink: impl Write) -> Result<Verified> {
    let mut unwritten = None;
    let passed = Reader::open(Tee { source, sink: &mut sink, unwritten: &mut unwritten }).and_then(Reader::verify);
    if let Some(error) = unwritten {
        return Err(error).context("cannot write it");
    }
    let verified = passed?;
    sink.flush().context("cannot write it")?;
    Ok(verified)
}

/// A snapshot in a file, or on standard input.
pub fn open(file: &Path) -> Result<Box<dyn Read + Send>> {
    if is_stdio(file) {
        return Ok(Box::new(io::stdin()));
    }
    let opened = std::fs::File::open(file).with_context(|| format!("opening {}", file.display()))?;
    Ok(Box::new(io::BufReader::new(opened)))
}

struct Tee<'a, R, W> {
    source: R,
    sink: &'a mut W,
    /// Why the sink took no more. Whoever reads is told of an error too, and takes it for the source's.
    unwritten: &'a mut Option<io::Error>,
}

impl<R: Read, W: Write> Read for Tee<'_, R, W> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.source.read(buffer)?;
        self.sink.write_all(&buffer[..read]).map_err(|error| {
            let kind = error.kind();
            *self.unwritten = Some(error);
            kind
        })?;
        Ok(read)
    }
}

/// The pieces of something, as a reader.
pub struct Pieces<I> {
    pieces: I,
    left: Bytes,
}

impl<I: Iterator<Item = io::Result<Bytes>>> Pieces<I> {
    pub fn new(pieces: I) -> Self {
        Pieces { pieces, left: Bytes::new() }
    }
}

impl<I: Iterator<Item = io::Result<Bytes>>> Read for Pieces<I> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            match self.pieces.next() {
                Some(piece) => self.left = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.left.len());
        self.left.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}

/// A backup that this process makes.
pub fn of_backup(backup: &Backup) -> impl Read + '_ {
    Pieces::new(backup.pieces().map(|piece| piece.map_err(io::Error::other)))
}

/// An answer of a server, read by a task of its own. The reader blocks.
pub fn of_answer(mut body: hyper::body::Incoming) -> impl Read {
    let (pieces, arriving) = mpsc::channel(PIECES_MAX);
    tokio::spawn(async move {
        while let Some(frame) = body.frame().await {
            let piece = frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(io::Error::other);
            if pieces.send(piece).await.is_err() {
                return;
            }
        }
    });
    Pieces::new(Arriving(arriving))
}

struct Arriving(Receiver<io::Result<Bytes>>);

impl Iterator for Arriving {
    type Item = io::Result<Bytes>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.blocking_recv()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    /// A disk that is full when the last of it is to be written.
    struct Full;

    impl Write for Full {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            if bytes.is_empty() { Ok(0) } else { Err(io::ErrorKind::StorageFull.into()) }
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    #[test]
    fn it_is_writing_that_fails_on_a_full_disk() {
        let error = pass_on(&b"kontiki snapshot 1\n"[..], Full).unwrap_err();
        assert_eq!(format!("{error:#}"), format!("cannot write it: {}", io::Error::from(io::ErrorKind::StorageFull)));
        let error = pass_on(&b"something else"[..], io::sink()).unwrap_err();
        assert_eq!(format!("{error:#}"), "this is not a snapshot of kontiki");
    }
}
