//! What pods share with their hosts, and how their processes are confined.

use serde_json::{Value, json};

use super::{check_creates, check_updates, container, create, pod, stored};

fn confined(context: Value) -> Value {
    container(json!({"securityContext": context}))
}

fn of_pod(context: Value) -> Value {
    pod(json!({"securityContext": context}))
}

#[test]
fn users_of_their_own_rule_out_the_host() {
    check_creates(vec![
        (pod(json!({"hostUsers": false})), &[]),
        (pod(json!({"hostUsers": true, "hostNetwork": true, "hostPID": true, "hostIPC": true})), &[]),
        (
            pod(json!({"hostUsers": false, "hostNetwork": true, "hostPID": true, "hostIPC": true})),
            &[
                "spec.hostNetwork: Forbidden: when `hostUsers` is false",
                "spec.HostPID: Forbidden: when `hostUsers` is false",
                "spec.HostIPC: Forbidden: when `hostUsers` is false",
            ],
        ),
        (
            confined(json!({"procMount": "Unmasked"})),
            &[
                "spec.containers[0].securityContext.procMount: Invalid value: \"Unmasked\": `hostUsers` must be false to use `Unmasked`",
            ],
        ),
        (
            pod(json!({
                "hostUsers": false,
                "containers": [{"name": "c", "image": "i", "securityContext": {"procMount": "Unmasked"}}],
            })),
            &[],
        ),
    ]);
}

