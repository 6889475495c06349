//! The status of a Pod, as nodes and schedulers write it (`ValidatePodStatusUpdate`).

mod devices;

use std::collections::{HashMap, HashSet};

use kontiki_model::Faults;
use serde_json::Value;

use super::{annotations, is_scheduled, restarts, security};
use crate::metadata;
use crate::names::{ip, qualified, report, subdomain};
use crate::tree::{NULL, at, int, keep_all_but_status, list, missing, text};

const NEGATIVE: &str = "must be a non-negative integer";
const NOMINATED: &str = "status.nominatedNodeName";

/// `…/status`: the class of service stays where nothing is said about it.
pub fn prepare(new: &mut Value, old: &Value) {
    keep_all_but_status(new, old);
    if text(new, "/status/qosClass").is_empty() && !missing(old, "/status/qosClass") {
        new["status"]["qosClass"] = at(old, "/status/qosClass").clone();
    }
}

pub fn validate(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    annotations::validate_update(new, old, faults);
    for (index, condition) in list(new, "/status/conditions").iter().enumerate() {
        let (kind, seen) = (text(condition, "/type"), at(condition, "/observedGeneration"));
        if seen.as_i64().is_some_and(|generation| generation < 0) {
            let path = format!("metadata.conditions[{index}].observedGeneration");
            faults.invalid(path, seen.clone(), NEGATIVE);
        }
        if !matches!(kind, "PodScheduled" | "Ready" | "Initialized") {
            // Kubernetes places them below metadata.
            report(qualified(kind), kind, &format!("metadata.conditions[{index}].Type"), faults);
        }
    }
    let nominated = text(new, "/status/nominatedNodeName");
    if !nominated.is_empty() && nominated != text(old, "/status/nominatedNodeName") {
        report(subdomain(nominated), nominated, NOMINATED, faults);
        if is_scheduled(old) {
            faults.forbidden(NOMINATED, "may not be set on pods that are already bound to a node");
        }
    }
    let generation = int(new, "/status/observedGeneration");
    if generation < 0 {
        faults.invalid("status.observedGeneration", generation, NEGATIVE);
    }
    let class = text(new, "/status/qosClass");
    if class != text(old, "/status/qosClass") {
        faults.invalid("status.qosClass", class, "field is immutable");
    }
    let of_pod = text(old, "/spec/restartPolicy");
    for member in ["containerStatuses", "initContainerStatuses"] {
        ended_stays_ended(new, old, member, of_pod, faults);
    }
    ended_stays_ended(new, old, "ephemeralContainerStatuses", "Never", faults);
    claim_statuses(new, faults);
    devices::extended(new, faults);
    addresses(new, "podIPs", faults);
    addresses(new, "hostIPs", faults);
    for member in ["containerStatuses", "initContainerStatuses", "ephemeralContainerStatuses"] {
        users(new, member, faults);
    }
    devices::of_containers(new, faults);
}

/// As whom the containers run.
fn users(pod: &Value, member: &str, faults: &mut Faults) {
    for (index, status) in list(pod, &format!("/status/{member}")).iter().enumerate() {
        let (user, path) = (at(status, "/user/linux"), format!("status.{member}[{index}].user.linux"));
        match text(pod, "/spec/os/name") {
            "windows" if !user.is_null() => faults.forbidden(path, "cannot be set for a windows pod"),
            "" | "linux" => {
                for member in ["uid", "gid"] {
                    security::id(at(user, &format!("/{member}")), &format!("{path}.{member}"), faults);
                }
                for (index, group) in list(user, "/supplementalGroups").iter().enumerate() {
                    security::id(group, &format!("{path}.supplementalGroups[{index}]"), faults);
                }
            }
            _ => {}
        }
    }
}

/// A container that has ended and is not restarted may not run again, unless one of the pod's may have all of them restarted.
fn ended_stays_ended(new: &Value, old: &Value, member: &str, of_pod: &str, faults: &mut Faults) {
    let all = || ["/spec/containers", "/spec/initContainers"].into_iter().flat_map(|pointer| list(old, pointer));
    if of_pod == "Always" || all().any(restarts::may_restart_all) {
        return;
    }
    let containers: HashMap<&str, &Value> = all().map(|container| (text(container, "/name"), container)).collect();
    let pointer = format!("/status/{member}");
    let ended = |status: &Value| at(status, "/state/terminated/exitCode").as_i64();
    let running = list(new, &pointer).iter().filter(|status| ended(status).is_none());
    let running: HashSet<&str> = running.map(|status| text(status, "/name")).collect();
    for (index, before) in list(old, &pointer).iter().enumerate() {
        let name = text(before, "/name");
        let Some(code) = ended(before).filter(|_| running.contains(name)) else { continue };
        if !restarts::happens(containers.get(name).copied().unwrap_or(&NULL), of_pod, code) {
            let path = format!("status.{member}[{index}].state");
            faults.forbidden(path, "may not be transitioned to non-terminated state");
        }
    }
}

/// What became of the claims that the pod names, each once.
fn claim_statuses(pod: &Value, faults: &mut Faults) {
    let named: HashSet<&str> = list(pod, "/spec/resourceClaims").iter().map(|claim| text(claim, "/name")).collect();
    let mut seen = HashSet::new();
    for (index, status) in list(pod, "/status/resourceClaimStatuses").iter().enumerate() {
        let (name, path) = (text(status, "/name"), format!("status.resourceClaimStatuses[{index}].name"));
        if !named.contains(name) {
            faults.invalid(path.as_str(), name, "must match the name of an entry in `spec.resourceClaims`");
        }
        if !seen.insert(name) {
            faults.duplicate(path.as_str(), name);
        }
        if let Some(claim) = at(status, "/resourceClaimName").as_str() {
            report(subdomain(claim), claim, &path, faults);
        }
    }
}

/// Addresses of the pod or its host: valid, and one of each family.
fn addresses(pod: &Value, member: &str, faults: &mut Faults) {
    let all = at(pod, &format!("/status/{member}"));
    let mut families = Vec::new();
    for (index, one) in list(all, "").iter().enumerate() {
        let address = text(one, "/ip");
        report(ip(address), address, &format!("status.{member}[{index}]"), faults);
        families.push(address.contains(':'));
    }
    families.sort_unstable();
    if families.windows(2).any(|pair| pair[0] == pair[1]) {
        let detail = "may specify no more than one IP for each IP family";
        faults.invalid(format!("status.{member}"), all.clone(), detail);
    }
}
