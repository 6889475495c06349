//! storage.k8s.io.

use serde_json::{Value, json};

use super::{check_creates, check_updates, in_group, merge, stored, update, update_status};

fn storage(kind: &str, rest: Value) -> Value {
    in_group("storage.k8s.io/v1", kind, rest)
}

#[test]
fn classes_are_checked() {
    let class = |rest: Value| {
        let mut object = storage("StorageClass", json!({"provisioner": "example.com/p"}));
        merge(&mut object, &rest);
        object
    };
    let topology = json!({"matchLabelExpressions": [{"key": "a", "values": ["x", "x"]}, {"key": "a", "values": []}]});
    check_creates(vec![
        (class(json!({"parameters": {"a": "b"}, "allowVolumeExpansion": true})), &[]),
        (class(json!({"provisioner": ""})), &["provisioner: Required value"]),
        (
            class(json!({"reclaimPolicy": "Recycle", "volumeBindingMode": "Later", "parameters": {"": "x"}})),
            &[
                "parameters: Invalid value: \"\": field can not be empty.",
                "reclaimPolicy: Unsupported value: \"Recycle\": supported values: \"Delete\", \"Retain\"",
                "volumeBindingMode: Unsupported value: \"Later\": supported values: \"Immediate\", \"WaitForFirstConsumer\"",
            ],
        ),
        (
            class(json!({"allowedTopologies": [topology]})),
            &[
                "allowedTopologies[0].matchLabelExpressions[0].values[1]: Duplicate value: \"x\"",
                "allowedTopologies[0].matchLabelExpressions[1].values: Required value",
                "allowedTopologies[0].matchLabelExpressions[1].key: Duplicate value: \"a\"",
            ],
        ),
        (storage("VolumeAttributesClass", json!({"driverName": "d", "parameters": {"a": "b"}})), &[]),
        (
            storage("VolumeAttributesClass", json!({"parameters": {}})),
            &["driverName: Required value", "parameters: Required value: must contain at least one key/value pair"],
        ),
    ]);
    check_updates(
        class(json!({})),
        vec![
            (json!({"allowVolumeExpansion": true}), &[]),
            (
                json!({"provisioner": "b", "parameters": {"a": "b"}, "reclaimPolicy": "Retain", "volumeBindingMode": "WaitForFirstConsumer"}),
                &[
                    "parameters: Forbidden: updates to parameters are forbidden.",
                    "provisioner: Forbidden: updates to provisioner are forbidden.",
                    "reclaimPolicy: Forbidden: updates to reclaimPolicy are forbidden.",
                    "volumeBindingMode: Invalid value: \"WaitForFirstConsumer\": field is immutable",
                ],
            ),
        ],
    );
    check_updates(
        storage("VolumeAttributesClass", json!({"driverName": "d", "parameters": {"a": "b"}})),
        vec![(
            json!({"driverName": "e", "parameters": {"a": "c"}}),
            &[
                "driverName: Forbidden: updates to driverName are forbidden.",
                "parameters: Forbidden: updates to parameters are forbidden.",
            ],
        )],
    );
}

#[test]
fn drivers_and_their_nodes_are_checked() {
    let driver = |spec: Value| storage("CSIDriver", json!({"metadata": {"name": "d.example.com"}, "spec": spec}));
    let node = |drivers: Value| storage("CSINode", json!({"spec": {"drivers": drivers}}));
    check_creates(vec![
        (
            driver(
                json!({"tokenRequests": [{"audience": "a"}, {"audience": "a"}, {"audience": "b", "expirationSeconds": 1}]}),
            ),
            &[
                "spec.tokenRequests[1].audience: Duplicate value: \"a\"",
                "spec.tokenRequests[2].expirationSeconds: Invalid value: 1: may not specify a duration less than 10 minutes",
            ],
        ),
        (
            driver(json!({"serviceAccountTokenInSecrets": true})),
            &[
                "spec.serviceAccountTokenInSecrets: Invalid value: true: serviceAccountTokenInSecrets is set but no tokenRequests are specified",
            ],
        ),
        (
            driver(
                json!({"fsGroupPolicy": "X", "volumeLifecycleModes": ["Y"], "nodeAllocatableUpdatePeriodSeconds": 9}),
            ),
            &[
                "spec.fsGroupPolicy: Unsupported value: \"X\": supported values: \"File\", \"None\", \"ReadWriteOnceWithFSType\"",
                "spec.volumeLifecycleModes: Unsupported value: \"Y\": supported values: \"Persistent\", \"Ephemeral\"",
                "spec.nodeAllocatableUpdatePeriodSeconds: Invalid value: 9: must be greater than or equal to 10 seconds",
            ],
        ),
        (node(json!([{"name": "a", "nodeID": "n", "topologyKeys": ["k"], "allocatable": {"count": 3}}])), &[]),
        (
            node(
                json!([{"name": "a", "nodeID": "n"}, {"name": "a", "nodeID": "", "allocatable": {"count": -1}, "topologyKeys": ["k", "k"]}]),
            ),
            &[
                "spec.drivers[1].nodeID: Required value",
                "spec.drivers[1].allocatable.count: Invalid value: -1: must be greater than or equal to 0",
                "spec.drivers[1].name: Duplicate value: \"a\"",
                "spec.drivers[1]: Duplicate value: \"k\"",
            ],
        ),
    ]);
    check_updates(
        driver(json!({})),
        vec![(
            json!({"spec": {"attachRequired": false, "volumeLifecycleModes": ["Ephemeral"]}}),
            &[
                "spec.attachedRequired: Invalid value: false: field is immutable",
                "spec.volumeLifecycleModes: Invalid value: [\"Ephemeral\"]: field is immutable",
            ],
        )],
    );
    check_updates(
        node(json!([{"name": "a", "nodeID": "n"}])),
        vec![
            (json!({"spec": {"drivers": [{"name": "a", "nodeID": "n", "allocatable": {"count": 2}}]}}), &[]),
            (json!({"spec": {"drivers": []}}), &[]),
            (
                json!({"spec": {"drivers": [{"name": "a", "nodeID": "m"}]}}),
                &[
                    "spec.drivers: Invalid value: {\"name\":\"a\",\"nodeID\":\"m\",\"topologyKeys\":null}: field is immutable",
                ],
            ),
        ],
    );
}

