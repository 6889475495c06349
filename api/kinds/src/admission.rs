//! What a kind declares for the server's admission: how other objects bound, complete or forbid a write of its own. All pure;
//! the server finds the other objects.

use serde_json::Value;

use crate::{AdmitFacts, Lookup};

/// What an admission plugin makes of a new object.
pub struct Admit {
    /// Its name in Kubernetes.
    pub plugin: &'static str,
    /// An error is the reason that a Forbidden answer gives.
    pub admit: fn(&mut Value, &AdmitFacts<'_>) -> Result<(), String>,
}

/// How LimitRanges of its namespace bound an object.
pub struct Limited {
    /// `(object, range)`: fills in what the object does not say.
    pub fill: fn(&mut Value, &Value),
    /// `(object, range)`: what is out of bounds, in words.
    pub check: fn(&Value, &Value) -> Vec<String>,
    /// Whether changes of it, or of this subresource, are bounded too.
    pub on_update: fn(&str) -> bool,
}

/// The class that new objects get which name none.
pub struct DefaultClass {
    /// The admission plugin that this is in Kubernetes.
    pub plugin: &'static str,
    /// The storage resource of the classes, which belong to no namespace.
    pub classes: &'static str,
    /// Whether the object leaves the choice to the cluster.
    pub is_open: fn(&Value) -> bool,
    /// Which of all classes is the default.
    pub choose: fn(&[Value]) -> Option<&Value>,
    /// `(object, class)`
    pub set: fn(&mut Value, &Value),
}

/// Whether a write may happen, given other objects.
pub struct Review {
    /// The admission plugin that this is in Kubernetes.
    pub plugin: &'static str,
    /// `(new, old)`: the objects that matter. A lookup without a name is for all of the resource.
    pub lookups: fn(&Value, Option<&Value>) -> Vec<Lookup>,
    /// `(new, old, found)`: `found` has the objects of each lookup. An error is the reason that a Forbidden answer gives.
    pub check: Check,
}

type Check = fn(&Value, Option<&Value>, &[Vec<Value>]) -> Result<(), String>;

/// The default of several that call themselves so: the newest, and of those made in the same second the first by name.
pub(crate) fn newest(classes: &[Value], is_default: fn(&Value) -> bool) -> Option<&Value> {
    let made = |class: &Value| crate::tree::text(class, "/metadata/creationTimestamp").to_owned();
    let name = |class: &Value| crate::tree::text(class, "/metadata/name").to_owned();
    let defaults = classes.iter().filter(|class| is_default(class));
    defaults.min_by_key(|class| (std::cmp::Reverse(made(class)), name(class)))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn the_newest_default_is_the_default() {
        let class = |name: &str, made: &str, default: bool| json!({"metadata": {"name": name, "creationTimestamp": made}, "default": default});
        let classes = [
            class("old", "2026-01-01T00:00:00Z", true),
            class("b", "2026-01-02T00:00:00Z", true),
            class("a", "2026-01-02T00:00:00Z", true),
            class("none", "2026-01-03T00:00:00Z", false),
        ];
        let newest =
            |classes| newest(classes, |class| class["default"] == true).map(|class| &class["metadata"]["name"]);
        assert_eq!(newest(&classes), Some(&json!("a")));
        assert_eq!(newest(&classes[3..]), None);
    }
}
