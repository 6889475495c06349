//! What is told about valid objects: warnings, and the words of the Table for pods in trouble.
#![allow(clippy::unwrap_used)]

use kontiki_kinds::{by_gvk, pod};
use serde_json::{Value, json};

fn warnings(kind: &str, object: &Value, old: Option<&Value>) -> Vec<String> {
    let group = match kind {
        "Deployment" | "StatefulSet" => "apps",
        "EndpointSlice" => "discovery.k8s.io",
        _ => "",
    };
    (by_gvk(group, "v1", kind).unwrap().warnings)(object, old)
}

#[test]
fn surprising_pods_are_warned_about() {
    let container = json!({
        "name": "c",
        "env": [{"name": "A"}, {"name": "B"}, {"name": "A"}],
        "ports": [{"containerPort": 80, "protocol": "TCP"}, {"containerPort": 80, "protocol": "TCP"}],
        "resources": {"limits": {"memory": "100m"}},
    });
    let spec = json!({"containers": [container], "nodeSelector": {"beta.kubernetes.io/os": "linux"}});
    let metadata = json!({"name": "web"});
    let pod = json!({"metadata": metadata, "spec": spec});
    let expected = [
        "spec.nodeSelector[beta.kubernetes.io/os]: deprecated since v1.14; use \"kubernetes.io/os\" instead",
        "spec.containers[0].resources.limits[memory]: fractional byte value \"100m\" is invalid, must be an integer",
        "spec.containers[0].env[2]: hides previous definition of \"A\", which may be dropped when using apply",
        "spec.containers[0].ports[1]: duplicate port definition with spec.containers[0].ports[0]",
    ];
    assert_eq!(warnings("Pod", &pod, None), expected);
    assert_eq!(warnings("Pod", &pod, Some(&pod)), Vec::<String>::new());
    let deployment = json!({"metadata": metadata, "spec": {"template": {"spec": spec}}});
    let in_template = expected.map(|one| one.replace("spec.", "spec.template.spec."));
    assert_eq!(warnings("Deployment", &deployment, None), in_template);
    let dotted = json!({"metadata": {"name": "a.b"}, "spec": {}});
    assert_eq!(
        warnings("Pod", &dotted, None),
        [
            "metadata.name: this is used in the Pod's hostname, which can result in surprising behavior; a DNS label is recommended: \
          [must not contain dots]"
        ]
    );
}

/// The same in a bare pod and in a template, where each path and each annotation stands deeper.
fn check_pods(metadata: Value, spec: Value, expected: &[&str]) {
    let pod = json!({"metadata": metadata, "spec": spec});
    let deployment = json!({"metadata": {"name": "web"}, "spec": {"template": pod}});
    let deeper = |told: &&str| match told.starts_with("spec.") || told.starts_with("metadata.") {
        true => format!("spec.template.{told}"),
        false => told.to_string(),
    };
    let mut named = pod.clone();
    named["metadata"]["name"] = json!("web");
    assert_eq!(warnings("Pod", &named, None), expected, "{pod}");
    assert_eq!(
        warnings("Deployment", &deployment, None),
        expected.iter().map(deeper).collect::<Vec<_>>(),
        "{deployment}"
    );
}

