//! Which requests the rules and selectors of a policy or a webhook are about. Pure; whoever asks brings the labels.

use std::collections::BTreeMap;

use kontiki_model::{LabelSelector, SelectorError};
use serde_json::Value;

/// What a policy or a webhook says it is about, read once.
#[derive(Debug)]
pub(crate) struct Criteria {
    rules: Vec<Rule>,
    /// No rule at all: everything. Bindings have often none.
    all_without: bool,
    excluded: Vec<Rule>,
    namespaces: LabelSelector,
    objects: LabelSelector,
    /// A rule is also about what is stored as the same under another group or version.
    equivalent: bool,
}

#[derive(Debug, Default)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    /// Resource and subresource.
    resources: Vec<(String, String)>,
    scope: Scope,
    /// None: any.
    names: Vec<String>,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Scope {
    #[default]
    Any,
    Namespaced,
    Cluster,
}

/// One way to name what a request is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Form<'a> {
    pub group: &'a str,
    pub version: &'a str,
    pub resource: &'a str,
}

/// A request, as rules see it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked<'a> {
    /// What the request itself names, then what is stored as the same and has the subresource.
    pub forms: &'a [Form<'a>],
    pub subresource: &'a str,
    /// `CREATE`, `UPDATE`, `DELETE`, `CONNECT`.
    pub operation: &'a str,
    /// Empty where the server is still to choose it.
    pub name: &'a str,
    /// The namespace it is in; of a Namespace its own name.
    pub namespace: &'a str,
    /// It is about a Namespace, which is in itself.
    pub is_scope: bool,
}

/// The object of a request; what has no labels is selected by nothing but the empty selector.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Objects<'a> {
    pub new: Option<&'a Value>,
    pub old: Option<&'a Value>,
}

impl Criteria {
    /// Of a policy's `matchConstraints` or a binding's `matchResources`; null is about everything.
    pub fn of_policy(matched: &Value) -> Result<Self, SelectorError> {
        Criteria::read(matched, "resourceRules", true)
    }

    /// Of one webhook; without rules it is about nothing.
    pub fn of_webhook(webhook: &Value) -> Result<Self, SelectorError> {
        Criteria::read(webhook, "rules", false)
    }

    fn read(said: &Value, rules: &str, all_without: bool) -> Result<Self, SelectorError> {
        let all = |member: &str| said[member].as_array().into_iter().flatten().map(Rule::read).collect();
        let selector = |member: &str| match &said[member] {
            Value::Null => Ok(LabelSelector::default()),
            selector => LabelSelector::from_json(selector),
        };
        Ok(Criteria {
            rules: all(rules),
            all_without,
            excluded: all("excludeResourceRules"),
            namespaces: selector("namespaceSelector")?,
            objects: selector("objectSelector")?,
            equivalent: said["matchPolicy"] != "Exact",
        })
    }

    /// The form under which this is about the request, as an index into [`Asked::forms`]. `namespace` gives the labels of the
    /// namespace that the request is in; it is asked last, and only where the answer depends on it.
    pub fn matches<E>(
        &self,
        asked: &Asked<'_>,
        objects: Objects<'_>,
        namespace: impl FnOnce() -> Result<BTreeMap<String, String>, E>,
    ) -> Result<Option<usize>, E> {
        let found = match self.rules.is_empty() {
            true => self.all_without.then_some(0),
            false => self.form(&self.rules, asked),
        };
        let Some(form) = found else { return Ok(None) };
        if self.form(&self.excluded, asked).is_some() || !self.selects_object(objects) {
            return Ok(None);
        }
        if self.namespaces.is_everything() || asked.namespace.is_empty() {
            return Ok(Some(form));
        }
        // A namespace that is written is judged by what it will be.
        let selected = match objects.new {
            Some(new) if asked.writes_namespace() => selects(&self.namespaces, new),
            Some(_) | None => self.namespaces.matches(&namespace()?),
        };
        Ok(selected.then_some(form))
    }

    fn form(&self, rules: &[Rule], asked: &Asked<'_>) -> Option<usize> {
        let considered = if self.equivalent { asked.forms.len() } else { 1 };
        (0..considered).find(|index| rules.iter().any(|rule| rule.matches(asked, asked.forms[*index])))
    }

    fn selects_object(&self, objects: Objects<'_>) -> bool {
        let mut both = [objects.new, objects.old].into_iter().flatten();
        self.objects.is_everything() || both.any(|object| selects(&self.objects, object))
    }
}

/// What carries no metadata (the options of a CONNECT) has no labels to be selected by.
fn selects(selector: &LabelSelector, object: &Value) -> bool {
    let labels = &object["metadata"]["labels"];
    object.get("metadata").is_some() && selector.matches_by(|key| labels.get(key).and_then(Value::as_str))
}

