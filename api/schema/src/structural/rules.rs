//! `x-kubernetes-validations`: rules in CEL, compiled with their schema, evaluated over an object within a budget.

mod compile;
mod declared;
mod run;

use kontiki_cel::{Program, Type, Value as Cel};
use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use super::path::Path;
use super::validate::Ratchet;
use super::{Additional, Node, Structural};

pub(super) use compile::compile;
use declared::declared;
use run::Run;

/// A rule about the values of one node.
#[derive(Debug)]
pub struct Rule {
    text: String,
    /// Or why there is none.
    program: Result<Program, String>,
    message: String,
    message_program: Option<Program>,
    reason: FaultKind,
    field_path: Vec<Step>,
    /// It compares with what was there before.
    transition: bool,
    optional_old: bool,
}

/// A step of `fieldPath`.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Step {
    Field(String),
    Key(String),
}

impl Structural {
    /// The type of the objects in expressions.
    pub(crate) fn declared(&self) -> Type {
        declared(&self.root, true).0
    }

    /// Evaluates the rules; `found` is what is already wrong with the object.
    pub fn run_rules(&self, object: &Value, old: Ratchet<'_>, found: &mut Faults) {
        if !has_rules(&self.root) {
            return;
        }
        let blocking = |kind: FaultKind| match kind {
            FaultKind::NotSupported
            | FaultKind::Required
            | FaultKind::TooLong
            | FaultKind::TooMany
            | FaultKind::TypeInvalid => true,
            FaultKind::Duplicate | FaultKind::Forbidden | FaultKind::Invalid | FaultKind::NotFound => false,
        };
        if found.is_full() || found.iter().any(|fault| blocking(fault.kind)) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                          complete validation";
            return found.add(FaultKind::Invalid, Path::ROOT.place(), Some(Value::Null), detail);
        }
        Run::new(found).node(&self.root, object, old, &Path::ROOT);
    }
}

/// Evaluates the rules of a node on its default.
pub(super) fn run_on_default(node: &Node, default: &Value, path: &Path<'_>, faults: &mut Faults) {
    let mut run = Run::new(faults);
    run.node(node, default, Ratchet::over(default), path);
    run.node(node, default, Ratchet::NEW, path);
}

fn has_rules(node: &Node) -> bool {
    !node.rules.is_empty() || node.properties.values().any(has_rules) || below(node).any(has_rules)
}

/// The schema of elements and of undeclared members.
fn below(node: &Node) -> impl Iterator<Item = &Node> {
    let additional = match &node.additional {
        Some(Additional::Of(node)) => Some(&**node),
        Some(Additional::Anything) | None => None,
    };
    node.items.as_deref().into_iter().chain(additional)
}

impl Rule {
    fn shown(&self) -> &str {
        if self.message.is_empty() { self.text.trim() } else { &self.message }
    }

    /// Where it says that something is wrong.
    fn place(&self, path: &Path<'_>) -> String {
        let Some((step, rest)) = self.field_path.split_first() else { return path.place() };
        let below = match step {
            Step::Field(name) => path.field(name),
            Step::Key(name) => path.key(name),
        };
        rest.iter().fold(below.place(), |place, step| match step {
            Step::Field(name) => format!("{place}.{name}"),
            Step::Key(name) => format!("{place}[{name}]"),
        })
    }

    /// `self`, and `oldSelf` where the rule knows it.
    fn values<'a>(&self, program: &'a Program, value: &'a Value, before: Option<&'a Value>) -> Vec<Cel<'a>> {
        let old = match (before, self.optional_old) {
            (Some(before), _) => program.value("oldSelf", before),
            (None, true) => Cel::Optional(None),
            (None, false) => Cel::Null,
        };
        vec![program.value("self", value), old]
    }
}

