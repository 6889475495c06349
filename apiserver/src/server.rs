//! The API server as a whole: starting it, asking it from within, stopping it.

use std::{net::SocketAddr, path::PathBuf, sync::Arc, time::Duration};

use kontiki_raft::Log;
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_util::task::TaskTracker;

use crate::{
    admission, aggregation,
    authn::{AuthenticationError, KeyFault, TokenFileError},
    bootstrap,
    config::Config,
    core::Core,
    definitions, fairness,
    handler::Handler,
    in_process::InProcess,
    kubernetes_service, limits,
    pki::{self, Cluster, PkiError},
    request::Identity,
    serve::{self, ServerTls, TlsError},
};

/// Why the server cannot start.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    #[error("cannot listen on {address}")]
    Listen { address: SocketAddr, source: std::io::Error },
    #[error(transparent)]
    Pki(#[from] PkiError),
    #[error("cannot use the key of service account tokens")]
    TokenKey(#[source] KeyFault),
    #[error("cannot read {path}")]
    TokenKeyRead { path: PathBuf, source: std::io::Error },
    #[error("{path} holds no usable key of service account tokens")]
    TokenKeyFile { path: PathBuf, source: KeyFault },
    #[error("{0}")]
    TokenIssuer(String),
    #[error(transparent)]
    Tokens(#[from] TokenFileError),
    #[error("cannot open the audit log")]
    Audit(#[source] std::io::Error),
    #[error("the authentication configuration cannot be used")]
    Authentication(#[from] AuthenticationError),
    #[error("cannot set up TLS")]
    Tls(#[from] TlsError),
}

/// A running API server; clones are handles to the same one.
#[derive(Clone)]
pub struct ApiServer {
    core: Arc<Core>,
    handler: Arc<Handler>,
    acceptor: TlsAcceptor,
    tasks: TaskTracker,
}

impl ApiServer {
    /// Starts serving on top of an open log.
    ///
    /// The identities are made where they are missing, the socket is bound, and the objects that every cluster has are
    /// created. Returns when the server is ready, or, where the log has no leader yet, after
    /// [`limits::BOOTSTRAP_TIME_MAX`]; `/readyz` tells.
    pub async fn start(config: Config, log: Log) -> Result<ApiServer, StartError> {
        let address = config.listen;
        let failed = |source| StartError::Listen { address, source };
        let listener = TcpListener::bind(address).await.map_err(failed)?;
        let server = ApiServer::start_on(listener, config, log)?;
        if tokio::time::timeout(limits::BOOTSTRAP_TIME_MAX, server.ready()).await.is_err() {
            tracing::warn!("serving, but not ready: the log takes no writes yet");
        }
        Ok(server)
    }

    /// As [`ApiServer::start`], on a socket that is bound already, and without waiting: until the log has caught up with its
    /// leader, whatever is asked is answered with 503.
    pub fn start_on(listener: TcpListener, mut config: Config, log: Log) -> Result<ApiServer, StartError> {
        let address = config.listen;
        config.listen = listener.local_addr().map_err(|source| StartError::Listen { address, source })?;
        let core = Core::open(config, log)?;
        let credential = core.pki.server(&core.config.certificate_names())?;
        let tls = ServerTls::new(&core.pki, &credential)?;
        let handler = Arc::new(Handler::new(core.clone()));
        let tasks = TaskTracker::new();
        let acceptor = tls.acceptor();
        tasks.spawn(serve::serve(listener, acceptor.clone(), handler.clone()));
        tasks.spawn(keep_certificate(core.clone(), tls));
        tasks.spawn(begin(core.clone()));
        tasks.spawn(know_issuers(core.clone()));
        tasks.spawn(definitions::keep(core.clone()));
        tasks.spawn(aggregation::keep(core.clone()));
        tasks.spawn(aggregation::lead(core.clone()));
        tasks.spawn(fairness::keep(core.clone()));
        tasks.spawn(fairness::keep_conditions(core.clone()));
        Ok(ApiServer { core, handler, acceptor, tasks })
    }

    /// Waits until this server has caught up with the log and the objects that every cluster has are there.
    pub async fn ready(&self) {
        self.core.bootstrapped().await;
    }

    /// Keeps the status of admission policies, for as long as it is not dropped: for one server of the cluster at a time.
    pub async fn keep_policy_statuses(&self) {
        admission::keep_statuses(&self.core).await;
    }

    /// Serves on one more socket, under the same certificate.
    pub fn also_serve(&self, listener: TcpListener) {
        self.tasks.spawn(serve::serve(listener, self.acceptor.clone(), self.handler.clone()));
    }

    /// Where it listens.
    pub fn local_address(&self) -> SocketAddr {
        self.core.config.listen
    }

    /// What handlers share: the log, the configuration as it is served, the identities.
    pub fn core(&self) -> &Arc<Core> {
        &self.core
    }

    /// A client of this server that needs no socket.
    pub fn in_process(&self, identity: Identity) -> InProcess {
        InProcess::new(self.handler.clone(), identity)
    }

    /// A kubeconfig of the operator for these servers, the first one's context being current.
    pub fn kubeconfig(&self, servers: &[Cluster]) -> Result<String, PkiError> {
        Ok(pki::kubeconfig(servers, self.core.pki.ca_pem(), &self.core.pki.admin()?))
    }

    /// Stops serving: no new connections, watches and tunnels end, other requests get
    /// [`limits::SHUTDOWN_TIME_MAX`] to be answered. The log stays open.
    pub async fn shutdown(&self) {
        self.core.stopping.cancel();
        self.tasks.close();
        self.core.tunnels.close();
        let ended = async {
            self.tasks.wait().await;
            self.core.tunnels.wait().await;
        };
        let patience = limits::SHUTDOWN_TIME_MAX + Duration::from_secs(1);
        if tokio::time::timeout(patience, ended).await.is_err() {
            tracing::warn!("requests were still open at shutdown");
        }
        if let Some(audit) = self.core.audit.clone() {
            let closed = tokio::task::spawn_blocking(move || audit.close()).await;
            closed.unwrap_or_else(|error| tracing::error!(%error, "the audit log was not closed"));
        }
    }
}

/// What happens once the log has caught up: the first objects, and then the leader's care for them and the `kubernetes` Service.
async fn begin(core: Arc<Core>) {
    match core.stopping.run_until_cancelled(core.log.ready()).await {
        None => return,
        Some(Err(error)) => return tracing::error!(%error, "the log ended before it had caught up"),
        Some(Ok(())) => {}
    }
    if let Err(status) = definitions::refresh(&core) {
        tracing::error!(message = status.message, "the definitions of kinds cannot be read");
    }
    core.set_caught_up();
    bootstrap::run(core.clone()).await;
    tokio::join!(kubernetes_service::keep(core.clone()), bootstrap::keep(core));
}

/// Gets the keys of further issuers of tokens before the first of those comes.
async fn know_issuers(core: Arc<Core>) {
    core.stopping.run_until_cancelled(core.authentication.prepare()).await;
}

/// Issues the server's certificate anew before it ends.
async fn keep_certificate(core: Arc<Core>, tls: ServerTls) {
    let renewing = async {
        loop {
            tokio::time::sleep(core.config.certificate_check_interval).await;
            let renewed = core.pki.server(&core.config.certificate_names());
            let replaced = renewed.map_err(StartError::from).and_then(|credential| Ok(tls.replace(&credential)?));
            if let Err(error) = replaced {
                tracing::error!(%error, "the server's certificate cannot be renewed");
            }
        }
    };
    core.stopping.run_until_cancelled(renewing).await;
}
