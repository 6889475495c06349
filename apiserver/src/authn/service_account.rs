//! Service account tokens against the cluster as it is: a token dies with its account, and with the pod it is bound to.

use chrono::{DateTime, Utc};
use kontiki_model::{Key, Status};
use kontiki_raft::{ReadError, Stored};

use super::{AUTHENTICATED, CREDENTIAL_ID, Claims, SERVICE_ACCOUNTS, TokenFault, jwt::Reference};
use crate::{
    core::{Core, unreadable},
    request::Identity,
};

/// A token that holds.
pub struct Believed {
    pub identity: Identity,
    /// Which of the audiences asked for it is good for.
    pub audiences: Vec<String>,
}

/// An object being deleted vouches for its tokens this much longer.
const DELETION_LEEWAY_S: i64 = 60;

/// Whether a token holds, now, for one of these audiences. The outer error is about the server, the inner about the token.
///
/// What the token is bound to is looked up here first; a miss is believed only of a state that is not behind.
pub async fn believe(core: &Core, token: &str, audiences: &[String]) -> Result<Result<Believed, TokenFault>, Status> {
    let now = Utc::now();
    let checked = core.tokens.verify(token, now.timestamp()).and_then(|claims| {
        let audiences = claims.audiences(audiences)?;
        Ok((claims, audiences))
    });
    let (claims, audiences) = match checked {
        Ok(checked) => checked,
        Err(fault) => return Ok(Err(fault)),
    };
    if missing(core, &claims, now)?.is_some() {
        core.log.barrier().await.map_err(|error| unreadable(&error))?;
        if let Some(fault) = missing(core, &claims, now)? {
            return Ok(Err(fault));
        }
    }
    Ok(Ok(Believed { identity: identity(&claims), audiences }))
}

/// The first of the objects that the token depends on which does not vouch for it.
fn missing(core: &Core, claims: &Claims, now: DateTime<Utc>) -> Result<Option<TokenFault>, Status> {
    let bound = &claims.kubernetes;
    let namespace = bound.namespace.as_str();
    let mut required = vec![("serviceaccounts", namespace, &bound.serviceaccount)];
    required.extend(bound.pod.iter().map(|pod| ("pods", namespace, pod)));
    required.extend(bound.secret.iter().map(|secret| ("secrets", namespace, secret)));
    // A node that a pod's token names is told, but the token outlives it; a token bound to the node itself does not.
    required.extend(bound.node.iter().filter(|_| bound.pod.is_none()).map(|node| ("nodes", "", node)));
    for (resource, namespace, reference) in required {
        let unbound =
            |why: &str| Ok(Some(TokenFault::Unbound(format!("{resource} {namespace}/{} {why}", reference.name))));
        match core.log.get(&Key::new(resource, namespace, &*reference.name)) {
            Ok(found) if found.as_ref().is_some_and(|object| vouches(object, &reference.uid, now)) => {}
            Ok(_) => return unbound("is gone"),
            // What nobody can read vouches for nobody; the token's holder is not the one to be told.
            Err(ReadError::Sealed(unopened)) => return unbound(&format!("cannot be read: {unopened}")),
            Err(error) => return Err(unreadable(&error)),
        }
    }
    Ok(None)
}

fn vouches(object: &Stored, uid: &str, now: DateTime<Utc>) -> bool {
    let deletion = object.head.deletion.as_deref().map(DateTime::parse_from_rfc3339);
    let alive = match deletion {
        None => true,
        Some(Ok(time)) => now.timestamp() < time.timestamp() + DELETION_LEEWAY_S,
        Some(Err(_)) => false,
    };
    object.head.uid == uid && alive
}

impl Identity {
    /// A service account as whoever shows no token of it is told.
    pub fn of_account(namespace: &str, name: &str) -> Self {
        let groups = [SERVICE_ACCOUNTS.to_owned(), format!("{SERVICE_ACCOUNTS}:{namespace}"), AUTHENTICATED.to_owned()];
        let user = format!("system:serviceaccount:{namespace}:{name}");
        Identity { user, groups: groups.into(), ..Identity::default() }
    }
}

fn identity(claims: &Claims) -> Identity {
    let bound = &claims.kubernetes;
    let mut extra = Vec::new();
    let mut tell = |key: &str, value: String| extra.push((key.to_owned(), vec![value]));
    if !claims.jti.is_empty() {
        tell(CREDENTIAL_ID, format!("JTI={}", claims.jti));
    }
    let mut tell_reference = |what: &str, reference: &Option<Reference>| {
        if let Some(Reference { name, uid }) = reference {
            tell(&format!("authentication.kubernetes.io/{what}-name"), name.clone());
            tell(&format!("authentication.kubernetes.io/{what}-uid"), uid.clone());
        }
    };
    tell_reference("node", &bound.node);
    tell_reference("pod", &bound.pod);
    let account = Identity::of_account(&bound.namespace, &bound.serviceaccount.name);
    Identity { uid: bound.serviceaccount.uid.clone(), extra, ..account }
}
