//! Which pod specs are valid (`ValidatePodSpec`): what is not about one container or volume.

use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::Value;

use super::{affinity, claims, containers, requirements, security, spread, tolerations, volumes, windows};
use crate::names::{self, ip, label, qualified, report, subdomain};
use crate::tree::{at, flag, int, list, text};

/// What a pod spec stands in: a template is completed when pods are made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Pod,
    Template,
}

/// Checks the `spec` of `object`, a Pod or a template; `path` is where the spec stands.
pub fn validate(object: &Value, holder: Holder, path: &str, faults: &mut Faults) {
    let spec = at(object, "/spec");
    let below = |member: &str| format!("{path}.{member}");
    let scope = containers::Scope::of(object);
    let (regular, init) = (list(spec, "/containers"), list(spec, "/initContainers"));
    volumes::validate(object, holder, &below("volumes"), faults);
    claims::validate(list(spec, "/resourceClaims"), &below("resourceClaims"), faults);
    containers::validate(regular, &scope, &below("containers"), faults);
    containers::validate_init(init, regular, &scope, &below("initContainers"), faults);
    let others: Vec<&Value> = regular.iter().chain(init).collect();
    let ephemeral = list(spec, "/ephemeralContainers");
    containers::validate_ephemeral(ephemeral, &others, &scope, &below("ephemeralContainers"), faults);
    match holder {
        Holder::Pod => images(spec, path, faults),
        Holder::Template if ephemeral.is_empty() => {}
        Holder::Template => {
            faults.forbidden(below("ephemeralContainers"), "ephemeral containers not allowed in pod template");
        }
    }
    requirements::whole_pod(object, path, faults);
    requirements::overhead(at(spec, "/overhead"), &below("overhead"), faults);
    host_network(spec, holder, path, faults);
    policies(spec, path, faults);
    dns(spec, path, faults);
    names_of_others(spec, path, faults);
    hostname_override(spec, path, faults);
    security::pod(spec, path, faults);
    windows::system(spec, path, faults);
    windows::host_processes(spec, path, faults);
    names::validate_labels(at(spec, "/nodeSelector"), &below("nodeSelector"), faults);
    affinity::validate(at(spec, "/affinity"), &below("affinity"), faults);
    gates(spec, path, faults);
    spread::validate(list(spec, "/topologySpreadConstraints"), &below("topologySpreadConstraints"), faults);
    tolerations::validate(list(spec, "/tolerations"), &below("tolerations"), faults);
    host_aliases(spec, path, faults);
}

/// Templates were once allowed images of blanks, which something replaced before pods were made.
fn images(spec: &Value, path: &str, faults: &mut Faults) {
    for member in ["containers", "initContainers", "ephemeralContainers"] {
        for (index, container) in list(spec, &format!("/{member}")).iter().enumerate() {
            let image = text(container, "/image");
            if image.trim() != image {
                let path = format!("{path}.{member}[{index}].image");
                faults.invalid(path, image, "must not have leading or trailing whitespace");
            }
        }
    }
}

/// On the host's network a container port is the host's; a template may leave it open.
fn host_network(spec: &Value, holder: Holder, path: &str, faults: &mut Faults) {
    if !flag(spec, "/hostNetwork") {
        return;
    }
    for member in ["containers", "initContainers"] {
        for (index, container) in list(spec, &format!("/{member}")).iter().enumerate() {
            for (at, port) in list(container, "/ports").iter().enumerate() {
                let host = int(port, "/hostPort");
                if (holder == Holder::Pod || host != 0) && host != int(port, "/containerPort") {
                    let path = format!("{path}.{member}[{index}].ports[{at}].hostPort");
                    faults.invalid(path, host, "must match `containerPort` when `hostNetwork` is true");
                }
            }
        }
    }
}

fn policies(spec: &Value, path: &str, faults: &mut Faults) {
    match text(spec, "/restartPolicy") {
        "Always" | "OnFailure" | "Never" => {}
        "" => faults.required(format!("{path}.restartPolicy"), ""),
        other => faults.not_supported(format!("{path}.restartPolicy"), other, &["Always", "OnFailure", "Never"]),
    }
    if let Some(seconds) = at(spec, "/activeDeadlineSeconds").as_i64()
        && !(1..=i64::from(i32::MAX)).contains(&seconds)
    {
        let detail = format!("must be between 1 and {}, inclusive", i32::MAX);
        faults.invalid(format!("{path}.activeDeadlineSeconds"), seconds, detail);
    }
    match at(spec, "/preemptionPolicy").as_str() {
        None | Some("PreemptLowerPriority" | "Never") => {}
        Some("") => faults.required(format!("{path}.preemptionPolicy"), ""),
        Some(other) => {
            faults.not_supported(format!("{path}.preemptionPolicy"), other, &["PreemptLowerPriority", "Never"]);
        }
    }
}

const NAMESERVERS_MAX: usize = 3;
const SEARCH_PATHS_MAX: usize = 32;
const SEARCH_CHARACTERS_MAX: usize = 2048;

