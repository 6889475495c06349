//! What happens to a Service's addresses and ports when it changes: allocated values that the client left out are kept, and
//! what the new type has no use for is dropped, unless the client has just set it.

use kontiki_model::Faults;
use serde_json::{Value, json};

use super::{is_external, is_headless, needs_address, needs_health_check_port, needs_node_ports};
use crate::metadata;
use crate::tree::{at, int, keep, list, list_mut, missing, object, remove, text};

/// `PrepareForUpdate`.
pub fn prepare(new: &mut Value, old: &Value) {
    keep(new, old, "status");
    object(new, "spec");
    follow_changed_address(new, old);
    normalize_addresses(new);
    keep_allocated(new, old);
    share_node_ports(new);
    drop_useless(new, old);
    if needs_address(new) {
        for member in ["ipFamilies", "ipFamilyPolicy"] {
            if missing(&new["spec"], &format!("/{member}")) && !missing(&old["spec"], &format!("/{member}")) {
                new["spec"][member] = old["spec"][member].clone();
            }
        }
    }
    fill_families(new);
}

/// The client changed or cleared `clusterIP` and left `clusterIPs`, which follows.
fn follow_changed_address(new: &mut Value, old: &Value) {
    let (wanted, had) = (text(new, "/spec/clusterIP").to_owned(), text(old, "/spec/clusterIP"));
    let same_list = list(new, "/spec/clusterIPs") == list(old, "/spec/clusterIPs");
    if wanted != had && same_list {
        remove(&mut new["spec"], "clusterIPs");
    }
}

/// `clusterIPs` starts with `clusterIP`.
pub fn normalize_addresses(service: &mut Value) {
    let first = text(service, "/spec/clusterIP").to_owned();
    if first.is_empty() && list(service, "/spec/clusterIPs").is_empty() {
        for member in ["clusterIP", "clusterIPs"] {
            remove(object(service, "spec"), member);
        }
    } else if list(service, "/spec/clusterIPs").is_empty() {
        object(service, "spec")["clusterIPs"] = json!([first]);
    }
}

fn keep_allocated(new: &mut Value, old: &Value) {
    if needs_address(new) && needs_address(old) {
        let spec = &mut new["spec"];
        if text(spec, "/clusterIP").is_empty() && !missing(old, "/spec/clusterIP") {
            spec["clusterIP"] = at(old, "/spec/clusterIP").clone();
        }
        if list(spec, "/clusterIPs").is_empty() && text(spec, "/clusterIP") == text(old, "/spec/clusterIP") {
            keep(spec, &old["spec"], "clusterIPs");
        }
    }
    if needs_node_ports(new) && needs_node_ports(old) {
        keep_node_ports(new, old);
    }
    if needs_health_check_port(new) && needs_health_check_port(old) && int(new, "/spec/healthCheckNodePort") == 0 {
        keep(&mut new["spec"], &old["spec"], "healthCheckNodePort");
    }
}

/// Ports keep their node port by name, unless the client has given it to another one.
fn keep_node_ports(new: &mut Value, old: &Value) {
    let ports = |service: &Value| -> Vec<(String, i64)> {
        list(service, "/spec/ports").iter().map(|one| (text(one, "/name").to_owned(), int(one, "/nodePort"))).collect()
    };
    let had = ports(old);
    let mut used: Vec<i64> = ports(new).iter().map(|(_, port)| *port).filter(|port| *port != 0).collect();
    for port in list_mut(new, "/spec/ports").iter_mut().filter(|port| int(port, "/nodePort") == 0) {
        let before = had.iter().find(|(name, _)| name == text(port, "/name")).map_or(0, |(_, port)| *port);
        if before != 0 && !used.contains(&before) {
            port["nodePort"] = before.into();
            used.push(before);
        }
    }
}

/// A port takes the node port that was asked for the same number with another protocol.
pub fn share_node_ports(service: &mut Value) {
    if !needs_node_ports(service) {
        return;
    }
    let asked: Vec<(i64, i64)> =
        list(service, "/spec/ports").iter().map(|one| (int(one, "/port"), int(one, "/nodePort"))).collect();
    for port in list_mut(service, "/spec/ports").iter_mut().filter(|port| int(port, "/nodePort") == 0) {
        let number = int(port, "/port");
        if let Some((_, node)) = asked.iter().find(|(other, node)| *other == number && *node != 0) {
            port["nodePort"] = (*node).into();
        }
    }
}

