//! Whether one set of rules gives no more than another: what nobody may hand out without holding it.

use std::collections::BTreeSet;

use super::rule::{ALL, Rule, has, path_covers};

/// What `wanted` allows and `held` does not, compact and sorted as Kubernetes prints it; empty if nothing.
pub fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<String> {
    let missing = compact(lacking(held, wanted));
    let told: BTreeSet<String> = missing.iter().map(describe).collect();
    told.into_iter().collect()
}

/// The least parts of `wanted` that no rule of `held` covers.
pub fn lacking(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    wanted.iter().flat_map(least).filter(|part| !held.iter().any(|rule| covers(rule, part))).collect()
}

/// A rule as rules of one verb on one resource (of one name) or one path.
fn least(rule: &Rule) -> Vec<Rule> {
    let one = |word: &String| vec![word.clone()];
    let mut parts = Vec::new();
    for group in &rule.groups {
        for resource in &rule.resources {
            for verb in &rule.verbs {
                let part = Rule { verbs: one(verb), groups: one(group), resources: one(resource), ..Rule::default() };
                match rule.names.as_slice() {
                    [] => parts.push(part),
                    names => parts.extend(names.iter().map(|name| Rule { names: one(name), ..part.clone() })),
                }
            }
        }
    }
    let on_path =
        |path| rule.verbs.iter().map(move |verb| Rule { verbs: one(verb), paths: one(path), ..Rule::default() });
    parts.extend(rule.paths.iter().flat_map(on_path));
    parts
}

fn covers(rule: &Rule, part: &Rule) -> bool {
    let all = |held: &[String], wanted: &[String]| wanted.iter().all(|word| has(held, word));
    let resources = part.resources.iter().all(|wanted| resources_cover(&rule.resources, wanted));
    let paths = part.paths.iter().all(|wanted| rule.paths.iter().any(|held| path_covers(held, wanted)));
    // Names are words: there is no name for all of them but none at all.
    let names =
        rule.names.is_empty() || !part.names.is_empty() && part.names.iter().all(|name| rule.names.contains(name));
    all(&rule.verbs, &part.verbs) && all(&rule.groups, &part.groups) && resources && names && paths
}

/// Of resources with a subresource alone, a rule may cover those of every resource.
fn resources_cover(held: &[String], wanted: &str) -> bool {
    let every = wanted.split_once('/').map(|(_, subresource)| format!("{ALL}/{subresource}"));
    has(held, wanted) || every.is_some_and(|every| held.contains(&every))
}

/// Parts that differ in their verbs alone become one rule.
fn compact(parts: Vec<Rule>) -> Vec<Rule> {
    let mut out: Vec<Rule> = Vec::new();
    for part in parts {
        let same = |one: &&mut Rule| {
            one.paths.is_empty()
                && (&one.groups, &one.resources, &one.names) == (&part.groups, &part.resources, &part.names)
        };
        match out.iter_mut().find(same).filter(|_| part.paths.is_empty()) {
            Some(one) if has(&one.verbs, &part.verbs[0]) => {}
            Some(one) => one.verbs.extend(part.verbs),
            None => out.push(part),
        }
    }
    out
}

/// `{APIGroups:[""], Resources:["pods"], Verbs:["get" "list"]}`
fn describe(rule: &Rule) -> String {
    let members = [
        ("APIGroups", &rule.groups),
        ("Resources", &rule.resources),
        ("NonResourceURLs", &rule.paths),
        ("ResourceNames", &rule.names),
        ("Verbs", &rule.verbs),
    ];
    let told = members.iter().filter(|(_, words)| !words.is_empty());
    let told: Vec<String> = told.map(|(name, words)| format!("{name}:{}", quoted(words))).collect();
    format!("{{{}}}", told.join(", "))
}

/// `["a" "b"]`, as Go prints a list of strings with `%q`.
pub fn quoted(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| format!("{word:?}")).collect();
    format!("[{}]", words.join(" "))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::authz::rule::tests::{paths, rule};

    #[test]
    fn what_is_not_held_is_missing() {
        let pods = r#"{APIGroups:[""], Resources:["pods"], Verbs:["get"]}"#;
        let cases: Vec<(Vec<Rule>, Rule, Vec<&str>)> = vec![
            (vec![], rule("get", "-", "pods", ""), vec![pods]),
            (vec![rule("get list", "-", "pods nodes", "")], rule("get", "-", "pods", ""), vec![]),
            (
                vec![rule("get", "-", "pods", ""), rule("list", "-", "pods", "")],
                rule("get list", "-", "pods", ""),
                vec![],
            ),
            (
                vec![rule("get", "-", "pods", "")],
                rule("get list watch", "-", "pods", ""),
                vec![r#"{APIGroups:[""], Resources:["pods"], Verbs:["list" "watch"]}"#],
            ),
            (vec![rule("*", "*", "*", "")], rule("get", "x", "y/z", "n"), vec![]),
            (
                vec![rule("get", "-", "pods", "")],
                rule("*", "-", "pods", ""),
                vec![r#"{APIGroups:[""], Resources:["pods"], Verbs:["*"]}"#],
            ),
            (vec![rule("get", "-", "pods", "a")], rule("get", "-", "pods", ""), vec![pods]),
            (vec![rule("get", "-", "pods", "a")], rule("get", "-", "pods", "a"), vec![]),
            (
                vec![rule("get", "-", "pods", "a")],
                rule("get", "-", "pods", "a b"),
                vec![r#"{APIGroups:[""], Resources:["pods"], ResourceNames:["b"], Verbs:["get"]}"#],
            ),
            (vec![rule("get", "*", "*/scale", "")], rule("get", "apps", "deployments/scale", ""), vec![]),
            (
                vec![rule("get", "*", "*/scale", "")],
                rule("get", "apps", "*", ""),
                vec![r#"{APIGroups:["apps"], Resources:["*"], Verbs:["get"]}"#],
            ),
            (vec![paths("get", "/api/*")], paths("get", "/api/v1"), vec![]),
            (
                vec![paths("get", "/api/*")],
                paths("get post", "/apis"),
                vec![r#"{NonResourceURLs:["/apis"], Verbs:["get"]}"#, r#"{NonResourceURLs:["/apis"], Verbs:["post"]}"#],
            ),
            (Rule::full(), paths("get", "/x"), vec![]),
            (vec![rule("*", "*", "*", "")], paths("get", "/x"), vec![r#"{NonResourceURLs:["/x"], Verbs:["get"]}"#]),
        ];
        for (held, wanted, expected) in cases {
            assert_eq!(missing(&held, std::slice::from_ref(&wanted)), expected, "{held:?} {wanted:?}");
        }
    }
}
