//! Named expressions that others use as `variables.name`: each is evaluated when it is first asked for, and once.

use std::cell::{Cell, RefCell};

use crate::budget::{Budget, RunError, failed};
use crate::{Program, Value, eval};

/// What the variables of an environment are in one evaluation, and what the named expressions have come to.
#[derive(Debug)]
pub struct Composition<'a> {
    values: Vec<(&'a str, Value<'a>)>,
    /// Each sees those before it.
    programs: &'a [(String, Program)],
    known: RefCell<Vec<Option<Result<Value<'a>, RunError>>>>,
    /// Of all expressions that are being evaluated, each within the one that asks for it.
    height: Cell<usize>,
}

/// Expressions within expressions are not evaluated any higher: it is recursion.
const HEIGHT_MAX: usize = 500;

impl<'a> Composition<'a> {
    /// The variable by which expressions name the others.
    pub const VARIABLES: &'static str = "variables";

    pub fn new(values: Vec<(&'a str, Value<'a>)>, programs: &'a [(String, Program)]) -> Self {
        let known = RefCell::new(vec![None; programs.len()]);
        Composition { values, programs, known, height: Cell::new(0) }
    }

    pub fn run(&self, program: &'a Program, budget: &mut Budget) -> Result<Value<'a>, RunError> {
        let before = self.height.get();
        if before + program.expr.height > HEIGHT_MAX {
            return failed("expression recursion limit exceeded: the named expressions name too many others in a row");
        }
        self.height.set(before + program.expr.height);
        let mut scopes = self.values.clone();
        scopes.push((Self::VARIABLES, Value::Variables));
        let outcome = eval::run(program, scopes, Some(self), budget);
        self.height.set(before);
        outcome
    }

    /// What a named expression comes to.
    pub(crate) fn variable(&self, name: &str, budget: &mut Budget) -> Result<Value<'a>, RunError> {
        let Some(index) = self.programs.iter().position(|(known, _)| known == name) else {
            return failed(format!("no such key: {name}"));
        };
        if let Some(known) = &self.known.borrow()[index] {
            return known.clone();
        }
        let found = match self.run(&self.programs[index].1, budget) {
            Err(RunError::Failed(why)) => failed(format!("composited variable {name:?} fails to evaluate: {why}")),
            found => found,
        };
        self.known.borrow_mut()[index] = Some(found.clone());
        found
    }
}
