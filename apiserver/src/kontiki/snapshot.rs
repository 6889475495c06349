//! `snapshot`: the whole log in one file, as a stream. Any server answers; writes go on.

use std::sync::Arc;

use bytes::Bytes;
use chrono::Utc;
use futures::stream;
use http::{HeaderValue, StatusCode, header};
use http_body::Frame;
use http_body_util::{BodyExt as _, StreamBody};
use kontiki_model::Status;
use kontiki_raft::backup::{Backup, BackupError, Origin};
use tokio::sync::mpsc::{self, Sender};

use super::{Asked, events::cluster};
use crate::{
    content,
    core::{Core, unreadable},
    failure, limits,
    request::{ApiResponse, BodyError},
};

/// What a snapshot is, to HTTP.
const MEDIA_TYPE: &str = "application/vnd.kontiki.snapshot";

/// Everything that was acknowledged before the request is in it. Whoever reads it sees by its end whether it is whole.
pub(super) async fn answer(core: Arc<Core>, _: Asked) -> Result<ApiResponse, Status> {
    // A server that has no leader, or no room, says so now; what fails later can only break the stream off.
    core.log.barrier().await.map_err(|error| unreadable(&error))?;
    if let Some(shortage) = core.log.status().shortage {
        return Err(failure::disk_full(shortage.to_string()));
    }
    let (pieces, stream) = mpsc::channel(limits::SNAPSHOT_PIECES_MAX);
    tokio::spawn(async move {
        if let Err(error) = send(&core, pieces.clone()).await {
            tracing::error!(%error, "a snapshot cannot be sent");
            // Nobody listens only if the client has gone.
            _ = pieces.send(Err(BodyError::new(error))).await;
        }
    });
    let frames = stream::unfold(stream, |mut stream| async move {
        let piece: Result<Bytes, BodyError> = stream.recv().await?;
        Some((piece.map(Frame::data), stream))
    });
    let mut response = content::response(StatusCode::OK, MEDIA_TYPE, Bytes::new());
    let name = HeaderValue::from_static("attachment; filename=\"kontiki.snapshot\"");
    response.headers_mut().insert(header::CONTENT_DISPOSITION, name);
    *response.body_mut() = StreamBody::new(frames).boxed_unsync();
    Ok(response)
}

async fn send(core: &Core, pieces: Sender<Result<Bytes, BodyError>>) -> Result<(), BackupError> {
    let backup = core.log.backup(origin(core)).await?;
    let read = tokio::task::spawn_blocking(move || read(&backup, &pieces));
    read.await.unwrap_or_else(|_| Err(kontiki_raft::ReadError::Closed.into()))
}

/// Reads as fast as the client takes it; ends when that goes away.
fn read(backup: &Backup, pieces: &Sender<Result<Bytes, BodyError>>) -> Result<(), BackupError> {
    for piece in backup.pieces() {
        if pieces.blocking_send(Ok(piece?)).is_err() {
            return Ok(());
        }
    }
    Ok(())
}

fn origin(core: &Core) -> Origin {
    Origin {
        cluster: cluster(core),
        server: core.config.advertised(),
        program: concat!("kontiki ", env!("CARGO_PKG_VERSION")).to_owned(),
        taken_ms: Utc::now().timestamp_millis(),
    }
}