/// Everything that is wrong with an object under a schema, for tests.
#[cfg(test)]
pub(super) fn checked(schema: Value, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut faults = Faults::default();
    let structural = Structural::admit(&schema, "schema", &mut faults);
    if let Some(structural) = structural {
        let old = Ratchet::of(old);
        structural.validate(object, old, &mut faults);
        structural.run_rules(object, old, &mut faults);
    }
    faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn schema(properties: &Value, rules: &Value) -> Value {
        json!({"type": "object", "properties": {"spec": {"type": "object", "properties": properties, "x-kubernetes-validations": rules}}})
    }

    #[test]
    fn rules_are_told_as_kubernetes_tells_them() {
        let properties = json!({
            "low": {"type": "integer"}, "high": {"type": "integer"}, "color": {"type": "string"},
            "hosts": {"type": "array", "maxItems": 10, "items": {"type": "string", "maxLength": 63}},
            "when": {"type": "string", "format": "date-time"}, "x-y": {"type": "string"},
            "limits": {"type": "object", "maxProperties": 5, "additionalProperties": {"type": "integer"}},
        });
        let table = [
            (
                json!([{"rule": "self.low <= self.high", "message": "low above high"}]),
                json!({"low": 3, "high": 2}),
                vec!["spec: Invalid value: low above high"],
            ),
            (
                json!([{"rule": "self.low <= self.high"}]),
                json!({"low": 3, "high": 2}),
                vec!["spec: Invalid value: failed rule: self.low <= self.high"],
            ),
            (
                json!([{"rule": "self.low <= self.high"}]),
                json!({"low": 3}),
                vec!["spec: Invalid value: no such key: high evaluating rule: self.low <= self.high"],
            ),
            (json!([{"rule": "!has(self.low) || self.low > 1"}]), json!({}), vec![]),
            (
                json!([{"rule": "self.low > 5", "messageExpression": "'low is ' + string(self.low)", "reason": "FieldValueForbidden", "fieldPath": ".low"}]),
                json!({"low": 3}),
                vec!["spec.low: Forbidden: low is 3"],
            ),
            (json!([{"rule": "self.hosts.all(h, h.endsWith('.com'))"}]), json!({"hosts": ["a.com", "b.com"]}), vec![]),
            (
                json!([{"rule": "self.when > timestamp('2026-01-01T00:00:00Z')"}]),
                json!({"when": "2027-01-01T00:00:00Z"}),
                vec![],
            ),
            (json!([{"rule": "self.x__dash__y == 'z'"}]), json!({"x-y": "z"}), vec![]),
            (
                json!([{"rule": "self.limits.all(k, self.limits[k] > 0)", "message": "m"}]),
                json!({"limits": {"a": 0}}),
                vec!["spec: Invalid value: m"],
            ),
        ];
        for (rules, spec, expected) in table {
            assert_eq!(checked(schema(&properties, &rules), &json!({"spec": spec}), None), expected, "{rules}");
        }
    }

    #[test]
    fn transition_rules_see_what_was_there() {
        let properties = json!({"color": {"type": "string"}, "size": {"type": "integer"}});
        let rules = json!([{"rule": "self.color == oldSelf.color", "message": "fixed"}]);
        let run = |old: Option<Value>, new: Value| {
            let old = old.map(|old| json!({"spec": old}));
            checked(schema(&properties, &rules), &json!({"spec": new}), old.as_ref())
        };
        assert_eq!(run(None, json!({"color": "red"})), Vec::<String>::new());
        assert_eq!(run(Some(json!({"color": "red"})), json!({"color": "blue"})), ["spec: Invalid value: fixed"]);
        assert_eq!(run(Some(json!({"color": "red"})), json!({"color": "red", "size": 1})), Vec::<String>::new());
        let optional = json!([{"rule": "oldSelf.hasValue() || self.color == 'red'", "optionalOldSelf": true, "message": "starts red"}]);
        let first = checked(schema(&properties, &optional), &json!({"spec": {"color": "blue"}}), None);
        assert_eq!(first, ["spec: Invalid value: starts red"]);
        // What has no order is the same in any.
        let properties = json!({
            "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "integer"}},
            "map": {"type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["a", "b"], "items": {
                "type": "object", "required": ["a", "b"], "properties": {"a": {"type": "integer"}, "b": {"type": "string"}, "c": {"type": "integer"}}}},
        });
        let rules = json!([
            {"rule": "self == oldSelf", "message": "fixed"},
            {"rule": "(self.set + [2, 3]).size() == 3", "message": "a union"},
        ]);
        let items = [json!({"a": 1, "b": "x", "c": 1}), json!({"b": "y", "a": 1})];
        let old = json!({"spec": {"set": [1, 2], "map": items}});
        let run = |new: Value| checked(schema(&properties, &rules), &json!({"spec": new}), Some(&old));
        assert_eq!(run(json!({"map": [items[1], items[0]], "set": [2, 1]})), Vec::<String>::new());
        assert_eq!(
            run(json!({"map": [items[1], {"a": 1, "b": "x", "c": 2}], "set": [2, 1]})),
            ["spec: Invalid value: fixed"]
        );
    }

    #[test]
    fn rules_of_the_object_itself_are_told_of_nowhere() {
        let of = |rule: Value| json!({"type": "object", "properties": {"spec": {"type": "string"}}, "x-kubernetes-validations": [rule]});
        let table = [
            (json!({"rule": "self.metadata.name == 'x'", "message": "m"}), "<nil>: Invalid value: m"),
            (json!({"rule": "self.spec == 'x'", "message": "m", "fieldPath": ".spec"}), "spec: Invalid value: m"),
        ];
        let object = json!({"metadata": {"name": "n"}, "spec": "s"});
        for (rule, expected) in table {
            assert_eq!(checked(of(rule.clone()), &object, None), [expected], "{rule}");
        }
    }

    #[test]
    fn rules_that_make_no_sense_are_refused_where_they_stand() {
        let properties = json!({"n": {"type": "integer"}, "list": {"type": "array", "items": {"type": "string"}}});
        let place = "schema.properties[spec].x-kubernetes-validations[0].rule";
        let table = [
            ("self.m > 1", "compilation failed: ERROR: <input>:1:5: undefined field 'm'"),
            ("self.n > 'a'", "found no matching overload for '_>_' applied to '(int, string)'"),
            ("self.n", "cel expression must evaluate to a bool"),
            ("nope(self)", "undeclared reference to 'nope'"),
            (
                "self.list.all(x, self.list.all(y, x == y))",
                "estimated rule cost exceeds budget by factor of more than 100x",
            ),
        ];
        for (rule, expected) in table {
            let found = checked(schema(&properties, &json!([{"rule": rule}])), &json!({}), None);
            assert!(
                found.first().is_some_and(|told| told.starts_with(place) && told.contains(expected)),
                "{rule}: {found:?}"
            );
        }
    }
}
