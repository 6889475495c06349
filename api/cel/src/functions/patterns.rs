//! Regular expressions. What an expression says literally is compiled with it, not each time it runs.

use std::collections::HashMap;

use regex::Regex;

use super::{Outcome, failed};
use crate::ast::{Expr, Literal, Node};
use crate::regexp;
use crate::value::Value;

/// The patterns that stand in an expression.
#[derive(Debug, Default)]
pub struct Patterns(HashMap<String, Regex>);

impl Patterns {
    pub fn of(expr: &Expr) -> Self {
        let mut found = HashMap::new();
        expr.each(&mut |one| {
            let Node::Call { name, args, .. } = &one.node else { return };
            if !is_pattern(name) {
                return;
            }
            for arg in args {
                if let Node::Literal(Literal::String(text)) = &arg.node
                    && let Ok(regex) = regexp::compile(text)
                {
                    found.insert(text.clone(), regex);
                }
            }
        });
        Patterns(found)
    }
}

/// The patterns of one evaluation: those that stand in the expression, and the last that its data brought.
#[derive(Debug)]
pub struct Compiled<'p> {
    literal: &'p Patterns,
    brought: HashMap<String, Regex>,
}

/// Patterns that data brought, kept for as long as the evaluation goes on.
const BROUGHT_MAX: usize = 8;

impl<'p> Compiled<'p> {
    pub fn new(literal: &'p Patterns) -> Self {
        Compiled { literal, brought: HashMap::new() }
    }

    fn known(&self, pattern: &str) -> Option<&Regex> {
        self.literal.0.get(pattern).or_else(|| self.brought.get(pattern))
    }

    fn get(&mut self, pattern: &str) -> Result<&Regex, String> {
        if self.known(pattern).is_none() {
            let regex = regexp::compile(pattern)?;
            if self.brought.len() >= BROUGHT_MAX {
                self.brought.clear();
            }
            self.brought.insert(pattern.to_owned(), regex);
        }
        self.known(pattern).ok_or_else(|| "a pattern is lost".to_owned())
    }
}

/// What it costs to compile a pattern that is not part of the expression, and each of its states.
const COMPILE_COST: u64 = 1_000;
const STATE_COST: u64 = 2;

/// What looking for a pattern costs.
pub fn cost(name: &str, values: &[Value<'_>], patterns: &Compiled<'_>) -> Option<u64> {
    let ([Value::String(text), Value::String(pattern), ..], true) = (values, is_pattern(name)) else { return None };
    let (text, length) = (text.len() as u64, pattern.len() as u64);
    let compiled = match patterns.known(pattern) {
        Some(_) => 0,
        None => regexp::size(pattern).saturating_mul(STATE_COST).saturating_add(COMPILE_COST),
    };
    Some(compiled.saturating_add((1 + text).div_ceil(10) * length.div_ceil(4).max(1)))
}

fn is_pattern(name: &str) -> bool {
    matches!(name, "matches" | "find" | "findAll")
}

/// The functions that take a pattern.
pub fn call<'a>(name: &str, values: &[Value<'a>], patterns: &mut Compiled<'_>) -> Option<Outcome<'a>> {
    if !is_pattern(name) {
        return None;
    }
    let [Value::String(text), Value::String(pattern), rest @ ..] = values else { return None };
    let regex = match patterns.get(pattern) {
        Ok(regex) => regex,
        Err(why) => return Some(failed(why)),
    };
    Some(Ok(match (name, rest) {
        ("matches", []) => Value::Bool(regex.is_match(text)),
        ("find", []) => Value::text(regex.find(text).map(|found| found.as_str().to_owned()).unwrap_or_default()),
        ("findAll", []) => all(regex, text, usize::MAX),
        ("findAll", [Value::Int(limit)]) => all(regex, text, usize::try_from(*limit).unwrap_or(usize::MAX)),
        _ => return None,
    }))
}

fn all<'a>(regex: &Regex, text: &str, limit: usize) -> Value<'a> {
    Value::list(regex.find_iter(text).take(limit).map(|found| Value::text(found.as_str())).collect())
}
