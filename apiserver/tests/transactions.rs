//! Transactions: many objects or none, at consecutive revisions, each as its own request would have been.
#![allow(clippy::unwrap_used)]
mod wire;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use bytes::Bytes;
use futures::future::join_all;
use http::{Method, Request};
use http_body_util::{BodyExt as _, Full};
use kontiki_apiserver::encryption::Encryption;
use serde_json::{Value, json};

use wire::{Answer, Client, Running};

const PATH: &str = "/apis/kontiki.dev/v1/transactions";
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

async fn transact(client: &mut Client, operations: &[Value]) -> Answer {
    let body = json!({"kind": "Transaction", "apiVersion": "kontiki.dev/v1", "operations": operations});
    client.post(PATH, &body).await
}

fn map(name: &str, data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": data})
}

fn apply(object: Value) -> Value {
    json!({"verb": "apply", "object": object})
}

fn target(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name})
}

fn results(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, 200, "{}", answer.text());
    let all = answer.json()["results"].as_array().unwrap().clone();
    all.iter().map(|one| one["result"].as_str().unwrap().to_owned()).collect()
}

fn revision(object: &Value) -> u64 {
    object.pointer("/metadata/resourceVersion").unwrap().as_str().unwrap().parse().unwrap()
}

/// Code, the operation that is to blame, and the message.
fn failure(answer: &Answer) -> (u16, String, String) {
    let status = answer.json();
    assert_eq!(status["kind"], "Status", "{status}");
    let causes = status.pointer("/details/causes").and_then(Value::as_array).cloned().unwrap_or_default();
    let blamed = causes.iter().find(|cause| cause["reason"] == "TransactionOperation");
    let blamed = blamed.map_or("", |cause| cause["field"].as_str().unwrap()).to_owned();
    (answer.status.as_u16(), blamed, answer.message())
}

#[test]
fn objects_that_need_each_other_are_created_together() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let before = server.log.revision();
        let in_shop = |kind: &str, version: &str, name: &str, rest: Value| {
            let mut object = rest;
            object["apiVersion"] = version.into();
            object["kind"] = kind.into();
            object["metadata"] = json!({"name": name, "namespace": "shop"});
            apply(object)
        };
        let pod = json!({"spec": {"serviceAccountName": "web", "containers": [{"name": "c", "image": "i"}]}});
        let port = json!({"spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        let operations = [
            apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "shop"}})),
            in_shop("ServiceAccount", "v1", "web", json!({})),
            in_shop("Pod", "v1", "p", pod),
            in_shop("Service", "v1", "one", port.clone()),
            in_shop("Service", "v1", "two", port),
        ];
        let answer = transact(&mut admin, &operations).await;
        assert_eq!(results(&answer), ["created"; 5]);
        let objects: Vec<Value> =
            answer.json()["results"].as_array().unwrap().iter().map(|one| one["object"].clone()).collect();
        assert_eq!(revision(&objects[0]), before + 1);
        let stored = admin.get("/api/v1/namespaces/shop/pods/p").await.json();
        assert_eq!(stored, objects[2], "the answer is what is stored");
        let ports: Vec<_> = objects[3..].iter().map(|one| one.pointer("/spec/ports/0/nodePort").unwrap()).collect();
        let addresses: Vec<_> = objects[3..].iter().map(|one| one.pointer("/spec/clusterIP").unwrap()).collect();
        assert!(ports[0] != ports[1] && addresses[0] != addresses[1], "{ports:?} {addresses:?}");
        // One entry: consecutive revisions, one author, one request.
        let events: Vec<_> = (before + 1..=server.log.revision()).map(|at| server.log.event(at).unwrap()).collect();
        assert_eq!(events.len(), 5 + 6, "objects, two addresses and what tells of them, two ports");
        assert!(events.iter().all(|event| event.index == events[0].index && event.author == events[0].author));
        assert_eq!((events[0].author.verb.as_str(), events[0].author.user.as_str()), ("transact", "kubernetes-admin"));
        assert_eq!(revision(&answer.json()), objects.iter().map(revision).max().unwrap());
        server.stop().await;
    });
}

