//! Which pod specs are valid (`ValidatePodSpec`): what is not about one container or volume.

use kontiki_model::Faults;
use serde_json::Value;

use super::{containers, resources, volumes};
use crate::names::{self, ip, label, label_value, qualified, report, subdomain};
use crate::selector;
use crate::tree::{at, flag, int, list, missing, text};

/// What a pod spec stands in: a template is completed when pods are made of it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Holder {
    Pod,
    Template,
}

/// Checks the `spec` of `object`, a Pod or a template; `path` is where the spec stands.
pub fn validate(object: &Value, holder: Holder, path: &str, faults: &mut Faults) {
    let spec = at(object, "/spec");
    let scope = containers::Scope { volumes: list(spec, "/volumes"), grace_period: super::grace_period(object) };
    let (regular, init) = (list(spec, "/containers"), list(spec, "/initContainers"));
    volumes::validate(scope.volumes, &format!("{path}.volumes"), faults);
    containers::validate(regular, &scope, &format!("{path}.containers"), faults);
    containers::validate_init(init, regular, &scope, &format!("{path}.initContainers"), faults);
    let others: Vec<&Value> = regular.iter().chain(init).collect();
    let ephemeral = list(spec, "/ephemeralContainers");
    containers::validate_ephemeral(ephemeral, &others, &scope, &format!("{path}.ephemeralContainers"), faults);
    if holder == Holder::Template && !ephemeral.is_empty() {
        faults.forbidden(format!("{path}.ephemeralContainers"), "ephemeral containers not allowed in pod template");
    }
    if holder == Holder::Pod {
        images(spec, path, faults);
    }
    host_network(spec, holder, path, faults);
    policies(spec, path, faults);
    dns(spec, path, faults);
    names_of_others(spec, path, faults);
    security(at(spec, "/securityContext"), &format!("{path}.securityContext"), faults);
    if flag(spec, "/shareProcessNamespace") && flag(spec, "/hostPID") {
        let detail = "ShareProcessNamespace and HostPID cannot both be enabled";
        faults.invalid(format!("{path}.securityContext.shareProcessNamespace"), true, detail);
    }
    match at(spec, "/os/name").as_str() {
        None | Some("linux" | "windows") => {}
        Some("") => faults.required(format!("{path}.os.name"), "cannot be empty"),
        Some(other) => faults.not_supported(format!("{path}.os"), other, &["linux", "windows"]),
    }
    tolerations(list(spec, "/tolerations"), &format!("{path}.tolerations"), faults);
    scheduling(spec, path, faults);
    host_aliases(spec, path, faults);
    if !missing(spec, "/resources") {
        resources::validate(at(spec, "/resources"), &format!("{path}.resources"), faults);
    }
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
    match text(spec, "/schedulerName") {
        "" => {}
        name => report(qualified(name), name, &format!("{path}.schedulerName"), faults),
    }
}

fn security(context: &Value, path: &str, faults: &mut Faults) {
    for member in ["runAsUser", "runAsGroup", "fsGroup"] {
        containers::user_id(context, member, path, faults);
    }
    for (index, group) in list(context, "/supplementalGroups").iter().enumerate() {
        if group.as_i64().is_some_and(|group| !(0..=i64::from(i32::MAX)).contains(&group)) {
            let detail = format!("must be between 0 and {}, inclusive", i32::MAX);
            faults.invalid(format!("{path}.supplementalGroups[{index}]"), group.clone(), detail);
        }
    }
    match text(context, "/fsGroupChangePolicy") {
        "" | "Always" | "OnRootMismatch" => {}
        other => faults.not_supported(format!("{path}.fsGroupChangePolicy"), other, &["Always", "OnRootMismatch"]),
    }
    containers::profile(at(context, "/seccompProfile"), &format!("{path}.seccompProfile"), faults);
    sysctls(context, &format!("{path}.sysctls"), faults);
}

