//! `x-kubernetes-validations`: rules in CEL, compiled with their schema, evaluated over an object within a budget.

use std::collections::BTreeMap;
use std::sync::Arc;

use kontiki_cel::{Bound, Budget, Environment, FieldType, ObjectType, Program, RunError, Type, Value as Cel, escape};
use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use super::validate::Ratchet;
use super::{Additional, JsonType, ListKind, Node, Structural};

/// What all rules of one object may cost together.
const OBJECT_COST_MAX: u64 = 10_000_000;
/// What one evaluation may cost.
const RULE_COST_MAX: u64 = 1_000_000;
/// What a rule may be estimated to cost, as often as its place can occur.
const RULE_ESTIMATE_MAX: u64 = 10_000_000;
/// What all rules of a schema may be estimated to cost.
const SCHEMA_ESTIMATE_MAX: u64 = 100_000_000;
/// The largest request, which bounds what no limit bounds.
const REQUEST_BYTES_MAX: u64 = 3 * 1024 * 1024;
/// As a message, more than this is the rule's author's fault.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

/// A rule about the values of one node.
#[derive(Debug)]
pub struct Rule {
    text: String,
    program: Program,
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
        if found.iter().any(|fault| blocking(fault.kind)) {
            let detail = "some validation rules were not checked because the object was invalid; correct the existing errors to \
                          complete validation";
            return found.add(FaultKind::Invalid, "<nil>", Some(Value::Null), detail);
        }
        let mut run = Run { budget: Budget::new(OBJECT_COST_MAX), exhausted: false, faults: found };
        run.node(&self.root, object, old, "");
    }
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

struct Run<'f> {
    budget: Budget,
    exhausted: bool,
    faults: &'f mut Faults,
}

