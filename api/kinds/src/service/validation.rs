//! Which Services are valid (`ValidateService`), and what to warn about.

use std::collections::HashSet;

use kontiki_model::Faults;
use kontiki_schema::ids;
use serde_json::{Value, json};

use super::{is_external, is_headless, needs_address, needs_health_check_port};
use crate::names::{
    self, cidr, cidr_warning, ip, ip_warning, label, port_name, port_number, qualified, report, subdomain,
};
use crate::tree::{at, int, list, missing, text, texts};
use crate::{endpoints, fields, metadata};

const AFFINITY_SECONDS_MAX: i64 = 86_400;
/// Addresses that a balancer lets in, as they were said before there was a field.
const SOURCE_RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
const TOPOLOGY_MODE: &str = "service.kubernetes.io/topology-mode";
const TOPOLOGY_HINTS: &str = "service.kubernetes.io/topology-aware-hints";
/// Clouds that open too much for a balancer would let everybody talk to the nodes' agents.
const KUBELET_PORT: i64 = 10250;

pub fn validate(service: &Value, faults: &mut Faults) {
    let annotation = |key: &str| at(service, "/metadata/annotations").get(key).and_then(Value::as_str);
    if let (Some(mode), Some(hints)) = (annotation(TOPOLOGY_MODE), annotation(TOPOLOGY_HINTS))
        && mode != hints
    {
        let detail = format!("must match annotations[{TOPOLOGY_HINTS}] when both are specified");
        faults.invalid(format!("metadata.annotations[{TOPOLOGY_MODE}]"), mode, detail);
    }
    let ports = list(service, "/spec/ports");
    if ports.is_empty() && !is_headless(service) && text(service, "/spec/type") != "ExternalName" {
        faults.required("spec.ports", "");
    }
    validate_type(service, faults);
    let mut names = HashSet::new();
    for (index, port) in ports.iter().enumerate() {
        validate_port(port, ports.len() > 1, &mut names, &format!("spec.ports[{index}]"), faults);
    }
    names::validate_labels(at(service, "/spec/selector"), "spec.selector", faults);
    validate_affinity(service, faults);
    validate_addresses(service, faults);
    validate_duplicates(service, faults);
    validate_balancer(service, faults);
    validate_policies(service, faults);
}

fn validate_type(service: &Value, faults: &mut Faults) {
    let kind = text(service, "/spec/type");
    match kind {
        "NodePort" | "LoadBalancer" => {
            let kubelet = |port: &Value| kind == "LoadBalancer" && int(port, "/port") == KUBELET_PORT;
            for (index, _) in list(service, "/spec/ports").iter().enumerate().filter(|(_, port)| kubelet(port)) {
                let detail = "may not expose port 10250 externally since it is used by kubelet";
                faults.invalid(format!("spec.ports[{index}]"), KUBELET_PORT, detail);
            }
            if is_headless(service) {
                faults.invalid("spec.clusterIPs[0]", "None", format!("may not be set to 'None' for {kind} services"));
            }
        }
        "ExternalName" => {
            for member in ["clusterIPs", "ipFamilies", "ipFamilyPolicy"] {
                if !missing(service, &format!("/spec/{member}")) {
                    faults.forbidden(format!("spec.{member}"), "may not be set for ExternalName services");
                }
            }
            let name = text(service, "/spec/externalName");
            match name.strip_suffix('.').unwrap_or(name) {
                "" => faults.required("spec.externalName", ""),
                name => report(subdomain(name), name, "spec.externalName", faults),
            }
        }
        "ClusterIP" => {
            for (index, port) in list(service, "/spec/ports").iter().enumerate() {
                if int(port, "/nodePort") != 0 {
                    let path = format!("spec.ports[{index}].nodePort");
                    faults.forbidden(path, "may not be used when `type` is 'ClusterIP'");
                }
            }
        }
        "" => faults.required("spec.type", ""),
        other => {
            faults.not_supported("spec.type", other, &["ClusterIP", "ExternalName", "LoadBalancer", "NodePort"]);
        }
    }
}

