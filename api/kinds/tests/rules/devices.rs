//! resource.k8s.io.

use serde_json::{Value, json};

use super::{check_creates, check_updates, create, in_group, merge, stored, update_status};

const VERSION: &str = "resource.k8s.io/v1";

fn claim(devices: Value) -> Value {
    in_group(VERSION, "ResourceClaim", json!({"spec": {"devices": devices}}))
}

fn request(rest: Value) -> Value {
    let mut request = json!({"name": "r", "exactly": {"deviceClassName": "c"}});
    merge(&mut request, &rest);
    request
}

#[test]
fn claims_are_checked() {
    let requests = |all: Value| claim(json!({ "requests": all }));
    check_creates(vec![
        (requests(json!([request(json!({}))])), &[]),
        (
            requests(json!([
                request(json!({"exactly": null})),
                request(json!({"firstAvailable": [{"name": "s", "deviceClassName": "c"}]}))
            ])),
            &[
                "spec.devices.requests[0]: Required value: exactly one of `exactly` or `firstAvailable` is required",
                "spec.devices.requests[1]: Invalid value: null: exactly one of `exactly` or `firstAvailable` is required, but multiple fields \
                 are set",
                "spec.devices.requests[1]: Duplicate value: \"r\"",
            ],
        ),
        (
            requests(json!([request(
                json!({"exactly": {"deviceClassName": "", "allocationMode": "All", "count": 2, "selectors": [{}]}})
            )])),
            &[
                "spec.devices.requests[0].exactly.deviceClassName: Required value",
                "spec.devices.requests[0].exactly.selectors[0].cel: Required value",
                "spec.devices.requests[0].exactly.count: Invalid value: 2: must not be specified when allocationMode is 'All'",
            ],
        ),
        (
            requests(json!([request(
                json!({"exactly": {"allocationMode": "Some", "tolerations": [{"operator": "Exists", "value": "x"}]}})
            )])),
            &[
                "spec.devices.requests[0].exactly.allocationMode: Unsupported value: \"Some\": supported values: \"All\", \"ExactCount\"",
                "spec.devices.requests[0].exactly.tolerations[0].value: Invalid value: \"x\": must be empty for operator `Exists`",
            ],
        ),
        (
            claim(json!({
                "requests": [request(json!({}))],
                "constraints": [{"requests": ["r", "s"], "matchAttribute": "a"}, {}],
                "config": [{"opaque": {"driver": "", "parameters": null}}, {}],
            })),
            &[
                "spec.devices.constraints[0].requests[1]: Invalid value: \"s\": must be the name of a request in the claim or the name of a \
                 request and a subrequest separated by '/'",
                "spec.devices.constraints[0].matchAttribute: Invalid value: \"a\": a fully qualified name must be a domain and a name separated \
                 by a slash",
                "spec.devices.constraints[1]: Required value: exactly one of \"matchAttribute\" or \"distinctAttribute\" is required, but \
                 multiple fields are set",
                "spec.devices.config[0].opaque.driver: Required value",
                "spec.devices.config[0].opaque.parameters: Required value",
                "spec.devices.config[1].opaque: Required value",
            ],
        ),
        (
            in_group(
                VERSION,
                "ResourceClaimTemplate",
                json!({"spec": {
                    "metadata": {"labels": {"-": "x"}, "name": "n"},
                    "spec": {"devices": {"requests": [request(json!({"name": "R"}))]}},
                }}),
            ),
            &[
                "spec.metadata.labels: Invalid value: \"-\": name part must consist of alphanumeric characters, '-', '_' or '.', and must start \
                 and end with an alphanumeric character (e.g. 'MyName',  or 'my.name',  or '123-abc', regex used for validation is \
                 '([A-Za-z0-9][-A-Za-z0-9_.]*)?[A-Za-z0-9]')",
                "spec.metadata.name: Forbidden: cannot be set",
                "spec.spec.devices.requests[0].name: Invalid value: \"R\": a lowercase RFC 1123 label must consist of lower case alphanumeric \
                 characters or '-', and must start and end with an alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for \
                 validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
            ],
        ),
    ]);
    check_updates(
        claim(json!({})),
        vec![
            (json!({"metadata": {"labels": {"a": "b"}}}), &[]),
            (
                json!({"spec": {"devices": {"requests": [{"name": "r"}]}}}),
                &["spec: Invalid value: {\"devices\":{\"requests\":[{\"name\":\"r\"}]}}: field is immutable"],
            ),
        ],
    );
}

