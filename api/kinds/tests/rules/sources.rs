//! Where the content of volumes comes from: in pods, and in PersistentVolumes.

use serde_json::{Value, json};

use super::{check_creates, container, core, create, deployment, pod};

fn volume(source: Value) -> Value {
    let mut volume = json!({"name": "v"});
    super::merge(&mut volume, &source);
    pod(json!({"volumes": [volume]}))
}

fn of_cluster(source: Value) -> Value {
    let mut object =
        core("PersistentVolume", json!({"spec": {"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"]}}));
    super::merge(&mut object["spec"], &source);
    object
}

#[test]
fn sources_say_what_they_need() {
    // What is empty lacks these, in a pod and in a PersistentVolume alike.
    let needs: &[(&str, &[&str])] = &[
        ("gcePersistentDisk", &["persistentDisk.pdName"]),
        ("awsElasticBlockStore", &["awsElasticBlockStore.volumeID"]),
        ("nfs", &["nfs.server", "nfs.path"]),
        ("iscsi", &["iscsi.targetPortal", "iscsi.iqn"]),
        ("glusterfs", &["glusterfs.endpoints", "glusterfs.path"]),
        ("flocker", &["flocker"]),
        ("rbd", &["rbd.monitors", "rbd.image"]),
        ("cinder", &["cinder.volumeID"]),
        ("cephfs", &["cephfs.monitors"]),
        ("quobyte", &["quobyte.registry", "quobyte.volume"]),
        ("fc", &["fc.targetWWNs"]),
        ("flexVolume", &["flexVolume.driver"]),
        ("azureFile", &["azureFile.secretName", "azureFile.shareName"]),
        ("azureDisk", &["azureDisk.diskName", "azureDisk.diskURI"]),
        ("vsphereVolume", &["vsphereVolume.volumePath"]),
        ("photonPersistentDisk", &["photonPersistentDisk.pdID"]),
        ("portworxVolume", &["portworxVolume.volumeID"]),
        ("scaleIO", &["scaleIO.gateway", "scaleIO.system", "scaleIO.volumeName"]),
        ("storageos", &["storageos.volumeName"]),
        ("csi", &["csi.driver"]),
    ];
    for (source, missing) in needs {
        for (object, path) in
            [(volume(json!({*source: {}})), "spec.volumes[0]"), (of_cluster(json!({*source: {}})), "spec")]
        {
            let told = create(object);
            for member in *missing {
                let expected = format!("{path}.{member}: Required value");
                assert!(told.iter().any(|one| one.starts_with(&expected)), "{expected}: {told:?}");
            }
        }
    }
    for (source, member) in [("gitRepo", "repository"), ("image", "reference"), ("ephemeral", "volumeClaimTemplate")] {
        let expected = format!("spec.volumes[0].{source}.{member}: Required value");
        assert_eq!(create(volume(json!({source: {}}))), [expected]);
    }
}

#[test]
fn what_sources_say_is_checked() {
    let iqn = |name: &str| json!({"iscsi": {"targetPortal": "p", "lun": 0, "iqn": name}});
    for good in ["iqn.2001-04.com.example:storage", "eui.0123456789abcdef", "naa.0123456789abcdef0123456789abcdef"] {
        assert_eq!(create(volume(iqn(good))), Vec::<String>::new(), "{good}");
    }
    for bad in
        ["iqn.2001-4.com.example:x", "iqn.2001-04.com.example", "iqn.2001-04.com.example:a b", "eui.01", "naa.01"]
    {
        let expected = format!("spec.volumes[0].iscsi.iqn: Invalid value: {bad:?}: must be valid format");
        assert_eq!(create(volume(iqn(bad))), [expected]);
    }
    let secret = |name: &str, namespace: &str| json!({"name": name, "namespace": namespace});
    let csi = |secret: Value| {
        of_cluster(json!({"csi": {"driver": "d.example.com", "volumeHandle": "h", "nodeExpandSecretRef": secret}}))
    };
    check_creates(vec![
        (
            volume(iqn("x")),
            &["spec.volumes[0].iscsi.iqn: Invalid value: \"x\": must be valid format starting with iqn, eui, or naa"],
        ),
        (
            volume(json!({"fc": {"targetWWNs": ["a"], "wwids": ["b"], "lun": 256}})),
            &[
                "spec.volumes[0].fc.targetWWNs: Invalid value: [\"a\"]: targetWWNs and wwids can not be specified simultaneously",
                "spec.volumes[0].fc.lun: Invalid value: 256: must be between 0 and 255, inclusive",
            ],
        ),
        (volume(json!({"quobyte": {"registry": "a:1,[::1]:2", "volume": "v"}})), &[]),
        (
            volume(json!({"quobyte": {"registry": "a,::1:2", "volume": "v"}})),
            &[
                "spec.volumes[0].quobyte.registry: Invalid value: \"a,::1:2\": must be a host:port pair or multiple pairs separated by commas",
                "spec.volumes[0].quobyte.registry: Invalid value: \"a,::1:2\": must be a host:port pair or multiple pairs separated by commas",
            ],
        ),
        (
            volume(json!({"flexVolume": {"driver": "d", "options": {"storage.k8s.io/x": "a"}}})),
            &[
                "spec.volumes[0].flexVolume.options[storage.k8s.io/x]: Invalid value: \"storage.k8s.io/x\": kubernetes.io and k8s.io \
                 namespaces are reserved",
            ],
        ),
        (
            volume(json!({"csi": {"driver": "d.example.com", "nodePublishSecretRef": {}}})),
            &["spec.volumes[0].csi.nodePublishSecretRef.name: Required value"],
        ),
        (csi(secret("s", "ns")), &[]),
        (
            csi(secret("", "")),
            &[
                "spec.csi.nodeExpandSecretRef.name: Required value",
                "spec.csi.nodeExpandSecretRef.namespace: Required value",
            ],
        ),
        (
            of_cluster(json!({"azureFile": {"secretName": "s", "shareName": "h", "secretNamespace": ""}})),
            &["spec.azureFile.secretNamespace: Required value"],
        ),
        (
            volume(json!({"cephfs": {"monitors": ["m"]}, "emptyDir": {}})),
            &["spec.volumes[0].cephFS: Forbidden: may not specify more than 1 volume type"],
        ),
    ]);
}

