//! `GET /containerLogs/<namespace>/<pod>/<container>`: a container's log as a stream of text, followed until the container
//! has ended if that is wanted. Nothing is read that the client has not yet room for, and nothing after it is gone.

mod cursor;
mod entry;
mod options;
mod selection;
mod tail;

use std::{io, sync::Arc, time::Duration};

use bytes::Bytes;
use chrono::Utc;
use futures::{Stream, stream};
use http::Response;
use tokio_util::sync::CancellationToken;

use self::{
    cursor::{Cursor, Step},
    options::LogOptions,
};
use super::{
    backend::{Backend, Place},
    body::{self, Body, BoxError},
    failure::{self, Refused},
    limits,
    query::Query,
    route::ContainerName,
    target,
};

pub async fn answer(
    backend: Arc<dyn Backend>,
    name: &ContainerName,
    query: Option<&str>,
    stopping: CancellationToken,
) -> Result<Response<Body>, Refused> {
    let options = LogOptions::parse(&Query::parse(query), Utc::now())?;
    let pod = backend.pod(&name.pod.namespace, &name.pod.name).ok_or_else(|| failure::no_such_pod(&name.pod.name))?;
    let container_id = target::logged(&pod, &name.container, options.previous)?;
    let gone = || {
        let (container, pod) = (&name.container, &name.pod.name);
        failure::not_found(format!("the log of container {container:?} in pod {pod:?} is no longer there"))
    };
    let place = backend.place(&pod, container_id).ok_or_else(gone)?;
    let alive = backend.is_alive(&place).await.map_err(|refusal| failure::of_refusal(&refusal))?;
    let (path, follow) = (place.log.clone(), options.follow);
    let cursor = blocking(move || Cursor::open(&path, &options)).await.map_err(|error| failure::internal(&error))?;
    if !cursor.has_file() && !alive {
        return Err(gone());
    }
    let reading = Reading { backend, place, follow, cursor: Some(cursor), poll: limits::LOG_POLL_MIN, stopping };
    Ok(body::streamed("text/plain", reading.pieces()))
}

struct Reading {
    backend: Arc<dyn Backend>,
    place: Place,
    follow: bool,
    /// `None` after the end.
    cursor: Option<Cursor>,
    poll: Duration,
    stopping: CancellationToken,
}

impl Reading {
    fn pieces(self) -> impl Stream<Item = Result<Bytes, BoxError>> + Send {
        stream::try_unfold(self, |mut reading| async move {
            let piece = reading.next().await?;
            Ok(piece.map(|piece| (piece, reading)))
        })
    }

    async fn next(&mut self) -> Result<Option<Bytes>, BoxError> {
        loop {
            let Some(mut cursor) = self.cursor.take() else { return Ok(None) };
            // Asked before reading: what a container wrote before it ended is then read after the answer.
            let alive = self.follow && self.backend.is_alive(&self.place).await?;
            let (cursor, step, mut piece) = blocking(move || {
                let mut piece = Vec::new();
                let step = cursor.step(&mut piece)?;
                Ok((cursor, step, piece))
            })
            .await?;
            let cursor = self.cursor.insert(cursor);
            let ended = match step {
                Step::Enough => true,
                Step::More => false,
                Step::End if alive => self.pause().await.is_err(),
                Step::End => {
                    cursor.finish(&mut piece);
                    true
                }
            };
            if ended {
                self.cursor = None;
            }
            if !piece.is_empty() {
                self.poll = limits::LOG_POLL_MIN;
                return Ok(Some(piece.into()));
            }
        }
    }

    /// Waits before the next look; fails when the server stops.
    async fn pause(&mut self) -> Result<(), ()> {
        let poll = self.poll;
        self.poll = (poll * 2).min(limits::LOG_POLL_MAX);
        self.stopping.run_until_cancelled(tokio::time::sleep(poll)).await.ok_or(())
    }
}

async fn blocking<T: Send + 'static>(work: impl FnOnce() -> io::Result<T> + Send + 'static) -> io::Result<T> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(error) if error.is_panic() => std::panic::resume_unwind(error.into_panic()),
        Err(error) => Err(io::Error::other(error)),
    }
}
