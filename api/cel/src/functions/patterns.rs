//! Regular expressions. What an expression says literally is compiled with it, not each time it runs.

use std::borrow::Cow;
use std::collections::HashMap;

use regex::Regex;

use super::{Outcome, failed};
use crate::ast::{Expr, Literal, Node};
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
                    && let Ok(regex) = Regex::new(text)
                {
                    found.insert(text.clone(), regex);
                }
            }
        });
        Patterns(found)
    }

    fn get(&self, pattern: &str) -> Result<Cow<'_, Regex>, String> {
        match self.0.get(pattern) {
            Some(known) => Ok(Cow::Borrowed(known)),
            None => Regex::new(pattern).map(Cow::Owned).map_err(|error| format!("error parsing regexp: {error}")),
        }
    }
}

/// What it costs to compile a pattern that is not part of the expression.
const COMPILE_COST: u64 = 1_000;

/// What looking for a pattern costs.
pub fn cost(name: &str, values: &[Value<'_>], literal: &Patterns) -> Option<u64> {
    let ([Value::String(text), Value::String(pattern), ..], true) = (values, is_pattern(name)) else { return None };
    let (text, length) = (text.len() as u64, pattern.len() as u64);
    let compiled = if literal.0.contains_key(pattern.as_ref()) { 0 } else { COMPILE_COST };
    Some(compiled + (1 + text).div_ceil(10) * length.div_ceil(4).max(1))
}

fn is_pattern(name: &str) -> bool {
    matches!(name, "matches" | "find" | "findAll")
}

/// The functions that take a pattern.
pub fn call<'a>(name: &str, values: &[Value<'a>], patterns: &Patterns) -> Option<Outcome<'a>> {
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
        ("findAll", []) => all(&regex, text, usize::MAX),
        ("findAll", [Value::Int(limit)]) => all(&regex, text, usize::try_from(*limit).unwrap_or(usize::MAX)),
        _ => return None,
    }))
}

fn all<'a>(regex: &Regex, text: &str, limit: usize) -> Value<'a> {
    Value::list(regex.find_iter(text).take(limit).map(|found| Value::text(found.as_str())).collect())
}