fn validate_port<'a>(
    port: &'a Value,
    name_required: bool,
    seen: &mut HashSet<&'a str>,
    path: &str,
    faults: &mut Faults,
) {
    let name = text(port, "/name");
    if name.is_empty() {
        if name_required {
            faults.required(format!("{path}.name"), "");
        }
    } else {
        report(label(name), name, &format!("{path}.name"), faults);
        if !seen.insert(name) {
            faults.duplicate(format!("{path}.name"), name);
        }
    }
    let number = int(port, "/port");
    for fault in port_number(number) {
        faults.invalid(format!("{path}.port"), number, fault);
    }
    match text(port, "/protocol") {
        "" => faults.required(format!("{path}.protocol"), ""),
        other => fields::known(other, (ids::CORE_V1_SERVICEPORT, "protocol"), format!("{path}.protocol"), faults),
    }
    validate_port_reference(at(port, "/targetPort"), &format!("{path}.targetPort"), faults);
    let protocol = text(port, "/appProtocol");
    if !protocol.is_empty() {
        report(qualified(protocol), protocol, &format!("{path}.appProtocol"), faults);
    }
}

/// A port by number or by the name it has in the pod.
pub fn validate_port_reference(target: &Value, path: &str, faults: &mut Faults) {
    match (target.as_i64(), target.as_str()) {
        (Some(number), _) => {
            for fault in port_number(number) {
                faults.invalid(path, number, fault);
            }
        }
        (None, Some(name)) => report(port_name(name), name, path, faults),
        (None, None) => {}
    }
}

fn validate_affinity(service: &Value, faults: &mut Faults) {
    match text(service, "/spec/sessionAffinity") {
        "" => faults.required("spec.sessionAffinity", ""),
        "None" => {
            if !missing(service, "/spec/sessionAffinityConfig") {
                faults.forbidden("spec.sessionAffinityConfig", "must not be set when session affinity is None");
            }
        }
        "ClientIP" => {
            let path = "spec.sessionAffinityConfig.clientIP.timeoutSeconds";
            let seconds = int(service, "/spec/sessionAffinityConfig/clientIP/timeoutSeconds");
            if seconds <= 0 || seconds > AFFINITY_SECONDS_MAX {
                faults.invalid(path, seconds, format!("must be greater than 0 and less than {AFFINITY_SECONDS_MAX}"));
            }
        }
        other => faults.not_supported("spec.sessionAffinity", other, &["ClientIP", "None"]),
    }
}

/// Cluster and external addresses, and the families they are of: this is a single-stack IPv4 cluster.
fn validate_addresses(service: &Value, faults: &mut Faults) {
    let all = list(service, "/spec/clusterIPs");
    if needs_address(service) {
        let first = all.first().and_then(Value::as_str).unwrap_or_default();
        if !all.is_empty() && text(service, "/spec/clusterIP") != first {
            faults.invalid(
                "spec.clusterIPs",
                at(service, "/spec/clusterIPs").clone(),
                "first value must match `clusterIP`",
            );
        }
        if first == "None" && all.len() > 1 {
            let detail = "'None' must be the first and only value";
            faults.invalid("spec.clusterIPs", at(service, "/spec/clusterIPs").clone(), detail);
        }
        for (index, address) in all.iter().filter_map(Value::as_str).enumerate() {
            if index > 0 || address != "None" {
                report(ip(address), address, &format!("spec.clusterIPs[{index}]"), faults);
            }
        }
        if all.len() > 2 {
            let detail = "may only hold up to 2 values";
            faults.invalid("spec.clusterIPs", at(service, "/spec/clusterIPs").clone(), detail);
        }
        validate_families(service, faults);
    }
    for (index, address) in list(service, "/spec/externalIPs").iter().filter_map(Value::as_str).enumerate() {
        let path = format!("spec.externalIPs[{index}]");
        let wrong = ip(address);
        if wrong.is_empty() {
            endpoints::validate_usable_ip(address, &path, faults);
        }
        report(wrong, address, &path, faults);
    }
}

