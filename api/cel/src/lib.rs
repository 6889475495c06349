//! The Common Expression Language as Kubernetes uses it: compiled against declared types, run on JSON values within a budget.
//!
//! - [`Environment`] declares the variables; [`compile`] makes a [`Program`] of a text or says what is wrong with it, in the words of
//!   the Go implementation.
//! - [`Program::run`] evaluates it; every step is paid for from a [`Budget`].
//! - [`Composition`] evaluates programs that see each other's results as `variables`.
//! - [`Program::estimate`] bounds the cost beforehand, from the sizes that declarations allow.
//!
//! Pure: no IO, no clock. It knows no Kubernetes object; what is declared comes from whoever compiles.

mod ast;
mod authorizer;
mod budget;
mod check;
mod composition;
mod construct;
mod declarations;
mod duration;
mod estimate;
mod eval;
mod functions;
mod identity;
mod json;
mod lexer;
mod macros;
mod network;
mod parser;
pub mod regexp;
mod types;
mod url;
mod value;

pub use authorizer::{Authorizer, Decision, Question};
pub use budget::{Budget, RunError};
pub use composition::Composition;
pub use construct::misplaced;
pub use duration::wide_duration;
pub use estimate::Bound;
pub use functions::print_double;
pub use types::{FieldType, Identity, ObjectType, Type, escape, is_reserved};
pub use value::Value;

use ast::Expr;
use functions::Patterns;

/// The variables an expression may name.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    variables: Vec<(String, Type, Bound)>,
    constructs: bool,
}

impl Environment {
    pub fn with(mut self, name: &str, r#type: Type, bound: Bound) -> Self {
        self.variables.push((name.to_owned(), r#type, bound));
        self
    }

    /// Expressions may make objects and patches: `Object{spec: Object.spec{…}}`, `JSONPatch{op: "add", …}`.
    pub fn with_constructs(mut self) -> Self {
        self.constructs = true;
        self
    }

    fn variable(&self, name: &str) -> Option<(&Type, &Bound)> {
        self.variables.iter().find(|(known, ..)| known == name).map(|(_, known, bound)| (known, bound))
    }
}

/// An expression that was parsed and checked.
#[derive(Debug)]
pub struct Program {
    expr: Expr,
    patterns: Patterns,
    environment: Environment,
    result: Type,
}

/// Compiles a text. The error is what `kubectl` shows behind `compilation failed: `.
pub fn compile(text: &str, environment: &Environment) -> Result<Program, String> {
    let expr = parser::parse(text).map_err(|fault| fault.told(text))?;
    let result = check::check(&expr, environment).map_err(|faults| told(&faults, text))?;
    Ok(Program { patterns: Patterns::of(&expr), expr, environment: environment.clone(), result })
}

/// Faults that are told of one text; as many as Go tells.
const FAULTS_TOLD_MAX: usize = 100;

fn told(faults: &[Fault], text: &str) -> String {
    let mut told: Vec<String> = faults.iter().take(FAULTS_TOLD_MAX).map(|fault| fault.told(text)).collect();
    if faults.len() > FAULTS_TOLD_MAX {
        told.push(format!("{} more errors were truncated", faults.len() - FAULTS_TOLD_MAX));
    }
    told.join("\n")
}

impl Program {
    /// The type of what it evaluates to.
    pub fn result(&self) -> &Type {
        &self.result
    }

    /// Whether the expression names a variable.
    pub fn names(&self, variable: &str) -> bool {
        self.expr.names(variable)
    }

    /// Whether the expression looks at a member of a variable.
    pub fn selects(&self, variable: &str, member: &str) -> bool {
        self.expr.selects(variable, member)
    }

    /// Evaluates it; the values are in the order in which the environment declares its variables.
    pub fn run<'a>(&'a self, values: &[Value<'a>], budget: &mut Budget) -> Result<Value<'a>, RunError> {
        let names = self.environment.variables.iter().map(|(name, ..)| name.as_str());
        eval::run(self, names.zip(values.iter().cloned()).collect(), None, budget)
    }

    /// The most that one evaluation can cost.
    pub fn estimate(&self) -> u64 {
        estimate::estimate(&self.expr, &self.environment)
    }

    /// A JSON value as a variable of the environment.
    pub fn value<'a>(&'a self, variable: &str, json: &'a serde_json::Value) -> Value<'a> {
        let declared = self.environment.variable(variable).map_or(&Type::Dyn, |(declared, _)| declared);
        value::from_json(json, declared)
    }
}

/// A JSON value as one of a declared type.
pub fn typed<'a>(json: &'a serde_json::Value, declared: &'a Type) -> Value<'a> {
    value::from_json(json, declared)
}

/// Whether a text is a URL as `isURL` sees it.
pub fn is_url(text: &str) -> bool {
    url::Url::parse(text).is_ok()
}

/// What is wrong with a text, and where.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fault {
    at: usize,
    message: String,
}

impl Fault {
    fn new(at: usize, message: impl Into<String>) -> Self {
        Fault { at, message: message.into() }
    }

    /// The message with the line it is about, and a mark below the place.
    fn told(&self, text: &str) -> String {
        let before = &text[..self.at.min(text.len())];
        let line = before.matches('\n').count();
        let column = before.rsplit('\n').next().unwrap_or_default().chars().count();
        let shown = text.split('\n').nth(line).unwrap_or_default();
        let (number, place) = (line + 1, column + 1);
        format!("ERROR: <input>:{number}:{place}: {}\n | {shown}\n | {}^", self.message, ".".repeat(column))
    }
}
