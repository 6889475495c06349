//! Requests that have had their time: they would pile up, for agents ask on and on.

use std::time::Duration;

use k8s_openapi::{api::certificates::v1::CertificateSigningRequest, jiff::Timestamp};
use kontiki_informer::Informer;
use kube::{
    Api, ResourceExt,
    api::{DeleteParams, Preconditions},
};
use tracing::{info, warn};
use x509_parser::{certificate::X509Certificate, pem::Pem, prelude::FromDer as _};

use super::{APPROVED, DENIED, FAILED, issued};
use crate::context::{Context, gone_is_fine};

const ROUND: Duration = Duration::from_secs(3600);
/// How long one is kept that was decided, and one that waits.
const DECIDED_S: i64 = 3600;
const WAITING_S: i64 = 24 * 3600;

pub async fn run(context: Context, requests: Informer<CertificateSigningRequest>) {
    loop {
        for request in requests.list(None) {
            let Some(why) = stale(&request, Timestamp::now().as_second()) else { continue };
            let api: Api<CertificateSigningRequest> =
                Api::all(context.clients.caused_by(request.resource_version().as_deref()));
            // Who has decided about it meanwhile will want to see it.
            let preconditions = Preconditions { uid: request.uid(), resource_version: request.resource_version() };
            let parameters = DeleteParams { preconditions: Some(preconditions), ..DeleteParams::default() };
            match gone_is_fine(api.delete(&request.name_any(), &parameters).await) {
                Ok(_) => info!(request = request.name_any(), why, "certificate request removed"),
                Err(error) => {
                    warn!(request = request.name_any(), %error, "certificate request not removed; next round")
                }
            }
        }
        tokio::select! {
            () = context.cancel.cancelled() => return,
            () = tokio::time::sleep(ROUND) => {}
        }
    }
}

/// Why it should go, if it should.
pub fn stale(request: &CertificateSigningRequest, now_s: i64) -> Option<&'static str> {
    let conditions = || request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    let since = |condition: &str, age_s: i64| {
        let of_type = conditions().filter(|one| one.type_ == condition);
        let mut updated = of_type.filter_map(|one| one.last_update_time.as_ref());
        updated.any(|at| now_s - at.0.as_second() > age_s)
    };
    let created = request.metadata.creation_timestamp.as_ref().map_or(now_s, |at| at.0.as_second());
    match issued(request) {
        Some(certificate) if since(APPROVED, DECIDED_S) || expired(certificate, now_s) => Some("issued"),
        None if since(APPROVED, WAITING_S) => Some("never signed"),
        _ if since(DENIED, DECIDED_S) => Some("denied"),
        _ if since(FAILED, DECIDED_S) => Some("failed"),
        _ if conditions().next().is_none() && now_s - created > WAITING_S => Some("never decided"),
        Some(_) | None => None,
    }
}

/// One that cannot be read does not count: signers of others may issue what they like.
fn expired(certificate: &[u8], now_s: i64) -> bool {
    let Some(Ok(block)) = Pem::iter_from_buffer(certificate).next() else { return false };
    let parsed = X509Certificate::from_der(&block.contents);
    parsed.is_ok_and(|(_, certificate)| certificate.validity().not_after.timestamp() < now_s)
}
