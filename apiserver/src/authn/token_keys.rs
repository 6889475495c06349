//! The keys of service account tokens as the configuration names them.

use std::path::{Path, PathBuf};

use super::{
    TokenSigner,
    key_file::{KeyFault, PrivateKey, public_keys},
    url,
};
use crate::{config::Config, pki::Pki, server::StartError};

/// The signer, and whose signatures count besides its own. The cluster's own key counts always: changing to another one ends no
/// token that lives.
pub(crate) fn open(config: &Config, pki: &Pki) -> Result<TokenSigner, StartError> {
    let own = PrivateKey::pkcs8(&pki.token_key()?).map_err(StartError::TokenKey)?;
    check_issuers(&config.token_issuers)?;
    check_keys_uri(config.token_keys_uri.as_deref())?;
    let mut others = Vec::new();
    for path in &config.token_key_files {
        others.extend(public_keys(&text(path)?).map_err(|fault| unusable(path, fault))?);
    }
    let signing = match &config.token_signing_key_file {
        None => own,
        Some(path) => {
            others.push(own.public().clone());
            PrivateKey::read(&text(path)?).map_err(|fault| unusable(path, fault))?
        }
    };
    Ok(TokenSigner::new(signing, others, config.token_issuers.clone()))
}

/// As kube-apiserver does: a name, or a URL if it looks like one, each once.
fn check_issuers(issuers: &[String]) -> Result<(), StartError> {
    let refused = |why: String| Err(StartError::TokenIssuer(why));
    if issuers.is_empty() {
        return refused("service-account-issuer is a required flag".to_owned());
    }
    for (index, issuer) in issuers.iter().enumerate() {
        if issuer.is_empty() {
            return refused("service-account-issuer should not be an empty string".to_owned());
        }
        if issuers[..index].contains(issuer) {
            return refused(format!("service-account-issuer {issuer:?} is already specified"));
        }
        if issuer.contains(':')
            && let Err(why) = url::check(issuer)
        {
            return refused(format!(
                "service-account-issuer {issuer:?} contained a ':' but was not a valid URL: {why}"
            ));
        }
    }
    Ok(())
}

/// Others believe the keys that they find there.
fn check_keys_uri(uri: Option<&str>) -> Result<(), StartError> {
    let Some(uri) = uri.filter(|uri| !uri.is_empty()) else { return Ok(()) };
    let refused = |why: String| Err(StartError::TokenIssuer(why));
    if let Err(why) = url::check(uri) {
        return refused(format!("service-account-jwks-uri must be a valid URL: {why}"));
    }
    if !is_https(uri) {
        return refused(format!("service-account-jwks-uri requires https scheme, parsed as: {uri}"));
    }
    Ok(())
}

fn is_https(text: &str) -> bool {
    url::scheme(text).is_some_and(|scheme| scheme.eq_ignore_ascii_case("https"))
}

/// Whether what OpenID Connect calls an issuer: others can ask one of this name for its keys.
pub(crate) fn is_discoverable(issuer: &str) -> bool {
    is_https(issuer) && !issuer.contains(['?', '#'])
}

fn text(path: &Path) -> Result<String, StartError> {
    std::fs::read_to_string(path).map_err(|source| StartError::TokenKeyRead { path: PathBuf::from(path), source })
}

fn unusable(path: &Path, source: KeyFault) -> StartError {
    StartError::TokenKeyFile { path: PathBuf::from(path), source }
}
