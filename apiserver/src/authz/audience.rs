//! For whom the tokens may be that a node has issued for a pod: for those that the pod's volumes name, for the API server, or for whom
//! a rule allows (`request-serviceaccounts-token-audience`).

use kontiki_model::{Key, Status};
use serde_json::Value;

use super::{Question, decide};
use crate::{
    core::Core,
    failure,
    request::Identity,
    route::{ResourceInfo, Target},
};

const VERB: &str = "request-serviceaccounts-token-audience";

/// Why a node is not given a token of this account for these audiences, if so.
pub(super) fn refusal(
    core: &Core,
    author: &Identity,
    (namespace, account): (&str, &str),
    (pod, audiences): (&Value, &[&str]),
) -> Result<Option<String>, Status> {
    let audience = match audiences {
        [] => return Ok(None),
        [audience] => *audience,
        _ => return Ok(Some("node may only request 0 or 1 audiences".to_owned())),
    };
    let own = audience.is_empty() || core.config.token_audiences.iter().any(|own| own == audience);
    if own || projects(pod, audience) || is_for_a_driver(core, namespace, pod, audience)? {
        return Ok(None);
    }
    let target = Target::Resource(ResourceInfo {
        version: "v1".to_owned(),
        namespace: namespace.to_owned(),
        resource: audience.to_owned(),
        name: account.to_owned(),
        ..ResourceInfo::default()
    });
    let question = Question { identity: author, verb: VERB, target: &target, field_selector: "" };
    let allowed = decide(core, question)?.allowed;
    Ok((!allowed).then(|| format!("audience {audience:?} not found in pod spec volume")))
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> {
    value.pointer(pointer).and_then(Value::as_array).into_iter().flatten()
}

/// Whether a volume of the pod projects a token for this audience.
fn projects(pod: &Value, audience: &str) -> bool {
    let mut sources = list(pod, "/spec/volumes").flat_map(|volume| list(volume, "/projected/sources"));
    sources.any(|source| source["serviceAccountToken"]["audience"] == audience)
}

/// Whether a driver of a volume of the pod is to get tokens for this audience.
fn is_for_a_driver(core: &Core, namespace: &str, pod: &Value, audience: &str) -> Result<bool, Status> {
    for volume in list(pod, "/spec/volumes") {
        let Some(driver) = driver(core, namespace, pod, volume)? else { continue };
        let Some(driver) = object(core, Key::new("csidrivers.storage.k8s.io", "", driver))? else { continue };
        if list(&driver, "/spec/tokenRequests").any(|request| request["audience"] == audience) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// The driver that a volume names, or the one of the persistent volume behind it.
fn driver(core: &Core, namespace: &str, pod: &Value, volume: &Value) -> Result<Option<String>, Status> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    if let Some(inline) = text(&volume["csi"]["driver"]) {
        return Ok(Some(inline));
    }
    let claim = match (&volume["persistentVolumeClaim"]["claimName"], &volume["ephemeral"]) {
        (Value::String(claim), _) => claim.clone(),
        (_, Value::Object(_)) => {
            [&pod["metadata"]["name"], &volume["name"]].map(|name| name.as_str().unwrap_or("")).join("-")
        }
        _ => return Ok(None),
    };
    let Some(claim) = object(core, Key::new("persistentvolumeclaims", namespace, claim))? else { return Ok(None) };
    let Some(name) = text(&claim["spec"]["volumeName"]) else { return Ok(None) };
    let volume = object(core, Key::new("persistentvolumes", "", name))?;
    Ok(volume.and_then(|volume| text(&volume["spec"]["csi"]["driver"])))
}

fn object(core: &Core, key: Key) -> Result<Option<Value>, Status> {
    let stored = core.stored(&key)?;
    stored.map(|stored| serde_json::from_slice(&stored.body).map_err(failure::internal)).transpose()
}
