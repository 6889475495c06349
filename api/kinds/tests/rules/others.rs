//! All other kinds.

use serde_json::{Value, json};

use super::{check_creates, check_updates, core, create, deployment, in_group, merge, stored, update};

#[test]
fn config_maps_and_secrets() {
    const KEY: &str = "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. 'key.name',  or 'KEY_NAME',  or \
                       'key-name', regex used for validation is '[-._a-zA-Z0-9]+')";
    let bad_key = format!("data[bad key]: Invalid value: \"bad key\": {KEY}");
    check_creates(vec![
        (core("ConfigMap", json!({"data": {"bad key": "v"}})), &[&bad_key]),
        (
            core("ConfigMap", json!({"data": {"k": "v"}, "binaryData": {"k": "dg=="}})),
            &["data[k]: Invalid value: \"k\": duplicate of key present in binaryData"],
        ),
        (
            core("Secret", json!({"type": "kubernetes.io/tls"})),
            &["data[tls.crt]: Required value", "data[tls.key]: Required value"],
        ),
        (
            core("Secret", json!({"type": "kubernetes.io/basic-auth"})),
            &["data[%s][username]: Required value", "data[%s][password]: Required value"],
        ),
        (core("Secret", json!({"type": "kubernetes.io/basic-auth", "data": {"password": ""}})), &[]),
        (
            core("Secret", json!({"type": "kubernetes.io/ssh-auth", "data": {"ssh-privatekey": ""}})),
            &["data[%s][ssh-privatekey]: Required value"],
        ),
    ]);
    let unfit = "json: cannot unmarshal array into Go value of type map[string]interface {}";
    let credentials = [
        ("{}", None),
        ("null", None),
        ("", Some("unexpected end of JSON input")),
        ("{a", Some("invalid character 'a' looking for beginning of object key string")),
        ("[]", Some(unfit)),
    ];
    for (content, wrong) in credentials {
        for kind in ["dockercfg", "dockerconfigjson"] {
            let key = format!(".{kind}");
            let told =
                create(core("Secret", json!({"type": format!("kubernetes.io/{kind}"), "stringData": {&key: content}})));
            let path = format!("data[{key}]: Invalid value: \"<secret contents redacted>\"");
            assert_eq!(
                told,
                wrong.map(|wrong| format!("{path}: {wrong}")).into_iter().collect::<Vec<_>>(),
                "{content}"
            );
        }
    }
    check_updates(
        core("ConfigMap", json!({"immutable": true, "data": {"a": "1"}})),
        vec![
            (json!({"data": {"a": "2"}}), &["data: Forbidden: field is immutable when `immutable` is set"]),
            (json!({"immutable": false}), &["immutable: Forbidden: field is immutable when `immutable` is set"]),
            (json!({"metadata": {"labels": {"x": "y"}}}), &[]),
        ],
    );
    check_updates(
        core("Secret", json!({"type": "a/b"})),
        vec![
            (json!({"type": "c/d"}), &["type: Invalid value: \"c/d\": field is immutable"]),
            (json!({"stringData": {"a": "1"}}), &[]),
        ],
    );
    let secret = stored(core("Secret", json!({"stringData": {"a": "hello"}, "data": {"a": "eA==", "b": "eQ=="}})));
    assert_eq!(secret["data"], json!({"a": "aGVsbG8=", "b": "eQ=="}));
    assert!(secret.get("stringData").is_none());
}

#[test]
fn accounts_name_secrets_of_their_namespace() {
    let named = json!({"kind": "Secret", "namespace": "b", "name": "s", "uid": "u"});
    let account = stored(core("ServiceAccount", json!({"secrets": [named]})));
    assert_eq!(account["secrets"], json!([{"name": "s"}]));
    let (changed, _) = update(&account, &json!({"secrets": [named, {"name": "t", "fieldPath": "x"}, {"uid": "u"}]}));
    assert_eq!(changed["secrets"], json!([{"name": "s"}, {"name": "t"}, {}]));
}

