//! Who may act as whom.
//!
//! Two ways, as in Kubernetes. The old one: `impersonate` on the user, each group, the uid and each value of extra, which
//! then allows whatever they may do. The constrained one (KEP-5284): `impersonate:<mode>` on the same, and
//! `impersonate-on:<mode>:<verb>` on what the request is about.

use kontiki_model::Status;

use super::{Decision, Question, decide, denied};
use crate::{
    authn::Impersonation,
    core::Core,
    request::Identity,
    route::{RequestInfo, ResourceInfo, Target},
};

const AUTHENTICATION: &str = "authentication.k8s.io";

/// What is impersonated, each a resource to be allowed: users, groups, the uid, values of extra.
struct Part {
    group: &'static str,
    target: ResourceInfo,
}

/// Refuses what `real` may not: `info` is what they ask for as `wanted`.
pub(crate) fn check(core: &Core, real: &Identity, wanted: &Impersonation, info: &RequestInfo) -> Result<(), Status> {
    let may = |verb: &str, target: &Target| -> Result<bool, Status> {
        let Decision { allowed, .. } = decide(core, Question { identity: real, verb, target, field_selector: "" })?;
        Ok(allowed)
    };
    let parts = parts(wanted);
    let all = |verb: &str, old: bool| -> Result<bool, Status> {
        for Part { group, target } in &parts {
            let group = if old { *group } else { AUTHENTICATION };
            let target = Target::Resource(ResourceInfo { group: group.to_owned(), ..target.clone() });
            if !may(verb, &target)? {
                return Ok(false);
            }
        }
        Ok(true)
    };
    let mode = mode(&wanted.identity.user);
    let on = format!("impersonate-on:{mode}:{}", info.verb);
    if all("impersonate", true)? || may(&on, &info.target)? && all(&format!("impersonate:{mode}"), false)? {
        return Ok(());
    }
    Err(denied(real, &on, &info.target, ""))
}

fn mode(user: &str) -> &'static str {
    match user {
        user if service_account(user).is_some() => "serviceaccount",
        user if user.starts_with("system:node:") => "arbitrary-node",
        _ => "user-info",
    }
}

fn service_account(user: &str) -> Option<(&str, &str)> {
    user.strip_prefix("system:serviceaccount:")?.split_once(':')
}

fn parts(Impersonation { identity: wanted, groups }: &Impersonation) -> Vec<Part> {
    let about = |group, resource: &str, subresource: &str, name: &str| Part {
        group,
        target: ResourceInfo {
            version: "v1".to_owned(),
            resource: resource.to_owned(),
            subresource: subresource.to_owned(),
            name: name.to_owned(),
            ..ResourceInfo::default()
        },
    };
    let mut parts = Vec::new();
    match service_account(&wanted.user) {
        Some((namespace, name)) => {
            let mut account = about("", "serviceaccounts", "", name);
            account.target.namespace = namespace.to_owned();
            parts.push(account);
        }
        None => parts.push(about("", "users", "", &wanted.user)),
    }
    parts.extend(groups.iter().map(|group| about("", "groups", "", group)));
    for (key, values) in &wanted.extra {
        parts.extend(values.iter().map(|value| about(AUTHENTICATION, "userextras", key, value)));
    }
    if !wanted.uid.is_empty() {
        parts.push(about(AUTHENTICATION, "uids", "", &wanted.uid));
    }
    parts
}
