//! RBAC over real connections: what roles give, at once and everywhere, and what nobody can give away.
#![allow(clippy::unwrap_used)]
mod hook;
mod wire;

use bytes::Bytes;
use http::{Method, Request, header};
use http_body_util::Full;
use serde_json::{Value, json};

use hook::{Hook, patch};
use wire::{Answer, Client, Running, read};

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

/// A request as somebody else: a user and groups.
async fn sent(admin: &mut Client, who: (&str, &[&str]), method: Method, path: &str, body: &Value) -> Answer {
    let kind = if method == Method::PATCH { "application/merge-patch+json" } else { "application/json" };
    let mut request = Request::builder().method(method).uri(path).header(header::CONTENT_TYPE, kind);
    request = request.header("impersonate-user", who.0);
    for group in who.1 {
        request = request.header("impersonate-group", *group);
    }
    let body = if body.is_null() { Bytes::new() } else { body.to_string().into() };
    read(admin.send(request.body(Full::new(body)).unwrap()).await).await
}

async fn get(admin: &mut Client, user: &str, path: &str) -> u16 {
    sent(admin, (user, &[]), Method::GET, path, &Value::Null).await.status.as_u16()
}

fn role(name: &str, verbs: &[&str], resources: &[&str]) -> Value {
    json!({"metadata": {"name": name}, "rules": [{"verbs": verbs, "apiGroups": [""], "resources": resources}]})
}

fn binding(name: &str, kind: &str, role: &str, user: &str) -> Value {
    json!({"metadata": {"name": name}, "roleRef": {"kind": kind, "name": role}, "subjects": [{"kind": "User", "name": user}]})
}

async fn make(admin: &mut Client, path: &str, object: &Value) {
    let made = admin.post(&format!("{RBAC}/{path}"), object).await;
    assert_eq!(made.status, 201, "{}", made.text());
}

#[test]
fn a_binding_counts_as_soon_as_it_is_written_and_no_longer_once_it_is_gone() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        assert_eq!(get(&mut admin, "alice", MAPS).await, 403);
        make(&mut admin, "namespaces/default/roles", &role("reader", &["get", "list"], &["configmaps"])).await;
        make(&mut admin, "namespaces/default/rolebindings", &binding("b", "Role", "reader", "alice")).await;
        assert_eq!(get(&mut admin, "alice", MAPS).await, 200);
        assert_eq!(get(&mut admin, "alice", "/api/v1/namespaces/kube-system/configmaps").await, 403);
        assert_eq!(get(&mut admin, "alice", "/api/v1/configmaps").await, 403, "all namespaces are more than one");
        let path = format!("{RBAC}/namespaces/default/roles/reader");
        let narrower = json!({"rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]}]});
        let patched = sent(&mut admin, ("root", &["system:masters"]), Method::PATCH, &path, &narrower).await;
        assert_eq!(patched.status, 200, "{}", patched.text());
        assert_eq!(get(&mut admin, "alice", MAPS).await, 403);
        assert_eq!(get(&mut admin, "alice", &format!("{MAPS}/x")).await, 404);
        let before = server.log.revision();
        let path = format!("{RBAC}/namespaces/default/rolebindings/b");
        assert_eq!(admin.call(Method::DELETE, &path, "").await.status, 200);
        assert_eq!(get(&mut admin, "alice", &format!("{MAPS}/x")).await, 403);
        // The past is judged by today's rules.
        assert_eq!(get(&mut admin, "alice", &format!("/at/{before}{MAPS}/x")).await, 403);
        // A role that is not there is told as the reason.
        make(&mut admin, "namespaces/default/rolebindings", &binding("b", "Role", "nosuch", "alice")).await;
        let refused = sent(&mut admin, ("alice", &[]), Method::GET, MAPS, &Value::Null).await;
        let expected = "configmaps is forbidden: User \"alice\" cannot list resource \"configmaps\" in API group \"\" in the \
                        namespace \"default\": RBAC: role.rbac.authorization.k8s.io \"nosuch\" not found";
        assert_eq!(refused.message(), expected);
        server.stop().await;
    });
}

