//! One rule of a role: what it allows. Pure; knows neither who holds it nor where it came from.

use serde_json::Value;

use crate::route::{ResourceInfo, Target};

/// Everything: every verb, every group, every resource, every path.
pub const ALL: &str = "*";

/// `rbac.v1.PolicyRule`. It is about resources or about paths, never about both.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Rule {
    pub verbs: Vec<String>,
    pub groups: Vec<String>,
    pub resources: Vec<String>,
    /// Empty: objects of any name.
    pub names: Vec<String>,
    pub paths: Vec<String>,
}

impl Rule {
    /// Everything there is: two rules.
    pub fn full() -> Vec<Rule> {
        let all = || vec![ALL.to_owned()];
        vec![
            Rule { verbs: all(), groups: all(), resources: all(), ..Rule::default() },
            Rule { verbs: all(), paths: all(), ..Rule::default() },
        ]
    }

    /// The `rules` of a role.
    pub fn list(role: &Value) -> Vec<Rule> {
        role["rules"].as_array().into_iter().flatten().map(Rule::read).collect()
    }

    fn read(rule: &Value) -> Rule {
        let texts = |member: &str| {
            let list = rule[member].as_array().into_iter().flatten();
            list.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        Rule {
            verbs: texts("verbs"),
            groups: texts("apiGroups"),
            resources: texts("resources"),
            names: texts("resourceNames"),
            paths: texts("nonResourceURLs"),
        }
    }

    /// As it stands in a role.
    pub fn value(&self) -> Value {
        let members = [
            ("verbs", &self.verbs),
            ("apiGroups", &self.groups),
            ("resources", &self.resources),
            ("resourceNames", &self.names),
            ("nonResourceURLs", &self.paths),
        ];
        let told = members.into_iter().filter(|(_, words)| !words.is_empty());
        Value::Object(told.map(|(member, words)| (member.to_owned(), words.as_slice().into())).collect())
    }

    pub fn allows(&self, verb: &str, target: &Target) -> bool {
        has(&self.verbs, verb)
            && match target {
                Target::Resource(asked) => self.is_about(asked),
                Target::Path(path) => self.paths.iter().any(|rule| path_covers(rule, path)),
            }
    }

    fn is_about(&self, asked: &ResourceInfo) -> bool {
        has(&self.groups, &asked.group)
            && self.resources.iter().any(|rule| resource_covers(rule, &asked.resource, &asked.subresource))
            && (self.names.is_empty() || self.names.contains(&asked.name))
    }
}

/// The list has the word, or everything.
pub fn has(list: &[String], word: &str) -> bool {
    list.iter().any(|one| one == ALL || one == word)
}

/// `pods` is about pods alone, `pods/log` about their log, `*/scale` about the scale of anything, `*` about all of it.
pub fn resource_covers(rule: &str, resource: &str, subresource: &str) -> bool {
    match rule.split_once('/') {
        None => rule == ALL || subresource.is_empty() && rule == resource,
        Some((name, sub)) => !subresource.is_empty() && sub == subresource && (name == ALL || name == resource),
    }
}

/// A trailing `*` covers whatever begins so.
pub fn path_covers(rule: &str, path: &str) -> bool {
    rule == path || rule.ends_with('*') && path.starts_with(rule.trim_end_matches('*'))
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    fn words(list: &str) -> Vec<String> {
        list.split(' ').filter(|word| !word.is_empty()).map(|word| word.replace('-', "")).collect()
    }

    /// Lists of words; `-` stands for the empty word, the core group.
    pub fn rule(verbs: &str, groups: &str, resources: &str, names: &str) -> Rule {
        Rule {
            verbs: words(verbs),
            groups: words(groups),
            resources: words(resources),
            names: words(names),
            paths: Vec::new(),
        }
    }

    pub fn paths(verbs: &str, paths: &str) -> Rule {
        let paths = paths.split(' ').map(str::to_owned).collect();
        Rule { verbs: words(verbs), paths, ..Rule::default() }
    }

    /// `group/resource[/subresource][:name]`, or a path that begins with a slash.
    pub fn target(text: &str) -> Target {
        if text.starts_with('/') {
            return Target::Path(text.to_owned());
        }
        let (what, name) = text.split_once(':').unwrap_or((text, ""));
        let mut parts = what.split('/').map(|part| part.replace('-', ""));
        let mut next = || parts.next().unwrap_or_default();
        let (group, resource, subresource) = (next(), next(), next());
        Target::Resource(ResourceInfo {
            group,
            resource,
            subresource,
            name: name.to_owned(),
            ..ResourceInfo::default()
        })
    }

    #[test]
    fn a_rule_allows_what_it_says_and_no_more() {
        let cases = [
            (rule("get", "-", "pods", ""), "get", "-/pods", true),
            (rule("get", "-", "pods", ""), "list", "-/pods", false),
            (rule("get", "-", "pods", ""), "get", "apps/pods", false),
            (rule("get", "-", "pods", ""), "get", "-/pods/log", false),
            (rule("get", "-", "pods/log", ""), "get", "-/pods/log", true),
            (rule("get", "-", "pods/log", ""), "get", "-/pods", false),
            (rule("*", "*", "*", ""), "anything", "x/y/z:n", true),
            (rule("*", "*", "*", ""), "get", "/healthz", false),
            (rule("get", "*", "*/scale", ""), "get", "apps/deployments/scale", true),
            (rule("get", "*", "*/scale", ""), "get", "apps/deployments", false),
            (rule("get", "*", "*/scale", ""), "get", "apps/deployments/status", false),
            (rule("get", "*", "*/", ""), "get", "apps/deployments", false),
            (rule("get", "-", "secrets", "a b"), "get", "-/secrets:b", true),
            (rule("get", "-", "secrets", "a b"), "get", "-/secrets:c", false),
            (rule("list", "-", "secrets", "a"), "list", "-/secrets", false),
            (rule("get", "-", "secrets", "a"), "get", "-/secrets/a", false),
            (paths("get", "/healthz"), "get", "/healthz", true),
            (paths("get", "/healthz"), "get", "/healthz/log", false),
            (paths("get", "/healthz"), "post", "/healthz", false),
            (paths("get", "/api/*"), "get", "/api/v1", true),
            (paths("get", "/api/*"), "get", "/api", false),
            (paths("get", "/api*"), "get", "/apis", true),
            (paths("*", "*"), "get", "/metrics", true),
            (paths("*", "*"), "get", "-/pods", false),
        ];
        for (rule, verb, asked, allowed) in cases {
            assert_eq!(rule.allows(verb, &target(asked)), allowed, "{rule:?} {verb} {asked}");
        }
    }
}