#[test]
fn annotations_that_fields_replaced_are_warned_about() {
    const SECCOMP: &str = "seccomp.security.alpha.kubernetes.io/pod";
    let old = json!({"annotations": {
        "scheduler.alpha.kubernetes.io/critical-pod": "", "security.alpha.kubernetes.io/sysctls": "",
        "security.alpha.kubernetes.io/unsafe-sysctls": "", SECCOMP: "unconfined", (format!("container.{SECCOMP}")): "",
        "container.seccomp.security.alpha.kubernetes.io/c": "unconfined",
        "container.seccomp.security.alpha.kubernetes.io/other": "unconfined",
    }});
    let priority = "metadata.annotations[scheduler.alpha.kubernetes.io/critical-pod]: non-functional in v1.16+; use the \
                    \"priorityClassName\" field instead";
    let sysctls = "metadata.annotations[security.alpha.kubernetes.io/sysctls]: non-functional in v1.11+; use the \"sysctls\" field \
                   instead";
    let unsafe_sysctls = "metadata.annotations[security.alpha.kubernetes.io/unsafe-sysctls]: non-functional in v1.11+; use the \
                          \"sysctls\" field instead";
    let of_pod = "metadata.annotations[seccomp.security.alpha.kubernetes.io/pod]: non-functional in v1.27+; use the \
                  \"seccompProfile\" field instead";
    let of_container = "metadata.annotations[container.seccomp.security.alpha.kubernetes.io/c]: non-functional in v1.27+; use the \
                        \"seccompProfile\" field instead";
    let plain = json!({"containers": [{"name": "c"}]});
    check_pods(old.clone(), plain.clone(), &[priority, sysctls, unsafe_sysctls, of_pod, of_container]);
    let confined = json!({"seccompProfile": {"type": "RuntimeDefault"}});
    let both = json!({"securityContext": confined, "containers": [{"name": "c", "securityContext": confined}]});
    check_pods(old, both, &[priority, sysctls, unsafe_sysctls]);

    let armed = |security: Value, spec: Value| {
        let container = json!({"name": "c", "securityContext": security});
        let metadata = json!({"annotations": {"container.apparmor.security.beta.kubernetes.io/c": "unconfined"}});
        let spec = json!({"securityContext": spec, "containers": [container]});
        json!({"metadata": {"name": "web"}, "spec": {"template": {"metadata": metadata, "spec": spec}}})
    };
    let field = json!({"appArmorProfile": {"type": "Unconfined"}});
    let told = "spec.template.metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use \
                the \"appArmorProfile\" field instead";
    let cases: [(Value, &[&str]); 3] = [
        (armed(json!({}), json!({})), &[told]),
        (armed(field.clone(), json!({})), &[]),
        (armed(json!({}), field), &[]),
    ];
    for (deployment, expected) in cases {
        assert_eq!(warnings("Deployment", &deployment, None), expected, "{deployment}");
    }
}

#[test]
fn pods_are_told_of_the_annotations_that_confine_them() {
    let pod = |annotation: &str, of_pod: Value, own: Value| {
        let annotations = json!({"container.apparmor.security.beta.kubernetes.io/c": annotation});
        let container = json!({"name": "c", "securityContext": {"appArmorProfile": own}});
        json!({
            "metadata": {"name": "web", "annotations": annotations},
            "spec": {"containers": [container], "securityContext": {"appArmorProfile": of_pod}},
        })
    };
    let told: &[&str] = &[
        "metadata.annotations[container.apparmor.security.beta.kubernetes.io/c]: deprecated since v1.30; use the \"appArmorProfile\" \
         field instead",
    ];
    let (none, default) = (json!({"type": "Unconfined"}), json!({"type": "RuntimeDefault"}));
    let cases = [
        (pod("unconfined", json!(null), none.clone()), told),
        (pod("unconfined", default.clone(), none.clone()), told),
        (pod("unconfined", none.clone(), json!(null)), &[]),
        (pod("unconfined", json!(null), default), &[]),
        (pod("", json!(null), json!(null)), told),
        (pod("", json!(null), none), &[]),
    ];
    for (pod, expected) in cases {
        assert_eq!(warnings("Pod", &pod, None), expected, "{pod}");
    }
}

