//! Who a request counts as, and whether it is allowed: judged on a state that is not older than what it will be about.

use http::HeaderMap;
use kontiki_model::Status;

use super::{Asks, Caller, Handler, Noted};
use crate::{
    authn::{self, Impersonation, MASTERS},
    authz::{self, Question},
    present::Known,
    request::Identity,
    route::RequestInfo,
};

/// What the state that a request is judged on is known to hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// All that was acknowledged before the request.
    Present(Known),
    /// What this server has, and that will do for all but a refusal.
    Local,
}

impl Handler {
    /// Who makes this request. From here on it is recorded, if anybody wants it to be.
    pub(super) async fn authenticate(
        &self,
        info: &RequestInfo,
        caller: &Caller,
        (headers, path): (&HeaderMap, &str),
        request_id: &str,
        noted: &mut Noted,
    ) -> Result<Identity, Status> {
        let real = match caller {
            Caller::InProcess(identity) => Ok(Identity::clone(identity)),
            Caller::Connection { certificate, .. } => {
                authn::authenticate(&self.core, certificate.as_deref(), headers, path).await
            }
        };
        if let Ok(real) = &real {
            caller.proved(real);
        }
        let nobody = Identity::default();
        let begun = self
            .core
            .audit
            .as_ref()
            .zip(noted.arrived.take())
            .and_then(|(audit, arrived)| audit.begin(arrived, info, real.as_ref().unwrap_or(&nobody), request_id));
        match (&real, begun) {
            (Ok(_), Some(entry)) => {
                entry.received();
                noted.entry = Some(entry);
            }
            (Err(status), Some(entry)) => entry.unknown(status),
            (_, None) => {}
        }
        real
    }

    /// Who the request counts as, if they may act as that. No refusal is about a state older than the request.
    pub(super) async fn act(
        &self,
        real: &Identity,
        wanted: Option<&Impersonation>,
        info: &RequestInfo,
        noted: &mut Noted,
    ) -> Result<Identity, Status> {
        let Some(wanted) = wanted else { return Ok(real.clone()) };
        let identity = match authz::check_impersonation(&self.core, real, wanted, info) {
            Ok(identity) => identity,
            Err(_) => {
                self.core.reach_present().await?;
                authz::check_impersonation(&self.core, real, wanted, info)?
            }
        };
        tracing::debug!(user = real.user, impersonated = identity.user, "acting as somebody else");
        if let Some(entry) = &mut noted.entry {
            entry.acts_as(&identity);
        }
        Ok(identity)
    }

    /// Who writes, or reads the present, is judged on the present: on this server, too, a permission ends when that was acknowledged
    /// by any other, and whom it makes of somebody else is made anew. What is told of whatever this server has is judged on just that.
    pub(super) async fn standing(
        &self,
        asks: &Asks,
        query: &[(String, String)],
        real: &Identity,
        wanted: Option<&Impersonation>,
        identity: &mut Identity,
    ) -> Result<Standing, Status> {
        let is_judged = wanted.is_some() || !real.in_group(MASTERS);
        if !is_judged || !asks.is_about_present(query, self.core.log.revision()) {
            return Ok(Standing::Local);
        }
        let known = self.core.reach_present().await?;
        if let Some(wanted) = wanted {
            let asked = asks.judged().unwrap_or(&asks.info);
            *identity = authz::check_impersonation(&self.core, real, wanted, asked)?;
        }
        Ok(Standing::Present(known))
    }

    /// Refuses what the identity may not.
    pub(super) async fn authorize(
        &self,
        question: Question<'_>,
        standing: Standing,
        noted: &Noted,
    ) -> Result<(), Status> {
        let mut decision = authz::decide(&self.core, question)?;
        // Before it has caught up, a server is asked about nothing but itself.
        if !decision.allowed && standing == Standing::Local && self.core.is_caught_up() {
            self.core.reach_present().await?;
            decision = authz::decide(&self.core, question)?;
        }
        if let Some(entry) = &noted.entry {
            entry.decided(&decision);
        }
        authz::enforce(&self.core, question, &decision)
    }
}
