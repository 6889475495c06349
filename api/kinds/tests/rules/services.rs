//! Services: addresses, ports, types.

use serde_json::{Value, json};

use super::{check_creates, check_updates, create, service, stored, update, update_status};

#[test]
fn services_are_checked() {
    let ports = json!([{"port": 80}]);
    check_creates(vec![
        (
            service(json!({"clusterIP": "zzz", "ports": ports})),
            &[
                "spec.clusterIPs[0]: Invalid value: \"zzz\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)",
            ],
        ),
        (
            service(json!({"ports": [{"port": 80, "nodePort": 30500}]})),
            &["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"],
        ),
        (service(json!({"type": "ExternalName"})), &["spec.externalName: Required value"]),
        (
            service(json!({"ipFamilyPolicy": "RequireDualStack", "ports": ports})),
            &[
                "spec.ipFamilyPolicy: Invalid value: \"RequireDualStack\": this cluster is not configured for dual-stack services",
            ],
        ),
        (service(json!({"ipFamilyPolicy": "PreferDualStack", "ports": ports})), &[]),
        (
            service(json!({"ports": [{"port": 0}]})),
            &[
                "spec.ports[0].port: Invalid value: 0: must be between 1 and 65535, inclusive",
                "spec.ports[0].targetPort: Invalid value: 0: must be between 1 and 65535, inclusive",
            ],
        ),
        (
            service(
                json!({"type": "LoadBalancer", "ports": [{"port": 80, "name": "a"}, {"port": 10250, "name": "b"}]}),
            ),
            &["spec.ports[1]: Invalid value: 10250: may not expose port 10250 externally since it is used by kubelet"],
        ),
        (service(json!({"type": "NodePort", "ports": [{"port": 10250}]})), &[]),
        (
            service(json!({"type": "Other", "ports": ports})),
            &[
                "spec.type: Unsupported value: \"Other\": supported values: \"ClusterIP\", \"ExternalName\", \"LoadBalancer\", \"NodePort\"",
            ],
        ),
    ]);
    let mut dotted = service(json!({"clusterIP": "None", "ports": [{"port": 1}]}));
    dotted["metadata"]["name"] = json!("a.b");
    assert_eq!(create(dotted), ["metadata.name: Invalid value: \"a.b\": must not contain dots"]);
}

#[test]
fn services_change_within_limits() {
    let with = |spec: Value| {
        let mut spec = spec;
        spec["ports"] = json!([{"port": 80}]);
        service(spec)
    };
    check_updates(
        with(json!({"clusterIP": "10.96.0.5", "sessionAffinity": "ClientIP"})),
        vec![
            (
                json!({"spec": {"clusterIP": "10.96.77.77"}}),
                &["spec.clusterIPs[0]: Invalid value: [\"10.96.77.77\"]: may not change once set"],
            ),
            (
                json!({"spec": {"ports": [{"port": 80}, {"port": 81}]}}),
                &["spec.ports[0].name: Required value", "spec.ports[1].name: Required value"],
            ),
            (json!({"spec": {"ports": []}}), &["spec.ports: Required value"]),
            (
                json!({"spec": {"sessionAffinity": "Bogus"}}),
                &["spec.sessionAffinity: Unsupported value: \"Bogus\": supported values: \"ClientIP\", \"None\""],
            ),
            (
                json!({"spec": {"sessionAffinityConfig": {"clientIP": {"timeoutSeconds": 0}}}}),
                &[
                    "spec.sessionAffinityConfig.clientIP.timeoutSeconds: Invalid value: 0: must be greater than 0 and less than 86400",
                ],
            ),
            (json!({"spec": {"sessionAffinity": "None"}}), &[]),
        ],
    );
    check_updates(
        with(json!({"clusterIP": "None", "selector": {"a": "b"}})),
        vec![(
            json!({"spec": {"clusterIP": "10.96.9.9", "clusterIPs": null}}),
            &["spec.clusterIPs[0]: Invalid value: [\"10.96.9.9\"]: may not change once set"],
        )],
    );
    let balanced =
        with(json!({"clusterIP": "10.96.0.5", "type": "LoadBalancer", "loadBalancerClass": "example.com/lb"}));
    check_updates(
        balanced.clone(),
        vec![(
            json!({"spec": {"loadBalancerClass": "example.com/other"}}),
            &["spec.loadBalancerClass: Invalid value: \"example.com/other\": may not change once set"],
        )],
    );
    let balanced = stored(balanced);
    let ingress = |ip: &str| json!({"status": {"loadBalancer": {"ingress": [{"ip": ip}]}}});
    let (new, faults) = update_status(&balanced, &ingress("1.2.3.4"));
    assert_eq!((new["status"]["loadBalancer"]["ingress"][0]["ipMode"].as_str(), faults.len()), (Some("VIP"), 0));
    assert_eq!(
        update_status(&balanced, &ingress("nope")).1,
        [
            "status.loadBalancer.ingress[0].ip: Invalid value: \"nope\": must be a valid IP address, (e.g. 10.9.8.7 or 2001:db8::ffff)"
        ]
    );
}