#[test]
fn one_that_is_refused_leaves_nothing_of_the_others() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        admin.post(MAPS, &map("there", json!({}))).await;
        let good = || apply(map("good", json!({"k": "v"})));
        let cases = [
            (apply(map("Bad_Name", json!({}))), 422, "a lowercase RFC 1123 subdomain"),
            (json!({"verb": "create", "object": map("there", json!({}))}), 409, "already exists"),
            (json!({"verb": "delete", "target": target("nobody")}), 404, "not found"),
            (json!({"verb": "check", "target": target("nobody")}), 404, "not found"),
            (
                json!({"verb": "delete", "target": target("there"), "preconditions": {"uid": "x"}}),
                409,
                "the UID in the precondition (x) does not match",
            ),
            (json!({"verb": "patch", "target": target("there"), "patch": {"data": {"a": 1}}}), 422, "unable to parse"),
            (
                json!({"verb": "update", "object": {"apiVersion": "v1", "kind": "ConfigMap",
                    "metadata": {"name": "there", "resourceVersion": "1"}}}),
                409,
                "has been modified",
            ),
            (
                apply(json!({"apiVersion": "v1", "kind": "Nonsense", "metadata": {"name": "n"}})),
                404,
                "no matches for kind",
            ),
            (
                apply(
                    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "nowhere"}}),
                ),
                404,
                "namespaces \"nowhere\" not found",
            ),
        ];
        let before = server.log.revision();
        for (bad, code, why) in cases {
            let answer = transact(&mut admin, &[good(), bad.clone()]).await;
            let (told, blamed, message) = failure(&answer);
            let of_patch = code == 422 && bad["verb"] == "patch";
            assert!(told == code || of_patch, "{bad}: {message}");
            assert_eq!(blamed, "operations[1]", "{message}");
            assert!(message.contains(why) || of_patch, "{message}");
        }
        assert_eq!(server.log.revision(), before, "nothing was written");
        assert_eq!(admin.get(&format!("{MAPS}/good")).await.status, 404);
        server.stop().await;
    });
}

#[test]
fn what_is_no_transaction_is_refused() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let cases = [
            (json!({"kind": "Transaction", "apiVersion": "kontiki.dev/v1"}), 400, "missing field `operations`"),
            (
                json!({"kind": "Transaction", "apiVersion": "v1", "operations": [{"verb": "check"}]}),
                400,
                "kontiki.dev/v1",
            ),
            (json!({"kind": "Transaction", "apiVersion": "kontiki.dev/v1", "operations": []}), 400, "Required value"),
            (
                json!(["Transaction", "kontiki.dev/v1", "default", []]),
                400,
                "json: cannot unmarshal array into Go value of type v1.Transaction",
            ),
        ];
        for (body, code, why) in cases {
            let answer = admin.post(PATH, &body).await;
            assert!(answer.status == code && answer.message().contains(why), "{}", answer.text());
        }
        let binding = json!({
            "apiVersion": "v1", "kind": "Binding", "metadata": {"name": "p"}, "target": {"kind": "Node", "name": "n"},
        });
        let cases = [
            (vec![json!({"verb": "frob"})], 400, "verb: Unsupported value: \"frob\": supported values: \"apply\","),
            (vec![json!(["create", map("a", json!({}))])], 400, "cannot unmarshal array into Go value"),
            (vec![json!({"verb": "apply", "object": map("a", json!({})), "frob": 1})], 400, "unknown field `frob`"),
            (vec![json!({"verb": "apply"})], 400, "apply takes an object"),
            (vec![json!({"verb": "delete", "object": map("a", json!({}))})], 400, "delete takes a target"),
            (vec![json!({"verb": "patch", "target": target("a")})], 400, "patch: Required value"),
            (
                vec![json!({"verb": "patch", "target": target("a"), "patch": {}, "patchType": "text/plain"})],
                415,
                "Unsupported Media Type",
            ),
            (
                vec![apply(map("a", json!({}))), apply(map("a", json!({})))],
                400,
                "operations[1] and operations[0] both write",
            ),
            (vec![apply(map("", json!({})))], 400, "metadata.name: Required value"),
            // An act on another object, which is stored nowhere.
            (vec![json!({"verb": "create", "object": binding})], 405, "the server does not allow this method"),
            (
                (0..=1000).map(|n| apply(map(&format!("m{n}"), json!({})))).collect(),
                413,
                "1001 operations; the limit is 1000",
            ),
            (vec![apply(map("a", json!({"k": "x".repeat(9 << 20)})))], 413, "limit is 8388608"),
        ];
        for (operations, code, why) in cases {
            let answer = transact(&mut admin, &operations).await;
            let text: String = answer.text().chars().take(300).collect();
            assert!(answer.status == code && answer.message().contains(why), "{why}: {} {text}", answer.status);
        }
        server.stop().await;
    });
}