#[test]
fn labels_of_nodes_of_old_and_selectors_of_nothing_are_warned_about() {
    let term = json!({"matchExpressions": [{"key": "a"}, {"key": "beta.kubernetes.io/arch"}]});
    let pods = json!({
        "requiredDuringSchedulingIgnoredDuringExecution": [{"labelSelector": {}}, {}],
        "preferredDuringSchedulingIgnoredDuringExecution": [{"podAffinityTerm": {"labelSelector": null}}],
    });
    let affinity = json!({
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {"nodeSelectorTerms": [term]},
            "preferredDuringSchedulingIgnoredDuringExecution": [{"preference": {}}, {"preference": term}],
        },
        "podAffinity": pods, "podAntiAffinity": pods,
    });
    let spread = json!([{"topologyKey": "failure-domain.beta.kubernetes.io/zone"}]);
    check_pods(
        json!({}),
        json!({"affinity": affinity, "topologySpreadConstraints": spread, "containers": []}),
        &[
            "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchExpressions[1].key: \
             beta.kubernetes.io/arch is deprecated since v1.14; use \"kubernetes.io/arch\" instead",
            "spec.affinity.nodeAffinity.preferredDuringSchedulingIgnoredDuringExecution[1].preference.matchExpressions[1].key: \
             beta.kubernetes.io/arch is deprecated since v1.14; use \"kubernetes.io/arch\" instead",
            "spec.topologySpreadConstraints[0].topologyKey: failure-domain.beta.kubernetes.io/zone is deprecated since v1.17; use \
             \"topology.kubernetes.io/zone\" instead",
            "spec.topologySpreadConstraints[0].labelSelector: a null labelSelector results in matching no pod",
            "spec.affinity.podAffinity.requiredDuringSchedulingIgnoredDuringExecution[1].labelSelector: a null labelSelector results \
             in matching no pod",
            "spec.affinity.podAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null \
             labelSelector results in matching no pod",
            "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[1].labelSelector: a null labelSelector \
             results in matching no pod",
            "spec.affinity.podAntiAffinity.preferredDuringSchedulingIgnoredDuringExecution[0].podAffinityTerm.labelSelector: a null \
             labelSelector results in matching no pod",
        ],
    );
}

#[test]
fn odd_amounts_ports_and_addresses_of_pods_are_warned_about() {
    let port = json!({"containerPort": 80, "protocol": "UDP", "hostIP": "10.0.0.1"});
    let claim = json!({"spec": {"resources": {"requests": {"storage": "1500m"}}}});
    let spec = json!({
        "containers": [{"name": "c", "ports": [port]}],
        "overhead": {"cpu": "1m", "memory": "1m", "ephemeral-storage": "2m"},
        "volumes": [{"name": "v", "ephemeral": {"volumeClaimTemplate": claim}}],
        "dnsConfig": {"nameservers": ["10.0.0.1", "2001:DB8::1"]},
        "hostAliases": [{"ip": "2001:DB8::2"}],
    });
    let expected = [
        "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources.requests[storage]: fractional byte value \"1500m\" is invalid, \
         must be an integer",
        "spec.overhead[memory]: fractional byte value \"1m\" is invalid, must be an integer",
        "spec.overhead[ephemeral-storage]: fractional byte value \"2m\" is invalid, must be an integer",
        "spec.containers[0].ports[0]: hostIP set without hostPort: {Name: HostPort:0 ContainerPort:80 Protocol:UDP HostIP:10.0.0.1}",
        "spec.dnsConfig.nameservers[1]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
        "spec.hostAliases[0].ip: IPv6 address \"2001:DB8::2\" should be in RFC 5952 canonical format (\"2001:db8::2\")",
    ];
    check_pods(json!({}), spec, &expected);
}

#[test]
fn files_of_volumes_that_overlap_are_warned_about() {
    let items = |paths: &[&str]| paths.iter().map(|path| json!({"path": path})).collect::<Vec<_>>();
    let volumes = json!([
        {"name": "a", "configMap": {"name": "m", "items": items(&["x/y", "b", "x/", "x/y", "bc", ""])}},
        {"name": "b", "secret": {"secretName": "s", "items": items(&["x", "x!", "x/y"])}},
        {"name": "c", "downwardAPI": {"items": items(&["x", "x/y/z"])}},
        {"name": "d", "projected": {"sources": [
            {"configMap": {"name": "m", "items": items(&["x"])}}, {}, {"secret": {"name": "s", "items": items(&["y"])}},
            {"serviceAccountToken": {"path": "x/token"}}, {"clusterTrustBundle": {"signerName": "n", "path": "y"}},
            {"podCertificate": {"keyPath": "k", "certificateChainPath": "k/c"}},
        ]}},
    ]);
    check_pods(
        json!({}),
        json!({"volumes": volumes, "containers": []}),
        &[
            "volume \"a\" (ConfigMap \"m\"): overlapping paths: \"x\" with \"x/y\"",
            "volume \"a\" (ConfigMap \"m\"): overlapping paths: \"x/y\" with \"x/y\"",
            "volume \"a\" (ConfigMap \"m\"): overlapping paths: \"x/y\" with \"x\"",
            "volume \"b\" (Secret \"s\"): overlapping paths: \"x/y\" with \"x\"",
            "volume \"c\" (DownwardAPI): overlapping paths: \"x/y/z\" with \"x\"",
            "volume \"d\" (Projected) has no sources provided",
            "volume \"d\" (Projected): overlapping paths: \"x/token\" (ServiceAccountToken) with \"x\" (ConfigMap \"m\")",
            "volume \"d\" (Projected): overlapping paths: \"y\" (ClusterTrustBundle \"n\") with \"y\" (Secret \"s\")",
            "volume \"d\" (Projected): overlapping paths: \"k\" (PodCertificate key) with \"k/c\" (PodCertificate chain)",
        ],
    );
}

