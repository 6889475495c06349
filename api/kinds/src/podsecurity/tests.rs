#![allow(clippy::unwrap_used)]
use std::collections::BTreeMap;

use serde_json::{Value, json};

use super::checks::CHECKS;
use super::*;

fn at(level: Level, minor: i64) -> LevelVersion {
    LevelVersion { level, version: Version::Minor(minor) }
}

const BASELINE: LevelVersion = LevelVersion { level: Level::Baseline, version: Version::Latest };
const RESTRICTED: LevelVersion = LevelVersion { level: Level::Restricted, version: Version::Latest };

fn told(asked: LevelVersion, pod: &Value) -> String {
    evaluate(asked, Subject::of(pod)).details()
}

/// A pod that violates nothing, with these changes.
fn pod(patch: Value) -> Value {
    let mut pod = json!({"metadata": {"name": "p"}, "spec": {
        "securityContext": {"runAsNonRoot": true, "seccompProfile": {"type": "RuntimeDefault"}},
        "containers": [{"name": "a", "image": "x", "securityContext": {
            "allowPrivilegeEscalation": false, "capabilities": {"drop": ["ALL"]}}}]}});
    merge(&mut pod, patch);
    pod
}

/// One container of a sound pod is so.
fn container(patch: Value) -> Value {
    let mut pod = pod(json!({}));
    merge(&mut pod["spec"]["containers"][0], patch);
    pod
}

fn merge(into: &mut Value, patch: Value) {
    match (into, patch) {
        (Value::Object(into), Value::Object(patch)) => {
            patch.into_iter().for_each(|(key, value)| merge(into.entry(key).or_insert(Value::Null), value));
        }
        (into, patch) => *into = patch,
    }
}

#[test]
fn the_checks_stand_in_the_order_in_which_they_are_told() {
    let order: Vec<(Level, &str)> = CHECKS.iter().map(|check| (check.level, check.id)).collect();
    assert!(order.is_sorted(), "{order:?}");
    for check in CHECKS {
        assert!(check.revisions.iter().map(|one| one.since).is_sorted_by(|a, b| a < b), "{}", check.id);
        for id in check.overrides {
            let overridden = CHECKS.iter().find(|other| other.id == *id).unwrap();
            assert_eq!((check.level, overridden.level), (Level::Restricted, Level::Baseline));
        }
    }
}