#[test]
fn whoever_has_a_role_widened_by_a_webhook_must_hold_what_it_adds() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let held = json!([
            {"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]},
            {"verbs": ["get", "patch"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]},
        ]);
        make(&mut admin, "clusterroles", &json!({"metadata": {"name": "some"}, "rules": held})).await;
        make(&mut admin, "clusterrolebindings", &binding("some", "ClusterRole", "some", "alice")).await;
        make(&mut admin, "namespaces/default/roles", &role("target", &["get"], &["configmaps"])).await;
        make(&mut admin, "namespaces/default/roles", &role("deleter", &["delete"], &["configmaps"])).await;
        let wider = json!({"verbs": ["delete"], "apiGroups": [""], "resources": ["configmaps"]});
        let operations = json!([{"op": "add", "path": "/rules/1", "value": wider}]);
        let hook = Hook::start(move |_, request| patch(request, &operations)).await;
        let rule = json!({
            "operations": ["UPDATE"], "apiGroups": ["rbac.authorization.k8s.io"], "apiVersions": ["v1"], "resources": ["roles"],
        });
        let webhook = json!({
            "name": "a.b.c", "clientConfig": hook.client("/"), "rules": [rule], "sideEffects": "None",
            "admissionReviewVersions": ["v1"],
        });
        let configuration = json!({"metadata": {"name": "m"}, "webhooks": [webhook]});
        let path = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
        assert_eq!(admin.post(path, &configuration).await.status, 201);

        let path = format!("{RBAC}/namespaces/default/roles/target");
        let labelled = async |admin: &mut Client, value: &str| {
            let label = json!({"metadata": {"labels": {"a": value}}, "rules": [held[0]]});
            sent(admin, ("alice", &[]), Method::PATCH, &path, &label).await
        };
        let refused = labelled(&mut admin, "1").await;
        let why = "is attempting to grant RBAC permissions not currently held:\n\
                   {APIGroups:[\"\"], Resources:[\"configmaps\"], Verbs:[\"delete\"]}";
        assert_eq!(refused.status, 403);
        assert!(refused.message().ends_with(why), "{}", refused.message());
        make(&mut admin, "namespaces/default/rolebindings", &binding("b", "Role", "deleter", "alice")).await;
        let widened = labelled(&mut admin, "2").await;
        assert_eq!(widened.status, 200, "{}", widened.text());
        assert_eq!(widened.json()["rules"], json!([held[0], wider]));
        let binding = format!("{RBAC}/namespaces/default/rolebindings/b");
        assert_eq!(admin.call(Method::DELETE, &binding, "").await.status, 200);
        assert_eq!(labelled(&mut admin, "3").await.status, 403);
        server.stop().await;
    });
}

#[test]
fn nobody_gives_what_they_do_not_hold() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let alice = ("alice", &["team"][..]);
        let in_default = |resource: &str| format!("{RBAC}/namespaces/default/{resource}");
        let rules = json!([
            {"verbs": ["get", "list"], "apiGroups": [""], "resources": ["configmaps"]},
            {"verbs": ["create", "update", "patch"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["*"]},
        ]);
        make(&mut admin, "clusterroles", &json!({"metadata": {"name": "some"}, "rules": rules})).await;
        make(&mut admin, "clusterrolebindings", &binding("some", "ClusterRole", "some", "alice")).await;
        let held = role("held", &["get"], &["configmaps"]);
        assert_eq!(sent(&mut admin, alice, Method::POST, &in_default("roles"), &held).await.status, 201);
        let more = role("more", &["get", "delete"], &["configmaps"]);
        let refused = sent(&mut admin, alice, Method::POST, &in_default("roles"), &more).await;
        let expected = "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"alice\" (groups=[\"team\" \
                        \"system:authenticated\"]) is attempting to grant RBAC permissions not currently held:\n\
                        {APIGroups:[\"\"], Resources:[\"configmaps\"], Verbs:[\"delete\"]}";
        assert_eq!((refused.status.as_u16(), refused.message().as_str()), (403, expected));
        let path = in_default("roles/held");
        let wider = json!({"rules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"]}]});
        assert_eq!(sent(&mut admin, alice, Method::PATCH, &path, &wider).await.status, 403);
        assert_eq!(
            sent(&mut admin, alice, Method::PATCH, &path, &json!({"metadata": {"labels": {"a": "b"}}})).await.status,
            200
        );
        // What a role would gather may be anything.
        let gathers = json!({"metadata": {"name": "g"}, "aggregationRule": {"clusterRoleSelectors": [{}]}});
        assert_eq!(sent(&mut admin, alice, Method::POST, &format!("{RBAC}/clusterroles"), &gathers).await.status, 403);

        let bind = |name: &str, kind: &str, role: &str| binding(name, kind, role, "bob");
        let bindings = in_default("rolebindings");
        assert_eq!(sent(&mut admin, alice, Method::POST, &bindings, &bind("a", "Role", "held")).await.status, 201);
        assert_eq!(
            sent(&mut admin, alice, Method::POST, &bindings, &bind("b", "ClusterRole", "cluster-admin")).await.status,
            403
        );
        assert_eq!(sent(&mut admin, alice, Method::POST, &bindings, &bind("c", "Role", "nosuch")).await.status, 404);
        let subjects = json!({"subjects": [{"kind": "User", "name": "carol"}]});
        make(&mut admin, "namespaces/default/rolebindings", &bind("d", "ClusterRole", "cluster-admin")).await;
        let path = in_default("rolebindings/d");
        assert_eq!(sent(&mut admin, alice, Method::PATCH, &path, &subjects).await.status, 403);

        // Who may `bind` or `escalate` need not hold the rules.
        let allowed = json!([
            {"verbs": ["bind"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["clusterroles"], "resourceNames": ["view"]},
            {"verbs": ["escalate"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]},
        ]);
        make(&mut admin, "clusterroles", &json!({"metadata": {"name": "giver"}, "rules": allowed})).await;
        make(&mut admin, "clusterrolebindings", &binding("giver", "ClusterRole", "giver", "alice")).await;
        assert_eq!(sent(&mut admin, alice, Method::POST, &in_default("roles"), &more).await.status, 201);
        assert_eq!(
            sent(&mut admin, alice, Method::POST, &bindings, &bind("e", "ClusterRole", "view")).await.status,
            201
        );
        assert_eq!(
            sent(&mut admin, alice, Method::POST, &bindings, &bind("f", "ClusterRole", "edit")).await.status,
            201,
            "edit is empty yet"
        );
        assert_eq!(
            sent(&mut admin, alice, Method::POST, &bindings, &bind("g", "ClusterRole", "system:node")).await.status,
            403
        );
        server.stop().await;
    });
}

