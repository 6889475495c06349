//! CertificateSigningRequests for Kubernetes' own signers: who asks for what they may have anyway is approved (`approve`), what
//! is approved is signed if it fits its signer (`signer`), and what has had its time is removed (`clean`).

mod approve;
mod clean;
mod request;
mod signer;

use std::{sync::Arc, time::Duration};

use k8s_openapi::{
    ByteString,
    api::{
        authorization::v1::SubjectAccessReview,
        certificates::v1::{CertificateSigningRequest, CertificateSigningRequestCondition},
    },
};
use kontiki_informer::{Change, Informer, ObjectKey, Queue};
use kube::{Api, ResourceExt, api::PostParams};
use tracing::info;

use self::{approve::Recognized, request::Request, signer::Signer};
use crate::{
    ControllerError,
    context::{Context, OwnWrites, settled},
};

const WORKERS: usize = 2;
const APPROVED: &str = "Approved";
const DENIED: &str = "Denied";
const FAILED: &str = "Failed";

/// Signs with the key of the cluster's CA, which only its holder ever sees.
pub trait CertificateAuthority: Send + Sync {
    /// The certificate for a request (both in PEM). `usages` are named as the certificates API does; the lifetime is what was
    /// asked for, and bounded by the authority.
    fn sign(&self, request: &[u8], usages: &[String], lifetime: Option<Duration>) -> Result<String, Unsigned>;
}

/// Why a request was not signed.
#[derive(Debug, thiserror::Error)]
pub enum Unsigned {
    #[error("the request can have no certificate: {0}")]
    Refused(String),
    /// It is tried again.
    #[error("nothing can be signed now: {0}")]
    Unable(String),
}

struct Controller {
    context: Context,
    requests: Informer<CertificateSigningRequest>,
    own_writes: OwnWrites,
}

/// What is to be done about a request.
#[derive(Debug, PartialEq)]
enum Verdict {
    Nothing,
    /// Approved, if who asks may have it without anybody looking at it.
    Approve(Vec<&'static Recognized>),
    Sign,
    /// It does not fit its signer, for this reason.
    Fail(String),
}

pub async fn run(context: Context) {
    let queue: Queue<ObjectKey> = Queue::default();
    let of_request = queue.clone();
    let requests = context.informer::<CertificateSigningRequest>(vec![Box::new(
        move |change: &Change<CertificateSigningRequest>| {
            if let Some(request) = &change.new {
                of_request.add(ObjectKey::of(&**request));
            }
        },
    )]);
    if !requests.synced().await {
        return;
    }
    let cleaner = clean::run(context.clone(), requests.clone());
    let controller = Arc::new(Controller { context, requests, own_writes: OwnWrites::default() });
    let cancel = controller.context.cancel.clone();
    let work = queue.drain(WORKERS, cancel, move |key| {
        let controller = controller.clone();
        async move {
            match controller.reconcile(&key).await {
                Ok(settled) => settled,
                Err(error) => settled("certificates", &key, Err(error)),
            }
        }
    });
    tokio::join!(cleaner, work);
}

impl Controller {
    /// Whether nothing is left to do; a request that nobody may have by themselves is asked about again, for roles change.
    async fn reconcile(&self, key: &ObjectKey) -> Result<bool, ControllerError> {
        self.own_writes.seen(key, &self.requests).await;
        let Some(request) = self.requests.get(key) else { return Ok(true) };
        let mut request = (*request).clone();
        match decide(&request) {
            Verdict::Nothing => return Ok(true),
            Verdict::Approve(recognized) => {
                let Some(message) = self.allowed(&request, &recognized).await? else { return Ok(false) };
                add_condition(&mut request, APPROVED, "AutoApproved", message);
                self.write(key, "approval", &request).await?;
            }
            Verdict::Sign => {
                let spec = &request.spec;
                let lifetime = spec.expiration_seconds.and_then(|seconds| u64::try_from(seconds).ok());
                let usages = spec.usages.as_deref().unwrap_or_default();
                let authority = &self.context.config.authority;
                match authority.sign(&spec.request.0, usages, lifetime.map(Duration::from_secs)) {
                    Ok(certificate) => {
                        request.status.get_or_insert_default().certificate = Some(ByteString(certificate.into_bytes()));
                        info!(request = key.name, signer = request.spec.signer_name, "certificate issued");
                    }
                    Err(Unsigned::Refused(why)) => add_condition(&mut request, FAILED, "SigningFailure", &why),
                    Err(unable @ Unsigned::Unable(_)) => return Err(unable.into()),
                }
                self.write(key, "status", &request).await?;
            }
            Verdict::Fail(why) => {
                add_condition(&mut request, FAILED, "SignerValidationFailure", &why);
                self.write(key, "status", &request).await?;
            }
        }
        Ok(true)
    }

