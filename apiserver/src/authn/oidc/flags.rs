//! One issuer as the older `--oidc-…` flags name it, which say less than a document.

use std::collections::BTreeMap;

use super::{
    Anonymous, Issuer,
    claims::{Mapping, Source},
    configuration::{AuthenticationError, Configured, check_url, fault},
    provider::{self, Provider},
};
use crate::authn::algorithm::Algorithm;

/// One issuer, as flags name it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct OidcFlags {
    pub issuer_url: String,
    pub client_id: String,
    /// Empty for `sub`.
    pub username_claim: String,
    /// `-` for none; empty for the issuer's, where the claim is not `email`.
    pub username_prefix: String,
    pub groups_claim: String,
    pub groups_prefix: String,
    pub required_claims: BTreeMap<String, String>,
    /// Empty for RS256 alone.
    pub signing_algs: Vec<String>,
    /// Certificates in PEM; what the system trusts, if absent.
    pub authority: Option<String>,
}

/// What the flags come to.
pub(super) fn configured(flags: &OidcFlags, own: &[String]) -> Result<Configured, AuthenticationError> {
    let OidcFlags { issuer_url, client_id, .. } = flags;
    if issuer_url.is_empty() != client_id.is_empty() {
        return Err(fault("--oidc-issuer-url", "oidc-issuer-url and oidc-client-id must be specified together"));
    }
    check_url(issuer_url, "--oidc-issuer-url")?;
    if own.contains(issuer_url) {
        return Err(fault("--oidc-issuer-url", "it is the issuer of this cluster's own service account tokens"));
    }
    let or = |given: &str, otherwise: &str| if given.is_empty() { otherwise } else { given }.to_owned();
    let claim = or(&flags.username_claim, "sub");
    let prefix = match flags.username_prefix.as_str() {
        "-" => String::new(),
        "" if claim == "email" => String::new(),
        "" => format!("{issuer_url}#"),
        given => given.to_owned(),
    };
    let groups = (!flags.groups_claim.is_empty())
        .then(|| Source::Claim { claim: flags.groups_claim.clone(), prefix: flags.groups_prefix.clone() });
    let algorithms = match flags.signing_algs.as_slice() {
        [] => vec![Algorithm::Rs256],
        names => names.iter().map(|name| algorithm(name)).collect::<Result<_, _>>()?,
    };
    let tls = provider::tls(flags.authority.as_deref()).map_err(|why| fault("--oidc-ca-file", why))?;
    let mapping = Mapping {
        username: Source::Claim { claim, prefix },
        groups,
        required: flags.required_claims.clone().into_iter().collect(),
        ..Mapping::default()
    };
    let issuer = Issuer {
        url: issuer_url.clone(),
        audiences: vec![client_id.clone()],
        algorithms,
        provider: Provider::new(issuer_url, None, tls),
        mapping,
    };
    Ok(Configured { issuers: vec![issuer], anonymous: Anonymous::Everywhere })
}

fn algorithm(name: &str) -> Result<Algorithm, AuthenticationError> {
    let known = || format!("known are {}", Algorithm::ALL.map(Algorithm::name).join(", "));
    let why = || match name {
        "ES512" => format!(
            "{name} is not supported: it signs on the curve P-521, which this server's cryptography lacks; {}",
            known()
        ),
        _ => format!("{name:?} is not supported; {}", known()),
    };
    Algorithm::named(name).ok_or_else(|| fault("--oidc-signing-algs", why()))
}