/// A definition of Gadgets whose schema has a default and a rule.
fn gadgets(names: Value, columns: Value) -> Value {
    let size = json!({"type": "integer", "default": 3, "x-kubernetes-validations": [{"rule": "self < 10"}]});
    let schema = json!({"type": "object", "properties": {"spec": {
        "type": "object", "default": {}, "properties": {"size": size}}}});
    let version = json!({
        "name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
        "additionalPrinterColumns": columns,
    });
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "metadata": {"name": "gadgets.ap.io"},
        "spec": {"group": "ap.io", "scope": "Namespaced", "names": names, "versions": [version]},
    })
}

fn gadget(name: &str, spec: Value) -> Value {
    json!({"apiVersion": "ap.io/v1", "kind": "Gadget", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn a_definition_and_its_objects_are_one_transaction() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let names = json!({"kind": "Gadget", "plural": "gadgets", "shortNames": ["gd"]});
        let both = |spec: Value| [apply(gadgets(names.clone(), json!([]))), apply(gadget("g", spec))];
        let before = server.log.revision();
        // What the definition says of them holds for its objects, and nothing is left where one is refused.
        let (code, blamed, message) = failure(&transact(&mut admin, &both(json!({"size": 10}))).await);
        assert_eq!((code, blamed.as_str()), (422, "operations[1]"), "{message}");
        assert!(message.contains("failed rule: self < 10"), "{message}");
        let (code, _, message) = failure(&transact(&mut admin, &[both(json!({})), both(json!({}))].concat()).await);
        assert!(code == 400 && message.contains("operations[2] and operations[0] both write"), "{message}");
        let mut turned = both(json!({}));
        turned.reverse();
        let (code, blamed, message) = failure(&transact(&mut admin, &turned).await);
        assert_eq!((code, blamed.as_str()), (404, "operations[0]"), "{message}");
        let body = json!({"kind": "Transaction", "apiVersion": "kontiki.dev/v1", "operations": both(json!({}))});
        let tried = admin.post(&format!("{PATH}?dryRun=All"), &body).await;
        assert_eq!(results(&tried), ["created"; 2]);
        assert_eq!(server.log.revision(), before);

        let answer = transact(&mut admin, &both(json!({}))).await;
        assert_eq!(results(&answer), ["created"; 2]);
        let told = &answer.json()["results"];
        let accepted = told[0].pointer("/object/status/acceptedNames/shortNames").cloned();
        assert_eq!(accepted, Some(json!(["gd"])), "the definition is served from its first revision");
        assert_eq!(told[1].pointer("/object/spec"), Some(&json!({"size": 3})));
        // Served when it is answered, as it was told.
        let path = "/apis/ap.io/v1/namespaces/default/gadgets/g";
        assert_eq!(admin.get(path).await.json(), told[1]["object"]);
        let definition = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/gadgets.ap.io";
        assert_eq!(admin.get(definition).await.json(), told[0]["object"]);
        let events: Vec<_> =
            (before + 1..=revision(&told[1]["object"])).map(|at| server.log.event(at).unwrap()).collect();
        assert!(events.iter().all(|event| event.index == events[0].index), "one entry");
        assert_eq!(results(&transact(&mut admin, &both(json!({}))).await), ["unchanged"; 2]);
        server.stop().await;
    });
}

