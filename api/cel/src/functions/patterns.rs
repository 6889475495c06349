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