#[test]
fn acting_as_somebody_else_needs_a_rule_for_each_part() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let token = admin.service_account("robot").await;
        let mut robot = server.bearer(&token).await;
        let rules = json!([
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["users"], "resourceNames": ["alice"]},
            {"verbs": ["impersonate"], "apiGroups": [""], "resources": ["groups"], "resourceNames": ["team"]},
            {"verbs": ["impersonate"], "apiGroups": ["authentication.k8s.io"], "resources": ["userextras/scopes"]},
        ]);
        make(&mut admin, "clusterroles", &json!({"metadata": {"name": "actor"}, "rules": rules})).await;
        let subject = json!([{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}]);
        let bound = json!({"metadata": {"name": "actor"}, "roleRef": {"kind": "ClusterRole", "name": "actor"}, "subjects": subject});
        make(&mut admin, "clusterrolebindings", &bound).await;
        let cases: Vec<(Vec<(&str, &str)>, u16)> = vec![
            (vec![("impersonate-user", "alice")], 200),
            (vec![("impersonate-user", "alice"), ("impersonate-group", "team")], 200),
            (vec![("impersonate-user", "alice"), ("impersonate-extra-scopes", "x")], 200),
            (vec![("impersonate-user", "bob")], 403),
            (vec![("impersonate-user", "alice"), ("impersonate-group", "system:masters")], 403),
            (vec![("impersonate-user", "alice"), ("impersonate-group", "team"), ("impersonate-group", "other")], 403),
            (vec![("impersonate-user", "alice"), ("impersonate-extra-other", "x")], 403),
            (vec![("impersonate-user", "alice"), ("impersonate-uid", "7")], 403),
            (vec![("impersonate-user", "system:serviceaccount:default:robot")], 403),
        ];
        for (headers, expected) in cases {
            let mut request = Request::get("/api");
            for (name, value) in &headers {
                request = request.header(*name, *value);
            }
            let answer = read(robot.send(request.body(Full::default()).unwrap()).await).await;
            assert_eq!(answer.status.as_u16(), expected, "{headers:?}");
        }
        server.stop().await;
    });
}