#[test]
fn claims_made_with_a_pod_are_claims() {
    let made = |template: Value| volume(json!({"ephemeral": {"volumeClaimTemplate": template}}));
    let good = json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
    check_creates(vec![
        (made(json!({"metadata": {"labels": {"a": "b"}}, "spec": good})), &[]),
        (
            made(json!({"metadata": {"name": "x"}, "spec": {"accessModes": ["Some"]}})),
            &[
                "spec.volumes[0].ephemeral.volumeClaimTemplate.metadata.name: Forbidden: cannot be set",
                "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.accessModes: Unsupported value: \"Some\": supported values: \
                 \"ReadOnlyMany\", \"ReadWriteMany\", \"ReadWriteOnce\", \"ReadWriteOncePod\"",
                "spec.volumes[0].ephemeral.volumeClaimTemplate.spec.resources[storage]: Required value",
            ],
        ),
    ]);
    let mut long = made(json!({"spec": good}));
    long["metadata"]["name"] = json!("p".repeat(253));
    let told = create(long);
    assert!(told.len() == 1 && told[0].starts_with("spec.volumes[0].name: Invalid value: \"v\": PVC name"), "{told:?}");
}

#[test]
fn images_are_mounted_in_part_too() {
    let with = |image: Value| {
        pod(json!({
            "volumes": [{"name": "v", "image": image}],
            "containers": [{"name": "c", "image": "i", "volumeMounts": [{"name": "v", "mountPath": "/v", "subPath": "a"}]}],
        }))
    };
    check_creates(vec![
        (with(json!({"reference": "i:1"})), &[]),
        (
            with(json!({"reference": "i:1", "pullPolicy": "Maybe"})),
            &[
                "spec.volumes[0].image.pullPolicy: Unsupported value: \"Maybe\": supported values: \"Always\", \"IfNotPresent\", \"Never\"",
            ],
        ),
        // Whoever makes pods of a template may fill it in.
        (deployment(json!({"template": {"spec": {"volumes": [{"name": "v", "image": {}}]}}})), &[]),
    ]);
}

#[test]
fn values_come_from_files_of_empty_directories() {
    let with = |volumes: Value, reference: Value| {
        let variable = json!({"name": "A", "valueFrom": {"fileKeyRef": reference}});
        let mut object = container(json!({"env": [variable]}));
        object["spec"]["volumes"] = volumes;
        object
    };
    let reference = json!({"volumeName": "v", "path": "f", "key": "K"});
    check_creates(vec![
        (with(json!([{"name": "v", "emptyDir": {}}]), reference.clone()), &[]),
        (
            with(json!([]), reference.clone()),
            &["spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Not found: \"v\""],
        ),
        (
            with(json!([{"name": "v", "hostPath": {"path": "/x"}}]), reference),
            &[
                "spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Invalid value: \"v\": referenced volume must be of type emptyDir",
            ],
        ),
        (
            with(json!([]), json!({})),
            &[
                "spec.containers[0].env[0].valueFrom.fileKeyRef.key: Required value",
                "spec.containers[0].env[0].valueFrom.fileKeyRef.path: Required value",
                "spec.containers[0].env[0].valueFrom.fileKeyRef.volumeName: Required value",
            ],
        ),
    ]);
}

#[test]
fn a_volume_is_mounted_or_a_device() {
    let object = pod(json!({
        "volumes": [{"name": "v", "persistentVolumeClaim": {"claimName": "c"}}],
        "containers": [{
            "name": "c", "image": "i",
            "volumeMounts": [{"name": "v", "mountPath": "/v"}], "volumeDevices": [{"name": "v", "devicePath": "/v"}],
        }],
    }));
    assert_eq!(
        create(object),
        [
            "spec.containers[0].volumeMounts[0].name: Invalid value: \"v\": must not already exist in volumeDevices",
            "spec.containers[0].volumeMounts[0].mountPath: Invalid value: \"/v\": must not already exist as a path in volumeDevices",
            "spec.containers[0].volumeDevices[0].name: Invalid value: \"v\": must not already exist in volumeMounts",
            "spec.containers[0].volumeDevices[0].devicePath: Invalid value: \"/v\": must not already exist as a path in volumeMounts",
        ]
    );
}
