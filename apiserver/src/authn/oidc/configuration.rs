//! Who is believed besides the cluster itself: `apiserver.config.k8s.io/v1` AuthenticationConfiguration, read and checked as
//! Kubernetes checks it.

use std::collections::HashSet;

use serde::Deserialize;

use super::{
    Anonymous, Issuer,
    claims::{Mapping, Rule, Source},
    expressions::{check_email, compiled, of_claims, of_user, rule_of},
    provider::{self, Provider},
};
use crate::{authn::algorithm::Algorithm, document, limits::ISSUERS_MAX};

/// Why a configuration cannot be used: the field, and what is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {reason}")]
pub struct AuthenticationError {
    pub field: String,
    pub reason: String,
}

/// What a configuration comes to.
#[derive(Default)]
pub struct Configured {
    pub issuers: Vec<Issuer>,
    pub anonymous: Anonymous,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AuthenticationConfiguration {
    #[serde(default)]
    jwt: Vec<JwtAuthenticator>,
    anonymous: Option<AnonymousConfiguration>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnonymousConfiguration {
    #[serde(default)]
    enabled: bool,
    #[serde(default)]
    conditions: Vec<AnonymousCondition>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct AnonymousCondition {
    path: String,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct JwtAuthenticator {
    issuer: IssuerConfiguration,
    #[serde(default)]
    claim_validation_rules: Vec<ClaimValidationRule>,
    #[serde(default)]
    claim_mappings: ClaimMappings,
    #[serde(default)]
    user_validation_rules: Vec<UserValidationRule>,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct IssuerConfiguration {
    url: String,
    #[serde(rename = "discoveryURL")]
    discovery_url: String,
    certificate_authority: String,
    audiences: Vec<String>,
    audience_match_policy: String,
    egress_selector_type: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ClaimValidationRule {
    claim: String,
    required_value: String,
    expression: String,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UserValidationRule {
    expression: String,
    message: String,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ClaimMappings {
    username: ClaimOrExpression,
    groups: ClaimOrExpression,
    uid: ClaimOrExpression,
    extra: Vec<ExtraMapping>,
}

#[derive(Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct ClaimOrExpression {
    claim: String,
    prefix: Option<String>,
    expression: String,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
struct ExtraMapping {
    key: String,
    value_expression: String,
}

const API_VERSIONS: [&str; 2] = ["apiserver.config.k8s.io/v1", "apiserver.config.k8s.io/v1beta1"];
const KIND: &str = "AuthenticationConfiguration";

/// Reads a configuration. `own` are the issuers of the cluster's own tokens, which nobody else may be.
pub fn read(text: &str, own: &[String]) -> Result<Configured, AuthenticationError> {
    let read = document::read(text, KIND, &API_VERSIONS).map_err(|why| fault("the document", why))?;
    let AuthenticationConfiguration { jwt, anonymous } = read;
    if jwt.len() > ISSUERS_MAX {
        return Err(fault("jwt", format!("must have at most {ISSUERS_MAX} items")));
    }
    let mut seen = Seen::default();
    let issuers = jwt.into_iter().enumerate().map(|(index, one)| {
        let path = format!("jwt[{index}]");
        seen.check(&one.issuer, &format!("{path}.issuer"), own)?;
        authenticator(one, &path)
    });
    Ok(Configured { issuers: issuers.collect::<Result<_, _>>()?, anonymous: told_anonymous(anonymous)? })
}

pub(super) fn fault(field: impl Into<String>, reason: impl Into<String>) -> AuthenticationError {
    AuthenticationError { field: field.into(), reason: reason.into() }
}

fn told_anonymous(given: Option<AnonymousConfiguration>) -> Result<Anonymous, AuthenticationError> {
    match given {
        None => Ok(Anonymous::Everywhere),
        Some(AnonymousConfiguration { enabled: false, conditions }) if conditions.is_empty() => Ok(Anonymous::Nowhere),
        Some(AnonymousConfiguration { enabled: false, .. }) => {
            Err(fault("anonymous.conditions", "enabled should be set to true when conditions are defined"))
        }
        Some(AnonymousConfiguration { enabled: true, conditions }) if conditions.is_empty() => {
            Ok(Anonymous::Everywhere)
        }
        Some(AnonymousConfiguration { enabled: true, conditions }) => {
            Ok(Anonymous::At(conditions.into_iter().map(|condition| condition.path).collect()))
        }
    }
}

/// No two may speak for one issuer.
#[derive(Default)]
struct Seen {
    issuers: HashSet<String>,
    discoveries: HashSet<String>,
}

impl Seen {
    fn check(&mut self, issuer: &IssuerConfiguration, path: &str, own: &[String]) -> Result<(), AuthenticationError> {
        let IssuerConfiguration { url, discovery_url, audiences, audience_match_policy, .. } = issuer;
        let at = |member: &str| format!("{path}.{member}");
        if url.is_empty() {
            return Err(fault(at("url"), "Required value"));
        }
        check_url(url, &at("url"))?;
        if own.contains(url) {
            let own = own.join(" ");
            return Err(fault(at("url"), format!("URL must not overlap with disallowed issuers: [{own}]")));
        }
        if !self.issuers.insert(url.clone()) {
            return Err(fault(at("url"), format!("Duplicate value: {url:?}")));
        }
        if !discovery_url.is_empty() {
            check_url(discovery_url, &at("discoveryURL"))?;
            if url.trim_end_matches('/') == discovery_url.trim_end_matches('/') {
                return Err(fault(at("discoveryURL"), "discoveryURL must be different from URL"));
            }
            if !self.discoveries.insert(discovery_url.clone()) {
                return Err(fault(at("discoveryURL"), format!("Duplicate value: {discovery_url:?}")));
            }
        }
        if audiences.is_empty() {
            return Err(fault(at("audiences"), format!("at least one {} is required", at("audiences"))));
        }
        let different: HashSet<&String> = audiences.iter().collect();
        if different.len() < audiences.len() || different.iter().any(|audience| audience.is_empty()) {
            return Err(fault(at("audiences"), "each must be there once, and none may be empty"));
        }
        match (audiences.len(), audience_match_policy.as_str()) {
            (_, "MatchAny") | (1, "") => Ok(()),
            (1, _) => Err(fault(
                at("audienceMatchPolicy"),
                "audienceMatchPolicy must be empty or MatchAny for single audience",
            )),
            _ => Err(fault(at("audienceMatchPolicy"), "audienceMatchPolicy must be MatchAny for multiple audiences")),
        }
    }
}

pub(super) fn check_url(text: &str, path: &str) -> Result<(), AuthenticationError> {
    let url: http::Uri = text.parse().map_err(|error| fault(path, format!("{text:?}: {error}")))?;
    let why = if url.scheme_str() != Some("https") {
        "URL scheme must be https"
    } else if url.authority().is_some_and(|authority| authority.as_str().contains('@')) {
        "URL must not contain a username or password"
    } else if url.query().is_some() {
        "URL must not contain a query"
    } else if text.contains('#') {
        "URL must not contain a fragment"
    } else {
        return Ok(());
    };
    Err(fault(path, why))
}

fn authenticator(given: JwtAuthenticator, path: &str) -> Result<Issuer, AuthenticationError> {
    let JwtAuthenticator { issuer, claim_validation_rules, claim_mappings, user_validation_rules } = given;
    if !issuer.egress_selector_type.is_empty() {
        return Err(fault(format!("{path}.issuer.egressSelectorType"), "this server has no egress selectors"));
    }
    let authority = Some(issuer.certificate_authority.as_str()).filter(|pem| !pem.is_empty());
    let tls = provider::tls(authority).map_err(|why| fault(format!("{path}.issuer.certificateAuthority"), why))?;
    let discovery = Some(issuer.discovery_url.as_str()).filter(|url| !url.is_empty());
    let mut mapping = mappings(claim_mappings, &format!("{path}.claimMappings"))?;
    claim_rules(claim_validation_rules, &format!("{path}.claimValidationRules"), &mut mapping)?;
    mapping.user_rules = user_rules(user_validation_rules, &format!("{path}.userValidationRules"))?;
    check_email(&mapping, path)?;
    Ok(Issuer {
        provider: Provider::new(&issuer.url, discovery, tls),
        url: issuer.url,
        audiences: issuer.audiences,
        algorithms: Algorithm::ALL.to_vec(),
        mapping,
    })
}

fn mappings(given: ClaimMappings, path: &str) -> Result<Mapping, AuthenticationError> {
    let username = source(given.username, &format!("{path}.username"), true)?;
    let username = username.ok_or_else(|| fault(format!("{path}.username"), "claim or expression is required"))?;
    let groups = source(given.groups, &format!("{path}.groups"), true)?;
    let uid = source(given.uid, &format!("{path}.uid"), false)?;
    let (mut extra, mut keys) = (Vec::new(), HashSet::new());
    for (index, ExtraMapping { key, value_expression }) in given.extra.into_iter().enumerate() {
        let at = format!("{path}.extra[{index}]");
        check_extra_key(&key, &format!("{at}.key"))?;
        if !keys.insert(key.clone()) {
            return Err(fault(format!("{at}.key"), format!("Duplicate value: {key:?}")));
        }
        extra.push((key, compiled(&value_expression, &of_claims(), &format!("{at}.valueExpression"))?));
    }
    Ok(Mapping { username, groups, uid, extra, ..Mapping::default() })
}

/// `prefixed`: a claim needs a prefix, if only an empty one.
fn source(given: ClaimOrExpression, path: &str, prefixed: bool) -> Result<Option<Source>, AuthenticationError> {
    let ClaimOrExpression { claim, prefix, expression } = given;
    match (claim.is_empty(), expression.is_empty()) {
        (true, true) => Ok(None),
        (false, false) => Err(fault(path, "claim and expression can't both be set")),
        (true, false) if prefix.is_some() => {
            Err(fault(format!("{path}.prefix"), "may not be specified when expression is set"))
        }
        (true, false) => {
            Ok(Some(Source::Expression(compiled(&expression, &of_claims(), &format!("{path}.expression"))?)))
        }
        (false, true) if prefixed && prefix.is_none() => Err(fault(
            format!("{path}.prefix"),
            "prefix is required when claim is set. It can be set to an empty string to disable prefixing",
        )),
        (false, true) => Ok(Some(Source::Claim { claim, prefix: prefix.unwrap_or_default() })),
    }
}

fn check_extra_key(key: &str, path: &str) -> Result<(), AuthenticationError> {
    let Some(domain) = kontiki_model::names::domain_prefix(key) else {
        return Err(fault(path, "must be a domain-prefixed path (such as \"acme.io/foo\")"));
    };
    if key.to_lowercase() != key {
        return Err(fault(path, "must be lowercase"));
    }
    let reserved = ["k8s.io", "kubernetes.io"];
    if reserved.iter().any(|one| domain == *one || domain.ends_with(&format!(".{one}"))) {
        return Err(fault(path, "k8s.io, kubernetes.io and their subdomains are reserved for Kubernetes use"));
    }
    Ok(())
}

fn claim_rules(given: Vec<ClaimValidationRule>, path: &str, mapping: &mut Mapping) -> Result<(), AuthenticationError> {
    let mut seen = HashSet::new();
    for (index, rule) in given.into_iter().enumerate() {
        let path = format!("{path}[{index}]");
        let ClaimValidationRule { claim, required_value, expression, message } = rule;
        match (claim.is_empty(), expression.is_empty()) {
            (false, false) => return Err(fault(path, "claim and expression can't both be set")),
            (true, true) => return Err(fault(path, "claim or expression is required")),
            (false, true) if !message.is_empty() => {
                return Err(fault(format!("{path}.message"), "may not be specified when claim is set"));
            }
            (true, false) if !required_value.is_empty() => {
                let why = "may not be specified when expression is set";
                return Err(fault(format!("{path}.requiredValue"), why));
            }
            (false, true) => {
                if !seen.insert(format!("claim {claim}")) {
                    return Err(fault(format!("{path}.claim"), format!("Duplicate value: {claim:?}")));
                }
                mapping.required.push((claim, required_value));
            }
            (true, false) => {
                let path = format!("{path}.expression");
                if !seen.insert(format!("expression {expression}")) {
                    return Err(fault(path, format!("Duplicate value: {expression:?}")));
                }
                mapping.claim_rules.push(rule_of(expression, message, &of_claims(), &path)?);
            }
        }
    }
    Ok(())
}

fn user_rules(given: Vec<UserValidationRule>, path: &str) -> Result<Vec<Rule>, AuthenticationError> {
    let mut seen = HashSet::new();
    let rule = |(index, UserValidationRule { expression, message }): (usize, UserValidationRule)| {
        let path = format!("{path}[{index}].expression");
        if expression.is_empty() {
            return Err(fault(path, "Required value"));
        }
        if !seen.insert(expression.clone()) {
            return Err(fault(path, format!("Duplicate value: {expression:?}")));
        }
        rule_of(expression, message, &of_user(), &path)
    };
    given.into_iter().enumerate().map(rule).collect()
}