#[test]
fn what_a_claim_got_is_checked() {
    let old = stored(claim(json!({"requests": [request(json!({}))]})));
    let device = json!({"driver": "d", "pool": "p", "device": "v"});
    let mut result = device.clone();
    result["request"] = json!("r");
    let allocation = json!({"devices": {"results": [result]}});
    let user = json!({"resource": "pods", "name": "a", "uid": "u"});
    let (new, faults) =
        update_status(&old, &json!({"status": {"allocation": allocation, "reservedFor": [user], "devices": [device]}}));
    assert_eq!(faults, Vec::<String>::new());
    assert_eq!(
        update_status(&old, &json!({"status": {"reservedFor": [user], "devices": [device]}})).1,
        [
            "status.reservedFor: Forbidden: may not be specified when `allocated` is not set",
            "status.devices[0]: Invalid value: \"d/p/v\": must be an allocated device in the claim",
        ]
    );
    assert_eq!(
        update_status(&new, &json!({"status": {"allocation": {"devices": {"results": []}}}})).1.len(),
        1,
        "an allocation does not change"
    );
    // What is told of a device goes with it.
    let (freed, faults) = update_status(&new, &json!({"status": {"allocation": null, "reservedFor": null}}));
    assert_eq!((&freed["status"], faults.len()), (&json!({}), 0));
    assert_eq!(
        update_status(&old, &json!({"status": {"allocation": {"devices": {"results": [{"request": "x", "driver": "", "pool": "", "device": "v"}]}}}})).1,
        [
            "status.allocation.devices.results[0].request: Invalid value: \"x\": must be the name of a request in the claim or the name of a \
             request and a subrequest separated by '/'",
            "status.allocation.devices.results[0].driver: Required value",
            "status.allocation.devices.results[0].pool: Required value",
        ]
    );
}

fn slice(rest: Value) -> Value {
    let spec = json!({"driver": "d.example.com", "nodeName": "n", "pool": {"name": "p", "generation": 1, "resourceSliceCount": 1}});
    let mut object = in_group(VERSION, "ResourceSlice", json!({"spec": spec}));
    merge(&mut object["spec"], &rest);
    object
}

#[test]
fn slices_are_checked() {
    check_creates(vec![
        (
            slice(
                json!({"devices": [{"name": "g0", "attributes": {"a": {"int": 1}}, "capacity": {"m": {"value": "1Gi"}}}]}),
            ),
            &[],
        ),
        (
            slice(json!({"nodeName": null, "allNodes": false, "pool": {"resourceSliceCount": 0, "generation": -1}})),
            &[
                "spec.pool.resourceSliceCount: Invalid value: 0: must be greater than zero",
                "spec.pool.generation: Invalid value: -1: must be greater than or equal to zero",
                "spec.allNodes: Invalid value: false: must be either unset or set to true",
                "spec: Required value: exactly one of `nodeName`, `nodeSelector`, `allNodes`, `perDeviceNodeSelection` is required",
            ],
        ),
        (
            slice(json!({"allNodes": true})),
            &[
                "spec: Invalid value: \"{`nodeName`, `allNodes`}\": exactly one of `nodeName`, `nodeSelector`, `allNodes`, \
                 `perDeviceNodeSelection` is required, but multiple fields are set",
            ],
        ),
        (
            slice(json!({"devices": [
                {"name": "g0", "attributes": {"a": {}, "b": {"version": "1"}, "c/d/e": {"bool": true}}},
                {"name": "g0", "nodeName": "n", "taints": [{"key": "k", "effect": "Later"}], "bindingConditions": ["a"]},
            ]})),
            &[
                "spec.devices[0].attributes[a]: Invalid value: \"\": exactly one value must be specified",
                "spec.devices[0].attributes[b].version: Invalid value: \"1\": must be a string compatible with semver.org spec 2.0.0",
                "spec.devices[0].attributes: Invalid value: \"c/d/e\": must not contain more than one slash",
                "spec.devices[1].taints[0].effect: Unsupported value: \"Later\": supported values: \"NoExecute\", \"NoSchedule\", \"None\"",
                "spec.devices[1]: Invalid value: null: `nodeName`, `nodeSelector` and `allNodes` can only be set if `perDeviceNodeSelection` is \
                 set to true in the ResourceSlice spec",
                "spec.devices[1].bindingFailureConditions: Invalid value: []: bindingFailureConditions are required to use bindingConditions",
                "spec.devices[1]: Duplicate value: \"g0\"",
            ],
        ),
        (
            slice(
                json!({"sharedCounters": [{"name": "c", "counters": {"m": {"value": "1"}}}, {"name": "c", "counters": {}}]}),
            ),
            &["spec.sharedCounters[1].counters: Required value", "spec.sharedCounters[1]: Duplicate value: \"c\""],
        ),
    ]);
    check_updates(
        slice(json!({})),
        vec![
            (json!({"spec": {"pool": {"generation": 2}}}), &[]),
            (
                json!({"spec": {"nodeName": "m", "pool": {"name": "q"}}}),
                &[
                    "spec.pool.name: Invalid value: \"q\": field is immutable",
                    "spec.nodeName: Invalid value: \"m\": field is immutable",
                ],
            ),
        ],
    );
}