fn sysctls(context: &Value, path: &str, faults: &mut Faults) {
    let legal = |name: &str| {
        let segment = |text: &str| label(&text.replace('_', "-")).is_empty();
        name.len() <= 253 && name.split(['.', '/']).all(segment)
    };
    let mut seen = Vec::new();
    for (index, sysctl) in list(context, "/sysctls").iter().enumerate() {
        let (name, path) = (text(sysctl, "/name"), format!("{path}[{index}].name"));
        if name.is_empty() {
            faults.required(path, "");
        } else if !legal(name) {
            let detail = "must have at most 253 characters and match regex \
                          ^([a-z0-9]([-_a-z0-9]*[a-z0-9])?[\\./])*[a-z0-9]([-_a-z0-9]*[a-z0-9])?$";
            faults.invalid(path, name, detail);
        } else if seen.contains(&name) {
            faults.duplicate(path, name);
        }
        seen.push(name);
    }
}

pub fn tolerations(all: &[Value], path: &str, faults: &mut Faults) {
    for (index, toleration) in all.iter().enumerate() {
        let path = format!("{path}[{index}]");
        let (key, operator) = (text(toleration, "/key"), text(toleration, "/operator"));
        let (value, effect) = (text(toleration, "/value"), text(toleration, "/effect"));
        if !key.is_empty() {
            report(qualified(key), key, &format!("{path}.key"), faults);
        } else if operator != "Exists" {
            let detail = "operator must be Exists when `key` is empty, which means \"match all values and all keys\"";
            faults.invalid(format!("{path}.operator"), operator, detail);
        }
        if !missing(toleration, "/tolerationSeconds") && effect != "NoExecute" {
            let detail = "effect must be 'NoExecute' when `tolerationSeconds` is set";
            faults.invalid(format!("{path}.effect"), effect, detail);
        }
        match operator {
            "" | "Equal" => {
                let wrong = label_value(value);
                if !wrong.is_empty() {
                    faults.invalid(format!("{path}.operator"), value, wrong.join(";"));
                }
            }
            "Exists" if !value.is_empty() => {
                faults.invalid(format!("{path}.operator"), value, "value must be empty when `operator` is 'Exists'");
            }
            "Exists" => {}
            other => faults.not_supported(format!("{path}.operator"), other, &["Equal", "Exists"]),
        }
        match effect {
            "" | "NoSchedule" | "PreferNoSchedule" | "NoExecute" => {}
            other => {
                let supported = ["NoSchedule", "PreferNoSchedule", "NoExecute"];
                faults.not_supported(format!("{path}.effect"), other, &supported);
            }
        }
    }
}

fn scheduling(spec: &Value, path: &str, faults: &mut Faults) {
    names::validate_labels(at(spec, "/nodeSelector"), &format!("{path}.nodeSelector"), faults);
    affinity(at(spec, "/affinity"), &format!("{path}.affinity"), faults);
    let mut seen = Vec::new();
    for (index, gate) in list(spec, "/schedulingGates").iter().enumerate() {
        let name = text(gate, "/name");
        let path = format!("{path}.schedulingGates[{index}]");
        report(qualified(name), name, &path, faults);
        if seen.contains(&name) {
            faults.duplicate(path, name);
        }
        seen.push(name);
    }
    for (index, gate) in list(spec, "/readinessGates").iter().enumerate() {
        let kind = text(gate, "/conditionType");
        report(qualified(kind), kind, &format!("{path}.readinessGates[{index}].conditionType"), faults);
    }
    let mut seen = Vec::new();
    for (index, constraint) in list(spec, "/topologySpreadConstraints").iter().enumerate() {
        let path = format!("{path}.topologySpreadConstraints[{index}]");
        spread(constraint, &path, faults);
        let pair = (text(constraint, "/topologyKey"), text(constraint, "/whenUnsatisfiable"));
        if seen.contains(&pair) {
            let value = format!("{{{}, {}}}", pair.0, pair.1);
            faults.duplicate(format!("{path}.{{topologyKey, whenUnsatisfiable}}"), value);
        }
        seen.push(pair);
    }
}

