//! Workloads that keep pods running.

use serde_json::{Value, json};

use super::{check_creates, check_updates, core, create, merge, stored, update, update_status};

fn of_apps(kind: &str, spec: Value) -> Value {
    let mut object = json!({
        "apiVersion": "apps/v1", "kind": kind, "metadata": {},
        "spec": {
            "selector": {"matchLabels": {"app": "d"}},
            "template": {"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}},
        },
    });
    merge(&mut object["spec"], &spec);
    object
}

#[test]
fn daemon_sets_are_checked() {
    let set = |spec: Value| of_apps("DaemonSet", spec);
    let rolling = |rolling: Value| set(json!({"updateStrategy": {"rollingUpdate": rolling}}));
    check_creates(vec![
        (set(json!({})), &[]),
        (
            set(json!({"selector": {"matchLabels": null}})),
            &["spec.selector: Invalid value: {}: empty selector is invalid for daemonset"],
        ),
        (
            set(json!({"template": {"spec": {"restartPolicy": "Never", "activeDeadlineSeconds": 1}}})),
            &[
                "spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\"",
                "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
            ],
        ),
        (rolling(json!({"maxUnavailable": 0, "maxSurge": "10%"})), &[]),
        (
            rolling(json!({"maxSurge": 1})),
            &[
                "spec.updateStrategy.rollingUpdate.maxSurge: Invalid value: 1: may not be set when maxUnavailable is non-zero",
            ],
        ),
        (
            rolling(json!({"maxUnavailable": 0})),
            &["spec.updateStrategy.rollingUpdate.maxUnavailable: Required value: cannot be 0 when maxSurge is 0"],
        ),
        (
            set(json!({"updateStrategy": {"type": "Slow"}})),
            &[
                "spec.updateStrategy: Unsupported value: {\"type\":\"Slow\"}: supported values: \"RollingUpdate\", \"OnDelete\"",
            ],
        ),
    ]);
}

#[test]
fn the_template_of_a_daemon_set_is_numbered() {
    const NUMBER: &str = "deprecated.daemonset.template.generation";
    let old = stored(of_apps("DaemonSet", json!({})));
    assert_eq!(old["metadata"]["annotations"], json!({NUMBER: "1"}));
    let (new, _) = update(&old, &json!({"spec": {"minReadySeconds": 1}, "metadata": {"annotations": null}}));
    assert_eq!(new["metadata"]["annotations"], json!({NUMBER: "1"}));
    let (new, _) = update(&new, &json!({"spec": {"template": {"spec": {"hostNetwork": true}}}}));
    assert_eq!(new["metadata"]["annotations"], json!({NUMBER: "2"}));
    let other = json!({"spec": {"selector": {"matchLabels": {"app": "e"}}, "template": {"metadata": {"labels": {"app": "e"}}}}});
    assert_eq!(
        update(&old, &other).1,
        ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"e\"}}: field is immutable"]
    );
    assert_eq!(
        update_status(&old, &json!({"status": {"numberReady": -1}})).1,
        ["status.numberReady: Invalid value: -1: must be greater than or equal to 0"]
    );
}