fn validate_families(service: &Value, faults: &mut Faults) {
    let mut seen = HashSet::new();
    let headless = is_headless(service);
    let any = headless && at(service, "/spec/selector").as_object().is_none_or(serde_json::Map::is_empty);
    for (index, family) in list(service, "/spec/ipFamilies").iter().filter_map(Value::as_str).enumerate() {
        let path = format!("spec.ipFamilies[{index}]");
        match family {
            "IPv4" => {}
            "IPv6" if any => {}
            "IPv6" => faults.invalid(path.as_str(), family, "not configured on this cluster"),
            other => faults.not_supported(path.as_str(), other, &["IPv4", "IPv6"]),
        }
        if !seen.insert(family) {
            faults.duplicate(path, family);
        }
    }
    match text(service, "/spec/ipFamilyPolicy") {
        "" | "SingleStack" | "PreferDualStack" => {}
        "RequireDualStack" if any => {}
        "RequireDualStack" => {
            let detail = "this cluster is not configured for dual-stack services";
            faults.invalid("spec.ipFamilyPolicy", "RequireDualStack", detail);
        }
        other => {
            let supported = ["PreferDualStack", "RequireDualStack", "SingleStack"];
            faults.not_supported("spec.ipFamilyPolicy", other, &supported);
        }
    }
}

/// No two ports with the same protocol and number, inside or on the nodes.
fn validate_duplicates(service: &Value, faults: &mut Faults) {
    let (mut nodes, mut numbers) = (HashSet::new(), HashSet::new());
    for (index, port) in list(service, "/spec/ports").iter().enumerate() {
        let (protocol, number, node) = (text(port, "/protocol"), int(port, "/port"), int(port, "/nodePort"));
        if node != 0 && !nodes.insert((protocol, node)) {
            faults.duplicate(format!("spec.ports[{index}].nodePort"), node);
        }
        if !numbers.insert((protocol, number)) {
            let value = json!({"Name": "", "Protocol": protocol, "AppProtocol": null, "Port": number, "TargetPort": 0, "NodePort": 0});
            faults.duplicate(format!("spec.ports[{index}]"), value);
        }
    }
}

fn validate_balancer(service: &Value, faults: &mut Faults) {
    const ONLY: &str = "may only be used when `type` is 'LoadBalancer'";
    let balanced = text(service, "/spec/type") == "LoadBalancer";
    let annotation = at(service, "/metadata/annotations").get(SOURCE_RANGES).and_then(Value::as_str);
    if !list(service, "/spec/loadBalancerSourceRanges").is_empty() {
        if !balanced {
            faults.forbidden("spec.LoadBalancerSourceRanges", ONLY);
        }
        for (index, range) in texts(service, "/spec/loadBalancerSourceRanges").map(str::trim).enumerate() {
            report(cidr(range), range, &format!("spec.LoadBalancerSourceRanges[{index}]"), faults);
        }
    } else if let Some(ranges) = annotation.map(str::trim) {
        let path = format!("metadata.annotations[{SOURCE_RANGES}]");
        if !balanced {
            faults.forbidden(path.as_str(), ONLY);
        }
        for range in ranges.split(',').map(str::trim).filter(|_| !ranges.is_empty()) {
            report(cidr(range), range, &path, faults);
        }
    }
    if balanced && missing(service, "/spec/allocateLoadBalancerNodePorts") {
        faults.required("allocateLoadBalancerNodePorts", "");
    }
    if !balanced && !missing(service, "/spec/allocateLoadBalancerNodePorts") {
        faults.forbidden("spec.allocateLoadBalancerNodePorts", ONLY);
    }
    let class = at(service, "/spec/loadBalancerClass");
    match class.as_str() {
        Some(_) if !balanced => faults.forbidden("spec.loadBalancerClass", ONLY),
        Some(class) => report(qualified(class), class, "spec.loadBalancerClass", faults),
        None => {}
    }
}

fn validate_policies(service: &Value, faults: &mut Faults) {
    let external = text(service, "/spec/externalTrafficPolicy");
    match (is_external(service), external) {
        (false, "") | (true, "Cluster" | "Local") => {}
        (false, other) => {
            faults.invalid("spec.externalTrafficPolicy", other, "may only be set for externally-accessible services");
        }
        (true, "") => faults.required("spec.externalTrafficPolicy", ""),
        (true, other) => faults.not_supported("spec.externalTrafficPolicy", other, &["Cluster", "Local"]),
    }
    let health = int(service, "/spec/healthCheckNodePort");
    if health != 0 && needs_health_check_port(service) {
        for fault in port_number(health) {
            faults.invalid("spec.healthCheckNodePort", health, fault);
        }
    } else if health != 0 {
        let detail = "may only be set when `type` is 'LoadBalancer' and `externalTrafficPolicy` is 'Local'";
        faults.invalid("spec.healthCheckNodePort", health, detail);
    }
    let internal = text(service, "/spec/internalTrafficPolicy");
    match internal {
        "Cluster" | "Local" => {}
        "" if needs_address(service) => faults.required("spec.internalTrafficPolicy", ""),
        "" => {}
        other => faults.not_supported("spec.internalTrafficPolicy", other, &["Cluster", "Local"]),
    }
    match at(service, "/spec/trafficDistribution").as_str() {
        None | Some("PreferClose" | "PreferSameNode" | "PreferSameZone") => {}
        Some(other) => {
            let supported = ["PreferClose", "PreferSameNode", "PreferSameZone"];
            faults.not_supported("spec.trafficDistribution", other, &supported);
        }
    }
}

