//! What every handler needs: the log, the configuration, the keys, the counters. Built once, shared by all requests.

use std::{
    sync::{
        Arc, PoisonError, RwLock,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use kontiki_kinds::Kinds;
use kontiki_model::{Key, Status};
use kontiki_raft::{Dial as _, Log, ReadError, Stored};
use tokio::sync::{Semaphore, watch};
use tokio_util::{sync::CancellationToken, task::TaskTracker};

use crate::{
    admission::Hooks,
    admission::Policies,
    aggregation::{Aggregation, Apis},
    audit::Audit,
    authn::{self, Authentication, StaticTokens, TokenSigner},
    authz::Rbac,
    config::Config,
    definitions::Definitions,
    failure,
    fairness::Fairness,
    follow::Follower,
    health::{self, Failing},
    kontiki::era::Eras,
    limits,
    metrics::Metrics,
    peers::Peers,
    pki::{JoinTokens, Pki},
    present::Present,
    proxy::NodeClient,
    registry::Registry,
    rest::{Frames, Turns, conversion::Conversions},
    route::Target,
    server::StartError,
    webhook::Webhooks,
};

pub struct Core {
    pub log: Log,
    pub config: Config,
    pub pki: Arc<Pki>,
    pub tokens: TokenSigner,
    /// Who is believed besides the cluster itself.
    pub authentication: Authentication,
    pub metrics: Metrics,
    /// What was made of the definitions of kinds.
    pub(crate) definitions: Definitions,
    /// The kinds that were served at moments that were asked about.
    pub(crate) eras: Eras,
    /// The kinds that are served now.
    registry: RwLock<Arc<Registry>>,
    /// Watch events rendered once for many watchers.
    pub(crate) frames: Frames,
    pub(crate) static_tokens: StaticTokens,
    /// Roles and bindings, as the log has them.
    pub(crate) rbac: Follower<Rbac>,
    /// Whether this server knows all that there is.
    pub(crate) present: Present,
    /// Who gets to work when.
    pub(crate) fairness: Fairness,
    /// Where requests are recorded, if they are.
    pub(crate) audit: Option<Arc<Audit>>,
    /// The admission webhooks that are configured, as the log has them.
    pub(crate) hooks: Follower<Hooks>,
    /// The way to webhooks.
    pub(crate) webhooks: Webhooks,
    /// What conversion webhooks made of objects.
    pub(crate) conversions: Conversions,
    /// Whose turn it is to be charged to the quotas of a namespace.
    pub(crate) turns: Turns,
    /// Admission policies, as the log has them.
    pub(crate) policies: Follower<Policies>,
    pub(crate) nodes: NodeClient,
    /// The ways to the servers of aggregated APIs.
    pub(crate) aggregation: Aggregation,
    /// What lets machines join.
    pub join_tokens: JoinTokens,
    /// The way to the other servers.
    pub peers: Peers,
    /// The other servers' connections, which belong to the log and end with it.
    pub(crate) peer_connections: TaskTracker,
    /// Joins being judged.
    pub(crate) joining: Semaphore,
    /// Cancelled when the server stops: open watches and tunnels end.
    pub stopping: CancellationToken,
    /// Tunnels live here, beyond the request that opened them.
    pub(crate) tunnels: TaskTracker,
    /// The log has caught up with its leader once: what this server knows is worth telling.
    caught_up: AtomicBool,
    bootstrapped: watch::Sender<bool>,
    /// About to stop: still answering, but new clients should go elsewhere.
    draining: AtomicBool,
    /// Controllers and scheduler run in this process.
    controlling: AtomicBool,
    pub(crate) failing: Failing,
}

impl Core {
    /// Opens (at first start: makes) the cluster's identities and gets everything ready to serve. No IO besides the
    /// identities' directory and the token file.
    pub fn open(config: Config, log: Log) -> Result<Arc<Self>, StartError> {
        let pki = Arc::new(Pki::open(&config.pki_dir)?);
        let tokens = authn::open_token_keys(&config, &pki)?;
        let authentication = Authentication::new(&config.authentication, tokens.issuers())?;
        let static_tokens = StaticTokens::read(config.token_file.as_deref())?;
        let nodes = NodeClient::new(pki.clone())?;
        let aggregation = Aggregation::new(pki.clone())?;
        let peers = Peers::new(pki.clone(), &config.name);
        peers.introduce(log.node_id());
        let metrics = Metrics::new();
        let fairness = Fairness::new(config.seats, metrics.fairness.clone());
        let audit = config.audit.clone().map(|settings| Audit::open(settings, metrics.audit.clone()));
        let audit = audit.transpose().map_err(StartError::Audit)?;
        let join_tokens = JoinTokens::open(&config.tokens_dir, pki.ca_pem())?;
        Ok(Arc::new(Core {
            webhooks: Webhooks::new(log.clone()),
            log,
            config,
            pki,
            tokens,
            authentication,
            metrics,
            definitions: Definitions::default(),
            eras: Eras::default(),
            registry: RwLock::new(Arc::new(Registry::new(Kinds::default(), Arc::default()))),
            frames: Frames::default(),
            static_tokens,
            rbac: Follower::new(),
            present: Present::default(),
            fairness,
            audit,
            hooks: Follower::new(),
            conversions: Conversions::default(),
            turns: Turns::default(),
            policies: Follower::new(),
            nodes,
            aggregation,
            join_tokens,
            peers,
            peer_connections: TaskTracker::new(),
            joining: Semaphore::new(limits::JOINS_IN_FLIGHT_MAX),
            stopping: CancellationToken::new(),
            tunnels: TaskTracker::new(),
            caught_up: AtomicBool::new(false),
            bootstrapped: watch::Sender::new(false),
            draining: AtomicBool::new(false),
            controlling: AtomicBool::new(false),
            failing: Failing::default(),
        }))
    }

    /// An object as this server knows it now, which may be behind the leader.
    pub(crate) fn stored(&self, key: &Key) -> Result<Option<Stored>, Status> {
        self.log.get(key).map_err(|error| unreadable(&error))
    }

    /// What is served now.
    pub(crate) fn registry(&self) -> Arc<Registry> {
        self.registry.read().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// From now on these kinds are served.
    pub(crate) fn serve(&self, kinds: Kinds) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let next = registry.replaced(kinds, registry.apis().clone());
        *registry = Arc::new(next);
    }

    /// From now on these are the APIServices.
    pub(crate) fn serve_apis(&self, apis: Apis) {
        let mut registry = self.registry.write().unwrap_or_else(PoisonError::into_inner);
        let next = registry.replaced(registry.kinds.clone(), Arc::new(apis));
        *registry = Arc::new(next);
    }

    /// The kinds that are served now.
    pub fn kinds(&self) -> Kinds {
        self.registry().kinds.clone()
    }

    /// Has `follow` keep something up with the log for as long as the server runs: after a failure again, until it ends.
    pub(crate) async fn keep_up(
        self: &Arc<Self>,
        what: &'static str,
        pause: Duration,
        follow: impl AsyncFn(&Arc<Core>) -> Result<(), Status>,
    ) {
        let following = async {
            if self.log.ready().await.is_err() {
                return;
            }
            while let Err(status) = follow(self).await {
                tracing::warn!(message = status.message, "{what} are not up to date");
                tokio::time::sleep(pause).await;
            }
        };
        self.stopping.run_until_cancelled(following).await;
    }

    pub(crate) fn is_bootstrapped(&self) -> bool {
        *self.bootstrapped.borrow()
    }

    /// Waits until the first objects are there.
    pub(crate) async fn bootstrapped(&self) {
        // The sender is this core's own: it cannot be gone.
        _ = self.bootstrapped.subscribe().wait_for(|done| *done).await;
    }

    pub(crate) fn set_bootstrapped(&self) {
        self.bootstrapped.send_replace(true);
    }

    /// Whether the log has caught up with its leader since this process started.
    pub fn is_caught_up(&self) -> bool {
        self.caught_up.load(Ordering::Acquire)
    }

    /// Refuses what the log is needed for while it is not known how far behind it is.
    pub(crate) fn knows_enough(&self, target: &Target) -> Result<(), Status> {
        let about_itself = |path: &str| {
            let first = path.split('/').find(|segment| !segment.is_empty()).unwrap_or_default();
            health::ENDPOINTS.contains(&first) || matches!(first, "metrics" | "version")
        };
        if self.is_caught_up() || matches!(target, Target::Path(path) if about_itself(path)) {
            return Ok(());
        }
        let message = "this server has not caught up with its cluster yet: ask another one, or this one again";
        Err(failure::unavailable(message, limits::RETRY_AFTER_S))
    }

    pub(crate) fn set_caught_up(&self) {
        self.caught_up.store(true, Ordering::Release);
    }

    pub(crate) fn is_draining(&self) -> bool {
        self.draining.load(Ordering::Acquire) || self.stopping.is_cancelled()
    }

    /// From now on `/readyz` sends new clients elsewhere.
    pub fn drain(&self) {
        self.draining.store(true, Ordering::Release);
    }

    /// Tells whether controllers and scheduler run in this process.
    pub fn set_controlling(&self, running: bool) {
        self.controlling.store(running, Ordering::Release);
    }

    pub(crate) fn is_controlling(&self) -> bool {
        self.controlling.load(Ordering::Acquire)
    }
}

pub(crate) fn unreadable(error: &ReadError) -> Status {
    match error {
        ReadError::Sealed(unopened) => failure::sealed(unopened),
        ReadError::NoMajority(why) => failure::unreachable(why),
        error => {
            tracing::error!(%error, "the log cannot be read");
            failure::unavailable(format!("the log cannot be read: {error}"), limits::RETRY_AFTER_S)
        }
    }
}
