//! Autoscalers, disruption budgets, limits and quotas, and storage.

use serde_json::{Value, json};

use super::{check_creates, check_updates, core, merge, stored, update, update_status};

fn autoscaler(spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "autoscaling/v2", "kind": "HorizontalPodAutoscaler", "metadata": {},
        "spec": {"maxReplicas": 3, "scaleTargetRef": {"apiVersion": "apps/v1", "kind": "Deployment", "name": "d"}},
    });
    merge(&mut object["spec"], &spec);
    object
}

#[test]
fn autoscalers_are_checked() {
    let metric = |metric: Value| autoscaler(json!({"metrics": [metric]}));
    let resource = |target: Value| metric(json!({"type": "Resource", "resource": {"name": "cpu", "target": target}}));
    check_creates(vec![
        (autoscaler(json!({})), &[]),
        (
            autoscaler(json!({"minReplicas": 0})),
            &["spec.minReplicas: Invalid value: 0: must be greater than or equal to 1"],
        ),
        (
            autoscaler(json!({"minReplicas": 4})),
            &["spec.maxReplicas: Invalid value: 3: must be greater than or equal to `minReplicas`"],
        ),
        (
            autoscaler(json!({"scaleTargetRef": {"apiVersion": "v1", "kind": "", "name": "a/b"}})),
            &[
                "spec.scaleTargetRef.kind: Required value",
                "spec.scaleTargetRef.name: Invalid value: \"a/b\": may not contain '/'",
                "spec.scaleTargetRef.apiVersion: Invalid value: \"v1\": apiVersion must specify API group",
            ],
        ),
        (autoscaler(json!({"scaleTargetRef": {"apiVersion": "v1", "kind": "ReplicationController"}})), &[]),
        (
            metric(json!({"type": "Guess"})),
            &[
                "spec.metrics[0].type: Unsupported value: \"Guess\": supported values: \"ContainerResource\", \"External\", \"Object\", \"Pods\", \
                 \"Resource\"",
            ],
        ),
        (
            metric(
                json!({"type": "Pods", "resource": {"name": "cpu", "target": {"type": "Value", "averageValue": "1"}}}),
            ),
            &["spec.metrics[0].pods: Required value: must populate information for the given metric source"],
        ),
        (
            resource(json!({"type": "Utilization"})),
            &[
                "spec.metrics[0].resource.target.averageUtilization: Required value: must set either a target raw value or a target \
                 utilization",
            ],
        ),
        (
            resource(json!({"type": "Utilization", "averageUtilization": 0, "averageValue": "-1"})),
            &[
                "spec.metrics[0].resource.target.averageValue: Invalid value: \"-1\": must be positive",
                "spec.metrics[0].resource.target.averageUtilization: Invalid value: 0: must be greater than 0",
                "spec.metrics[0].resource.target.averageValue: Forbidden: may not set both a target raw value and a target utilization",
            ],
        ),
        (
            autoscaler(json!({"behavior": {"scaleUp": {
                "stabilizationWindowSeconds": 3601, "selectPolicy": "Avg", "policies": [{"type": "Share", "value": 0, "periodSeconds": 1801}],
            }}})),
            &[
                "spec.behavior.scaleUp.stabilizationWindowSeconds: Invalid value: 3601: must be less than or equal to 3600",
                "spec.behavior.scaleUp.selectPolicy: Unsupported value: \"Avg\": supported values: \"Disabled\", \"Max\", \"Min\"",
                "spec.behavior.scaleUp.policies[0].type: Unsupported value: \"Share\": supported values: \"Percent\", \"Pods\"",
                "spec.behavior.scaleUp.policies[0].value: Invalid value: 0: must be greater than zero",
                "spec.behavior.scaleUp.policies[0].periodSeconds: Invalid value: 1801: must be less than or equal to 1800",
            ],
        ),
    ]);
    let old = stored(autoscaler(json!({})));
    assert_eq!(
        update_status(&old, &json!({"status": {"desiredReplicas": -1}})).1,
        ["status.desiredReplicas: Invalid value: -1: must be greater than or equal to 0"]
    );
}