#[test]
fn each_thing_that_baseline_forbids_is_told_in_kubernetes_words() {
    const APP_ARMOR: &str = "container.apparmor.security.beta.kubernetes.io/a";
    let context = |context: Value| container(json!({"securityContext": context}));
    let cases = [
        (pod(json!({})), ""),
        (
            pod(json!({"spec": {"hostNetwork": true, "hostPID": true, "hostIPC": true}})),
            "host namespaces (hostNetwork=true, hostPID=true, hostIPC=true)",
        ),
        (
            context(json!({"privileged": true})),
            r#"privileged (container "a" must not set securityContext.privileged=true)"#,
        ),
        (
            context(json!({"capabilities": {"add": ["NET_RAW", "CHOWN", "BPF"]}})),
            r#"non-default capabilities (container "a" must not include "BPF", "NET_RAW" in securityContext.capabilities.add)"#,
        ),
        (
            pod(
                json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "w", "hostPath": {"path": "/"}}]}}),
            ),
            r#"hostPath volumes (volumes "v", "w")"#,
        ),
        (
            container(json!({"ports": [{"hostPort": 9}, {"hostPort": 80}, {"hostPort": 0}]})),
            r#"hostPort (container "a" uses hostPorts 80, 9)"#,
        ),
        (
            container(
                json!({"livenessProbe": {"httpGet": {"host": "h"}}, "lifecycle": {"preStop": {"tcpSocket": {"host": "g"}}}}),
            ),
            r#"probe or lifecycle host (container "a" uses probe or lifecycle hosts "g", "h")"#,
        ),
        (
            context(json!({"procMount": "Unmasked"})),
            r#"procMount (container "a" must not set securityContext.procMount to "Unmasked")"#,
        ),
        (
            context(json!({"seLinuxOptions": {"type": "spc_t", "user": "u", "role": "r"}})),
            r#"seLinuxOptions (container "a" set forbidden securityContext.seLinuxOptions: type "spc_t"; user may not be set; role may not be set)"#,
        ),
        (
            pod(json!({"spec": {"securityContext": {"seLinuxOptions": {"user": "u"}}}})),
            "seLinuxOptions (pod set forbidden securityContext.seLinuxOptions: user may not be set)",
        ),
        (
            pod(json!({"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}})),
            r#"seccompProfile (pod must not set securityContext.seccompProfile.type to "Unconfined")"#,
        ),
        (
            pod(
                json!({"spec": {"securityContext": {"sysctls": [{"name": "net.ipv4.tcp_rmem"}, {"name": "kernel.msgmax"}]}}}),
            ),
            "forbidden sysctls (kernel.msgmax)",
        ),
        (
            pod(json!({"spec": {"securityContext": {"windowsOptions": {"hostProcess": true}}}})),
            "hostProcess (pod must not set securityContext.windowsOptions.hostProcess=true)",
        ),
        (
            pod(json!({"metadata": {"annotations": {APP_ARMOR: "unconfined"}}})),
            "forbidden AppArmor profile (annotation must not set AppArmor profile type to \
             \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
        ),
        (
            pod(json!({"metadata": {"annotations": {APP_ARMOR: "unconfined"}},
                "spec": {"securityContext": {"appArmorProfile": {"type": "Unconfined"}}}})),
            "forbidden AppArmor profiles (pod and annotation must not set AppArmor profile type to \"Unconfined\", \
             \"container.apparmor.security.beta.kubernetes.io/a=\"unconfined\"\")",
        ),
    ];
    for (pod, expected) in cases {
        assert_eq!(told(BASELINE, &pod), expected);
        assert_eq!(told(LevelVersion::PRIVILEGED, &pod), "");
    }
}

#[test]
fn restricted_wants_things_said_and_takes_the_place_of_what_it_repeats() {
    let bare = json!({"metadata": {}, "spec": {"containers": [{"name": "c"}], "initContainers": [{"name": "i"}]}});
    assert_eq!(
        told(RESTRICTED, &bare),
        r#"allowPrivilegeEscalation != false (containers "i", "c" must set securityContext.allowPrivilegeEscalation=false), unrestricted capabilities (containers "i", "c" must set securityContext.capabilities.drop=["ALL"]), runAsNonRoot != true (pod or containers "i", "c" must set securityContext.runAsNonRoot=true), seccompProfile (pod or containers "i", "c" must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost")"#
    );
    assert_eq!(
        evaluate(RESTRICTED, Subject::of(&bare)).reasons(),
        "allowPrivilegeEscalation != false, unrestricted capabilities, runAsNonRoot != true, seccompProfile"
    );
    let cases = [
        (pod(json!({})), ""),
        (
            container(json!({"securityContext": {"capabilities": {"drop": [], "add": ["CHOWN"]}}})),
            r#"unrestricted capabilities (container "a" must set securityContext.capabilities.drop=["ALL"]; container "a" must not include "CHOWN" in securityContext.capabilities.add)"#,
        ),
        (
            pod(
                json!({"spec": {"volumes": [{"name": "v", "hostPath": {"path": "/"}}, {"name": "n", "nfs": {}}, {"name": "s", "secret": {}}]}}),
            ),
            r#"restricted volume types (volumes "v", "n" use restricted volume types "hostPath", "nfs")"#,
        ),
        (
            pod(json!({"spec": {"securityContext": {"runAsNonRoot": false, "runAsUser": 0}}})),
            "runAsNonRoot != true (pod must not set securityContext.runAsNonRoot=false), \
             runAsUser=0 (pod must not set runAsUser=0)",
        ),
        (
            container(json!({"securityContext": {"seccompProfile": {"type": "Unconfined"}}})),
            r#"seccompProfile (container "a" must not set securityContext.seccompProfile.type to "Unconfined")"#,
        ),
    ];
    for (pod, expected) in cases {
        assert_eq!(told(RESTRICTED, &pod), expected);
    }
}

#[test]
fn a_version_has_the_checks_of_its_release() {
    use Level::{Baseline, Restricted};
    let privileged_by_silence = container(json!({"securityContext": {"allowPrivilegeEscalation": null}}));
    let windows = json!({"metadata": {}, "spec": {"os": {"name": "windows"}, "securityContext": {"runAsNonRoot": true},
        "containers": [{"name": "a"}]}});
    let unmasked = container(json!({"securityContext": {"procMount": "Unmasked"}}));
    let mut unmasked_user = unmasked.clone();
    unmasked_user["spec"]["hostUsers"] = false.into();
    let root_user =
        pod(json!({"spec": {"hostUsers": false, "securityContext": {"runAsUser": 0, "runAsNonRoot": false}}}));
    let engine = container(json!({"securityContext": {"seLinuxOptions": {"type": "container_engine_t"}}}));
    let sysctl = |name: &str| pod(json!({"spec": {"securityContext": {"sysctls": [{"name": name}]}}}));
    let probe = container(json!({"startupProbe": {"tcpSocket": {"host": "h"}}}));
    let annotated =
        pod(json!({"metadata": {"annotations": {"seccomp.security.alpha.kubernetes.io/pod": "unconfined"}}}));
    let unconfined = pod(json!({"spec": {"securityContext": {"seccompProfile": {"type": "Unconfined"}}}}));
    let image = pod(json!({"spec": {"volumes": [{"name": "v", "image": {"reference": "r"}}]}}));
    // Whether the pod is forbidden just before a release, and from it on.
    let cases = [
        (&privileged_by_silence, Restricted, 8, (false, true)),
        (&windows, Restricted, 25, (true, false)),
        (&container(json!({"securityContext": {"capabilities": {"drop": []}}})), Restricted, 22, (false, true)),
        (&pod(json!({"spec": {"securityContext": {"runAsUser": 0}}})), Restricted, 23, (false, true)),
        (&pod(json!({"spec": {"securityContext": {"seccompProfile": null}}})), Restricted, 19, (false, true)),
        (&unmasked, Baseline, 35, (true, true)),
        // No node here makes user namespaces: root would be the machine's.
        (&unmasked_user, Baseline, 35, (true, true)),
        (&unmasked_user, Restricted, 35, (true, true)),
        (&root_user, Restricted, 35, (true, true)),
        (&engine, Baseline, 31, (true, false)),
        (&sysctl("net.ipv4.ip_local_reserved_ports"), Baseline, 27, (true, false)),
        (&sysctl("net.ipv4.tcp_fin_timeout"), Baseline, 29, (true, false)),
        (&sysctl("net.ipv4.tcp_wmem"), Baseline, 32, (true, false)),
        (&probe, Baseline, 34, (false, true)),
        (&annotated, Baseline, 19, (true, false)),
        (&annotated, Restricted, 19, (true, false)),
        (&unconfined, Baseline, 19, (false, true)),
        (&image, Restricted, 1, (false, false)),
    ];
    for (pod, level, minor, expected) in cases {
        let forbidden = |minor| !told(at(level, minor), pod).is_empty();
        assert_eq!((forbidden(minor - 1), forbidden(minor)), expected, "{level:?} v1.{minor} {pod}");
        assert_eq!(told(at(level, 35), pod), told(at(level, i64::MAX), pod));
    }
}

fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
    pairs.iter().map(|(key, value)| (format!("{AUDIT_PREFIX}{key}"), (*value).to_owned())).collect()
}