#[test]
fn workloads_are_checked() {
    check_creates(vec![
        (
            deployment(json!({"selector": null})),
            &[
                "spec.selector: Required value",
                "spec.template.metadata.labels: Invalid value: {\"app\":\"d\"}: `selector` does not match template `labels`",
            ],
        ),
        (
            deployment(json!({"replicas": -1})),
            &["spec.replicas: Invalid value: -1: must be greater than or equal to 0"],
        ),
        (
            deployment(json!({"template": {"metadata": {"labels": {"app": "e"}}}})),
            &[
                "spec.template.metadata.labels: Invalid value: {\"app\":\"e\"}: `selector` does not match template `labels`",
            ],
        ),
        (
            deployment(json!({"template": {"spec": {"restartPolicy": "Never"}}})),
            &["spec.template.spec.restartPolicy: Unsupported value: \"Never\": supported values: \"Always\""],
        ),
        (
            deployment(json!({"strategy": {"rollingUpdate": {"maxUnavailable": 0, "maxSurge": "0%"}}})),
            &["spec.strategy.rollingUpdate.maxUnavailable: Invalid value: 0: may not be 0 when `maxSurge` is 0"],
        ),
        (
            deployment(json!({"strategy": {"type": "Recreate", "rollingUpdate": {"maxSurge": 1}}})),
            &["spec.strategy.rollingUpdate: Forbidden: may not be specified when strategy `type` is 'Recreate'"],
        ),
        (
            deployment(json!({"minReadySeconds": 600})),
            &["spec.progressDeadlineSeconds: Invalid value: 600: must be greater than minReadySeconds"],
        ),
        (
            deployment(
                json!({"template": {"spec": {"containers": [{"name": "a", "image": "i"}, {"name": "b"}, {"image": "x"}]}}}),
            ),
            &[
                "spec.template.spec.containers[1].image: Required value",
                "spec.template.spec.containers[2].name: Required value",
            ],
        ),
    ]);
    check_updates(
        deployment(json!({})),
        vec![
            (
                json!({"spec": {"selector": {"matchLabels": {"app": "e"}}, "template": {"metadata": {"labels": {"app": "e"}}}}}),
                &["spec.selector: Invalid value: {\"matchLabels\":{\"app\":\"e\"}}: field is immutable"],
            ),
            (json!({"spec": {"replicas": 5}}), &[]),
        ],
    );
}