#[test]
fn disruption_budgets_are_checked() {
    let budget =
        |spec: Value| json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {}, "spec": spec});
    check_creates(vec![
        (budget(json!({"minAvailable": "50%"})), &[]),
        (
            budget(json!({"minAvailable": "150%"})),
            &["spec.minAvailable: Invalid value: \"150%\": must not be greater than 100%"],
        ),
        (
            budget(json!({"minAvailable": 1, "maxUnavailable": -1})),
            &[
                "spec: Invalid value: {\"minAvailable\":1,\"maxUnavailable\":-1}: minAvailable and maxUnavailable cannot be both set",
                "spec.maxUnavailable: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            budget(json!({"unhealthyPodEvictionPolicy": "Ask"})),
            &[
                "spec.unhealthyPodEvictionPolicy: Unsupported value: \"Ask\": supported values: \"AlwaysAllow\", \"IfHealthyBudget\"",
            ],
        ),
    ]);
    let old = stored(budget(json!({"minAvailable": 1})));
    assert_eq!(
        update_status(
            &old,
            &json!({"status": {"currentHealthy": -1, "conditions": [{"type": "A", "status": "Maybe"}]}})
        )
        .1,
        [
            "status.conditions[0].status: Unsupported value: \"Maybe\": supported values: \"False\", \"True\", \"Unknown\"",
            "status.conditions[0].lastTransitionTime: Required value: must be set",
            "status.conditions[0].reason: Required value: must be set",
            "status.currentHealthy: Invalid value: -1: must be greater than or equal to 0",
        ]
    );
}

#[test]
fn limits_are_checked() {
    let limits = |limit: Value| core("LimitRange", json!({"spec": {"limits": [limit]}}));
    check_creates(vec![
        (
            limits(
                json!({"type": "Container", "min": {"cpu": "1"}, "max": {"cpu": "2"}, "maxLimitRequestRatio": {"cpu": "2"}}),
            ),
            &[],
        ),
        (
            limits(json!({"type": "Node"})),
            &["spec.limits[0].type: Invalid value: \"Node\": must be a standard limit type or fully qualified"],
        ),
        (
            limits(json!({"type": "Pod", "default": {"cpu": "1"}, "min": {"cpu": "2"}, "max": {"cpu": "1"}})),
            &[
                "spec.limits[0].default: Forbidden: may not be specified when `type` is 'Pod'",
                "spec.limits[0].min[cpu]: Invalid value: \"2\": min value 2 is greater than max value 1",
                "spec.limits[0].default[cpu]: Invalid value: \"2\": min value 2 is greater than default value 1",
            ],
        ),
        (
            limits(
                json!({"type": "Container", "default": {"cpu": "1"}, "defaultRequest": {"cpu": "2"}, "maxLimitRequestRatio": {"memory": "500m"}}),
            ),
            &[
                "spec.limits[0].defaultRequest[cpu]: Invalid value: \"2\": default request value 2 is greater than default limit value 1",
                "spec.limits[0].maxLimitRequestRatio[memory]: Invalid value: \"500m\": ratio 500m is less than 1",
            ],
        ),
        (
            limits(json!({"type": "PersistentVolumeClaim", "max": {"cpu": "1"}})),
            &[
                "spec.limits[0].limits: Required value: either minimum or maximum storage value is required, but neither was provided",
            ],
        ),
        (
            core("LimitRange", json!({"spec": {"limits": [{"type": "Pod"}, {"type": "Pod"}]}})),
            &["spec.limits[1].type: Duplicate value: \"Pod\""],
        ),
    ]);
}

