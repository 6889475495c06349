//! Admission policies: what they deny, warn of and change, of objects, subresources and deletions.
#![allow(clippy::unwrap_used)]

mod client;

use client::{Answer, Server};
use serde_json::{Value, json};

const JUDGING: &str = "admissionregistration.k8s.io/ValidatingAdmissionPolicy";
const JUDGING_BINDING: &str = "admissionregistration.k8s.io/ValidatingAdmissionPolicyBinding";
const CHANGING: &str = "admissionregistration.k8s.io/MutatingAdmissionPolicy";
const CHANGING_BINDING: &str = "admissionregistration.k8s.io/MutatingAdmissionPolicyBinding";

fn rule(group: &str, resource: &str, operations: &[&str]) -> Value {
    let version = if group == "autoscaling" { "v2" } else { "v1" };
    json!({"apiGroups": [group], "apiVersions": [version], "operations": operations, "resources": [resource]})
}

fn with(mut value: Value, more: &Value) -> Value {
    for (member, more) in more.as_object().unwrap() {
        value[member] = more.clone();
    }
    value
}

/// A policy about ConfigMaps that is bound under its own name.
async fn judge(server: &Server, name: &str, spec: &Value, actions: &[&str]) {
    let rules = json!({"resourceRules": [rule("", "configmaps", &["CREATE", "UPDATE", "DELETE"])]});
    let spec = with(json!({"matchConstraints": rules}), spec);
    server.on(JUDGING, "").create(&json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    bind(server, JUDGING_BINDING, name, &json!({"validationActions": actions})).await;
}

async fn bind(server: &Server, kind: &str, name: &str, more: &Value) {
    let spec = with(json!({"policyName": name}), more);
    server.on(kind, "").create(&json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
}

async fn change(server: &Server, name: &str, rules: &Value, mutations: &Value, more: &Value) {
    let spec =
        json!({"matchConstraints": {"resourceRules": [rules]}, "mutations": mutations, "reinvocationPolicy": "Never"});
    let spec = with(spec, more);
    server.on(CHANGING, "").create(&json!({"metadata": {"name": name}, "spec": spec})).await.expect(201);
    bind(server, CHANGING_BINDING, name, &json!({})).await;
}

fn configured(expression: &str) -> Value {
    json!({"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": expression}})
}

fn patched(expression: &str) -> Value {
    json!({"patchType": "JSONPatch", "jsonPatch": {"expression": expression}})
}

async fn put(server: &Server, name: &str, data: &Value) -> Answer {
    server.on("ConfigMap", "default").create(&json!({"metadata": {"name": name}, "data": data})).await
}

fn message(answer: &Answer) -> &str {
    answer.at("/message").as_str().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn what_does_not_hold_is_denied_with_its_message_and_reason() {
    let server = Server::start().await;
    let validations = json!([
        {"expression": "!('plain' in object.data)", "message": " no plain key "},
        {"expression": "!('told' in object.data)", "messageExpression": "'no ' + variables.key", "reason": "Forbidden"},
        {"expression": "!('bare' in object.data)", "messageExpression": "''"},
        {"expression": "!('large' in object.data)", "message": "m", "reason": "RequestEntityTooLarge"},
        {"expression": "object.data.nothing == ''"},
    ]);
    let variables = json!([{"name": "key", "expression": "object.data.told + '!'"}]);
    judge(&server, "p", &json!({"validations": validations, "variables": variables}), &["Deny"]).await;
    let table = [
        (json!({"plain": "1"}), 422, "Invalid", "no plain key"),
        (json!({"told": "me"}), 403, "Forbidden", "no me!"),
        (json!({"bare": "1"}), 422, "Invalid", "failed expression: !('bare' in object.data)"),
        (json!({"large": "1"}), 413, "RequestEntityTooLarge", "m"),
        (
            json!({"other": "1"}),
            422,
            "Invalid",
            "expression 'object.data.nothing == ''' resulted in error: no such key: nothing",
        ),
    ];
    for (data, code, reason, told) in table {
        let refused = put(&server, "c", &data).await;
        let told = format!("ValidatingAdmissionPolicy 'p' with binding 'p' denied request: {told}");
        assert_eq!((refused.code, refused.at("/reason")), (code, &json!(reason)), "{data}");
        assert_eq!(message(&refused), format!("configmaps \"c\" is forbidden: {told}"));
        assert_eq!(refused.at("/details"), &json!({"name": "c", "kind": "configmaps", "causes": [{"message": told}]}));
    }
    put(&server, "c", &json!({"nothing": ""})).await.expect(201);
    let refused = server.on("ConfigMap", "default").name("c").merge(&json!({"data": {"plain": "1"}})).await;
    assert_eq!(refused.code, 422);
    server.on(JUDGING_BINDING, "").name("p").delete(&Value::Null).await.expect(200);
    put(&server, "d", &json!({"plain": "1"})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binding_may_warn_instead() {
    let server = Server::start().await;
    let validations = json!([{"expression": "has(object.data)", "message": "no data"}]);
    judge(&server, "p", &json!({ "validations": validations }), &["Warn", "Audit"]).await;
    let made = server.on("ConfigMap", "default").create(&json!({"metadata": {"name": "c"}})).await;
    assert_eq!(made.code, 201);
    assert_eq!(
        made.warnings,
        ["299 - \"Validation failed for ValidatingAdmissionPolicy 'p' with binding 'p': no data\""]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn deletions_and_what_was_there_before_are_judged() {
    let server = Server::start().await;
    let validations = json!([
        {"expression": "request.operation != 'DELETE' || !oldObject.metadata.name.startsWith('keep')", "message": "kept"},
        {"expression": "request.operation != 'DELETE' || object == null"},
        {"expression": "request.operation != 'UPDATE' || object.data == oldObject.data", "message": "fixed"},
    ]);
    judge(&server, "p", &json!({ "validations": validations }), &["Deny"]).await;
    for name in ["keep-1", "goes"] {
        put(&server, name, &json!({"a": "1"})).await.expect(201);
    }
    let maps = || server.on("ConfigMap", "default");
    let refused = maps().name("keep-1").delete(&Value::Null).await;
    assert!(message(&refused).ends_with("denied request: kept"), "{refused:?}");
    assert!(message(&maps().name("goes").merge(&json!({"data": {"a": "2"}})).await).ends_with("fixed"));
    maps().name("goes").merge(&json!({"metadata": {"labels": {"x": "y"}}})).await.expect(200);
    maps().name("goes").delete(&Value::Null).await.expect(200);
    maps().name("keep-1").get().await.expect(200);
}

#[tokio::test(flavor = "multi_thread")]
async fn conditions_narrow_what_a_policy_is_about() {
    let server = Server::start().await;
    let spec = |condition: &str, failure: &str| {
        json!({
            "validations": [{"expression": "false", "message": "never"}], "failurePolicy": failure,
            "matchConditions": [{"name": "one", "expression": condition}, {"name": "two", "expression": "request.name != 'spared'"}],
        })
    };
    judge(&server, "lax", &spec("object.data.nothing == 'a'", "Ignore"), &["Deny"]).await;
    put(&server, "a", &json!({"x": "1"})).await.expect(201);
    judge(&server, "strict", &spec("object.data.nothing == 'a'", "Fail"), &["Deny"]).await;
    let refused = put(&server, "b", &json!({"x": "1"})).await;
    let told = "denied request: expression 'object.data.nothing == 'a'' resulted in error: no such key: nothing";
    assert!(message(&refused).ends_with(told), "{refused:?}");
    // One that does not hold decides, whatever the other comes to.
    put(&server, "spared", &json!({"x": "1"})).await.expect(201);
    assert!(message(&put(&server, "c", &json!({"nothing": "a"})).await).ends_with("never"));
}

#[tokio::test(flavor = "multi_thread")]
async fn parameters_come_from_objects_of_any_kind() {
    let server = Server::start().await;
    let spec = json!({
        "paramKind": {"apiVersion": "v1", "kind": "Secret"},
        "validations": [{"expression": "params == null || size(object.data) <= int(string(params.metadata.labels.max))", "message": "too many"}],
    });
    let rules = json!({"resourceRules": [rule("", "configmaps", &["CREATE"])]});
    let policy = json!({"metadata": {"name": "p"}, "spec": with(json!({"matchConstraints": rules}), &spec)});
    server.on(JUDGING, "").create(&policy).await.expect(201);
    let binding = |name: &str, reference: &Value| json!({"metadata": {"name": name}, "spec": {"policyName": "p", "validationActions": ["Deny"], "paramRef": reference}});
    let named = binding("named", &json!({"name": "limits", "parameterNotFoundAction": "Deny"}));
    server.on(JUDGING_BINDING, "").create(&named).await.expect(201);
    let two = json!({"a": "1", "b": "2"});
    let refused = put(&server, "c", &two).await;
    let told = "configmaps \"c\" is forbidden: ValidatingAdmissionPolicy 'p' with binding 'named' denied request: failed to \
                configure binding: no params found for policy binding with `Deny` parameterNotFoundAction";
    assert_eq!(message(&refused), told);
    let limits = |name: &str, max: &str| json!({"metadata": {"name": name, "labels": {"max": max, "limits": "yes"}}});
    server.on("Secret", "default").create(&limits("limits", "1")).await.expect(201);
    assert!(message(&put(&server, "c", &two).await).ends_with("denied request: too many"));
    put(&server, "c", &json!({"a": "1"})).await.expect(201);
    server.on("Secret", "default").name("limits").merge(&limits("limits", "2")).await.expect(200);
    put(&server, "d", &two).await.expect(201);
    // All that are selected are asked.
    let selected = binding(
        "selected",
        &json!({"selector": {"matchLabels": {"limits": "yes"}}, "parameterNotFoundAction": "Allow"}),
    );
    server.on(JUDGING_BINDING, "").create(&selected).await.expect(201);
    put(&server, "e", &two).await.expect(201);
    server.on("Secret", "default").create(&limits("stricter", "1")).await.expect(201);
    assert!(message(&put(&server, "f", &two).await).contains("with binding 'selected' denied request: too many"));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_of_parameters_that_nobody_defined_denies() {
    let server = Server::start().await;
    let spec = json!({"paramKind": {"apiVersion": "x.example.com/v1", "kind": "Limit"}, "validations": [{"expression": "true"}]});
    judge(&server, "p", &spec, &["Deny"]).await;
    let refused = put(&server, "c", &json!({})).await;
    let told = "ValidatingAdmissionPolicy 'p' denied request: failed to configure policy: failed to find resource referenced by \
                paramKind: 'x.example.com/v1, Kind=Limit'";
    assert_eq!(message(&refused), format!("configmaps \"c\" is forbidden: {told}"));
}

#[tokio::test(flavor = "multi_thread")]
async fn expressions_see_the_namespace_the_user_and_the_authorizer() {
    let server = Server::start().await;
    let truths = [
        "namespaceObject.metadata.name == 'default' && request.namespace == 'default'",
        "request.kind.kind == 'ConfigMap' && request.resource.resource == 'configmaps' && request.kind.group == ''",
        "request.userInfo.username == 'tester' && 'system:masters' in request.userInfo.groups",
        "authorizer.group('').resource('configmaps').namespace('default').check('create').allowed()",
        "!authorizer.serviceAccount('default', 'default').group('').resource('secrets').check('get').allowed()",
        "authorizer.requestResource.check('custom').allowed()",
        "!has(request.subResource) && !request.dryRun",
    ];
    let validations: Vec<Value> = truths.iter().map(|text| json!({ "expression": text })).collect();
    judge(&server, "p", &json!({ "validations": validations }), &["Deny"]).await;
    put(&server, "c", &json!({})).await.expect(201);
    let dry =
        server.on("ConfigMap", "default").query("dryRun", "All").create(&json!({"metadata": {"name": "d"}})).await;
    assert!(message(&dry).ends_with("failed expression: !has(request.subResource) && !request.dryRun"), "{dry:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_costs_too_much_is_stopped() {
    let server = Server::start().await;
    let costly = "object.data.all(a, object.data.all(b, object.data.all(c, a + b + c != '')))";
    judge(&server, "p", &json!({"validations": [{"expression": costly}]}), &["Deny"]).await;
    let data: serde_json::Map<_, _> = (0..200).map(|n| (format!("k{n}"), "v".into())).collect();
    let refused = put(&server, "c", &Value::Object(data)).await;
    assert!(
        message(&refused).ends_with("resulted in error: operation cancelled: actual cost limit exceeded"),
        "{refused:?}"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_about_what_their_rules_name() {
    let server = Server::start().await;
    let never = json!([{"expression": "false", "message": "never"}]);
    let about = |rules: Value, more: &Value| json!({"validations": never, "matchConstraints": with(json!({"resourceRules": [rules]}), more)});
    let labelled = json!({"objectSelector": {"matchLabels": {"judged": "yes"}}});
    judge(&server, "status", &about(rule("apps", "deployments/status", &["*"]), &json!({})), &["Deny"]).await;
    judge(&server, "labels", &about(rule("", "configmaps", &["*"]), &labelled), &["Deny"]).await;
    let tier = json!({"namespaceSelector": {"matchLabels": {"tier": "prod"}}});
    judge(&server, "tier", &about(rule("", "secrets", &["*"]), &tier), &["Deny"]).await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "i"}]}}}});
    let on = |kind: &str| server.on(kind, "default").name("d");
    server.on("apps/Deployment", "default").create(&deployment).await.expect(201);
    on("apps/Deployment").merge(&json!({"spec": {"replicas": 2}})).await.expect(200);
    let status = on("apps/Deployment").sub("status").merge(&json!({"status": {"replicas": 1}})).await;
    assert!(message(&status).contains("ValidatingAdmissionPolicy 'status'"), "{status:?}");
    put(&server, "c", &json!({})).await.expect(201);
    let labels = json!({"metadata": {"labels": {"judged": "yes"}}});
    assert_eq!(server.on("ConfigMap", "default").name("c").merge(&labels).await.code, 422);
    server.on("Secret", "default").create(&json!({"metadata": {"name": "s"}})).await.expect(201);
    let prod = json!({"metadata": {"name": "prod", "labels": {"tier": "prod"}}});
    server.on("Namespace", "").create(&prod).await.expect(201);
    assert_eq!(server.on("Secret", "prod").create(&json!({"metadata": {"name": "s"}})).await.code, 422);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_is_judged_as_a_scale() {
    let server = Server::start().await;
    let rules = json!({"resourceRules": [rule("apps", "deployments/scale", &["UPDATE"])]});
    let validations = json!([{
        "expression": "object.kind == 'Scale' && object.spec.replicas <= 3 && !has(object.spec.template)",
        "messageExpression": "string(object.spec.replicas) + ' are too many'",
    }]);
    judge(&server, "p", &json!({"matchConstraints": rules, "validations": validations}), &["Deny"]).await;
    let deployment = json!({"metadata": {"name": "d"}, "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": {
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "a", "image": "i"}]}}}});
    server.on("apps/Deployment", "default").create(&deployment).await.expect(201);
    let scale = async |replicas: i64| {
        let scale = json!({"spec": {"replicas": replicas}});
        server.on("apps/Deployment", "default").name("d").sub("scale").merge(&scale).await
    };
    scale(3).await.expect(200);
    assert!(message(&scale(4).await).ends_with("denied request: 4 are too many"));
}

