//! Evaluation. Every step costs; who has no budget left stops.

mod access;
mod loops;

use std::sync::Arc;

use crate::Program;
use crate::ast::{Expr, FieldInit, Literal, Node};
use crate::budget::{Budget, RunError, failed};
use crate::composition::Composition;
use crate::construct::Made;
use crate::functions::{self, Compiled};
use crate::value::Value;
use access::{has, indexed, select};

type Outcome<'a> = Result<Value<'a>, RunError>;

/// Evaluates a program on its variables, and on named expressions if there are any.
pub fn run<'a>(
    program: &'a Program,
    variables: Vec<(&'a str, Value<'a>)>,
    composition: Option<&Composition<'a>>,
    budget: &mut Budget,
) -> Outcome<'a> {
    Run { scopes: variables, patterns: Compiled::new(&program.patterns), composition, budget }.of(&program.expr)
}

struct Run<'a, 'b> {
    /// Variables, the innermost last.
    scopes: Vec<(&'a str, Value<'a>)>,
    patterns: Compiled<'a>,
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
        self.budget.spend(functions::cost(name, &values, &self.patterns))?;
        functions::call(name, target.is_some(), &values, &mut self.patterns)
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
