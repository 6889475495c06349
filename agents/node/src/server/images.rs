//! Images of this node, for `kontiki image` by way of the API server.

use std::io;

use futures::TryStreamExt;
use http::Request;
use http_body_util::BodyExt;
use hyper::body::Incoming;
use tokio_util::io::StreamReader;

use super::{
    answer::{self, Answer, Problem},
    route::Query,
};
use crate::{containers::Image, node::NodeContext};

pub async fn list(node: &NodeContext) -> Result<Answer, Problem> {
    let images = node.containers.images().await?;
    Ok(answer::json(&images.iter().map(shown).collect::<Vec<_>>()))
}

/// Takes the body in as an image archive, named `?name=` if that is given.
pub async fn import(node: &NodeContext, query: &Query, request: Request<Incoming>) -> Result<Answer, Problem> {
    let chunks = request.into_body().into_data_stream().map_err(io::Error::other);
    let archive = Box::new(StreamReader::new(chunks));
    let image = node.containers.import(query.get("name"), archive).await?;
    node.images_changed.notify_one();
    Ok(answer::json(&shown(&image)))
}

pub async fn remove(node: &NodeContext, query: &Query) -> Result<Answer, Problem> {
    let name = query.get("name").ok_or_else(|| Problem::bad_request("which image? give ?name="))?;
    node.containers.remove_image(name).await?;
    node.images_changed.notify_one();
    Ok(answer::json(&serde_json::json!({"removed": name})))
}

fn shown(image: &Image) -> serde_json::Value {
    serde_json::json!({
        "id": image.id,
        "names": image.names,
        "digests": image.digests,
        "size": image.size_bytes,
        "imported_ms": image.created_ms,
    })
}