impl Run<'_> {
    fn node(&mut self, node: &Node, value: &Value, old: Ratchet<'_>, path: &str) {
        // A rule speaks of values, not of their absence.
        if value.is_null() || self.exhausted {
            return;
        }
        for rule in &node.rules {
            self.rule(rule, value, old, path);
            if self.exhausted {
                return;
            }
        }
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let Some(below) = node.member(name) else { continue };
                    let path = match (node.properties.contains_key(name), path.is_empty()) {
                        (true, true) => name.clone(),
                        (true, false) => format!("{path}.{name}"),
                        (false, _) => format!("{path}[{name}]"),
                    };
                    self.node(below, value, old.member(name), &path);
                }
            }
            Value::Array(items) => {
                let Some(below) = &node.items else { return };
                for (index, item) in items.iter().enumerate() {
                    self.node(below, item, old.element(node, item), &format!("{path}[{index}]"));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn rule(&mut self, rule: &Rule, value: &Value, old: Ratchet<'_>, path: &str) {
        let before = old.old();
        match (rule.transition, before) {
            (true, None) if !rule.optional_old => return,
            // What did not change is not held against the client.
            (false, Some(before)) if before == value => return,
            (true | false, _) => {}
        }
        let mut budget = Budget::new(self.budget.left().min(RULE_COST_MAX));
        let limit = budget.left();
        let outcome = rule.program.run(&rule.values(&rule.program, value, before), &mut budget);
        let spent = self.budget.spend(limit - budget.left());
        match outcome {
            Ok(Cel::Bool(true)) => {}
            Ok(_) => self.fail(rule, value, before, path),
            Err(RunError::OutOfBudget) => {
                let rule = rule.shown();
                let detail = if limit < RULE_COST_MAX || spent.is_err() {
                    "validation failed due to running out of cost budget, no further validation rules will be run"
                        .to_owned()
                } else {
                    format!(
                        "'operation cancelled: actual cost limit exceeded': no further validation rules will be run due to call cost exceeds limit for rule: {rule}"
                    )
                };
                self.faults.add(FaultKind::Invalid, path, None, detail);
                self.exhausted = true;
            }
            Err(RunError::Failed(why)) => {
                let rule = rule.shown();
                let detail = match why.starts_with("no such overload") {
                    true => format!(
                        "'{why}': call arguments did not match a supported operator, function or macro signature for rule: {rule}"
                    ),
                    false => format!("{why} evaluating rule: {rule}"),
                };
                self.faults.add(FaultKind::Invalid, path, None, detail);
            }
        }
    }

    fn fail(&mut self, rule: &Rule, value: &Value, before: Option<&Value>, path: &str) {
        let mut field = path.to_owned();
        for step in &rule.field_path {
            match step {
                Step::Field(name) if field.is_empty() => field.push_str(name),
                Step::Field(name) => field.push_str(&format!(".{name}")),
                Step::Key(name) => field.push_str(&format!("[{name}]")),
            }
        }
        let said = rule.message_program.as_ref().and_then(|program| {
            let mut budget = Budget::new(self.budget.left().min(RULE_COST_MAX));
            let limit = budget.left();
            let said = program.run(&rule.values(program, value, before), &mut budget);
            self.budget.spend(limit - budget.left()).ok()?;
            match said {
                Ok(Cel::String(text)) => Some(text.trim().to_owned()),
                Ok(_) | Err(_) => None,
            }
        });
        let sound = |text: &String| !text.is_empty() && !text.contains('\n') && text.len() <= MESSAGE_BYTES_MAX;
        let detail = match (said.filter(sound), rule.message.is_empty()) {
            (Some(said), _) => said,
            (None, false) => rule.message.clone(),
            (None, true) => format!("failed rule: {}", rule.text.trim()),
        };
        let shown = (rule.reason == FaultKind::Duplicate).then(|| value.clone());
        self.faults.add(rule.reason, field, shown, detail);
    }
}

impl Rule {
    fn shown(&self) -> &str {
        if self.message.is_empty() { self.text.trim() } else { &self.message }
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

/// Compiles the rules of a schema; what is wrong with them is told where they stand.
pub(super) fn compile(root: &mut Node, schema: &Value, path: &str, faults: &mut Faults) {
    let mut compiler = Compiler { faults, total: 0 };
    compiler.node(root, schema, path, Place { resource: true, cardinality: 1, uncorrelated: None });
    if compiler.total > SCHEMA_ESTIMATE_MAX {
        let factor = factor(compiler.total, SCHEMA_ESTIMATE_MAX);
        let detail = format!(
            "x-kubernetes-validations estimated rule cost total for entire OpenAPIv3 schema exceeds budget by factor of {factor} \
             (try simplifying the rule, or adding maxItems, maxProperties, and maxLength where arrays, maps, and strings are declared)"
        );
        compiler.faults.forbidden(path, detail);
    }
}

#[derive(Clone)]
struct Place {
    resource: bool,
    /// How often it can occur in an object.
    cardinality: u64,
    /// Behind this place, what is there cannot be told to belong to what was there.
    uncorrelated: Option<String>,
}

struct Compiler<'f> {
    faults: &'f mut Faults,
    total: u64,
}

impl Compiler<'_> {
    fn node(&mut self, node: &mut Node, schema: &Value, path: &str, place: Place) {
        if let Some(rules) =
            schema.get("x-kubernetes-validations").and_then(Value::as_array).filter(|rules| !rules.is_empty())
        {
            let (declared, bound) = declared(node, place.resource);
            for (index, rule) in rules.iter().enumerate() {
                let path = format!("{path}.x-kubernetes-validations[{index}]");
                if let Some(rule) = self.rule(node, rule, &path, &declared, &bound, &place) {
                    node.rules.push(rule);
                }
            }
        }
        let at = |member: &str| schema.get(member).unwrap_or(&Value::Null);
        for (name, below) in &mut node.properties {
            let schema = at("properties").get(name).unwrap_or(&Value::Null);
            let place = Place { resource: below.embedded, ..place.clone() };
            self.node(below, schema, &format!("{path}.properties[{name}]"), place);
        }
        let members_max = size_max(node);
        if let Some(Additional::Of(below)) = &mut node.additional {
            let cardinality = place.cardinality.saturating_mul(members_max);
            let place = Place { resource: below.embedded, cardinality, ..place.clone() };
            self.node(below, at("additionalProperties"), &format!("{path}.additionalProperties"), place);
        }
        let keyed = node.list == ListKind::Map;
        if let Some(below) = &mut node.items {
            let path = format!("{path}.items");
            let uncorrelated =
                if keyed { place.uncorrelated } else { place.uncorrelated.or_else(|| Some(path.clone())) };
            let cardinality = place.cardinality.saturating_mul(members_max);
            self.node(below, at("items"), &path, Place { resource: below.embedded, cardinality, uncorrelated });
        }
    }

    fn rule(
        &mut self,
        node: &Node,
        rule: &Value,
        path: &str,
        declared: &Type,
        bound: &Bound,
        place: &Place,
    ) -> Option<Rule> {
        let said = |member: &str| rule.get(member).and_then(Value::as_str).unwrap_or("");
        let (text, message) = (said("rule"), said("message").trim());
        let optional_old = rule.get("optionalOldSelf") == Some(&Value::Bool(true));
        if text.trim().is_empty() {
            self.faults.required(format!("{path}.rule"), "rule is not specified");
            return None;
        }
        if rule.get("message").is_some_and(|given| given != "") && message.is_empty() {
            self.faults.invalid(format!("{path}.message"), said("message"), "message must be non-empty if specified");
        } else if message.contains('\n') {
            self.faults.invalid(format!("{path}.message"), message, "message must not contain line breaks");
        } else if message.is_empty() && text.trim().contains('\n') && said("messageExpression").is_empty() {
            self.faults.required(format!("{path}.message"), "message must be specified if rule contains line breaks");
        }
        let old = if optional_old { Type::optional(declared.clone()) } else { declared.clone() };
        let environment =
            Environment::default().with("self", declared.clone(), bound.clone()).with("oldSelf", old, bound.clone());
        let at_rule = format!("{path}.rule");
        let program = match kontiki_cel::compile(text, &environment) {
            Ok(program) => program,
            Err(why) => {
                self.faults.invalid(at_rule, text, format!("compilation failed: {why}"));
                return None;
            }
        };
        if !matches!(program.result(), Type::Bool | Type::Dyn) {
            self.faults.invalid(at_rule.clone(), text, "cel expression must evaluate to a bool");
        }
        self.estimate(&program, &at_rule, place);
        let transition = program.names("oldSelf");
        if let (true, Some(behind)) = (transition, &place.uncorrelated) {
            let detail = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {behind}");
            self.faults.invalid(at_rule, text, detail);
        }
        if optional_old && !transition {
            let detail = "may not be set if oldSelf is not used in rule";
            self.faults.invalid(format!("{path}.optionalOldSelf"), true, detail);
        }
        let message_program = self.message(said("messageExpression"), &environment, path, place);
        Some(Rule {
            text: text.to_owned(),
            program,
            message: message.to_owned(),
            message_program,
            reason: self.reason(said("reason"), path),
            field_path: self.field_path(node, said("fieldPath"), path),
            transition,
            optional_old,
        })
    }

    fn estimate(&mut self, program: &Program, path: &str, place: &Place) {
        let cost = program.estimate().saturating_mul(place.cardinality);
        self.total = self.total.saturating_add(cost);
        if cost > RULE_ESTIMATE_MAX {
            let factor = factor(cost, RULE_ESTIMATE_MAX);
            let detail = format!(
                "estimated rule cost exceeds budget by factor of {factor} (try simplifying the rule, or adding maxItems, \
                 maxProperties, and maxLength where arrays, maps, and strings are declared)"
            );
            self.faults.forbidden(path, detail);
        }
    }

    fn message(&mut self, text: &str, environment: &Environment, path: &str, place: &Place) -> Option<Program> {
        if text.is_empty() {
            return None;
        }
        let path = format!("{path}.messageExpression");
        match kontiki_cel::compile(text, environment) {
            Ok(program) if matches!(program.result(), Type::String | Type::Dyn) => {
                self.estimate(&program, &path, place);
                Some(program)
            }
            Ok(_) => {
                self.faults.invalid(path, text, "messageExpression must evaluate to a string");
                None
            }
            Err(why) => {
                self.faults.invalid(path, text, format!("messageExpression compilation failed: {why}"));
                None
            }
        }
    }

    fn reason(&mut self, reason: &str, path: &str) -> FaultKind {
        const KNOWN: [&str; 4] =
            ["FieldValueDuplicate", "FieldValueForbidden", "FieldValueInvalid", "FieldValueRequired"];
        match reason {
            "" | "FieldValueInvalid" => FaultKind::Invalid,
            "FieldValueForbidden" => FaultKind::Forbidden,
            "FieldValueRequired" => FaultKind::Required,
            "FieldValueDuplicate" => FaultKind::Duplicate,
            other => {
                self.faults.not_supported(format!("{path}.reason"), other, &KNOWN);
                FaultKind::Invalid
            }
        }
    }

    /// A path below the node, of declared fields and keys of maps.
    fn field_path(&mut self, node: &Node, text: &str, path: &str) -> Vec<Step> {
        let mut out = Vec::new();
        if text.is_empty() {
            return out;
        }
        let at = format!("{path}.fieldPath");
        let mut wrong =
            |why: &str| self.faults.invalid(at.clone(), text, format!("fieldPath must be a valid path: {why}"));
        let (mut here, mut rest) = (node, text);
        while !rest.is_empty() {
            let (name, behind) = match (rest.strip_prefix("['"), rest.strip_prefix('.')) {
                (Some(quoted), _) => match quoted.split_once("']") {
                    Some(found) => found,
                    None => {
                        wrong("unterminated quoted string");
                        return out;
                    }
                },
                (None, Some(plain)) => plain.split_at(plain.find(['.', '[']).unwrap_or(plain.len())),
                (None, None) => {
                    wrong("expected [ or . at start of a step");
                    return out;
                }
            };
            let Some(below) = here.member(name).filter(|_| !name.is_empty()) else {
                wrong(&format!("does not refer to a valid field: {name}"));
                return out;
            };
            let declared = here.properties.contains_key(name);
            out.push(if declared { Step::Field(name.to_owned()) } else { Step::Key(name.to_owned()) });
            (here, rest) = (below, behind);
        }
        out
    }
}

fn factor(cost: u64, limit: u64) -> String {
    let factor = cost as f64 / limit as f64;
    if factor > 100.0 { "more than 100x".to_owned() } else { format!("{factor:.1}x") }
}

/// The type of a node's values in expressions, and how large they can be.
fn declared(node: &Node, resource: bool) -> (Type, Bound) {
    let sized = |element: Option<Bound>| Bound { size_max: Some(size_max(node)), element: element.map(Arc::new) };
    if node.int_or_string {
        return (Type::Dyn, sized(None));
    }
    match node.r#type {
        None => (Type::Dyn, Bound::default()),
        Some(JsonType::Boolean) => (Type::Bool, sized(None)),
        Some(JsonType::Integer) => (Type::Int, sized(None)),
        Some(JsonType::Number) => (Type::Double, sized(None)),
        Some(JsonType::String) => match node.limits.format.as_deref() {
            Some("byte") => (Type::Bytes, sized(None)),
            Some("date" | "date-time") => (Type::Timestamp, sized(None)),
            Some("duration") => (Type::Duration, sized(None)),
            _ => (Type::String, sized(None)),
        },
        Some(JsonType::Array) => {
            let (of, bound) =
                node.items.as_ref().map_or((Type::Dyn, Bound::default()), |items| declared(items, items.embedded));
            (Type::list(of), sized(Some(bound)))
        }
        Some(JsonType::Object) => match &node.additional {
            Some(Additional::Of(below)) => {
                let (of, bound) = declared(below, below.embedded);
                (Type::map(Type::String, of), sized(Some(bound)))
            }
            Some(Additional::Anything) => (Type::map(Type::String, Type::Dyn), sized(None)),
            None => (Type::Object(Arc::new(object(node, resource))), sized(None)),
        },
    }
}

