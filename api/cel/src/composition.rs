//! Named expressions that others use as `variables.name`: each is evaluated when it is first asked for, and once.

use std::cell::RefCell;

use crate::budget::{Budget, RunError, failed};
use crate::{Program, Value, eval};

/// What the variables of an environment are in one evaluation, and what the named expressions have come to.
#[derive(Debug)]
pub struct Composition<'a> {
    values: Vec<(&'a str, Value<'a>)>,
    /// Each sees those before it.
    programs: &'a [(String, Program)],
    known: RefCell<Vec<Option<Result<Value<'a>, RunError>>>>,
}

impl<'a> Composition<'a> {
    /// The variable by which expressions name the others.
    pub const VARIABLES: &'static str = "variables";

    pub fn new(values: Vec<(&'a str, Value<'a>)>, programs: &'a [(String, Program)]) -> Self {
        let known = RefCell::new(vec![None; programs.len()]);
        Composition { values, programs, known }
    }

    pub fn run(&self, program: &'a Program, budget: &mut Budget) -> Result<Value<'a>, RunError> {
        let mut scopes = self.values.clone();
        scopes.push((Self::VARIABLES, Value::Variables));
        eval::run(program, scopes, Some(self), budget)
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
