//! What an agent is, kept in its data folder: once it has joined, it needs no flags to be it again.

use std::{fs, io, net::IpAddr, path::PathBuf};

use anyhow::{Context, Result};
use kontiki_apiserver::join::ClusterSettings;
use serde::{Deserialize, Serialize};

use crate::layout::{Layout, write_private};

#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct AgentSettings {
    pub name: String,
    pub address: IpAddr,
    pub port: u16,
    pub pod_cidr: String,
    pub cluster_cidr: String,
    #[serde(default)]
    pub allowed_unsafe_sysctls: Vec<String>,
    pub cluster: ClusterSettings,
    /// `host:port` of the servers, as they were known last.
    pub servers: Vec<String>,
}

impl AgentSettings {
    pub fn file(layout: &Layout) -> PathBuf {
        layout.root().join("agent.json")
    }

    pub fn read(layout: &Layout) -> Result<Option<Self>> {
        let path = AgentSettings::file(layout);
        match fs::read(&path) {
            Ok(text) => serde_json::from_slice(&text).map(Some).with_context(|| format!("reading {}", path.display())),
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error).with_context(|| format!("reading {}", path.display())),
        }
    }

    pub fn write(&self, layout: &Layout) -> Result<()> {
        write_private(&AgentSettings::file(layout), &serde_json::to_string_pretty(self)?)
    }
}
