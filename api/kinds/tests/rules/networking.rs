//! networking.k8s.io.

use serde_json::{Value, json};

use super::{check_creates, check_updates, in_group, merge, stored, update, update_status};

fn networking(kind: &str, rest: Value) -> Value {
    in_group("networking.k8s.io/v1", kind, rest)
}

fn ingress(spec: Value) -> Value {
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let mut object = networking("Ingress", json!({"spec": {"defaultBackend": backend}}));
    merge(&mut object["spec"], &spec);
    object
}

#[test]
fn ingresses_are_checked() {
    let backend = json!({"service": {"name": "s", "port": {"name": "http"}}});
    let path = |path: &str, kind: &str| {
        ingress(json!({"rules": [{"http": {"paths": [{"path": path, "pathType": kind, "backend": backend}]}}]}))
    };
    check_creates(vec![
        (path("/a", "Prefix"), &[]),
        (path("", "ImplementationSpecific"), &[]),
        (
            ingress(json!({"defaultBackend": null})),
            &["spec: Invalid value: []: either `defaultBackend` or `rules` must be specified"],
        ),
        (
            path("a//b/..", "Exact"),
            &[
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must be an absolute path",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": must not contain '//'",
                "spec.rules[0].http.paths[0].path: Invalid value: \"a//b/..\": cannot end with '/..'",
            ],
        ),
        (
            path("/", "Regex"),
            &["spec.rules[0].http.paths[0].pathType: Unsupported value: \"Regex\": supported values: \"Exact\", \
                 \"ImplementationSpecific\", \"Prefix\""],
        ),
        (
            ingress(json!({"rules": [{"host": "1.2.3.4"}, {"host": "*.*.a"}, {"http": {"paths": []}}]})),
            &[
                "spec.rules[0].host: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
                "spec.rules[1].host: Invalid value: \"*.*.a\": a wildcard DNS-1123 subdomain must start with '*.', followed by a valid DNS \
                 subdomain, which must consist of lower case alphanumeric characters, '-' or '.' and end with an alphanumeric character \
                 (e.g. '*.example.com', regex used for validation is '\\*\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "spec.rules[2].http.paths: Required value",
            ],
        ),
        (
            ingress(json!({"defaultBackend": {"service": {"name": "", "port": {"number": 80, "name": "http"}}}})),
            &[
                "spec.defaultBackend.service.name: Required value",
                "spec.defaultBackend: Invalid value: \"\": cannot set both port name & port number",
            ],
        ),
        (
            ingress(json!({"defaultBackend": {"service": {"port": {"number": null}}}})),
            &["spec.defaultBackend: Required value: port name or number is required"],
        ),
        (
            ingress(json!({"defaultBackend": {"service": null, "resource": {"kind": "", "name": "a/b"}}})),
            &[
                "spec.defaultBackend.resource.kind: Required value",
                "spec.defaultBackend.resource.name: Invalid value: \"a/b\": may not contain '/'",
            ],
        ),
        (
            networking(
                "Ingress",
                json!({
                    "metadata": {"annotations": {"kubernetes.io/ingress.class": "a"}},
                    "spec": {"ingressClassName": "b", "defaultBackend": backend},
                }),
            ),
            &[
                "annotations.kubernetes.io/ingress.class: Invalid value: \"a\": must match `ingressClassName` when both are specified",
            ],
        ),
    ]);
    let old = stored(ingress(json!({})));
    let status = |one: Value| json!({"status": {"loadBalancer": {"ingress": [one]}}});
    assert_eq!(update_status(&old, &status(json!({"ip": "1.2.3.4"}))).1, Vec::<String>::new());
    assert_eq!(
        update_status(&old, &status(json!({"ip": "x", "hostname": "1.2.3.4"}))).1,
        [
            "status.loadBalancer.ingress[0].ip: Invalid value: \"x\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            "status.loadBalancer.ingress[0].hostname: Invalid value: \"1.2.3.4\": must be a DNS name, not an IP address",
        ]
    );
}

