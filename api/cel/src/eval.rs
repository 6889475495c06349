//! Evaluation. Every step costs; who has no budget left stops.

use std::sync::Arc;

use crate::Program;
use crate::ast::{Expr, FieldInit, Literal, Loop, LoopKind, Node};
use crate::composition::Composition;
use crate::construct::Made;
use crate::functions::{self, Patterns};
use crate::value::Value;

/// What evaluations may still cost.
#[derive(Clone, Copy, Debug)]
pub struct Budget {
    left: u64,
}

/// Why there is no result.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum RunError {
    Failed(String),
    OutOfBudget,
}

impl Budget {
    pub fn new(cost_max: u64) -> Self {
        Budget { left: cost_max }
    }

    /// What is left of it.
    pub fn left(&self) -> u64 {
        self.left
    }

    pub fn spend(&mut self, cost: u64) -> Result<(), RunError> {
        match self.left.checked_sub(cost) {
            Some(left) => {
                self.left = left;
                Ok(())
            }
            None => {
                self.left = 0;
                Err(RunError::OutOfBudget)
            }
        }
    }
}

pub fn failed<T>(message: impl Into<String>) -> Result<T, RunError> {
    Err(RunError::Failed(message.into()))
}

type Outcome<'a> = Result<Value<'a>, RunError>;

/// Evaluates a program on its variables, and on named expressions if there are any.
pub fn run<'a>(
    program: &'a Program,
    variables: Vec<(&'a str, Value<'a>)>,
    composition: Option<&Composition<'a>>,
    budget: &mut Budget,
) -> Outcome<'a> {
    Run { scopes: variables, patterns: &program.patterns, composition, budget }.of(&program.expr)
}

struct Run<'a, 'b> {
    /// Variables, the innermost last.
    scopes: Vec<(&'a str, Value<'a>)>,
    patterns: &'a Patterns,
    composition: Option<&'b Composition<'a>>,
    budget: &'b mut Budget,
}

