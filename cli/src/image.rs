//! `kontiki image`: images of a cluster's nodes through its API server, or of this machine's data folder.

use std::{collections::HashSet, fmt::Write as _, path::Path};

use anyhow::{Context, Result, bail};
use bytes::Bytes;
use futures::{Stream, TryStreamExt};
use http::{Method, Request, Response};
use http_body_util::{BodyExt, Empty, StreamBody, combinators::UnsyncBoxBody};
use hyper_util::{client::legacy, rt::TokioExecutor};
use k8s_openapi::api::core::v1::Node;
use kontiki_runtime::image::{ImageStore, ImportSource};
use kube::{Api, Client, ResourceExt, api::ListParams, client::ConfigExt};
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;
use tower::{BoxError, ServiceBuilder, ServiceExt, util::BoxCloneService};

use crate::{
    args::{Image, ImageAction, Output, Target},
    detach::{client, config},
    layout::Layout,
};

type Body = UnsyncBoxBody<Bytes, BoxError>;
/// A way to the API server that takes bodies of any length; `kube`'s own client takes buffers only.
type Connection = BoxCloneService<Request<Body>, Response<hyper::body::Incoming>, BoxError>;

pub async fn image(arguments: Image) -> Result<()> {
    match arguments.action {
        ImageAction::Import { name, file, target } => {
            if !file.exists() {
                bail!("{} is not there", file.display());
            }
            let imported = match &target.kubeconfig {
                Some(kubeconfig) => import_to_nodes(kubeconfig, &target, name.as_deref(), &file).await?,
                None => {
                    let info = store(&target).await?.import(name.as_deref(), ImportSource::Path(file)).await?;
                    // It may not be the folder of the cluster that was meant.
                    eprintln!(
                        "imported into {}; with --kubeconfig, or KUBECONFIG set, images go to the nodes of a cluster",
                        target.data.data_dir.display()
                    );
                    vec![on(None, serde_json::to_value(info)?)]
                }
            };
            print(&imported, target.output);
        }
        ImageAction::Ls { target } => {
            let images = match &target.kubeconfig {
                Some(kubeconfig) => ask_nodes(kubeconfig, &target, Method::GET, "").await?,
                None => {
                    let images = store(&target).await?.list().await?;
                    images.iter().map(|image| Ok(on(None, serde_json::to_value(image)?))).collect::<Result<_>>()?
                }
            };
            print(&images, target.output);
        }
        ImageAction::Rm { image, target } => {
            let removed = match &target.kubeconfig {
                Some(kubeconfig) => {
                    let query = format!("?name={}", encode(&image));
                    ask_nodes(kubeconfig, &target, Method::DELETE, &query).await?
                }
                None => {
                    let layout = Layout::open(&target.data.data_dir)?;
                    if let Some(pid) = layout.owner()? {
                        bail!(
                            "process {pid} uses these images: remove through it, with --kubeconfig {}",
                            layout.kubeconfig().display()
                        );
                    }
                    vec![on(None, serde_json::to_value(store(&target).await?.remove(&image, &HashSet::new()).await?)?)]
                }
            };
            match target.output {
                Output::Json => print(&removed, target.output),
                Output::Table => println!("removed {image}"),
            }
        }
    }
    Ok(())
}

async fn store(target: &Target) -> Result<ImageStore> {
    let layout = Layout::open(&target.data.data_dir)?;
    ImageStore::open(layout.images()).await.context("opening the image store")
}

/// The nodes meant: one by name, or all.
async fn nodes(client: &Client, target: &Target) -> Result<Vec<String>> {
    if let Some(node) = &target.node {
        return Ok(vec![node.clone()]);
    }
    let list =
        Api::<Node>::all(client.clone()).list_metadata(&ListParams::default()).await.context("listing the nodes")?;
    if list.items.is_empty() {
        bail!("the cluster has no node to hold images");
    }
    Ok(list.items.iter().map(ResourceExt::name_any).collect())
}

async fn import_to_nodes(kubeconfig: &Path, target: &Target, name: Option<&str>, file: &Path) -> Result<Vec<Value>> {
    let client = client(kubeconfig).await?;
    let connection = connect(kubeconfig).await?;
    let query = name.map(|name| format!("?name={}", encode(name))).unwrap_or_default();
    let mut imported = Vec::new();
    for node in nodes(&client, target).await? {
        let body = if file.is_dir() {
            streamed(packed(file)?)
        } else {
            let opened = tokio::fs::File::open(file).await.with_context(|| format!("opening {}", file.display()))?;
            streamed(ReaderStream::new(opened))
        };
        let answer = ask(&connection, &node, Method::POST, &query, body).await?;
        imported.push(on(Some(&node), answer));
    }
    Ok(imported)
}

async fn connect(kubeconfig: &Path) -> Result<Connection> {
    let config = config(kubeconfig).await?;
    let https = config.rustls_https_connector()?;
    let service = ServiceBuilder::new()
        .layer(config.base_uri_layer())
        .option_layer(config.auth_layer()?)
        .map_err(BoxError::from)
        .service(legacy::Client::builder(TokioExecutor::new()).build::<_, Body>(https));
    Ok(BoxCloneService::new(service))
}

fn streamed(bytes: impl Stream<Item = std::io::Result<Bytes>> + Send + 'static) -> Body {
    StreamBody::new(bytes.map_ok(http_body::Frame::data).map_err(BoxError::from)).boxed_unsync()
}

