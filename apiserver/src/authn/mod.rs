//! Who is asking: client certificates, bearer tokens (of accounts, for bootstrapping, from a file), impersonation. Knows nothing of what they may do.
mod algorithm;
mod bootstrap_token;
mod certificate;
mod impersonate;
mod jws;
mod jwt;
mod key_file;
mod oidc;
mod public_key;
mod service_account;
mod static_tokens;
mod token_keys;
mod url;
mod websocket;

use chrono::Utc;
use futures::FutureExt as _;
use http::{HeaderMap, header};
use kontiki_model::{Status, names};

pub(crate) use self::{
    certificate::{Certified, identity_of},
    impersonate::{Impersonation, requested},
    token_keys::{is_discoverable, open as open_token_keys},
    websocket::take_token,
};
pub use self::{
    jwt::{Claims, KubernetesClaims, Reference, TokenFault, TokenSigner},
    key_file::KeyFault,
    oidc::{Authentication, AuthenticationError, AuthenticationSource, OidcFlags},
    service_account::believe,
    static_tokens::{StaticTokens, TokenFileError},
};
use crate::{core::Core, failure, join, limits, peers::former, request::Identity};

pub const ANONYMOUS: &str = "system:anonymous";
pub const AUTHENTICATED: &str = "system:authenticated";
pub const MASTERS: &str = "system:masters";
pub const NODES: &str = "system:nodes";
pub const SERVICE_ACCOUNTS: &str = "system:serviceaccounts";
pub const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Extra of an identity: which credential it came with.
pub const CREDENTIAL_ID: &str = "authentication.kubernetes.io/credential-id";

/// The identity behind a connection's certificate or a request's token; without either, the anonymous one, where the path lets
/// anybody in.
///
/// A token that is not believed is refused; it does not make the request anonymous. Nor does a certificate that has ended.
pub(crate) async fn authenticate(
    core: &Core,
    certificate: Option<&Certified>,
    headers: &HeaderMap,
    path: &str,
) -> Result<Identity, Status> {
    match certificate.map(|certificate| certificate.identity_at(Utc::now())) {
        Some(Some(identity)) => {
            return match former::standing(core, identity) {
                former::Standing::Removed => Err(failure::removed_server(&identity.user)),
                former::Standing::Heard { .. } | former::Standing::Nobody => Ok(identity.clone()),
            };
        }
        Some(None) if bearer_token(headers).is_none() => return Err(failure::unauthorized()),
        Some(None) | None => {}
    }
    // Boxed: few requests come with a token, and what that may take is large.
    by_token(core, headers, path).boxed().await
}

async fn by_token(core: &Core, headers: &HeaderMap, path: &str) -> Result<Identity, Status> {
    let Some(token) = bearer_token(headers) else {
        // Who joins shows a token of another sort, to the endpoint itself.
        let let_in = path == join::PATH || core.authentication.lets_in_anybody(path);
        return if let_in { Ok(anonymous()) } else { Err(failure::unauthorized()) };
    };
    if token.len() > limits::TOKEN_BYTES_MAX {
        return Err(failure::unauthorized());
    }
    if let Some(identity) = core.static_tokens.find(token) {
        return Ok(identity);
    }
    if let Some(identity) = bootstrapping(core, token).await? {
        return Ok(identity);
    }
    if let Some(judged) = core.authentication.believe(token, Utc::now().timestamp()).await {
        return judged.map(with_authenticated).map_err(|fault| {
            tracing::debug!(%fault, "token of an issuer refused");
            failure::unauthorized()
        });
    }
    match believe(core, token, &core.config.token_audiences).await? {
        Ok(believed) => Ok(believed.identity),
        Err(fault) => {
            tracing::debug!(%fault, "bearer token refused");
            Err(failure::unauthorized())
        }
    }
}

/// Who holds a bootstrap token; `None` for any other token, and for one that does not hold.
pub(crate) async fn bootstrapping(core: &Core, token: &str) -> Result<Option<Identity>, Status> {
    match bootstrap_token::split(token) {
        Some((id, secret)) => bootstrap_token::believe(core, id, secret).await,
        None => Ok(None),
    }
}

fn bearer_token(headers: &HeaderMap) -> Option<&str> {
    let value = headers.get(header::AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    let token = token.trim();
    (scheme.eq_ignore_ascii_case("bearer") && !token.is_empty()).then_some(token)
}

fn anonymous() -> Identity {
    Identity { user: ANONYMOUS.to_owned(), groups: vec![UNAUTHENTICATED.to_owned()], ..Identity::default() }
}

/// Namespace and name, where a user is a service account.
pub(crate) fn service_account(user: &str) -> Option<(&str, &str)> {
    let (namespace, name) = user.strip_prefix("system:serviceaccount:")?.split_once(':')?;
    (names::label(namespace).is_empty() && names::subdomain(name).is_empty()).then_some((namespace, name))
}

/// Adds the group that everybody who proved who they are is in.
pub(crate) fn with_authenticated(mut identity: Identity) -> Identity {
    let settled = identity.user == ANONYMOUS || identity.in_group(UNAUTHENTICATED);
    if !settled && !identity.in_group(AUTHENTICATED) {
        identity.groups.push(AUTHENTICATED.to_owned());
    }
    identity
}
