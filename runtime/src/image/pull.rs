//! Pulls images from registries through `oci-client`, whose types stay in this file.

use std::{fmt, io, path::Path, sync::Arc, time::Duration};

use futures::{StreamExt, TryStreamExt, stream};
use oci_client::{
    Client, Reference,
    client::{ClientConfig, ClientProtocol},
    errors::{DigestError, OciDistributionError, OciErrorCode},
    manifest::{
        IMAGE_MANIFEST_LIST_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, OCI_IMAGE_MEDIA_TYPE,
    },
    secrets::RegistryAuth,
};
use tokio::io::AsyncWriteExt;

use super::{
    config::{ConfigFile, Descriptor, Manifest, for_this_machine},
    digest::Digest,
    error::ImageError,
    formats::same_number,
    layer::Budget,
    limits::{
        COMMIT_ATTEMPTS_MAX, CONFIG_BYTES_MAX, IMAGE_BYTES_MAX, MANIFEST_BYTES_MAX, PULL_CONNECT_S_MAX,
        PULL_LAYERS_AT_ONCE, PULL_READ_S_MAX,
    },
    reference::ImageName,
    scratch::Scratch,
    store::{Commit, ImageInfo, ImageStore, blocking, commit, present},
    unpack::{Expected, PreparedLayer, check, prepare},
};

const ACCEPTED: [&str; 4] =
    [OCI_IMAGE_MEDIA_TYPE, IMAGE_MANIFEST_MEDIA_TYPE, OCI_IMAGE_INDEX_MEDIA_TYPE, IMAGE_MANIFEST_LIST_MEDIA_TYPE];

/// How to be let in by a registry.
#[derive(Clone, PartialEq, Eq)]
pub enum Credentials {
    Basic { username: String, password: String },
    Token(String),
}

impl fmt::Debug for Credentials {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Basic { username, .. } => write!(f, "Basic({username:?}, …)"),
            Self::Token(_) => f.write_str("Token(…)"),
        }
    }
}

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
        self.registry.download(&wanted.blob, &blob, &self.progress).await?;
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

/// One repository of one registry.
struct Registry {
    client: Client,
    reference: Reference,
    auth: RegistryAuth,
}

impl Registry {
    fn new(name: &ImageName, credentials: Option<&Credentials>) -> Result<Self, ImageError> {
        // reqwest, without a provider of its own, panics if there is none. Losing the race to install one is fine.
        if rustls::crypto::CryptoProvider::get_default().is_none() {
            let _ = rustls::crypto::ring::default_provider().install_default();
        }
        let reference = name.reference().clone();
        let plain = name.is_loopback();
        let config = |accept_invalid_certificates| ClientConfig {
            protocol: if plain { ClientProtocol::Http } else { ClientProtocol::Https },
            accept_invalid_certificates,
            connect_timeout: Some(Duration::from_secs(PULL_CONNECT_S_MAX)),
            read_timeout: Some(Duration::from_secs(PULL_READ_S_MAX)),
            user_agent: concat!("kontiki/", env!("CARGO_PKG_VERSION")),
            ..ClientConfig::default()
        };
        let client = match Client::try_from(config(false)) {
            // A machine without any root certificate can still speak plain HTTP, where none is looked at.
            Err(_) if plain => Client::try_from(config(true)),
            other => other,
        };
        let client = client.map_err(|error| ImageError::Unreachable {
            registry: name.registry().to_owned(),
            detail: format!("no TLS: {}; install the root certificates (Debian: ca-certificates)", chain(&error)),
        })?;
        let auth = match credentials {
            None => RegistryAuth::Anonymous,
            Some(Credentials::Basic { username, password }) => RegistryAuth::Basic(username.clone(), password.clone()),
            Some(Credentials::Token(token)) => RegistryAuth::Bearer(token.clone()),
        };
        Ok(Self { client, reference, auth })
    }

    /// Digests the name stands for (an index and its manifest), the configuration and the layers.
    async fn manifest(&self, name: &ImageName) -> Result<(Vec<Digest>, Descriptor, Vec<Descriptor>), ImageError> {
        let mut reference = self.reference.clone();
        let mut digests: Vec<Digest> = Vec::new();
        // An index, and the image it points to.
        for _ in 0..2 {
            let (raw, digest) = self
                .client
                .pull_manifest_raw(&reference, &self.auth, &ACCEPTED)
                .await
                .map_err(|error| self.error(error, "manifest"))?;
            if raw.len() as u64 > MANIFEST_BYTES_MAX {
                return Err(ImageError::TooLarge {
                    what: "the manifest".into(),
                    limit: format!("{MANIFEST_BYTES_MAX} bytes"),
                });
            }
            let actual = Digest::of(&raw);
            if let Some(expected) = Digest::parse(&digest) {
                check("manifest", &expected, &actual)?;
            }
            digests.push(actual);
            match Manifest::parse(&raw, "manifest")? {
                Manifest::Image { config, layers } => return Ok((digests, config, layers)),
                Manifest::Index(manifests) => {
                    let chosen = for_this_machine(&manifests, &name.canonical())?;
                    reference = self.reference.clone_with_digest(chosen.digest.to_string());
                }
            }
        }
        Err(self.failed("its index points to another index".into()))
    }

    async fn config(&self, descriptor: &Descriptor) -> Result<Vec<u8>, ImageError> {
        let mut content = Vec::new();
        let mut stream = self.blob(descriptor, "image configuration").await?;
        while let Some(bytes) = stream.next().await {
            content.extend_from_slice(&bytes.map_err(|error| self.stream_error(error, "image configuration"))?);
            if content.len() as u64 > CONFIG_BYTES_MAX {
                let limit = format!("{CONFIG_BYTES_MAX} bytes");
                return Err(ImageError::TooLarge { what: "the image configuration".into(), limit });
            }
        }
        check("image configuration", &descriptor.digest, &Digest::of(&content))?;
        Ok(content)
    }

