//! What may change in pods: by themselves, in their status, by way of subresources.

use serde_json::{Value, json};

use super::{kind_of, pod, stored, update, update_status};

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
    let rule = |action: &str| json!([{"action": action, "exitCodes": {"operator": "In", "values": [42]}}]);
    let own = [
        (json!({"restartPolicy": "OnFailure"}), 1, 0),
        (json!({"restartPolicy": "OnFailure"}), 0, 1),
        (json!({"restartPolicy": "Never", "restartPolicyRules": rule("Restart")}), 42, 0),
        (json!({"restartPolicy": "Never", "restartPolicyRules": rule("Restart")}), 1, 1),
        (json!({"restartPolicy": "Never", "restartPolicyRules": rule("RestartAllContainers")}), 1, 0),
    ];
    for (container, code, faults) in own {
        let mut spec = json!({"restartPolicy": "Never", "containers": [{"name": "c", "image": "i"}]});
        super::merge(&mut spec["containers"][0], &container);
        let mut old = stored(pod(spec));
        old["status"]["containerStatuses"] = json!([ended(code)]);
        let found = update_status(&old, &running).1;
        assert_eq!(found.len(), faults, "{container} {code} {found:?}");
    }
}

#[test]
fn what_became_of_claims_is_told_by_their_names() {
    let old = stored(pod(json!({"resourceClaims": [{"name": "gpu", "resourceClaimName": "x"}]})));
    let told = |names: &[&str]| {
        let all: Vec<Value> = names.iter().map(|name| json!({"name": name, "resourceClaimName": "x"})).collect();
        update_status(&old, &json!({"status": {"resourceClaimStatuses": all}})).1
    };
    assert_eq!(told(&["gpu"]), Vec::<String>::new());
    assert_eq!(
        told(&["tpu", "gpu", "gpu"]),
        [
            "status.resourceClaimStatuses[0].name: Invalid value: \"tpu\": must match the name of an entry in `spec.resourceClaims`",
            "status.resourceClaimStatuses[2].name: Duplicate value: \"gpu\"",
        ]
    );
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
