//! Pods: containers, volumes, what may change.

use serde_json::{Value, json};

use super::{check_creates, container, create, kind_of, pod, stored, update, update_status};

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
            pod(json!({"dnsPolicy": "None", "dnsConfig": {}})),
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
fn faults_stand_where_kubernetes_places_them() {
    let volumes = json!([
        {"name": "v", "emptyDir": {}},
        {"name": "d", "downwardAPI": {"items": [{"path": "/abs", "fieldRef": {"fieldPath": "status.podIP"}}]}},
        {"name": "p", "projected": {"sources": [
            {"configMap": {"name": "m", "items": [{"key": "k", "path": "x"}]}},
            {"secret": {"name": "s", "items": [{"key": "k", "path": "x"}]}},
        ]}},
    ]);
    let mount = json!({"name": "v", "mountPath": "/v", "subPath": "../x", "mountPropagation": "Bidirectional"});
    let probe = json!({"httpGet": {"port": 80, "httpHeaders": [{"name": "a b"}]}});
    let container =
        json!({"name": "c", "image": "i", "volumeMounts": [mount], "envFrom": [{}], "livenessProbe": probe});
    assert_eq!(
        create(pod(json!({"volumes": volumes, "containers": [container]}))),
        [
            "spec.volumes[1].downwardAPI.path: Invalid value: \"/abs\": must be a relative path",
            "spec.volumes[1].downwardAPI.fieldRef.fieldPath: Unsupported value: \"status.podIP\": supported values: \
             \"metadata.annotations\", \"metadata.labels\", \"metadata.name\", \"metadata.namespace\", \"metadata.uid\"",
            "spec.volumes[2].projected: Invalid value: \"s\": conflicting duplicate paths",
            "spec.containers[0].envFrom: Invalid value: \"\": must specify one of: `configMapRef` or `secretRef`",
            "spec.containers[0].volumeMounts.subPath: Invalid value: \"../x\": must not contain '..'",
            "spec.containers[0].volumeMounts.mountPropagation: Forbidden: Bidirectional mount propagation is available only to \
             privileged containers",
            "spec.containers[0].livenessProbe.httpGet.httpHeaders: Invalid value: \"a b\": a valid HTTP header must consist of \
             alphanumeric characters or '-' (e.g. 'X-Header-Name', regex used for validation is '[-A-Za-z0-9]+')",
        ]
    );
}

#[test]
fn a_pod_that_is_held_back_may_be_narrowed() {
    let old = stored(pod(json!({"schedulingGates": [{"name": "g"}], "nodeSelector": {"a": "1"}})));
    let check =
        |patch: Value, expected: &[&str]| assert_eq!(update(&old, &json!({ "spec": patch })).1, expected, "{patch}");
    check(json!({"nodeSelector": {"b": "2"}}), &[]);
    check(json!({"schedulingGates": []}), &[]);
    check(
        json!({"nodeSelector": {"a": "2"}}),
        &[
            "spec.nodeSelector: Invalid value: {\"a\":\"2\"}: only additions to spec.nodeSelector are allowed (no mutations or deletions)",
        ],
    );
    check(
        json!({"schedulingGates": [{"name": "h"}]}),
        &["spec.schedulingGates[0].name: Forbidden: only deletion is allowed, but found new scheduling gate 'h'"],
    );
    let terms = json!([{"matchExpressions": [{"key": "k", "operator": "Exists"}]}]);
    let required = json!({"requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": terms}});
    check(json!({"affinity": {"nodeAffinity": required}}), &[]);
}

#[test]
fn what_has_ended_stays_ended() {
    let status = |state: Value| json!({"name": "c", "ready": false, "restartCount": 0, "image": "", "imageID": "", "state": state});
    let ended = |code: i64| status(json!({"terminated": {"exitCode": code}}));
    let running = json!({"status": {"containerStatuses": [status(json!({"running": {}}))]}});
    let cases = [("Never", 1, 1), ("OnFailure", 0, 1), ("OnFailure", 1, 0), ("Always", 0, 0)];
    for (policy, code, faults) in cases {
        let mut old = stored(pod(json!({"restartPolicy": policy})));
        old["status"]["containerStatuses"] = json!([ended(code)]);
        let found = update_status(&old, &running).1;
        assert_eq!(found.len(), faults, "{policy} {code} {found:?}");
    }
}