#[test]
fn ignored_members_of_headless_services_are_warned_about() {
    let spec = json!({"type": "ClusterIP", "clusterIP": "None", "clusterIPs": ["None"], "sessionAffinity": "ClientIP", "externalIPs": ["1.1.1.1"]});
    assert_eq!(
        warnings("Service", &json!({ "spec": spec }), None),
        ["spec.externalIPs is ignored for headless services", "spec.SessionAffinity is ignored for headless services",]
    );
}

#[test]
fn accounts_that_enforce_mountable_secrets_are_warned_about_once() {
    let account = |annotations: Value| json!({"metadata": {"annotations": annotations}});
    let (plain, enforcing) = (account(json!({})), account(json!({"kubernetes.io/enforce-mountable-secrets": "true"})));
    let told = [
        "metadata.annotations[kubernetes.io/enforce-mountable-secrets]: deprecated in v1.32+; prefer separate namespaces to \
                 isolate access to mounted secrets",
    ];
    assert_eq!(warnings("ServiceAccount", &enforcing, None), told);
    assert_eq!(warnings("ServiceAccount", &enforcing, Some(&plain)), told);
    assert_eq!(warnings("ServiceAccount", &enforcing, Some(&enforcing)), Vec::<String>::new());
    assert_eq!(warnings("ServiceAccount", &plain, None), Vec::<String>::new());
}

#[test]
fn certificates_with_another_key_are_warned_about() {
    let pairs: Value = serde_json::from_str(include_str!("fixtures/pairs.json")).unwrap();
    let pem = |names: &str| names.split('+').filter_map(|name| pairs[name].as_str()).collect::<String>();
    let other_key = "tls: private key does not match public key";
    let other_type = "tls: private key type does not match public key type";
    let cases: &[(&str, &str, &[&str])] = &[
        ("ec.crt", "ec.key", &[]),
        ("ec.crt", "ec-pkcs8.key", &[]),
        ("ec.crt", "ec-other.key", &[other_key]),
        ("ec.crt", "rsa.key", &[other_type]),
        ("ec.crt", "ed25519.key", &[other_type]),
        ("rsa.crt", "rsa.key", &[]),
        ("rsa.crt", "rsa-pkcs8.key", &[]),
        ("rsa.crt", "rsa-other.key", &[other_key]),
        ("rsa.crt", "ec-pkcs8.key", &[other_type]),
        // A certificate may have its chain behind it, and a key what it was made from before it.
        ("ec.crt+rsa.crt", "rsa.crt+ec.key", &[]),
        ("none", "ec.key", &["tls: failed to find any PEM data in certificate input"]),
        (
            "ec.key",
            "ec.key",
            &[
                "tls: failed to find certificate PEM data in certificate input, but did find a private key; PEM inputs may have been \
               switched",
            ],
        ),
        (
            "ec.key+rsa.key",
            "ec.key",
            &[
                "tls: failed to find \"CERTIFICATE\" PEM block in certificate input after skipping PEM blocks of the following types: \
               [EC PRIVATE KEY RSA PRIVATE KEY]",
            ],
        ),
        ("ec.crt", "none", &["tls: failed to find any PEM data in key input"]),
        ("ec.crt", "ec.crt", &["tls: found a certificate rather than a key in the PEM for the private key"]),
        (
            "ec.crt",
            "ec.crt+rsa.crt",
            &[
                "tls: failed to find PEM block with type ending in \"PRIVATE KEY\" in key input after skipping PEM blocks of the \
               following types: [CERTIFICATE CERTIFICATE]",
            ],
        ),
    ];
    for (certificate, key, expected) in cases {
        let mut secret =
            json!({"type": "kubernetes.io/tls", "stringData": {"tls.crt": pem(certificate), "tls.key": pem(key)}});
        (by_gvk("", "v1", "Secret").unwrap().default)(&mut secret);
        assert_eq!(warnings("Secret", &secret, None), *expected, "{certificate} {key}");
        assert_eq!(warnings("Secret", &secret, Some(&secret)), *expected, "{certificate} {key}");
        secret["type"] = json!("Opaque");
        assert_eq!(warnings("Secret", &secret, None), Vec::<String>::new());
    }
}

