//! Pods: containers, volumes, when they restart.

use serde_json::{Value, json};

use super::{check_creates, container, create, pod, stored};

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
                json!({"env": [{"name": "A", "valueFrom": {}}, {"name": "B", "valueFrom": {"fieldRef": {"fieldPath": "spec.x"}}},
                               {"name": "C", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName", "apiVersion": "v2"}}}]}),
            ),
            &[
                "spec.containers[0].env[0].valueFrom: Invalid value: \"\": must specify one of: `fieldRef`, `resourceFieldRef`, \
                 `configMapKeyRef`, `secretKeyRef` or `fileKeyRef`",
                "spec.containers[0].env[1].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.x\": error converting fieldPath: field \
                 label not supported: spec.x",
                "spec.containers[0].env[2].valueFrom.fieldRef.fieldPath: Invalid value: \"spec.nodeName\": error converting fieldPath: \
                 unsupported pod version: v2",
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
fn images_of_volumes_are_pulled_as_those_of_containers() {
    for (image, policy) in [("i:1", "IfNotPresent"), ("i", "Always"), ("i:latest", "Always")] {
        let volume = json!({"name": "v", "image": {"reference": image}});
        let pod = stored(pod(json!({"volumes": [volume]})));
        assert_eq!(pod["spec"]["volumes"][0]["image"]["pullPolicy"], policy, "{image}");
    }
}

#[test]
fn restarts_follow_rules() {
    let codes = json!({"operator": "In", "values": [42]});
    let rules = |rest: Value| container(json!({"restartPolicy": "Never", "restartPolicyRules": [rest]}));
    check_creates(vec![
        (rules(json!({"action": "Restart", "exitCodes": codes})), &[]),
        (rules(json!({"action": "RestartAllContainers", "exitCodes": codes})), &[]),
        (
            rules(json!({"action": "Stop", "exitCodes": {"operator": "Is"}})),
            &[
                "spec.containers[0].restartPolicyRules[0].action: Unsupported value: \"Stop\": supported values: \"Restart\", \
                 \"RestartAllContainers\"",
                "spec.containers[0].restartPolicyRules[0].exitCodes.operator: Unsupported value: \"Is\": supported values: \"In\", \
                 \"NotIn\"",
            ],
        ),
        (
            rules(json!({"action": "Restart"})),
            &["spec.containers[0].restartPolicyRules[0].exitCodes: Required value: must be specified"],
        ),
        (
            container(json!({"restartPolicyRules": [{"action": "Restart", "exitCodes": codes}]})),
            &[
                "spec.containers[0].restartPolicy: Required value: must specify restartPolicy when restart rules are used",
            ],
        ),
        (
            container(
                json!({"restartPolicy": "Never", "restartPolicyRules": vec![json!({"action": "Restart", "exitCodes": codes}); 21]}),
            ),
            &["spec.containers[0].restartPolicyRules: Too many: 21: must have at most 20 items"],
        ),
    ]);
    let resize = |policies: Value, of_pod: &str| {
        pod(json!({"restartPolicy": of_pod, "containers": [{"name": "c", "image": "i", "resizePolicy": policies}]}))
    };
    let policy = |resource: &str, restart: &str| json!({"resourceName": resource, "restartPolicy": restart});
    check_creates(vec![
        (resize(json!([policy("cpu", "NotRequired"), policy("memory", "RestartContainer")]), "Always"), &[]),
        (
            resize(json!([policy("cpu", "NotRequired"), policy("cpu", "NotRequired")]), "Always"),
            &["spec.containers[0].resizePolicy[1]: Duplicate value: \"cpu\""],
        ),
        (
            resize(json!([policy("disk", "Maybe")]), "Always"),
            &[
                "spec.containers[0].resizePolicy: Unsupported value: \"disk\": supported values: \"cpu\", \"memory\"",
                "spec.containers[0].resizePolicy: Unsupported value: \"Maybe\": supported values: \"NotRequired\", \"RestartContainer\"",
            ],
        ),
        (
            resize(json!([policy("memory", "RestartContainer")]), "Never"),
            &[
                "spec.containers[0].resizePolicy: Invalid value: \"RestartContainer\": must be 'NotRequired' when `restartPolicy` is 'Never'",
            ],
        ),
    ]);
}

#[test]
fn hosts_call_a_pod_by_one_name() {
    check_creates(vec![
        (pod(json!({"hostnameOverride": "a.example.com"})), &[]),
        (
            pod(json!({"hostnameOverride": "a", "hostNetwork": true, "setHostnameAsFQDN": true})),
            &[
                "spec.hostnameOverride: Forbidden: may not be specified when `hostNetwork` is true",
                "spec.hostnameOverride: Forbidden: may not be specified when `setHostnameAsFQDN` is true",
            ],
        ),
        (
            pod(json!({"hostnameOverride": "a".repeat(65)})),
            &["spec.hostnameOverride: Too long: may not be more than 64 bytes"],
        ),
    ]);
}

#[test]
fn a_pod_that_is_held_back_says_so() {
    let condition = |spec: Value| stored(pod(spec))["status"]["conditions"][0].clone();
    let gated = condition(json!({"schedulingGates": [{"name": "g"}]}));
    assert_eq!(
        (&gated["type"], &gated["status"], &gated["reason"]),
        (&json!("PodScheduled"), &json!("False"), &json!("SchedulingGated"))
    );
    assert_eq!(condition(json!({})), Value::Null);
}