#[test]
fn what_a_definition_becomes_counts_for_what_comes_after_it() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let names = json!({"kind": "Gadget", "plural": "gadgets"});
        let definition = gadgets(names.clone(), json!([]));
        let widgets = json!({"kind": "Widget", "plural": "widgets", "shortNames": ["gd"]});
        let mut other = gadgets(widgets, json!([]));
        other["metadata"]["name"] = "widgets.ap.io".into();
        assert_eq!(results(&transact(&mut admin, &[apply(other), apply(definition.clone())]).await), ["created"; 2]);
        // A stricter schema, and an object that it refuses.
        let mut stricter = definition;
        let rules = "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/size/x-kubernetes-validations";
        *stricter.pointer_mut(rules).unwrap() = json!([{"rule": "self < 5"}]);
        let both = |size: u64| [apply(stricter.clone()), apply(gadget("g", json!({"size": size})))];
        let (code, blamed, message) = failure(&transact(&mut admin, &both(6)).await);
        assert_eq!((code, blamed.as_str()), (422, "operations[1]"), "{message}");
        assert!(message.contains("failed rule: self < 5"), "{message}");
        assert_eq!(results(&transact(&mut admin, &both(4)).await), ["configured", "created"]);
        // Names that another definition has are not had.
        let mut late = gadgets(json!({"kind": "Gizmo", "plural": "gizmos", "shortNames": ["gd"]}), json!([]));
        late["metadata"]["name"] = "gizmos.ap.io".into();
        let gizmo = json!({"apiVersion": "ap.io/v1", "kind": "Gizmo", "metadata": {"name": "z"}});
        let (code, blamed, message) = failure(&transact(&mut admin, &[apply(late), apply(gizmo)]).await);
        assert_eq!((code, blamed.as_str()), (404, "operations[1]"), "{message}");
        let why = "no matches for kind \"Gizmo\" in version \"ap.io/v1\": its definition \"gizmos.ap.io\" is not served: \"gd\" is already in use";
        assert!(message.ends_with(why), "{message}");
        // Nor is a kind of another definition taken for one's own.
        let mut same = gadgets(json!({"kind": "Gadget", "plural": "gizmos"}), json!([]));
        same["metadata"]["name"] = "gizmos.ap.io".into();
        let (code, blamed, message) =
            failure(&transact(&mut admin, &[apply(same), apply(gadget("i", json!({})))]).await);
        assert_eq!((code, blamed.as_str()), (404, "operations[1]"), "{message}");
        assert!(message.contains("its definition \"gizmos.ap.io\" is not served"), "{message}");
        // One that goes takes nothing new.
        let crd = json!({"apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition", "name": "gadgets.ap.io"});
        let going = [json!({"verb": "delete", "target": crd}), apply(gadget("h", json!({})))];
        let (code, blamed, message) = failure(&transact(&mut admin, &going).await);
        assert_eq!((code, blamed.as_str()), (405, "operations[1]"), "{message}");
        server.stop().await;
    });
}

#[test]
fn a_namespace_comes_with_its_account_and_its_bounds() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let within = |api_version: &str, kind: &str, name: &str, spec: Value| {
            let metadata = json!({"name": name, "namespace": "aq"});
            apply(json!({"apiVersion": api_version, "kind": kind, "metadata": metadata, "spec": spec}))
        };
        let namespace = apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "aq"}}));
        let pod = |name: &str| within("v1", "Pod", name, json!({"containers": [{"name": "c", "image": "i"}]}));
        let quota = within("v1", "ResourceQuota", "q", json!({"hard": {"pods": "1", "count/configmaps": "5"}}));
        let all = [namespace.clone(), quota.clone(), pod("one"), pod("two")];
        let (code, blamed, message) = failure(&transact(&mut admin, &all).await);
        assert_eq!((code, blamed.as_str()), (403, "operations[3]"), "{message}");
        assert!(message.contains("exceeded quota: q, requested: pods=1, used: pods=1, limited: pods=1"), "{message}");
        let answer = transact(&mut admin, &all[..3]).await;
        assert_eq!(results(&answer), ["created"; 3]);
        let told = answer.json()["results"].clone();
        let used = json!({"pods": "1", "count/configmaps": "0"});
        assert_eq!(told[1].pointer("/object/status/used"), Some(&used));
        assert_eq!(told[2].pointer("/object/spec/serviceAccountName"), Some(&json!("default")));
        assert_eq!(admin.get("/api/v1/namespaces/aq/resourcequotas/q").await.json(), told[1]["object"]);
        // One that is there already has the account if it has it.
        let (code, _, message) = failure(&transact(&mut admin, &[pod("two")]).await);
        assert!(code == 403 && message.contains("serviceaccount \"default\" not found"), "{message}");
        let account = json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": "default"}});
        assert_eq!(admin.post("/api/v1/namespaces/aq/serviceaccounts", &account).await.status, 201);
        // Bounds that are changed count what is there.
        let wider = within("v1", "ResourceQuota", "q", json!({"hard": {"pods": "2"}}));
        let (code, blamed, message) = failure(&transact(&mut admin, &[wider.clone(), pod("two"), pod("three")]).await);
        assert_eq!((code, blamed.as_str()), (403, "operations[2]"), "{message}");
        assert_eq!(results(&transact(&mut admin, &[wider, pod("two")]).await), ["configured", "created"]);
        // No namespace brings other accounts.
        let spec = json!({"serviceAccountName": "x", "containers": [{"name": "c", "image": "i"}]});
        let mut elsewhere = within("v1", "Pod", "p", spec);
        elsewhere["object"]["metadata"]["namespace"] = "ar".into();
        let mut namespace = namespace;
        namespace["object"]["metadata"]["name"] = "ar".into();
        let (code, _, message) = failure(&transact(&mut admin, &[namespace, elsewhere]).await);
        assert!(code == 403 && message.contains("serviceaccount \"x\" not found"), "{message}");
        server.stop().await;
    });
}

