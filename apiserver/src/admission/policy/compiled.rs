//! Policies and bindings as they are kept: read and compiled once, when they are written.

use std::sync::Arc;

use kontiki_cel::Program;
use kontiki_kinds::policy::{Scope, Wanted};
use kontiki_model::LabelSelector;
use serde_json::Value;

use super::expressions::{Conditions, Expression};
use crate::admission::matching::Criteria;

/// A policy.
#[derive(Debug)]
pub(super) struct Policy {
    pub name: String,
    pub criteria: Criteria,
    /// What cannot be evaluated is denied, not let through.
    pub strict: bool,
    pub param_kind: Option<ParamKind>,
    /// What it does; an error where it does not compile, which was checked when it was written.
    pub rules: Result<Rules, String>,
}

/// What a policy does about the requests that it is about.
#[derive(Debug)]
pub(super) struct Rules {
    pub conditions: Conditions,
    pub variables: Vec<(String, Program)>,
    pub validations: Vec<Validation>,
    pub annotations: Vec<Annotation>,
    pub mutations: Vec<Mutation>,
    /// It is asked again when others changed the object after it.
    pub again: bool,
}

#[derive(Debug)]
pub(super) struct Validation {
    pub expression: Expression,
    pub message: String,
    pub message_expression: Option<Expression>,
    pub reason: String,
}

#[derive(Debug)]
pub(super) struct Annotation {
    pub key: String,
    pub value: Expression,
}

#[derive(Debug)]
pub(super) enum Mutation {
    Configuration(Expression),
    Patch(Expression),
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct ParamKind {
    pub group: String,
    pub version: String,
    pub kind: String,
}

/// A binding.
#[derive(Debug)]
pub(super) struct Binding {
    pub name: String,
    pub policy: String,
    pub criteria: Criteria,
    pub params: Option<ParamRef>,
    /// `Deny`, `Warn`, `Audit`.
    pub actions: Vec<String>,
}

#[derive(Debug)]
pub(super) struct ParamRef {
    /// Empty: that of the request.
    pub namespace: String,
    pub which: Which,
    /// Having no parameters is no reason to deny.
    pub optional: bool,
}

#[derive(Debug)]
pub(super) enum Which {
    Named(String),
    Selected(LabelSelector),
}

/// A policy and what binds it.
#[derive(Debug)]
pub(super) struct Hook {
    pub policy: Arc<Policy>,
    pub bindings: Vec<Arc<Binding>>,
}

fn text<'a>(of: &'a Value, member: &str) -> &'a str {
    of[member].as_str().unwrap_or_default()
}

fn items<'a>(of: &'a Value, member: &str) -> impl Iterator<Item = &'a Value> {
    of[member].as_array().into_iter().flatten()
}

impl Policy {
    /// Reads a stored policy. An error where what it is about cannot be read.
    pub fn read(name: &str, stored: &Value) -> Result<Self, String> {
        let spec = &stored["spec"];
        let criteria = Criteria::of_policy(&spec["matchConstraints"]).map_err(|error| error.to_string())?;
        Ok(Policy {
            name: name.to_owned(),
            criteria,
            strict: text(spec, "failurePolicy") != "Ignore",
            param_kind: ParamKind::read(&spec["paramKind"]),
            rules: Rules::read(spec),
        })
    }
}

impl Rules {
    fn read(spec: &Value) -> Result<Self, String> {
        let has_params = !spec["paramKind"].is_null();
        let conditions = Conditions::read(&spec["matchConditions"], has_params)?;
        let mutates = !spec["mutations"].is_null();
        let mut scope = if mutates { Scope::of_mutations(has_params) } else { Scope::of_validations(has_params) };
        let mut variables = Vec::new();
        for variable in items(spec, "variables") {
            let (name, expression) = (text(variable, "name"), text(variable, "expression"));
            let program = Expression::read(expression, &scope, Wanted::Anything)?.into_program();
            scope.declare(name, program.result().clone());
            variables.push((name.to_owned(), program));
        }
        let annotation = |said: &Value| {
            let value = Expression::read(text(said, "valueExpression"), &scope, Wanted::StringOrNull)?;
            Ok::<_, String>(Annotation { key: text(said, "key").to_owned(), value })
        };
        Ok(Rules {
            conditions,
            validations: items(spec, "validations")
                .map(|said| Validation::read(said, &scope))
                .collect::<Result<_, _>>()?,
            annotations: items(spec, "auditAnnotations").map(annotation).collect::<Result<_, _>>()?,
            mutations: items(spec, "mutations").map(|said| Mutation::read(said, &scope)).collect::<Result<_, _>>()?,
            again: text(spec, "reinvocationPolicy") == "IfNeeded",
            variables,
        })
    }
}

impl Validation {
    fn read(said: &Value, scope: &Scope) -> Result<Self, String> {
        let message_expression = match text(said, "messageExpression") {
            "" => None,
            expression => Some(Expression::read(expression, &scope.of_message(), Wanted::String)?),
        };
        Ok(Validation {
            expression: Expression::read(text(said, "expression"), scope, Wanted::Bool)?,
            message: text(said, "message").trim().to_owned(),
            message_expression,
            reason: text(said, "reason").to_owned(),
        })
    }
}

impl Mutation {
    fn read(said: &Value, scope: &Scope) -> Result<Self, String> {
        let expression = |member: &str, wanted: Wanted| {
            Expression::read(said[member]["expression"].as_str().unwrap_or_default(), scope, wanted)
        };
        match text(said, "patchType") {
            "JSONPatch" => expression("jsonPatch", Wanted::Patches).map(Mutation::Patch),
            _ => expression("applyConfiguration", Wanted::Object).map(Mutation::Configuration),
        }
    }
}

impl ParamKind {
    fn read(said: &Value) -> Option<Self> {
        let api_version = said["apiVersion"].as_str()?;
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        Some(ParamKind { group: group.to_owned(), version: version.to_owned(), kind: text(said, "kind").to_owned() })
    }
}

impl Binding {
    /// Reads a stored binding. An error where what it is about cannot be read.
    pub fn read(name: &str, stored: &Value) -> Result<Self, String> {
        let spec = &stored["spec"];
        let criteria = Criteria::of_policy(&spec["matchResources"]).map_err(|error| error.to_string())?;
        let actions = items(spec, "validationActions").filter_map(Value::as_str).map(str::to_owned);
        Ok(Binding {
            name: name.to_owned(),
            policy: text(spec, "policyName").to_owned(),
            criteria,
            params: ParamRef::read(&spec["paramRef"])?,
            actions: actions.collect(),
        })
    }
}

impl ParamRef {
    fn read(said: &Value) -> Result<Option<Self>, String> {
        if said.is_null() {
            return Ok(None);
        }
        let which = match text(said, "name") {
            "" => Which::Selected(LabelSelector::from_json(&said["selector"]).map_err(|error| error.to_string())?),
            name => Which::Named(name.to_owned()),
        };
        let optional = text(said, "parameterNotFoundAction") != "Deny";
        Ok(Some(ParamRef { namespace: text(said, "namespace").to_owned(), which, optional }))
    }
}