#[test]
fn the_rest_is_checked() {
    let slice = |rest: Value| {
        let mut object = json!({"apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "metadata": {}, "addressType": "IPv4"});
        merge(&mut object, &rest);
        object
    };
    let hinted = |hints: Value| json!({"endpoints": [{"addresses": ["10.0.0.1"], "hints": hints}]});
    let lease =
        |spec: Value| json!({"apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {}, "spec": spec});
    check_creates(vec![
        (
            slice(json!({"addressType": "X"})),
            &["addressType: Unsupported value: \"X\": supported values: \"FQDN\", \"IPv4\", \"IPv6\""],
        ),
        (
            slice(json!({"endpoints": [{"addresses": []}, {"addresses": ["::1"]}, {"addresses": ["127.0.0.1"]}]})),
            &[
                "endpoints[0].addresses: Required value: must contain at least 1 address",
                "endpoints[1].addresses[0]: Invalid value: \"::1\": must be a valid IPv4 address",
                "endpoints[1].addresses[0]: Invalid value: \"::1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
                "endpoints[2].addresses[0]: Invalid value: \"127.0.0.1\": may not be in the loopback range (127.0.0.0/8, ::1/128)",
            ],
        ),
        (slice(json!({"ports": [{"port": 80}, {"port": 81}]})), &["ports[1].name: Duplicate value: \"\""]),
        (
            slice(hinted(json!({"forZones": [{"name": "a"}, {"name": "b"}], "forNodes": [{"name": "n.example.com"}]}))),
            &[],
        ),
        (
            slice(hinted(
                json!({"forZones": [{"name": "a"}, {"name": "a"}], "forNodes": vec![json!({"name": "n"}); 9]}),
            )),
            &[
                "endpoints[0].hints.forZones[1].name: Duplicate value: \"a\"",
                "endpoints[0].hints.forNodes: Too many: 9: must have at most 8 items",
            ],
        ),
        (
            lease(json!({"leaseDurationSeconds": 0})),
            &["spec.leaseDurationSeconds: Invalid value: 0: must be greater than 0"],
        ),
        (
            core("Event", json!({"involvedObject": {"namespace": "b"}})),
            &["involvedObject.namespace: Invalid value: \"b\": does not match event.namespace"],
        ),
        (
            core("Endpoints", json!({"subsets": [{"ports": [{"port": 1}]}]})),
            &["subsets[0]: Required value: must specify `addresses` or `notReadyAddresses`"],
        ),
        (core("Node", json!({"spec": {"podCIDRs": ["10.0.0.0/24", "fd00::/64"]}})), &[]),
        (
            core("Node", json!({"spec": {"podCIDRs": ["10.0.0.0/24", "10.0.1.0/24"]}})),
            &[
                "spec.podCIDRs: Invalid value: [\"10.0.0.0/24\",\"10.0.1.0/24\"]: may specify no more than one CIDR for each IP family",
            ],
        ),
        (
            core("Node", json!({"status": {"declaredFeatures": ["A", "B/c", "B/c", "A1", "a b"]}})),
            &[
                "status.declaredFeatures[2]: Duplicate value: \"B/c\"",
                "status.declaredFeatures[3]: Invalid value: \"A1\": list must be sorted alphabetically",
                "status.declaredFeatures[4]: Invalid value: \"a b\": invalid feature name \"a b\": must start with an UpperCamelCase segment, \
                 with subsequent segments separated by '/' (e.g., MyFeature or MyFeature/mySubFeature), and contain only alphanumeric \
                 characters and slashes",
            ],
        ),
        (
            core("Node", json!({"spec": {"taints": [{"key": "k", "effect": "Sometimes"}]}})),
            &[
                "metadata.taints[0].effect: Unsupported value: \"Sometimes\": supported values: \"NoSchedule\", \"PreferNoSchedule\", \"NoExecute\"",
            ],
        ),
    ]);
    check_updates(
        slice(json!({})),
        vec![(json!({"addressType": "IPv6"}), &["addressType: Invalid value: \"IPv6\": field is immutable"])],
    );
    let namespace = stored(core("Namespace", json!({"metadata": {"name": "n"}})));
    let (new, faults) = update(
        &namespace,
        &json!({"metadata": {"labels": {"kubernetes.io/metadata.name": "other"}}, "spec": {"finalizers": []}, "status": {"phase": "X"}}),
    );
    assert_eq!((new, faults), (namespace, vec![]));
}

#[test]
fn paths_of_columns_need_only_begin_as_paths() {
    let definition = |path: &str| {
        let schema = json!({"openAPIV3Schema": {"type": "object"}});
        let column = json!({"name": "C", "type": "string", "jsonPath": path});
        let version = json!({"name": "v1", "served": true, "storage": true, "schema": schema, "additionalPrinterColumns": [column]});
        in_group(
            "apiextensions.k8s.io/v1",
            "CustomResourceDefinition",
            json!({
                "metadata": {"name": "things.example.com"},
                "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": [version]},
            }),
        )
    };
    check_creates(vec![
        (definition(".spec["), &[]),
        (
            definition("spec.a"),
            &[
                "spec.versions[0].additionalPrinterColumns[0].jsonPath: Invalid value: \"spec.a\": must be a simple json path starting with .",
            ],
        ),
    ]);
}

#[test]
fn definitions_are_as_kubernetes_takes_them() {
    let definition = |schema: Value, more: Value| {
        let version = json!({"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}});
        let mut version = version;
        merge(&mut version, &more);
        json!({
            "metadata": {"name": "things.example.com"},
            "spec": {"group": "example.com", "scope": "Namespaced", "names": {"plural": "things", "kind": "Thing"}, "versions": [version]},
        })
    };
    let crd = |spec: Value| in_group("apiextensions.k8s.io/v1", "CustomResourceDefinition", spec);
    let plain = || definition(json!({"type": "object"}), json!({}));
    let converted = |conversion: Value| {
        let mut made = plain();
        made["spec"]["conversion"] = conversion;
        crd(made)
    };
    let asked = |client: Value, versions: Value| {
        converted(
            json!({"strategy": "Webhook", "webhook": {"clientConfig": client, "conversionReviewVersions": versions}}),
        )
    };
    let service = |more: Value| {
        let mut service = json!({"name": "n", "namespace": "n"});
        merge(&mut service, &more);
        asked(json!({"service": service}), json!(["v1"]))
    };
    let url = |url: &str| asked(json!({"url": url}), json!(["v1"]));
    let label = "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, and end with \
                 an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')";
    let wrong = format!("spec.conversion.conversionReviewVersions[1]: Invalid value: \"V 2\": {label}");
    let set = json!({"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "object"}});
    let stored = definition(json!({"type": "object", "properties": {"s": set}}), json!({}));
    let of_set = "spec.versions[0].schema.openAPIV3Schema.properties[s].items.x-kubernetes-map-type: Invalid value: null: must be atomic as item \
                  of a list with x-kubernetes-list-type=set";
    let any_of =
        json!({"type": "object", "anyOf": [{"required": ["spec"]}], "properties": {"spec": {"type": "object"}}});
    let of_any = format!(
        "spec.versions[0].schema.openAPIV3Schema: Invalid value: {any_of}: only [Description Type Format Title Maximum ExclusiveMaximum \
         Minimum ExclusiveMinimum MaxLength MinLength Pattern MaxItems MinItems UniqueItems MultipleOf Required Items Properties \
         ExternalDocs Example XPreserveUnknownFields XValidations] fields are allowed at the root of the schema if the status \
         subresource is enabled"
    );
    check_creates(vec![
        (crd(plain()), &[]),
        (url("https://example.com/convert"), &[]),
        (
            asked(json!({"url": "https://example.com"}), json!(["v1", "V 2", "v1"])),
            &[&wrong, "spec.conversion.conversionReviewVersions[2]: Invalid value: \"v1\": duplicate version"],
        ),
        (
            asked(json!({"url": "https://example.com"}), json!(["v2"])),
            &[
                "spec.conversion.conversionReviewVersions: Invalid value: [\"v2\"]: must include at least one of v1, v1beta1",
            ],
        ),
        (
            url("https://u@example.com/?q=1#f"),
            &[
                "spec.conversion.webhookClientConfig.url: Invalid value: \"u\": user information is not permitted in the URL",
                "spec.conversion.webhookClientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL",
                "spec.conversion.webhookClientConfig.url: Invalid value: \"q=1\": query parameters are not permitted in the URL",
            ],
        ),
        (
            service(json!({"path": "x", "port": 70000})),
            &[
                "spec.conversion.webhookClientConfig.service.port: Invalid value: 70000: port is not valid: must be between 1 and 65535, inclusive",
                "spec.conversion.webhookClientConfig.service.path: Invalid value: \"x\": must start with a '/'",
                "spec.conversion.webhookClientConfig.service.path: Invalid value: \"x\": segment[0] may not be empty",
            ],
        ),
        (
            asked(json!({}), json!(["v1"])),
            &["spec.conversion.webhookClientConfig: Required value: exactly one of url or service is required"],
        ),
        (
            converted(
                json!({"strategy": "None", "webhook": {"clientConfig": {"url": "https://a"}, "conversionReviewVersions": ["v1"]}}),
            ),
            &[
                "spec.conversion.webhookClientConfig: Forbidden: should not be set when strategy is not set to Webhook",
                "spec.conversion.conversionReviewVersions: Forbidden: should not be set when strategy is not set to Webhook",
            ],
        ),
        (crd(stored.clone()), &[of_set]),
        (crd(definition(any_of.clone(), json!({}))), &[]),
        (crd(definition(any_of, json!({"subresources": {"status": {}}}))), &[&of_any]),
    ]);
}
