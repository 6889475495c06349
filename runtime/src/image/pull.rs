//! Pulls images: what the store lacks is fetched from a registry, unpacked and committed.

use std::{io, sync::Arc};

use futures::{StreamExt, TryStreamExt, stream};

use super::{
    config::{ConfigFile, Descriptor},
    digest::Digest,
    error::ImageError,
    formats::same_number,
    layer::Budget,
    limits::{COMMIT_ATTEMPTS_MAX, PULL_LAYERS_AT_ONCE},
    reference::ImageName,
    registry::{Credentials, Registry},
    scratch::Scratch,
    store::{Commit, ImageInfo, ImageStore, blocking, commit, present},
    unpack::{Expected, PreparedLayer, prepare},
};

/// What a pull is doing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PullEvent {
    Resolved {
        digest: Digest,
        layers: usize,
    },
    /// The store has the layer already.
    Present {
        layer: Digest,
    },
    Downloading {
        layer: Digest,
        bytes: u64,
        total: u64,
    },
    Unpacking {
        layer: Digest,
    },
}

/// Called from the pull; must not block.
pub type PullProgress = Arc<dyn Fn(PullEvent) + Send + Sync>;

impl ImageStore {
    /// Pulls an image for this machine's platform and gives it its name and digest. What the store has is not fetched again.
    /// Registries on this machine are spoken to in plain HTTP, all others over TLS with the system's roots. Dropping the future
    /// stops the download and leaves nothing behind.
    pub async fn pull(
        &self,
        reference: &str,
        credentials: Option<&Credentials>,
        progress: Option<PullProgress>,
    ) -> Result<ImageInfo, ImageError> {
        let name = ImageName::parse(reference)?;
        let turn = self.pull_turn(&name.canonical()).await;
        let _turn = turn.lock().await;
        let pull = Pull {
            store: self,
            registry: Registry::new(&name, credentials)?,
            progress: progress.unwrap_or_else(|| Arc::new(|_| {})),
        };
        pull.run(&name).await
    }
}

struct Pull<'a> {
    store: &'a ImageStore,
    registry: Registry,
    progress: PullProgress,
}

/// A layer to fetch.
#[derive(Clone, Debug)]
struct Wanted {
    number: usize,
    blob: Descriptor,
    diff_id: Digest,
}

impl Pull<'_> {
    async fn run(&self, name: &ImageName) -> Result<ImageInfo, ImageError> {
        let (digests, config, layers) = self.registry.manifest(name).await?;
        let config = self.registry.config(&config).await?;
        let file = ConfigFile::parse(&config)?;
        file.check_platform(&name.canonical())?;
        same_number(layers.len(), file.rootfs.diff_ids.len())?;
        (self.progress)(PullEvent::Resolved { digest: digests[0].clone(), layers: layers.len() });

        let wanted = layers.into_iter().zip(file.rootfs.diff_ids).enumerate();
        let wanted: Vec<Wanted> = wanted.map(|(number, (blob, diff_id))| Wanted { number, blob, diff_id }).collect();
        let mut names = vec![name.canonical()];
        names.extend(digests.iter().map(|digest| name.with_digest(digest.as_str())));
        names.dedup();

        let records = self.store.records().clone();
        let scratch = Arc::new(blocking(move || Scratch::new(&records)).await?);
        let (config, names) = (Arc::new(config), Arc::new(names));
        for attempt in 0..COMMIT_ATTEMPTS_MAX {
            let budget = Arc::new(Budget::default());
            let layers: Vec<PreparedLayer> = stream::iter(wanted.clone())
                .map(|layer| self.layer(layer, &scratch, &budget, attempt))
                .buffered(PULL_LAYERS_AT_ONCE)
                .try_collect()
                .await?;
            let records = self.store.records().clone();
            let (scratch, config, names) = (scratch.clone(), config.clone(), names.clone());
            let committed = blocking(move || {
                commit(&records, &Commit { scratch: &scratch, config: &config, layers: &layers, names: &names })
            });
            if let Some(info) = committed.await? {
                return Ok(info);
            }
        }
        Err(ImageError::Io {
            what: format!("pulling {}", name.canonical()),
            source: io::Error::other("layers are being collected as fast as they are found; try again"),
        })
    }

    async fn layer(
        &self,
        wanted: Wanted,
        scratch: &Arc<Scratch>,
        budget: &Arc<Budget>,
        attempt: u32,
    ) -> Result<PreparedLayer, ImageError> {
        let (records, diff_id) = (self.store.records().clone(), wanted.diff_id.clone());
        if let Some(layer) = blocking(move || present(&records, &diff_id)).await? {
            (self.progress)(PullEvent::Present { layer: wanted.diff_id.clone() });
            return Ok(layer);
        }
        let blob = scratch.path().join(format!("blob-{attempt}-{}", wanted.number));
        let (layer, total) = (&wanted.blob.digest, wanted.blob.size);
        let downloading = |bytes| (self.progress)(PullEvent::Downloading { layer: layer.clone(), bytes, total });
        self.registry.download(&wanted.blob, &blob, downloading).await?;
        (self.progress)(PullEvent::Unpacking { layer: wanted.blob.digest.clone() });
        let folder = scratch.path().join(format!("layer-{attempt}-{}", wanted.number));
        // The clones keep the scratch folder alive should the pull be dropped meanwhile.
        let (wanted, scratch, budget) = (wanted.clone(), scratch.clone(), budget.clone());
        blocking(move || {
            let _scratch = scratch;
            let file = std::fs::File::open(&blob).map_err(ImageError::io("opening a downloaded layer"))?;
            let expected = Expected { blob: Some(&wanted.blob), diff_id: Some(&wanted.diff_id) };
            let layer = prepare(file, expected, &folder, &budget, &format!("layer {}", wanted.blob.digest))?;
            std::fs::remove_file(&blob).map_err(ImageError::io("removing a downloaded layer"))?;
            Ok(layer)
        })
        .await
    }
}
