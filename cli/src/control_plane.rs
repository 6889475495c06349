//! One server's part of the control plane: log, API server and controllers, opened, run and stopped in order.

use std::{path::PathBuf, time::Duration};

use anyhow::{Context, Result, bail};
use kontiki_apiserver::{ApiServer, Config, pki::Cluster};
use kontiki_raft::{Log, LogConfig};
use tokio::{
    net::TcpListener,
    signal::unix::{SignalKind, signal},
};
use tokio_util::sync::CancellationToken;
use tracing::{info, warn};

use crate::{
    args, authentication,
    control::{self, Controllers},
    encryption::{self, EncryptionFile},
    layout::{self, Layout},
};

/// A leader that stops has this long to find its successor; the others elect one without it.
const HAND_OVER_TIME_MAX: Duration = Duration::from_secs(3);

/// What a control plane is to be.
pub struct Plan {
    pub config: Config,
    pub log: LogConfig,
    /// How bodies are encrypted in the log, if they are.
    pub encryption: Option<EncryptionFile>,
    /// The file that names further issuers of tokens, to be read again when it changes.
    pub issuers: Option<PathBuf>,
    /// What controllers do here while this server leads, if they run.
    pub controllers: Option<Controllers>,
}

impl Plan {
    /// What the flags of an API server say, besides where it is and whose it is.
    pub fn new(mut config: Config, log: LogConfig, flags: &args::ApiServer, controllers: bool) -> Result<Self> {
        flags.tokens.configure(&mut config);
        flags.admission.configure(&mut config)?;
        flags.requests.configure(&mut config)?;
        config.authentication = authentication::source(&flags.authentication)?;
        let encryption = EncryptionFile::open(&flags.encryption)?;
        let controllers =
            controllers.then_some(Controllers { balance: flags.load_balancers == args::LoadBalancers::Nodes });
        Ok(Plan { config, log, encryption, issuers: flags.authentication.config.clone(), controllers })
    }
}

pub struct ControlPlane {
    pub log: Log,
    pub server: ApiServer,
    encryption: Option<EncryptionFile>,
    issuers: Option<PathBuf>,
    controllers: Option<Controllers>,
}

impl ControlPlane {
    /// Opens the log and serves on the socket; whoever asks before the log has caught up is told to come again.
    pub async fn open(plan: Plan, listener: TcpListener) -> Result<Self> {
        let Plan { config, mut log, encryption, issuers, controllers } = plan;
        log.seal = encryption.as_ref().map(EncryptionFile::seal);
        let log = Log::open(log).await.context("opening the log")?;
        let server = ApiServer::start_on(listener, config, log.clone()).context("starting the API server")?;
        Ok(ControlPlane { log, server, encryption, issuers, controllers })
    }

    /// Runs the controllers until `cancel`; cancels it if the log ends under them, for nothing can be written or promised any
    /// more.
    pub async fn control(&self, cancel: CancellationToken) -> Result<()> {
        let root_ca = self.server.core().pki.ca_pem().to_owned();
        let controlled = async {
            control::run(self.server.clone(), self.log.clone(), root_ca, self.controllers, cancel.clone()).await;
            let asked = cancel.is_cancelled();
            cancel.cancel();
            asked
        };
        let encrypted = async {
            self.server.ready().await;
            encryption::keep(self.encryption.as_ref(), &self.log).await;
        };
        let issuers = authentication::keep(self.issuers.as_ref(), self.server.core());
        let kept = async { tokio::join!(encrypted, issuers) };
        let (asked, _) = tokio::join!(controlled, cancel.run_until_cancelled(kept));
        if asked {
            return Ok(());
        }
        bail!("the log has ended; what was logged before says why")
    }

    /// Ends so that nobody notices: new clients are sent elsewhere, leadership is handed over, what is in work is answered, and
    /// then the log is closed.
    pub async fn stop(self) {
        self.log.leave();
        self.server.core().drain();
        let alone = self.log.members().iter().filter(|member| member.voter).count() <= 1;
        if self.log.leadership().borrow().leader && !alone {
            match tokio::time::timeout(HAND_OVER_TIME_MAX, self.log.transfer_leadership(None)).await {
                Ok(Ok(())) => {
                    info!("leadership handed over");
                    self.expect_successor().await;
                }
                Ok(Err(error)) => info!(%error, "leadership was not handed over; the others elect a leader"),
                Err(_) => warn!("nobody took leadership over in time; the others elect a leader"),
            }
        }
        self.server.shutdown().await;
        self.log.shutdown().await;
    }

    /// Writes in work are answered once the new leader has brought them back here. It must have connected for that before nobody is
    /// let in any more.
    async fn expect_successor(&self) {
        match tokio::time::timeout(HAND_OVER_TIME_MAX, self.log.barrier()).await {
            Ok(Ok(_)) => {}
            Ok(Err(error)) => info!(%error, "what is in work may go unanswered"),
            Err(_) => warn!("the new leader has not come back to this server; what is in work may go unanswered"),
        }
    }

    /// Writes the operator's kubeconfig, this server first; `shown` is what was written last.
    pub fn write_kubeconfig(&self, layout: &Layout, name: &str, shown: &mut String) -> Result<()> {
        let mut members = self.log.members();
        members.sort_by_key(|member| (member.name != name, member.name.clone()));
        let clusters: Vec<Cluster> = members
            .into_iter()
            .map(|member| Cluster { name: member.name, url: format!("https://{}", member.address) })
            .collect();
        let text = self.server.kubeconfig(&clusters)?;
        if text != *shown {
            layout::write_private(&layout.kubeconfig(), &text)?;
            *shown = text;
        }
        Ok(())
    }
}

/// The machine's name, as Kubernetes wants names.
pub fn host_name() -> Result<String> {
    let host = nix::unistd::gethostname().context("reading the host name")?;
    let host = host.into_string().ok().context("the host name is not UTF-8")?;
    Ok(host.to_lowercase())
}

/// Completes at SIGTERM or SIGINT. SIGHUP is ignored: a terminal that closes does not stop a cluster.
pub fn stop_signal() -> Result<impl Future<Output = ()>> {
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut hangup = signal(SignalKind::hangup())?;
    Ok(async move {
        loop {
            tokio::select! {
                _ = terminate.recv() => return,
                _ = interrupt.recv() => return,
                _ = hangup.recv() => {}
            }
        }
    })
}