#[test]
fn many_objects_fit() {
    run(async {
        const MANY: usize = 1000;
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let operations: Vec<_> = (0..MANY).map(|n| apply(map(&format!("m{n}"), json!({"k": "v"})))).collect();
        assert_eq!(results(&transact(&mut admin, &operations).await), vec!["created"; MANY]);
        assert_eq!(results(&transact(&mut admin, &operations).await), vec!["unchanged"; MANY]);
        server.stop().await;
    });
}

#[test]
fn apply_means_what_kubectl_means_by_it() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let first = transact(&mut admin, &[apply(map("m", json!({"a": "1", "b": "2"})))]).await;
        assert_eq!(results(&first), ["created"]);
        let stored = admin.get(&format!("{MAPS}/m")).await.json();
        let expected = "{\"apiVersion\":\"v1\",\"data\":{\"a\":\"1\",\"b\":\"2\"},\"kind\":\"ConfigMap\",\
                        \"metadata\":{\"annotations\":{},\"name\":\"m\",\"namespace\":\"default\"}}\n";
        assert_eq!(stored.pointer("/metadata/annotations").unwrap()[APPLIED], expected);
        // Somebody else adds a member; it stays. One that is said no more goes.
        let patch = Request::patch(format!("{MAPS}/m")).header("content-type", "application/merge-patch+json");
        let patched = admin.send(patch.body(Full::new(Bytes::from(r#"{"data":{"other":"x"}}"#))).unwrap()).await;
        assert_eq!(patched.status(), 200);
        patched.into_body().collect().await.unwrap();
        let second = transact(&mut admin, &[apply(map("m", json!({"a": "9"})))]).await;
        assert_eq!(results(&second), ["configured"]);
        assert_eq!(admin.get(&format!("{MAPS}/m")).await.json()["data"], json!({"a": "9", "other": "x"}));
        let before = server.log.revision();
        assert_eq!(results(&transact(&mut admin, &[apply(map("m", json!({"a": "9"})))]).await), ["unchanged"]);
        assert_eq!(server.log.revision(), before);
        server.stop().await;
    });
}

#[test]
fn a_dry_run_says_what_would_be_and_writes_nothing() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let before = server.log.revision();
        let operations = [
            apply(json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "dry"}})),
            apply(json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "m", "namespace": "dry"}})),
        ];
        let body = json!({"kind": "Transaction", "apiVersion": "kontiki.dev/v1", "operations": operations});
        let answer = admin.post(&format!("{PATH}?dryRun=All"), &body).await;
        assert_eq!(results(&answer), ["created", "created"]);
        let refused = admin.post(&format!("{PATH}?dryRun=Some"), &body).await;
        assert_eq!(refused.status, 422, "{}", refused.text());
        assert_eq!(server.log.revision(), before);
        server.stop().await;
    });
}

