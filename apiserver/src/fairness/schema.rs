//! Flow schemas: which requests are of which priority level, and which of those are one flow. Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    request::Identity,
    route::{ResourceInfo, Target},
};

const ACCOUNTS: &str = "system:serviceaccount:";
const ALL: &str = "*";

/// A request, as far as it matters here.
#[derive(Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub identity: &'a Identity,
    pub verb: &'a str,
    pub target: &'a Target,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Schema {
    pub metadata: Metadata,
    pub spec: Spec,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Metadata {
    pub name: String,
    #[serde(default)]
    pub uid: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub(super) struct Spec {
    pub priority_level_configuration: Named,
    #[serde(default)]
    pub matching_precedence: i64,
    distinguisher_method: Option<Distinguisher>,
    #[serde(default)]
    rules: Vec<Rules>,
}

#[derive(Clone, Debug, Deserialize)]
pub(super) struct Named {
    pub name: String,
}

/// What makes requests of one schema different flows.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(tag = "type")]
enum Distinguisher {
    ByNamespace,
    ByUser,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct Rules {
    #[serde(default)]
    subjects: Vec<Subject>,
    #[serde(default)]
    resource_rules: Vec<ResourceRule>,
    #[serde(default)]
    non_resource_rules: Vec<PathRule>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(tag = "kind")]
enum Subject {
    Group {
        group: Named,
    },
    ServiceAccount {
        #[serde(rename = "serviceAccount")]
        account: Account,
    },
    User {
        user: Named,
    },
}

#[derive(Clone, Debug, Deserialize)]
struct Account {
    namespace: String,
    name: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct ResourceRule {
    verbs: Vec<String>,
    api_groups: Vec<String>,
    resources: Vec<String>,
    #[serde(default)]
    cluster_scope: bool,
    #[serde(default)]
    namespaces: Vec<String>,
}

#[derive(Clone, Debug, Deserialize)]
struct PathRule {
    verbs: Vec<String>,
    #[serde(rename = "nonResourceURLs")]
    urls: Vec<String>,
}

impl Schema {
    pub fn read(object: &Value) -> Result<Self, serde_json::Error> {
        Schema::deserialize(object)
    }

    pub fn matches(&self, asked: Asked<'_>) -> bool {
        self.spec.rules.iter().any(|rules| rules.matches(asked))
    }

    /// What tells this request's flow from the schema's others.
    pub fn flow<'a>(&self, asked: Asked<'a>) -> &'a str {
        match (self.spec.distinguisher_method, asked.target) {
            (Some(Distinguisher::ByUser), _) => &asked.identity.user,
            (Some(Distinguisher::ByNamespace), Target::Resource(info)) => &info.namespace,
            (Some(Distinguisher::ByNamespace), Target::Path(_)) | (None, _) => "",
        }
    }
}

impl Rules {
    fn matches(&self, Asked { identity, verb, target }: Asked<'_>) -> bool {
        self.subjects.iter().any(|subject| subject.is(identity))
            && match target {
                Target::Resource(info) => self.resource_rules.iter().any(|rule| rule.matches(verb, info)),
                Target::Path(path) => self.non_resource_rules.iter().any(|rule| rule.matches(verb, path)),
            }
    }
}

impl Subject {
    fn is(&self, identity: &Identity) -> bool {
        match self {
            Subject::Group { group } => group.name == ALL || identity.in_group(&group.name),
            Subject::User { user } => user.name == ALL || user.name == identity.user,
            Subject::ServiceAccount { account } => {
                let name = identity.user.strip_prefix(ACCOUNTS).and_then(|name| name.split_once(':'));
                name.is_some_and(|(namespace, name)| {
                    namespace == account.namespace && (account.name == ALL || account.name == name)
                })
            }
        }
    }
}

impl ResourceRule {
    fn matches(&self, verb: &str, info: &ResourceInfo) -> bool {
        let named = |one: &String| match info.subresource.as_str() {
            "" => *one == info.resource,
            subresource => one.split_once('/') == Some((&info.resource, subresource)),
        };
        listed(&self.verbs, verb)
            && (is_all(&self.resources) || self.resources.iter().any(named))
            && listed(&self.api_groups, &info.group)
            && match info.namespace.as_str() {
                "" => self.cluster_scope,
                namespace => listed(&self.namespaces, namespace),
            }
    }
}

impl PathRule {
    fn matches(&self, verb: &str, path: &str) -> bool {
        listed(&self.verbs, verb) && self.urls.iter().any(|url| url == ALL || url == path || is_below(path, url))
    }
}

/// A URL stands for all that is below it, with or without a star at its end.
fn is_below(path: &str, url: &str) -> bool {
    let folder = url.strip_suffix('*').unwrap_or(url);
    let folder = folder.strip_suffix('/').unwrap_or(folder);
    path.strip_prefix(folder).is_some_and(|rest| rest.starts_with('/'))
}

fn is_all(list: &[String]) -> bool {
    matches!(list, [one] if one == ALL)
}

fn listed(list: &[String], wanted: &str) -> bool {
    is_all(list) || list.iter().any(|one| one == wanted)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;
    use crate::route::RequestInfo;

    fn identity(user: &str, groups: &[&str]) -> Identity {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        Identity { user: user.to_owned(), groups, ..Identity::default() }
    }

    fn schema(rules: &Value, method: Option<&str>) -> Schema {
        let mut spec = json!({"priorityLevelConfiguration": {"name": "l"}, "matchingPrecedence": 7, "rules": [rules]});
        if let Some(method) = method {
            spec["distinguisherMethod"] = json!({"type": method});
        }
        Schema::read(&json!({"metadata": {"name": "s", "uid": "u"}, "spec": spec})).unwrap()
    }

    fn ask(method: &str, path: &str) -> RequestInfo {
        RequestInfo::read(&method.parse().unwrap(), path, &[]).unwrap()
    }

    #[test]
    fn subjects_are_users_groups_and_service_accounts() {
        let (user, group) = (
            |name: &str| json!({"kind": "User", "user": {"name": name}}),
            |name: &str| json!({"kind": "Group", "group": {"name": name}}),
        );
        let account = |namespace: &str, name: &str| json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": namespace, "name": name}});
        let robot = identity("system:serviceaccount:a:robot", &["system:serviceaccounts"]);
        let jane = identity("jane", &["dev", "ops"]);
        let cases = [
            (user("jane"), &jane, true),
            (user("jan"), &jane, false),
            (user("*"), &jane, true),
            (group("ops"), &jane, true),
            (group("sec"), &jane, false),
            (group("*"), &identity("x", &[]), true),
            (account("a", "robot"), &robot, true),
            (account("a", "*"), &robot, true),
            (account("a", "rob"), &robot, false),
            (account("b", "*"), &robot, false),
            (account("a", "*"), &jane, false),
            (account("a", "*"), &identity("system:serviceaccount:a-b:robot", &[]), false),
        ];
        let info = ask("GET", "/version");
        for (subject, identity, expected) in cases {
            let rules =
                json!({"subjects": [subject], "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}]});
            let asked = Asked { identity, verb: info.verb, target: &info.target };
            assert_eq!(schema(&rules, None).matches(asked), expected, "{subject} {}", identity.user);
        }
    }

    #[test]
    fn rules_are_of_resources_or_of_paths() {
        let rule = |resources: &[&str], rest: Value| {
            let mut rule = json!({"verbs": ["get", "list"], "apiGroups": [""], "resources": resources});
            rule.as_object_mut().unwrap().extend(rest.as_object().unwrap().clone());
            json!({"resourceRules": [rule]})
        };
        let paths = |urls: &[&str]| json!({"nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": urls}]});
        let everywhere = || json!({"namespaces": ["*"]});
        let cases = [
            (rule(&["pods"], everywhere()), "/api/v1/namespaces/a/pods", true),
            (rule(&["pods"], everywhere()), "/api/v1/namespaces/a/pods/p/status", false),
            (rule(&["pods/status"], everywhere()), "/api/v1/namespaces/a/pods/p/status", true),
            (rule(&["pods/status"], everywhere()), "/api/v1/namespaces/a/pods/p", false),
            (rule(&["*"], everywhere()), "/api/v1/namespaces/a/pods/p/status", true),
            (rule(&["pods"], json!({"namespaces": ["b"]})), "/api/v1/namespaces/a/pods", false),
            (rule(&["pods"], everywhere()), "/api/v1/pods", false),
            (rule(&["pods"], json!({"clusterScope": true})), "/api/v1/pods", true),
            (rule(&["pods"], json!({"clusterScope": true})), "/api/v1/namespaces/a/pods", false),
            (rule(&["deployments"], everywhere()), "/apis/apps/v1/namespaces/a/deployments", false),
            (rule(&["*"], everywhere()), "/healthz", false),
            (paths(&["/healthz"]), "/healthz", true),
            (paths(&["/healthz"]), "/healthz/ping", true),
            (paths(&["/healthz"]), "/healthzping", false),
            (paths(&["/apis/*"]), "/apis/apps", true),
            (paths(&["/apis/*"]), "/apis", false),
            (paths(&["*"]), "/", true),
            (paths(&["/"]), "/version", true),
            (paths(&["*"]), "/api/v1/pods", false),
        ];
        let jane = identity("jane", &[]);
        for (mut rules, path, expected) in cases {
            rules["subjects"] = json!([{"kind": "User", "user": {"name": "*"}}]);
            let info = ask("GET", path);
            let asked = Asked { identity: &jane, verb: info.verb, target: &info.target };
            assert_eq!(schema(&rules, None).matches(asked), expected, "{path} {rules}");
            assert!(!schema(&rules, None).matches(Asked { verb: "delete", ..asked }), "{path}");
        }
    }

    #[test]
    fn flows_are_told_apart_by_user_or_namespace() {
        let jane = identity("jane", &[]);
        for (path, namespace) in [("/api/v1/namespaces/a/pods", "a"), ("/api/v1/nodes", ""), ("/version", "")] {
            let info = ask("GET", path);
            let asked = Asked { identity: &jane, verb: info.verb, target: &info.target };
            let flow = |method| schema(&json!({}), method).flow(asked);
            assert_eq!(
                [flow(None), flow(Some("ByUser")), flow(Some("ByNamespace"))],
                ["", "jane", namespace],
                "{path}"
            );
        }
    }
}