#[test]
fn changes_of_drivers_are_counted() {
    let mut driver = stored(storage("CSIDriver", json!({"metadata": {"name": "d.example.com"}, "spec": {}})));
    assert!(driver["metadata"].get("generation").is_none());
    let changes = [
        (json!({"metadata": {"labels": {"a": "b"}}}), json!(null)),
        (json!({"spec": {"requiresRepublish": true}}), json!(1)),
        (json!({"spec": {"storageCapacity": true}}), json!(2)),
        (json!({"spec": {"storageCapacity": true}}), json!(2)),
    ];
    for (patch, generation) in changes {
        driver = update(&driver, &patch).0;
        assert_eq!(driver["metadata"]["generation"], generation, "{patch}");
    }
}

#[test]
fn attachments_and_capacities_are_checked() {
    let attachment = |source: Value| {
        storage("VolumeAttachment", json!({"spec": {"attacher": "d.example.com", "nodeName": "n", "source": source}}))
    };
    let capacity = |rest: Value| {
        let mut object = storage("CSIStorageCapacity", json!({"storageClassName": "s"}));
        merge(&mut object, &rest);
        object
    };
    check_creates(vec![
        (attachment(json!({"persistentVolumeName": "p"})), &[]),
        (
            attachment(json!({})),
            &["spec.source: Required value: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
        ),
        (
            attachment(json!({"persistentVolumeName": "p", "inlineVolumeSpec": {}})),
            &["spec.source: Forbidden: must specify exactly one of inlineVolumeSpec and persistentVolumeName"],
        ),
        (
            attachment(json!({"inlineVolumeSpec": {
                "accessModes": ["ReadWriteOnce"], "csi": {"driver": "d.example.com", "volumeHandle": "v"}, "volumeMode": "Filesystem",
            }})),
            &[],
        ),
        (
            attachment(json!({"inlineVolumeSpec": {
                "accessModes": ["ReadWriteOnce"], "hostPath": {"path": "/x"}, "storageClassName": "c", "volumeMode": "Block",
                "capacity": {"storage": "1Gi"},
            }})),
            &[
                "spec.source.inlineVolumeSpec.capacity: Forbidden: may not be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.csi: Required value: has to be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.storageClassName: Forbidden: may not be specified in the context of inline volumes",
                "spec.source.inlineVolumeSpec.volumeMode: Forbidden: may not specify volumeMode other than Filesystem in the context of \
                 inline volumes",
            ],
        ),
        (capacity(json!({"capacity": "-1"})), &["capacity: Invalid value: \"-1\": must be greater than or equal to 0"]),
    ]);
    check_updates(
        attachment(json!({"persistentVolumeName": "p"})),
        vec![(
            json!({"spec": {"nodeName": "m"}}),
            &[
                "spec: Invalid value: {\"attacher\":\"d.example.com\",\"source\":{\"persistentVolumeName\":\"p\"},\"nodeName\":\"m\"}: \
                 field is immutable",
            ],
        )],
    );
    check_updates(
        capacity(json!({})),
        vec![(
            json!({"storageClassName": "t", "capacity": "2"}),
            &["storageClassName: Invalid value: \"t\": field is immutable"],
        )],
    );
    let old = stored(attachment(json!({"persistentVolumeName": "p"})));
    assert_eq!(
        update_status(&old, &json!({"status": {"attached": true, "attachError": {"errorCode": -1}}})).1,
        ["status.attachError.errorCode: Invalid value: -1: must be between 0 and 2147483647, inclusive"]
    );
}
