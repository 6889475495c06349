//! From a token's claims to who that is, by an issuer's mappings and rules. Pure; the token has been verified.

use kontiki_cel::{Budget, Program, RunError, Value as Cel};
use serde_json::{Map, Value, json};

use crate::{limits::EXPRESSIONS_COST_MAX, request::Identity};

/// How an issuer's claims become an identity, and what must hold of both.
#[derive(Debug, Default)]
pub struct Mapping {
    pub username: Source,
    pub groups: Option<Source>,
    pub uid: Option<Source>,
    pub extra: Vec<(String, Program)>,
    /// Claims that must be there, as these texts.
    pub required: Vec<(String, String)>,
    pub claim_rules: Vec<Rule>,
    pub user_rules: Vec<Rule>,
}

/// Where a text, or several, come from.
#[derive(Debug)]
pub enum Source {
    Claim { claim: String, prefix: String },
    Expression(Program),
}

/// What must be true.
#[derive(Debug)]
pub struct Rule {
    pub text: String,
    pub program: Program,
    pub message: String,
}

/// Why verified claims make nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ClaimFault {
    #[error("claim {0:?} is not there")]
    Absent(String),
    #[error("claim {claim:?} is not {wanted}")]
    Type { claim: String, wanted: &'static str },
    #[error("the email address is not verified")]
    EmailNotVerified,
    #[error("the username is empty")]
    NoName,
    #[error("required claim {claim:?} has another value")]
    Required { claim: String },
    #[error("{0}")]
    Rule(String),
    #[error("expression {text:?}: {why}")]
    Expression { text: &'static str, why: String },
}

impl Default for Source {
    fn default() -> Self {
        Source::Claim { claim: "sub".to_owned(), prefix: String::new() }
    }
}

impl Mapping {
    /// Who it is, before anybody adds the groups that all have.
    pub fn identity(&self, claims: &Value) -> Result<Identity, ClaimFault> {
        let mut budget = Budget::new(EXPRESSIONS_COST_MAX);
        let user = self.user(claims, &mut budget)?;
        if user.is_empty() {
            return Err(ClaimFault::NoName);
        }
        let groups = match &self.groups {
            None => Vec::new(),
            Some(Source::Claim { claim, prefix }) => {
                let groups = texts(claims, claim)?;
                groups.into_iter().map(|group| format!("{prefix}{group}")).collect()
            }
            Some(Source::Expression(program)) => list(run(program, "groups", claims, &mut budget)?, "groups")?,
        };
        let uid = match &self.uid {
            None => String::new(),
            Some(Source::Claim { claim, .. }) => text(claims, claim)?,
            Some(Source::Expression(program)) => single(run(program, "uid", claims, &mut budget)?, "uid")?,
        };
        let mut extra = Vec::new();
        for (key, program) in &self.extra {
            let values = list(run(program, "extra", claims, &mut budget)?, "extra")?;
            if !values.is_empty() {
                extra.push((key.clone(), values));
            }
        }
        let identity = Identity { user, uid, groups, extra, ..Identity::default() };
        self.hold(claims, &identity, &mut budget)?;
        Ok(identity)
    }

    fn user(&self, claims: &Value, budget: &mut Budget) -> Result<String, ClaimFault> {
        let (claim, prefix) = match &self.username {
            Source::Expression(program) => return single(run(program, "username", claims, budget)?, "username"),
            Source::Claim { claim, prefix } => (claim, prefix),
        };
        let name = text(claims, claim)?;
        // Anybody may write anybody's address into a profile; whoever says that it was not verified means it.
        let verified = claims.get("email_verified").filter(|_| claim == "email");
        match verified {
            None | Some(Value::Bool(true)) => {}
            Some(Value::Bool(false)) => return Err(ClaimFault::EmailNotVerified),
            Some(_) => return Err(ClaimFault::Type { claim: "email_verified".to_owned(), wanted: "a boolean" }),
        }
        // A prefix is no name.
        Ok(if name.is_empty() { name } else { format!("{prefix}{name}") })
    }

    fn hold(&self, claims: &Value, identity: &Identity, budget: &mut Budget) -> Result<(), ClaimFault> {
        for (claim, wanted) in &self.required {
            if text(claims, claim)? != *wanted {
                return Err(ClaimFault::Required { claim: claim.clone() });
            }
        }
        for rule in &self.claim_rules {
            rule.holds("claims", claims, budget)?;
        }
        if self.user_rules.is_empty() {
            return Ok(());
        }
        let extra: Map<String, Value> =
            identity.extra.iter().map(|(key, values)| (key.clone(), json!(values))).collect();
        let Identity { user, uid, groups, .. } = identity;
        let told = json!({"username": user, "uid": uid, "groups": groups, "extra": extra});
        self.user_rules.iter().try_for_each(|rule| rule.holds("user", &told, budget))
    }
}

impl Rule {
    fn holds(&self, variable: &str, value: &Value, budget: &mut Budget) -> Result<(), ClaimFault> {
        let found = self.program.run(&[self.program.value(variable, value)], budget);
        match found.map_err(|error| failed("validation", &error))? {
            Cel::Bool(true) => Ok(()),
            _ if self.message.is_empty() => {
                Err(ClaimFault::Rule(format!("validation expression '{}' failed", self.text)))
            }
            _ => Err(ClaimFault::Rule(self.message.clone())),
        }
    }
}

fn text(claims: &Value, claim: &str) -> Result<String, ClaimFault> {
    match claims.get(claim) {
        None => Err(ClaimFault::Absent(claim.to_owned())),
        Some(Value::String(text)) => Ok(text.clone()),
        Some(_) => Err(ClaimFault::Type { claim: claim.to_owned(), wanted: "a string" }),
    }
}

/// A list of texts, or a single one; none where the claim is not there.
fn texts(claims: &Value, claim: &str) -> Result<Vec<String>, ClaimFault> {
    let wanted = || ClaimFault::Type { claim: claim.to_owned(), wanted: "a string or a list of strings" };
    match claims.get(claim) {
        None | Some(Value::Null) => Ok(Vec::new()),
        Some(Value::String(one)) => Ok(vec![one.clone()]),
        Some(Value::Array(many)) => many.iter().map(|one| one.as_str().map(str::to_owned).ok_or_else(wanted)).collect(),
        Some(_) => Err(wanted()),
    }
}

fn run<'a>(
    program: &'a Program,
    text: &'static str,
    claims: &'a Value,
    budget: &mut Budget,
) -> Result<Cel<'a>, ClaimFault> {
    program.run(&[program.value("claims", claims)], budget).map_err(|error| failed(text, &error))
}

fn failed(text: &'static str, error: &RunError) -> ClaimFault {
    let why = match error {
        RunError::Failed(why) => why.clone(),
        RunError::OutOfBudget => "it takes too long".to_owned(),
    };
    ClaimFault::Expression { text, why }
}

fn single(value: Cel<'_>, text: &'static str) -> Result<String, ClaimFault> {
    match value {
        Cel::String(text) => Ok(text.into_owned()),
        other => {
            Err(ClaimFault::Expression { text, why: format!("it must return a string, not {}", other.type_name()) })
        }
    }
}

/// What is empty is left out.
fn list(value: Cel<'_>, text: &'static str) -> Result<Vec<String>, ClaimFault> {
    let items = match value {
        Cel::Null => return Ok(Vec::new()),
        one @ Cel::String(_) => vec![one],
        other => other.items().ok_or_else(|| {
            let why = format!("it must return a string or a list of strings, not {}", other.type_name());
            ClaimFault::Expression { text, why }
        })?,
    };
    let texts = items.into_iter().map(|item| single(item, text)).collect::<Result<Vec<_>, _>>()?;
    Ok(texts.into_iter().filter(|text| !text.is_empty()).collect())
}