/// Rules of constrained impersonation alone, and what they give: whom with which groups, and what is answered.
#[test]
fn within_constraints_nobody_becomes_more_than_whom_they_name() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let token = admin.service_account("robot").await;
        let mut robot = server.bearer(&token).await;
        let on = |verbs: &[&str], group: &str, resources: &[&str]| json!({"verbs": verbs, "apiGroups": [group], "resources": resources});
        let group = "authentication.k8s.io";
        let modes = ["user-info", "serviceaccount", "arbitrary-node"];
        let lists = modes.map(|mode| format!("impersonate-on:{mode}:list"));
        let rules = json!([
            on(&["impersonate:user-info"], group, &["users", "groups", "userextras/acme.io/scope"]),
            on(&["impersonate:serviceaccount"], group, &["serviceaccounts", "groups"]),
            on(&["impersonate:arbitrary-node"], group, &["nodes", "groups"]),
            on(&lists.each_ref().map(String::as_str), "", &["configmaps", "nodes"]),
        ]);
        make(&mut admin, "clusterroles", &json!({"metadata": {"name": "actor"}, "rules": rules})).await;
        let subject = json!([{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}]);
        let bound = json!({"metadata": {"name": "actor"}, "roleRef": {"kind": "ClusterRole", "name": "actor"}, "subjects": subject});
        make(&mut admin, "clusterrolebindings", &bound).await;
        make(&mut admin, "clusterroles", &role("reader", &["list"], &["configmaps", "secrets"])).await;
        let readers = ["jane", "system:serviceaccount:default:other"];
        for (number, name) in readers.iter().enumerate() {
            make(&mut admin, "clusterrolebindings", &binding(&format!("b{number}"), "ClusterRole", "reader", name))
                .await;
        }
        let (secrets, nodes, all) =
            ("/api/v1/secrets", "/api/v1/nodes?fieldSelector=metadata.name%3Dn1", "/api/v1/configmaps");
        type Case<'a> = (&'a str, Vec<(&'a str, &'a str)>, u16, &'a str);
        let cases: Vec<Case<'_>> = vec![
            (all, vec![("user", "jane")], 200, ""),
            (all, vec![("user", "jane"), ("group", "team"), ("extra-acme.io%2fscope", "x")], 200, ""),
            (secrets, vec![("user", "jane")], 403, "cannot impersonate-on:user-info:list resource"),
            (
                all,
                vec![("user", "jane"), ("group", "system:masters")],
                403,
                "impersonating the system:masters group is not allowed",
            ),
            (
                all,
                vec![("user", "jane"), ("extra-scope", "x")],
                403,
                "impersonating an invalid key in extra is not allowed",
            ),
            (all, vec![("user", "system:serviceaccount:default:other")], 200, ""),
            (
                all,
                vec![("user", "system:serviceaccount:default:other"), ("group", "system:masters")],
                403,
                "cannot impersonate resource",
            ),
            // Of a node the server tells the group, so it is one to the node authorizer; what it may not is its own refusal.
            (nodes, vec![("user", "system:node:n1")], 200, ""),
            (all, vec![("user", "system:node:n1")], 403, "system:node:n1\\\" cannot list resource"),
            (nodes, vec![("user", "system:node:n1"), ("group", "system:masters")], 403, "cannot impersonate resource"),
        ];
        for (path, who, code, words) in cases {
            let mut request = Request::get(path);
            for (name, value) in &who {
                request = request.header(format!("impersonate-{name}"), *value);
            }
            let answer = read(robot.send(request.body(Full::default()).unwrap()).await).await;
            assert_eq!(answer.status.as_u16(), code, "{who:?} {path}: {}", answer.text());
            assert!(answer.text().contains(words) || words.is_empty(), "{who:?} {path}: {}", answer.text());
        }
        server.stop().await;
    });
}

/// A way around is no way around: what a transaction does is asked of both.
#[test]
fn within_constraints_a_transaction_is_what_it_does() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let token = admin.service_account("robot").await;
        let mut robot = server.bearer(&token).await;
        let rules = json!([
            {"verbs": ["impersonate:user-info"], "apiGroups": ["authentication.k8s.io"], "resources": ["users"]},
            {"verbs": ["impersonate-on:user-info:create"], "apiGroups": ["*"], "resources": ["*"]},
        ]);
        make(&mut admin, "clusterroles", &json!({"metadata": {"name": "actor"}, "rules": rules})).await;
        let subject = json!([{"kind": "ServiceAccount", "name": "robot", "namespace": "default"}]);
        let bound = json!({"metadata": {"name": "actor"}, "roleRef": {"kind": "ClusterRole", "name": "actor"}, "subjects": subject});
        make(&mut admin, "clusterrolebindings", &bound).await;
        make(&mut admin, "clusterroles", &role("writer", &["create", "delete"], &["configmaps"])).await;
        make(&mut admin, "clusterrolebindings", &binding("writer", "ClusterRole", "writer", "jane")).await;
        let map = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "default"}});
        let target = json!({"apiVersion": "v1", "kind": "ConfigMap", "namespace": "default", "name": "m"});
        for (operation, code, words) in [
            (json!({"verb": "create", "object": map}), 200, "created"),
            (json!({"verb": "delete", "target": target}), 403, "cannot impersonate-on:user-info:delete resource"),
        ] {
            let body = json!({"kind": "Transaction", "apiVersion": "kontiki.dev/v1", "operations": [operation]});
            let request = Request::post("/apis/kontiki.dev/v1/transactions").header("impersonate-user", "jane");
            let request = request.header(header::CONTENT_TYPE, "application/json");
            let answer = read(robot.send(request.body(Full::new(body.to_string().into())).unwrap()).await).await;
            assert_eq!(answer.status.as_u16(), code, "{}", answer.text());
            assert!(answer.text().contains(words), "{}", answer.text());
        }
        server.stop().await;
    });
}

