//! Service: declaration, defaults and Table. Addresses and ports are in [`claims`], changes in [`update`].

mod claims;
mod update;
mod usage;
mod validation;

use serde_json::{Value, json};

use crate::column::{self, text_column};
use crate::tree::{at, fill, fill_text, int, list, list_mut, object, remove, text};
use crate::{Column, Field, Kind, NameRule, Subresource, selector};

pub static KIND: Kind = Kind {
    kind: "Service",
    resource: "services",
    singular: "service",
    short_names: &["svc"],
    categories: &["all"],
    type_name: "core.v1.Service",
    name_rule: NameRule::Label,
    subresources: &[Subresource::ServiceProxy, Subresource::Status],
    delete_returns_object: true,
    create_on_update: true,
    fields: FIELDS,
    columns: COLUMNS,
    cells: |service, now| {
        vec![
            column::name(service),
            text(service, "/spec/type").into(),
            column::or(list(service, "/spec/clusterIPs").first().and_then(Value::as_str).unwrap_or_default(), "<none>"),
            external_addresses(service).into(),
            ports(service).into(),
            column::age(service, now),
            selector::labels_to_cell(at(service, "/spec/selector")),
        ]
    },
    default,
    prepare_create: |service| {
        service["status"] = json!({"loadBalancer": {}});
        update::normalize_addresses(service);
        update::share_node_ports(service);
        update::fill_families(service);
    },
    prepare_update: update::prepare,
    validate: validation::validate,
    validate_update: update::validate,
    validate_status: validation::validate_status,
    claims: claims::claims,
    measure: Some(&usage::MEASURE),
    warnings: |service, _| validation::warnings(service),
    ..Kind::BASE
};

const FIELDS: &[Field] = &[
    Field { path: "spec.clusterIP", get: |service| text(service, "/spec/clusterIP").to_owned() },
    Field { path: "spec.type", get: |service| text(service, "/spec/type").to_owned() },
];

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Type", 0, "How the service is exposed."),
    text_column("Cluster-IP", 0, "The address of the service within the cluster."),
    text_column("External-IP", 0, "Addresses of the service outside of the cluster."),
    text_column("Port(s)", 0, "The ports that are exposed by this service."),
    column::AGE,
    column::SELECTOR,
];

/// Gets a cluster address, or `None` as one.
fn needs_address(service: &Value) -> bool {
    matches!(text(service, "/spec/type"), "ClusterIP" | "NodePort" | "LoadBalancer")
}

fn is_headless(service: &Value) -> bool {
    list(service, "/spec/clusterIPs").first().is_some_and(|first| first == "None")
}

/// Gets a node port for each of its ports.
fn needs_node_ports(service: &Value) -> bool {
    match text(service, "/spec/type") {
        "NodePort" => true,
        "LoadBalancer" => at(service, "/spec/allocateLoadBalancerNodePorts") != &Value::Bool(false),
        _ => false,
    }
}

fn needs_health_check_port(service: &Value) -> bool {
    text(service, "/spec/type") == "LoadBalancer" && text(service, "/spec/externalTrafficPolicy") == "Local"
}

/// Takes traffic from outside of the cluster.
fn is_external(service: &Value) -> bool {
    match text(service, "/spec/type") {
        "NodePort" | "LoadBalancer" => true,
        "ClusterIP" => !list(service, "/spec/externalIPs").is_empty(),
        _ => false,
    }
}

fn default(service: &mut Value) {
    let spec = object(service, "spec");
    fill_text(spec, "sessionAffinity", "None");
    match text(spec, "/sessionAffinity") {
        "ClientIP" => {
            let config = object(spec, "sessionAffinityConfig");
            fill(object(config, "clientIP"), "timeoutSeconds", 10_800);
        }
        "None" => {
            remove(spec, "sessionAffinityConfig");
        }
        _ => {}
    }
    fill_text(spec, "type", "ClusterIP");
    for port in list_mut(spec, "/ports") {
        fill_text(port, "protocol", "TCP");
        if text(port, "/targetPort").is_empty() && int(port, "/targetPort") == 0 {
            port["targetPort"] = at(port, "/port").clone();
        }
    }
    let external = is_external(service);
    let spec = object(service, "spec");
    if external {
        fill_text(spec, "externalTrafficPolicy", "Cluster");
    }
    match text(spec, "/type") {
        "LoadBalancer" => {
            fill(spec, "internalTrafficPolicy", "Cluster");
            fill(spec, "allocateLoadBalancerNodePorts", true);
        }
        "ClusterIP" | "NodePort" => fill(spec, "internalTrafficPolicy", "Cluster"),
        _ => {}
    }
    default_status(service);
}

fn default_status(service: &mut Value) {
    let balanced = text(service, "/spec/type") == "LoadBalancer";
    let balancer = object(object(service, "status"), "loadBalancer");
    for ingress in
        list_mut(balancer, "/ingress").iter_mut().filter(|ingress| balanced && !text(ingress, "/ip").is_empty())
    {
        fill(ingress, "ipMode", "VIP");
    }
    for port in list_mut(object(service, "spec"), "/ports") {
        if int(port, "/nodePort") == 0 {
            remove(port, "nodePort");
        }
    }
}

fn external_addresses(service: &Value) -> String {
    let joined = |all: Vec<&str>, none: &str| if all.is_empty() { none.to_owned() } else { all.join(",") };
    let external = || list(service, "/spec/externalIPs").iter().filter_map(Value::as_str);
    match text(service, "/spec/type") {
        "ClusterIP" | "NodePort" => joined(external().collect(), "<none>"),
        "LoadBalancer" => {
            let mut given: Vec<&str> = list(service, "/status/loadBalancer/ingress")
                .iter()
                .map(|one| crate::tree::text_or(one, "/ip", text(one, "/hostname")))
                .filter(|one| !one.is_empty())
                .collect();
            given.sort_unstable();
            given.dedup();
            given.extend(external());
            joined(given, "<pending>")
        }
        "ExternalName" => text(service, "/spec/externalName").to_owned(),
        _ => "<unknown>".to_owned(),
    }
}

fn ports(service: &Value) -> String {
    let one = |port: &Value| {
        let (number, protocol) = (int(port, "/port"), text(port, "/protocol"));
        match int(port, "/nodePort") {
            0 => format!("{number}/{protocol}"),
            node_port => format!("{number}:{node_port}/{protocol}"),
        }
    };
    match list(service, "/spec/ports") {
        [] => "<none>".to_owned(),
        all => all.iter().map(one).collect::<Vec<_>>().join(","),
    }
}
