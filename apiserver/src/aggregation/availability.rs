//! Whether the server of an API can be asked: what is behind its Service, and whether that answers. Told in the condition
//! `Available`, with Kubernetes' reasons.

use std::{collections::HashMap, sync::Arc, time::Instant};

use futures::future::join_all;
use kontiki_kinds::apiservice::KIND;
use kontiki_model::{Key, Status};
use serde_json::{Value, json};

use super::{
    Belief,
    answer::ask,
    apis::{Api, Apis, Backing},
};
use crate::{
    bootstrap::Write,
    core::Core,
    limits,
    rest::{self, object},
    services::{self, Backends, Unresolved},
};

const TYPE: &str = "Available";

/// What the condition is to say.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verdict {
    status: &'static str,
    reason: &'static str,
    message: String,
}

/// When each was asked last, and what came of it.
#[derive(Default)]
pub struct Probes(HashMap<String, Probe>);

struct Probe {
    at: Instant,
    backing: Backing,
    backends: Backends,
    verdict: Verdict,
}

impl Verdict {
    pub fn local() -> Self {
        let message = "Local APIServices are always available".to_owned();
        Verdict { status: "True", reason: "Local", message }
    }

    fn passed() -> Self {
        Verdict { status: "True", reason: "Passed", message: "all checks passed".to_owned() }
    }

    fn failed(reason: &'static str, message: String) -> Self {
        Verdict { status: "False", reason, message }
    }
}

/// Judges all of them, and writes down what changed.
pub async fn check(core: &Arc<Core>, apis: &Apis, probes: &mut Probes) -> Result<(), Status> {
    probes.0.retain(|name, _| apis.remotes().any(|api| api.name == *name));
    let judged = join_all(apis.remotes().map(|api| judge(core, api, probes.0.get(&api.name)))).await;
    for (api, (verdict, probe)) in apis.remotes().zip(judged) {
        match probe {
            Some(probe) => drop(probes.0.insert(api.name.clone(), probe)),
            None if verdict.status != "True" => drop(probes.0.remove(&api.name)),
            None => {}
        }
        write(core, &api.name, &verdict).await?;
    }
    Ok(())
}

/// From what this server knows, and if that is in order from an answer; one of just now counts as long as nothing changed.
async fn judge(core: &Arc<Core>, api: &Api, last: Option<&Probe>) -> (Verdict, Option<Probe>) {
    let Some(backing) = &api.backing else { return (Verdict::local(), None) };
    let mut backends = match behind(backing, services::backends(&core.log, &backing.service)) {
        Ok(backends) => backends,
        Err(verdict) => return (verdict, None),
    };
    backends.addresses.sort_by_key(ToString::to_string);
    if let Some(last) = last.filter(|last| last.backing == *backing && last.backends == backends) {
        let pause = match last.verdict.status {
            "True" => limits::AVAILABILITY_INTERVAL,
            _ => limits::AGGREGATION_RETRY_INTERVAL,
        };
        if last.at.elapsed() < pause {
            return (last.verdict.clone(), None);
        }
    }
    let verdict = probe(core, api, backing).await;
    let probe = Probe { at: Instant::now(), backing: backing.clone(), backends, verdict: verdict.clone() };
    (verdict, Some(probe))
}

/// What is behind the Service, or why that is not enough.
fn behind(backing: &Backing, found: Result<Backends, Unresolved>) -> Result<Backends, Verdict> {
    let services::Reference { namespace, name, port } = &backing.service;
    match found {
        Err(Unresolved::NoService(_)) => {
            Err(Verdict::failed("ServiceNotFound", format!("service/{name} in {namespace:?} is not present")))
        }
        Err(Unresolved::NoPort { .. }) => {
            let message = format!("service/{name} in {namespace:?} is not listening on port {port}");
            Err(Verdict::failed("ServicePortError", message))
        }
        Err(error @ (Unresolved::NoEndpoints(_) | Unresolved::Unreadable(_))) => {
            let message = format!("service/{name} in {namespace:?} cannot be checked due to: {error}");
            Err(Verdict { status: "Unknown", reason: "ServiceAccessError", message })
        }
        Ok(Backends { slices: false, .. }) => {
            let message = format!("cannot find endpointslices for service/{name} in {namespace:?}");
            Err(Verdict::failed("EndpointsNotFound", message))
        }
        Ok(Backends { addresses, port_name, .. }) if addresses.is_empty() => {
            let message = format!(
                "endpointslices for service/{name} in {namespace:?} have no addresses with port name {port_name:?}"
            );
            Err(Verdict::failed("MissingEndpoints", message))
        }
        Ok(backends) => Ok(backends),
    }
}