/// A folder as a tar stream, packed by a thread while it is sent.
fn packed(folder: &Path) -> Result<impl Stream<Item = std::io::Result<Bytes>> + Send + use<>> {
    let (reader, writer) = std::io::pipe().context("making a pipe")?;
    let folder = folder.to_path_buf();
    let packing = tokio::task::spawn_blocking(move || {
        let mut archive = tar::Builder::new(writer);
        archive.follow_symlinks(false);
        archive.append_dir_all(".", &folder)?;
        archive.into_inner().map(drop)
    });
    // The stream ends well only if the packing did.
    let end = futures::stream::once(async move {
        match packing.await {
            Ok(Ok(())) => Ok(Bytes::new()),
            Ok(Err(error)) => Err(error),
            Err(panicked) => Err(std::io::Error::other(panicked)),
        }
    });
    let reader = tokio::fs::File::from_std(std::os::fd::OwnedFd::from(reader).into());
    Ok(futures::StreamExt::chain(ReaderStream::new(reader), end))
}

async fn ask_nodes(kubeconfig: &Path, target: &Target, method: Method, query: &str) -> Result<Vec<Value>> {
    let client = client(kubeconfig).await?;
    let connection = connect(kubeconfig).await?;
    let mut answers = Vec::new();
    for node in nodes(&client, target).await? {
        let empty = Empty::new().map_err(|never| match never {}).boxed_unsync();
        match ask(&connection, &node, method.clone(), query, empty).await? {
            Value::Array(images) => answers.extend(images.into_iter().map(|image| on(Some(&node), image))),
            answer => answers.push(on(Some(&node), answer)),
        }
    }
    Ok(answers)
}

/// One request to a node's image endpoint, through the API server.
async fn ask(connection: &Connection, node: &str, method: Method, query: &str, body: Body) -> Result<Value> {
    let uri = format!("/api/v1/nodes/{}/proxy/images{query}", encode(node));
    let request = Request::builder().method(method).uri(uri).body(body)?;
    let response = connection.clone().oneshot(request).await.map_err(anyhow::Error::from_boxed);
    let response = response.with_context(|| format!("reaching node {node}"))?;
    let status = response.status();
    let collected = response.into_body().collect().await;
    let bytes = collected.with_context(|| format!("reading the answer of node {node}"))?.to_bytes();
    let answer: Option<Value> = serde_json::from_slice(&bytes).ok();
    if !status.is_success() {
        let message = answer.as_ref().and_then(|answer| answer["message"].as_str().map(str::to_owned));
        bail!("node {node}: {}", message.unwrap_or_else(|| format!("{status}: {}", String::from_utf8_lossy(&bytes))));
    }
    answer.with_context(|| format!("node {node} answered something other than JSON"))
}

fn on(node: Option<&str>, mut image: Value) -> Value {
    if let (Some(node), Some(fields)) = (node, image.as_object_mut()) {
        fields.insert("node".to_owned(), json!(node));
    }
    image
}

/// Percent-encodes what is not plainly a path segment.
pub fn encode(text: &str) -> String {
    let mut out = String::new();
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b'~') {
            out.push(char::from(byte));
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "%{byte:02X}");
        }
    }
    out
}

fn print(images: &[Value], output: Output) {
    match output {
        Output::Json => println!("{:#}", Value::from(images)),
        Output::Table => print!("{}", table(images)),
    }
}

/// `NAME  ID  SIZE` and, for a cluster, `NODE`.
fn table(images: &[Value]) -> String {
    let of_nodes = images.iter().any(|image| image["node"].is_string());
    let last = if of_nodes { "NODE" } else { "" };
    let mut rows = vec![["NAME", "ID", "SIZE", last].map(str::to_owned)];
    for image in images {
        let text = |field: &str| image[field].as_str().unwrap_or("").to_owned();
        let id = text("id");
        let id: String = id.strip_prefix("sha256:").unwrap_or(&id).chars().take(12).collect();
        let names: Vec<String> = image["names"]
            .as_array()
            .into_iter()
            .flatten()
            .filter_map(|name| name.as_str().map(str::to_owned))
            .collect();
        let names = if names.is_empty() { vec!["<none>".to_owned()] } else { names };
        for name in names {
            rows.push([name, id.clone(), size(image["size"].as_u64().unwrap_or(0)), text("node")]);
        }
    }
    let width = |column: usize| rows.iter().map(|row| row[column].len()).max().unwrap_or(0);
    let (name, id, bytes) = (width(0), width(1), width(2));
    let lines = rows.iter().map(|row| format!("{:name$}   {:id$}   {:bytes$}   {}", row[0], row[1], row[2], row[3]));
    lines.map(|line| format!("{}\n", line.trim_end())).collect()
}

fn size(bytes: u64) -> String {
    let units = ["B", "KiB", "MiB", "GiB"];
    let mut whole = bytes;
    for unit in units {
        if whole < 10_240 || unit == "GiB" {
            return format!("{whole} {unit}");
        }
        whole /= 1024;
    }
    unreachable!("the last unit takes everything")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn images_are_listed_by_name() {
        let images = [
            json!({"id": "sha256:0123456789abcdef", "names": ["localhost/demo:1"], "size": 2_000_000, "node": "a"}),
            json!({"id": "sha256:fedcba9876543210", "names": [], "size": 12}),
        ];
        expect_test::expect![[r#"
            NAME               ID             SIZE       NODE
            localhost/demo:1   0123456789ab   1953 KiB   a
            <none>             fedcba987654   12 B
        "#]]
        .assert_eq(&table(&images));
        expect_test::expect![[r#"
            NAME     ID             SIZE
            <none>   fedcba987654   12 B
        "#]]
        .assert_eq(&table(&images[1..]));
    }

    #[test]
    fn names_are_encoded_for_the_query() {
        assert_eq!(encode("127.0.0.1:5000/a b:1"), "127.0.0.1%3A5000%2Fa%20b%3A1");
    }
}
