//! admissionregistration.k8s.io.

use serde_json::{Value, json};

use super::{check_creates, in_group, merge, stored, update_status};

const VERSION: &str = "admissionregistration.k8s.io/v1";

fn rule(rest: Value) -> Value {
    let mut rule = json!({"apiGroups": ["a"], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["r"]});
    merge(&mut rule, &rest);
    rule
}

fn webhook(rest: Value) -> Value {
    let mut webhook = json!({
        "name": "w.example.com", "clientConfig": {"url": "https://w.example.com/v"}, "rules": [rule(json!({}))],
        "admissionReviewVersions": ["v1"], "sideEffects": "None",
    });
    merge(&mut webhook, &rest);
    in_group(VERSION, "MutatingWebhookConfiguration", json!({"webhooks": [webhook]}))
}

#[test]
fn webhooks_are_checked() {
    let service = |rest: Value| {
        let mut service = json!({"namespace": "a", "name": "s"});
        merge(&mut service, &rest);
        webhook(json!({"clientConfig": {"url": null, "service": service}}))
    };
    check_creates(vec![
        (webhook(json!({})), &[]),
        (service(json!({"path": "/a/b"})), &[]),
        (
            webhook(
                json!({"name": "w", "failurePolicy": "Maybe", "matchPolicy": "Near", "reinvocationPolicy": "Twice"}),
            ),
            &[
                "webhooks[0].name: Invalid value: \"w\": should be a domain with at least three segments separated by dots",
                "webhooks[0].failurePolicy: Unsupported value: \"Maybe\": supported values: \"Fail\", \"Ignore\"",
                "webhooks[0].matchPolicy: Unsupported value: \"Near\": supported values: \"Equivalent\", \"Exact\"",
                "webhooks[0].reinvocationPolicy: Unsupported value: \"Twice\": supported values: \"IfNeeded\", \"Never\"",
            ],
        ),
        (
            webhook(json!({"sideEffects": null, "timeoutSeconds": 31, "admissionReviewVersions": ["v2", "v2"]})),
            &[
                "webhooks[0].sideEffects: Required value: must specify one of None, NoneOnDryRun",
                "webhooks[0].timeoutSeconds: Invalid value: 31: the timeout value must be between 1 and 30 seconds",
                "webhooks[0].admissionReviewVersions[1]: Invalid value: \"v2\": duplicate version",
                "webhooks[0].admissionReviewVersions: Invalid value: [\"v2\",\"v2\"]: must include at least one of v1, v1beta1",
            ],
        ),
        (
            webhook(json!({"clientConfig": {"url": "http://u:p@h/x?q=1#f"}})),
            &[
                "webhooks[0].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired format: \
                 https://host[/path]",
                "webhooks[0].clientConfig.url: Invalid value: \"u:p\": user information is not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"f\": fragments are not permitted in the URL",
                "webhooks[0].clientConfig.url: Invalid value: \"q=1\": query parameters are not permitted in the URL",
            ],
        ),
        (
            webhook(json!({"clientConfig": {"service": {"namespace": "a", "name": "s"}}})),
            &["webhooks[0].clientConfig: Required value: exactly one of url or service is required"],
        ),
        (
            service(json!({"name": "", "port": 0, "path": "a//b"})),
            &[
                "webhooks[0].clientConfig.service.namespace: Required value",
                "webhooks[0].clientConfig.service.port: Invalid value: 0: port is not valid: must be between 1 and 65535, inclusive",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": must start with a '/'",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": segment[0] may not be empty",
                "webhooks[0].clientConfig.service.path: Invalid value: \"a//b\": segment[1] may not be empty",
            ],
        ),
        (
            webhook(
                json!({"matchConditions": [{"name": "a", "expression": " "}, {"name": "a", "expression": "true"}, {"name": "", "expression": "true"}]}),
            ),
            &[
                "webhooks[0].matchConditions[0].expression: Required value",
                "webhooks[0].matchConditions[1].name: Duplicate value: \"a\"",
                "webhooks[0].matchConditions[2].name: Required value",
            ],
        ),
    ]);
}