fn dns(spec: &Value, path: &str, faults: &mut Faults) {
    let config = at(spec, "/dnsConfig");
    let policy = text(spec, "/dnsPolicy");
    let place = format!("{path}.dnsConfig");
    let servers = list(config, "/nameservers");
    match policy {
        "ClusterFirst" | "ClusterFirstWithHostNet" | "Default" => {}
        "None" if config.is_null() => {
            faults.required(place.as_str(), "must provide `dnsConfig` when `dnsPolicy` is None");
        }
        "None" if servers.is_empty() => {
            let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
            faults.required(format!("{place}.nameservers"), detail);
        }
        "None" => {}
        "" => faults.required(format!("{path}.dnsPolicy"), ""),
        other => {
            let supported = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
            faults.not_supported(format!("{path}.dnsPolicy"), other, &supported);
        }
    }
    if servers.len() > NAMESERVERS_MAX {
        let detail = format!("must not have more than {NAMESERVERS_MAX} nameservers");
        faults.invalid(format!("{place}.nameservers"), servers.to_vec(), detail);
    }
    for (index, server) in servers.iter().filter_map(Value::as_str).enumerate() {
        report(ip(server), server, &format!("{place}.nameservers[{index}]"), faults);
    }
    searches(config, &format!("{place}.searches"), faults);
    for (index, option) in list(config, "/options").iter().enumerate() {
        if text(option, "/name").is_empty() {
            faults.required(format!("{place}.options[{index}]"), "must not be empty");
        }
    }
}

fn searches(config: &Value, path: &str, faults: &mut Faults) {
    let all: Vec<&str> = list(config, "/searches").iter().filter_map(Value::as_str).collect();
    if all.len() > SEARCH_PATHS_MAX {
        let detail = format!("must not have more than {SEARCH_PATHS_MAX} search paths");
        faults.invalid(path, all.clone(), detail);
    }
    if all.join(" ").len() > SEARCH_CHARACTERS_MAX {
        let detail =
            format!("must not have more than {SEARCH_CHARACTERS_MAX} characters (including spaces) in the search list");
        faults.invalid(path, all.clone(), detail);
    }
    for (index, search) in all.into_iter().enumerate().filter(|(_, search)| *search != ".") {
        let bare = search.strip_suffix('.').unwrap_or(search);
        // Underscores occur in search domains; nothing else about the rule differs.
        report(subdomain(&bare.replace('_', "a")), bare, &format!("{path}[{index}]"), faults);
    }
}

/// Names of other objects, and the names the pod gives itself.
fn names_of_others(spec: &Value, path: &str, faults: &mut Faults) {
    for member in ["serviceAccountName", "nodeName", "priorityClassName", "runtimeClassName"] {
        let name = text(spec, &format!("/{member}"));
        if !name.is_empty() {
            report(subdomain(name), name, &format!("{path}.{member}"), faults);
        }
    }
    for member in ["hostname", "subdomain"] {
        let name = text(spec, &format!("/{member}"));
        if !name.is_empty() {
            report(label(name), name, &format!("{path}.{member}"), faults);
        }
    }
}

/// The name that the pod's host calls it by, whatever others find it under.
fn hostname_override(spec: &Value, path: &str, faults: &mut Faults) {
    const LENGTH_MAX: usize = 64;
    let (name, place) = (text(spec, "/hostnameOverride"), format!("{path}.hostnameOverride"));
    if name.is_empty() {
        return;
    }
    if name.len() > LENGTH_MAX {
        faults.too_long(place.as_str(), LENGTH_MAX);
    }
    report(subdomain(name), name, &place, faults);
    for other in ["hostNetwork", "setHostnameAsFQDN"] {
        if flag(spec, &format!("/{other}")) {
            faults.forbidden(place.as_str(), format!("may not be specified when `{other}` is true"));
        }
    }
}

fn gates(spec: &Value, path: &str, faults: &mut Faults) {
    let mut seen = HashSet::new();
    for (index, gate) in list(spec, "/schedulingGates").iter().enumerate() {
        let name = text(gate, "/name");
        let path = format!("{path}.schedulingGates[{index}]");
        report(qualified(name), name, &path, faults);
        if !seen.insert(name) {
            faults.duplicate(path, name);
        }
    }
    for (index, gate) in list(spec, "/readinessGates").iter().enumerate() {
        let kind = text(gate, "/conditionType");
        report(qualified(kind), kind, &format!("{path}.readinessGates[{index}].conditionType"), faults);
    }
}

fn host_aliases(spec: &Value, path: &str, faults: &mut Faults) {
    for (index, alias) in list(spec, "/hostAliases").iter().enumerate() {
        let path = format!("{path}.hostAliases[{index}]");
        let address = text(alias, "/ip");
        report(ip(address), address, &format!("{path}.ip"), faults);
        for (at, name) in list(alias, "/hostnames").iter().filter_map(Value::as_str).enumerate() {
            report(subdomain(name), name, &format!("{path}.hostnames[{at}]"), faults);
        }
    }
}