#[test]
fn every_operation_needs_the_right_to_it() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let token = admin.service_account("robot").await;
        let mut robot = server.bearer(&token).await;
        let before = server.log.revision();
        for operation in [
            apply(map("m", json!({}))),
            json!({"verb": "check", "target": target("kube-root-ca.crt")}),
            json!({"verb": "delete", "target": target("m")}),
        ] {
            let answer = transact(&mut robot, &[operation]).await;
            let (code, blamed, message) = failure(&answer);
            assert_eq!((code, blamed.as_str()), (403, "operations[0]"), "{message}");
            assert!(message.contains("User \"system:serviceaccount:default:robot\" cannot"), "{message}");
        }
        let mut nobody = server.client(None).await;
        assert_eq!(transact(&mut nobody, &[apply(map("m", json!({})))]).await.status, 403);
        assert_eq!(server.log.revision(), before);
        server.stop().await;
    });
}

#[test]
fn an_address_passes_from_one_service_to_another() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let service = |name: &str| {
            json!({"apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
                "spec": {"type": "NodePort", "ports": [{"port": 80, "nodePort": 30123}]}})
        };
        assert_eq!(results(&transact(&mut admin, &[apply(service("old"))]).await), ["created"]);
        let old = json!({"verb": "delete", "target": {"apiVersion": "v1", "kind": "Service", "name": "old"}});
        let taken = transact(&mut admin, &[apply(service("new")), old.clone()]).await;
        assert_eq!(failure(&taken).0, 422, "it is free only behind the deletion");
        assert_eq!(results(&transact(&mut admin, &[old, apply(service("new"))]).await), ["deleted", "created"]);
        let third = transact(&mut admin, &[apply(service("third"))]).await;
        assert_eq!(failure(&third).0, 422, "the port is held");
        server.stop().await;
    });
}

#[test]
fn checks_and_preconditions_hold_when_all_of_it_happens() {
    run(async {
        const WRITERS: usize = 12;
        let server = Running::start().await;
        let mut admin = server.admin().await;
        admin.post(MAPS, &map("lock", json!({"owner": "nobody"}))).await;
        admin.post(MAPS, &map("count", json!({"n": "0"}))).await;
        // Each reads both, and writes both only if nobody else did: what is counted is never lost.
        let writers = (0..WRITERS).map(|writer| {
            let server = &server;
            async move {
                let mut client = server.admin().await;
                for _ in 0..500 {
                    let lock = client.get(&format!("{MAPS}/lock")).await.json();
                    let count = client.get(&format!("{MAPS}/count")).await.json();
                    let n: usize = count.pointer("/data/n").unwrap().as_str().unwrap().parse().unwrap();
                    let at = |object: &Value| json!({"resourceVersion": revision(object).to_string()});
                    let operations = [
                        json!({"verb": "patch", "target": target("lock"), "preconditions": at(&lock),
                            "patch": {"data": {"owner": format!("w{writer}")}}}),
                        json!({"verb": "patch", "target": target("count"), "preconditions": at(&count),
                            "patch": {"data": {"n": (n + 1).to_string()}}}),
                    ];
                    let answer = transact(&mut client, &operations).await;
                    if answer.status == 200 {
                        return;
                    }
                    assert_eq!(answer.status, 409, "{}", answer.text());
                }
                panic!("writer {writer} never came through");
            }
        });
        join_all(writers).await;
        assert_eq!(admin.get(&format!("{MAPS}/count")).await.json()["data"]["n"], WRITERS.to_string());
        // Without preconditions it is the server that tries again.
        let patches = (0..WRITERS).map(|writer| {
            let server = &server;
            async move {
                let mut client = server.admin().await;
                let patch = |name: &str| {
                    json!({"verb": "patch", "target": target(name), "patch": {"data": {format!("w{writer}"): "x"}}})
                };
                results(&transact(&mut client, &[patch("lock"), patch("count")]).await)
            }
        });
        assert!(join_all(patches).await.iter().all(|one| *one == ["configured", "configured"]));
        assert_eq!(admin.get(&format!("{MAPS}/lock")).await.json()["data"].as_object().unwrap().len(), WRITERS + 1);
        server.stop().await;
    });
}