pub fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    let ingresses = list(new, "/status/loadBalancer/ingress");
    if !ingresses.is_empty() && text(new, "/spec/type") != "LoadBalancer" {
        faults.forbidden("status.loadBalancer.ingress", "may only be used when `spec.type` is 'LoadBalancer'");
        return;
    }
    for (index, ingress) in ingresses.iter().enumerate() {
        let path = format!("status.loadBalancer.ingress[{index}]");
        let (address, host) = (text(ingress, "/ip"), text(ingress, "/hostname"));
        if !address.is_empty() {
            report(ip(address), address, &format!("{path}.ip"), faults);
        }
        match (address.is_empty(), text(ingress, "/ipMode")) {
            (_, "") | (false, "VIP" | "Proxy") => {}
            (true, _) => faults.forbidden(format!("{path}.ipMode"), "may not be specified when `ip` is not set"),
            (false, other) => faults.not_supported(format!("{path}.ipMode"), other, &["Proxy", "VIP"]),
        }
        if !host.is_empty() {
            report(subdomain(host), host, &format!("{path}.hostname"), faults);
            if ip(host).is_empty() {
                faults.invalid(format!("{path}.hostname"), host, "must be a DNS name, not an IP address");
            }
        }
    }
}

pub fn warnings(service: &Value) -> Vec<String> {
    let mut out = Vec::new();
    if at(service, "/metadata/annotations").get(TOPOLOGY_HINTS).is_some() {
        out.push(format!("annotation {TOPOLOGY_HINTS} is deprecated, please use {TOPOLOGY_MODE} instead"));
    }
    out.extend(warnings_about_spellings(service));
    out.extend(warnings_about_type(service));
    out
}

/// Addresses and ranges that have another spelling than the one by which they are compared.
fn warnings_about_spellings(service: &Value) -> Vec<String> {
    let each = |member: &str, warning: fn(&str) -> Option<String>| -> Vec<String> {
        let pointer = format!("/spec/{member}");
        let all = texts(service, &pointer).enumerate();
        all.filter_map(|(index, value)| Some(format!("spec.{member}[{index}]: {}", warning(value)?))).collect()
    };
    let mut out = each("clusterIPs", ip_warning);
    out.extend(each("externalIPs", ip_warning));
    out.extend(ip_warning(text(service, "/spec/loadBalancerIP")).map(|why| format!("spec.loadBalancerIP: {why}")));
    out.extend(each("loadBalancerSourceRanges", cidr_warning));
    out
}

fn warnings_about_type(service: &Value) -> Vec<String> {
    let kind = text(service, "/spec/type");
    let headless = kind == "ClusterIP" && text(service, "/spec/clusterIP") == "None";
    let external = !list(service, "/spec/externalIPs").is_empty();
    let named = kind == "ExternalName";
    let close = text(service, "/spec/trafficDistribution") == "PreferClose";
    let all = [
        (headless && !missing(service, "/spec/loadBalancerIP"), "spec.loadBalancerIP is ignored for headless services"),
        (headless && external, "spec.externalIPs is ignored for headless services"),
        (
            headless && text(service, "/spec/sessionAffinity") != "None",
            "spec.SessionAffinity is ignored for headless services",
        ),
        (
            external && !headless && !named,
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
        ),
        (external && named, "spec.externalIPs is ignored when spec.type is \"ExternalName\""),
        (
            !named && !text(service, "/spec/externalName").is_empty(),
            "spec.externalName is ignored when spec.type is not \"ExternalName\"",
        ),
        (close, "spec.trafficDistribution: \"PreferClose\" is deprecated; use \"PreferSameZone\""),
    ];
    all.into_iter().filter(|(applies, _)| *applies).map(|(_, warning)| warning.to_owned()).collect()
}