    async fn download(&self, layer: &Descriptor, to: &Path, progress: &PullProgress) -> Result<(), ImageError> {
        let what = format!("layer {}", layer.digest);
        if layer.size > IMAGE_BYTES_MAX {
            return Err(ImageError::TooLarge { what, limit: format!("{} GiB", IMAGE_BYTES_MAX >> 30) });
        }
        let writing = || ImageError::io(format!("writing {}", to.display()));
        let mut stream = self.blob(layer, &what).await?;
        let mut file = tokio::fs::File::create(to).await.map_err(writing())?;
        let mut done = 0;
        while let Some(bytes) = stream.next().await {
            let bytes = bytes.map_err(|error| self.stream_error(error, &what))?;
            done += bytes.len() as u64;
            if done > layer.size {
                return Err(self.failed(format!("{what} is longer than the {} bytes of its manifest", layer.size)));
            }
            file.write_all(&bytes).await.map_err(writing())?;
            progress(PullEvent::Downloading { layer: layer.digest.clone(), bytes: done, total: layer.size });
        }
        file.flush().await.map_err(writing())?;
        if done < layer.size {
            return Err(self.failed(format!("{what} ended after {done} of {} bytes", layer.size)));
        }
        Ok(())
    }

    async fn blob(
        &self,
        descriptor: &Descriptor,
        what: &str,
    ) -> Result<stream::BoxStream<'static, io::Result<bytes::Bytes>>, ImageError> {
        let stream = self.client.pull_blob_stream(&self.reference, descriptor.digest.as_str()).await;
        Ok(stream.map_err(|error| self.error(error, what))?.stream)
    }

    fn failed(&self, detail: String) -> ImageError {
        ImageError::Registry { reference: self.shown(), registry: self.reference.registry().to_owned(), detail }
    }

    fn shown(&self) -> String {
        self.reference.whole()
    }

    fn error(&self, error: OciDistributionError, what: &str) -> ImageError {
        let (reference, registry) = (self.shown(), self.reference.registry().to_owned());
        let not_found =
            |detail| ImageError::NotInRegistry { reference: reference.clone(), registry: registry.clone(), detail };
        let unauthorized = |detail: String| ImageError::Unauthorized {
            reference: reference.clone(),
            registry: registry.clone(),
            detail: format!("{detail}; it does not exist or needs credentials"),
        };
        match error {
            OciDistributionError::RequestError(error) => {
                // Whatever broke between us and the registry: name, connection, TLS, time.
                let shown = chain(&error);
                ImageError::Unreachable { registry, detail: shown }
            }
            OciDistributionError::ImageManifestNotFoundError(detail) => not_found(detail),
            OciDistributionError::UnauthorizedError { .. } => unauthorized("authorization failed".into()),
            OciDistributionError::AuthenticationFailure(detail) => {
                unauthorized(format!("authentication failed: {detail}"))
            }
            OciDistributionError::RegistryError { envelope, .. } => {
                let detail = envelope.errors.iter().map(|e| e.message.clone()).collect::<Vec<_>>().join("; ");
                match envelope.errors.first().map(|e| &e.code) {
                    Some(
                        OciErrorCode::ManifestUnknown
                        | OciErrorCode::NameUnknown
                        | OciErrorCode::NotFound
                        | OciErrorCode::BlobUnknown
                        | OciErrorCode::ManifestBlobUnknown,
                    ) => not_found(format!("{what}: {detail}")),
                    Some(OciErrorCode::Unauthorized | OciErrorCode::Denied) => unauthorized(detail),
                    _ => self.failed(format!("{what}: {detail}")),
                }
            }
            OciDistributionError::ServerError { code: 404, .. } => not_found(format!("{what}: HTTP status 404")),
            OciDistributionError::ServerError { code: code @ (401 | 403), .. } => {
                unauthorized(format!("HTTP status {code}"))
            }
            OciDistributionError::ServerError { code, message, .. } => {
                self.failed(format!("{what}: HTTP status {code}: {}", message.chars().take(200).collect::<String>()))
            }
            OciDistributionError::DigestError(error) => self.digest_error(&error, what),
            OciDistributionError::IoError(error) => self.stream_error(error, what),
            other => self.failed(format!("{what}: {}", chain(&other))),
        }
    }

    fn stream_error(&self, error: io::Error, what: &str) -> ImageError {
        match error.get_ref().and_then(|inner| inner.downcast_ref::<DigestError>()) {
            Some(digest) => self.digest_error(digest, what),
            None => ImageError::Unreachable {
                registry: self.reference.registry().to_owned(),
                detail: format!("{what} broke off: {}", chain(&error)),
            },
        }
    }

    fn digest_error(&self, error: &DigestError, what: &str) -> ImageError {
        if let DigestError::VerificationError { expected, actual } = error
            && let (Some(expected), Some(actual)) = (Digest::parse(expected), Digest::parse(actual))
        {
            return ImageError::DigestMismatch { what: what.to_owned(), expected, actual };
        }
        self.failed(format!("{what}: {error}"))
    }
}

/// The error and its causes: reqwest's own text leaves out why.
fn chain(error: &(dyn std::error::Error + 'static)) -> String {
    let mut text = error.to_string();
    let mut source = error.source();
    while let Some(cause) = source {
        let cause_text = cause.to_string();
        if !text.contains(&cause_text) {
            text = format!("{text}: {cause_text}");
        }
        source = cause.source();
    }
    text
}