/// A policy reads its parameters as the server, and tells its author of them.
#[test]
fn who_writes_a_policy_may_read_what_it_reads() {
    const GROUP: &str = "/apis/admissionregistration.k8s.io/v1";
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let rules = json!([{"verbs": ["*"], "apiGroups": ["admissionregistration.k8s.io"], "resources": ["*"]}]);
        make(&mut admin, "clusterroles", &json!({"metadata": {"name": "policies"}, "rules": rules})).await;
        make(&mut admin, "clusterrolebindings", &binding("policies", "ClusterRole", "policies", "writer")).await;
        let about =
            json!({"apiGroups": [""], "apiVersions": ["v1"], "operations": ["CREATE"], "resources": ["configmaps"]});
        let secret = json!({"apiVersion": "v1", "kind": "Secret"});
        let by_name = json!({"namespace": "kube-system", "name": "token", "parameterNotFoundAction": "Allow"});
        let all = json!({"namespace": "kube-system", "selector": {}, "parameterNotFoundAction": "Allow"});
        let writer: (&str, &[&str]) = ("writer", &[]);
        let told = "user &{writer  [system:authenticated] map[]}";
        for (kind, plural, more) in [
            (
                "ValidatingAdmissionPolicy",
                "validatingadmissionpolicies",
                json!({"validations": [{"expression": "true"}]}),
            ),
            (
                "MutatingAdmissionPolicy",
                "mutatingadmissionpolicies",
                json!({
                    "mutations": [{"patchType": "ApplyConfiguration", "applyConfiguration": {"expression": "Object{}"}}], "reinvocationPolicy": "Never",
                }),
            ),
        ] {
            let policies = format!("{GROUP}/{plural}");
            let bindings = format!("{GROUP}/{}policybindings", plural.trim_end_matches("policies"));
            let policy = |name: &str, parameters: &Value| {
                let mut spec = more.clone();
                spec["matchConstraints"] = json!({"resourceRules": [about]});
                spec["paramKind"] = parameters.clone();
                json!({"metadata": {"name": name}, "spec": spec})
            };
            let bound = |name: &str, reference: &Value| {
                let mut spec = json!({"policyName": "p", "paramRef": reference});
                if kind.starts_with("Validating") {
                    spec["validationActions"] = json!(["Warn"]);
                }
                json!({"metadata": {"name": name}, "spec": spec})
            };
            let free = sent(&mut admin, writer, Method::POST, &policies, &policy("free", &Value::Null)).await;
            assert_eq!(free.status, 201, "{}", free.text());
            let refused = sent(&mut admin, writer, Method::POST, &policies, &policy("p", &secret)).await;
            let expected = format!(
                "{kind}.admissionregistration.k8s.io \"p\" is invalid: spec.paramKind: Forbidden: {told} must have \"get\" \
                 permission on all objects of the referenced paramKind (kind=Secret, apiVersion=v1)"
            );
            assert_eq!((refused.status.as_u16(), refused.message()), (422, expected));
            assert_eq!(admin.post(&policies, &policy("p", &secret)).await.status, 201);
            // Who leaves the parameters as they are may change the rest.
            let patch = json!({"spec": {"failurePolicy": "Ignore"}});
            let patched = sent(&mut admin, writer, Method::PATCH, &format!("{policies}/p"), &patch).await;
            assert_eq!(patched.status, 200, "{}", patched.text());
            let refused = sent(&mut admin, writer, Method::POST, &bindings, &bound("b", &by_name)).await;
            let expected = format!("{told} does not have \"get\" permission on the object referenced by paramRef");
            assert!(refused.status == 422 && refused.message().ends_with(&expected), "{}", refused.text());
            let one =
                json!([{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"], "resourceNames": ["token"]}]);
            let one = json!({"metadata": {"name": kind.to_lowercase()}, "rules": one});
            make(&mut admin, "namespaces/kube-system/roles", &one).await;
            let given = binding(&kind.to_lowercase(), "Role", &kind.to_lowercase(), "writer");
            make(&mut admin, "namespaces/kube-system/rolebindings", &given).await;
            let made = sent(&mut admin, writer, Method::POST, &bindings, &bound("b", &by_name)).await;
            assert_eq!(made.status, 201, "{}", made.text());
            let refused = sent(&mut admin, writer, Method::POST, &bindings, &bound("c", &all)).await;
            assert_eq!(refused.status, 422, "{}", refused.text());
            let given = format!("{RBAC}/namespaces/kube-system/rolebindings/{}", kind.to_lowercase());
            assert_eq!(admin.call(Method::DELETE, &given, "").await.status, 200);
        }
        server.stop().await;
    });
}

#[test]
fn what_was_taken_from_the_default_roles_is_back_after_a_restart() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let masters = ("root", &["system:masters"][..]);
        let of = |name: &str| format!("{RBAC}/clusterroles/{name}");
        let gone = json!({"rules": [{"verbs": ["get"], "apiGroups": ["mine"], "resources": ["things"]}]});
        for name in ["system:basic-user", "system:node-problem-detector"] {
            assert_eq!(sent(&mut admin, masters, Method::PATCH, &of(name), &gone).await.status, 200);
        }
        let kept = json!({"metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": "false"}}});
        assert_eq!(
            sent(&mut admin, masters, Method::PATCH, &of("system:node-problem-detector"), &kept).await.status,
            200
        );
        assert_eq!(
            admin.call(Method::DELETE, &format!("{RBAC}/clusterrolebindings/system:discovery"), "").await.status,
            200
        );
        assert_eq!(get(&mut admin, "alice", "/api").await, 403);
        let dir = server.stop().await;
        let server = Running::start_in(dir, "192.0.2.7").await;
        let mut admin = server.admin().await;
        assert_eq!(get(&mut admin, "alice", "/api").await, 200);
        let rules = admin.get(&of("system:basic-user")).await.json()["rules"].clone();
        assert_eq!(rules.as_array().unwrap().len(), 4, "{rules}: what was added, and what was missing");
        assert_eq!(admin.get(&of("system:node-problem-detector")).await.json()["rules"], gone["rules"]);
        let versions = |list: Value| -> Vec<Value> {
            list["items"].as_array().unwrap().iter().map(|role| role["metadata"]["resourceVersion"].clone()).collect()
        };
        let before = versions(admin.get(&format!("{RBAC}/clusterroles")).await.json());
        let dir = server.stop().await;
        let server = Running::start_in(dir, "192.0.2.7").await;
        let after = versions(server.admin().await.get(&format!("{RBAC}/clusterroles")).await.json());
        assert_eq!(before, after, "a start that has nothing to correct writes nothing");
        server.stop().await;
    });
}

