//! Fields of features that are off in Kubernetes: they are not brought in, and stay where they are.

use super::*;

/// A field that is not brought in: who has it, where it is, and what is left of what holds it.
struct Case {
    object: Value,
    holder: &'static str,
    field: &'static str,
    left: Value,
}

fn cases() -> Vec<Case> {
    let case = |object, holder, field, left| Case { object, holder, field, left };
    let object = |version: &str, kind: &str, rest: Value| {
        let mut object = json!({"apiVersion": version, "kind": kind, "metadata": {"name": "x"}});
        merge(&mut object, &rest);
        object
    };
    let pod = |spec: Value| {
        let mut pod = object("v1", "Pod", json!({"spec": {"containers": [{"name": "c", "image": "i:1"}]}}));
        merge(&mut pod, &json!({"spec": spec}));
        pod
    };
    let stopped = |lifecycle: Value| json!([{"name": "c", "image": "i:1", "lifecycle": lifecycle}]);
    let projected = |source: Value| pod(json!({"volumes": [{"name": "v", "projected": {"sources": [source]}}]}));
    let sleep = json!({"sleep": {"seconds": 1}});
    let with_hook = pod(json!({"containers": stopped(json!({"stopSignal": "x", "preStop": sleep}))}));
    let grouped = json!({"spec": {"containers": stopped(json!({})), "schedulingGroup": {"podGroupName": "g"}}});
    let job = json!({"spec": {"schedule": "* * * * *", "jobTemplate": {"spec": {"template": grouped}}}});
    let slice = |device: Value| object("resource.k8s.io/v1", "ResourceSlice", json!({"spec": {"devices": [device]}}));
    let lease = |spec: Value| object("coordination.k8s.io/v1", "Lease", json!({"spec": spec}));
    let set = json!({"spec": {"updateStrategy": {"rollingUpdate": {"partition": 1, "maxUnavailable": 0}}}});
    let claim = json!({"spec": {"dataSourceRef": {"kind": "PersistentVolumeClaim", "name": "c", "namespace": "n"}}});
    vec![
        case(with_hook, "/spec/containers/0/lifecycle", "stopSignal", json!({"preStop": sleep})),
        case(
            pod(json!({"initContainers": stopped(json!({"stopSignal": "SIGINT"}))})),
            "/spec/initContainers/0/lifecycle",
            "stopSignal",
            Value::Null,
        ),
        case(
            projected(json!({"clusterTrustBundle": {"path": "p"}})),
            "/spec/volumes/0/projected/sources/0",
            "clusterTrustBundle",
            json!({}),
        ),
        case(
            projected(json!({"podCertificate": {"keyType": "BAD"}})),
            "/spec/volumes/0/projected/sources/0",
            "podCertificate",
            json!({}),
        ),
        case(
            object("batch/v1", "CronJob", job),
            "/spec/jobTemplate/spec/template/spec",
            "schedulingGroup",
            Value::Null,
        ),
        case(
            object("apps/v1", "StatefulSet", set),
            "/spec/updateStrategy/rollingUpdate",
            "maxUnavailable",
            json!({"partition": 1}),
        ),
        case(lease(json!({"strategy": "x"})), "/spec", "strategy", json!({})),
        case(lease(json!({"preferredHolder": "x"})), "/spec", "preferredHolder", json!({})),
        case(slice(json!({"attributes": {"a": {"ints": [1]}}})), "/spec/devices/0/attributes/a", "ints", json!({})),
        case(
            slice(json!({"name": "d", "nodeAllocatableResourceMappings": {"cpu": {}}})),
            "/spec/devices/0",
            "nodeAllocatableResourceMappings",
            json!({"name": "d"}),
        ),
        case(object("v1", "PersistentVolumeClaim", claim), "/spec", "dataSourceRef", Value::Null),
        case(object("v1", "Node", json!({"spec": {"configSource": {}}})), "/spec", "configSource", Value::Null),
        case(object("v1", "Node", json!({"status": {"config": {}}})), "/status", "config", Value::Null),
        case(
            object("storage.k8s.io/v1", "CSIDriver", json!({"spec": {"preventPodSchedulingIfMissing": true}})),
            "/spec",
            "preventPodSchedulingIfMissing",
            Value::Null,
        ),
    ]
}

#[test]
fn what_is_off_in_kubernetes_is_not_brought_in() {
    for Case { object, holder, field, left } in cases() {
        let kind = kind_of(&object);
        let mut new = object.clone();
        kind.drop_disabled(&mut new, None);
        let held = new.pointer(holder).unwrap_or(&Value::Null);
        assert!(held.get(field).is_none(), "{}: {field} is in {held}", kind.kind);
        if !left.is_null() {
            assert_eq!(held, &left, "{}: {holder}", kind.kind);
        }
        let old = new;
        let mut new = object.clone();
        kind.drop_disabled(&mut new, Some(&old));
        assert_eq!(new, old, "{}: an update brings {field} in", kind.kind);
        let mut new = object.clone();
        kind.drop_disabled(&mut new, Some(&object));
        assert_eq!(new, object, "{}: {field} does not stay", kind.kind);
    }
}

#[test]
fn a_hook_that_had_only_a_signal_goes_with_it() {
    let container = json!({"name": "c", "image": "i:1", "lifecycle": {"stopSignal": "SIGINT"}});
    let pod = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {}, "spec": {"containers": [container]}});
    assert!(stored(pod)["spec"]["containers"][0].get("lifecycle").is_none());
}

#[test]
fn claims_say_in_both_forms_where_their_content_comes_from() {
    let claim = |sources: Value| {
        let mut claim = json!({"apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": {}, "spec": {}});
        merge(&mut claim, &json!({"spec": sources}));
        let spec = stored(claim)["spec"].clone();
        ["dataSource", "dataSourceRef"].map(|member| spec[member].clone())
    };
    let other = json!({"apiGroup": null, "kind": "PersistentVolumeClaim", "name": "c"});
    let tape = json!({"apiGroup": "tapes.example.com", "kind": "Tape", "name": "t"});
    let elsewhere = json!({"kind": "PersistentVolumeClaim", "name": "c", "namespace": "n"});
    let none = [Value::Null, Value::Null];
    assert_eq!(claim(json!({"dataSource": other})), [other.clone(), other.clone()]);
    assert_eq!(claim(json!({"dataSourceRef": tape})), [tape.clone(), tape.clone()]);
    // Before there was the other form, nobody looked at such a one.
    assert_eq!(claim(json!({"dataSource": tape})), none);
    assert_eq!(claim(json!({"dataSourceRef": elsewhere})), none);
}
