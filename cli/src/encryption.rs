//! Encryption at rest as the flags ask for it: the configuration's file, read at the start and again when it changes, and
//! what an operator must know of objects that are not stored as it says.

use std::{path::PathBuf, sync::Arc};

use anyhow::{Context, Result};
use kontiki_apiserver::encryption::Encryption;
use kontiki_raft::{Log, Seal};
use tracing::{error, info, warn};

use crate::{args, reread::Reread};

/// A configuration and where it came from.
pub struct EncryptionFile {
    path: PathBuf,
    text: String,
    reload: bool,
    encryption: Arc<Encryption>,
}

impl EncryptionFile {
    pub fn open(arguments: &args::Encryption) -> Result<Option<Self>> {
        let Some(path) = arguments.config.clone() else { return Ok(None) };
        let text = std::fs::read_to_string(&path).with_context(|| format!("reading {}", path.display()))?;
        let encryption = Encryption::new(&text);
        let encryption = encryption.with_context(|| format!("--encryption-provider-config {}", path.display()))?;
        Ok(Some(EncryptionFile { path, text, reload: arguments.reload, encryption }))
    }

    pub fn seal(&self) -> Arc<dyn Seal> {
        self.encryption.clone()
    }
}

/// Tells where the stored objects stand, and again whenever the configuration changes. Ends by being dropped.
pub async fn keep(file: Option<&EncryptionFile>, log: &Log) {
    census(log).await;
    let Some(file) = file.filter(|file| file.reload) else { return };
    let mut read = Reread::new(&file.path, &file.text);
    loop {
        match file.encryption.replace(read.changed().await) {
            Ok(_) => {
                info!(path = %file.path.display(), "the encryption configuration was read anew");
                census(log).await;
            }
            Err(error) => {
                error!(path = %file.path.display(), %error, "the encryption configuration cannot be used; the one before stays");
            }
        }
    }
}

async fn census(log: &Log) {
    let census = match log.seal_census().await {
        Ok(census) => census,
        Err(error) => return warn!(%error, "whether all that is encrypted can be read is not known"),
    };
    if !census.unopenable.is_empty() {
        let (count, objects) = (census.unopenable.count(), census.unopenable.to_string());
        warn!(
            count,
            objects, "encrypted objects cannot be read: put their keys back into --encryption-provider-config"
        );
    }
    if census.outdated > 0 {
        let (outdated, current) = (census.outdated, census.current);
        info!(
            outdated,
            current, "objects are not stored as the encryption configuration says, until they are written again"
        );
    }
}
