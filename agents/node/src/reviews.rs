//! Asking the API server whose a token is, and what its holder may get of this node.

use k8s_openapi::api::{
    authentication::v1::{TokenReview, TokenReviewSpec, UserInfo},
    authorization::v1::{ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec},
};
use kube::{Api, Client, api::PostParams};

use crate::server::Verdict;

/// Whether the token's holder may get the subresource of the node.
pub async fn review(client: &Client, node: &str, token: &str, subresource: &str) -> Result<Verdict, kube::Error> {
    let spec = TokenReviewSpec { token: token.to_owned(), ..TokenReviewSpec::default() };
    let asked = TokenReview { spec, ..TokenReview::default() };
    let told = Api::<TokenReview>::all(client.clone()).create(&PostParams::default(), &asked).await?;
    let status = told.status.unwrap_or_default();
    let (Some(true), Some(user)) = (status.authenticated, status.user) else { return Ok(Verdict::Unknown) };
    let name = user.username.clone().unwrap_or_default();
    let asked = SubjectAccessReview { spec: question(user, node, subresource), ..SubjectAccessReview::default() };
    let told = Api::<SubjectAccessReview>::all(client.clone()).create(&PostParams::default(), &asked).await?;
    Ok(match told.status {
        Some(status) if status.allowed && status.denied != Some(true) => Verdict::Allowed,
        Some(_) | None => Verdict::Refused { user: name },
    })
}

fn question(user: UserInfo, node: &str, subresource: &str) -> SubjectAccessReviewSpec {
    SubjectAccessReviewSpec {
        user: user.username,
        uid: user.uid,
        groups: user.groups,
        extra: user.extra,
        resource_attributes: Some(ResourceAttributes {
            verb: Some("get".to_owned()),
            version: Some("v1".to_owned()),
            resource: Some("nodes".to_owned()),
            subresource: Some(subresource.to_owned()),
            name: Some(node.to_owned()),
            ..ResourceAttributes::default()
        }),
        ..SubjectAccessReviewSpec::default()
    }
}