fn object(node: &Node, resource: bool) -> ObjectType {
    let mut fields: BTreeMap<String, FieldType> = BTreeMap::new();
    let mut add = |json: &str, r#type: Type, bound: Bound| {
        if let Some(name) = escape(json) {
            fields.insert(name, FieldType { json: json.to_owned(), r#type, bound });
        }
    };
    for (name, below) in &node.properties {
        let (r#type, bound) = declared(below, below.embedded);
        add(name, r#type, bound);
    }
    if resource {
        let text = || (Type::String, Bound { size_max: Some(253), element: None });
        let mut metadata: BTreeMap<String, FieldType> = BTreeMap::new();
        for name in ["name", "generateName"] {
            let (r#type, bound) = text();
            metadata.insert(name.to_owned(), FieldType { json: name.to_owned(), r#type, bound });
        }
        let metadata = ObjectType { name: "metadata".to_owned(), fields: metadata };
        for name in ["apiVersion", "kind"] {
            let (r#type, bound) = text();
            add(name, r#type, bound);
        }
        add("metadata", Type::Object(Arc::new(metadata)), Bound::default());
    }
    ObjectType { name: "object".to_owned(), fields }
}

/// How large a value can be at most, by its own limits or by those of a request.
fn size_max(node: &Node) -> u64 {
    let limits = &node.limits;
    match node.r#type {
        Some(JsonType::String) => {
            let choice = limits.choices.iter().filter_map(Value::as_str).map(|text| text.len() as u64).max();
            let format = match limits.format.as_deref() {
                Some("date") => Some(10),
                Some("date-time" | "duration") => Some(64),
                _ => None,
            };
            let own = [limits.length_max, choice, format].into_iter().flatten().min();
            own.unwrap_or(REQUEST_BYTES_MAX - 2)
        }
        Some(JsonType::Array) => {
            let each = node.items.as_deref().map_or(1, size_min) + 1;
            limits.items_max.unwrap_or((REQUEST_BYTES_MAX - 2) / each)
        }
        Some(JsonType::Object) => match &node.additional {
            Some(Additional::Of(below)) => {
                limits.properties_max.unwrap_or((REQUEST_BYTES_MAX - 2) / (size_min(below) + 5))
            }
            Some(Additional::Anything) => limits.properties_max.unwrap_or((REQUEST_BYTES_MAX - 2) / 6),
            None => node.properties.len() as u64,
        },
        Some(JsonType::Boolean | JsonType::Integer | JsonType::Number) => 1,
        None => REQUEST_BYTES_MAX - 2,
    }
}

/// The fewest bytes a value takes in a request.
fn size_min(node: &Node) -> u64 {
    match node.r#type {
        Some(JsonType::String) => 2 + node.limits.length_min.unwrap_or_default(),
        Some(JsonType::Boolean) => 4,
        Some(JsonType::Object) => {
            let required = node.limits.required.iter().filter_map(|name| Some((name, node.properties.get(name)?)));
            let needed = required.filter(|(_, below)| below.default.is_none());
            2 + needed.map(|(name, below)| name.len() as u64 + 4 + size_min(below)).sum::<u64>()
        }
        Some(JsonType::Array) => 2,
        Some(JsonType::Integer | JsonType::Number) | None => 1,
    }
}

/// Everything that is wrong with an object under a schema, for tests.
#[cfg(test)]
pub(super) fn checked(schema: Value, object: &Value, old: Option<&Value>) -> Vec<String> {
    let mut faults = Faults::default();
    let structural = Structural::read(&schema, "schema", &mut faults);
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
