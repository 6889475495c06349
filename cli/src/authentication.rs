//! Who is believed besides the cluster itself, as the flags say: read at the start, a file again when it changes.

use std::path::PathBuf;

use anyhow::{Context, Result};
use kontiki_apiserver::{AuthenticationSource, Core, OidcFlags};
use tracing::{error, info};

use crate::{args, reread::Reread};

/// What the flags name, with the file's text.
pub fn source(arguments: &args::Authentication) -> Result<AuthenticationSource> {
    let args::Authentication { config, oidc_issuer_url, oidc_client_id, .. } = arguments;
    let read = |path: &PathBuf| std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()));
    if let Some(path) = config {
        return Ok(AuthenticationSource::Document(read(path)?));
    }
    let (Some(issuer_url), Some(client_id)) = (oidc_issuer_url.clone(), oidc_client_id.clone()) else {
        return Ok(AuthenticationSource::Nothing);
    };
    let pair = |text: &String| {
        let (claim, value) =
            text.split_once('=').with_context(|| format!("--oidc-required-claim {text:?}: no claim=value"))?;
        Ok((claim.to_owned(), value.to_owned()))
    };
    Ok(AuthenticationSource::Flags(OidcFlags {
        issuer_url,
        client_id,
        username_claim: arguments.oidc_username_claim.clone().unwrap_or_default(),
        username_prefix: arguments.oidc_username_prefix.clone().unwrap_or_default(),
        groups_claim: arguments.oidc_groups_claim.clone().unwrap_or_default(),
        groups_prefix: arguments.oidc_groups_prefix.clone().unwrap_or_default(),
        required_claims: arguments.oidc_required_claim.iter().map(pair).collect::<Result<_>>()?,
        signing_algs: arguments.oidc_signing_algs.clone(),
        authority: arguments.oidc_ca_file.as_ref().map(read).transpose()?,
    }))
}

/// Takes a changed file, for as long as this is polled.
pub async fn keep(path: Option<&PathBuf>, core: &Core) {
    let (Some(path), AuthenticationSource::Document(text)) = (path, &core.config.authentication) else { return };
    let mut read = Reread::new(path, text);
    loop {
        match core.authentication.replace(read.changed().await, core.tokens.issuers()) {
            Ok(()) => info!(path = %path.display(), "the authentication configuration was read anew"),
            Err(error) => {
                error!(path = %path.display(), %error, "the authentication configuration cannot be used; the one before stays");
            }
        }
    }
}