#[test]
fn amounts_of_a_capacity_are_checked() {
    let policy = |policy: Value, shared: bool| {
        let capacity = json!({"m": {"value": "10", "requestPolicy": policy}});
        slice(json!({"devices": [{"name": "g0", "allowMultipleAllocations": shared, "capacity": capacity}]}))
    };
    check_creates(vec![
        (policy(json!({"default": "2", "validRange": {"min": "2", "max": "8", "step": "2"}}), true), &[]),
        (policy(json!({"default": "2", "validValues": ["1", "2"]}), true), &[]),
        (
            policy(json!({"default": "2"}), false),
            &["spec.devices[0].capacity[m].requestPolicy: Forbidden: allowMultipleAllocations must be true"],
        ),
        (
            policy(json!({"default": "4", "validValues": ["3", "2", "11"]}), true),
            &[
                "spec.devices[0].capacity[m].requestPolicy.validValues[1]: Invalid value: \"2\": values must be sorted in ascending order",
                "spec.devices[0].capacity[m].requestPolicy.validValues[2]: Invalid value: \"11\": option is larger than capacity value: 10",
                "spec.devices[0].capacity[m].requestPolicy.validValues: Invalid value: \"4\": default value is not valid according to the \
                 requestPolicy",
            ],
        ),
        (
            policy(json!({"default": "1", "validRange": {"min": "2", "max": "12", "step": "3"}}), true),
            &[
                "spec.devices[0].capacity[m].requestPolicy.validRange.default: Invalid value: \"1\": default is less than min: 2",
                "spec.devices[0].capacity[m].requestPolicy.validRange.max: Invalid value: \"12\": max is larger than capacity value: 10",
                "spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: \"1\": value is not a multiple of a given step (3) \
                 from (2)",
                "spec.devices[0].capacity[m].requestPolicy.validRange.step: Invalid value: \"12\": value is not a multiple of a given step (3) \
                 from (2)",
            ],
        ),
    ]);
}

#[test]
fn what_selectors_say_of_devices_is_compiled() {
    const PATH: &str = "spec.selectors[0].cel.expression";
    let class = |expression: &str| {
        in_group(VERSION, "DeviceClass", json!({"spec": {"selectors": [{"cel": {"expression": expression}}]}}))
    };
    let good = [
        "device.driver == 'gpu.example.com'",
        "device.attributes['gpu.example.com'].ready",
        "device.attributes['gpu.example.com'].model.startsWith('a') && device.allowMultipleAllocations",
        "cel.bind(gpu, device.attributes['gpu.example.com'], gpu.ready && gpu.version.isGreaterThan(semver('1.2.3')))",
        "device.capacity['gpu.example.com'].memory.compareTo(quantity('1Gi')) >= 0",
        "'gpu.example.com' in device.attributes && device.attributes.all(domain, domain.contains('example'))",
    ];
    check_creates(good.map(|text| (class(text), &[][..])).to_vec());
    let nested = "device.attributes.all(a, device.attributes.all(b, device.attributes.all(c, device.attributes.all(d, a + b + c + d != ''))))";
    let long = format!("'{}' == ''", "a".repeat(10 * 1024));
    let bad = [
        ("", "Invalid value: \"\": compilation failed: ERROR: <input>:1:1: Syntax error: mismatched input '<EOF>'"),
        ("1", "Invalid value: \"1\": must evaluate to bool or the unknown type, not int"),
        (
            "device.foo",
            "Invalid value: \"device.foo\": compilation failed: ERROR: <input>:1:7: undefined field 'foo'\n | device.foo\n | ......^",
        ),
        (nested, "Forbidden: too complex, exceeds cost limit"),
        (&long, "Too long: may not be more than 10240 bytes"),
    ];
    for (text, expected) in bad {
        let told = create(class(text));
        assert!(told.len() == 1 && told[0].starts_with(&format!("{PATH}: {expected}")), "{told:?}");
    }
    let selectors = json!([{"cel": {"expression": "1"}}]);
    let requests = json!([
        request(json!({"exactly": {"selectors": selectors}})),
        {"name": "s", "firstAvailable": [{"name": "a", "deviceClassName": "c", "selectors": selectors}]},
    ]);
    let wrong = "cel.expression: Invalid value: \"1\": must evaluate to bool or the unknown type, not int";
    check_creates(vec![(
        claim(json!({ "requests": requests })),
        &[
            &format!("spec.devices.requests[0].exactly.selectors[0].{wrong}"),
            &format!("spec.devices.requests[1].firstAvailable[0].selectors[0].{wrong}"),
        ],
    )]);
}