impl Asked<'_> {
    fn writes_namespace(&self) -> bool {
        self.is_scope && self.subresource.is_empty() && matches!(self.operation, "CREATE" | "UPDATE")
    }
}

impl Rule {
    fn read(said: &Value) -> Self {
        let texts = |member: &str| -> Vec<String> {
            let all = said[member].as_array().into_iter().flatten();
            all.filter_map(Value::as_str).map(str::to_owned).collect()
        };
        let split = |one: String| match one.split_once('/') {
            Some((resource, subresource)) => (resource.to_owned(), subresource.to_owned()),
            None => (one, String::new()),
        };
        Rule {
            operations: texts("operations"),
            groups: texts("apiGroups"),
            versions: texts("apiVersions"),
            resources: texts("resources").into_iter().map(split).collect(),
            scope: match said["scope"].as_str() {
                Some("Namespaced") => Scope::Namespaced,
                Some("Cluster") => Scope::Cluster,
                Some(_) | None => Scope::Any,
            },
            names: texts("resourceNames"),
        }
    }

    fn matches(&self, asked: &Asked<'_>, form: Form<'_>) -> bool {
        let is = |wanted: &str, given: &str| wanted == "*" || wanted == given;
        let any = |wanted: &[String], given: &str| wanted.iter().any(|one| is(one, given));
        let resource =
            || self.resources.iter().any(|(one, below)| is(one, form.resource) && is(below, asked.subresource));
        // Namespaces carry their own name as the namespace, and are in none.
        let clusterwide = asked.namespace.is_empty() || asked.is_scope;
        let scope = match self.scope {
            Scope::Any => true,
            Scope::Namespaced => !clusterwide,
            Scope::Cluster => clusterwide,
        };
        scope
            && resource()
            && any(&self.operations, asked.operation)
            && any(&self.groups, form.group)
            && any(&self.versions, form.version)
            && (self.names.is_empty() || self.names.iter().any(|name| name == asked.name))
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use serde_json::json;

    use super::*;

    const PODS: Form<'static> = Form { group: "", version: "v1", resource: "pods" };
    const SCALERS: [Form<'static>; 2] = [
        Form { group: "autoscaling", version: "v1", resource: "horizontalpodautoscalers" },
        Form { group: "autoscaling", version: "v2", resource: "horizontalpodautoscalers" },
    ];
    const NAMESPACES: Form<'static> = Form { group: "", version: "v1", resource: "namespaces" };

    fn asked<'a>(forms: &'a [Form<'a>], subresource: &'a str, namespace: &'a str) -> Asked<'a> {
        let is_scope = forms == [NAMESPACES];
        Asked { forms, subresource, operation: "CREATE", name: "a", namespace, is_scope }
    }

    fn rule(changed: &Value) -> Value {
        let mut rule = json!({"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"], "scope": "*"});
        for (member, value) in changed.as_object().unwrap() {
            rule[member] = value.clone();
        }
        rule
    }

    fn found(said: &Value, asked: &Asked<'_>, objects: Objects<'_>) -> Option<usize> {
        let labels = BTreeMap::from([("tier".to_owned(), "prod".to_owned())]);
        Criteria::of_policy(said).unwrap().matches(asked, objects, || Ok::<_, Infallible>(labels)).unwrap()
    }

    #[test]
    fn each_part_of_a_rule_must_hold() {
        let table = [
            (json!({}), true),
            (json!({"operations": ["*"]}), true),
            (json!({"operations": ["UPDATE", "DELETE"]}), false),
            (json!({"apiGroups": ["*"]}), true),
            (json!({"apiGroups": ["apps"]}), false),
            (json!({"apiVersions": ["v2"]}), false),
            (json!({"resources": ["*"]}), true),
            (json!({"resources": ["*/*"]}), true),
            (json!({"resources": ["pods/*"]}), true),
            (json!({"resources": ["pods/log", "services"]}), false),
            (json!({"scope": "Namespaced"}), true),
            (json!({"scope": "Cluster"}), false),
            (json!({"resourceNames": ["b", "a"]}), true),
            (json!({"resourceNames": ["b"]}), false),
        ];
        for (changed, expected) in table {
            let said = json!({"resourceRules": [rule(&changed)]});
            assert_eq!(found(&said, &asked(&[PODS], "", "n"), Objects::default()).is_some(), expected, "{changed}");
        }
    }

    #[test]
    fn subresources_are_named_expressly() {
        let table = [
            ("pods", false),
            ("*", false),
            ("pods/status", true),
            ("pods/*", true),
            ("*/status", true),
            ("*/*", true),
            ("pods/log", false),
        ];
        for (resource, expected) in table {
            let said = json!({"resourceRules": [rule(&json!({"resources": [resource]}))]});
            let found = found(&said, &asked(&[PODS], "status", "n"), Objects::default());
            assert_eq!(found.is_some(), expected, "{resource}");
        }
    }

    #[test]
    fn exceptions_take_out_what_rules_take_in() {
        let said = json!({"resourceRules": [rule(&json!({}))], "excludeResourceRules": [rule(&json!({"resourceNames": ["a"]}))]});
        assert_eq!(found(&said, &asked(&[PODS], "", "n"), Objects::default()), None);
        let other = Asked { name: "b", ..asked(&[PODS], "", "n") };
        assert_eq!(found(&said, &other, Objects::default()), Some(0));
    }

    #[test]
    fn no_rules_are_about_everything() {
        assert_eq!(found(&json!(null), &asked(&[PODS], "exec", "n"), Objects::default()), Some(0));
    }

    #[test]
    fn webhooks_call_their_rules_otherwise() {
        let webhook = Criteria::of_webhook(&json!({"rules": [rule(&json!({"resources": ["services"]}))]})).unwrap();
        let matches = |form| {
            webhook.matches(&asked(&[form], "", "n"), Objects::default(), || Ok::<_, Infallible>(BTreeMap::new()))
        };
        assert_eq!(matches(PODS), Ok(None));
        assert_eq!(matches(Form { resource: "services", ..PODS }), Ok(Some(0)));
    }

    #[test]
    fn another_version_of_the_same_is_the_same_unless_exactness_is_wanted() {
        let rule = rule(&json!({"apiGroups": ["autoscaling"], "apiVersions": ["v2"], "resources": ["*"]}));
        for (policy, expected) in [("Equivalent", Some(1)), ("Exact", None)] {
            let said = json!({"resourceRules": [rule], "matchPolicy": policy});
            assert_eq!(found(&said, &asked(&SCALERS, "", "n"), Objects::default()), expected, "{policy}");
        }
    }

    #[test]
    fn either_object_may_be_the_selected_one() {
        let (with, without) = (json!({"metadata": {"labels": {"a": "b"}}}), json!({"metadata": {}}));
        let options = json!({"command": ["sh"]});
        let said = json!({"resourceRules": [rule(&json!({}))], "objectSelector": {"matchLabels": {"a": "b"}}});
        let absent = json!({"objectSelector": {"matchExpressions": [{"key": "a", "operator": "DoesNotExist"}]}});
        let table = [
            (&said, Some(&with), None, true),
            (&said, Some(&without), Some(&with), true),
            (&said, None, Some(&with), true),
            (&said, Some(&without), Some(&without), false),
            (&said, None, None, false),
            (&absent, Some(&without), None, true),
            (&absent, Some(&options), None, false),
        ];
        for (said, new, old, expected) in table {
            let found = found(said, &asked(&[PODS], "", "n"), Objects { new, old });
            assert_eq!(found.is_some(), expected, "{new:?} {old:?}");
        }
    }

    #[test]
    fn namespaces_are_selected_by_their_labels() {
        let selects = |value: &str| json!({"namespaceSelector": {"matchLabels": {"tier": value}}});
        let new = json!({"metadata": {"name": "n", "labels": {"tier": "test"}}});
        let table = [
            (selects("prod"), asked(&[PODS], "", "n"), true),
            (selects("test"), asked(&[PODS], "", "n"), false),
            // In no namespace: no selector keeps it out.
            (selects("test"), asked(&[PODS], "", ""), true),
            // A namespace that is written counts as it will be, one that is deleted as it is.
            (selects("test"), asked(&[NAMESPACES], "", "n"), true),
            (selects("prod"), asked(&[NAMESPACES], "", "n"), false),
            (selects("prod"), Asked { operation: "DELETE", ..asked(&[NAMESPACES], "", "n") }, true),
        ];
        for (said, asked, expected) in table {
            let found = found(&said, &asked, Objects { new: Some(&new), old: None });
            assert_eq!(found.is_some(), expected, "{said} {asked:?}");
        }
    }

    #[test]
    fn a_namespace_is_cluster_scoped() {
        for (scope, expected) in [("Cluster", true), ("Namespaced", false)] {
            let rule = rule(&json!({"resources": ["namespaces"], "scope": scope}));
            let found = found(&json!({"resourceRules": [rule]}), &asked(&[NAMESPACES], "", "n"), Objects::default());
            assert_eq!(found.is_some(), expected, "{scope}");
        }
    }
}
