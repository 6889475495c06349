//! Where pods may run, and what they ask of nodes.

use serde_json::{Value, json};

use super::{check_creates, container, core, create, merge, pod, stored, update};

const REQUIRED: &str = "requiredDuringSchedulingIgnoredDuringExecution";
const PREFERRED: &str = "preferredDuringSchedulingIgnoredDuringExecution";

fn named(name: &str) -> Value {
    json!({"key": "metadata.name", "operator": "In", "values": [name]})
}

#[test]
fn nodes_are_chosen_by_labels_and_by_one_name() {
    let required = |term: Value| pod(json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": [term]}}}}));
    let preferred =
        |term: Value| pod(json!({"affinity": {"nodeAffinity": {PREFERRED: [{"weight": 1, "preference": term}]}}}));
    let field = |field: Value| required(json!({"matchFields": [field]}));
    let odd = json!({"matchExpressions": [{"key": "k", "operator": "In", "values": ["a b"]}]});
    check_creates(vec![
        (field(named("node-1")), &[]),
        (
            field(json!({"key": "metadata.name", "operator": "In", "values": ["a", "b"]})),
            &[
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].values: \
                 Required value: must be only one value when `operator` is 'In' or 'NotIn' for node field selector",
            ],
        ),
        (
            field(json!({"key": "metadata.uid", "operator": "Exists"})),
            &[
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].operator: \
                 Invalid value: \"Exists\": not a valid selector operator",
                "spec.affinity.nodeAffinity.requiredDuringSchedulingIgnoredDuringExecution.nodeSelectorTerms[0].matchFields[0].key: \
                 Invalid value: \"metadata.uid\": not a valid field selector key",
            ],
        ),
        // A preference for what no node has does no harm.
        (preferred(odd.clone()), &[]),
    ]);
    let wrong = create(required(odd));
    assert_eq!(wrong.len(), 1, "{wrong:?}");
    assert!(
        wrong[0].contains("nodeSelectorTerms[0].matchExpressions[0].values[0]: Invalid value: \"a b\""),
        "{wrong:?}"
    );
    let volume = |affinity: Value| {
        let spec = json!({"capacity": {"storage": "1Gi"}, "accessModes": ["ReadWriteOnce"], "local": {"path": "/d"}, "nodeAffinity": affinity});
        core("PersistentVolume", json!({"spec": spec}))
    };
    let terms = |key: &str| json!({"required": {"nodeSelectorTerms": [{"matchFields": [{"key": key, "operator": "In", "values": ["n"]}]}]}});
    check_creates(vec![
        (volume(terms("metadata.name")), &[]),
        (
            volume(terms("spec.x")),
            &[
                "spec.nodeAffinity.required.nodeSelectorTerms[0].matchFields[0].key: Invalid value: \"spec.x\": not a valid field selector key",
            ],
        ),
    ]);
}

