//! What is refused, with Kubernetes' field paths and words: creates, updates and status writes of each kind.
#![allow(clippy::unwrap_used)]

use kontiki_kinds::{Kind, by_gvk, metadata};
use kontiki_model::Faults;
use kontiki_schema::{builtin, merge_patch};
use serde_json::{Value, json};

fn kind_of(object: &Value) -> &'static Kind {
    let version = object["apiVersion"].as_str().unwrap();
    let (group, version) = version.split_once('/').unwrap_or(("", version));
    by_gvk(group, version, object["kind"].as_str().unwrap()).unwrap()
}

fn merge(object: &mut Value, patch: &Value) {
    *object = merge_patch(object.take(), patch.clone());
}

fn defaulted(object: &mut Value) {
    let kind = kind_of(object);
    let id = builtin().lookup(kind.type_name).unwrap();
    builtin().default(id, object);
    (kind.default)(object);
}

fn settled(object: &mut Value) {
    let kind = kind_of(object);
    builtin().canonical(builtin().lookup(kind.type_name).unwrap(), object);
}

/// A stored object: what a create makes of it, without the server's part of metadata.
fn stored(mut object: Value) -> Value {
    let kind = kind_of(&object);
    if kind.namespaced {
        object["metadata"]["namespace"] = json!("a");
    }
    if object["metadata"]["name"].is_null() {
        object["metadata"]["name"] = json!("x");
    }
    defaulted(&mut object);
    (kind.prepare_create)(&mut object);
    settled(&mut object);
    object
}

fn told(faults: &Faults) -> Vec<String> {
    faults.iter().map(|one| format!("{}: {}", one.field, one.message())).collect()
}

fn create(object: Value) -> Vec<String> {
    let object = stored(object);
    let mut faults = Faults::default();
    metadata::validate(kind_of(&object), &object, &mut faults);
    (kind_of(&object).validate)(&object, &mut faults);
    told(&faults)
}

/// The object after a merge patch, and the faults.
fn update(old: &Value, patch: &Value) -> (Value, Vec<String>) {
    let kind = kind_of(old);
    let mut new = old.clone();
    merge(&mut new, patch);
    defaulted(&mut new);
    (kind.prepare_update)(&mut new, old);
    settled(&mut new);
    let mut faults = Faults::default();
    (kind.validate)(&new, &mut faults);
    (kind.validate_update)(&new, old, &mut faults);
    (new, told(&faults))
}

fn update_status(old: &Value, patch: &Value) -> (Value, Vec<String>) {
    let kind = kind_of(old);
    let mut new = old.clone();
    merge(&mut new, patch);
    defaulted(&mut new);
    (kind.prepare_status)(&mut new, old);
    settled(&mut new);
    let mut faults = Faults::default();
    (kind.validate_status)(&new, old, &mut faults);
    (new, told(&faults))
}

fn check_creates(cases: Vec<(Value, &[&str])>) {
    for (object, expected) in cases {
        assert_eq!(create(object.clone()), expected, "{object}");
    }
}

fn check_updates(old: Value, cases: Vec<(Value, &[&str])>) {
    let old = stored(old);
    for (patch, expected) in cases {
        assert_eq!(update(&old, &patch).1, expected, "{patch}");
    }
}

fn core(kind: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": "v1", "kind": kind, "metadata": {}});
    merge(&mut object, &rest);
    object
}

fn pod(spec: Value) -> Value {
    let mut object = core("Pod", json!({"spec": {"containers": [{"name": "c", "image": "i:1"}]}}));
    merge(&mut object["spec"], &spec);
    object
}

fn container(rest: Value) -> Value {
    let mut container = json!({"name": "c", "image": "i:1"});
    merge(&mut container, &rest);
    pod(json!({"containers": [container]}))
}

fn service(spec: Value) -> Value {
    core("Service", json!({"spec": spec}))
}

fn deployment(spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
        },
    });
    merge(&mut object["spec"], &spec);
    object
}

