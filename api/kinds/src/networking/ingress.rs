//! Ingress.

use std::{collections::BTreeSet, net::IpAddr};

use kontiki_model::Faults;
use serde_json::{Value, json};

use super::{GROUP, ingressclass};
use crate::column::{self, text_column};
use crate::names::{ip, label, port_name, port_number, report, subdomain, wildcard_subdomain};
use crate::tree::{at, int, keep, list, missing, object, text, text_or, texts};
use crate::{Column, Kind, Subresource, fields, metadata};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "Ingress",
    resource: "ingresses",
    singular: "ingress",
    short_names: &["ing"],
    type_name: "networking.v1.Ingress",
    generation: true,
    subresources: &[Subresource::Status],
    columns: COLUMNS,
    cells: |ingress, now| {
        vec![
            column::name(ingress),
            column::or(text(ingress, "/spec/ingressClassName"), "<none>"),
            hosts(list(ingress, "/spec/rules")).into(),
            addresses(ingress).into(),
            if list(ingress, "/spec/tls").is_empty() { "80".into() } else { "80, 443".into() },
            column::age(ingress, now),
        ]
    },
    default: |ingress| {
        object(object(ingress, "status"), "loadBalancer");
    },
    prepare_create: |ingress| ingress["status"] = json!({"loadBalancer": {}}),
    prepare_update: |new, old| keep(new, old, "status"),
    validate: |ingress, faults| validate_spec(at(ingress, "/spec"), faults),
    validate_create: class_agrees,
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    validate_status,
    default_class: Some(&ingressclass::DEFAULT),
    warnings: |ingress, old| {
        let annotated = old.is_none() && class_annotation(ingress).is_some();
        let deprecated = annotated && missing(ingress, "/spec/ingressClassName");
        let warning =
            || format!("annotation {CLASS_ANNOTATION:?} is deprecated, please use 'spec.ingressClassName' instead");
        deprecated.then(warning).into_iter().collect()
    },
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Class", 0, "The class whose controller serves this ingress."),
    text_column("Hosts", 0, "Hosts that it routes."),
    text_column("Address", 0, "Where it is reached from outside of the cluster."),
    text_column("Ports", 0, "Ports that it listens on."),
    column::AGE,
];

const CLASS_ANNOTATION: &str = "kubernetes.io/ingress.class";
const HOSTS_SHOWN: usize = 3;
const NOT_AN_ADDRESS: &str = "must be a DNS name, not an IP address";

/// The first hosts, and how many rules more there are.
fn hosts(rules: &[Value]) -> String {
    let named = rules.iter().take(HOSTS_SHOWN).map(|rule| text(rule, "/host")).filter(|host| !host.is_empty());
    let shown: Vec<&str> = named.collect();
    match (shown.is_empty(), rules.len().checked_sub(HOSTS_SHOWN)) {
        (true, _) => "*".to_owned(),
        (false, Some(more)) if more > 0 => format!("{} + {more} more...", shown.join(",")),
        (false, _) => shown.join(","),
    }
}

fn addresses(ingress: &Value) -> String {
    let all = list(ingress, "/status/loadBalancer/ingress").iter();
    let all: BTreeSet<&str> = all.map(|one| text_or(one, "/ip", text(one, "/hostname"))).collect();
    all.into_iter().filter(|one| !one.is_empty()).collect::<Vec<_>>().join(",")
}

pub fn class_annotation(ingress: &Value) -> Option<&str> {
    at(ingress, "/metadata/annotations").get(CLASS_ANNOTATION)?.as_str()
}

/// The old way of naming the class must not contradict the new one.
fn class_agrees(ingress: &Value, faults: &mut Faults) {
    let class = at(ingress, "/spec/ingressClassName").as_str();
    if let (Some(annotation), Some(class)) = (class_annotation(ingress), class)
        && annotation != class
    {
        let detail = "must match `ingressClassName` when both are specified";
        faults.invalid(format!("annotations.{CLASS_ANNOTATION}"), annotation, detail);
    }
}

fn validate_spec(spec: &Value, faults: &mut Faults) {
    let (rules, default) = (list(spec, "/rules"), at(spec, "/defaultBackend"));
    if rules.is_empty() && default.is_null() {
        faults.invalid("spec", json!([]), "either `defaultBackend` or `rules` must be specified");
    }
    if !default.is_null() {
        validate_backend(default, "spec.defaultBackend", faults);
    }
    for (index, rule) in rules.iter().enumerate() {
        validate_rule(rule, &format!("spec.rules[{index}]"), faults);
    }
    for (index, tls) in list(spec, "/tls").iter().enumerate() {
        let path = format!("spec.tls[{index}]");
        for (at, host) in texts(tls, "/hosts").enumerate() {
            report(host_rule(host)(host), host, &format!("{path}.hosts[{at}]"), faults);
        }
        let secret = text(tls, "/secretName");
        if !secret.is_empty() {
            report(subdomain(secret), secret, &format!("{path}.secretName"), faults);
        }
    }
    if let Some(class) = at(spec, "/ingressClassName").as_str() {
        report(subdomain(class), class, "spec.ingressClassName", faults);
    }
}