#[test]
fn what_a_quota_renews_is_to_the_other_operations_as_it_was() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let before = revision(&admin.get("/api/v1/namespaces/default").await.json());
        let quota = |name: &str| {
            apply(
                json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "spec": {"hard": {"pods": "5"}}}),
            )
        };
        let namespace = json!({"apiVersion": "v1", "kind": "Namespace", "name": "default"});
        let unchanged = |at: u64| json!({"verb": "check", "target": namespace, "preconditions": {"resourceVersion": at.to_string()}});
        let answer = transact(&mut admin, &[quota("q"), unchanged(before), quota("r")]).await;
        assert_eq!(results(&answer), ["created", "unchanged", "created"]);
        let after = revision(&admin.get("/api/v1/namespaces/default").await.json());
        assert!(after > before);
        assert_eq!(revision(&answer.json()["results"][1]["object"]), after, "as it is from now on");
        // Written for another reason, it is written once.
        let labelled = json!({"verb": "patch", "target": namespace, "preconditions": {"resourceVersion": after.to_string()},
            "patch": {"metadata": {"labels": {"a": "b"}}}});
        for operations in [[quota("s"), labelled.clone()], [labelled, quota("t")]] {
            let mut operations = operations;
            let now = revision(&admin.get("/api/v1/namespaces/default").await.json());
            operations.iter_mut().filter(|one| one["verb"] == "patch").for_each(|patch| {
                patch["preconditions"]["resourceVersion"] = now.to_string().into();
                patch["patch"]["metadata"]["labels"]["a"] = now.to_string().into();
            });
            let answer = transact(&mut admin, &operations).await;
            results(&answer);
            let is = admin.get("/api/v1/namespaces/default").await.json();
            assert_eq!(is["metadata"]["labels"]["a"], now.to_string());
            assert_eq!(server.log.event(revision(&is)).unwrap().previous.as_ref().unwrap().revision, now);
        }
        server.stop().await;
    });
}

#[test]
fn a_watch_sees_all_of_it_at_consecutive_revisions() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let from = server.log.revision();
        let operations: Vec<_> = (0..5).map(|n| apply(map(&format!("m{n}"), json!({})))).collect();
        results(&transact(&mut admin, &operations).await);
        let path = format!("{MAPS}?watch=true&resourceVersion={from}&timeoutSeconds=1");
        let told = admin.call(Method::GET, &path, "").await.text();
        let told: Vec<Value> = told.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        let revisions: Vec<_> = told.iter().map(|event| revision(&event["object"])).collect();
        assert_eq!(revisions, (from + 1..=from + 5).collect::<Vec<_>>());
        server.stop().await;
    });
}

#[test]
fn all_of_a_transaction_is_encrypted_and_written_again_when_the_key_changes() {
    run(async {
        let configuration = |keys: &[u8]| {
            let key = |byte: &u8| json!({"name": format!("k{byte}"), "secret": STANDARD.encode([*byte; 32])});
            let keys: Vec<Value> = keys.iter().map(key).collect();
            let rule = json!({"resources": ["secrets"], "providers": [{"secretbox": {"keys": keys}}]});
            let kind = "EncryptionConfiguration";
            json!({"apiVersion": "apiserver.config.k8s.io/v1", "kind": kind, "resources": [rule]}).to_string()
        };
        let encryption = Encryption::new(&configuration(&[1])).unwrap();
        let server = Running::start_configured(|log, _| log.seal = Some(encryption.clone())).await;
        let mut admin = server.admin().await;
        let secret = |name: &str| json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"password": "hunter2"}});
        let operations = [apply(secret("one")), apply(map("open", json!({}))), apply(secret("two"))];
        assert_eq!(results(&transact(&mut admin, &operations).await), ["created", "created", "created"]);
        assert_eq!(results(&transact(&mut admin, &operations).await), ["unchanged", "unchanged", "unchanged"]);
        let stands = async || {
            let census = server.log.seal_census().await.unwrap();
            (census.current, census.outdated)
        };
        assert_eq!(stands().await, (2, 0));
        encryption.replace(&configuration(&[2, 1])).unwrap();
        assert_eq!(stands().await, (0, 2));
        assert_eq!(results(&transact(&mut admin, &operations).await), ["configured", "unchanged", "configured"]);
        assert_eq!(stands().await, (2, 0));
    });
}