/// Drops what the old type needed, the new one does not, and the client did not change; and where a balancer was.
fn drop_useless(new: &mut Value, old: &Value) {
    let mut drop = Vec::new();
    let mut unless_changed = |needed: bool, members: &[&'static str]| {
        if needed {
            drop.extend_from_slice(members);
        }
    };
    let balanced = |service: &Value| text(service, "/spec/type") == "LoadBalancer";
    unless_changed(
        needs_address(old) && !needs_address(new),
        &["clusterIP", "clusterIPs", "ipFamilies", "ipFamilyPolicy", "internalTrafficPolicy"],
    );
    unless_changed(needs_health_check_port(old) && !needs_health_check_port(new), &["healthCheckNodePort"]);
    unless_changed(balanced(old) && !balanced(new), &["allocateLoadBalancerNodePorts", "loadBalancerClass"]);
    unless_changed(is_external(old) && !is_external(new), &["externalTrafficPolicy"]);
    for member in drop {
        let pointer = format!("/spec/{member}");
        if at(new, &pointer) == at(old, &pointer) {
            remove(&mut new["spec"], member);
        }
    }
    let has_type = |service: &Value| matches!(text(service, "/spec/type"), "NodePort" | "LoadBalancer");
    if has_type(old) && !has_type(new) && asks_no_other_node_port(new, old) {
        for port in list_mut(new, "/spec/ports") {
            remove(port, "nodePort");
        }
    }
    if !balanced(new) {
        object(new, "status")["loadBalancer"] = json!({});
    }
}

/// `sameNodePorts`: ports may come and go meanwhile, and need not say again what they had.
fn asks_no_other_node_port(new: &Value, old: &Value) -> bool {
    let asked = |service| list(service, "/spec/ports").iter().map(|port: &Value| int(port, "/nodePort"));
    asked(new).filter(|port| *port != 0).all(|port| asked(old).any(|had| had == port))
}

/// Families of a single-stack IPv4 cluster. A headless Service without selector may be of any family, whoever made it.
pub fn fill_families(service: &mut Value) {
    if !needs_address(service) {
        return;
    }
    let any = is_headless(service) && at(service, "/spec/selector").as_object().is_none_or(serde_json::Map::is_empty);
    let spec = object(service, "spec");
    let no_families = list(spec, "/ipFamilies").is_empty();
    if missing(spec, "/ipFamilyPolicy") {
        let both = any && (no_families || list(spec, "/ipFamilies").len() == 2);
        spec["ipFamilyPolicy"] = if both { "RequireDualStack" } else { "SingleStack" }.into();
    }
    if no_families {
        let policy = text(spec, "/ipFamilyPolicy");
        let six = list(spec, "/clusterIPs").first().and_then(Value::as_str).is_some_and(|ip| ip.contains(':'));
        spec["ipFamilies"] = match policy {
            "RequireDualStack" | "PreferDualStack" if any => json!(["IPv4", "IPv6"]),
            _ if six => json!(["IPv6"]),
            _ => json!(["IPv4"]),
        };
    }
}

/// `ValidateServiceUpdate`: what stays while the type needs it.
pub fn validate(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    let (wanted, had) = (list(new, "/spec/clusterIPs"), list(old, "/spec/clusterIPs"));
    if needs_address(new) && needs_address(old) && !had.is_empty() && wanted.first() != had.first() {
        faults.invalid("spec.clusterIPs[0]", at(new, "/spec/clusterIPs").clone(), "may not change once set");
    }
    let (wanted, had) = (list(new, "/spec/ipFamilies"), list(old, "/spec/ipFamilies"));
    if needs_address(new) && needs_address(old) && !had.is_empty() && wanted.first() != had.first() {
        faults.invalid("spec.ipFamilies[0]", at(new, "/spec/ipFamilies").clone(), "may not change once set");
    }
    let balanced = |service: &Value| text(service, "/spec/type") == "LoadBalancer";
    if balanced(new) && balanced(old) && at(new, "/spec/loadBalancerClass") != at(old, "/spec/loadBalancerClass") {
        faults.invalid("spec.loadBalancerClass", at(new, "/spec/loadBalancerClass").clone(), "may not change once set");
    }
    let port = int(new, "/spec/healthCheckNodePort");
    if needs_health_check_port(new) && needs_health_check_port(old) && port != int(old, "/spec/healthCheckNodePort") {
        faults.forbidden("spec.healthCheckNodePort", "field is immutable");
    }
}