#[test]
fn what_a_service_holds_follows_its_type() {
    let old = stored(service(json!({"type": "NodePort", "clusterIP": "10.96.0.5", "ports": [
        {"port": 80, "name": "x", "nodePort": 31000}, {"port": 80, "protocol": "UDP", "name": "y", "nodePort": 31000},
    ]})));
    let (inside, faults) = update(&old, &json!({"spec": {"type": "ClusterIP"}}));
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(
        inside["spec"],
        json!({
            "ports": [{"name": "x", "protocol": "TCP", "port": 80, "targetPort": 80}, {"name": "y", "protocol": "UDP", "port": 80, "targetPort": 80}],
            "clusterIP": "10.96.0.5", "clusterIPs": ["10.96.0.5"], "type": "ClusterIP", "sessionAffinity": "None",
            "ipFamilies": ["IPv4"], "ipFamilyPolicy": "SingleStack", "internalTrafficPolicy": "Cluster",
        })
    );
    let (named, faults) = update(&inside, &json!({"spec": {"type": "ExternalName", "externalName": "x.example.com"}}));
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(
        named["spec"],
        json!({
            "ports": [{"name": "x", "protocol": "TCP", "port": 80, "targetPort": 80}, {"name": "y", "protocol": "UDP", "port": 80, "targetPort": 80}],
            "type": "ExternalName", "sessionAffinity": "None", "externalName": "x.example.com",
        })
    );
    let (back, faults) = update(&named, &json!({"spec": {"type": "ClusterIP", "externalName": null}}));
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!((back["spec"]["ipFamilies"][0].as_str(), back["spec"].get("clusterIP")), (Some("IPv4"), None));
    let (kept, _) = update(&inside, &json!({"spec": {"clusterIP": null}}));
    assert_eq!(kept, inside);
    let shared = stored(service(json!({"type": "NodePort", "ports": [
        {"port": 80, "name": "x"}, {"port": 80, "protocol": "UDP", "name": "y", "nodePort": 31000},
    ]})));
    assert_eq!(shared["spec"]["ports"][0]["nodePort"], 31000);
    let (renumbered, faults) = update(&old, &json!({"spec": {"ports": [{"port": 81, "name": "x"}]}}));
    assert_eq!((renumbered["spec"]["ports"][0]["nodePort"].as_i64(), faults.len()), (Some(31000), 0));
    let asks =
        |port: Value| json!({"spec": {"type": "ClusterIP", "ports": [{"port": 81, "name": "x", "nodePort": port}]}});
    for kept in [json!(31000), Value::Null] {
        let (inside, faults) = update(&old, &asks(kept));
        assert_eq!((inside["spec"]["ports"][0].get("nodePort"), faults), (None, vec![]));
    }
    assert_eq!(
        update(&old, &asks(json!(31001))).1,
        ["spec.ports[0].nodePort: Forbidden: may not be used when `type` is 'ClusterIP'"]
    );
}

#[test]
fn a_service_that_is_no_load_balancer_any_more_loses_its_address() {
    let mut old = stored(service(json!({"type": "LoadBalancer", "ports": [{"port": 80}]})));
    let condition = json!({"type": "LoadBalancerReady", "status": "True", "reason": "Found", "message": "", "lastTransitionTime": null});
    old["status"] =
        json!({"loadBalancer": {"ingress": [{"ip": "1.2.3.4", "ipMode": "VIP"}]}, "conditions": [condition]});
    let cases =
        [("LoadBalancer", old["status"]["loadBalancer"].clone()), ("NodePort", json!({})), ("ClusterIP", json!({}))];
    for (kind, expected) in cases {
        let (new, faults) = update(&old, &json!({"spec": {"type": kind}}));
        assert_eq!((&new["status"]["loadBalancer"], faults), (&expected, vec![]), "{kind}");
        assert_eq!(new["status"]["conditions"], old["status"]["conditions"], "{kind}");
    }
}

#[test]
fn balancers_let_in_ranges_of_addresses() {
    const RANGES: &str = "service.beta.kubernetes.io/load-balancer-source-ranges";
    let with = |spec: Value, annotations: Value| {
        let mut object = service(spec);
        object["spec"]["ports"] = json!([{"port": 80}]);
        object["metadata"]["annotations"] = annotations;
        object
    };
    let balanced = json!({"type": "LoadBalancer"});
    check_creates(vec![
        (with(balanced.clone(), json!({RANGES: " 10.0.0.0/8, 192.168.0.0/16"})), &[]),
        (with(balanced.clone(), json!({RANGES: ""})), &[]),
        (
            with(balanced, json!({RANGES: "10.0.0.0/8,x"})),
            &[
                "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Invalid value: \"x\": must be a valid CIDR \
                 value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ],
        ),
        (
            with(json!({}), json!({RANGES: "10.0.0.0/8"})),
            &[
                "metadata.annotations[service.beta.kubernetes.io/load-balancer-source-ranges]: Forbidden: may only be used when `type` is \
                 'LoadBalancer'",
            ],
        ),
        (
            with(
                json!({"type": "LoadBalancer", "loadBalancerSourceRanges": [" 10.0.0.0/8 ", " x"]}),
                json!({RANGES: "ignored"}),
            ),
            &[
                "spec.LoadBalancerSourceRanges[1]: Invalid value: \"x\": must be a valid CIDR value, (e.g. 10.9.8.0/24 or 2001:db8::/64)",
            ],
        ),
        (
            with(
                json!({}),
                json!({"service.kubernetes.io/topology-mode": "Auto", "service.kubernetes.io/topology-aware-hints": "disabled"}),
            ),
            &["metadata.annotations[service.kubernetes.io/topology-mode]: Invalid value: \"Auto\": must match \
                 annotations[service.kubernetes.io/topology-aware-hints] when both are specified"],
        ),
    ]);
}