#[test]
fn containers_for_debugging_come_and_stay() {
    let kind = kind_of(&pod(json!({})));
    let edit = kind.edit(kontiki_kinds::Subresource::EphemeralContainers).unwrap();
    let change = |old: &Value, patch: Value| {
        let mut new = old.clone();
        super::merge(&mut new, &patch);
        super::defaulted(&mut new);
        super::settled(&mut new);
        (edit.prepare)(&mut new, old);
        let mut faults = kontiki_model::Faults::default();
        (edit.validate)(&new, old, &mut faults);
        (new, super::told(&faults))
    };
    let debug = json!({"spec": {"hostname": "other", "ephemeralContainers": [{"name": "dbg", "image": "i:1"}]}});
    let old = stored(pod(json!({})));
    let (with, faults) = change(&old, debug);
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(
        (&with["spec"]["hostname"], &with["spec"]["ephemeralContainers"][0]["name"]),
        (&Value::Null, &json!("dbg"))
    );
    let (_, faults) = change(&with, json!({"spec": {"ephemeralContainers": []}}));
    assert_eq!(
        faults,
        ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"dbg\" may not be removed\n"]
    );
    for (member, value) in [
        ("resources", json!({"limits": {"cpu": "1"}})),
        ("restartPolicy", json!("Always")),
        ("ports", json!([{"containerPort": 80}])),
        ("lifecycle", json!({"preStop": {"exec": {"command": ["x"]}}})),
    ] {
        let debug = json!({"spec": {"ephemeralContainers": [{"name": "dbg", "image": "i:1", member: value}]}});
        let expected =
            format!("spec.ephemeralContainers[0].{member}: Forbidden: cannot be set for an Ephemeral Container");
        assert_eq!(change(&old, debug).1, [expected]);
    }
    let (_, faults) = change(&with, json!({"spec": {"ephemeralContainers": [{"name": "dbg", "image": "i:2"}]}}));
    assert_eq!(
        faults,
        ["spec.ephemeralContainers: Forbidden: existing ephemeral containers \"dbg\" may not be changed\n"]
    );
}

#[test]
fn what_containers_may_use_changes_within_the_class() {
    let kind = kind_of(&pod(json!({})));
    let edit = kind.edit(kontiki_kinds::Subresource::Resize).unwrap();
    let uses = |requests: Value, limits: Value| json!({"requests": requests, "limits": limits});
    let with = |resources: Value| json!({"containers": [{"name": "c", "image": "i:1", "resources": resources}]});
    let old =
        stored(pod(with(uses(json!({"cpu": "100m", "memory": "64Mi"}), json!({"cpu": "200m", "memory": "64Mi"})))));
    let change = |old: &Value, spec: Value| {
        let mut new = old.clone();
        super::merge(&mut new, &json!({"spec": spec}));
        super::defaulted(&mut new);
        super::settled(&mut new);
        (edit.prepare)(&mut new, old);
        let mut faults = kontiki_model::Faults::default();
        (edit.validate)(&new, old, &mut faults);
        (new, super::told(&faults))
    };
    let more = uses(json!({"cpu": "150m", "memory": "64Mi"}), json!({"cpu": "1", "memory": "128Mi"}));
    let mut spec = with(more.clone());
    spec["hostname"] = json!("other");
    spec["containers"][0]["image"] = json!("i:2");
    let (new, faults) = change(&old, spec);
    assert_eq!(faults, Vec::<String>::new());
    let container = &new["spec"]["containers"][0];
    assert_eq!((&container["resources"], &container["image"]), (&more, &json!("i:1")));
    assert_eq!(new["spec"]["hostname"], Value::Null);
    let equal = json!({"cpu": "200m", "memory": "64Mi"});
    for (resources, expected) in [
        (
            uses(equal.clone(), equal),
            "spec: Invalid value: \"Burstable\": Pod QOS Class may not change as a result of resizing",
        ),
        (
            uses(json!({"cpu": "100m", "memory": "64Mi"}), json!({"cpu": "200m"})),
            "spec.containers[0].resources.limits: Forbidden: resource limits cannot be removed",
        ),
        (
            uses(
                json!({"cpu": "100m", "memory": "64Mi", "ephemeral-storage": "1Gi"}),
                json!({"cpu": "200m", "memory": "64Mi"}),
            ),
            "spec: Forbidden: only cpu and memory resources are mutable",
        ),
    ] {
        assert_eq!(change(&old, with(resources)).1, [expected]);
    }
    let renamed = json!({"containers": [{"name": "d", "image": "i:1", "resources": more}]});
    assert_eq!(
        change(&old, renamed).1,
        ["spec.containers[0].name: Forbidden: containers may not be renamed or reordered on resize"]
    );
    let mut running = old.clone();
    running["status"]["containerStatuses"] = json!([{"name": "c", "state": {"running": {}}}]);
    assert_eq!(change(&running, with(more)).1, ["spec: Forbidden: Pod running on node without support for resize"]);
}

#[test]
fn images_of_volumes_are_pulled_as_those_of_containers() {
    for (image, policy) in [("i:1", "IfNotPresent"), ("i", "Always"), ("i:latest", "Always")] {
        let volume = json!({"name": "v", "image": {"reference": image}});
        let pod = stored(pod(json!({"volumes": [volume]})));
        assert_eq!(pod["spec"]["volumes"][0]["image"]["pullPolicy"], policy, "{image}");
    }
}
