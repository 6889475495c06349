//! The expressions of a policy or of a webhook's conditions, run on one request within what they may cost.

use kontiki_cel::{Authorizer, Budget, Composition, Program, Question, RunError, Value as Cel, typed};
use kontiki_kinds::policy::{self, Scope, Wanted};
use serde_json::Value;

use super::limits::{CONDITIONS_COST_MAX, EXPRESSION_COST_MAX};

/// An expression as it was written, and what was made of it.
#[derive(Debug)]
pub(crate) struct Expression {
    pub text: String,
    program: Program,
}

/// What expressions see of one request. Null stands for what is not there.
#[derive(Clone, Copy)]
pub(crate) struct Input<'a> {
    pub object: &'a Value,
    pub old_object: &'a Value,
    /// As an AdmissionRequest.
    pub request: &'a Value,
    pub params: &'a Value,
    pub namespace: &'a Value,
    pub authorizer: &'a dyn Authorizer,
    /// What the request itself asks for, but for the verb.
    pub asked: &'a Question,
}

/// Why an expression comes to nothing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Trouble {
    Failed(String),
    /// Nor does any behind it.
    OutOfBudget,
}

impl Trouble {
    pub fn told(self) -> String {
        match self {
            Trouble::Failed(why) => why,
            Trouble::OutOfBudget => "validation failed due to running out of cost budget, no further validation rules \
                                     will be run"
                .to_owned(),
        }
    }
}

impl Expression {
    /// Compiles the text of a stored object, which compiled when it was written.
    pub fn read(text: &str, scope: &Scope, wanted: Wanted) -> Result<Self, String> {
        let text = text.trim().to_owned();
        let program = scope.compile(&text, wanted).map_err(|why| format!("compilation error: {why}"))?;
        Ok(Expression { text, program })
    }

    pub fn into_program(self) -> Program {
        self.program
    }

    pub fn run<'a>(&'a self, input: &Composition<'a>, budget: &mut Budget) -> Result<Cel<'a>, Trouble> {
        let limit = budget.left().min(EXPRESSION_COST_MAX);
        let mut own = Budget::new(limit);
        let outcome = input.run(&self.program, &mut own);
        let within = budget.spend(limit - own.left());
        let failed = |why: &str| Trouble::Failed(format!("expression '{}' resulted in error: {why}", self.text));
        match outcome {
            Err(RunError::OutOfBudget) if limit == EXPRESSION_COST_MAX => {
                Err(failed("operation cancelled: actual cost limit exceeded"))
            }
            Err(RunError::OutOfBudget) => Err(Trouble::OutOfBudget),
            Err(RunError::Failed(why)) => Err(failed(&why)),
            Ok(_) if within.is_err() => Err(Trouble::OutOfBudget),
            Ok(value) => Ok(value),
        }
    }
}

impl<'a> Input<'a> {
    /// The variables of expressions, with the named expressions of a policy.
    pub fn composed(self, variables: &'a [(String, Program)]) -> Composition<'a> {
        let free = &kontiki_cel::Type::Dyn;
        let values = vec![
            ("object", typed(self.object, free)),
            ("oldObject", typed(self.old_object, free)),
            ("request", typed(self.request, policy::request())),
            ("params", typed(self.params, free)),
            ("namespaceObject", typed(self.namespace, policy::namespace())),
            ("authorizer", Cel::authorizer(self.authorizer)),
            ("authorizer.requestResource", Cel::resource_check(self.authorizer, self.asked.clone())),
        ];
        Composition::new(values, variables)
    }
}

/// Conditions that must all hold for a policy or a webhook to be about a request.
#[derive(Debug, Default)]
pub(crate) struct Conditions(Vec<Expression>);

impl Conditions {
    /// `matchConditions` of a stored object.
    pub fn read(conditions: &Value, has_params: bool) -> Result<Self, String> {
        let scope = Scope::of_conditions(has_params);
        let all = conditions.as_array().into_iter().flatten();
        let read = |one: &Value| Expression::read(one["expression"].as_str().unwrap_or_default(), &scope, Wanted::Bool);
        all.map(read).collect::<Result<_, _>>().map(Conditions)
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Whether all hold. One that does not is decisive, whatever the others come to; otherwise those that failed are told.
    pub fn hold(&self, input: Input<'_>) -> Result<bool, String> {
        if self.is_empty() {
            return Ok(true);
        }
        // What a namespace is like is no condition's business.
        let input = Input { namespace: &Value::Null, ..input }.composed(&[]);
        let mut budget = Budget::new(CONDITIONS_COST_MAX);
        let mut failed = Vec::new();
        for condition in &self.0 {
            match condition.run(&input, &mut budget) {
                Ok(Cel::Bool(false)) => return Ok(false),
                Ok(_) => {}
                Err(Trouble::OutOfBudget) => return Err(Trouble::OutOfBudget.told()),
                Err(Trouble::Failed(why)) => failed.push(why),
            }
        }
        match failed.as_slice() {
            [] => Ok(true),
            [one] => Err(one.clone()),
            many => Err(format!("[{}]", many.join(", "))),
        }
    }
}