#[test]
fn quotas_are_checked() {
    let quota = |spec: Value| core("ResourceQuota", json!({"spec": spec}));
    check_creates(vec![
        (quota(json!({"hard": {"pods": "3", "count/jobs.batch": "1", "requests.cpu": "500m"}})), &[]),
        (
            quota(json!({"hard": {"things": "1"}})),
            &[
                "spec.hard[things]: Invalid value: \"things\": must be a standard resource type or fully qualified",
                "spec.hard[things]: Invalid value: \"things\": must be a standard resource for quota",
            ],
        ),
        (quota(json!({"hard": {"pods": "500m"}})), &["spec.hard[pods]: Invalid value: \"500m\": must be an integer"]),
        (
            quota(json!({"hard": {"services": "1"}, "scopes": ["BestEffort", "NotBestEffort"]})),
            &[
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: unsupported scope applied to resource",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: unsupported scope applied to resource",
                "spec.scopes: Invalid value: [\"BestEffort\",\"NotBestEffort\"]: conflicting scopes",
            ],
        ),
        (
            quota(json!({"scopeSelector": {"matchExpressions": [{"scopeName": "PriorityClass", "operator": "In"}]}})),
            &[
                "spec.scopeSelector.matchExpressions.values: Required value: must be at least one value when `operator` is 'In' or 'NotIn' for \
                 scope selector",
            ],
        ),
    ]);
    check_updates(
        quota(json!({"scopes": ["Terminating"]})),
        vec![
            (json!({"spec": {"hard": {"pods": "1"}}}), &[]),
            (json!({"spec": {"scopes": null}}), &["spec.scopes: Invalid value: null: field is immutable"]),
        ],
    );
}

fn volume(spec: Value) -> Value {
    let mut object = core(
        "PersistentVolume",
        json!({"metadata": {"name": "v"}, "spec": {
            "capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/d"},
        }}),
    );
    merge(&mut object["spec"], &spec);
    object
}

#[test]
fn volumes_are_checked() {
    check_creates(vec![
        (volume(json!({})), &[]),
        (
            volume(json!({"capacity": {"storage": "0"}, "accessModes": ["Often"]})),
            &[
                "spec.accessModes: Unsupported value: \"Often\": supported values: \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \
                 \"ReadWriteOncePod\"",
                "spec.capacity[storage]: Invalid value: \"0\": must be greater than zero",
            ],
        ),
        (volume(json!({"hostPath": null})), &["spec: Required value: must specify a volume type"]),
        (volume(json!({"local": {"path": "/x"}})), &["spec.local: Forbidden: may not specify more than 1 volume type"]),
        (
            volume(json!({"hostPath": null, "local": {"path": "/x/.."}})),
            &[
                "spec.local.path: Invalid value: \"/x/..\": must not contain '..'",
                "spec.nodeAffinity: Required value: Local volume requires node affinity",
            ],
        ),
        (
            volume(json!({"persistentVolumeReclaimPolicy": "Shred", "volumeMode": "Tape", "storageClassName": "A"})),
            &[
                "spec.persistentVolumeReclaimPolicy: Unsupported value: \"Shred\": supported values: \"Delete\", \"Recycle\", \"Retain\"",
                "spec.storageClassName: Invalid value: \"A\": a lowercase RFC 1123 subdomain must consist of lower case alphanumeric characters, \
                 '-' or '.', and must start and end with an alphanumeric character (e.g. 'example.com', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?(\\.[a-z0-9]([-a-z0-9]*[a-z0-9])?)*')",
                "spec.volumeMode: Unsupported value: \"Tape\": supported values: \"Block\", \"Filesystem\"",
            ],
        ),
    ]);
    check_updates(
        volume(json!({})),
        vec![
            (json!({"spec": {"capacity": {"storage": "2Gi"}, "persistentVolumeReclaimPolicy": "Delete"}}), &[]),
            (
                json!({"spec": {"hostPath": {"path": "/e"}}}),
                &["spec.persistentvolumesource: Forbidden: spec.persistentvolumesource is immutable after creation"],
            ),
            (json!({"spec": {"volumeMode": "Block"}}), &["volumeMode: Invalid value: \"Block\": field is immutable"]),
        ],
    );
    let on = |key: &str, value: &str| {
        let terms = json!([{"matchExpressions": [{"key": key, "operator": "In", "values": [value]}]}]);
        json!({"nodeAffinity": {"required": {"nodeSelectorTerms": terms}}})
    };
    let old = stored(volume(on("failure-domain.beta.kubernetes.io/zone", "a")));
    let renamed = json!({"spec": on("topology.kubernetes.io/zone", "a")});
    assert_eq!(update(&old, &renamed).1, Vec::<String>::new());
    for other in [on("topology.kubernetes.io/zone", "b"), on("topology.kubernetes.io/region", "a")] {
        let told = update(&old, &json!({"spec": other})).1;
        assert!(told.len() == 1 && told[0].starts_with("nodeAffinity: Invalid value"), "{told:?}");
    }
}

