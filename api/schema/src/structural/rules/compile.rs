//! Rules compiled with their schema: what they may name, what they may cost, and what is wrong with them.

use kontiki_cel::{Bound, Environment, Program, Type};
use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use super::{
    super::{Additional, ListKind, Node},
    Rule, Step,
    declared::{declared, size_max},
};

/// What a rule may be estimated to cost, as often as its place can occur.
const RULE_ESTIMATE_MAX: u64 = 10_000_000;
/// What all rules of a schema may be estimated to cost.
const SCHEMA_ESTIMATE_MAX: u64 = 100_000_000;

/// Compiles the rules of a schema; what is wrong with them is told where they stand.
pub(in super::super) fn compile(root: &mut Node, schema: &Value, path: &str, faults: &mut Faults) {
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
                let rule = self.rule(node, rule, &path, &declared, &bound, &place);
                node.rules.extend(rule);
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
        let program = kontiki_cel::compile(text, &environment).map_err(|why| format!("compilation failed: {why}"));
        let transition = match &program {
            Ok(program) => {
                if !matches!(program.result(), Type::Bool | Type::Dyn) {
                    self.faults.invalid(at_rule.clone(), text, "cel expression must evaluate to a bool");
                }
                self.estimate(program, &at_rule, place);
                program.names("oldSelf")
            }
            Err(why) => {
                self.faults.invalid(at_rule.clone(), text, why.clone());
                false
            }
        };
        if let (true, Some(behind)) = (transition, &place.uncorrelated) {
            let detail = format!("oldSelf cannot be used on the uncorrelatable portion of the schema within {behind}");
            self.faults.invalid(at_rule, text, detail);
        }
        if optional_old && !transition && program.is_ok() {
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
