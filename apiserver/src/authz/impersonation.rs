//! Who may act as whom.
//!
//! Two ways, as in Kubernetes. The old one: `impersonate` on the user, each group, the uid and each value of extra, which
//! then allows whatever they may do. The constrained ones (KEP-5284): `impersonate:<mode>` on the same, and
//! `impersonate-on:<mode>:<verb>` on what the request is about. Which of those there are depends on who is wanted; of accounts and
//! nodes they give the name alone, and the groups are the server's to tell.

use kontiki_model::{Status, names};

use super::{Decision, Question, decide, denied};
use crate::{
    authn::{AUTHENTICATED, Impersonation, MASTERS, NODES, service_account},
    core::Core,
    request::Identity,
    route::{RequestInfo, ResourceInfo, Target},
};

const AUTHENTICATION: &str = "authentication.k8s.io";
/// What tells, of a service account, where the pod runs that has its token.
const RUNS_ON: &str = "authentication.kubernetes.io/node-name";

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Mode {
    /// The node that the account's pod runs on.
    AssociatedNode,
    ArbitraryNode,
    ServiceAccount,
    /// Who is neither.
    UserInfo,
    /// Without constraints.
    Legacy,
}

/// What a user's name says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Whom<'a> {
    Node(&'a str),
    Account(&'a str, &'a str),
    User(&'a str),
}

impl<'a> Whom<'a> {
    fn of(user: &'a str) -> Self {
        let node = user.strip_prefix("system:node:").filter(|name| names::subdomain(name).is_empty());
        match (node, service_account(user)) {
            (Some(name), _) => Whom::Node(name),
            (_, Some((namespace, name))) => Whom::Account(namespace, name),
            (None, None) => Whom::User(user),
        }
    }
}

impl Mode {
    /// The ways that there are, in the order in which they are tried.
    fn all(real: &Identity, wanted: &Impersonation) -> Vec<Mode> {
        let Impersonation { identity, groups } = wanted;
        let only_named = groups.is_empty() && identity.uid.is_empty() && identity.extra.is_empty();
        let constrained: &[Mode] = match Whom::of(&identity.user) {
            Whom::Node(name) if only_named && runs_on(real, name) => &[Mode::AssociatedNode, Mode::ArbitraryNode],
            Whom::Node(_) if only_named => &[Mode::ArbitraryNode],
            Whom::Account(..) if only_named => &[Mode::ServiceAccount],
            Whom::Node(_) | Whom::Account(..) => &[],
            Whom::User(_) => &[Mode::UserInfo],
        };
        constrained.iter().copied().chain([Mode::Legacy]).collect()
    }

    fn name(self) -> Option<&'static str> {
        match self {
            Mode::AssociatedNode => Some("associated-node"),
            Mode::ArbitraryNode => Some("arbitrary-node"),
            Mode::ServiceAccount => Some("serviceaccount"),
            Mode::UserInfo => Some("user-info"),
            Mode::Legacy => None,
        }
    }

    /// The verb on each part.
    fn verb(self) -> String {
        self.name().map_or_else(|| "impersonate".to_owned(), |mode| format!("impersonate:{mode}"))
    }

    /// What is impersonated, each a resource to be allowed: the user, groups, values of extra, the uid.
    fn parts(self, Impersonation { identity, groups }: &Impersonation) -> Vec<ResourceInfo> {
        let group = if self == Mode::Legacy { "" } else { AUTHENTICATION };
        let mut parts = vec![match Whom::of(&identity.user) {
            Whom::Account(namespace, name) => {
                ResourceInfo { namespace: namespace.to_owned(), ..part(group, "serviceaccounts", name) }
            }
            // Whichever it is: that it is the account's own was looked at.
            Whom::Node(_) if self == Mode::AssociatedNode => part(group, "nodes", "*"),
            Whom::Node(name) if self != Mode::Legacy => part(group, "nodes", name),
            Whom::Node(_) | Whom::User(_) => part(group, "users", &identity.user),
        }];
        parts.extend(groups.iter().map(|name| part(group, "groups", name)));
        for (key, values) in &identity.extra {
            parts.extend(
                values.iter().map(|value| ResourceInfo {
                    subresource: key.clone(),
                    ..part(AUTHENTICATION, "userextras", value)
                }),
            );
        }
        if !identity.uid.is_empty() {
            parts.push(part(AUTHENTICATION, "uids", &identity.uid));
        }
        parts
    }

    /// What nobody can be given within constraints.
    fn never(self, Impersonation { identity, groups }: &Impersonation) -> Option<(ResourceInfo, String)> {
        if self == Mode::Legacy {
            return None;
        }
        if groups.iter().any(String::is_empty) {
            let why = "impersonating the empty string group is not allowed";
            return Some((part(AUTHENTICATION, "groups", ""), why.to_owned()));
        }
        if groups.iter().any(|group| group == MASTERS) {
            let why = "impersonating the system:masters group is not allowed";
            return Some((part(AUTHENTICATION, "groups", MASTERS), why.to_owned()));
        }
        let why = identity.extra.iter().find_map(|(key, values)| unfit(key, values))?;
        Some((part(AUTHENTICATION, "userextras", ""), why))
    }

    fn identity(self, wanted: &Identity) -> Identity {
        let groups = match self {
            Mode::AssociatedNode | Mode::ArbitraryNode => [NODES, AUTHENTICATED].map(str::to_owned).to_vec(),
            Mode::ServiceAccount | Mode::UserInfo | Mode::Legacy => wanted.groups.clone(),
        };
        Identity { groups, ..wanted.clone() }
    }
}