#[test]
fn reviews_tell_what_rules_say() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        make(&mut admin, "namespaces/default/roles", &role("reader", &["get"], &["configmaps"])).await;
        make(&mut admin, "namespaces/default/rolebindings", &binding("b", "Role", "reader", "alice")).await;
        let alice = ("alice", &[][..]);
        let path = "/apis/authorization.k8s.io/v1/selfsubjectrulesreviews";
        let told = sent(&mut admin, alice, Method::POST, path, &json!({"spec": {"namespace": "default"}})).await.json();
        let rule = json!({"verbs": ["get"], "apiGroups": [""], "resources": ["configmaps"]});
        assert!(told["status"]["resourceRules"].as_array().unwrap().contains(&rule), "{told}");
        assert_eq!(told["status"]["incomplete"], false);
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let asks =
            json!({"spec": {"resourceAttributes": {"namespace": "default", "verb": "get", "resource": "configmaps"}}});
        let told = sent(&mut admin, alice, Method::POST, path, &asks).await.json();
        let reason = "RBAC: allowed by RoleBinding \"b/default\" of Role \"reader\" to User \"alice\"";
        assert_eq!(told["status"], json!({"allowed": true, "reason": reason}));
        let asks = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "configmaps"}}});
        let told = sent(&mut admin, alice, Method::POST, path, &asks).await.json();
        assert_eq!(told["status"], json!({"allowed": false}));
        server.stop().await;
    });
}

#[test]
fn a_question_is_no_object() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let asked = json!({"verb": "get", "resource": "pods", "namespace": "default"});
        let spec = json!({"user": "jane", "resourceAttributes": asked});
        let all = "/apis/authorization.k8s.io/v1/subjectaccessreviews";
        let local = "/apis/authorization.k8s.io/v1/namespaces/default/localsubjectaccessreviews";
        let table = [
            (all, json!({"spec": spec}), 201, ""),
            (local, json!({"metadata": {"namespace": "default"}, "spec": spec}), 201, ""),
            (
                all,
                json!({"metadata": {"name": "x"}, "spec": spec}),
                422,
                "metadata: Invalid value: {\"name\":\"x\"}: must be empty",
            ),
            (
                local,
                json!({"spec": {"user": "jane", "nonResourceAttributes": {"path": "/", "verb": "get"}}}),
                422,
                "disallowed on this kind of request",
            ),
            (
                local,
                json!({"metadata": {"namespace": "other"}, "spec": spec}),
                400,
                "the namespace of the provided object does not match the namespace sent on the request",
            ),
        ];
        for (path, review, code, message) in table {
            let answer = admin.post(path, &review).await;
            assert_eq!(answer.status, code, "{review}: {}", answer.text());
            assert!(code == 201 || answer.message().ends_with(message), "{}", answer.text());
        }
        server.stop().await;
    });
}

