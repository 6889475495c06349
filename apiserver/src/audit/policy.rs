//! An audit policy of `audit.k8s.io/v1`: which requests are recorded, and how much of them. Pure.

use serde::Deserialize;
use serde_json::Value;

use crate::{
    request::Identity,
    route::{RequestInfo, ResourceInfo, Target},
};

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Level {
    None,
    Metadata,
    /// And what was sent.
    Request,
    /// And what was answered.
    RequestResponse,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
pub(crate) enum Stage {
    RequestReceived,
    ResponseStarted,
    ResponseComplete,
    Panic,
}

/// What is done about one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Plan {
    pub level: Level,
    omitted: [bool; 4],
    pub omit_managed_fields: bool,
}

#[derive(Debug, thiserror::Error)]
pub enum PolicyError {
    #[error("it is no YAML or JSON: {0}")]
    Unreadable(String),
    #[error("it is no Policy of audit.k8s.io/v1")]
    Kind,
    #[error("it is no audit policy: {0}")]
    Form(#[source] serde_json::Error),
    #[error("it has no rules")]
    Empty,
    #[error("rules[{0}]: {1}")]
    Rule(usize, &'static str),
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub struct Policy {
    #[serde(rename = "apiVersion")]
    _api_version: String,
    #[serde(rename = "kind")]
    _kind: String,
    #[serde(default, rename = "metadata")]
    _metadata: Value,
    #[serde(default)]
    rules: Vec<Rule>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    #[serde(default)]
    omit_managed_fields: bool,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Rule {
    level: Level,
    #[serde(default)]
    users: Vec<String>,
    #[serde(default)]
    user_groups: Vec<String>,
    #[serde(default)]
    verbs: Vec<String>,
    #[serde(default)]
    resources: Vec<GroupResources>,
    #[serde(default)]
    namespaces: Vec<String>,
    #[serde(default, rename = "nonResourceURLs")]
    urls: Vec<String>,
    #[serde(default)]
    omit_stages: Vec<Stage>,
    omit_managed_fields: Option<bool>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct GroupResources {
    #[serde(default)]
    group: String,
    #[serde(default)]
    resources: Vec<String>,
    #[serde(default)]
    resource_names: Vec<String>,
}

impl Policy {
    /// Reads a policy file. What it does not know it refuses: a rule that says less than its author thinks is worse than none.
    pub fn read(text: &str) -> Result<Self, PolicyError> {
        let document = kontiki_schema::decode_yaml(text.as_bytes());
        let tree = document.map_err(|error| PolicyError::Unreadable(error.to_string()))?.value;
        if tree["apiVersion"] != "audit.k8s.io/v1" || tree["kind"] != "Policy" {
            return Err(PolicyError::Kind);
        }
        let policy = Policy::deserialize(tree).map_err(PolicyError::Form)?;
        if policy.rules.is_empty() {
            return Err(PolicyError::Empty);
        }
        let faults = policy.rules.iter().enumerate().filter_map(|(index, rule)| Some((index, rule.fault()?)));
        match { faults }.next() {
            Some((index, fault)) => Err(PolicyError::Rule(index, fault)),
            None => Ok(policy),
        }
    }

    /// The first rule that matches decides; what no rule matches is not recorded.
    pub(crate) fn plan(&self, identity: &Identity, info: &RequestInfo) -> Plan {
        let rule = self.rules.iter().find(|rule| rule.matches(identity, info));
        let mut omitted = [false; 4];
        for stage in self.omit_stages.iter().chain(rule.into_iter().flat_map(|rule| &rule.omit_stages)) {
            omitted[*stage as usize] = true;
        }
        Plan {
            level: rule.map_or(Level::None, |rule| rule.level),
            omitted,
            omit_managed_fields: rule.and_then(|rule| rule.omit_managed_fields).unwrap_or(self.omit_managed_fields),
        }
    }
}

impl Plan {
    pub fn records(&self, stage: Stage) -> bool {
        self.level > Level::None && !self.omitted[stage as usize]
    }
}

impl Rule {
    fn matches(&self, identity: &Identity, info: &RequestInfo) -> bool {
        let any = |list: &[String], is: &dyn Fn(&String) -> bool| list.is_empty() || list.iter().any(is);
        any(&self.users, &|user| *user == identity.user)
            && any(&self.user_groups, &|group| identity.in_group(group))
            && any(&self.verbs, &|verb| verb == info.verb)
            && match &info.target {
                _ if self.resources.is_empty() && self.namespaces.is_empty() && self.urls.is_empty() => true,
                Target::Resource(resource) => {
                    self.urls.is_empty()
                        && any(&self.namespaces, &|namespace| *namespace == resource.namespace)
                        && (self.resources.is_empty() || self.resources.iter().any(|one| one.matches(resource)))
                }
                Target::Path(path) => self.urls.iter().any(|url| is_url(path, url)),
            }
    }

    fn fault(&self) -> Option<&'static str> {
        let of_resources = !self.resources.is_empty() || !self.namespaces.is_empty();
        let not_last = |url: &String| url.trim_end_matches('*').contains('*') || url.ends_with("**");
        if of_resources && !self.urls.is_empty() {
            return Some("rules cannot apply to both regular resources and non-resource URLs");
        }
        if self.urls.iter().any(|url| url != "*" && !url.starts_with('/')) {
            return Some("non-resource URL rules must begin with a '/' character");
        }
        if self.urls.iter().any(not_last) {
            return Some("non-resource URL wildcards '*' must be the final character of the rule");
        }
        if self.resources.iter().any(|one| one.resources.is_empty() && !one.resource_names.is_empty()) {
            return Some("using resourceNames requires at least one resource");
        }
        if self.resources.iter().any(|one| one.group.contains('/')) {
            return Some("a group is named without a version");
        }
        None
    }
}

impl GroupResources {
    fn matches(&self, asked: &ResourceInfo) -> bool {
        let named = self.resource_names.is_empty() || self.resource_names.contains(&asked.name);
        self.group == asked.group
            && (self.resources.is_empty() || named && self.resources.iter().any(|one| is_resource(one, asked)))
    }
}

/// `pods`, `pods/log`, `pods/*` (which Kubernetes takes for `pods` too), `*/log`, `*`.
fn is_resource(pattern: &str, asked: &ResourceInfo) -> bool {
    let (resource, subresource) = (asked.resource.as_str(), asked.subresource.as_str());
    match pattern.split_once('/') {
        None => pattern == "*" || pattern == resource && subresource.is_empty(),
        Some((one, "*")) => one == resource,
        Some(("*", one)) => one == subresource,
        Some(both) => both == (resource, subresource),
    }
}

fn is_url(path: &str, pattern: &str) -> bool {
    pattern == path || pattern.strip_suffix('*').is_some_and(|start| path.starts_with(start))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn policy(rules: &str) -> Result<Policy, PolicyError> {
        Policy::read(&format!("apiVersion: audit.k8s.io/v1\nkind: Policy\n{rules}"))
    }

    fn level(policy: &Policy, user: &str, groups: &[&str], method: &str, path: &str) -> Level {
        let identity = Identity {
            user: user.to_owned(),
            groups: groups.iter().map(|group| (*group).to_owned()).collect(),
            ..Identity::default()
        };
        policy.plan(&identity, &RequestInfo::read(&method.parse().unwrap(), path, &[]).unwrap()).level
    }

    /// The policy of Kubernetes' documentation, as a cluster would have it.
    const USUAL: &str = r#"
omitStages: ["RequestReceived"]
rules:
- level: RequestResponse
  resources: [{group: "", resources: ["pods"]}]
- level: Metadata
  resources: [{group: "", resources: ["pods/log", "pods/status"]}]
- level: None
  resources: [{group: "", resources: ["configmaps"], resourceNames: ["controller-leader"]}]
- level: None
  users: ["system:kube-proxy"]
  verbs: ["watch"]
  resources: [{group: "", resources: ["endpoints", "services"]}]
- level: None
  userGroups: ["system:authenticated"]
  nonResourceURLs: ["/api*", "/version"]
- level: Request
  resources: [{group: "", resources: ["configmaps"]}]
  namespaces: ["kube-system"]
- level: Metadata
  resources: [{group: "", resources: ["secrets", "configmaps"]}]
- level: Request
  resources: [{group: ""}, {group: "apps", resources: ["*/scale"]}, {group: "batch", resources: ["jobs/*"]}]
- level: Metadata
  omitStages: ["ResponseStarted"]
  omitManagedFields: true
"#;

    #[test]
    fn the_first_rule_that_matches_decides() {
        use Level::{Metadata, None, Request, RequestResponse};
        let policy = policy(USUAL).unwrap();
        let cases = [
            ("GET", "/api/v1/namespaces/a/pods/p", RequestResponse),
            ("GET", "/api/v1/namespaces/a/pods/p/log", Metadata),
            ("POST", "/api/v1/namespaces/a/pods/p/eviction", Request),
            ("GET", "/api/v1/namespaces/a/configmaps/controller-leader", None),
            ("GET", "/api/v1/namespaces/a/configmaps/other", Metadata),
            ("GET", "/api/v1/namespaces/kube-system/configmaps/other", Request),
            ("GET", "/api/v1/watch/services", None),
            ("GET", "/api/v1/services", Request),
            ("PUT", "/api/v1/namespaces/a/secrets/s", Metadata),
            ("GET", "/api", None),
            ("GET", "/apis/apps/v1", None),
            ("GET", "/version", None),
            ("GET", "/versions", Metadata),
            ("GET", "/healthz", Metadata),
            ("PUT", "/apis/apps/v1/namespaces/a/deployments/d/scale", Request),
            ("PUT", "/apis/apps/v1/namespaces/a/deployments/d/status", Metadata),
            ("PUT", "/apis/batch/v1/namespaces/a/jobs/j/status", Request),
            ("PUT", "/apis/batch/v1/namespaces/a/jobs/j", Request),
        ];
        for (method, path, expected) in cases {
            let told = level(&policy, "system:kube-proxy", &["system:authenticated"], method, path);
            assert_eq!(told, expected, "{method} {path}");
        }
        assert_eq!(level(&policy, "jane", &[], "GET", "/api/v1/watch/services"), Request, "another user");
        assert_eq!(level(&policy, "jane", &[], "GET", "/version"), Metadata, "not of the group");
    }

    #[test]
    fn stages_and_managed_fields_are_left_out_by_rule_or_by_policy() {
        let policy = policy(USUAL).unwrap();
        let plan = |path: &str| {
            let info = RequestInfo::read(&"GET".parse().unwrap(), path, &[]).unwrap();
            policy.plan(&Identity::default(), &info)
        };
        let (pods, other) = (plan("/api/v1/pods"), plan("/other"));
        let stages = [Stage::RequestReceived, Stage::ResponseStarted, Stage::ResponseComplete, Stage::Panic];
        assert_eq!(stages.map(|stage| pods.records(stage)), [false, true, true, true]);
        assert_eq!(stages.map(|stage| other.records(stage)), [false, false, true, true]);
        assert_eq!((pods.omit_managed_fields, other.omit_managed_fields), (false, true));
        let none = plan("/api/v1/namespaces/a/configmaps/controller-leader");
        assert!(stages.iter().all(|stage| !none.records(*stage)));
    }

    #[test]
    fn what_no_rule_matches_is_not_recorded() {
        let policy = policy("rules: [{level: Metadata, namespaces: ['']}]").unwrap();
        assert_eq!(level(&policy, "u", &[], "GET", "/api/v1/nodes"), Level::Metadata, "no namespace is one, too");
        assert_eq!(level(&policy, "u", &[], "GET", "/api/v1/namespaces/a/pods"), Level::None);
        assert_eq!(level(&policy, "u", &[], "GET", "/version"), Level::None);
    }

    #[test]
    fn wrong_policies_are_refused() {
        let cases = [
            ("rules: []", "it has no rules"),
            ("rules: [{level: Some}]", "it is no audit policy"),
            ("rules: [{level: None, user: [a]}]", "it is no audit policy"),
            ("rules: [{level: None, nonResourceURLs: [/a], namespaces: [b]}]", "rules[0]: rules cannot apply to both"),
            (
                "rules: [{level: None}, {level: None, nonResourceURLs: [a]}]",
                "rules[1]: non-resource URL rules must begin",
            ),
            ("rules: [{level: None, nonResourceURLs: ['/a*b']}]", "rules[0]: non-resource URL wildcards"),
            ("rules: [{level: None, resources: [{resourceNames: [a]}]}]", "rules[0]: using resourceNames requires"),
            ("rules: [{level: None, resources: [{group: apps/v1}]}]", "rules[0]: a group is named"),
            ("rules: [", "it is no YAML"),
        ];
        for (rules, expected) in cases {
            let told = policy(rules).unwrap_err().to_string();
            assert!(told.starts_with(expected), "{rules}: {told}");
        }
        assert!(matches!(Policy::read("apiVersion: v1\nkind: Policy"), Err(PolicyError::Kind)));
    }
}
