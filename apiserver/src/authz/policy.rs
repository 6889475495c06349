//! The built-in policy: what each of the system's own identities, and everybody who is known, may do.
//!
//! Data, not code: one table for resources, one for paths. RBAC objects will add to it, never take from it.

use crate::{
    authn::{AUTHENTICATED, UNAUTHENTICATED},
    kontiki,
    pki::SERVERS,
    request::Identity,
    route::{ResourceInfo, Target},
};

enum Subject {
    User(&'static str),
    Group(&'static str),
}

use Subject::{Group, User};

struct ResourceRule {
    subject: Subject,
    verbs: &'static [&'static str],
    groups: &'static [&'static str],
    /// `pods`, `pods/status`; `*` is every resource and subresource.
    resources: &'static [&'static str],
    /// Empty: every namespace, and the cluster scope.
    namespace: &'static str,
}

struct PathRule {
    subject: Subject,
    /// `/healthz`, or `/healthz/*` for everything below.
    paths: &'static [&'static str],
}

/// Of groups: all but kontiki's own, whose every endpoint is for administrators unless a rule names it.
const ALL: &[&str] = &["*"];
const CORE: &[&str] = &[""];
const READ: &[&str] = &["get", "list", "watch"];
const EVENTS: &[&str] = &["", "events.k8s.io"];
const RECORD: &[&str] = &["create", "patch", "update"];
const CONTROLLER_MANAGER: Subject = User("system:kube-controller-manager");
const SCHEDULER: Subject = User("system:kube-scheduler");
/// The agent that programs service addresses and DNS on each machine.
const NETWORK: Subject = User("system:kube-proxy");

const fn rule(
    subject: Subject,
    verbs: &'static [&'static str],
    groups: &'static [&'static str],
    resources: &'static [&'static str],
) -> ResourceRule {
    ResourceRule { subject, verbs, groups, resources, namespace: "" }
}

static RESOURCES: &[ResourceRule] = &[
    // Everybody may ask who they are and what they may do.
    rule(Group(AUTHENTICATED), &["create"], &["authentication.k8s.io"], &["selfsubjectreviews"]),
    rule(
        Group(AUTHENTICATED),
        &["create"],
        &["authorization.k8s.io"],
        &["selfsubjectaccessreviews", "selfsubjectrulesreviews"],
    ),
    // Controllers: garbage collection and emptying namespaces touch every kind.
    rule(CONTROLLER_MANAGER, &["delete", "deletecollection", "get", "list", "patch", "update", "watch"], ALL, ALL),
    rule(CONTROLLER_MANAGER, RECORD, EVENTS, &["events"]),
    rule(
        CONTROLLER_MANAGER,
        &["create"],
        CORE,
        &["configmaps", "endpoints", "pods", "secrets", "serviceaccounts", "serviceaccounts/token"],
    ),
    rule(CONTROLLER_MANAGER, &["create"], &["apps"], &["controllerrevisions", "replicasets"]),
    rule(CONTROLLER_MANAGER, &["create"], &["batch"], &["jobs"]),
    rule(CONTROLLER_MANAGER, &["create"], &["discovery.k8s.io"], &["endpointslices"]),
    rule(CONTROLLER_MANAGER, &["create"], &["coordination.k8s.io"], &["leases"]),
    rule(CONTROLLER_MANAGER, &["create"], &["authentication.k8s.io"], &["tokenreviews"]),
    rule(CONTROLLER_MANAGER, &["create"], &["authorization.k8s.io"], &["subjectaccessreviews"]),
    // Scheduler.
    rule(
        SCHEDULER,
        READ,
        CORE,
        &[
            "namespaces",
            "nodes",
            "persistentvolumeclaims",
            "persistentvolumes",
            "pods",
            "replicationcontrollers",
            "services",
        ],
    ),
    rule(SCHEDULER, READ, &["apps"], &["replicasets", "statefulsets"]),
    rule(SCHEDULER, READ, &["policy"], &["poddisruptionbudgets"]),
    rule(SCHEDULER, READ, &["storage.k8s.io"], ALL),
    rule(SCHEDULER, &["create"], CORE, &["bindings", "pods/binding"]),
    rule(SCHEDULER, &["patch", "update"], CORE, &["pods/status"]),
    rule(SCHEDULER, &["delete"], CORE, &["pods"]),
    rule(SCHEDULER, RECORD, EVENTS, &["events"]),
    rule(SCHEDULER, &["create", "get", "list", "update", "watch"], &["coordination.k8s.io"], &["leases"]),
    // Servers among themselves.
    rule(Group(SERVERS), &["create", "list"], &["kontiki.dev"], &["members"]),
    // Network.
    rule(NETWORK, READ, CORE, &["endpoints", "namespaces", "nodes", "pods", "services"]),
    rule(NETWORK, READ, &["discovery.k8s.io"], &["endpointslices"]),
    rule(NETWORK, READ, &["networking.k8s.io"], ALL),
    rule(NETWORK, RECORD, EVENTS, &["events"]),
];

static PATHS: &[PathRule] = &[
    PathRule { subject: Group(SERVERS), paths: &["/livez/*", "/readyz/*"] },
    PathRule { subject: Group(UNAUTHENTICATED), paths: HEALTH },
    PathRule { subject: Group(AUTHENTICATED), paths: HEALTH },
    PathRule {
        subject: Group(AUTHENTICATED),
        paths: &[
            "/api",
            "/api/*",
            "/apis",
            "/apis/*",
            "/openapi",
            "/openapi/*",
            "/openid/v1/jwks",
            "/.well-known/openid-configuration",
        ],
    },
];

