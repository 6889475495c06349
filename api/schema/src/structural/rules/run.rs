//! Rules evaluated over an object, within the budget that all of them share.

use kontiki_cel::{Budget, RunError, Value as Cel};
use kontiki_model::{FaultKind, Faults};
use serde_json::Value;

use super::{
    super::{Node, path::Path, validate::Ratchet},
    Rule,
};

/// What all rules of one object may cost together.
const OBJECT_COST_MAX: u64 = 10_000_000;
/// What one evaluation may cost.
const RULE_COST_MAX: u64 = 1_000_000;
/// As a message, more than this is the rule's author's fault.
const MESSAGE_BYTES_MAX: usize = 5 * 1024;

pub(super) struct Run<'f> {
    budget: Budget,
    exhausted: bool,
    faults: &'f mut Faults,
}

impl<'f> Run<'f> {
    pub fn new(faults: &'f mut Faults) -> Self {
        Run { budget: Budget::new(OBJECT_COST_MAX), exhausted: false, faults }
    }

    pub fn node(&mut self, node: &Node, value: &Value, old: Ratchet<'_>, path: &Path<'_>) {
        // A rule speaks of values, not of their absence.
        if value.is_null() || self.exhausted || self.faults.is_full() {
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
                    let path = path.member(node, name);
                    self.node(below, value, old.member(name), &path);
                }
            }
            Value::Array(items) => {
                let Some(below) = &node.items else { return };
                let old = old.elements(node);
                for (index, item) in items.iter().enumerate() {
                    self.node(below, item, old.of(node, item), &path.item(index));
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }

    fn rule(&mut self, rule: &Rule, value: &Value, old: Ratchet<'_>, path: &Path<'_>) {
        let before = old.old();
        match (rule.transition, before) {
            (true, None) if !rule.optional_old => return,
            // What did not change is not held against the client.
            (false, Some(before)) if before == value => return,
            (true | false, _) => {}
        }
        let program = match &rule.program {
            Ok(program) => program,
            Err(why) => {
                let detail = format!("rule compile error: {why}");
                return self.faults.add(FaultKind::Invalid, path.place(), None, detail);
            }
        };
        let mut budget = Budget::new(self.budget.left().min(RULE_COST_MAX));
        let limit = budget.left();
        let outcome = program.run(&rule.values(program, value, before), &mut budget);
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
                self.faults.add(FaultKind::Invalid, path.place(), None, detail);
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
                self.faults.add(FaultKind::Invalid, path.place(), None, detail);
            }
        }
    }

    fn fail(&mut self, rule: &Rule, value: &Value, before: Option<&Value>, path: &Path<'_>) {
        let field = rule.place(path);
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