#[test]
fn labels_say_the_policy_and_what_cannot_be_read_is_strict_where_it_is_enforced() {
    let (policy, faults) =
        Policy::of_labels(&labels(&[("enforce", "baseline"), ("warn-version", "v1.30")]), Policy::PRIVILEGED);
    assert!(faults.is_empty());
    assert_eq!(policy.enforce, BASELINE);
    assert_eq!(policy.warn, LevelVersion { level: Level::Privileged, version: Version::Minor(30) });
    let wrong = labels(&[
        ("enforce", "strict"),
        ("enforce-version", "v1.08"),
        ("audit", "x"),
        ("warn", ""),
        ("warn-version", "1.2"),
    ]);
    let (policy, faults) = Policy::of_labels(&wrong, Policy::PRIVILEGED);
    assert_eq!(
        (policy.enforce, policy.audit.level, policy.warn.level),
        (RESTRICTED, Level::Privileged, Level::Privileged)
    );
    let told: Vec<String> = faults.iter().map(|fault| format!("{}: {}", fault.field, fault.message())).collect();
    assert_eq!(
        told,
        [
            r#"metadata.labels[pod-security.kubernetes.io/enforce]: Invalid value: "strict": must be one of privileged, baseline, restricted"#,
            r#"metadata.labels[pod-security.kubernetes.io/enforce-version]: Invalid value: "v1.08": must be "latest" or "v1.x""#,
            r#"metadata.labels[pod-security.kubernetes.io/audit]: Invalid value: "x": must be one of privileged, baseline, restricted"#,
            r#"metadata.labels[pod-security.kubernetes.io/warn]: Invalid value: "": must be one of privileged, baseline, restricted"#,
            r#"metadata.labels[pod-security.kubernetes.io/warn-version]: Invalid value: "1.2": must be "latest" or "v1.x""#,
        ]
    );
    for (text, version) in [
        ("v1.0", Some(Version::Minor(0))),
        ("v1.36", Some(Version::Minor(36))),
        ("latest", Some(Version::Latest)),
        ("v2.0", None),
        ("v1.", None),
        ("v1.+1", None),
        ("v1.99999999999999999999", None),
    ] {
        assert_eq!(Version::parse(text).ok(), version, "{text}");
    }
}