const HEALTH: &[&str] = &["/healthz", "/livez", "/readyz", "/version", "/version/"];

pub fn allows(identity: &Identity, verb: &str, target: &Target) -> bool {
    match target {
        Target::Resource(resource) => RESOURCES.iter().any(|rule| rule.covers(identity, verb, resource)),
        Target::Path(path) => {
            let read = matches!(verb, "get" | "head");
            read && PATHS
                .iter()
                .any(|rule| rule.subject.is(identity) && rule.paths.iter().any(|one| matches(one, path)))
        }
    }
}

/// The rules of one identity, for reviews that list them: `(verbs, groups, resources)`.
pub fn rules_of(
    identity: &Identity,
) -> impl Iterator<Item = (&'static [&'static str], &'static [&'static str], &'static [&'static str])> {
    RESOURCES.iter().filter(|rule| rule.subject.is(identity)).map(|rule| (rule.verbs, rule.groups, rule.resources))
}

/// The paths that one identity may read.
pub fn paths_of(identity: &Identity) -> Vec<&'static str> {
    PATHS.iter().filter(|rule| rule.subject.is(identity)).flat_map(|rule| rule.paths).copied().collect()
}

impl Subject {
    fn is(&self, identity: &Identity) -> bool {
        match self {
            User(user) => identity.user == *user,
            Group(group) => identity.in_group(group),
        }
    }
}

impl ResourceRule {
    fn covers(&self, identity: &Identity, verb: &str, resource: &ResourceInfo) -> bool {
        self.subject.is(identity)
            && self.verbs.contains(&verb)
            && (self.namespace.is_empty() || self.namespace == resource.namespace)
            && self
                .groups
                .iter()
                .any(|group| *group == resource.group || *group == "*" && resource.group != kontiki::GROUP)
            && self.resources.iter().any(|rule| is_resource(rule, resource))
    }
}

fn is_resource(rule: &str, resource: &ResourceInfo) -> bool {
    match rule.split_once('/') {
        None if rule == "*" => true,
        None => rule == resource.resource && resource.subresource.is_empty(),
        Some((name, subresource)) => name == resource.resource && subresource == resource.subresource,
    }
}

fn matches(rule: &str, path: &str) -> bool {
    match rule.strip_suffix('*') {
        Some(prefix) => path.starts_with(prefix),
        None => rule == path,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use http::Method;

    use super::*;
    use crate::route::RequestInfo;

    fn may(user: &str, groups: &[&str], method: Method, path: &str) -> bool {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let identity = Identity { user: user.to_owned(), groups, ..Identity::default() };
        let info = RequestInfo::read(&method, path, &[]).unwrap();
        allows(&identity, info.verb, &info.target)
    }

    #[test]
    fn the_policy_denies_by_default() {
        let anonymous = |path: &str| may("system:anonymous", &[UNAUTHENTICATED], Method::GET, path);
        assert!(anonymous("/healthz") && anonymous("/livez") && anonymous("/readyz") && anonymous("/version"));
        for path in ["/", "/api", "/metrics", "/healthz/log", "/openapi/v2", "/api/v1/pods", "/versionx"] {
            assert!(!anonymous(path), "{path}");
        }
        assert!(!may("system:anonymous", &[UNAUTHENTICATED], Method::POST, "/healthz"));
        let alice = |method: Method, path: &str| may("alice", &[AUTHENTICATED], method, path);
        assert!(alice(Method::GET, "/api") && alice(Method::GET, "/apis/apps/v1") && alice(Method::GET, "/openapi/v3"));
        assert!(alice(Method::POST, "/apis/authentication.k8s.io/v1/selfsubjectreviews"));
        assert!(!alice(Method::POST, "/apis/authentication.k8s.io/v1/tokenreviews"));
        assert!(!alice(Method::GET, "/api/v1/namespaces/default/pods") && !alice(Method::GET, "/metrics"));
    }

    #[test]
    fn the_systems_identities_may_do_their_work_and_no_more() {
        let user = |user: &'static str| move |method: Method, path: &str| may(user, &[AUTHENTICATED], method, path);
        let scheduler = user("system:kube-scheduler");
        assert!(scheduler(Method::POST, "/api/v1/namespaces/a/pods/p/binding"));
        assert!(scheduler(Method::PATCH, "/api/v1/namespaces/a/pods/p/status"));
        assert!(!scheduler(Method::PATCH, "/api/v1/namespaces/a/pods/p"));
        assert!(!scheduler(Method::GET, "/api/v1/namespaces/a/secrets/s"));
        let controllers = user("system:kube-controller-manager");
        assert!(controllers(Method::POST, "/api/v1/namespaces/a/pods"));
        assert!(controllers(Method::PUT, "/api/v1/namespaces/a/finalize"));
        assert!(!controllers(Method::POST, "/api/v1/namespaces/a/pods/p/exec"));
        assert!(!controllers(Method::POST, "/apis/apps/v1/namespaces/a/deployments"));
        let network = user("system:kube-proxy");
        assert!(network(Method::GET, "/apis/discovery.k8s.io/v1/endpointslices"));
        assert!(!network(Method::GET, "/api/v1/secrets"));
    }
}