#[test]
fn profiles_are_checked() {
    check_creates(vec![
        (confined(json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": "p"}})), &[]),
        (
            of_pod(json!({"appArmorProfile": {"type": "Localhost"}})),
            &[
                "spec.securityContext.appArmorProfile.localhostProfile: Required value: must be set when AppArmor type is Localhost",
            ],
        ),
        (
            confined(json!({"appArmorProfile": {"type": "Localhost", "localhostProfile": " p"}})),
            &[
                "spec.containers[0].securityContext.appArmorProfile.localhostProfile: Invalid value: \" p\": must not be padded with \
                 whitespace",
            ],
        ),
        (
            confined(json!({"appArmorProfile": {"type": "RuntimeDefault", "localhostProfile": "p"}})),
            &[
                "spec.containers[0].securityContext.appArmorProfile.localhostProfile: Invalid value: \"p\": can only be set when AppArmor \
                 type is Localhost",
            ],
        ),
        (
            of_pod(json!({"appArmorProfile": {"type": "Strict"}, "seccompProfile": {"type": "Strict"}})),
            &[
                "spec.securityContext.seccompProfile.type: Unsupported value: \"Strict\": supported values: \"Localhost\", \
                 \"RuntimeDefault\", \"Unconfined\"",
                "spec.securityContext.appArmorProfile.type: Unsupported value: \"Strict\": supported values: \"Localhost\", \
                 \"RuntimeDefault\", \"Unconfined\"",
            ],
        ),
        (
            of_pod(json!({"seccompProfile": {"type": "Localhost"}})),
            &[
                "spec.securityContext.seccompProfile.localhostProfile: Required value: must be set when seccomp type is Localhost",
            ],
        ),
        (of_pod(json!({"seccompProfile": {"type": "Localhost", "localhostProfile": "p.json"}})), &[]),
    ]);
}

#[test]
fn policies_of_files_and_groups_are_checked() {
    check_creates(vec![
        (
            of_pod(
                json!({"fsGroupChangePolicy": "Always", "supplementalGroupsPolicy": "Strict", "seLinuxChangePolicy": "MountOption"}),
            ),
            &[],
        ),
        (
            of_pod(json!({"fsGroupChangePolicy": "a", "supplementalGroupsPolicy": "b", "seLinuxChangePolicy": "c"})),
            &[
                "spec.securityContext.fsGroupChangePolicy: Unsupported value: \"a\": supported values: \"Always\", \"OnRootMismatch\"",
                "spec.securityContext.supplementalGroupsPolicy: Unsupported value: \"b\": supported values: \"Merge\", \"Strict\"",
                "spec.securityContext.seLinuxChangePolicy: Unsupported value: \"c\": supported values: \"MountOption\", \"Recursive\"",
            ],
        ),
    ]);
}

#[test]
fn kernel_parameters_are_the_pods_own() {
    let with = |names: &[&str], rest: Value| {
        let all: Vec<Value> = names.iter().map(|name| json!({"name": name, "value": "1"})).collect();
        let mut object = of_pod(json!({"sysctls": all}));
        super::merge(&mut object["spec"], &rest);
        object
    };
    check_creates(vec![
        (with(&["net.ipv4.tcp_syncookies", "net/ipv4/conf/eth0.100/x", "kernel.shm_rmid_forced"], json!({})), &[]),
        (
            with(&["net.core.somaxconn", "kernel.sem", "vm.x"], json!({"hostNetwork": true, "hostIPC": true})),
            &[
                "spec.securityContext.sysctls[0].name: Invalid value: \"net.core.somaxconn\": may not be specified when 'hostNetwork' is true",
                "spec.securityContext.sysctls[1].name: Invalid value: \"kernel.sem\": may not be specified when 'hostIPC' is true",
            ],
        ),
        (
            with(&["a.b", "a.b", ""], json!({})),
            &[
                "spec.securityContext.sysctls[1].name: Duplicate value: \"a.b\"",
                "spec.securityContext.sysctls[2].name: Required value",
            ],
        ),
    ]);
    let wrong = create(with(&["A", "a..b"], json!({})));
    assert!(wrong.len() == 2 && wrong.iter().all(|one| one.contains("must have at most 253 characters")), "{wrong:?}");
}

#[test]
fn systems_have_fields_of_their_own() {
    let host_process = |value: bool| json!({"securityContext": {"windowsOptions": {"hostProcess": value}}});
    let with = |of_pod: Value, of_container: Value, rest: Value| {
        let mut container = json!({"name": "c", "image": "i"});
        super::merge(&mut container, &of_container);
        let mut object = pod(json!({"containers": [container]}));
        super::merge(&mut object["spec"], &of_pod);
        super::merge(&mut object["spec"], &rest);
        object
    };
    check_creates(vec![
        (pod(json!({"os": {"name": "windows"}})), &[]),
        (
            pod(json!({"os": {"name": "solaris"}})),
            &["spec.os: Unsupported value: \"solaris\": supported values: \"linux\", \"windows\""],
        ),
        (
            with(host_process(false), host_process(false), json!({"os": {"name": "linux"}})),
            &[
                "spec.securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
                "spec.containers[0].securityContext.windowsOptions: Forbidden: windows options cannot be set for a linux pod",
            ],
        ),
        (
            with(
                json!({"hostPID": true, "securityContext": {"runAsUser": 1, "sysctls": []}}),
                json!({"securityContext": {"privileged": false}}),
                json!({"os": {"name": "windows"}}),
            ),
            &[
                "spec.hostPID: Forbidden: cannot be set for a windows pod",
                "spec.securityContext.runAsUser: Forbidden: cannot be set for a windows pod",
                "spec.containers[0].securityContext.privileged: Forbidden: cannot be set for a windows pod",
            ],
        ),
        (with(host_process(true), json!({}), json!({"hostNetwork": true})), &[]),
        (
            with(host_process(true), json!({}), json!({})),
            &[
                "spec.hostNetwork: Invalid value: false: hostNetwork must be true if pod contains any hostProcess containers",
            ],
        ),
        (
            with(host_process(true), host_process(false), json!({})),
            &[
                "spec.containers[0].securityContext.windowsOptions.hostProcess: Invalid value: false: pod hostProcess value must be \
                 identical if both are specified, was true",
            ],
        ),
        (
            of_pod(json!({"windowsOptions": {"runAsUserName": "", "gmsaCredentialSpec": ""}})),
            &[
                "spec.securityContext.windowsOptions.gmsaCredentialSpec: Invalid value: \"\": gmsaCredentialSpec cannot be an empty string",
                "spec.securityContext.windowsOptions.runAsUserName: Invalid value: \"\": runAsUserName cannot be an empty string",
            ],
        ),
    ]);
}

#[test]
fn annotations_of_pods_are_checked() {
    let annotated = |annotations: Value| {
        let mut object = pod(json!({}));
        object["metadata"]["annotations"] = annotations;
        object
    };
    const COST: &str = "controller.kubernetes.io/pod-deletion-cost";
    const ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
    check_creates(vec![
        (annotated(json!({COST: "-5", format!("{ARMOR}c"): "runtime/default"})), &[]),
        (
            annotated(json!({COST: "+5"})),
            &[
                "metadata.annotations[controller.kubernetes.io/pod-deletion-cost]: Invalid value: \"+5\": must be a 32bit integer",
            ],
        ),
        (
            annotated(json!({format!("{ARMOR}d"): "none"})),
            &[
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: \"d\": container not found",
                "metadata.annotations[container.apparmor.security.beta.kubernetes.io/d]: Invalid value: \"none\": invalid AppArmor profile \
                 name: \"none\"",
            ],
        ),
        (
            annotated(json!({"kubernetes.io/config.mirror": "x"})),
            &[
                "metadata.annotations[kubernetes.io/config.mirror]: Invalid value: \"x\": must set spec.nodeName if mirror pod annotation is \
                 set",
            ],
        ),
    ]);
    check_updates(
        annotated(json!({format!("{ARMOR}c"): "unconfined"})),
        vec![
            (json!({"metadata": {"annotations": {"other": "x"}}}), &[]),
            (
                json!({"metadata": {"annotations": {format!("{ARMOR}c"): "runtime/default"}}}),
                &[
                    "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: Forbidden: may not remove or update AppArmor \
                     annotations",
                ],
            ),
        ],
    );
}

#[test]
fn profiles_that_annotations_ask_for_become_fields() {
    const ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/";
    let armed = |annotation: &str, spec: Value| {
        let mut object = pod(spec);
        object["metadata"]["annotations"] = json!({ (format!("{ARMOR}c")): annotation });
        stored(object)["spec"]["containers"][0]["securityContext"]["appArmorProfile"].take()
    };
    let of_pod = |kind: &str| json!({"securityContext": {"appArmorProfile": {"type": kind}}});
    let own = json!({"containers": [{"name": "c", "image": "i:1", "securityContext": {"appArmorProfile": {"type": "Unconfined"}}}]});
    let cases = [
        ("unconfined", json!({}), json!({"type": "Unconfined"})),
        ("runtime/default", json!({}), json!({"type": "RuntimeDefault"})),
        ("localhost/p", json!({}), json!({"type": "Localhost", "localhostProfile": "p"})),
        ("localhost/ p", json!({}), json!(null)),
        ("localhost/", json!({}), json!(null)),
        ("", json!({}), json!(null)),
        ("unconfined", of_pod("Unconfined"), json!(null)),
        ("unconfined", of_pod("RuntimeDefault"), json!({"type": "Unconfined"})),
        ("runtime/default", own, json!({"type": "Unconfined"})),
        ("unconfined", json!({"os": {"name": "windows"}}), json!(null)),
    ];
    for (annotation, spec, expected) in cases {
        assert_eq!(armed(annotation, spec.clone()), expected, "{annotation} {spec}");
    }
}