#[test]
fn ingress_classes_are_checked() {
    let class = |spec: Value| {
        let mut object = networking("IngressClass", json!({"spec": {"controller": "example.com/c"}}));
        merge(&mut object["spec"], &spec);
        object
    };
    let parameters = |rest: Value| {
        let mut parameters = json!({"kind": "K", "name": "n"});
        merge(&mut parameters, &rest);
        class(json!({ "parameters": parameters }))
    };
    check_creates(vec![
        (class(json!({})), &[]),
        (parameters(json!({})), &[]),
        (class(json!({"controller": ""})), &["spec.controller: Required value"]),
        (
            class(json!({"controller": "c"})),
            &["spec.controller: Invalid value: \"c\": must be a domain-prefixed path (such as \"acme.io/foo\")"],
        ),
        (
            parameters(json!({"scope": "Namespace"})),
            &["spec.parameters.namespace: Required value: `parameters.scope` is set to 'Namespace'"],
        ),
        (
            parameters(json!({"namespace": "a"})),
            &["spec.parameters.namespace: Forbidden: `parameters.scope` is set to 'Cluster'"],
        ),
        (
            parameters(json!({"scope": "World"})),
            &["spec.parameters.scope: Unsupported value: \"World\": supported values: \"Cluster\", \"Namespace\""],
        ),
    ]);
    check_updates(
        class(json!({})),
        vec![(
            json!({"spec": {"controller": "example.com/d"}}),
            &["spec.controller: Invalid value: \"example.com/d\": field is immutable"],
        )],
    );
}

#[test]
fn network_policies_are_checked() {
    let policy = |rule: Value| networking("NetworkPolicy", json!({"spec": {"podSelector": {}, "ingress": [rule]}}));
    check_creates(vec![
        (policy(json!({"ports": [{"port": 80, "endPort": 90}, {"port": "http"}], "from": [{"podSelector": {}}]})), &[]),
        (
            policy(
                json!({"ports": [{"port": 80, "endPort": 79, "protocol": "ICMP"}, {"port": "http", "endPort": 1}, {"endPort": 1}]}),
            ),
            &[
                "spec.ingress[0].ports[0].protocol: Unsupported value: \"ICMP\": supported values: \"TCP\", \"UDP\", \"SCTP\"",
                "spec.ingress[0].ports[0].endPort: Invalid value: 79: must be greater than or equal to `port`",
                "spec.ingress[0].ports[1].endPort: Invalid value: 1: may not be specified when `port` is non-numeric",
                "spec.ingress[0].ports[2].endPort: Invalid value: 1: may not be specified when `port` is not specified",
            ],
        ),
        (
            policy(
                json!({"from": [{}, {"ipBlock": {"cidr": "10.0.0.0/8"}, "podSelector": {}}, {"ipBlock": {"cidr": ""}}]}),
            ),
            &[
                "spec.ingress[0].from[0]: Required value: must specify a peer",
                "spec.ingress[0].from[1]: Forbidden: may not specify both ipBlock and another peer",
                "spec.ingress[0].from[2].ipBlock.cidr: Required value",
            ],
        ),
        (
            policy(
                json!({"from": [{"ipBlock": {"cidr": "10.0.0.0/8", "except": ["10.1.0.0/16", "10.0.0.0/8", "11.0.0.0/16", "::/16"]}}]}),
            ),
            &[
                "spec.ingress[0].from[0].ipBlock.except[1]: Invalid value: \"10.0.0.0/8\": must be a strict subset of `cidr`",
                "spec.ingress[0].from[0].ipBlock.except[2]: Invalid value: \"11.0.0.0/16\": must be a strict subset of `cidr`",
                "spec.ingress[0].from[0].ipBlock.except[3]: Invalid value: \"::/16\": must be a strict subset of `cidr`",
            ],
        ),
        (
            networking("NetworkPolicy", json!({"spec": {"podSelector": {}, "policyTypes": ["Sideways"]}})),
            &["spec.policyTypes[0]: Unsupported value: \"Sideways\": supported values: \"Ingress\", \"Egress\""],
        ),
    ]);
}

