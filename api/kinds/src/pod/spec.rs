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
    host_network(spec, holder, path, faults);
    policies(spec, path, faults);
    names_of_others(spec, path, faults);
    security(at(spec, "/securityContext"), &format!("{path}.securityContext"), faults);
    tolerations(list(spec, "/tolerations"), &format!("{path}.tolerations"), faults);
    scheduling(spec, path, faults);
    host_aliases(spec, path, faults);
    if !missing(spec, "/resources") {
        resources::validate(at(spec, "/resources"), &format!("{path}.resources"), faults);
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
    match text(spec, "/dnsPolicy") {
        "ClusterFirst" | "ClusterFirstWithHostNet" | "Default" => {}
        "None" => {
            if list(spec, "/dnsConfig/nameservers").is_empty() {
                let detail = "must provide at least one DNS nameserver when `dnsPolicy` is None";
                faults.required(format!("{path}.dnsConfig.nameservers"), detail);
            }
        }
        "" => faults.required(format!("{path}.dnsPolicy"), ""),
        other => {
            let supported = ["ClusterFirstWithHostNet", "ClusterFirst", "Default", "None"];
            faults.not_supported(format!("{path}.dnsPolicy"), other, &supported);
        }
    }
    for (index, server) in list(spec, "/dnsConfig/nameservers").iter().filter_map(Value::as_str).enumerate() {
        report(ip(server), server, &format!("{path}.dnsConfig.nameservers[{index}]"), faults);
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
}

fn tolerations(all: &[Value], path: &str, faults: &mut Faults) {
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
            "" | "Equal" => report(label_value(value), value, &format!("{path}.operator"), faults),
            "Exists" if !value.is_empty() => {
                faults.invalid(
                    format!("{path}.operator"),
                    toleration.clone(),
                    "value must be empty when `operator` is 'Exists'",
                );
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
        let path = format!("{path}.schedulingGates[{index}].name");
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
    selector::validate(at(constraint, "/labelSelector"), &format!("{path}.labelSelector"), faults);
}

const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";
const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";

fn affinity(affinity: &Value, path: &str, faults: &mut Faults) {
    let node = at(affinity, "/nodeAffinity");
    let terms = at(node, &format!("/{REQUIRED}"));
    if !terms.is_null() {
        let path = format!("{path}.nodeAffinity.{REQUIRED}.nodeSelectorTerms");
        let terms = list(terms, "/nodeSelectorTerms");
        if terms.is_empty() {
            faults.required(path.as_str(), "must have at least one node selector term");
        }
        for (index, term) in terms.iter().enumerate() {
            node_term(term, &format!("{path}[{index}]"), faults);
        }
    }
    for (index, preferred) in list(node, &format!("/{PREFERRED}")).iter().enumerate() {
        let path = format!("{path}.nodeAffinity.{PREFERRED}[{index}]");
        weight(preferred, &path, faults);
        node_term(at(preferred, "/preference"), &format!("{path}.preference"), faults);
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

fn weight(preferred: &Value, path: &str, faults: &mut Faults) {
    let weight = int(preferred, "/weight");
    if !(1..=100).contains(&weight) {
        faults.invalid(format!("{path}.weight"), weight, "must be in the range 1-100");
    }
}

fn node_term(term: &Value, path: &str, faults: &mut Faults) {
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
