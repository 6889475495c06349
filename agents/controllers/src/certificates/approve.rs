//! Which requests nobody need look at: those of node agents, by who holds the permission for them.

use std::collections::BTreeMap;

use k8s_openapi::api::{
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
    certificates::v1::CertificateSigningRequestSpec,
};

use super::{request::Request, signer::Signer};

/// A sort of request, and what permits it: to create this subresource of CertificateSigningRequests.
#[derive(Debug, PartialEq, Eq)]
pub struct Recognized {
    pub subresource: &'static str,
    pub message: &'static str,
}

/// The certificate that an agent has already, anew.
static OWN: Recognized = Recognized {
    subresource: "selfnodeclient",
    message: "Auto approving self kubelet client certificate after SubjectAccessReview.",
};
/// That of any agent: the first one, which it asks for with a bootstrap token.
static ANY: Recognized = Recognized {
    subresource: "nodeclient",
    message: "Auto approving kubelet client certificate after SubjectAccessReview.",
};

pub fn recognized(
    signer: Signer,
    request: &Request,
    usages: &[String],
    author: Option<&str>,
) -> Vec<&'static Recognized> {
    if signer != Signer::ApiServerClientKubelet || signer.check(request, usages).is_err() {
        return Vec::new();
    }
    if author == Some(request.common_name.as_str()) { vec![&OWN, &ANY] } else { vec![&ANY] }
}

impl Recognized {
    /// Whether the author of a request may have it.
    pub fn question(&self, request: &CertificateSigningRequestSpec) -> SubjectAccessReview {
        let asked = ResourceAttributes {
            group: Some("certificates.k8s.io".to_owned()),
            resource: Some("certificatesigningrequests".to_owned()),
            subresource: Some(self.subresource.to_owned()),
            verb: Some("create".to_owned()),
            ..ResourceAttributes::default()
        };
        let spec = SubjectAccessReviewSpec {
            user: request.username.clone(),
            uid: request.uid.clone(),
            groups: request.groups.clone(),
            extra: request.extra.clone().map(|extra| extra.into_iter().collect::<BTreeMap<_, _>>()),
            resource_attributes: Some(asked),
            ..SubjectAccessReviewSpec::default()
        };
        SubjectAccessReview { spec, ..SubjectAccessReview::default() }
    }
}
