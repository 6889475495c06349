//! What a server is, kept in its data folder: once it has joined or founded a cluster, it needs no flags to be it again.

use std::{fs, io, net::SocketAddr, path::PathBuf};

use anyhow::{Context, Result, bail};
use kontiki_apiserver::join::ClusterSettings;
use serde::{Deserialize, Serialize};

use crate::layout::{Layout, write_private};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Settings {
    pub name: String,
    pub listen: SocketAddr,
    /// Where the other servers reach this one.
    pub address: SocketAddr,
    pub origin: Origin,
    /// The log's directory was made: from then on its absence is a loss.
    pub begun: bool,
    pub cluster: ClusterSettings,
}

/// How this server came to be one.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", tag = "from")]
pub enum Origin {
    Init,
    #[serde(rename_all = "camelCase")]
    Join {
        /// Members of the cluster, as they were then.
        servers: Vec<String>,
        /// The cluster has made this server a member.
        member: bool,
        /// It was a member under this number before, which is to go: its log was lost.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        replaces: Option<u64>,
    },
}

impl Settings {
    pub const FILE: &str = "server.json";

    pub fn file(layout: &Layout) -> PathBuf {
        layout.root().join(Settings::FILE)
    }

    pub fn read(layout: &Layout) -> Result<Option<Self>> {
        let settings = Settings::read_alone(layout)?;
        if let Some(Settings { begun: true, name, .. }) = &settings
            && !layout.log().exists()
        {
            bail!(
                "{} is gone, and this server's part of the cluster with it. `kontiki server --rebuild <address of another server>` \
                 takes it from there, under the name {name}",
                layout.log().display(),
            );
        }
        Ok(settings)
    }

    /// As [`Settings::read`], whether the log is there or not.
    pub fn read_alone(layout: &Layout) -> Result<Option<Self>> {
        let path = Settings::file(layout);
        let text = match fs::read(&path) {
            Ok(text) => text,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| format!("reading {}", path.display())),
        };
        serde_json::from_slice(&text).map(Some).with_context(|| format!("reading {}", path.display()))
    }

    pub fn write(&self, layout: &Layout) -> Result<()> {
        write_private(&Settings::file(layout), &serde_json::to_string_pretty(self)?)
    }
}

/// Refuses a folder that holds something else than a server's data. A log that was restored from a snapshot, and the keys that
/// its operator put beside it, are a founder's.
pub fn must_be_free(layout: &Layout, founds: bool) -> Result<()> {
    let restored = [layout.log(), layout.pki().join("ca.crt")];
    for path in restored.iter().chain(&[layout.node(), layout.root().join("agent.json")]) {
        let expected = founds && layout.restored().exists() && restored.contains(path);
        if path.exists() && !expected {
            bail!(
                "{} holds data already ({}), which is no server's of a cluster of several: give another --data-dir",
                layout.root().display(),
                path.file_name().unwrap_or_default().to_string_lossy()
            );
        }
    }
    Ok(())
}