#[test]
fn rules_are_checked() {
    let rules = |rest: Value| webhook(json!({"rules": [rule(rest)]}));
    check_creates(vec![
        (rules(json!({"resources": ["*", "*/scale"], "operations": ["*"]})), &[]),
        (
            rules(json!({"operations": ["*", "PEEK"], "apiGroups": [], "apiVersions": [""], "scope": "World"})),
            &[
                "webhooks[0].rules[0].operations: Invalid value: [\"*\",\"PEEK\"]: if '*' is present, must not specify other operations",
                "webhooks[0].rules[0].operations[1]: Unsupported value: \"PEEK\": supported values: \"*\", \"CONNECT\", \"CREATE\", \
                 \"DELETE\", \"UPDATE\"",
                "webhooks[0].rules[0].apiGroups: Required value",
                "webhooks[0].rules[0].apiVersions[0]: Required value",
                "webhooks[0].rules[0].scope: Unsupported value: \"World\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
            ],
        ),
        (
            rules(json!({"resources": ["a/*", "a/b", "*/c", "d/c", ""]})),
            &[
                "webhooks[0].rules[0].resources[1]: Invalid value: \"a/b\": if 'a/*' is present, must not specify a/b",
                "webhooks[0].rules[0].resources[3]: Invalid value: \"d/c\": if '*/c' is present, must not specify d/c",
                "webhooks[0].rules[0].resources[4]: Required value",
            ],
        ),
        (
            rules(json!({"resources": ["*/*", "*", "a"]})),
            &[
                "webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"*\",\"a\"]: if '*/*' is present, must not specify other resources",
                "webhooks[0].rules[0].resources: Invalid value: [\"*/*\",\"*\",\"a\"]: if '*' is present, must not specify other resources \
                 without subresources",
            ],
        ),
    ]);
}