impl<'a> Run<'a, '_> {
    fn of(&mut self, expr: &'a Expr) -> Outcome<'a> {
        match &expr.node {
            Node::Literal(literal) => Ok(constant(literal)),
            Node::Ident(name) => {
                self.budget.spend(1)?;
                self.variable(name)
            }
            Node::Select { of, field, optional } => {
                if let Some(found) = self.qualified(of, field) {
                    self.budget.spend(1)?;
                    return Ok(found);
                }
                let found = self.of(of)?;
                self.budget.spend(1)?;
                match (&found, self.composition) {
                    (Value::Variables, Some(composition)) => composition.variable(field, self.budget),
                    _ => select(&found, field, *optional),
                }
            }
            Node::Has { of, field } => {
                let found = self.of(of)?;
                self.budget.spend(1)?;
                Ok(Value::Bool(matches!(found, Value::Variables) || has(&found, field)))
            }
            Node::Construct { name, fields } => self.construct(name, fields),
            Node::Index { of, index, optional } => {
                let (found, index) = (self.of(of)?, self.of(index)?);
                self.budget.spend(1)?;
                indexed(&found, &index, *optional)
            }
            Node::Call { target, name, args } => self.call(target.as_deref(), name, args),
            Node::List(items) => {
                self.budget.spend(10)?;
                let mut out = Vec::with_capacity(items.len());
                for item in items {
                    match (self.of(&item.value)?, item.optional) {
                        (Value::Optional(Some(value)), true) => out.push((*value).clone()),
                        (Value::Optional(None), true) => {}
                        (value, _) => out.push(value),
                    }
                }
                Ok(Value::list(out))
            }
            Node::Map(entries) => {
                self.budget.spend(30)?;
                let mut out = Vec::with_capacity(entries.len());
                for entry in entries {
                    let key = self.of(&entry.key)?;
                    match (self.of(&entry.value)?, entry.optional) {
                        (Value::Optional(Some(value)), true) => out.push((key, (*value).clone())),
                        (Value::Optional(None), true) => {}
                        (value, _) => out.push((key, value)),
                    }
                }
                Ok(Value::Map(out.into()))
            }
            Node::Loop(one) => self.repeat(one),
            Node::Bind { variable, value, body } => {
                let value = self.of(value)?;
                self.scopes.push((variable, value));
                let out = self.of(body);
                self.scopes.pop();
                out
            }
        }
    }

    /// A variable whose own name has a dot in it.
    fn qualified(&self, of: &Expr, field: &str) -> Option<Value<'a>> {
        let Node::Ident(first) = &of.node else { return None };
        let is = |name: &str| name.strip_prefix(first.as_str()).and_then(|rest| rest.strip_prefix('.')) == Some(field);
        self.scopes.iter().rev().find(|(known, _)| is(known)).map(|(_, value)| value.clone())
    }

    fn construct(&mut self, name: &'a str, inits: &'a [FieldInit]) -> Outcome<'a> {
        self.budget.spend(40)?;
        let mut fields = Vec::with_capacity(inits.len());
        for init in inits {
            match (self.of(&init.value)?, init.optional) {
                (Value::Optional(Some(value)), true) => fields.push((init.name.as_str(), (*value).clone())),
                (Value::Optional(None), true) => {}
                (value, _) => fields.push((init.name.as_str(), value)),
            }
        }
        Ok(Value::Made(Arc::new(Made { name, fields })))
    }

    fn variable(&self, name: &str) -> Outcome<'a> {
        if let Some((_, value)) = self.scopes.iter().rev().find(|(known, _)| *known == name) {
            return Ok(value.clone());
        }
        let types = ["bool", "bytes", "double", "int", "list", "map", "null_type", "string", "uint"];
        match (types.into_iter().find(|known| *known == name), name) {
            (Some(known), _) => Ok(Value::Type(known)),
            (None, "duration") => Ok(Value::Type("google.protobuf.Duration")),
            (None, "timestamp") => Ok(Value::Type("google.protobuf.Timestamp")),
            (None, _) => failed(format!("no such attribute: {name}")),
        }
    }

    fn call(&mut self, target: Option<&'a Expr>, name: &'a str, args: &'a [Expr]) -> Outcome<'a> {
        match (name, args) {
            ("_&&_", [left, right]) => return self.both(left, right, false),
            ("_||_", [left, right]) => return self.both(left, right, true),
            ("_?_:_", [condition, yes, no]) => {
                return match self.of(condition)? {
                    Value::Bool(true) => self.of(yes),
                    Value::Bool(false) => self.of(no),
                    _ => failed("no such overload"),
                };
            }
            ("or" | "orValue", [other]) if target.is_some() => {
                // The alternative is looked at only where it is needed.
                let Some(target) = target else { return failed("no such overload") };
                return match self.of(target)? {
                    Value::Optional(Some(value)) if name == "orValue" => Ok((*value).clone()),
                    some @ Value::Optional(Some(_)) => Ok(some),
                    Value::Optional(None) => self.of(other),
                    _ => failed("no such overload"),
                };
            }
            _ => {}
        }
        let mut values = Vec::with_capacity(args.len() + 1);
        for arg in target.into_iter().chain(args) {
            values.push(self.of(arg)?);
        }
        self.budget.spend(functions::cost(name, &values))?;
        functions::call(name, target.is_some(), &values, self.patterns)
    }

    /// What decides, decides: also where the other side fails.
    fn both(&mut self, left: &'a Expr, right: &'a Expr, decides: bool) -> Outcome<'a> {
        let first = self.of(left);
        match &first {
            Ok(Value::Bool(value)) if *value == decides => return first,
            Err(RunError::OutOfBudget) => return first,
            Ok(_) | Err(RunError::Failed(_)) => {}
        }
        let second = self.of(right)?;
        match (first, second) {
            (_, Value::Bool(value)) if value == decides => Ok(Value::Bool(decides)),
            (Ok(Value::Bool(_)), Value::Bool(_)) => Ok(Value::Bool(!decides)),
            (Err(error), _) => Err(error),
            (Ok(_), _) => failed("no such overload"),
        }
    }

    fn repeat(&mut self, one: &'a Loop) -> Outcome<'a> {
        let range = self.of(&one.range)?;
        let is_map = range.items().is_none();
        let pairs: Vec<(Value<'a>, Value<'a>)> = match (range.items(), range.entries()) {
            (Some(items), _) => (0..).map(Value::Int).zip(items).collect(),
            (None, Some(entries)) => entries,
            (None, None) => return failed("no such overload"),
        };
        let mut folded = Folded::new(one.kind);
        for (key, value) in pairs {
            self.budget.spend(1)?;
            let before = self.scopes.len();
            let element = if is_map { key.clone() } else { value.clone() };
            match one.variables.as_slice() {
                [name] => self.scopes.push((name, element.clone())),
                names => self.scopes.extend(names.iter().map(String::as_str).zip([key.clone(), value])),
            }
            let step = self.step(one, &mut folded, key, element);
            self.scopes.truncate(before);
            if step? {
                break;
            }
        }
        folded.result()
    }

    /// One element; true ends the loop.
    fn step(
        &mut self,
        one: &'a Loop,
        folded: &mut Folded<'a>,
        key: Value<'a>,
        element: Value<'a>,
    ) -> Result<bool, RunError> {
        if let Some(filter) = &one.filter {
            match self.of(filter)? {
                Value::Bool(true) => {}
                Value::Bool(false) => return Ok(false),
                _ => return failed("no such overload"),
            }
        }
        let found = match (self.of(&one.body), one.kind) {
            (Err(RunError::Failed(message)), LoopKind::All | LoopKind::Exists) => {
                folded.error.get_or_insert(message);
                return Ok(false);
            }
            (found, _) => found?,
        };
        let truth = match found {
            Value::Bool(truth) => Some(truth),
            _ => None,
        };
        match (one.kind, truth) {
            (LoopKind::All, Some(true)) | (LoopKind::Exists, Some(false)) => Ok(false),
            (LoopKind::All, Some(false)) | (LoopKind::Exists, Some(true)) => {
                folded.decided = true;
                Ok(true)
            }
            (LoopKind::ExistsOne, Some(truth)) => {
                folded.count += usize::from(truth);
                Ok(false)
            }
            (LoopKind::Filter, Some(truth)) => {
                if truth {
                    folded.items.push(element);
                }
                Ok(false)
            }
            (LoopKind::Map | LoopKind::TransformList, _) => {
                folded.items.push(found);
                Ok(false)
            }
            (LoopKind::TransformMap, _) => {
                folded.entries.push((key, found));
                Ok(false)
            }
            (LoopKind::All | LoopKind::Exists | LoopKind::ExistsOne | LoopKind::Filter, None) => {
                failed("no such overload")
            }
        }
    }
}