#[test]
fn unusual_spellings_in_services_are_warned_about() {
    let object = json!({
        "metadata": {"annotations": {"service.kubernetes.io/topology-aware-hints": "auto"}},
        "spec": {
            "type": "LoadBalancer", "clusterIP": "2001:db8:0:0::2", "clusterIPs": ["2001:db8:0:0::2", "10.96.0.5"],
            "loadBalancerIP": "010.0.0.1", "loadBalancerSourceRanges": ["10.0.0.0/8", "2001:DB8::/32"],
        },
    });
    let expected = [
        "annotation service.kubernetes.io/topology-aware-hints is deprecated, please use service.kubernetes.io/topology-mode instead",
        "spec.clusterIPs[0]: IPv6 address \"2001:db8:0:0::2\" should be in RFC 5952 canonical format (\"2001:db8::2\")",
        "spec.loadBalancerIP: non-standard IP address \"010.0.0.1\" will be considered invalid in a future Kubernetes release: use \
         \"10.0.0.1\"",
        "spec.loadBalancerSourceRanges[1]: IPv6 CIDR value \"2001:DB8::/32\" should be in RFC 5952 canonical format (\"2001:db8::/32\")",
    ];
    assert_eq!(warnings("Service", &object, None), expected);
    let spec = json!({"type": "ClusterIP", "clusterIP": "10.96.0.5", "sessionAffinity": "None", "externalIPs": ["2001:DB8::1"]});
    assert_eq!(
        warnings("Service", &json!({ "spec": spec }), None),
        [
            "spec.externalIPs[0]: IPv6 address \"2001:DB8::1\" should be in RFC 5952 canonical format (\"2001:db8::1\")",
            "spec.externalIPs is deprecated and may no longer be implemented in some clusters",
        ]
    );
}

#[test]
fn unusual_spellings_in_slices_are_warned_about() {
    let slice = |kind: &str, manager: &str, address: &str| {
        json!({
            "metadata": {"labels": {"endpointslice.kubernetes.io/managed-by": manager}}, "addressType": kind,
            "endpoints": [{"addresses": ["2001:db8::1"]}, {"addresses": ["2001:db8::2", address]}],
        })
    };
    let spelled = "endpoints[1].addresses[1]: IPv6 address \"2001:db8:0::3\" should be in RFC 5952 canonical format (\"2001:db8::3\")";
    let named = slice("FQDN", "me", "a.example.com");
    let deprecated = "spec.addressType: FQDN endpoints are deprecated";
    let cases: [(Value, bool, &[&str]); 6] = [
        (slice("IPv6", "me", "2001:db8:0::3"), true, &[spelled]),
        (slice("IPv6", "me", "2001:db8:0::3"), false, &[spelled]),
        (slice("IPv6", "endpointslice-controller.k8s.io", "2001:db8:0::3"), true, &[]),
        (slice("IPv6", "endpointslicemirroring-controller.k8s.io", "2001:db8:0::3"), true, &[]),
        (named.clone(), true, &[deprecated]),
        (named, false, &[]),
    ];
    for (slice, new, expected) in cases {
        assert_eq!(warnings("EndpointSlice", &slice, (!new).then_some(&slice)), expected, "{slice}");
    }
}

