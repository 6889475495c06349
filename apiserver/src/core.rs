//! What every handler needs: the log, the configuration, the keys, the counters. Built once, shared by all requests.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use kontiki_model::{Key, Status};
use kontiki_raft::{Log, ReadError, Stored};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    authn::{StaticTokens, TokenSigner},
    config::Config,
    failure, limits,
    metrics::Metrics,
    pki::Pki,
    proxy::NodeClient,
    rest::Frames,
    server::StartError,
};

pub struct Core {
    pub log: Log,
    pub config: Config,
    pub pki: Pki,
    pub tokens: TokenSigner,
    pub metrics: Metrics,
    /// Watch events rendered once for many watchers.
    pub(crate) frames: Frames,
    pub(crate) static_tokens: StaticTokens,
    pub(crate) nodes: NodeClient,
    /// Cancelled when the server stops: open watches and tunnels end.
    pub stopping: CancellationToken,
    /// Tunnels live here, beyond the request that opened them.
    pub(crate) tunnels: TaskTracker,
    bootstrapped: AtomicBool,
}

impl Core {
    /// Opens (at first start: makes) the cluster's identities and gets everything ready to serve. No IO besides the
    /// identities' directory and the token file.
    pub fn open(config: Config, log: Log) -> Result<Arc<Self>, StartError> {
        let pki = Pki::open(&config.pki_dir)?;
        let tokens = TokenSigner::new(&pki.token_key()?, config.token_issuer.clone()).map_err(StartError::TokenKey)?;
        let static_tokens = StaticTokens::read(config.token_file.as_deref())?;
        let nodes = NodeClient::new(&pki)?;
        Ok(Arc::new(Core {
            log,
            config,
            pki,
            tokens,
            metrics: Metrics::new(),
            frames: Frames::default(),
            static_tokens,
            nodes,
            stopping: CancellationToken::new(),
            tunnels: TaskTracker::new(),
            bootstrapped: AtomicBool::new(false),
        }))
    }

    /// An object as this server knows it now, which may be behind the leader.
    pub(crate) fn stored(&self, key: &Key) -> Result<Option<Stored>, Status> {
        self.log.get(key).map_err(|error| unreadable(&error))
    }

    pub(crate) fn is_bootstrapped(&self) -> bool {
        self.bootstrapped.load(Ordering::Acquire)
    }

    pub(crate) fn set_bootstrapped(&self) {
        self.bootstrapped.store(true, Ordering::Release);
    }
}

pub(crate) fn unreadable(error: &ReadError) -> Status {
    tracing::error!(%error, "the log cannot be read");
    failure::unavailable(format!("the log cannot be read: {error}"), limits::RETRY_AFTER_S)
}