#[test]
fn pods_are_looked_at_when_more_is_forbidden() {
    let of = |enforce| Policy { enforce, ..Policy::PRIVILEGED };
    let cases = [
        (BASELINE, BASELINE, false),
        (BASELINE, LevelVersion::PRIVILEGED, true),
        (LevelVersion::PRIVILEGED, BASELINE, false),
        (BASELINE, RESTRICTED, false),
        (RESTRICTED, BASELINE, true),
        (at(Level::Baseline, 30), RESTRICTED, true),
    ];
    for (new, old, expected) in cases {
        assert_eq!(of(new).tightens(&of(old)), expected, "{new} after {old}");
    }
}

#[test]
fn a_survey_tells_pods_that_are_alike_together_and_one_of_each_controller_first() {
    let (host, privileged) =
        (pod(json!({"spec": {"hostPID": true}})), container(json!({"securityContext": {"privileged": true}})));
    let mut survey = Survey::new(BASELINE);
    for (name, pod) in
        [("d", &host), ("b", &host), ("c", &host), ("y", &privileged), ("x", &privileged), ("z", &pod(json!({})))]
    {
        survey.look_at(name, Subject::of(pod));
    }
    assert_eq!(
        survey.warnings("n", 7),
        [
            "new PodSecurity enforce level only checked against the first 6 of 7 existing pods",
            r#"existing pods in namespace "n" violate the new PodSecurity enforce level "baseline:latest""#,
            "b (and 2 other pods): host namespaces",
            "x (and 1 other pod): privileged",
        ]
    );
    assert_eq!(Survey::new(BASELINE).warnings("n", 0), [""; 0]);
    let pods = vec![("a1", Some("a")), ("a2", Some("a")), ("n1", None), ("b1", Some("b")), ("n2", None)];
    let order = in_order(pods, |(_, controller)| controller.map(str::to_owned));
    assert_eq!(order.iter().map(|(name, _)| *name).collect::<Vec<_>>(), ["a1", "n1", "b1", "n2", "a2"]);
}

#[test]
fn a_pod_is_judged_again_when_another_image_or_container_runs() {
    let old = pod(json!({}));
    let cases = [
        (pod(json!({"metadata": {"labels": {"a": "b"}}})), false),
        (container(json!({"image": "y"})), true),
        (pod(json!({"spec": {"ephemeralContainers": [{"name": "e", "image": "x"}]}})), true),
        (
            pod(
                json!({"metadata": {"annotations": {"container.seccomp.security.alpha.kubernetes.io/a": "unconfined"}}}),
            ),
            true,
        ),
    ];
    for (new, expected) in cases {
        assert_eq!(is_significant(&new, &old), expected, "{new}");
    }
}

#[test]
fn a_configuration_is_read_whole_or_refused() {
    const KIND: &str = "PodSecurityConfiguration";
    const VERSION: &str = "pod-security.admission.config.k8s.io/v1";
    let read = Configuration::read(&json!({"apiVersion": VERSION, "kind": KIND,
        "defaults": {"enforce": "baseline", "enforce-version": "v1.30"},
        "exemptions": {"namespaces": ["kube-system"], "usernames": ["root"], "runtimeClasses": ["vm"]}}));
    let expected = Configuration {
        defaults: Policy { enforce: at(Level::Baseline, 30), ..Policy::PRIVILEGED },
        exemptions: Exemptions {
            usernames: vec!["root".to_owned()],
            namespaces: vec!["kube-system".to_owned()],
            runtime_classes: vec!["vm".to_owned()],
        },
    };
    assert_eq!(read, Ok(expected));
    let refused = Configuration::read(&json!({"apiVersion": "v1", "kind": KIND, "default": {},
        "defaults": {"enforce": "none", "warn-version": "v2", "audit": 1},
        "exemptions": {"namespaces": ["A", "a", "a"], "usernames": [""], "runtimeClass": []}}));
    let fields: Vec<String> = refused.unwrap_err().iter().map(|fault| fault.field.clone()).collect();
    assert_eq!(
        fields,
        [
            "apiVersion",
            "default",
            "defaults.enforce",
            "defaults.warn-version",
            "defaults.audit",
            "exemptions.runtimeClass",
            "exemptions.usernames[0]",
            "exemptions.namespaces[0]",
            "exemptions.namespaces[2]",
        ]
    );
}