/// Whom `real` counts as, if they may be who is `wanted` for what `info` says; else the first way's refusal.
pub(crate) fn check(
    core: &Core,
    real: &Identity,
    wanted: &Impersonation,
    info: &RequestInfo,
) -> Result<Identity, Status> {
    let mut refused = None;
    for mode in Mode::all(real, wanted) {
        match by(core, real, wanted, info, mode) {
            Ok(()) => {
                let identity = mode.identity(&wanted.identity);
                return Ok(Identity { impersonator: Some(real.user.clone()), ..identity });
            }
            Err(status) => refused = refused.or(Some(status)),
        }
    }
    Err(refused.expect("there is always the old way"))
}

fn by(core: &Core, real: &Identity, wanted: &Impersonation, info: &RequestInfo, mode: Mode) -> Result<(), Status> {
    let require = |verb: &str, target: &Target| {
        let Decision { allowed, .. } = decide(core, Question { identity: real, verb, target, field_selector: "" })?;
        if allowed { Ok(()) } else { Err(denied(real, verb, target, "")) }
    };
    if let Some(name) = mode.name() {
        require(&format!("impersonate-on:{name}:{}", info.verb), &info.target)?;
    }
    let verb = mode.verb();
    if let Some((part, why)) = mode.never(wanted) {
        return Err(denied(real, &verb, &Target::Resource(part), &why));
    }
    mode.parts(wanted).into_iter().try_for_each(|part| require(&verb, &Target::Resource(part)))
}

fn part(group: &str, resource: &str, name: &str) -> ResourceInfo {
    ResourceInfo {
        group: group.to_owned(),
        version: "v1".to_owned(),
        resource: resource.to_owned(),
        name: name.to_owned(),
        ..ResourceInfo::default()
    }
}

fn runs_on(real: &Identity, node: &str) -> bool {
    let told = real.extra.iter().find(|(key, _)| key == RUNS_ON).map(|(_, values)| values.as_slice());
    matches!(Whom::of(&real.user), Whom::Account(..)) && matches!(told, Some([only]) if only == node)
}

fn unfit(key: &str, values: &[String]) -> Option<String> {
    if key.is_empty() {
        Some("impersonating the empty string key in extra is not allowed".to_owned())
    } else if names::domain_prefix(key).is_none() {
        let why = "must be a domain-prefixed path (such as \"acme.io/foo\")";
        Some(format!("impersonating an invalid key in extra is not allowed: extra.key: Invalid value: {key:?}: {why}"))
    } else if key.chars().any(char::is_uppercase) {
        Some(format!("impersonating a non-lowercase key in extra is not allowed: {key:?}"))
    } else if values.iter().any(String::is_empty) {
        Some("impersonating the empty string value in extra is not allowed".to_owned())
    } else {
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn identity(user: &str, runs_on: &[&str]) -> Identity {
        let node = (RUNS_ON.to_owned(), runs_on.iter().map(|&node| node.to_owned()).collect());
        Identity { user: user.to_owned(), extra: vec![node], ..Identity::default() }
    }

    #[test]
    fn ways_depend_on_who_is_wanted_and_what_else_of_them() {
        let agent = "system:serviceaccount:monitoring:agent";
        let of = |real: &Identity, user: &str, groups: &[&str]| {
            let wanted = Identity { user: user.to_owned(), ..Identity::default() };
            let groups = groups.iter().map(|&group| group.to_owned()).collect();
            Mode::all(real, &Impersonation { identity: wanted, groups })
        };
        let there = identity(agent, &["n1"]);
        let table: [(&Identity, &str, &[&str], &[Mode]); 9] = [
            (&there, "system:node:n1", &[], &[Mode::AssociatedNode, Mode::ArbitraryNode]),
            (&there, "system:node:n2", &[], &[Mode::ArbitraryNode]),
            (&identity(agent, &["n1", "n2"]), "system:node:n1", &[], &[Mode::ArbitraryNode]),
            (&identity("jane", &["n1"]), "system:node:n1", &[], &[Mode::ArbitraryNode]),
            (&there, "system:node:n1", &["system:masters"], &[]),
            (&there, agent, &[], &[Mode::ServiceAccount]),
            (&there, agent, &["g"], &[]),
            (&there, "jane", &["g"], &[Mode::UserInfo]),
            (&there, "system:node:UPPER", &[], &[Mode::UserInfo]),
        ];
        for (real, user, groups, constrained) in table {
            let expected: Vec<Mode> = constrained.iter().copied().chain([Mode::Legacy]).collect();
            assert_eq!(of(real, user, groups), expected, "{} as {user} of {groups:?}", real.user);
        }
    }
}
