//! `kontiki snapshot save`.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Read},
    os::unix::fs::OpenOptionsExt as _,
    path::{Path, PathBuf},
    time::{SystemTime, UNIX_EPOCH},
};

use anyhow::{Context, Result, bail};
use http::Method;
use kontiki_apiserver::records;
use kontiki_raft::backup::{Origin, Verified};

use super::{is_stdio, show, source, target};
use crate::{
    args::{AcceptLoss, Save},
    client::{Client, Payload},
    layout::Layout,
    recover::{gone, take},
};

const PATH: &str = "/apis/kontiki.dev/v1/snapshot";
const DATA_DIR: &str = "/var/lib/kontiki";

pub async fn save(arguments: Save) -> Result<()> {
    let Save { file, kubeconfig, data_dir, loss } = arguments;
    if !is_stdio(&file) && file.is_dir() {
        bail!("{} is a folder: name a file in it", file.display());
    }
    let stopped = data_dir.as_deref().map(stopped).transpose()?.flatten();
    let saved = match stopped {
        Some(layout) => tokio::task::spawn_blocking(move || save_stopped(&layout, &file, &loss)).await??,
        None => {
            let client = Client::open(&target(kubeconfig, data_dir.as_deref().unwrap_or(Path::new(DATA_DIR)))).await?;
            let response = client.send(Method::GET, PATH, &[], Payload::Nothing).await?;
            let answer = source::of_answer(response.into_body());
            tokio::task::spawn_blocking(move || write(answer, &file)).await??
        }
    };
    show::saved(&saved);
    Ok(())
}

/// A snapshot that was written, and where to.
pub struct Saved {
    pub verified: Verified,
    /// `None` for standard output.
    pub file: Option<PathBuf>,
}

/// The folder, if no process runs a server in it.
fn stopped(data_dir: &Path) -> Result<Option<Layout>> {
    if !data_dir.is_dir() {
        bail!("there is no {}", data_dir.display());
    }
    let layout = Layout::open(data_dir)?;
    Ok(if layout.owner()?.is_some() { None } else { Some(layout) })
}

fn save_stopped(layout: &Layout, file: &Path, loss: &AcceptLoss) -> Result<Saved> {
    let _owner = layout.own()?;
    let stopped = take(layout, loss)?;
    if let Some(gone) = gone(&stopped.figures()?) {
        eprintln!("{gone}");
    }
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    let origin = Origin {
        cluster: records::cluster(&stopped),
        server: layout.root().display().to_string(),
        program: concat!("kontiki ", env!("CARGO_PKG_VERSION")).to_owned(),
        taken_ms: i64::try_from(now.as_millis()).unwrap_or(i64::MAX),
    };
    let backup = stopped.backup(origin)?;
    write(source::of_backup(&backup), file)
}

/// The file appears when it is complete and was verified, readable by its owner alone: Secrets are in it.
fn write(source: impl Read, file: &Path) -> Result<Saved> {
    if is_stdio(file) {
        let verified = source::pass_on(source, io::stdout().lock())?;
        return Ok(Saved { verified, file: None });
    }
    // Whoever gives a link means what it leads to; a device or a pipe is written to, and stays what it is.
    let shown = file;
    let file = &fs::canonicalize(file).unwrap_or_else(|_| file.to_owned());
    if fs::metadata(file).is_ok_and(|found| !found.is_file()) {
        let stream = OpenOptions::new().write(true).open(file);
        let stream = stream.with_context(|| format!("opening {}", file.display()))?;
        let verified = source::pass_on(source, stream).context("the snapshot was not saved")?;
        return Ok(Saved { verified, file: Some(shown.to_owned()) });
    }
    let name = file.file_name().with_context(|| format!("{} names no file", file.display()))?;
    let mut partial = name.to_owned();
    partial.push(".partial");
    let partial = Partial(file.with_file_name(partial));
    let mut options = OpenOptions::new();
    let opened = options.write(true).create(true).truncate(true).mode(0o600).open(&partial.0);
    let mut draft = opened.with_context(|| format!("creating {}", partial.0.display()))?;
    let verified = source::pass_on(source, io::BufWriter::new(&mut draft)).context("the snapshot was not saved")?;
    draft.sync_all().with_context(|| format!("syncing {}", partial.0.display()))?;
    fs::rename(&partial.0, file).with_context(|| format!("naming {}", file.display()))?;
    let parent = file.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
    File::open(parent).and_then(|folder| folder.sync_all()).with_context(|| format!("syncing {}", parent.display()))?;
    Ok(Saved { verified, file: Some(shown.to_owned()) })
}

/// What is not complete does not stay.
struct Partial(PathBuf);

impl Drop for Partial {
    fn drop(&mut self) {
        // It is gone already if it got its name.
        _ = fs::remove_file(&self.0);
    }
}