#[test]
fn a_question_has_no_table() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let path = "/apis/authorization.k8s.io/v1/selfsubjectaccessreviews";
        let asks = json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "configmaps"}}}).to_string();
        let table = "application/json;as=Table;v=v1;g=meta.k8s.io";
        let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        let list = "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io";
        let cases = [
            (table.to_owned(), 406, "Status"),
            (format!("{table},application/json"), 201, "SelfSubjectAccessReview"),
            (metadata.to_owned(), 201, "PartialObjectMetadata"),
            (list.to_owned(), 406, "Status"),
        ];
        for (accept, code, kind) in cases {
            let request =
                Request::post(path).header(header::ACCEPT, accept.as_str()).body(Full::new(asks.clone().into()));
            let answer = wire::read(admin.send(request.unwrap()).await).await;
            assert_eq!((answer.status.as_u16(), &answer.json()["kind"]), (code, &json!(kind)), "{accept}");
        }
        server.stop().await;
    });
}

/// Each would show or touch another namespace, were its boundary anything but the path that was authorized.
#[test]
fn nothing_leaks_from_another_namespace() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        for namespace in ["mine", "theirs"] {
            assert_eq!(admin.post("/api/v1/namespaces", &json!({"metadata": {"name": namespace}})).await.status, 201);
            let map = json!({"metadata": {"name": format!("in-{namespace}"), "labels": {"app": "x"}}});
            assert_eq!(admin.post(&format!("/api/v1/namespaces/{namespace}/configmaps"), &map).await.status, 201);
        }
        make(&mut admin, "namespaces/mine/roles", &role("all", &["*"], &["*"])).await;
        make(&mut admin, "namespaces/mine/rolebindings", &binding("all", "Role", "all", "alice")).await;
        let mine = "/api/v1/namespaces/mine/configmaps";
        let theirs = admin.get("/api/v1/namespaces/theirs/configmaps/in-theirs").await.json();
        let uid = theirs["metadata"]["uid"].as_str().unwrap().to_owned();
        let seen = |answer: &Answer| answer.text().contains(&uid);
        for path in [
            format!("{mine}?fieldSelector=metadata.namespace%3Dtheirs"),
            format!("{mine}?fieldSelector=metadata.name%3Din-theirs"),
            format!("{mine}?labelSelector=app%3Dx"),
            format!("{mine}?namespace=theirs"),
            format!("{mine}/in-theirs"),
            format!("{mine}/..%2F..%2Ftheirs%2Fconfigmaps%2Fin-theirs"),
            format!(
                "{mine}?watch=true&timeoutSeconds=1&sendInitialEvents=true&resourceVersionMatch=NotOlderThan&allowWatchBookmarks=true"
            ),
            format!("{mine}?watch=true&timeoutSeconds=1&resourceVersion=1&fieldSelector=metadata.namespace%3Dtheirs"),
        ] {
            // A watch takes its connection with it.
            let answer = sent(&mut server.admin().await, ("alice", &[]), Method::GET, &path, &Value::Null).await;
            assert!(answer.status != 403 && !seen(&answer), "{path}: {} {}", answer.status, answer.text());
        }
        for path in [
            "/api/v1/configmaps",
            "/api/v1/configmaps?fieldSelector=metadata.namespace%3Dmine",
            "/api/v1/configmaps?watch=true",
            "/api/v1/watch/configmaps",
            "/api/v1/watch/namespaces/theirs/configmaps",
            "/api/v1/namespaces/theirs/configmaps",
            "/api/v1/namespaces/theirs/configmaps/in-theirs",
            "//api/v1//namespaces/theirs/configmaps",
            "/api/v1/namespaces/mine/../theirs/configmaps",
            "/api/v1/namespaces/%74heirs/configmaps",
            "/api/v1/namespaces/mine%2F..%2Ftheirs/configmaps",
        ] {
            let answer = sent(&mut server.admin().await, ("alice", &[]), Method::GET, path, &Value::Null).await;
            assert!(
                matches!(answer.status.as_u16(), 403 | 404) && !seen(&answer),
                "{path}: {} {}",
                answer.status,
                answer.text()
            );
        }
        // A continue token of another scope.
        let page = admin.get("/api/v1/configmaps?limit=1").await.json();
        let token = page["metadata"]["continue"].as_str().unwrap().to_owned();
        let path = format!("{mine}?limit=5&continue={token}");
        let answer = sent(&mut admin, ("alice", &[]), Method::GET, &path, &Value::Null).await;
        assert!(!seen(&answer), "{}", answer.text());
        let path = format!("{mine}?labelSelector=app%3Dx&fieldSelector=metadata.namespace%21%3Dmine");
        sent(&mut admin, ("alice", &[]), Method::DELETE, &path, &Value::Null).await;
        assert_eq!(sent(&mut admin, ("alice", &[]), Method::DELETE, mine, &Value::Null).await.status, 200);
        assert_eq!(admin.get("/api/v1/namespaces/theirs/configmaps/in-theirs").await.status, 200);
        assert_eq!(admin.get(&format!("{mine}/in-mine")).await.status, 404);
        server.stop().await;
    });
}