fn host_rule(host: &str) -> fn(&str) -> Vec<String> {
    if host.contains('*') { wildcard_subdomain } else { subdomain }
}

fn validate_rule(rule: &Value, path: &str, faults: &mut Faults) {
    let host = text(rule, "/host");
    if !host.is_empty() {
        if host.parse::<IpAddr>().is_ok() {
            faults.invalid(format!("{path}.host"), host, NOT_AN_ADDRESS);
        }
        report(host_rule(host)(host), host, &format!("{path}.host"), faults);
    }
    if missing(rule, "/http") {
        return;
    }
    let paths = list(rule, "/http/paths");
    if paths.is_empty() {
        faults.required(format!("{path}.http.paths"), "");
    }
    for (index, one) in paths.iter().enumerate() {
        validate_path(one, &format!("{path}.http.paths[{index}]"), faults);
    }
}

fn validate_path(route: &Value, path: &str, faults: &mut Faults) {
    let target = text(route, "/path");
    let absolute = |faults: &mut Faults| {
        if !target.starts_with('/') {
            faults.invalid(format!("{path}.path"), target, "must be an absolute path");
        }
    };
    match at(route, "/pathType").as_str() {
        None => {
            faults.required(format!("{path}.pathType"), "pathType must be specified");
            return;
        }
        Some("Exact" | "Prefix") => {
            absolute(faults);
            for sequence in ["//", "/./", "/../", "%2f", "%2F"].into_iter().filter(|one| target.contains(one)) {
                faults.invalid(format!("{path}.path"), target, format!("must not contain '{sequence}'"));
            }
            for suffix in ["/..", "/."].into_iter().filter(|one| target.ends_with(one)) {
                faults.invalid(format!("{path}.path"), target, format!("cannot end with '{suffix}'"));
            }
        }
        Some("ImplementationSpecific") if target.is_empty() => {}
        Some("ImplementationSpecific") => absolute(faults),
        Some(other) => {
            let supported = ["Exact", "ImplementationSpecific", "Prefix"];
            faults.not_supported(format!("{path}.pathType"), other, &supported);
        }
    }
    validate_backend(at(route, "/backend"), &format!("{path}.backend"), faults);
}

/// A Service with a port, or any other resource, never both.
fn validate_backend(backend: &Value, path: &str, faults: &mut Faults) {
    let (service, resource) = (at(backend, "/service"), at(backend, "/resource"));
    match (service.is_null(), resource.is_null()) {
        (false, false) => faults.invalid(path, "", "cannot set both resource and service backends"),
        (true, true) => faults.invalid(path, "", "resource or service backend is required"),
        (true, false) => fields::reference(resource, &format!("{path}.resource"), "kind", faults),
        (false, true) => {
            fields::named(text(service, "/name"), label, format!("{path}.service.name"), faults);
            match (text(service, "/port/name"), int(service, "/port/number")) {
                ("", 0) => faults.required(path, "port name or number is required"),
                ("", number) => {
                    for wrong in port_number(number) {
                        faults.invalid(format!("{path}.service.port.number"), number, wrong);
                    }
                }
                (name, 0) => report(port_name(name), name, &format!("{path}.service.port.name"), faults),
                (_, _) => faults.invalid(path, "", "cannot set both port name & port number"),
            }
        }
    }
}

fn validate_status(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    for (index, ingress) in list(new, "/status/loadBalancer/ingress").iter().enumerate() {
        let path = format!("status.loadBalancer.ingress[{index}]");
        let (address, hostname) = (text(ingress, "/ip"), text(ingress, "/hostname"));
        if !address.is_empty() {
            report(ip(address), address, &format!("{path}.ip"), faults);
        }
        if !hostname.is_empty() {
            report(subdomain(hostname), hostname, &format!("{path}.hostname"), faults);
            if hostname.parse::<IpAddr>().is_ok() {
                faults.invalid(format!("{path}.hostname"), hostname, NOT_AN_ADDRESS);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn many_hosts_are_counted() {
        let rules = |hosts: &[&str]| hosts.iter().map(|host| json!({"host": host})).collect::<Vec<_>>();
        assert_eq!(hosts(&[]), "*");
        assert_eq!(hosts(&rules(&["a", "b", "c"])), "a,b,c");
        assert_eq!(hosts(&rules(&["a", "b", "c", "d", "e"])), "a,b,c + 2 more...");
    }
}
