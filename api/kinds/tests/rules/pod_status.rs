//! What is refused in the status of a Pod.

use serde_json::{Value, json};

use super::{merge, pod, stored, update_status};

fn container(name: &str, rest: Value) -> Value {
    let mut container = json!({"name": name, "image": "i:1"});
    merge(&mut container, &rest);
    container
}

/// A pod with containers that ask for devices.
fn asking() -> Value {
    let claims = json!([{"name": "gpu", "request": "big"}, {"name": "nic"}]);
    stored(pod(json!({
        "resourceClaims": [{"name": "gpu", "resourceClaimName": "x"}, {"name": "nic", "resourceClaimName": "y"}],
        "initContainers": [container("i", json!({}))],
        "containers": [
            container("c", json!({"resources": {"claims": claims, "requests": {"example.com/tpu": 1}, "limits": {"example.com/tpu": 1}}})),
        ],
    })))
}

fn told(old: &Value, status: Value) -> Vec<String> {
    update_status(old, &json!({ "status": status })).1
}

#[test]
fn nobody_is_nominated_for_a_pod_that_has_a_node() {
    let bound = stored(pod(json!({"nodeName": "n"})));
    let nominated = json!({"nominatedNodeName": "m"});
    let forbidden = "status.nominatedNodeName: Forbidden: may not be set on pods that are already bound to a node";
    assert_eq!(told(&bound, nominated.clone()), [forbidden]);
    assert_eq!(told(&stored(pod(json!({}))), nominated), Vec::<String>::new());
}

#[test]
fn generations_are_natural_numbers() {
    let condition = json!({"type": "example.com/C", "status": "True", "observedGeneration": -1});
    assert_eq!(
        told(&stored(pod(json!({}))), json!({"observedGeneration": -1, "conditions": [condition]})),
        [
            "metadata.conditions[0].observedGeneration: Invalid value: -1: must be a non-negative integer",
            "status.observedGeneration: Invalid value: -1: must be a non-negative integer",
        ]
    );
}

#[test]
fn users_of_containers_are_checked() {
    let running =
        |user: Value| json!({"containerStatuses": [container("c", json!({"imageID": "", "user": {"linux": user}}))]});
    let user = json!({"uid": -1, "gid": 1_u64 << 31, "supplementalGroups": [0, -1]});
    let range = "must be between 0 and 2147483647, inclusive";
    let path = "status.containerStatuses[0].user.linux";
    assert_eq!(
        told(&stored(pod(json!({}))), running(user)),
        [
            format!("{path}.uid: Invalid value: -1: {range}"),
            format!("{path}.gid: Invalid value: 2147483648: {range}"),
            format!("{path}.supplementalGroups[1]: Invalid value: -1: {range}"),
        ]
    );
    let windows = stored(pod(json!({"os": {"name": "windows"}})));
    assert_eq!(
        told(&windows, running(json!({"uid": 1, "gid": 1}))),
        [format!("{path}: Forbidden: cannot be set for a windows pod")]
    );
}

#[test]
fn devices_of_containers_are_those_that_they_ask_for() {
    let devices =
        |name: &str, health: &str| json!({"name": name, "resources": [{"resourceID": "a", "health": health}]});
    let of = |member: &str, name: &str, all: Value| json!({member: [container(name, json!({"imageID": "", "allocatedResourcesStatus": all}))]});
    let old = asking();
    let known = json!([
        devices("claim:gpu/big", "Healthy"),
        devices("claim:nic", "Unknown"),
        devices("example.com/tpu", "Unhealthy"),
    ]);
    assert_eq!(told(&old, of("containerStatuses", "c", known)), Vec::<String>::new());
    let twice = json!({"name": "claim:gpu", "resources": [{"resourceID": "a", "health": "Ill"}, {"resourceID": "a", "health": "Healthy"}]});
    let path = "status.containerStatuses[0].allocatedResourcesStatus";
    assert_eq!(
        told(&old, of("containerStatuses", "c", json!([twice, {"name": "cpu"}]))),
        [
            format!(
                "{path}[0].name: Invalid value: \"claim:gpu\": must match one of the container's resource claims in a format \
                 'claim:<claimName>/<request>' or 'claim:<claimName>' if request is empty"
            ),
            format!(
                "{path}[0].resources[0].health: Unsupported value: \"Ill\": supported values: \"Healthy\", \"Unhealthy\", \"Unknown\""
            ),
            format!("{path}[0].resources[1].resourceID: Duplicate value: \"a\""),
            format!("{path}[1].name: Invalid value: \"cpu\": must match one of the container's resource requests"),
        ]
    );
    assert_eq!(
        told(&old, of("ephemeralContainerStatuses", "e", json!([devices("cpu", "Healthy")]))),
        [
            "status.ephemeralContainerStatuses[0].allocatedResourcesStatus: Forbidden: must not be specified in container status"
        ]
    );
}

#[test]
fn the_claim_of_extended_resources_is_for_who_asks() {
    let mapping = |container: &str, resource: &str| json!({"containerName": container, "resourceName": resource, "requestName": "r"});
    let claimed = |mappings: Value| json!({"extendedResourceClaimStatus": {"resourceClaimName": "x-abcde", "requestMappings": mappings}});
    let old = asking();
    assert_eq!(told(&old, claimed(json!([mapping("c", "example.com/tpu")]))), Vec::<String>::new());
    let path = "status.extendedResourceClaimStatus.requestMappings";
    let all = json!([
        mapping("d", "cpu"),
        mapping("i", "cpu"),
        mapping("c", "example.com/tpu"),
        mapping("c", "example.com/tpu")
    ]);
    assert_eq!(
        told(&old, claimed(all)),
        [
            format!(
                "{path}[0].containerName: Invalid value: \"d\": must match the name of an entry in spec.initContainers.name or \
                 spec.containers.name"
            ),
            format!(
                "{path}[1].resourceName: Invalid value: \"cpu\": must match the extended resource name of an entry in \
                 spec.initContainers.resources.requests or spec.containers.resources.requests"
            ),
            format!("{path}[3].containerName: Duplicate value: \"c\""),
            format!("{path}[3].resourceName: Duplicate value: \"example.com/tpu\""),
            format!("{path}[3].requestName: Duplicate value: \"r\""),
        ]
    );
    assert_eq!(
        told(&old, json!({"extendedResourceClaimStatus": {"requestMappings": []}})),
        [
            format!("{path}: Required value: at least one request mapping is required"),
            "status.extendedResourceClaimStatus.resourceClaimName: Required value".to_owned(),
        ]
    );
}
