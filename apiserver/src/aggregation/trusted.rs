//! What the servers of aggregated APIs must know to believe this one: the ConfigMap `extension-apiserver-authentication`.
//!
//! Others may have added to it; what is theirs stays.

use std::sync::Arc;

use kontiki_kinds::by_resource;
use kontiki_model::{Key, Revision, Status};
use serde_json::{Value, json};

use super::forward::{EXTRA, GROUP, UID, USER};
use crate::{
    bootstrap::{self, Write},
    core::Core,
    failure,
    pki::FRONT_PROXY_USER,
    rest::object,
};

const NAMESPACE: &str = "kube-system";
const NAME: &str = "extension-apiserver-authentication";
/// Authorities, in PEM: of clients, and of servers that say who asks.
const CLIENTS: &str = "client-ca-file";
const SERVERS: &str = "requestheader-client-ca-file";
const ALLOWED_NAMES: &str = "requestheader-allowed-names";

/// Writes it down where something is missing; `seen` is the revision at which nothing was.
pub async fn tell(core: &Arc<Core>, seen: &mut Revision) -> Result<(), Status> {
    if !core.is_bootstrapped() {
        return Ok(());
    }
    let key = Key::new("configmaps", NAMESPACE, NAME);
    if core.log.head(&key).is_some_and(|(revision, _)| revision == *seen) {
        return Ok(());
    }
    let authorities = [(CLIENTS, core.pki.ca_pem()), (SERVERS, core.pki.front_proxy_ca_pem())];
    let Some(stored) = core.stored(&key)? else {
        let mut object =
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": NAME, "namespace": NAMESPACE}});
        complete(&mut object, &authorities);
        return bootstrap::ensure(core, "", "configmaps", NAMESPACE, object).await;
    };
    let mut object = object::open(&stored)?;
    if !complete(&mut object, &authorities) {
        *seen = stored.revision;
        return Ok(());
    }
    let kind = by_resource("", "v1", "configmaps").ok_or_else(failure::no_such_resource)?;
    let write = Write { kind, namespace: NAMESPACE, name: Some(NAME), subresource: None };
    match write.carry_out(core, &object).await {
        // Another server was faster.
        Err(status) if matches!(status.code, 404 | 409) => Ok(()),
        other => other,
    }
}

/// Adds what is missing; says whether anything was.
fn complete(object: &mut Value, authorities: &[(&str, &str)]) -> bool {
    let mut changed = false;
    for (member, pem) in authorities {
        let held = object["data"][member].as_str().unwrap_or_default();
        if !held.contains(pem.trim()) {
            let gap = if held.is_empty() || held.ends_with('\n') { "" } else { "\n" };
            object["data"][member] = format!("{held}{gap}{}\n", pem.trim()).into();
            changed = true;
        }
    }
    for (member, needed) in [
        (ALLOWED_NAMES, FRONT_PROXY_USER.to_owned()),
        ("requestheader-extra-headers-prefix", header(EXTRA)),
        ("requestheader-group-headers", header(GROUP)),
        ("requestheader-uid-headers", header(UID)),
        ("requestheader-username-headers", header(USER)),
    ] {
        let held = object["data"][member].as_str().and_then(|text| serde_json::from_str::<Vec<String>>(text).ok());
        // An empty list of names lets any name speak for others.
        let open = member == ALLOWED_NAMES && held.as_ref().is_some_and(Vec::is_empty);
        let mut held = held.unwrap_or_default();
        if !open && !held.iter().any(|one| one.eq_ignore_ascii_case(&needed)) {
            held.push(needed);
            object["data"][member] = json!(held).to_string().into();
            changed = true;
        }
    }
    changed
}

/// As people write headers: `X-Remote-User`.
fn header(name: &str) -> String {
    let capital = |word: &str| word.get(..1).map(|first| first.to_ascii_uppercase() + &word[1..]).unwrap_or_default();
    name.split('-').map(capital).collect::<Vec<_>>().join("-")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_others_added_stays() {
        let mut object = json!({"data": {CLIENTS: "theirs", "requestheader-allowed-names": "[\"other\"]"}});
        let authorities = [(CLIENTS, "ours\n"), (SERVERS, "front\n")];
        assert!(complete(&mut object, &authorities));
        let expected = json!({
            CLIENTS: "theirs\nours\n",
            SERVERS: "front\n",
            "requestheader-allowed-names": "[\"other\",\"front-proxy-client\"]",
            "requestheader-extra-headers-prefix": "[\"X-Remote-Extra-\"]",
            "requestheader-group-headers": "[\"X-Remote-Group\"]",
            "requestheader-uid-headers": "[\"X-Remote-Uid\"]",
            "requestheader-username-headers": "[\"X-Remote-User\"]",
        });
        assert_eq!(object["data"], expected);
        assert!(!complete(&mut object, &authorities));
    }
}
