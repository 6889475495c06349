//! What a Pod's status tells of the devices that its containers got.

use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::Value;

use crate::names::{label, report, subdomain};
use crate::tree::{at, list, members, text};

/// The claim that was made of extended resources which containers ask for, and which of its requests is whose.
pub fn extended(pod: &Value, faults: &mut Faults) {
    const PATH: &str = "status.extendedResourceClaimStatus";
    let status = at(pod, "/status/extendedResourceClaimStatus");
    if status.is_null() {
        return;
    }
    let mappings = list(status, "/requestMappings");
    if mappings.is_empty() {
        faults.required(format!("{PATH}.requestMappings"), "at least one request mapping is required");
    }
    let mut seen = HashSet::new();
    for (index, mapping) in mappings.iter().enumerate() {
        let path = format!("{PATH}.requestMappings[{index}]");
        let [container, resource, request] =
            ["containerName", "resourceName", "requestName"].map(|member| text(mapping, &format!("/{member}")));
        match ["containers", "initContainers"].into_iter().find_map(|member| named(pod, member, container)) {
            None => {
                let detail = "must match the name of an entry in spec.initContainers.name or spec.containers.name";
                faults.invalid(format!("{path}.containerName"), container, detail);
            }
            Some(container) if !asks_for(container, resource) => {
                let detail = "must match the extended resource name of an entry in spec.initContainers.resources.requests or \
                              spec.containers.resources.requests";
                faults.invalid(format!("{path}.resourceName"), resource, detail);
            }
            Some(_) => {}
        }
        report(label(request), request, &format!("{PATH}.requestName"), faults);
        if !seen.insert((container, resource, request)) {
            faults.duplicate(format!("{path}.containerName"), container);
            faults.duplicate(format!("{path}.resourceName"), resource);
            faults.duplicate(format!("{path}.requestName"), request);
        }
    }
    match text(status, "/resourceClaimName") {
        "" => faults.required(format!("{PATH}.resourceClaimName"), ""),
        claim => report(subdomain(claim), claim, &format!("{PATH}.resourceClaimName"), faults),
    }
}

/// How the devices of each container are. Ephemeral ones can have none.
pub fn of_containers(pod: &Value, faults: &mut Faults) {
    for (statuses, containers) in [("containerStatuses", "containers"), ("initContainerStatuses", "initContainers")] {
        for (index, status) in list(pod, &format!("/status/{statuses}")).iter().enumerate() {
            let container = named(pod, containers, text(status, "/name"));
            for (place, resource) in list(status, "/allocatedResourcesStatus").iter().enumerate() {
                let path = format!("status.{statuses}[{index}].allocatedResourcesStatus[{place}]");
                if let Some(container) = container {
                    asked_for(container, text(resource, "/name"), &format!("{path}.name"), faults);
                }
                health(list(resource, "/resources"), &format!("{path}.resources"), faults);
            }
        }
    }
    for (index, status) in list(pod, "/status/ephemeralContainerStatuses").iter().enumerate() {
        if !list(status, "/allocatedResourcesStatus").is_empty() {
            let path = format!("status.ephemeralContainerStatuses[{index}].allocatedResourcesStatus");
            faults.forbidden(path, "must not be specified in container status");
        }
    }
}

fn named<'a>(pod: &'a Value, member: &str, name: &str) -> Option<&'a Value> {
    list(pod, &format!("/spec/{member}")).iter().find(|container| text(container, "/name") == name)
}

fn asks_for(container: &Value, resource: &str) -> bool {
    members(container, "/resources/requests").any(|(name, _)| name == resource)
}

/// A resource, or a claim with the request of it.
fn asked_for(container: &Value, name: &str, path: &str, faults: &mut Faults) {
    let (known, detail) = match name.strip_prefix("claim:") {
        Some(claimed) => {
            let is_it = |claim: &Value| match (text(claim, "/name"), text(claim, "/request")) {
                (name, "") => claimed == name,
                (name, request) => claimed.strip_prefix(name).and_then(|rest| rest.strip_prefix('/')) == Some(request),
            };
            let detail = "must match one of the container's resource claims in a format 'claim:<claimName>/<request>' or \
                          'claim:<claimName>' if request is empty";
            (list(container, "/resources/claims").iter().any(is_it), detail)
        }
        None => (asks_for(container, name), "must match one of the container's resource requests"),
    };
    if !known {
        faults.invalid(path, name, detail);
    }
}

fn health(devices: &[Value], path: &str, faults: &mut Faults) {
    const KNOWN: [&str; 3] = ["Healthy", "Unhealthy", "Unknown"];
    let mut seen = HashSet::new();
    for (index, device) in devices.iter().enumerate() {
        let (health, id) = (text(device, "/health"), text(device, "/resourceID"));
        if !KNOWN.contains(&health) {
            faults.not_supported(format!("{path}[{index}].health"), health, &KNOWN);
        }
        if !seen.insert(id) {
            faults.duplicate(format!("{path}[{index}].resourceID"), id);
        }
    }
}
