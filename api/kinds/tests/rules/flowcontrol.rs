//! flowcontrol.apiserver.k8s.io.

use serde_json::{Value, json};

use super::{check_creates, in_group, merge};

const VERSION: &str = "flowcontrol.apiserver.k8s.io/v1";

#[test]
fn flow_schemas_are_checked() {
    let schema = |spec: Value| {
        let level = json!({"name": "workload-low"});
        let mut object = in_group(VERSION, "FlowSchema", json!({"spec": {"priorityLevelConfiguration": level}}));
        merge(&mut object["spec"], &spec);
        object
    };
    let rules = |rules: Value| schema(json!({"rules": [rules]}));
    let user = json!([{"kind": "User", "user": {"name": "u"}}]);
    let anything = json!([{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"]}]);
    check_creates(vec![
        (rules(json!({"subjects": user, "resourceRules": anything})), &[]),
        (
            schema(json!({"matchingPrecedence": 1, "distinguisherMethod": {"type": "ByMood"}})),
            &[
                "spec.matchingPrecedence: Invalid value: 1: only the schema named 'exempt' may have matchingPrecedence 1",
                "spec.distinguisherMethod.type: Unsupported value: \"ByMood\": supported values: \"ByNamespace\", \"ByUser\"",
            ],
        ),
        (
            schema(json!({"matchingPrecedence": 10_001, "priorityLevelConfiguration": {"name": ""}})),
            &[
                "spec.matchingPrecedence: Invalid value: 10001: must not be greater than 10000",
                "spec.priorityLevelConfiguration.name: Required value: must reference a priority level",
            ],
        ),
        (
            rules(json!({"subjects": []})),
            &[
                "spec.rules[0].subjects: Required value: subjects must contain at least one value",
                "spec.rules[0]: Required value: at least one of resourceRules and nonResourceRules has to be non-empty",
            ],
        ),
        (
            rules(json!({"resourceRules": anything, "subjects": [
                {"kind": "Robot"}, {"kind": "User", "group": {"name": "g"}},
                {"kind": "ServiceAccount", "serviceAccount": {"name": "*", "namespace": ""}},
            ]})),
            &[
                "spec.rules[0].subjects[0].kind: Unsupported value: \"Robot\": supported values: \"Group\", \"ServiceAccount\", \"User\"",
                "spec.rules[0].subjects[1].user: Required value: user is required when subject kind is 'User'",
                "spec.rules[0].subjects[1].group: Forbidden: group is forbidden when subject kind is not 'Group'",
                "spec.rules[0].subjects[2].serviceAccount.namespace: Required value: must specify namespace for service account",
            ],
        ),
        (
            rules(json!({"subjects": user, "resourceRules": [
                {"verbs": ["*", "get"], "apiGroups": [], "resources": ["a", "*"], "namespaces": ["A"]},
                {"verbs": ["see"], "apiGroups": [""], "resources": ["a"], "namespaces": []},
            ]})),
            &[
                "spec.rules[0].resourceRules[0].verbs: Invalid value: [\"*\",\"get\"]: if '*' is present, must not specify other verbs",
                "spec.rules[0].resourceRules[0].apiGroups: Required value: resource rules must supply at least one api group",
                "spec.rules[0].resourceRules[0].resources: Invalid value: [\"a\",\"*\"]: if '*' is present, must not specify other resources",
                "spec.rules[0].resourceRules[0].namespaces[0]: Invalid value: \"A\": each member of this list must be '*' or a DNS-1123 label; \
                 a lowercase RFC 1123 label must consist of lower case alphanumeric characters or '-', and must start and end with an \
                 alphanumeric character (e.g. 'my-name',  or '123-abc', regex used for validation is '[a-z0-9]([-a-z0-9]*[a-z0-9])?')",
                "spec.rules[0].resourceRules[1].verbs: Unsupported value: [\"see\"]: supported values: \"create\", \"delete\", \
                 \"deletecollection\", \"get\", \"list\", \"patch\", \"proxy\", \"update\", \"watch\"",
                "spec.rules[0].resourceRules[1].namespaces: Required value: resource rules that are not cluster scoped must supply at least \
                 one namespace",
            ],
        ),
        (
            rules(
                json!({"subjects": user, "nonResourceRules": [{"verbs": ["get"], "nonResourceURLs": ["a", "/b c", "//", "/d*", "/e/*"]}]}),
            ),
            &[
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[0]: Invalid value: \"a\": must start with slash",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[1]: Invalid value: \"/b c\": must not contain white-space",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[2]: Invalid value: \"//\": must not contain double slash",
                "spec.rules[0].nonResourceRules[0].nonResourceURLs[3]: Invalid value: \"/d*\": wildcard can only do suffix matching",
            ],
        ),
    ]);
}

#[test]
fn priority_levels_are_checked() {
    let level = |spec: Value| in_group(VERSION, "PriorityLevelConfiguration", json!({"spec": spec}));
    let limited = |rest: Value| level(json!({"type": "Limited", "limited": rest}));
    let queuing = |queues: i64, hand: i64, length: i64| {
        limited(
            json!({"limitResponse": {"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": length}}}),
        )
    };
    check_creates(vec![
        (queuing(64, 6, 50), &[]),
        (queuing(0, 0, 0), &[]),
        (level(json!({"type": "Limited"})), &["spec.limited: Required value: must not be empty when type is Limited"]),
        (
            level(json!({"type": "Exempt", "limited": {"limitResponse": {"type": "Reject"}}})),
            &[
                "spec.type: Invalid value: \"Exempt\": type must be 'Exempt' if and only if name is 'exempt'",
                "spec.limited: Forbidden: must be nil if the type is not Limited",
            ],
        ),
        (
            limited(
                json!({"nominalConcurrencyShares": -1, "lendablePercent": 101, "borrowingLimitPercent": -1, "limitResponse": {"type": "Wait"}}),
            ),
            &[
                "spec.limited.nominalConcurrencyShares: Invalid value: -1: must be a non-negative integer",
                "spec.limited.lendablePercent: Invalid value: 101: must be between 0 and 100, inclusive",
                "spec.limited.borrowingLimitPercent: Invalid value: -1: if specified, must be a non-negative integer",
                "spec.limited.limitResponse.type: Unsupported value: \"Wait\": supported values: \"Queue\", \"Reject\"",
            ],
        ),
        (
            limited(json!({"limitResponse": {"type": "Queue"}})),
            &[
                "spec.limited.limitResponse.queuing: Required value: must not be empty if limited.limitResponse.type is Limited",
            ],
        ),
        (
            queuing(-1, -1, -1),
            &[
                "spec.limited.limitResponse.queuing.queueLengthLimit: Invalid value: -1: must be positive",
                "spec.limited.limitResponse.queuing.queues: Invalid value: -1: must be positive",
                "spec.limited.limitResponse.queuing.handSize: Invalid value: -1: must be positive",
            ],
        ),
        (
            queuing(4, 5, 1),
            &["spec.limited.limitResponse.queuing.handSize: Invalid value: 5: should not be greater than queues (4)"],
        ),
        (
            queuing(1024, 7, 1),
            &[
                "spec.limited.limitResponse.queuing.handSize: Invalid value: 7: required entropy bits of deckSize 1024 and handSize 7 should \
                 not be greater than 60",
            ],
        ),
    ]);
}