    /// What to say of the approval, if the request's author holds a permission that goes with it.
    async fn allowed(
        &self,
        request: &CertificateSigningRequest,
        recognized: &[&'static Recognized],
    ) -> Result<Option<&'static str>, ControllerError> {
        let reviews: Api<SubjectAccessReview> = Api::all(self.context.clients.plain());
        for one in recognized {
            let review = reviews.create(&PostParams::default(), &one.question(&request.spec)).await?;
            if review.status.is_some_and(|status| status.allowed) {
                return Ok(Some(one.message));
            }
        }
        Ok(None)
    }

    async fn write(
        &self,
        key: &ObjectKey,
        subresource: &str,
        request: &CertificateSigningRequest,
    ) -> Result<(), ControllerError> {
        let clients = &self.context.clients;
        let api: Api<CertificateSigningRequest> = Api::all(clients.caused_by(request.resource_version().as_deref()));
        let written = api.replace_subresource(subresource, &key.name, &PostParams::default(), request).await?;
        self.own_writes.note(key, &written);
        Ok(())
    }
}

fn has(request: &CertificateSigningRequest, condition: &str) -> bool {
    let conditions = request.status.iter().flat_map(|status| status.conditions.iter().flatten());
    conditions.into_iter().any(|one| one.type_ == condition)
}

fn add_condition(request: &mut CertificateSigningRequest, condition: &str, reason: &str, message: &str) {
    let conditions = &mut request.status.get_or_insert_default().conditions;
    conditions.get_or_insert_default().push(CertificateSigningRequestCondition {
        type_: condition.to_owned(),
        status: "True".to_owned(),
        reason: Some(reason.to_owned()),
        message: Some(message.to_owned()),
        ..CertificateSigningRequestCondition::default()
    });
}

fn issued(request: &CertificateSigningRequest) -> Option<&[u8]> {
    let certificate = request.status.as_ref()?.certificate.as_ref()?;
    (!certificate.0.is_empty()).then_some(&*certificate.0)
}

fn decide(request: &CertificateSigningRequest) -> Verdict {
    let (approved, denied) = (has(request, APPROVED), has(request, DENIED));
    if issued(request).is_some() || denied || has(request, FAILED) {
        return Verdict::Nothing;
    }
    let Some(signer) = Signer::named(&request.spec.signer_name) else { return Verdict::Nothing };
    let usages = request.spec.usages.as_deref().unwrap_or_default();
    match (Request::read(&request.spec.request.0), approved) {
        (Ok(read), true) => signer.check(&read, usages).map_or_else(Verdict::Fail, |()| Verdict::Sign),
        (Ok(read), false) => match approve::recognized(signer, &read, usages, request.spec.username.as_deref()) {
            none if none.is_empty() => Verdict::Nothing,
            recognized => Verdict::Approve(recognized),
        },
        (Err(why), true) => Verdict::Fail(why),
        // Whoever looks at it will see.
        (Err(_), false) => Verdict::Nothing,
    }
}

#[cfg(test)]
mod tests;
