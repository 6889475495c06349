//! `kontiki snapshot restore`: into a running cluster by new writes, or into an empty folder as a new cluster.

use std::{
    io::{self, Read},
    path::{Path, PathBuf},
};

use anyhow::{Context, Result, bail};
use futures::TryStreamExt as _;
use http::Method;
use http_body_util::{BodyExt as _, StreamBody};
use k8s_openapi::jiff::Timestamp;
use kontiki_apiserver::records;
use kontiki_raft::{
    Member,
    backup::{Founded, Founding, Moment},
};
use serde_json::{Value, json};
use tokio_util::io::ReaderStream;
use tower::BoxError;

use super::{is_stdio, show, source, target};
use crate::{
    args::{Output, Restore},
    client::{Body, Client, Payload},
    image::encode,
    layout::Layout,
    recover::operator,
};

const PATH: &str = "/apis/kontiki.dev/v1/restore";
const MEDIA_TYPE: &str = "application/vnd.kontiki.snapshot";

pub async fn restore(arguments: Restore) -> Result<()> {
    match arguments.data_dir.clone() {
        Some(data_dir) => tokio::task::spawn_blocking(move || restore_into(&data_dir, &arguments)).await?,
        None => restore_running(arguments).await,
    }
}

async fn restore_running(arguments: Restore) -> Result<()> {
    let path = path(&arguments);
    let file = arguments.file.clone();
    if !is_stdio(&file) {
        // A damaged file is told at once, before it is sent anywhere.
        let source = source::open(&file)?;
        let read = tokio::task::spawn_blocking(move || source::pass_on(source, io::sink())).await?;
        read.with_context(|| file.display().to_string())?;
    }
    let client = Client::open(&target(arguments.kubeconfig.clone(), Path::new("/var/lib/kontiki"))).await?;
    let payload = Payload::Stream { content_type: MEDIA_TYPE, body: body(arguments.file.clone()).await? };
    let response = client.send(Method::POST, &path, &[], payload).await?;
    let bytes = response.into_body().collect().await.context("reading the answer")?.to_bytes();
    let answer: Value = serde_json::from_slice(&bytes).context("the server answered something other than JSON")?;
    match arguments.output {
        Output::Json => println!("{answer:#}"),
        Output::Table => print!("{}", show::restored(&answer)),
    }
    Ok(())
}

fn path(arguments: &Restore) -> String {
    let mut query = Query(String::new());
    if let Some(revision) = arguments.to_revision {
        query.append("to", &revision.to_string());
    }
    if let Some(time) = &arguments.to_time {
        query.append("to", time);
    }
    if arguments.dry_run {
        query.append("dryRun", "All");
    }
    if arguments.any_cluster {
        query.append("anyCluster", "true");
    }
    arguments.namespace.iter().for_each(|namespace| query.append("namespace", namespace));
    arguments.resource.iter().for_each(|resource| query.append("resource", resource));
    format!("{PATH}{}", query.0)
}

/// What follows the path, with its question mark.
struct Query(String);

impl Query {
    fn append(&mut self, name: &str, value: &str) {
        let sign = if self.0.is_empty() { '?' } else { '&' };
        self.0.push(sign);
        self.0.push_str(name);
        self.0.push('=');
        self.0.push_str(&encode(value));
    }
}

async fn body(file: PathBuf) -> Result<Body> {
    let file = if is_stdio(&file) { PathBuf::from("/dev/stdin") } else { file };
    let source = tokio::fs::File::open(&file).await.with_context(|| format!("opening {}", file.display()))?;
    let pieces = ReaderStream::new(source);
    Ok(StreamBody::new(pieces.map_ok(http_body::Frame::data).map_err(BoxError::from)).boxed_unsync())
}

fn restore_into(data_dir: &Path, arguments: &Restore) -> Result<()> {
    let source = source::open(&arguments.file)?;
    let is_new = !data_dir.exists();
    let layout = Layout::open(data_dir)?;
    let founded = found(&layout, source, arguments);
    if founded.is_err() && is_new {
        // With what is in it besides the lock, it stays.
        _ = std::fs::remove_file(layout.lock_file()).and_then(|()| std::fs::remove_dir(layout.root()));
    }
    let founded = founded?;
    match arguments.output {
        Output::Json => println!("{:#}", told(&arguments.file, &founded)),
        Output::Table => print!("{}", founded_text(&layout, &founded)),
    }
    Ok(())
}

fn found(layout: &Layout, source: impl Read, arguments: &Restore) -> Result<Founded> {
    if let Some(pid) = layout.owner()? {
        let kubeconfig = layout.kubeconfig();
        bail!(
            "process {pid} runs a cluster in {}: to take it back to the snapshot, give --kubeconfig {} instead of --data-dir",
            layout.root().display(),
            kubeconfig.display()
        );
    }
    let _owner = layout.own()?;
    let by = operator("kontiki snapshot restore", "restore");
    // Called what the server says when it starts.
    let founding = Founding { member: Member::default(), to: moment(arguments)?, skip: arguments.skip.at(by.time_ms) };
    let record = |founded: &Founded| records::record(by, "Restore", &told(&arguments.file, founded));
    let founded = founding.from_backup(source, &layout.log(), record)?;
    layout.mark_restored()?;
    Ok(founded)
}

fn moment(arguments: &Restore) -> Result<Option<Moment>> {
    let time = |text: &String| -> Result<Moment> {
        let time: Timestamp = text.parse().with_context(|| format!("--to-time {text:?}"))?;
        Ok(Moment::Time(time.as_millisecond()))
    };
    Ok(arguments.to_time.as_ref().map(time).transpose()?.or(arguments.to_revision.map(Moment::Revision)))
}

fn told(file: &Path, founded: &Founded) -> Value {
    json!({
        "snapshot": file,
        "restored": founded.restored,
        "revision": founded.revision,
        "skipped": {"first": founded.restored + 1, "last": founded.revision - 1},
        "term": founded.term,
        "index": founded.index,
    })
}

fn founded_text(layout: &Layout, founded: &Founded) -> String {
    let (root, pki) = (layout.root().display(), layout.pki());
    let keys = if pki.join("ca.crt").exists() {
        format!("The keys in {} are used.", pki.display())
    } else {
        format!(
            "A snapshot holds no keys. Before the first start, copy the lost cluster's pki folder to {}: without it new ones are\n\
             made, and kubeconfigs, agents and service account tokens of the lost cluster are refused.",
            pki.display()
        )
    };
    format!(
        "{root} holds a new cluster with the past up to revision {}; what comes next begins at {}.\n{keys}\n\
         Start it: kontiki server --data-dir {root}   (or kontiki up); further servers join it as new ones.\n",
        founded.restored, founded.revision
    )
}