#[test]
fn pods_are_chosen_by_labels_and_namespaces() {
    let apart = |term: Value| {
        let mut all = json!({"topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "d"}}});
        merge(&mut all, &term);
        let mut pod = pod(json!({"affinity": {"podAntiAffinity": {REQUIRED: [all]}}}));
        pod["metadata"]["labels"] = json!({"hash": "1", "app": "d"});
        pod
    };
    const TERM: &str = "spec.affinity.podAntiAffinity.requiredDuringSchedulingIgnoredDuringExecution[0]";
    let cases: Vec<(Value, Vec<String>)> = vec![
        (json!({"namespaces": ["a"], "namespaceSelector": {}, "matchLabelKeys": ["hash"]}), vec![]),
        (json!({"mismatchLabelKeys": ["app"]}), vec![]),
        (
            json!({"namespaceSelector": {"matchExpressions": [{"key": "a", "operator": "In"}]}}),
            vec![format!(
                "{TERM}.namespaceSelector.matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'"
            )],
        ),
        (
            json!({"matchLabelKeys": ["app"]}),
            vec![format!("{TERM}[0]: Invalid value: \"app\": exists in both matchLabelKeys and labelSelector")],
        ),
        (
            json!({"matchLabelKeys": ["x"], "mismatchLabelKeys": ["x"]}),
            vec![format!(
                "{TERM}.matchLabelKeys[0]: Invalid value: \"x\": exists in both matchLabelKeys and mismatchLabelKeys"
            )],
        ),
        (
            json!({"labelSelector": null, "matchLabelKeys": ["x"]}),
            vec![format!("{TERM}.matchLabelKeys: Forbidden: must not be specified when labelSelector is not set")],
        ),
    ];
    for (term, expected) in cases {
        assert_eq!(create(apart(term.clone())), expected, "{term}");
    }
    let wrong = create(apart(json!({"namespaces": ["A"]})));
    assert!(wrong.len() == 1 && wrong[0].starts_with(&format!("{TERM}.namespace: Invalid value: \"A\"")), "{wrong:?}");
}

#[test]
fn keys_become_what_the_pod_is_labelled() {
    let term = json!({
        "topologyKey": "zone", "labelSelector": {"matchLabels": {"app": "d"}}, "matchLabelKeys": ["hash", "none"],
        "mismatchLabelKeys": ["tenant"],
    });
    let constraint = json!({
        "maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {}, "matchLabelKeys": ["hash"],
    });
    let mut object = pod(json!({
        "affinity": {"podAffinity": {PREFERRED: [{"weight": 1, "podAffinityTerm": term}]}},
        "topologySpreadConstraints": [constraint],
    }));
    object["metadata"]["labels"] = json!({"hash": "1", "tenant": "t"});
    let spec = stored(object)["spec"].take();
    let alike = json!({"key": "hash", "operator": "In", "values": ["1"]});
    assert_eq!(
        spec["affinity"]["podAffinity"][PREFERRED][0]["podAffinityTerm"]["labelSelector"],
        json!({"matchLabels": {"app": "d"}, "matchExpressions": [alike, {"key": "tenant", "operator": "NotIn", "values": ["t"]}]})
    );
    assert_eq!(spec["topologySpreadConstraints"][0]["labelSelector"], json!({"matchExpressions": [alike]}));
}

#[test]
fn constraints_of_spread_are_checked() {
    let spread = |rest: Value| {
        let mut one = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "ScheduleAnyway"});
        merge(&mut one, &rest);
        pod(json!({"topologySpreadConstraints": [one]}))
    };
    let twice = json!({"maxSkew": 1, "topologyKey": "zone", "whenUnsatisfiable": "DoNotSchedule", "minDomains": 2});
    check_creates(vec![
        (
            spread(
                json!({"nodeAffinityPolicy": "Ignore", "nodeTaintsPolicy": "Honor", "labelSelector": {}, "matchLabelKeys": ["a"]}),
            ),
            &[],
        ),
        (
            pod(json!({"topologySpreadConstraints": [twice, twice]})),
            &[
                "spec.topologySpreadConstraints[0].{topologyKey, whenUnsatisfiable}: Duplicate value: \"{zone, DoNotSchedule}\"",
            ],
        ),
        (
            spread(json!({"nodeTaintsPolicy": "Maybe", "minDomains": 0})),
            &[
                "spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: must be greater than zero",
                "spec.topologySpreadConstraints[0].minDomains: Invalid value: 0: can only use minDomains if \
                 whenUnsatisfiable=DoNotSchedule, not ScheduleAnyway",
                "spec.topologySpreadConstraints[0].nodeTaintsPolicy: Unsupported value: \"Maybe\": supported values: \"Honor\", \"Ignore\"",
            ],
        ),
        (
            spread(json!({"matchLabelKeys": ["a"]})),
            &[
                "spec.topologySpreadConstraints[0].matchLabelKeys: Forbidden: must not be specified when labelSelector is not set",
            ],
        ),
    ]);
}

#[test]
fn a_pod_that_is_held_back_gets_no_terms_of_its_own() {
    let terms = |terms: Value| json!({"affinity": {"nodeAffinity": {REQUIRED: {"nodeSelectorTerms": terms}}}});
    let mut spec = terms(json!([{}]));
    spec["schedulingGates"] = json!([{"name": "g"}]);
    let (_, faults) = update(&stored(pod(spec)), &json!({"spec": terms(json!([{"matchFields": [named("n")]}]))}));
    assert!(faults.len() == 1 && faults[0].contains("nodeSelectorTerms[0]: Invalid value"), "{faults:?}");
}