#[test]
fn removed_members_of_nodes_are_warned_about() {
    let node = json!({"spec": {"externalID": "x", "configSource": {}}});
    assert_eq!(
        warnings("Node", &node, None),
        [
            "spec.configSource: the feature is removed",
            "spec.externalID: this field is deprecated, and is unused by Kubernetes"
        ]
    );
    assert_eq!(warnings("Node", &json!({"spec": {"externalID": ""}}), None), Vec::<String>::new());
}

#[test]
fn storage_of_old_is_warned_about() {
    let annotations = json!({"volume.beta.kubernetes.io/storage-class": "fast"});
    let class = "metadata.annotations[volume.beta.kubernetes.io/storage-class]: deprecated since v1.8; use \"storageClassName\" \
                 attribute instead";
    let term = json!({"matchExpressions": [{"key": "a"}, {"key": "beta.kubernetes.io/os"}]});
    let mut volume = json!({"metadata": {"annotations": annotations}, "spec": {
        "persistentVolumeReclaimPolicy": "Recycle", "nodeAffinity": {"required": {"nodeSelectorTerms": [term]}},
    }});
    for source in
        ["cephfs", "flocker", "glusterfs", "nfs", "photonPersistentDisk", "quobyte", "rbd", "scaleIO", "storageos"]
    {
        volume["spec"][source] = json!({});
    }
    let expected = [
        class,
        "spec.persistentVolumeReclaimPolicy: The Recycle reclaim policy is deprecated. Instead, the recommended approach is to use \
         dynamic provisioning.",
        "spec.nodeAffinity.required.nodeSelectorTerms[0].matchExpressions[1].key: beta.kubernetes.io/os is deprecated since v1.14; \
         use \"kubernetes.io/os\" instead",
        "spec.photonPersistentDisk: deprecated in v1.11, non-functional in v1.16+",
        "spec.scaleIO: deprecated in v1.16, non-functional in v1.22+",
        "spec.storageOS: deprecated in v1.22, non-functional in v1.25+",
        "spec.glusterfs: deprecated in v1.25, non-functional in v1.26+",
        "spec.cephfs: deprecated in v1.28, non-functional in v1.31+",
        "spec.rbd: deprecated in v1.28, non-functional in v1.31+",
    ];
    assert_eq!(warnings("PersistentVolume", &volume, None), expected);
    assert_eq!(warnings("PersistentVolume", &volume, Some(&volume)), expected);

    let spec = json!({"resources": {"requests": {"storage": "1500m"}, "limits": {"storage": "2500m"}}});
    let fractions = |path: &str| {
        [("requests", "1500m"), ("limits", "2500m")].map(|(part, amount)| {
            format!("{path}.resources.{part}[storage]: fractional byte value {amount:?} is invalid, must be an integer")
        })
    };
    let claim = json!({"metadata": {"annotations": annotations}, "spec": spec});
    let told = [&[class.to_owned()], fractions("spec").as_slice()].concat();
    assert_eq!(warnings("PersistentVolumeClaim", &claim, None), told);
    let whole = json!({"spec": {"resources": {"requests": {"storage": "1Gi"}}}});
    assert_eq!(warnings("PersistentVolumeClaim", &whole, None), Vec::<String>::new());

    let set = json!({"spec": {"volumeClaimTemplates": [whole, {"spec": spec}], "revisionHistoryLimit": -1}});
    let revisions =
        "spec.revisionHistoryLimit: a negative value retains all historical revisions; a value >= 0 is recommended";
    let told = |path: &str| [fractions(path).as_slice(), &[revisions.to_owned()]].concat();
    assert_eq!(warnings("StatefulSet", &set, None), told("spec.volumeClaimTemplates[1]"));
    assert_eq!(warnings("StatefulSet", &set, Some(&set)), told("spec.volumeClaimTemplates[1].Spec"));
}