#[test]
fn a_bootstrap_token_is_its_secrets() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let secret = json!({
            "metadata": {"name": "bootstrap-token-abcdef"},
            "type": "bootstrap.kubernetes.io/token",
            "stringData": {"token-id": "abcdef", "token-secret": "0123456789abcdef", "usage-bootstrap-authentication": "true",
                           "auth-extra-groups": "system:bootstrappers:here"},
        });
        let secrets = "/api/v1/namespaces/kube-system/secrets";
        let mut bearer = server.bearer("abcdef.0123456789abcdef").await;
        assert_eq!(bearer.get("/api").await.status, 401);
        assert_eq!(admin.post(secrets, &secret).await.status, 201);
        let me = bearer.post("/apis/authentication.k8s.io/v1/selfsubjectreviews", &json!({})).await.json();
        let groups = ["system:bootstrappers", "system:bootstrappers:here", "system:authenticated"];
        assert_eq!(me["status"]["userInfo"], json!({"username": "system:bootstrap:abcdef", "groups": groups}));
        assert_eq!(server.bearer("abcdef.0123456789abcdee").await.get("/api").await.status, 401);
        let review = json!({"spec": {"token": "abcdef.0123456789abcdef"}});
        let told = admin.post("/apis/authentication.k8s.io/v1/tokenreviews", &review).await.json();
        assert_eq!(told["status"]["user"]["username"], "system:bootstrap:abcdef");
        assert_eq!(admin.call(Method::DELETE, &format!("{secrets}/bootstrap-token-abcdef"), "").await.status, 200);
        assert_eq!(bearer.get("/api").await.status, 401);
        server.stop().await;
    });
}

#[test]
fn a_token_is_good_for_its_audience_and_as_long_as_what_it_is_bound_to() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        admin.service_account("robot").await;
        let path = "/api/v1/namespaces/default/serviceaccounts/robot/token";
        let issue = |spec: Value| json!({"spec": spec});
        let other = admin.post(path, &issue(json!({"audiences": ["elsewhere"]}))).await.json();
        let other = other["status"]["token"].as_str().unwrap().to_owned();
        assert_eq!(server.bearer(&other).await.get("/api").await.status, 401);
        let review = |audience: &str| json!({"spec": {"token": other, "audiences": [audience]}});
        let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
        assert_eq!(admin.post(reviews, &review("elsewhere")).await.json()["status"]["authenticated"], true);
        assert!(admin.post(reviews, &review("nowhere")).await.json()["status"]["authenticated"].is_null());
        let secrets = "/api/v1/namespaces/default/secrets";
        for (kind, collection, object) in [
            ("Secret", secrets, json!({"metadata": {"name": "held"}})),
            ("Node", "/api/v1/nodes", json!({"metadata": {"name": "held"}})),
        ] {
            let made = admin.post(collection, &object).await.json();
            let bound = json!({"apiVersion": "v1", "kind": kind, "name": "held", "uid": made["metadata"]["uid"]});
            let issued = admin.post(path, &issue(json!({"boundObjectRef": bound}))).await.json();
            let mut robot = server.bearer(issued["status"]["token"].as_str().unwrap()).await;
            assert_eq!(robot.get("/api").await.status, 200, "{kind}");
            assert_eq!(admin.call(Method::DELETE, &format!("{collection}/held"), "").await.status, 200);
            assert_eq!(robot.get("/api").await.status, 401, "{kind}");
            // Another object of the same name does not revive it.
            assert_eq!(admin.post(collection, &object).await.status, 201);
            assert_eq!(robot.get("/api").await.status, 401, "{kind}");
        }
        server.stop().await;
    });
}