#[test]
fn stateful_sets_are_checked() {
    let set = |spec: Value| of_apps("StatefulSet", spec);
    let mut dotted = set(json!({}));
    dotted["metadata"]["name"] = json!("a.b");
    check_creates(vec![
        (set(json!({})), &[]),
        (dotted, &["metadata.name: Invalid value: \"a.b\": must not contain dots"]),
        (
            set(json!({"podManagementPolicy": "Any", "ordinals": {"start": -1}})),
            &[
                "spec.podManagementPolicy: Invalid value: \"Any\": must be 'OrderedReady' or 'Parallel'",
                "spec.ordinals.start: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (
            set(json!({"updateStrategy": {"type": "OnDelete", "rollingUpdate": {}}})),
            &["spec.updateStrategy.rollingUpdate: Invalid value: {}: only allowed for updateStrategy 'RollingUpdate'"],
        ),
        (
            set(json!({"updateStrategy": {"rollingUpdate": {"partition": -1, "maxUnavailable": 0}}})),
            &["spec.updateStrategy.rollingUpdate.partition: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            set(json!({"persistentVolumeClaimRetentionPolicy": {"whenScaled": "Keep"}})),
            &[
                "spec.persistentVolumeClaimRetentionPolicy.whenScaled: Unsupported value: \"Keep\": supported values: \"Retain\", \"Delete\"",
            ],
        ),
    ]);
    let claim = |name: &str, storage: &str| {
        let spec = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": storage}}});
        json!({"metadata": {"name": name}, "spec": spec})
    };
    let mounting = |name: &str, claims: Value| {
        let mount = json!({"name": name, "mountPath": "/data"});
        let containers = json!([{"name": "c", "image": "i:1", "volumeMounts": [mount]}]);
        set(json!({"volumeClaimTemplates": claims, "template": {"spec": {"containers": containers}}}))
    };
    let mut replaced = mounting("data", json!([claim("data", "1Gi")]));
    replaced["spec"]["template"]["spec"]["volumes"] = json!([{"name": "data", "emptyDir": {}}]);
    check_creates(vec![
        (mounting("data", json!([claim("data", "1Gi")])), &[]),
        (replaced, &[]),
        (
            mounting("other", json!([claim("data", "1Gi")])),
            &["spec.template.spec.containers[0].volumeMounts[0].name: Not found: \"other\""],
        ),
        (
            mounting("data", json!([claim("data", "-1")])),
            &["spec.volumeClaimTemplates[0].spec.resources[storage]: Invalid value: \"-1\": must be greater than zero"],
        ),
        (set(json!({"template": {"spec": {"containers": []}}})), &["spec.template.spec.containers: Required value"]),
        (
            set(json!({"serviceName": "A"})),
            &[
                "spec.serviceName: Invalid value: \"A\": a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', \
                 and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is \
                 '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            ],
        ),
    ]);
    check_updates(
        set(json!({"serviceName": "s"})),
        vec![
            (json!({"spec": {"replicas": 3, "minReadySeconds": 1, "revisionHistoryLimit": 1}}), &[]),
            (
                json!({"spec": {"serviceName": "t"}}),
                &[
                    "spec: Forbidden: updates to statefulset spec for fields other than 'replicas', 'ordinals', 'template', 'updateStrategy', \
                     'revisionHistoryLimit', 'persistentVolumeClaimRetentionPolicy' and 'minReadySeconds' are forbidden",
                ],
            ),
        ],
    );
    assert_eq!(
        update_status(&stored(set(json!({}))), &json!({"status": {"replicas": 1, "availableReplicas": 1}})).1,
        ["status.availableReplicas: Invalid value: 1: cannot be greater than status.readyReplicas"]
    );
}

#[test]
fn a_selector_that_says_nothing_is_all_that_is_told_of_it() {
    let operator = "spec.selector.matchExpressions[0].operator: Invalid value: \"Near\": not a valid selector operator";
    let chosen = r#"{"matchExpressions":[{"key":"a","operator":"Near"}]}"#;
    let invalid = &format!("spec.selector: Invalid value: {chosen}: invalid label selector");
    let shown = &format!("spec.selector: Invalid value: {chosen}");
    let near = json!({"matchLabels": null, "matchExpressions": [{"key": "a", "operator": "Near"}]});
    let bad = json!({"selector": near, "template": {"metadata": {"labels": {"app": "e"}}}});
    check_creates(vec![
        (of_apps("DaemonSet", bad.clone()), &[operator]),
        (of_apps("Deployment", bad.clone()), &[operator, invalid]),
        (of_apps("ReplicaSet", bad.clone()), &[operator, invalid]),
        (of_apps("StatefulSet", bad), &[operator, shown]),
        (
            of_apps("DaemonSet", json!({"selector": null})),
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"d\"}: `selector` does not match template `labels`",
            ],
        ),
    ]);
    let spaced = of_apps("Deployment", json!({"selector": {"matchLabels": {"app": "x y"}}}));
    let told = create(spaced);
    assert!(told[0].starts_with("spec.selector.matchLabels: Invalid value: \"x y\""), "{told:?}");
    assert_eq!(
        told[1..],
        ["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"x y\"}}: invalid label selector"]
    );
}

#[test]
fn collisions_are_counted_upwards() {
    let deployment = |count: Value| {
        let mut object = stored(of_apps("Deployment", json!({})));
        object["status"]["collisionCount"] = count;
        object
    };
    let counts = [(json!(null), 1, false), (json!(2), 2, false), (json!(2), 1, true)];
    for (old, new, refused) in counts {
        let faults = update_status(&deployment(old), &json!({"status": {"collisionCount": new}})).1;
        let told = format!("status.collisionCount: Invalid value: {new}: cannot be decremented");
        assert_eq!(faults, Vec::from_iter(refused.then_some(told)));
    }
    let faults = update_status(&deployment(json!(null)), &json!({"status": {"terminatingReplicas": -1}})).1;
    assert_eq!(faults, ["status.terminatingReplicas: Invalid value: -1: must be greater than or equal to 0"]);
}

#[test]
fn replication_controllers_and_templates_are_checked() {
    let template =
        json!({"metadata": {"labels": {"app": "d"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let controller = |spec: Value| {
        let mut object = core("ReplicationController", json!({"spec": {"template": template}}));
        merge(&mut object["spec"], &spec);
        object
    };
    check_creates(vec![
        (controller(json!({})), &[]),
        (
            controller(json!({"selector": {"app": "e"}})),
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"d\"}: `selector` does not match template `labels`",
            ],
        ),
        (controller(json!({"template": {"metadata": null}})), &["spec.selector: Required value"]),
        (
            core("ReplicationController", json!({"spec": {"selector": {"app": "d"}}})),
            &["spec.template: Required value"],
        ),
        (
            controller(json!({"template": {"spec": {"restartPolicy": "OnFailure"}}})),
            &["spec.template.spec.restartPolicy: Unsupported value: \"OnFailure\": supported values: \"Always\""],
        ),
        (
            core("PodTemplate", json!({"template": {"metadata": {"labels": {"a": "-"}}, "spec": {"containers": []}}})),
            &[
                "template.labels: Invalid value: \"-\": a valid label must be an empty string or consist of alphanumeric characters, '-', '_' \
                 or '.', and must start and end with an alphanumeric character (e.g. 'MyValue',  or 'my_value',  or '12345', regex used for \
                 validation is '(([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9])?')",
                "template.spec.containers: Required value",
            ],
        ),
    ]);
}

#[test]
fn revisions_never_change() {
    let revision =
        json!({"apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {}, "revision": 1, "data": {"a": 1}});
    let mut empty = revision.clone();
    merge(&mut empty, &json!({"data": null, "revision": -1}));
    let mut list = revision.clone();
    list["data"] = json!([]);
    check_creates(vec![
        (
            empty,
            &[
                "data: Required value: data is mandatory",
                "revision: Invalid value: -1: must be greater than or equal to 0",
            ],
        ),
        (list, &["data: Required value: data must be a valid JSON object"]),
    ]);
    check_updates(
        revision,
        vec![
            (json!({"revision": 2}), &[]),
            (json!({"data": {"a": 2}}), &["data: Invalid value: {\"a\":2}: field is immutable"]),
        ],
    );
}