/// `READY STATUS RESTARTS` of a pod with two containers.
fn row(status: Value, deleted: bool) -> String {
    let now = chrono::DateTime::parse_from_rfc3339("2026-01-01T01:00:00Z").unwrap().to_utc();
    let mut pod = json!({"metadata": {}, "spec": {"containers": [{"name": "a"}, {"name": "b"}]}, "status": status});
    if deleted {
        pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    }
    let cells = (pod::KIND.cells)(&pod, now);
    cells[1..4].iter().map(|cell| cell.as_str().unwrap()).collect::<Vec<_>>().join(" ")
}

#[test]
fn pods_in_trouble_say_so() {
    let running = json!({"name": "a", "ready": true, "restartCount": 0, "state": {"running": {}}});
    let state = |state: Value| json!({"name": "b", "ready": false, "restartCount": 3, "state": state});
    let with = |status: Value| json!({"phase": "Running", "containerStatuses": [running, status]});
    let mut restarted = state(json!({"waiting": {"reason": "CrashLoopBackOff"}}));
    restarted["lastState"] = json!({"terminated": {"finishedAt": "2026-01-01T00:55:00Z"}});
    let cases = [
        (with(restarted), false, "1/2 CrashLoopBackOff 3 (5m ago)"),
        (with(state(json!({"waiting": {"reason": "ImagePullBackOff"}}))), false, "1/2 ImagePullBackOff 3"),
        (with(state(json!({"terminated": {"exitCode": 2}}))), false, "1/2 ExitCode:2 3"),
        (with(state(json!({"terminated": {"exitCode": 137, "signal": 9}}))), false, "1/2 Signal:9 3"),
        (with(state(json!({"terminated": {"exitCode": 137, "reason": "OOMKilled"}}))), false, "1/2 OOMKilled 3"),
        (with(state(json!({"terminated": {"exitCode": 0, "reason": "Completed"}}))), false, "1/2 NotReady 3"),
        (with(state(json!({"running": {}}))), true, "1/2 Terminating 3"),
        (json!({"phase": "Failed", "reason": "Evicted"}), true, "0/2 Evicted 0"),
        (json!({"phase": "Running", "reason": "NodeLost"}), true, "0/2 Unknown 0"),
        (
            json!({"phase": "Pending", "conditions": [{"type": "PodScheduled", "reason": "SchedulingGated"}]}),
            false,
            "0/2 SchedulingGated 0",
        ),
        (
            json!({"phase": "Pending", "initContainerStatuses": [
                {"name": "i", "restartCount": 1, "state": {"terminated": {"exitCode": 1, "reason": "Error"}}},
            ]}),
            false,
            "0/2 Init:Error 1",
        ),
    ];
    for (status, deleted, expected) in cases {
        assert_eq!(row(status.clone(), deleted), expected, "{status}");
    }
}

#[test]
fn how_long_a_pod_may_take_to_end() {
    let pod = |seconds: Value| json!({"spec": {"terminationGracePeriodSeconds": seconds}});
    let cases = [(json!(null), 30), (json!(5), 5), (json!(0), 0), (json!(-3), 1)];
    for (seconds, expected) in cases {
        assert_eq!(pod::grace_period(&pod(seconds.clone())), expected, "{seconds}");
    }
    let now = |pod: Value| (pod::KIND.removable_now)(&pod);
    assert!(now(json!({"spec": {}})));
    assert!(now(json!({"spec": {"nodeName": "n"}, "status": {"phase": "Succeeded"}})));
    assert!(!now(json!({"spec": {"nodeName": "n"}, "status": {"phase": "Running"}})));
}

#[test]
fn part_of_the_metadata_counts_as_content_for_some_kinds() {
    let old = json!({"metadata": {"generation": 4, "labels": {"a": "1"}, "annotations": {"a": "1"}}});
    let raised = |group: &str, kind: &str, member: &str| {
        let mut new = old.clone();
        new["metadata"][member]["b"] = json!("2");
        (by_gvk(group, "v1", kind).unwrap().prepare_update)(&mut new, &old);
        new["metadata"]["generation"] == 5
    };
    assert!(raised("discovery.k8s.io", "EndpointSlice", "labels"));
    assert!(!raised("discovery.k8s.io", "EndpointSlice", "annotations"));
    assert!(raised("apps", "Deployment", "annotations"));
    assert!(!raised("apps", "Deployment", "labels"));
}
