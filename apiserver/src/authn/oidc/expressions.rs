//! The expressions of a configuration, compiled over what they may look at.

use kontiki_cel::{Bound, Environment, FieldType, ObjectType, Program, Type};

use super::{
    claims::{Mapping, Rule, Source},
    configuration::{AuthenticationError, fault},
};

pub fn rule_of(text: String, message: String, over: &Environment, path: &str) -> Result<Rule, AuthenticationError> {
    let program = compiled(&text, over, path)?;
    if *program.result() != Type::Bool {
        return Err(fault(path, "must evaluate to bool"));
    }
    Ok(Rule { text, program, message })
}

pub fn compiled(text: &str, over: &Environment, path: &str) -> Result<Program, AuthenticationError> {
    if text.trim().is_empty() {
        return Err(fault(path, "Required value"));
    }
    kontiki_cel::compile(text, over).map_err(|why| fault(path, format!("compilation failed: {why}")))
}

/// Nobody knows what an issuer claims.
pub fn of_claims() -> Environment {
    Environment::default().with("claims", Type::map(Type::String, Type::Dyn), Bound::default())
}

pub fn of_user() -> Environment {
    let field = |name: &str, r#type: Type| {
        (name.to_owned(), FieldType { json: name.to_owned(), r#type, bound: Bound::default() })
    };
    let texts = || Type::list(Type::String);
    let fields = [
        field("extra", Type::map(Type::String, texts())),
        field("groups", texts()),
        field("uid", Type::String),
        field("username", Type::String),
    ];
    let user = ObjectType { name: "kubernetes.UserInfo".to_owned(), fields: fields.into() };
    Environment::default().with("user", Type::Object(user.into()), Bound::default())
}

/// Whoever takes an address for a name must look whether it was verified.
pub fn check_email(mapping: &Mapping, path: &str) -> Result<(), AuthenticationError> {
    let Source::Expression(username) = &mapping.username else { return Ok(()) };
    let looked = |program: &Program| program.selects("claims", "email_verified");
    let anywhere = looked(username)
        || mapping.extra.iter().any(|(_, program)| looked(program))
        || mapping.claim_rules.iter().any(|rule| looked(&rule.program));
    if !username.selects("claims", "email") || anywhere {
        return Ok(());
    }
    let why = "claims.email_verified must be used in claimMappings.username.expression or \
               claimMappings.extra[*].valueExpression or claimValidationRules[*].expression when claims.email is used in \
               claimMappings.username.expression";
    Err(fault(format!("{path}.claimMappings.username.expression"), why))
}
