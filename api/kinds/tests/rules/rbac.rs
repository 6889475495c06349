//! Roles and bindings.

use serde_json::{Value, json};

use super::{check_creates, check_updates, merge};

fn of(kind: &str, rest: Value) -> Value {
    let mut object = json!({"apiVersion": "rbac.authorization.k8s.io/v1", "kind": kind, "metadata": {}});
    merge(&mut object, &rest);
    object
}

#[test]
fn rules_of_roles() {
    let role = |kind: &str, rule: Value| of(kind, json!({"rules": [rule]}));
    check_creates(vec![
        (of("Role", json!({"metadata": {"name": "Any:Name_OK"}, "rules": []})), &[]),
        (
            of("Role", json!({"metadata": {"name": "a/b"}})),
            &["metadata.name: Invalid value: \"a/b\": may not contain '/'"],
        ),
        (
            role("Role", json!({"verbs": []})),
            &[
                "rules[0].verbs: Required value: verbs must contain at least one value",
                "rules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "rules[0].resources: Required value: resource rules must supply at least one resource",
            ],
        ),
        (role("ClusterRole", json!({"verbs": ["get"], "nonResourceURLs": ["/x"]})), &[]),
        (
            role("Role", json!({"verbs": ["get"], "nonResourceURLs": ["/x"], "resources": ["pods"]})),
            &[
                "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: namespaced rules cannot apply to non-resource URLs",
                "rules[0].nonResourceURLs: Invalid value: [\"/x\"]: rules cannot apply to both regular resources and non-resource URLs",
            ],
        ),
        (
            of("ClusterRole", json!({"aggregationRule": {"clusterRoleSelectors": []}})),
            &[
                "aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil",
            ],
        ),
        (
            of(
                "ClusterRole",
                json!({"aggregationRule": {"clusterRoleSelectors": [{"matchExpressions": [{"key": "a", "operator": "In"}]}]}}),
            ),
            &[
                "aggregationRule.clusterRoleSelectors[0].matchExpressions[0].values: Required value: must be specified when `operator` is 'In' or 'NotIn'",
            ],
        ),
    ]);
}

#[test]
fn bindings() {
    let reference = |kind: &str| json!({"kind": kind, "name": "r"});
    check_creates(vec![
        (
            of("RoleBinding", json!({"roleRef": {"kind": "X", "apiGroup": "g"}, "subjects": [{"kind": "Y"}]})),
            &[
                "roleRef.apiGroup: Unsupported value: \"g\": supported values: \"rbac.authorization.k8s.io\"",
                "roleRef.kind: Unsupported value: \"X\": supported values: \"Role\", \"ClusterRole\"",
                "roleRef.name: Required value",
                "subjects[0].name: Required value",
                "subjects[0].kind: Unsupported value: \"Y\": supported values: \"ServiceAccount\", \"User\", \"Group\"",
            ],
        ),
        (
            of(
                "ClusterRoleBinding",
                json!({"roleRef": reference("Role"), "subjects": [{"kind": "ServiceAccount", "name": "s"}]}),
            ),
            &[
                "roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"",
                "subjects[0].namespace: Required value",
            ],
        ),
        (
            of(
                "RoleBinding",
                json!({"roleRef": reference("Role"), "subjects": [
                    {"kind": "User", "name": "u", "apiGroup": "x"}, {"kind": "ServiceAccount", "name": "s", "apiGroup": "x"},
                    {"kind": "Group", "name": "g"}]}),
            ),
            &[
                "subjects[0].apiGroup: Unsupported value: \"x\": supported values: \"rbac.authorization.k8s.io\"",
                "subjects[1].apiGroup: Unsupported value: \"x\": supported values: \"\"",
            ],
        ),
    ]);
    check_updates(
        of("RoleBinding", json!({"roleRef": reference("Role")})),
        vec![
            (
                json!({"roleRef": {"name": "other"}}),
                &[
                    "roleRef: Invalid value: {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"Role\",\"Name\":\"other\"}: cannot change roleRef",
                ],
            ),
            (json!({"subjects": [{"kind": "User", "name": "u"}]}), &[]),
        ],
    );
}
