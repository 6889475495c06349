//! What runs where the Raft leader is: controllers and scheduler, fenced by the term they were started in.

use std::{sync::Arc, time::Duration};

use kontiki_apiserver::{
    ApiServer, Core, Identity,
    pki::{PkiError, Terms},
};
use kontiki_controllers::{CertificateAuthority, ControllerConfig, Unsigned};
use kontiki_informer::Clients;
use kontiki_raft::Log;
use kontiki_scheduler::SchedulerConfig;
use tokio_util::sync::CancellationToken;
use tracing::info;

/// What controllers are told to do besides what they always do.
#[derive(Clone, Copy, Debug)]
pub struct Controllers {
    /// Give Services of type LoadBalancer addresses of nodes.
    pub balance: bool,
}

/// Runs controllers and scheduler, if they are to run here, for as long as this server leads, anew in each term; returns when
/// cancelled, or when the log has ended.
pub async fn run(
    server: ApiServer,
    log: Log,
    root_ca: String,
    controllers: Option<Controllers>,
    cancel: CancellationToken,
) {
    let mut leadership = log.leadership();
    while !cancel.is_cancelled() {
        let now = *leadership.borrow_and_update();
        let in_term = cancel.child_token();
        let changed = async {
            // Any change ends the term's controllers: a new leader has its own, a new term needs a new fence.
            let other = leadership.wait_for(|next| (next.leader, next.term) != (now.leader, now.term)).await;
            let log_lives = other.is_ok();
            in_term.cancel();
            log_lives
        };
        let log_lives = if let Some(controllers) = controllers.filter(|_| now.leader) {
            info!(term = now.term, "leading: controllers start");
            server.core().set_controlling(true);
            let config = ControllerConfig {
                root_ca: root_ca.clone(),
                balance: controllers.balance,
                authority: Arc::new(Authority(server.core().clone())),
            };
            let work = lead(&server, now.term, config, in_term.clone());
            let log_lives = tokio::join!(cancel.run_until_cancelled(changed), work).0;
            server.core().set_controlling(false);
            log_lives
        } else {
            cancel.run_until_cancelled(changed).await
        };
        if log_lives == Some(false) {
            return;
        }
    }
}

async fn lead(server: &ApiServer, term: u64, config: ControllerConfig, cancel: CancellationToken) {
    // Before the default roles are there, nothing would be allowed.
    if cancel.run_until_cancelled(server.ready()).await.is_none() {
        return;
    }
    let clients = |user: &str, agent: &'static str| {
        let identity = Identity { user: user.to_owned(), term: Some(term), ..Identity::default() };
        Clients::new(server.in_process(identity), agent)
    };
    let controllers = kontiki_controllers::run(
        clients("system:kube-controller-manager", "kontiki-controllers"),
        config,
        cancel.clone(),
    );
    let scheduler = kontiki_scheduler::run(
        clients("system:kube-scheduler", "kontiki-scheduler"),
        SchedulerConfig { server: server_name(server) },
        cancel.clone(),
    );
    let policies = cancel.run_until_cancelled(server.keep_policy_statuses());
    tokio::join!(controllers, scheduler, policies);
}

/// As the cluster knows this server.
fn server_name(server: &ApiServer) -> String {
    let log = &server.core().log;
    let own = log.members().into_iter().find(|member| member.id == log.node_id());
    own.map_or_else(|| log.node_id().to_string(), |member| member.name)
}

/// The CA of this server, as controllers get to use it: they have things signed and do not see the key.
struct Authority(Arc<Core>);

impl CertificateAuthority for Authority {
    fn sign(&self, request: &[u8], usages: &[String], lifetime: Option<Duration>) -> Result<String, Unsigned> {
        self.0.pki.sign_request(request, Terms { usages, lifetime }).map_err(|error| match error {
            PkiError::Request(_) | PkiError::Name(_) | PkiError::Issue { .. } => Unsigned::Refused(error.to_string()),
            PkiError::File { .. }
            | PkiError::Key { .. }
            | PkiError::Certificate { .. }
            | PkiError::KeyMissing { .. }
            | PkiError::Mismatch { .. } => Unsigned::Unable(error.to_string()),
        })
    }
}