#[test]
fn config_maps_and_secrets() {
    const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or \
                       'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    let bad_key = format!("data[bad key]: Invalid value: \"bad key\": {KEY}");
    check_creates(vec![
        (core("ConfigMap", json!({"data": {"bad key": "v"}})), &[&bad_key]),
        (
            core("ConfigMap", json!({"data": {"k": "v"}, "binaryData": {"k": "dg=="}})),
            &["data[k]: Invalid value: \"k\": duplicate of key present in binaryData"],
        ),
        (
            core("Secret", json!({"type": "kubernetes.io/tls"})),
            &["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (core("Secret", json!({"type": "kubernetes.io/dockerconfigjson", "data": {".dockerconfigjson": "e30="}})), &[]),
    ]);
    check_updates(
        core("ConfigMap", json!({"immutable": true, "data": {"a": "1"}})),
        vec![
            (json!({"data": {"a": "2"}}), &["data: Forbidden: field is immutable when `immutable` is set"]),
            (json!({"immutable": false}), &["immutable: Forbidden: field is immutable when `immutable` is set"]),
            (json!({"metadata": {"labels": {"x": "y"}}}), &[]),
        ],
    );
    check_updates(
        core("Secret", json!({"type": "a/b"})),
        vec![
            (json!({"type": "c/d"}), &["type: Invalid value: \"c/d\": field is immutable"]),
            (json!({"stringData": {"a": "1"}}), &[]),
        ],
    );
    let secret = stored(core("Secret", json!({"stringData": {"a": "hello"}, "data": {"a": "eA==", "b": "eQ=="}})));
    assert_eq!(secret["data"], json!({"a": "aGVsbG8=", "b": "eQ=="}));
    assert!(secret.get("stringData").is_none());
}

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
}

#[test]
fn containers_are_checked() {
    check_creates(vec![
        (pod(json!({"containers": []})), &["spec.containers: Required value"]),
        (container(json!({"image": null})), &["spec.containers[0].image: Required value"]),
        (container(json!({"name": null})), &["spec.containers[0].name: Required value"]),
        (
            container(json!({"image": " x"})),
            &["spec.containers[0].image: Invalid value: \" x\": must not have leading or trailing whitespace"],
        ),
        (
            pod(json!({"containers": [{"name": "c", "image": "i"}, {"name": "c", "image": "i"}]})),
            &["spec.containers[1].name: Duplicate value: \"c\""],
        ),
        (
            container(json!({"imagePullPolicy": "Maybe"})),
            &[
                "spec.containers[0].imagePullPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        (
            container(
                json!({"ports": [{"containerPort": 0}, {"containerPort": 70000, "name": "a"}, {"containerPort": 1, "name": "a"}]}),
            ),
            &[
                "spec.containers[0].ports[0].containerPort: Required value",
                "spec.containers[0].ports[1].containerPort: Invalid value: 70000: must be between 1 and 65535, inclusive",
                "spec.containers[0].ports[2].name: Duplicate value: \"a\"",
            ],
        ),
        (
            container(json!({"ports": [{"containerPort": 1, "hostPort": 9}, {"containerPort": 2, "hostPort": 9}]})),
            &["spec.containers[0].ports[1].hostPort: Duplicate value: \"TCP//9\""],
        ),
        (
            container(json!({"volumeMounts": [{"name": "v", "mountPath": "/v"}]})),
            &["spec.containers[0].volumeMounts[0].name: Not found: \"v\""],
        ),
        (
            container(json!({"resources": {"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}})),
            &[
                "spec.containers[0].resources.requests: Invalid value: \"2\": must be less than or equal to cpu limit of 1",
            ],
        ),
        (
            container(
                json!({"env": [{"name": "A", "valueFrom": {}}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}}]}),
            ),
            &[
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, \
                 `configMapKeyRef` or `secretKeyRef`",
                "spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.x\": error converting fieldPath: field \
                 label not supported: spec.x",
            ],
        ),
        (
            container(json!({"livenessProbe": {"successThreshold": 2}})),
            &[
                "spec.containers[0].livenessProbe: Required value: must specify a handler type",
                "spec.containers[0].livenessProbe.successThreshold: Invalid value: 2: must be 1",
            ],
        ),
        (
            container(json!({"readinessProbe": {"httpGet": {"port": "not_a_port"}, "exec": {"command": ["x"]}}})),
            &["spec.containers[0].readinessProbe.httpGet: Forbidden: may not specify more than 1 handler type"],
        ),
    ]);
}

#[test]
fn pod_specs_are_checked() {
    check_creates(vec![
        (
            pod(json!({"restartPolicy": "Sometimes"})),
            &[
                "spec.restartPolicy: Unsupported value: \"Sometimes\": supported values: \"Always\", \"OnFailure\", \"Never\"",
            ],
        ),
        (
            pod(json!({"activeDeadlineSeconds": 0})),
            &["spec.activeDeadlineSeconds: Invalid value: 0: must be between 1 and 2147483647, inclusive"],
        ),
        (
            pod(
                json!({"volumes": [{"name": "v", "secret": {}}, {"name": "v", "emptyDir": {}, "hostPath": {"path": "/x"}}]}),
            ),
            &[
                "spec.volumes[0].secret.secretName: Required value",
                "spec.volumes[1].hostPath: Forbidden: may not specify more than 1 volume type",
                "spec.volumes[1].name: Duplicate value: \"v\"",
            ],
        ),
        (
            pod(json!({"volumes": [{"name": "h", "hostPath": {"path": "/a/../b"}}]})),
            &["spec.volumes[0].hostPath.path: Invalid value: \"/a/../b\": must not contain '..'"],
        ),
        (
            pod(
                json!({"initContainers": [{"name": "c", "image": "i", "livenessProbe": {"exec": {"command": ["x"]}}}]}),
            ),
            &[
                "spec.initContainers[0].name: Duplicate value: \"c\"",
                "spec.initContainers[0].livenessProbe: Forbidden: may not be set for init containers without restartPolicy=Always",
            ],
        ),
        (
            pod(
                json!({"tolerations": [{"operator": "Equal"}, {"key": "k", "operator": "Exists", "tolerationSeconds": 1}]}),
            ),
            &[
                "spec.tolerations[0].operator: Invalid value: \"Equal\": operator must be Exists when `key` is empty, which means \
                 \"match all values and all keys\"",
                "spec.tolerations[1].effect: Invalid value: \"\": effect must be 'NoExecute' when `tolerationSeconds` is set",
            ],
        ),
        (
            pod(json!({"dnsPolicy": "None"})),
            &[
                "spec.dnsConfig.nameservers: Required value: must provide at least one DNS nameserver when `dnsPolicy` is None",
            ],
        ),
    ]);
}

#[test]
fn little_of_a_pod_may_change() {
    let old = stored(pod(json!({"tolerations": [{"key": "k", "operator": "Exists"}], "activeDeadlineSeconds": 60})));
    let forbidden = |changed: &str| {
        format!(
            "spec: Forbidden: pod updates may not change fields other than `spec.containers[*].image`,`spec.initContainers[*].image`,\
             `spec.activeDeadlineSeconds`,`spec.tolerations` (only additions to existing tolerations),\
             `spec.terminationGracePeriodSeconds` (allow it to be set to 1 if it was previously negative)\nchanged: {changed}"
        )
    };
    let cases = [
        (json!({"containers": [{"name": "c", "image": "i:2"}]}), vec![]),
        (json!({"nodeName": "n1"}), vec![forbidden("`spec.nodeName`")]),
        (
            json!({"containers": [{"name": "c", "image": "i:1", "command": ["x"]}]}),
            vec![forbidden("`spec.containers[0].command`")],
        ),
        (
            json!({"activeDeadlineSeconds": 90}),
            vec![
                "spec.activeDeadlineSeconds: Invalid value: 90: must be less than or equal to previous value"
                    .to_owned(),
            ],
        ),
        (
            json!({"tolerations": []}),
            vec![
                "spec.tolerations: Forbidden: existing toleration can not be modified except its tolerationSeconds"
                    .to_owned(),
            ],
        ),
        (json!({"tolerations": [{"key": "k", "operator": "Exists"}, {"key": "l", "operator": "Exists"}]}), vec![]),
        (
            json!({"containers": [{"name": "c", "image": "i:1"}, {"name": "d", "image": "i:1"}]}),
            vec!["spec.containers: Forbidden: pod updates may not add or remove containers".to_owned()],
        ),
    ];
    for (patch, expected) in cases {
        assert_eq!(update(&old, &json!({ "spec": patch })).1, expected, "{patch}");
    }
    let (new, faults) = update(&old, &json!({"status": {"phase": "Failed"}}));
    assert_eq!((new["status"]["phase"].as_str(), faults.len()), (Some("Pending"), 0));
    let (new, faults) = update_status(
        &old,
        &json!({"metadata": {"labels": {"new": "x"}}, "spec": {"nodeName": "zzz"}, "status": {"message": "m", "qosClass": null}}),
    );
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!((new["spec"] == old["spec"], new["status"]["message"].as_str()), (true, Some("m")));
    assert_eq!(
        (new["status"]["qosClass"].as_str(), new["metadata"]["labels"]["new"].as_str()),
        (Some("BestEffort"), Some("x"))
    );
}

#[test]
fn removed_admission_tolerations_come_back() {
    let mut old = stored(pod(json!({})));
    (kind_of(&old).prepare_update)(&mut old.clone(), &old);
    let admitted = update(&old, &json!({})).0;
    old = admitted;
    let (new, faults) = update(&old, &json!({"spec": {"tolerations": [{"key": "k", "operator": "Exists"}]}}));
    let keys: Vec<_> =
        new["spec"]["tolerations"].as_array().unwrap().iter().map(|one| one["key"].as_str().unwrap()).collect();
    assert_eq!(keys, ["k", "node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"]);
    assert_eq!(faults, Vec::<String>::new());
}

#[test]
fn workloads_are_checked() {
    check_creates(vec![
        (deployment(json!({"selector": null})), &["spec.selector: Required value"]),
        (
            deployment(json!({"replicas": -1})),
            &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            deployment(json!({"template": {"metadata": {"labels": {"app": "e"}}}})),
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"e\"}: `selector` does not match template `labels`",
            ],
        ),
        (
            deployment(json!({"template": {"spec": {"restartPolicy": "Never"}}})),
            &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
        ),
        (
            deployment(json!({"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}})),
            &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
        ),
        (
            deployment(json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}})),
            &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
        ),
        (
            deployment(json!({"minReadySeconds": 600})),
            &["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
        ),
        (
            deployment(
                json!({"template": {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b"}, {"image": "x"}]}}}),
            ),
            &[
                "spec.template.spec.containers[1].image: Required value",
                "spec.template.spec.containers[2].name: Required value",
            ],
        ),
    ]);
    check_updates(
        deployment(json!({})),
        vec![
            (
                json!({"spec": {"selector": {"matchLabels": {"app": "e"}}, "template": {"metadata": {"labels": {"app": "e"}}}}}),
                &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"e\"}}: field is immutable"],
            ),
            (json!({"spec": {"replicas": 5}}), &[]),
        ],
    );
}

#[test]
fn the_rest_is_checked() {
    let slice = |rest: Value| {
        let mut object = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {}, "addressType": "IPv4"});
        merge(&mut object, &rest);
        object
    };
    let lease =
        |spec: Value| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {}, "spec": spec});
    check_creates(vec![
        (
            slice(json!({"addressType": "X"})),
            &["addressType: Unsupported value: \"X\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""],
        ),
        (
            slice(json!({"endpoints": [{"addresses": []}, {"addresses": ["::1"]}, {"addresses": ["127.0.0.1"]}]})),
            &[
                "endpoints[0].addresses: Required value: must contain at least 1 address",
                "endpoints[1].addresses[0]: Invalid value: \"::1\": must be an IPv4 address",
                "endpoints[1].addresses[0]: Invalid value: \"::1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "endpoints[2].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ],
        ),
        (slice(json!({"ports": [{"port": 80}, {"port": 81}]})), &["ports[1].name: Duplicate value: \"\""]),
        (
            lease(json!({"leaseDurationSeconds": 0})),
            &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
        ),
        (
            core("Event", json!({"involvedObject": {"namespace": "b"}})),
            &["involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"],
        ),
        (
            core("Endpoints", json!({"subsets": [{"ports": [{"port": 1}]}]})),
            &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
        ),
        (
            core("Node", json!({"spec": {"taints": [{"key": "k", "effect": "Sometimes"}]}})),
            &[
                "spec.taints[0].effect: Unsupported value: \"Sometimes\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ],
        ),
    ]);
    check_updates(
        slice(json!({})),
        vec![(json!({"addressType": "IPv6"}), &["addressType: Invalid value: \"IPv6\": field is immutable"])],
    );
    let namespace = stored(core("Namespace", json!({"metadata": {"name": "n"}})));
    let (new, faults) = update(
        &namespace,
        &json!({"metadata": {"labels": {"kubernetes.io/metadata.name": "other"}}, "spec": {"finalizers": []}, "status": {"phase": "X"}}),
    );
    assert_eq!((new, faults), (namespace, vec![]));
}