#[tokio::test(flavor = "multi_thread")]
async fn other_versions_of_the_same_are_judged_in_the_form_that_was_named() {
    let server = Server::start().await;
    let rules = json!({"resourceRules": [rule("autoscaling", "horizontalpodautoscalers", &["CREATE"])]});
    let validations = json!([{"expression": "object.apiVersion == 'autoscaling/v2' && !has(object.spec.metrics)", "message": "no metrics"}]);
    judge(&server, "p", &json!({"matchConstraints": rules, "validations": validations}), &["Deny"]).await;
    let scaler = |cpu: &Value| {
        json!({"metadata": {"name": "h"}, "spec": {
            "maxReplicas": 2, "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"},
            "targetCPUUtilizationPercentage": cpu}})
    };
    let refused = server.on("autoscaling/HorizontalPodAutoscaler", "default").create(&scaler(&json!(50))).await;
    assert!(message(&refused).ends_with("no metrics"), "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_are_checked_when_they_are_written() {
    let server = Server::start().await;
    let refused = async |spec: Value| {
        let rules = json!({"resourceRules": [rule("", "configmaps", &["CREATE"])]});
        let spec = with(json!({"matchConstraints": rules, "validations": [{"expression": "true"}]}), &spec);
        server.on(JUDGING, "").create(&json!({"metadata": {"name": "p"}, "spec": spec})).await
    };
    let table = [
        (
            json!({"validations": [{"expression": "object."}]}),
            "spec.validations[0].expression: Invalid value: \"object.\": compilation failed: ERROR: <input>:1:8: Syntax error: no viable alternative at input '.'\n | object.\n | .......^",
        ),
        (
            json!({"validations": [{"expression": "1 + 1"}]}),
            "spec.validations[0].expression: Invalid value: \"1 + 1\": must evaluate to bool but got int",
        ),
        (
            json!({"validations": [{"expression": "true", "messageExpression": "1"}]}),
            "spec.validations[0].messageExpression: Invalid value: \"1\": must evaluate to string but got int",
        ),
        (
            json!({"variables": [{"name": "a", "expression": "variables.b"}, {"name": "b", "expression": "1"}]}),
            "spec.variables[0].expression: Invalid value: \"variables.b\": compilation failed: ERROR: <input>:1:10: undefined field 'b'\n | variables.b\n | .........^",
        ),
        (
            json!({"auditAnnotations": [{"key": "k", "valueExpression": "true"}]}),
            "spec.auditAnnotations[0].valueExpression: Invalid value: \"true\": must evaluate to one of [string null_type] but got bool",
        ),
        (
            json!({"matchConditions": [{"name": "n", "expression": "params != null"}]}),
            "spec.matchConditions[0].expression: Invalid value: \"params != null\": compilation failed: ERROR: <input>:1:1: undeclared reference to 'params' (in container '')\n | params != null\n | ^",
        ),
    ];
    for (spec, told) in table {
        let answer = refused(spec).await;
        let whole = format!("ValidatingAdmissionPolicy.admissionregistration.k8s.io \"p\" is invalid: {told}");
        assert_eq!((answer.code, message(&answer)), (422, whole.as_str()));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn policies_cannot_lock_everybody_out() {
    let server = Server::start().await;
    let everything = json!({"apiGroups": ["*"], "apiVersions": ["*"], "operations": ["*"], "resources": ["*", "*/*"]});
    let everything = with(everything, &json!({"resources": ["*/*"]}));
    let spec = json!({"matchConstraints": {"resourceRules": [everything]}, "validations": [{"expression": "false"}]});
    judge(&server, "p", &spec, &["Deny"]).await;
    assert_eq!(put(&server, "c", &json!({})).await.code, 422);
    server.on(JUDGING_BINDING, "").name("p").delete(&Value::Null).await.expect(200);
    put(&server, "c", &json!({})).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn configurations_are_merged_into_what_is_written() {
    let server = Server::start().await;
    let pods = rule("", "pods", &["CREATE"]);
    let sidecar = configured(
        "Object{metadata: Object.metadata{labels: {'sidecar': variables.name}}, spec: Object.spec{initContainers: \
         [Object.spec.initContainers{name: variables.name, image: 'proxy:1', restartPolicy: 'Always'}]}}",
    );
    let variables = json!({"variables": [{"name": "name", "expression": "'mesh-' + request.namespace"}]});
    change(&server, "sidecar", &pods, &json!([sidecar]), &variables).await;
    let pod = json!({"metadata": {"name": "p", "labels": {"app": "a"}}, "spec": {
        "containers": [{"name": "a", "image": "i"}], "initContainers": [{"name": "own", "image": "x"}]}});
    let made = server.on("Pod", "default").create(&pod).await.expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"app": "a", "sidecar": "mesh-default"}));
    let inits = made["spec"]["initContainers"].as_array().unwrap();
    let names: Vec<_> = inits.iter().map(|one| one["name"].as_str().unwrap()).collect();
    assert_eq!(names, ["own", "mesh-default"]);
    // What the schema fills in is filled in here too.
    assert_eq!(inits[1]["terminationMessagePath"], "/dev/termination-log");
    assert_eq!(inits[1]["restartPolicy"], "Always");
    // Nobody is said to have said it.
    assert!(!made["metadata"]["managedFields"].to_string().contains("mesh-default"));
    let stored = server.on("Pod", "default").name("p").get().await.expect(200);
    assert_eq!(stored["spec"]["initContainers"], made["spec"]["initContainers"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn patches_change_what_is_written_all_or_nothing() {
    let server = Server::start().await;
    let maps = rule("", "configmaps", &["CREATE", "UPDATE"]);
    let mutations = json!([
        patched(
            "has(object.data) ? [JSONPatch{op: 'add', path: '/metadata/annotations', value: {'x': '1'}}, JSONPatch{op: 'add', \
             path: '/metadata/annotations/' + jsonpatch.escapeKey('a.b/c'), value: '2'}] : \
             [JSONPatch{op: 'add', path: '/data', value: {'made': 'y'}}]"
        ),
        patched(
            "[JSONPatch{op: 'test', path: '/metadata/name', value: 'other'}, JSONPatch{op: 'remove', path: '/data'}]"
        ),
    ]);
    change(&server, "p", &maps, &mutations, &json!({})).await;
    let made = put(&server, "c", &json!({"k": "v"})).await.expect(201);
    assert_eq!(made["metadata"]["annotations"], json!({"x": "1", "a.b/c": "2"}));
    let made = server.on("ConfigMap", "default").create(&json!({"metadata": {"name": "d"}})).await.expect(201);
    assert_eq!(made["data"], json!({"made": "y"}));
    assert!(put(&server, "other", &json!({"k": "v"})).await.expect(201)["data"].is_null());
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_follow_the_order_of_names_and_are_judged_afterwards() {
    let server = Server::start().await;
    let maps = rule("", "configmaps", &["CREATE"]);
    let add = |text: &str| configured(&format!("Object{{data: {{'path': object.?data.path.orValue('') + '{text}'}}}}"));
    change(&server, "b", &maps, &json!([add("b")]), &json!({})).await;
    change(&server, "a", &maps, &json!([add("1"), add("2")]), &json!({"reinvocationPolicy": "IfNeeded"})).await;
    let validations =
        json!([{"expression": "object.data.path == '12b12'", "messageExpression": "string(object.data.path)"}]);
    judge(&server, "j", &json!({ "validations": validations }), &["Deny"]).await;
    let made = server.on("ConfigMap", "default").create(&json!({"metadata": {"name": "c"}})).await.expect(201);
    assert_eq!(made["data"]["path"], "12b12");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_fails_denies_unless_it_may_be_ignored() {
    let server = Server::start().await;
    let maps = rule("", "configmaps", &["CREATE"]);
    let table = [
        ("missing", configured("Object{data: {'a': object.data.nothing}}"), "no such key: nothing"),
        (
            "atomic",
            configured(
                "Object{metadata: Object.metadata{ownerReferences: [Object.metadata.ownerReferences{name: 1}]}}",
            ),
            "error applying patch: failed to convert patch object to typed object",
        ),
        ("place", configured("Object{metadata: Object.data{}}"), "type mismatch: unexpected type name \"Object.data\""),
        ("unknown", configured("Object{nothing: 1}"), "field not declared in schema"),
        ("path", patched("[JSONPatch{op: 'remove', path: '/data/x/y'}]"), "JSONPath: "),
        (
            "name",
            patched("[JSONPatch{op: 'replace', path: '/metadata/name', value: 'z'}]"),
            "metadata.name may not be changed",
        ),
    ];
    for (name, mutation, told) in table {
        change(&server, name, &maps, &json!([mutation]), &json!({})).await;
        let refused = put(&server, "c", &json!({"k": "v"})).await;
        let start = format!("policy '{name}' with binding '{name}' denied request: ");
        assert_eq!((refused.code, refused.at("/reason")), (403, &json!("Invalid")), "{name}: {refused:?}");
        assert!(message(&refused).starts_with(&start) && message(&refused).contains(told), "{name}: {refused:?}");
        assert_eq!(refused.at("/details/causes/0/message"), refused.at("/message"));
        server.on(CHANGING, "").name(name).merge(&json!({"spec": {"failurePolicy": "Ignore"}})).await.expect(200);
        let made = server.on("ConfigMap", "default").query("dryRun", "All");
        made.create(&json!({"metadata": {"name": "c"}, "data": {"k": "v"}})).await.expect(201);
        server.on(CHANGING_BINDING, "").name(name).delete(&Value::Null).await.expect(200);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_objects_are_judged_and_changed_and_give_parameters() {
    let server = Server::start().await;
    let spec = json!({"type": "object", "properties": {
        "max": {"type": "integer"}, "items": {"type": "array", "items": {"type": "string"}}, "size": {"type": "integer", "default": 7}}});
    let definition = json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "limits.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "limits", "kind": "Limit"},
            "versions": [{"name": "v1", "served": true, "storage": true,
                "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}}}],
        },
    });
    server.on("apiextensions.k8s.io/CustomResourceDefinition", "").create(&definition).await.expect(201);
    let limits = || server.about(server.core.kinds().by_resource("example.com", "v1", "limits").unwrap(), "default");
    let limit = |name: &str, max: i64| json!({"apiVersion": "example.com/v1", "kind": "Limit", "metadata": {"name": name}, "spec": {"max": max}});
    change(
        &server,
        "cap",
        &rule("example.com", "limits", &["CREATE"]),
        &json!([configured("Object{spec: Object.spec{max: object.spec.max > 5 ? 5 : object.spec.max}}")]),
        &json!({}),
    )
    .await;
    let made = limits().create(&limit("l", 9)).await.expect(201);
    assert_eq!(made["spec"], json!({"max": 5, "size": 7}));
    let spec = json!({
        "paramKind": {"apiVersion": "example.com/v1", "kind": "Limit"},
        "validations": [{"expression": "size(object.data) < params.spec.max", "message": "too many"}],
    });
    let rules = json!({"resourceRules": [rule("", "configmaps", &["CREATE"])]});
    let policy = json!({"metadata": {"name": "p"}, "spec": with(json!({"matchConstraints": rules}), &spec)});
    server.on(JUDGING, "").create(&policy).await.expect(201);
    let reference =
        json!({"validationActions": ["Deny"], "paramRef": {"name": "l", "parameterNotFoundAction": "Deny"}});
    bind(&server, JUDGING_BINDING, "p", &reference).await;
    put(&server, "few", &json!({"a": "1"})).await.expect(201);
    let many = put(&server, "many", &json!({"a": "", "b": "", "c": "", "d": "", "e": ""})).await;
    assert!(message(&many).ends_with("too many"), "{many:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn ways_into_pods_evictions_and_bindings_are_judged_as_what_is_posted() {
    let server = Server::start().await;
    let rules = json!({"resourceRules": [
        rule("", "pods/exec", &["CONNECT"]), rule("", "pods/portforward", &["CONNECT"]), rule("", "pods/eviction", &["CREATE"]),
        rule("", "pods/binding", &["CREATE"])]});
    let validations = json!([
        {"expression": "request.subResource != 'exec' || object.kind == 'PodExecOptions' && !('sh' in object.command) && object.stdout", "message": "no shells"},
        {"expression": "request.subResource != 'portforward' || object.ports == [80]", "message": "no ports"},
        {"expression": "request.kind.kind != 'Eviction' || object.metadata.name == request.name && request.name != 'p'", "message": "stays"},
        {"expression": "request.kind.kind != 'Binding' || object.target.name != 'bad'", "message": "not there"},
    ]);
    judge(&server, "p", &json!({"matchConstraints": rules, "validations": validations}), &["Deny"]).await;
    for name in ["p", "q"] {
        let pod = json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "a", "image": "i"}]}});
        server.on("Pod", "default").create(&pod).await.expect(201);
    }
    let pod = |name: &str, sub: &str| server.on("Pod", "default").name(name).sub(sub);
    let no_host = "pod p does not have a host assigned";
    let exec = async |command: &str| pod("p", "exec").query("command", command).send("create").await;
    assert!(message(&exec("sh").await).ends_with("denied request: no shells"));
    assert_eq!(message(&exec("ls").await), no_host);
    let forward = async |port: &str| pod("p", "portforward").query("ports", port).send("create").await;
    assert!(message(&forward("22").await).ends_with("denied request: no ports"));
    assert_eq!(message(&forward("80").await), no_host);
    let binding = |node: &str| json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    assert!(message(&pod("p", "binding").create(&binding("bad")).await).ends_with("not there"));
    pod("p", "binding").create(&binding("good")).await.expect(201);
    let eviction = |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    assert!(message(&pod("p", "eviction").create(&eviction("p")).await).ends_with("denied request: stays"));
    pod("q", "eviction").create(&eviction("q")).await.expect(201);
}
