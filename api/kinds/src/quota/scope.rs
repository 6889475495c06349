//! Scopes: which objects a quota is about.

use serde_json::Value;

use crate::tree::{list, text, texts};

/// One requirement of `spec.scopeSelector`. An entry of `spec.scopes` is one that the scope exists.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scope<'a> {
    pub name: &'a str,
    pub operator: &'a str,
    pub values: &'a [Value],
}

impl Scope<'_> {
    /// Whether an object with this value (none: it has none) meets the requirement, as a label would.
    pub fn allows(&self, value: Option<&str>) -> bool {
        let listed = || value.is_some_and(|value| self.values.iter().any(|one| one == value));
        match self.operator {
            "Exists" => value.is_some(),
            "DoesNotExist" => value.is_none(),
            "In" => listed(),
            "NotIn" => !listed(),
            _ => false,
        }
    }
}

/// All requirements of a quota.
pub fn scopes(quota: &Value) -> Vec<Scope<'_>> {
    let named = texts(quota, "/spec/scopes").map(|name| Scope { name, operator: "Exists", values: &[] });
    let required = list(quota, "/spec/scopeSelector/matchExpressions").iter().map(|one| Scope {
        name: text(one, "/scopeName"),
        operator: text(one, "/operator"),
        values: list(one, "/values"),
    });
    named.chain(required).collect()
}