fn spread(constraint: &Value, path: &str, faults: &mut Faults) {
    let skew = int(constraint, "/maxSkew");
    if skew <= 0 {
        faults.invalid(format!("{path}.maxSkew"), skew, "must be greater than zero");
    }
    if text(constraint, "/topologyKey").is_empty() {
        faults.required(format!("{path}.topologyKey"), "can not be empty");
    }
    match text(constraint, "/whenUnsatisfiable") {
        "DoNotSchedule" | "ScheduleAnyway" => {}
        other => {
            let supported = ["DoNotSchedule", "ScheduleAnyway"];
            faults.not_supported(format!("{path}.whenUnsatisfiable"), other, &supported);
        }
    }
    let domains = at(constraint, "/minDomains");
    if let Some(domains) = domains.as_i64() {
        let path = format!("{path}.minDomains");
        let action = text(constraint, "/whenUnsatisfiable");
        if domains <= 0 {
            faults.invalid(path.as_str(), domains, "must be greater than zero");
        }
        if action != "DoNotSchedule" {
            let detail = format!("can only use minDomains if whenUnsatisfiable=DoNotSchedule, not {action}");
            faults.invalid(path, domains, detail);
        }
    }
    selector::validate(at(constraint, "/labelSelector"), &format!("{path}.labelSelector"), faults);
}

const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

fn affinity(affinity: &Value, path: &str, faults: &mut Faults) {
    let node = at(affinity, "/nodeAffinity");
    let terms = at(node, &format!("/{REQUIRED}"));
    if !terms.is_null() {
        node_selector(terms, &format!("{path}.nodeAffinity.{REQUIRED}"), faults);
    }
    for (index, preferred) in list(node, &format!("/{PREFERRED}")).iter().enumerate() {
        let path = format!("{path}.nodeAffinity.{PREFERRED}[{index}]");
        weight(preferred, &path, faults);
        validate_node_term(at(preferred, "/preference"), &format!("{path}.preference"), faults);
    }
    for kind in ["podAffinity", "podAntiAffinity"] {
        for (index, term) in list(affinity, &format!("/{kind}/{REQUIRED}")).iter().enumerate() {
            pod_term(term, &format!("{path}.{kind}.{REQUIRED}[{index}]"), faults);
        }
        for (index, preferred) in list(affinity, &format!("/{kind}/{PREFERRED}")).iter().enumerate() {
            let path = format!("{path}.{kind}.{PREFERRED}[{index}]");
            weight(preferred, &path, faults);
            pod_term(at(preferred, "/podAffinityTerm"), &format!("{path}.podAffinityTerm"), faults);
        }
    }
}

/// Kubernetes' `ValidateNodeSelector`: which nodes, as alternatives.
pub fn node_selector(selector: &Value, path: &str, faults: &mut Faults) {
    let terms = list(selector, "/nodeSelectorTerms");
    if terms.is_empty() {
        faults.required(format!("{path}.nodeSelectorTerms"), "must have at least one node selector term");
    }
    for (index, term) in terms.iter().enumerate() {
        validate_node_term(term, &format!("{path}.nodeSelectorTerms[{index}]"), faults);
    }
}

fn weight(preferred: &Value, path: &str, faults: &mut Faults) {
    let weight = int(preferred, "/weight");
    if !(1..=100).contains(&weight) {
        faults.invalid(format!("{path}.weight"), weight, "must be in the range 1-100");
    }
}

/// A term of a node selector.
pub fn validate_node_term(term: &Value, path: &str, faults: &mut Faults) {
    for (index, requirement) in list(term, "/matchExpressions").iter().enumerate() {
        let path = format!("{path}.matchExpressions[{index}]");
        let values = list(requirement, "/values");
        match text(requirement, "/operator") {
            "In" | "NotIn" if values.is_empty() => {
                faults.required(format!("{path}.values"), "must be specified when `operator` is 'In' or 'NotIn'");
            }
            "Exists" | "DoesNotExist" if !values.is_empty() => {
                let detail = "may not be specified when `operator` is 'Exists' or 'DoesNotExist'";
                faults.forbidden(format!("{path}.values"), detail);
            }
            "Gt" | "Lt" if values.len() != 1 => {
                faults.required(
                    format!("{path}.values"),
                    "must be specified single value when `operator` is 'Lt' or 'Gt'",
                );
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" | "Gt" | "Lt" => {}
            other => faults.invalid(format!("{path}.operator"), other, "not a valid selector operator"),
        }
        let key = text(requirement, "/key");
        report(qualified(key), key, &format!("{path}.key"), faults);
    }
}

fn pod_term(term: &Value, path: &str, faults: &mut Faults) {
    selector::validate(at(term, "/labelSelector"), &format!("{path}.labelSelector"), faults);
    match text(term, "/topologyKey") {
        "" => faults.required(format!("{path}.topologyKey"), "can not be empty"),
        key => report(qualified(key), key, &format!("{path}.topologyKey"), faults),
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