#[test]
fn addresses_and_their_ranges_are_checked() {
    let address = |name: &str, spec: Value| networking("IPAddress", json!({"metadata": {"name": name}, "spec": spec}));
    let parent = json!({"parentRef": {"resource": "services", "name": "s", "namespace": "a"}});
    let range = |ranges: Value| networking("ServiceCIDR", json!({"spec": {"cidrs": ranges}}));
    check_creates(vec![
        (address("2001:db8::1", parent.clone()), &[]),
        (
            address("2001:db8:0::1", parent.clone()),
            &["metadata.name: Invalid value: \"2001:db8:0::1\": must be in canonical form (\"2001:db8::1\")"],
        ),
        (address("10.0.0.1", json!({})), &["spec.parentRef: Required value"]),
        (
            address("10.0.0.1", json!({"parentRef": {"group": "A"}})),
            &[
                "spec.parentRef.group: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric \
                 characters, '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for \
                 validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "spec.parentRef.resource: Required value",
                "spec.parentRef.name: Required value",
            ],
        ),
        (range(json!(["10.0.0.0/24", "2001:db8::/64"])), &[]),
        (range(json!([])), &["spec.cidrs: Required value: at least one CIDR required"]),
        (
            range(json!(["10.0.0.1/24"])),
            &["spec.cidrs[0]: Invalid value: \"10.0.0.1/24\": must not have bits set beyond the prefix length"],
        ),
        (
            range(json!(["10.0.0.0/24", "10.0.1.0/24"])),
            &[
                "spec.cidrs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one IP for each IP family, i.e \
                 192.168.0.0/24 and 2001:db8::/64",
            ],
        ),
    ]);
    check_updates(
        range(json!(["10.0.0.0/24"])),
        vec![
            (json!({"spec": {"cidrs": ["10.0.0.0/24", "2001:db8::/64"]}}), &[]),
            (
                json!({"spec": {"cidrs": ["10.0.1.0/24"]}}),
                &["spec.cidrs[0]: Invalid value: \"10.0.1.0/24\": field is immutable"],
            ),
            (json!({"spec": {"cidrs": []}}), &["spec.cidrs: Invalid value: []: field is immutable"]),
        ],
    );
    check_updates(
        address("10.0.0.1", parent),
        vec![(
            json!({"spec": {"parentRef": {"name": "t"}}}),
            &[
                "spec.parentRef: Invalid value: {\"resource\":\"services\",\"namespace\":\"a\",\"name\":\"t\"}: field is immutable",
            ],
        )],
    );
}

#[test]
fn slices_lose_labels_of_nodes() {
    const HOST: &str = "kubernetes.io/hostname";
    let endpoint =
        |address: &str, node: Value| json!({"addresses": [address], "deprecatedTopology": {HOST: node, "a": "b"}});
    let bare = |address: &str| json!({"addresses": [address], "conditions": {}});
    let slice = |endpoints: Value| {
        in_group("discovery.k8s.io/v1", "EndpointSlice", json!({"addressType": "IPv4", "endpoints": endpoints}))
    };
    let made = stored(slice(json!([endpoint("10.0.0.1", json!("n"))])));
    assert_eq!(made["endpoints"], json!([bare("10.0.0.1")]));
    // From when an older version of the API was written.
    let mut old = made;
    old["endpoints"] = json!([{"addresses": ["10.0.0.1"], "conditions": {}, "deprecatedTopology": {HOST: "n"}}]);
    let (labelled, _) = update(&old, &json!({"metadata": {"labels": {"x": "y"}}}));
    assert_eq!(labelled["endpoints"], old["endpoints"]);
    let more = json!({"endpoints": [endpoint("10.0.0.1", json!("n")), endpoint("10.0.0.2", json!("m"))]});
    let (changed, faults) = update(&old, &more);
    let mut known = bare("10.0.0.1");
    known["nodeName"] = json!("n");
    assert_eq!((&changed["endpoints"], faults), (&json!([known, bare("10.0.0.2")]), vec![]));
}