#[test]
fn claims_of_a_pod_are_named_once_and_point_somewhere() {
    check_creates(vec![
        (
            pod(json!({
                "resourceClaims": [{"name": "gpu", "resourceClaimTemplateName": "t"}],
                "containers": [{"name": "c", "image": "i", "resources": {"claims": [{"name": "gpu", "request": "a"}]}}],
            })),
            &[],
        ),
        (
            pod(json!({"resourceClaims": [
                {"name": "a"}, {"name": "a", "resourceClaimName": "x"}, {"name": "b", "resourceClaimName": "x", "resourceClaimTemplateName": "y"},
            ]})),
            &[
                "spec.resourceClaims[0]: Invalid value: {\"name\":\"a\"}: must specify one of: `resourceClaimName`, \
                 `resourceClaimTemplateName`",
                "spec.resourceClaims[1].name: Duplicate value: \"a\"",
                "spec.resourceClaims[2]: Invalid value: {\"name\":\"b\",\"resourceClaimName\":\"x\",\"resourceClaimTemplateName\":\"y\"}: at \
                 most one of `resourceClaimName` or `resourceClaimTemplateName` may be specified",
            ],
        ),
        (
            container(json!({"resources": {"claims": [{"name": "gpu"}]}})),
            &[
                "spec.containers[0].resources.claims[0]: Not found: \"gpu\": must be one of the names in pod.spec.resourceClaims which is \
                 empty",
            ],
        ),
    ]);
}

#[test]
fn a_pod_asks_for_its_containers() {
    let whole = |resources: Value, of_container: Value| {
        let container = json!({"name": "c", "image": "i", "resources": of_container});
        pod(json!({"resources": resources, "containers": [container]}))
    };
    let filled =
        |resources: Value, of_container: Value| stored(whole(resources, of_container))["spec"]["resources"].take();
    let cpu = |amount: &str| json!({"cpu": amount});
    assert_eq!(
        filled(json!({"limits": cpu("2")}), json!({"requests": cpu("500m")})),
        json!({"limits": {"cpu": "2"}, "requests": {"cpu": "500m"}})
    );
    assert_eq!(
        filled(json!({"limits": cpu("2")}), json!({})),
        json!({"limits": {"cpu": "2"}, "requests": {"cpu": "2"}})
    );
    let pages = json!({"limits": {"hugepages-2Mi": "4Mi", "memory": "1Gi"}});
    assert_eq!(
        filled(json!({"limits": {"memory": "2Gi"}}), pages),
        json!({"limits": {"memory": "2Gi", "hugepages-2Mi": "4Mi"}, "requests": {"memory": "1Gi", "hugepages-2Mi": "4Mi"}})
    );
    assert_eq!(filled(json!({}), json!({"requests": cpu("1")})), json!({}));
    check_creates(vec![
        (
            whole(json!({"requests": cpu("1"), "limits": cpu("1")}), json!({"requests": cpu("2"), "limits": cpu("2")})),
            &[
                "spec.resources.requests[cpu]: Invalid value: \"1\": must be greater than or equal to aggregate container requests of 2",
                "spec.containers[0].resources.limits[cpu]: Invalid value: \"2\": must be less than or equal to pod limits of 1",
            ],
        ),
        (
            whole(json!({"limits": {"example.com/x": "1"}, "claims": [{"name": "a"}]}), json!({})),
            &[
                "spec.resources.claims: Forbidden: claims cannot be set for Resources at pod-level",
                "spec.resources.limits[example.com/x]: Unsupported value: \"example.com/x\": supported values: \"cpu\", \"hugepages-\", \
                 \"memory\"",
            ],
        ),
        (
            pod(json!({"overhead": {"cpu": "-1"}})),
            &["spec.overhead.limits[cpu]: Invalid value: \"-1\": must be greater than or equal to 0"],
        ),
    ]);
}
