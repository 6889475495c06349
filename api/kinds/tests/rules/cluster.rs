//! PriorityClass, RuntimeClass, APIService.

use serde_json::{Value, json};

use super::{check_creates, check_updates, in_group, merge, stored, update_status};

#[test]
fn priority_classes_are_checked() {
    let class = |rest: Value| {
        let mut object = in_group("scheduling.k8s.io/v1", "PriorityClass", json!({"value": 10}));
        merge(&mut object, &rest);
        object
    };
    check_creates(vec![
        (class(json!({"value": 1_000_000_000})), &[]),
        (
            class(json!({"value": 1_000_000_001})),
            &["value: Forbidden: maximum allowed value of a user defined priority is 1000000000"],
        ),
        (class(json!({"metadata": {"name": "system-node-critical"}, "value": 2_000_001_000})), &[]),
        (
            class(json!({"metadata": {"name": "system-mine"}})),
            &[
                "metadata.name: Forbidden: priority class names with 'system-' prefix are reserved for system use only. error: system-mine \
                 is not a known system priority class",
            ],
        ),
        (
            class(json!({"preemptionPolicy": "Always"})),
            &["preemptionPolicy: Unsupported value: \"Always\": supported values: \"PreemptLowerPriority\", \"Never\""],
        ),
    ]);
    check_updates(
        class(json!({})),
        vec![
            (json!({"description": "x"}), &[]),
            (
                json!({"value": 11, "preemptionPolicy": "Never"}),
                &[
                    "value: Forbidden: may not be changed in an update.",
                    "preemptionPolicy: Invalid value: \"Never\": field is immutable",
                ],
            ),
        ],
    );
}

#[test]
fn runtime_classes_are_checked() {
    let class = |rest: Value| {
        let mut object = in_group("node.k8s.io/v1", "RuntimeClass", json!({"handler": "h"}));
        merge(&mut object, &rest);
        object
    };
    check_creates(vec![
        (class(json!({"overhead": {"podFixed": {"cpu": "1m"}}, "scheduling": {"nodeSelector": {"a": "b"}}})), &[]),
        (class(json!({"handler": "a.b"})), &["handler: Invalid value: \"a.b\": must not contain dots"]),
        (
            class(json!({"overhead": {"podFixed": {"cpu": "-1"}}})),
            &["overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
        (
            class(json!({"scheduling": {"tolerations": [{"operator": "Exists", "value": "x"}]}})),
            &[
                "scheduling.tolerations[0].operator: Invalid value: \"x\": value must be empty when `operator` is 'Exists'",
            ],
        ),
        (
            class(json!({"scheduling": {"tolerations": [{"operator": "Exists"}, {"operator": "Exists"}]}})),
            &["scheduling.tolerations[1]: Duplicate value: {\"operator\":\"Exists\"}"],
        ),
    ]);
    check_updates(
        class(json!({})),
        vec![(json!({"handler": "i"}), &["handler: Invalid value: \"i\": field is immutable"])],
    );
}

#[test]
fn api_services_are_checked() {
    let service = |spec: Value| {
        let spec_of =
            json!({"group": "a.example.com", "version": "v1", "groupPriorityMinimum": 1, "versionPriority": 1});
        let metadata = json!({"name": "v1.a.example.com"});
        let mut object =
            in_group("apiregistration.k8s.io/v1", "APIService", json!({"metadata": metadata, "spec": spec_of}));
        merge(&mut object["spec"], &spec);
        object
    };
    let by = json!({"namespace": "a", "name": "s"});
    check_creates(vec![
        (service(json!({"service": by, "caBundle": "eA=="})), &[]),
        (
            service(json!({"service": {"namespace": "a", "name": "s", "port": 65536}})),
            &["spec.service.port: Invalid value: 65536: port is not valid: must be between 1 and 65535, inclusive"],
        ),
        (
            service(json!({"version": "v2"})),
            &[
                "metadata.name: Invalid value: \"v1.a.example.com\": must be `spec.version+\".\"+spec.group`: \"v2.a.example.com\"",
            ],
        ),
        (
            service(json!({"groupPriorityMinimum": 20_001, "versionPriority": 0})),
            &[
                "spec.groupPriorityMinimum: Invalid value: 20001: must be positive and less than 20000",
                "spec.versionPriority: Invalid value: 0: must be positive and less than 1000",
            ],
        ),
        (
            service(json!({"caBundle": "eA==", "insecureSkipTLSVerify": true})),
            &[
                "spec.caBundle: Invalid value: \"1 bytes\": local APIServices may not have a caBundle",
                "spec.insecureSkipTLSVerify: Invalid value: true: local APIServices may not have insecureSkipTLSVerify",
            ],
        ),
        (
            service(json!({"service": {}, "caBundle": "eA==", "insecureSkipTLSVerify": true})),
            &[
                "spec.service.namespace: Required value",
                "spec.service.name: Required value",
                "spec.insecureSkipTLSVerify: Invalid value: true: may not be true if caBundle is present",
            ],
        ),
    ]);
    let local = stored(service(json!({})));
    assert_eq!(local["status"]["conditions"][0]["reason"], "Local");
    let (new, faults) =
        update_status(&local, &json!({"status": {"conditions": [{"type": "Available", "status": "Maybe"}]}}));
    assert_eq!(new["status"]["conditions"][0]["lastTransitionTime"], "2026-01-02T03:04:05Z");
    assert_eq!(
        faults,
        [
            "status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"True\", \"False\", \"Unknown\""
        ]
    );
}
