//! The snapshot in a request, unpacked as it arrives: it is on the disk once, and never in memory.

use std::io::{self, Read};

use bytes::{Buf as _, Bytes};
use http_body_util::BodyExt as _;
use kontiki_model::Status;
use kontiki_raft::backup::Archive;
use tokio::sync::mpsc::{self, Receiver};

use super::refused;
use crate::{
    content,
    core::Core,
    failure, limits,
    request::{ApiRequest, RequestBody},
};

/// Takes the request's body.
pub async fn unpack(core: &Core, request: &mut ApiRequest) -> Result<Archive, Status> {
    let mut body = std::mem::replace(&mut request.body, RequestBody::Bytes(Bytes::new())).into_body();
    let (pieces, arriving) = mpsc::channel(limits::SNAPSHOT_PIECES_MAX);
    let log = core.log.clone();
    let unpacking =
        tokio::task::spawn_blocking(move || log.open_backup(Arriving { pieces: arriving, left: Bytes::new() }));
    while let Some(frame) = body.frame().await {
        let piece = frame.map(|frame| frame.into_data().unwrap_or_default()).map_err(io::Error::other);
        let broken = piece.is_err();
        // Whoever unpacks has found a fault, and says so below.
        if pieces.send(piece).await.is_err() {
            content::drain(body).await;
            break;
        }
        if broken {
            break;
        }
    }
    drop(pieces);
    let unpacked = unpacking.await.map_err(|_| failure::internal("the snapshot was not unpacked to its end"))?;
    unpacked.map_err(|error| refused(&error))
}

/// A body as a blocking reader.
struct Arriving {
    pieces: Receiver<io::Result<Bytes>>,
    left: Bytes,
}

impl Read for Arriving {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.left.is_empty() {
            match self.pieces.blocking_recv() {
                Some(piece) => self.left = piece?,
                None => return Ok(0),
            }
        }
        let length = buffer.len().min(self.left.len());
        self.left.copy_to_slice(&mut buffer[..length]);
        Ok(length)
    }
}