#[test]
fn claims_are_checked() {
    let claim = |spec: Value| {
        let mut object = core(
            "PersistentVolumeClaim",
            json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}}),
        );
        merge(&mut object["spec"], &spec);
        object
    };
    check_creates(vec![
        (claim(json!({})), &[]),
        (
            claim(json!({"accessModes": [], "resources": null})),
            &[
                "spec.accessModes: Required value: at least 1 access mode is required",
                "spec.resources[storage]: Required value",
            ],
        ),
        (
            claim(json!({"accessModes": ["ReadWriteOncePod", "ReadOnlyMany"]})),
            &["spec.accessModes: Forbidden: may not use ReadWriteOncePod with other access modes"],
        ),
        (
            claim(json!({"dataSourceRef": {"kind": "Tape", "name": "t"}})),
            &[
                "spec.dataSource: Invalid value: \"Tape\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
                "spec.dataSourceRef: Invalid value: \"Tape\": must be 'PersistentVolumeClaim' when referencing the default apiGroup",
            ],
        ),
    ]);
    const IMMUTABLE: &str = "spec: Forbidden: spec is immutable after creation except resources.requests and volumeAttributesClassName for bound claims";
    let grown = json!({"spec": {"resources": {"requests": {"storage": "3Gi"}}}});
    let old = stored(claim(json!({})));
    assert_eq!(update(&old, &grown).1, [IMMUTABLE]);
    assert_eq!(update(&old, &json!({"spec": {"volumeName": "v", "storageClassName": "fast"}})).1, Vec::<String>::new());
    assert_eq!(update(&old, &json!({"spec": {"accessModes": ["ReadOnlyMany"]}})).1, [IMMUTABLE]);
    let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "2Gi"}}});
    let (bound, _) = update_status(&old, &bound);
    assert_eq!(update(&bound, &grown).1, Vec::<String>::new());
    assert_eq!(
        update(&bound, &json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}})).1,
        ["spec.resources.requests.storage: Forbidden: field can not be less than status.capacity"]
    );
    let attributes = json!({"spec": {"volumeAttributesClassName": "fast"}});
    assert_eq!(update(&old, &attributes).1, [IMMUTABLE]);
    let (fast, told) = update(&bound, &attributes);
    assert_eq!(told, Vec::<String>::new());
    assert_eq!(
        update(&fast, &json!({"spec": {"volumeAttributesClassName": ""}})).1,
        ["spec.volumeAttributesClassName: Forbidden: update from non-nil value to an empty string is forbidden"]
    );
    let statuses = json!({"status": {"allocatedResourceStatuses": {"cpu": "NodeResizePending", "storage": "Later"}}});
    assert_eq!(
        update_status(&bound, &statuses).1,
        [
            "status.allocatedResourceStatus: Unsupported value: \"cpu\": supported values: \"storage\"",
            "status.allocatedResourceStatus: Unsupported value: \"storage\": supported values: \"ControllerResizeInProgress\", \
             \"ControllerResizeInfeasible\", \"NodeResizeInProgress\", \"NodeResizeInfeasible\", \"NodeResizePending\"",
        ]
    );
}

#[test]
fn the_class_of_a_claim_moves_from_its_annotation_to_the_field() {
    const ANNOTATION: &str = "volume.beta.kubernetes.io/storage-class";
    let mut object = core(
        "PersistentVolumeClaim",
        json!({"spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "2Gi"}}}}),
    );
    object["metadata"]["annotations"] = json!({ANNOTATION: "slow"});
    let old = stored(object);
    let change = |class: Value, annotation: Value| {
        update(
            &old,
            &json!({"metadata": {"annotations": {ANNOTATION: annotation}}, "spec": {"storageClassName": class}}),
        )
        .1
    };
    for annotation in [json!("slow"), Value::Null] {
        assert_eq!(change(json!("slow"), annotation), Vec::<String>::new());
    }
    assert_eq!(
        change(Value::Null, json!("fast")),
        ["metadata.annotations.volume.beta.kubernetes.io/storage-class: Invalid value: \"fast\": field is immutable"]
    );
    assert_eq!(change(json!("fast"), json!("slow")).len(), 1);
}
