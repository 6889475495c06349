//! Images of this node: list, import, remove. The archive is the body of the request, as it comes.

use std::{io, time::Duration};

use bytes::Bytes;
use futures::{Stream, stream};
use http::{Response, StatusCode};
use http_body_util::BodyExt;
use hyper::body::Incoming;
use serde::Serialize;
use serde_json::json;
use tokio_util::io::StreamReader;

use super::{
    backend::Backend,
    body::{self, Body},
    failure::{self, Refused},
    limits,
    query::Query,
};
use crate::containers::Image;

/// An image as it is told.
#[derive(Serialize)]
struct Shown<'a> {
    id: &'a str,
    names: &'a [String],
    digests: &'a [String],
    /// Unpacked bytes.
    size: u64,
    imported_ms: i64,
}

impl Shown<'_> {
    fn of(image: &Image) -> Shown<'_> {
        let Image { id, names, digests, size_bytes, created_ms, .. } = image;
        Shown { id, names, digests, size: *size_bytes, imported_ms: *created_ms }
    }
}

pub async fn list(backend: &dyn Backend) -> Result<Response<Body>, Refused> {
    let images = backend.images().await.map_err(|refusal| failure::of_refusal(&refusal))?;
    Ok(body::json(StatusCode::OK, &images.iter().map(Shown::of).collect::<Vec<_>>()))
}

/// Without `name` the image gets the names in the archive.
pub async fn import(backend: &dyn Backend, query: Option<&str>, archive: Incoming) -> Result<Response<Body>, Refused> {
    let query = Query::parse(query);
    let archive = Box::new(StreamReader::new(Box::pin(pieces(archive, limits::UPLOAD_IDLE_MAX))));
    let imported = backend.import(query.get("name"), archive).await;
    let image = imported.map_err(|refusal| failure::of_refusal(&refusal))?;
    tracing::info!(names = ?image.names, id = %image.id, "image imported");
    Ok(body::json(StatusCode::CREATED, &Shown::of(&image)))
}

pub async fn remove(backend: &dyn Backend, query: Option<&str>) -> Result<Response<Body>, Refused> {
    let query = Query::parse(query);
    let Some(name) = query.get("name") else {
        return Err(failure::bad_request("say which image: ?name=<name, digest or id>"));
    };
    backend.remove_image(name).await.map_err(|refusal| failure::of_refusal(&refusal))?;
    tracing::info!(name, "image removed");
    Ok(body::json(StatusCode::OK, &json!({ "removed": name })))
}

/// The data of a body. One that breaks off, or stands still, is an error: half an archive is none.
fn pieces(body: Incoming, idle_max: Duration) -> impl Stream<Item = io::Result<Bytes>> + Send {
    stream::try_unfold(body, move |mut body| async move {
        loop {
            let stalled = |_| io::Error::new(io::ErrorKind::TimedOut, "the upload has stalled");
            let Some(frame) = tokio::time::timeout(idle_max, body.frame()).await.map_err(stalled)? else {
                return Ok(None);
            };
            if let Ok(data) = frame.map_err(io::Error::other)?.into_data() {
                return Ok(Some((data, body)));
            }
        }
    })
}