/// Asks the server for its API's own document. Whose certificate it shows is looked at when requests are passed on.
async fn probe(core: &Arc<Core>, api: &Api, backing: &Backing) -> Verdict {
    let path = api.path();
    let failed = |message: String| Verdict::failed("FailedDiscoveryCheck", message);
    let place = format!("https://{}:{}{path}", backing.service.server_name(), backing.service.port);
    let tls = match core.aggregation.believing(Belief::Anybody) {
        Ok(tls) => tls,
        Err(error) => return failed(error.to_string()),
    };
    match ask(core, backing, &tls, &path, "application/json").await {
        Ok(answer) if answer.status.is_success() => Verdict::passed(),
        Ok(answer) => {
            let code = answer.status.as_u16();
            failed(format!("failing or missing response from {place}: bad status from {place}: {code}"))
        }
        Err(error) => failed(format!("failing or missing response from {place}: {error}")),
    }
}

/// Writes the condition down where it says something else. That somebody else was faster is no fault: it is looked at again.
pub async fn write(core: &Arc<Core>, name: &str, verdict: &Verdict) -> Result<(), Status> {
    let Some(stored) = core.stored(&Key::new(KIND.storage_resource(), "", name))? else { return Ok(()) };
    let mut service = object::open(&stored)?;
    if !settle(&mut service, verdict, &rest::now_text()) {
        return Ok(());
    }
    tracing::info!(name, status = verdict.status, reason = verdict.reason, "an API's availability changes");
    let write = Write { kind: &KIND, namespace: "", name: Some(name), subresource: Some("status") };
    match write.carry_out(core, &service).await {
        Err(status) if !matches!(status.code, 404 | 409) => Err(status),
        Ok(()) | Err(_) => Ok(()),
    }
}

/// Makes the condition say so; says whether it did not.
fn settle(service: &mut Value, verdict: &Verdict, now: &str) -> bool {
    let conditions = service["status"]["conditions"].as_array().cloned().unwrap_or_default();
    let before = conditions.iter().find(|condition| condition["type"] == TYPE);
    let text = |member: &str| before.and_then(|one| one[member].as_str()).unwrap_or_default();
    let same = text("status") == verdict.status;
    if same && text("reason") == verdict.reason && text("message") == verdict.message {
        return false;
    }
    let since = if same { text("lastTransitionTime") } else { now };
    let condition = json!({
        "type": TYPE, "status": verdict.status, "lastTransitionTime": since, "reason": verdict.reason,
        "message": verdict.message,
    });
    let others = conditions.iter().filter(|condition| condition["type"] != TYPE).cloned();
    service["status"]["conditions"] = others.chain([condition]).collect();
    true
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::services::{Address, Reference};

    #[test]
    fn what_is_missing_is_told_as_kubernetes_tells_it() {
        let service = Reference { namespace: "n".to_owned(), name: "s".to_owned(), port: 443 };
        let backing = Backing { service, bundle: Vec::new(), insecure: false };
        let found = |slices, ready: bool| {
            let address = Address { host: "10.0.0.1".to_owned(), port: 8443 };
            let addresses = if ready { vec![address] } else { Vec::new() };
            Ok(Backends { port_name: "https".to_owned(), slices, addresses })
        };
        for (found, expected) in [
            (Err(Unresolved::NoService("s".to_owned())), "ServiceNotFound: service/s in \"n\" is not present"),
            (
                Err(Unresolved::NoPort { port: 443, name: "s".to_owned() }),
                "ServicePortError: service/s in \"n\" is not listening on port 443",
            ),
            (found(false, false), "EndpointsNotFound: cannot find endpointslices for service/s in \"n\""),
            (
                found(true, false),
                "MissingEndpoints: endpointslices for service/s in \"n\" have no addresses with port name \"https\"",
            ),
            (found(true, true), "none"),
        ] {
            let told = behind(&backing, found).err().map(|verdict| format!("{}: {}", verdict.reason, verdict.message));
            assert_eq!(told.as_deref().unwrap_or("none"), expected);
        }
    }

    #[test]
    fn a_condition_keeps_its_time_until_it_turns() {
        let mut service = json!({"status": {"conditions": [{"type": "Other"}]}});
        let failed = |reason, message: &str| Verdict::failed(reason, message.to_owned());
        assert!(settle(&mut service, &failed("ServiceNotFound", "a"), "t1"));
        assert!(!settle(&mut service, &failed("ServiceNotFound", "a"), "t2"));
        assert!(settle(&mut service, &failed("MissingEndpoints", "b"), "t3"));
        assert_eq!(service["status"]["conditions"][1]["lastTransitionTime"], "t1");
        assert!(settle(&mut service, &Verdict::passed(), "t4"));
        let conditions = &service["status"]["conditions"];
        assert_eq!((&conditions[1]["status"], &conditions[1]["lastTransitionTime"]), (&json!("True"), &json!("t4")));
        assert_eq!(conditions[0]["type"], "Other");
    }
}