#[test]
fn policies_are_checked() {
    let policy = |kind: &str, rest: Value| {
        let constraints = json!({"resourceRules": [rule(json!({}))]});
        let mut object = in_group(VERSION, kind, json!({"spec": {"matchConstraints": constraints}}));
        merge(&mut object["spec"], &rest);
        object
    };
    let validating = |rest: Value| {
        let mut object = policy("ValidatingAdmissionPolicy", json!({"validations": [{"expression": "true"}]}));
        merge(&mut object["spec"], &rest);
        object
    };
    let mutating = |mutation: Value| {
        policy("MutatingAdmissionPolicy", json!({"reinvocationPolicy": "Never", "mutations": [mutation]}))
    };
    check_creates(vec![
        (validating(json!({"paramKind": {"apiVersion": "example.com/v1", "kind": "K"}})), &[]),
        (
            validating(json!({"matchConstraints": null, "validations": []})),
            &[
                "spec.matchConstraints: Required value",
                "spec.validations: Required value: validations or auditAnnotations must contain at least one item",
                "spec.auditAnnotations: Required value: validations or auditAnnotations must contain at least one item",
            ],
        ),
        (
            validating(json!({
                "paramKind": {"apiVersion": "a/b/c", "kind": "1"},
                "matchConstraints": {"resourceRules": []},
                "variables": [{"name": "for", "expression": "1"}, {"name": "", "expression": ""}],
            })),
            &[
                "spec.paramKind.apiVersion: Invalid value: \"a/b/c\": unexpected GroupVersion string: a/b/c",
                "spec.paramKind.kind: Invalid value: \"1\": may have mixed case, but should otherwise match: a DNS-1035 label must consist of \
                 lower case alphanumeric characters or '-', start with an alphabetic character, and end with an alphanumeric character \
                 (e.g. 'my-name',  or 'abc-123', regex used for validation is '[a-z]([-a-z0-9]*[a-z0-9])?')",
                "spec.matchConstraints.resourceRules: Required value",
                "spec.variables[0].name: Invalid value: \"for\": name is not a valid CEL identifier",
                "spec.variables[1].name: Required value: name is not specified",
                "spec.variables[1].expression: Required value: expression is not specified",
            ],
        ),
        (
            validating(json!({
                "validations": [{"expression": "", "message": "a\nb", "messageExpression": " ", "reason": "Whim"}],
                "auditAnnotations": [{"key": "a", "valueExpression": "1"}, {"key": "a", "valueExpression": ""}],
            })),
            &[
                "spec.validations[0].expression: Required value: expression is not specified",
                "spec.validations[0].messageExpression: Invalid value: \" \": must be non-empty if specified",
                "spec.validations[0].message: Invalid value: \"a\\nb\": message must not contain line breaks",
                "spec.validations[0].reason: Unsupported value: \"Whim\": supported values: \"Forbidden\", \"Invalid\", \"RequestEntityTooLarge\"",
                "spec.auditAnnotations[0].valueExpression: Invalid value: \"1\": must evaluate to one of [string null_type] but got int",
                "spec.auditAnnotations[1].valueExpression: Required value: valueExpression is not specified",
                "spec.auditAnnotations[1].key: Duplicate value: \"a\"",
            ],
        ),
        (
            mutating(
                json!({"patchType": "JSONPatch", "jsonPatch": {"expression": "[JSONPatch{op: 'remove', path: '/a'}]"}}),
            ),
            &[],
        ),
        (
            mutating(json!({"patchType": "JSONPatch", "applyConfiguration": {"expression": "x"}})),
            &[
                "spec.mutations[0].applyConfiguration: Forbidden: may only be specified when patchType is ApplyConfiguration",
                "spec.mutations[0].jsonPatch: Required value: must be specified when patchType is JSONPatch",
            ],
        ),
        (
            policy(
                "MutatingAdmissionPolicy",
                json!({"matchConstraints": {"resourceRules": [rule(json!({"operations": ["DELETE"]}))]}}),
            ),
            &[
                "spec.matchConstraints.resourceRules[0].operations[0]: Unsupported value: \"DELETE\": supported values: \"*\", \"CONNECT\", \
                 \"CREATE\", \"UPDATE\"",
                "spec.mutations: Required value: mutations must contain at least one item",
                "spec.reinvocationPolicy: Required value",
            ],
        ),
    ]);
    let old = stored(validating(json!({})));
    assert_eq!(
        update_status(
            &old,
            &json!({"status": {"typeChecking": {"expressionWarnings": [{"fieldRef": "", "warning": "w"}]}}})
        )
        .1,
        ["status.typeChecking.expressionWarnings[0].fieldRef: Required value"]
    );
}

#[test]
fn bindings_are_checked() {
    let binding = |rest: Value| {
        let spec = json!({"policyName": "p", "validationActions": ["Deny"]});
        let mut object = in_group(VERSION, "ValidatingAdmissionPolicyBinding", json!({"spec": spec}));
        merge(&mut object["spec"], &rest);
        object
    };
    check_creates(vec![
        (binding(json!({"paramRef": {"name": "n", "parameterNotFoundAction": "Deny"}, "matchResources": {}})), &[]),
        (
            binding(json!({"policyName": "", "validationActions": []})),
            &[
                "spec.policyName: Required value",
                "spec.validationActions: Required value: at least one validation action is required",
            ],
        ),
        (
            binding(json!({"validationActions": ["Deny", "Warn", "Deny"]})),
            &[
                "spec.validationActions[2]: Duplicate value: \"Deny\"",
                "spec.validationActions: Invalid value: [\"Deny\",\"Warn\",\"Deny\"]: must not contain both Deny and Warn (repeating the same \
                 validation failure information in the API response and headers serves no purpose)",
            ],
        ),
        (
            binding(json!({"paramRef": {"name": "n", "selector": {}}})),
            &[
                "spec.paramRef.name: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.selector: Forbidden: name and selector are mutually exclusive",
                "spec.paramRef.parameterNotFoundAction: Required value",
            ],
        ),
        (
            binding(json!({"paramRef": {"parameterNotFoundAction": "Shrug"}})),
            &[
                "spec.paramRef: Required value: one of name or selector must be specified",
                "spec.paramRef.parameterNotFoundAction: Unsupported value: \"Shrug\": supported values: \"Deny\", \"Allow\"",
            ],
        ),
    ]);
}