/// What a loop has come to.
struct Folded<'a> {
    kind: LoopKind,
    decided: bool,
    count: usize,
    items: Vec<Value<'a>>,
    entries: Vec<(Value<'a>, Value<'a>)>,
    /// Told only where no element decided.
    error: Option<String>,
}

impl<'a> Folded<'a> {
    fn new(kind: LoopKind) -> Self {
        Folded { kind, decided: false, count: 0, items: Vec::new(), entries: Vec::new(), error: None }
    }

    fn result(self) -> Outcome<'a> {
        match (self.kind, self.error) {
            (LoopKind::All | LoopKind::Exists, Some(error)) if !self.decided => Err(RunError::Failed(error)),
            (LoopKind::All, _) => Ok(Value::Bool(!self.decided)),
            (LoopKind::Exists, _) => Ok(Value::Bool(self.decided)),
            (LoopKind::ExistsOne, _) => Ok(Value::Bool(self.count == 1)),
            (LoopKind::Filter | LoopKind::Map | LoopKind::TransformList, _) => Ok(Value::list(self.items)),
            (LoopKind::TransformMap, _) => Ok(Value::Map(self.entries.into())),
        }
    }
}

fn constant(literal: &Literal) -> Value<'_> {
    match literal {
        Literal::Null => Value::Null,
        Literal::Bool(value) => Value::Bool(*value),
        Literal::Int(value) => Value::Int(*value),
        Literal::Uint(value) => Value::Uint(*value),
        Literal::Double(value) => Value::Double(*value),
        Literal::String(text) => Value::String(text.as_str().into()),
        Literal::Bytes(bytes) => Value::Bytes(bytes.as_slice().into()),
    }
}

fn optional(value: Option<Value<'_>>) -> Value<'_> {
    Value::Optional(value.map(Arc::new))
}

fn select<'a>(found: &Value<'a>, field: &str, is_optional: bool) -> Outcome<'a> {
    match found {
        Value::Optional(None) => Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => Ok(optional(inner.member(field))),
        Value::Object(..) | Value::Map(_) | Value::JsonMap(..) | Value::Made(_) => {
            match (found.member(field), is_optional) {
                (member, true) => Ok(optional(member)),
                (Some(member), false) => Ok(member),
                (None, false) => failed(format!("no such key: {field}")),
            }
        }
        _ if is_optional => Ok(Value::Optional(None)),
        _ => failed(format!("no such key: {field}")),
    }
}

fn has(found: &Value<'_>, field: &str) -> bool {
    match found {
        Value::Optional(inner) => inner.as_ref().is_some_and(|inner| inner.member(field).is_some()),
        other => other.member(field).is_some(),
    }
}

fn indexed<'a>(found: &Value<'a>, index: &Value<'_>, is_optional: bool) -> Outcome<'a> {
    let (found, is_optional) = match found {
        Value::Optional(None) => return Ok(Value::Optional(None)),
        Value::Optional(Some(inner)) => ((**inner).clone(), true),
        plain => (plain.clone(), is_optional),
    };
    let place = match index {
        Value::Int(at) => usize::try_from(*at).ok(),
        Value::Uint(at) => usize::try_from(*at).ok(),
        Value::Double(at) if at.fract() == 0.0 && *at >= 0.0 => Some(*at as usize),
        _ => None,
    };
    let value = match &found {
        Value::List(items) => place.and_then(|at| items.get(at)).cloned(),
        Value::JsonList(items, of) => place.and_then(|at| items.get(at)).map(|item| crate::value::from_json(item, of)),
        Value::Map(entries) => entries.iter().find(|(key, _)| key.equals(index)).map(|(_, value)| value.clone()),
        Value::JsonMap(..) | Value::Object(..) => match index {
            Value::String(name) => found.member(name),
            _ => None,
        },
        _ => return failed("no such overload"),
    };
    match (value, is_optional) {
        (value, true) => Ok(optional(value)),
        (Some(value), false) => Ok(value),
        (None, false) if matches!(found, Value::List(_) | Value::JsonList(..)) => {
            failed(format!("index out of bounds: {}", functions::print(index)))
        }
        (None, false) => failed(format!("no such key: {}", functions::print(index))),
    }
}
