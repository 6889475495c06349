//! Writes that meet: contention on one object, on one pool of values, and with the end of a namespace.
#![allow(clippy::unwrap_used)]

mod client;

use std::collections::BTreeSet;

use client::{Answer, Server};
use futures::future::join_all;
use http::{HeaderName, header};
use kontiki_kinds::KINDS;
use serde_json::{Value, json};

#[tokio::test(flavor = "multi_thread")]
async fn patches_of_one_object_all_count() {
    const PATCHES: usize = 24;
    let server = Server::start().await;
    let map = || server.on("ConfigMap", "default");
    map().create(&json!({"metadata": {"name": "shared"}})).await.expect(201);
    let patches = (0..PATCHES).map(|index| async move {
        let patch = json!({"data": {format!("k{index}"): "v"}});
        map().name("shared").merge(&patch).await.expect(200);
    });
    join_all(patches).await;
    let data = map().name("shared").get().await.expect(200)["data"].clone();
    assert_eq!(data.as_object().unwrap().len(), PATCHES);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_version_of_anything_does_not_keep_an_object_from_being_made() {
    let server = Server::start().await;
    let map = || server.on("ConfigMap", "default");
    for (name, version, code) in [("a", "0", 201), ("b", "abc", 201), ("c", "1", 500)] {
        let made = map().create(&json!({"metadata": {"name": name, "resourceVersion": version}})).await;
        assert_eq!(made.code, code, "{version}");
        assert_ne!(made.at("/metadata/resourceVersion"), &json!(version));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn no_two_services_get_one_address_or_port() {
    const SERVICES: usize = 24;
    let server = Server::start().await;
    let service = || server.on("Service", "default");
    let created = (0..SERVICES).map(|index| async move {
        let object =
            json!({"metadata": {"name": format!("s{index}")}, "spec": {"type": "NodePort", "ports": [{"port": 80}]}});
        service().create(&object).await.expect(201)
    });
    let created = join_all(created).await;
    let distinct =
        |pointer: &str| created.iter().map(|one| one.pointer(pointer).unwrap().to_string()).collect::<BTreeSet<_>>();
    assert_eq!(distinct("/spec/clusterIP").len(), SERVICES);
    assert_eq!(distinct("/spec/ports/0/nodePort").len(), SERVICES);
    let address = created[0].pointer("/spec/clusterIP").unwrap();
    let again = json!({"metadata": {"name": "again"}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
    let taken = service().create(&again).await;
    assert_eq!((taken.code, taken.at("/details/causes/0/field")), (422, &json!("spec.clusterIPs")));
    service().name("s0").delete(&Value::Null).await.expect(200);
    service().create(&again).await.expect(201);
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_created_in_a_namespace_that_ends() {
    let server = Server::start().await;
    server.on("Namespace", "").create(&json!({"metadata": {"name": "short"}})).await.expect(201);
    let creates = (0..32).map(|index| {
        let server = &server;
        async move {
            if index == 8 {
                return server.on("Namespace", "").name("short").delete(&Value::Null).await;
            }
            server.on("ConfigMap", "short").create(&json!({"metadata": {"name": format!("m{index}")}})).await
        }
    });
    let answers = join_all(creates).await;
    assert!(answers.iter().all(|answer| matches!(answer.code, 200 | 201 | 403)), "{answers:?}");
    let namespace = server.on("Namespace", "").name("short").get().await;
    let ended = namespace.revision();
    let maps = server.on("ConfigMap", "short").list().await;
    for map in maps.at("/items").as_array().unwrap() {
        let created: u64 = map["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap();
        assert!(created < ended, "{map} came after the namespace began to end at {ended}");
    }
    let late = server.on("ConfigMap", "short").create(&json!({"metadata": {"name": "late"}})).await;
    assert_eq!((late.code, late.at("/details/causes/0/reason")), (403, &json!("NamespaceTerminating")));
}

#[tokio::test]
async fn a_write_says_who_and_why() {
    let server = Server::start().await;
    let call = server.on("ConfigMap", "default").header(header::USER_AGENT, "robot/1");
    let call = call.header(HeaderName::from_static("kontiki-cause"), "2");
    let created = call.create(&json!({"metadata": {"name": "a"}})).await;
    let key = kontiki_model::Key::new("configmaps", "default", "a");
    let history = server.core.log.history(&key, None, 10).unwrap();
    let event = history.first().unwrap();
    assert_eq!(event.revision(), created.revision());
    assert_eq!((event.author.user.as_str(), event.author.user_agent.as_str()), ("tester", "robot/1"));
    assert_eq!((event.author.verb.as_str(), event.cause), ("create", Some(2)));
    let wrong = server.on("ConfigMap", "default").header(HeaderName::from_static("kontiki-cause"), "x");
    assert_eq!(wrong.create(&json!({"metadata": {"name": "b"}})).await.code, 400);
    let ahead = server.on("ConfigMap", "default").header(HeaderName::from_static("kontiki-cause"), "99999999999");
    let refused = ahead.create(&json!({"metadata": {"name": "b"}})).await.expect(400);
    assert!(refused["message"].as_str().unwrap().contains("but the newest is"), "{refused}");
}

#[tokio::test]
async fn generated_names_are_tried_again_and_given_ones_kept() {
    let server = Server::start().await;
    let maps = || server.on("ConfigMap", "default");
    let one = maps().create(&json!({"metadata": {"generateName": "base-"}})).await.expect(201);
    let two = maps().create(&json!({"metadata": {"generateName": "base-"}})).await.expect(201);
    let name = |object: &Value| object["metadata"]["name"].as_str().unwrap().to_owned();
    assert_ne!(name(&one), name(&two));
    assert!(name(&one).starts_with("base-") && name(&one).len() == 10);
    let both = maps().create(&json!({"metadata": {"name": "mine", "generateName": "base-"}})).await.expect(201);
    assert_eq!(name(&both), "mine");
}

#[tokio::test]
async fn pods_are_bound_once_and_evicted() {
    let server = Server::start().await;
    let pods = || server.on("Pod", "default");
    let pod =
        json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "example.local/app:1"}]}});
    pods().create(&pod).await.expect(201);
    let nominated = json!({"status": {"nominatedNodeName": "n0"}});
    pods().name("p").sub("status").merge(&nominated).await.expect(200);
    let binding = |node: &str| json!({"metadata": {"name": "p"}, "target": {"kind": "Node", "name": node}});
    pods().name("p").sub("binding").create(&binding("n1")).await.expect(201);
    let again = pods().name("p").sub("binding").create(&binding("n2")).await;
    assert_eq!((again.code, again.at("/details/kind")), (409, &json!("pods/binding")));
    let bound = pods().query("fieldSelector", "spec.nodeName=n1").list().await;
    assert_eq!(bound.at("/items/0/status/conditions/0/type"), "PodScheduled");
    assert_eq!(bound.at("/items/0/status/nominatedNodeName"), &Value::Null, "the choice was made");
    let eviction = json!({"metadata": {"name": "p"}, "deleteOptions": {"gracePeriodSeconds": 3}});
    pods().name("p").sub("eviction").create(&eviction).await.expect(201);
    assert_eq!(pods().name("p").get().await.at("/metadata/deletionGracePeriodSeconds"), 3);
}

#[tokio::test]
async fn what_is_off_in_kubernetes_is_not_stored() {
    let server = Server::start().await;
    let leases = || server.on("coordination.k8s.io/Lease", "default");
    let lease = json!({"metadata": {"name": "l"}, "spec": {"holderIdentity": "a", "strategy": "x"}});
    let created = leases().create(&lease).await.expect(201);
    assert_eq!(created["spec"], json!({"holderIdentity": "a"}));
    let patched = leases().name("l").merge(&json!({"spec": {"preferredHolder": "b"}})).await.expect(200);
    assert_eq!(patched["spec"], created["spec"]);
    let config = json!({"metadata": {"name": "n"}, "status": {"config": {"error": "e"}}});
    server.on("Node", "").create(&config).await.expect(201);
    let status = server.on("Node", "").name("n").sub("status");
    let patched = status.merge(&json!({"status": {"config": {"error": "e"}}})).await.expect(200);
    assert_eq!(patched["status"].get("config"), None);
}

#[tokio::test]
async fn log_requests_name_their_container() {
    let server = Server::start().await;
    let pods = || server.on("Pod", "default");
    let containers =
        json!([{"name": "a", "image": "example.local/app:1"}, {"name": "b", "image": "example.local/app:1"}]);
    pods().create(&json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})).await.expect(201);
    let log = || pods().name("p").sub("log");
    let unnamed = log().get().await;
    let words = "a container name must be specified for pod p, choose one of: [a b]";
    assert_eq!((unnamed.code, unnamed.at("/message")), (400, &json!(words)));
    let wrong = log().query("container", "z").get().await;
    assert_eq!((wrong.code, wrong.at("/message")), (400, &json!("container z is not valid for pod p")));
    let negative = log().query("container", "a").query("tailLines", "-1").get().await;
    assert_eq!((negative.code, negative.at("/details/causes/0/field")), (422, &json!("tailLines")));
    // Not on a node yet: there is nothing to tell, and nowhere to go.
    assert_eq!(log().query("container", "a").get().await.code, 204);
    let exec = pods().name("p").sub("exec").query("container", "a").query("command", "sh").get().await;
    assert_eq!((exec.code, exec.at("/message")), (400, &json!("pod p does not have a host assigned")));
    assert_eq!(pods().name("none").sub("log").get().await.code, 404);
}

#[tokio::test]
async fn a_pod_is_bound_by_name_and_gets_a_debugging_container() {
    let server = Server::start().await;
    let pods = || server.on("Pod", "default");
    let containers = json!([{"name": "c", "image": "example.local/app:1"}]);
    pods().create(&json!({"metadata": {"name": "p"}, "spec": {"containers": containers}})).await.expect(201);
    let bindings = || server.on("Binding", "default");
    let binding = |name: &str| json!({"metadata": {"name": name}, "target": {"kind": "Node", "name": "n1"}});
    let absent = bindings().create(&binding("none")).await;
    assert_eq!((absent.code, absent.at("/details/kind")), (404, &json!("pods")));
    bindings().create(&binding("p")).await.expect(201);
    assert_eq!(pods().name("p").get().await.at("/spec/nodeName"), "n1");
    let debug = json!({
        "metadata": {"labels": {"not": "taken"}},
        "spec": {"ephemeralContainers": [{"name": "dbg", "image": "example.local/app:1"}]},
    });
    let changed = pods().name("p").sub("ephemeralcontainers").query("fieldManager", "writer").merge(&debug).await;
    let changed = changed.expect(200);
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_eq!(managers(&changed), [("unknown", ""), ("writer", "ephemeralcontainers")]);
    let fields = changed.pointer("/metadata/managedFields/1/fieldsV1").unwrap();
    assert_eq!(fields.pointer("/f:spec/f:ephemeralContainers/k:{\"name\":\"dbg\"}/f:image"), Some(&json!({})));
    assert_eq!(fields.get("f:metadata"), None);
    let removed = json!({"spec": {"ephemeralContainers": []}});
    assert_eq!(pods().name("p").sub("ephemeralcontainers").merge(&removed).await.code, 422);
}

/// The managers of an object, and the subresource that each wrote to.
fn managers(object: &Value) -> Vec<(&str, &str)> {
    let entries = object["metadata"]["managedFields"].as_array().unwrap();
    entries.iter().map(|entry| (word(entry, "manager"), word(entry, "subresource"))).collect()
}

fn word<'a>(object: &'a Value, member: &str) -> &'a str {
    object[member].as_str().unwrap_or_default()
}

#[tokio::test]
async fn who_resizes_a_pod_says_resources_and_nothing_else() {
    let server = Server::start().await;
    let pods = || server.on("Pod", "default");
    let container = |image: &str, cpu: &str| {
        let asked = json!({"cpu": cpu, "memory": "1Mi"});
        json!({"name": "c", "image": image, "resources": {"requests": asked, "limits": asked}})
    };
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [container("example.local/app:1", "1")]}});
    pods().create(&pod).await.expect(201);
    let wanted = json!({"metadata": {"labels": {"not": "taken"}}, "spec": {"containers": [container("other", "2")]}});
    let resized = pods().name("p").sub("resize").query("fieldManager", "writer").merge(&wanted).await.expect(200);
    assert_eq!(managers(&resized), [("unknown", ""), ("writer", "resize")]);
    let fields = resized.pointer("/metadata/managedFields/1/fieldsV1").unwrap();
    let cpu = json!({"f:cpu": {}});
    let resources = json!({"f:resources": {"f:limits": cpu, "f:requests": cpu}});
    assert_eq!(*fields, json!({"f:spec": {"f:containers": {"k:{\"name\":\"c\"}": resources}}}));
    let others = resized.pointer("/metadata/managedFields/0/fieldsV1/f:spec/f:containers").unwrap().to_string();
    assert!(others.contains("f:image") && others.contains("f:memory") && !others.contains("f:cpu"), "{others}");
}

#[tokio::test]
async fn who_may_update_may_not_create_by_it() {
    let server = Server::start().await;
    for (index, kind) in KINDS.iter().filter(|kind| kind.create_on_update).enumerate() {
        // Spellings of one kind are told apart.
        let name = format!("new-{index}");
        let object = || server.about(*kind, "default").name(&name);
        let body = json!({"apiVersion": kind.group_version(), "kind": kind.kind, "metadata": {"name": name}});
        let refused = object().stranger().update(&body).await;
        assert_eq!(object().get().await.code, 404, "{}", kind.kind);
        // Nobody is told of permissions before the object is valid.
        match object().update(&body).await {
            Answer { code: 201, .. } => {
                assert_eq!((refused.code, refused.at("/reason")), (403, &json!("Forbidden")), "{}", kind.kind);
            }
            // What gives permissions is looked at before.
            _ if kind.grants.is_some() => assert_ne!(refused.code, 201, "{}", kind.kind),
            invalid => assert_eq!((refused.code, &refused.body), (422, &invalid.body), "{}", kind.kind),
        }
    }
}

#[tokio::test]
async fn who_relies_on_a_uid_creates_nothing() {
    let server = Server::start().await;
    let body = json!({"metadata": {"name": "new", "uid": "aaaa"}});
    let put = |kind: &str| server.on(kind, "default").name("new").update(&body);
    let refused = put("Endpoints").await;
    assert_eq!(refused.code, 409);
    let why = "Precondition failed: UID in precondition: aaaa, UID in object meta: ";
    assert!(refused.at("/message").as_str().unwrap().ends_with(why), "{refused:?}");
    assert_eq!(put("ConfigMap").await.code, 404);
}

/// Puts a status with metadata beside it; says which of it came to be.
async fn metadata_by_status(server: &Server, kind: &str, object: &Value) -> Vec<&'static str> {
    let name = object["metadata"]["name"].as_str().unwrap();
    let call = || server.on(kind, "default").name(name);
    let mut object = server.on(kind, "default").create(object).await.expect(201);
    object["metadata"]["labels"] = json!({"a": "b"});
    object["metadata"]["annotations"] = json!({"a": "b"});
    object["metadata"]["finalizers"] = json!(["a.example/b"]);
    object["metadata"]["ownerReferences"] = json!([{"apiVersion": "v1", "kind": "A", "name": "a", "uid": "b"}]);
    let put = call().sub("status").update(&object).await.expect(200);
    let members = ["labels", "annotations", "finalizers", "ownerReferences"];
    members.into_iter().filter(|member| put["metadata"].get(member).is_some()).collect()
}

#[tokio::test]
async fn a_status_says_as_much_of_metadata_as_the_kind_lets_it() {
    let server = Server::start().await;
    let containers = json!([{"name": "c", "image": "example.local/app:1"}]);
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}});
    let spec = json!({"selector": {"matchLabels": {"a": "b"}}, "template": template});
    let deployment = json!({"metadata": {"name": "d"}, "spec": spec});
    let rest = ["annotations", "finalizers", "ownerReferences"];
    assert_eq!(metadata_by_status(&server, "apps/Deployment", &deployment).await, rest);
    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": containers}});
    let rest = ["labels", "annotations", "finalizers"];
    assert_eq!(metadata_by_status(&server, "Pod", &pod).await, rest);
    let service = json!({"apiVersion": "apiregistration.k8s.io/v1", "kind": "APIService",
        "metadata": {"name": "v1.a.example"}, "spec": {"group": "a.example", "version": "v1",
        "groupPriorityMinimum": 1, "versionPriority": 1, "insecureSkipTLSVerify": true,
        "service": {"namespace": "default", "name": "s"}}});
    assert_eq!(metadata_by_status(&server, "apiregistration.k8s.io/APIService", &service).await, [""; 0]);
    let range = json!({"metadata": {"name": "r"}, "spec": {"cidrs": ["10.200.0.0/24"]}});
    let all = ["labels", "annotations", "finalizers", "ownerReferences"];
    assert_eq!(metadata_by_status(&server, "networking.k8s.io/ServiceCIDR", &range).await, all);
}

#[tokio::test]
async fn an_owner_named_twice_counts_once() {
    let server = Server::start().await;
    let maps = || server.on("ConfigMap", "default");
    let owner = json!({"apiVersion": "v1", "kind": "ConfigMap", "name": "o", "uid": "u1"});
    let mut map = json!({"metadata": {"name": "m", "ownerReferences": [owner, owner]}});
    let words = "299 - \".metadata.ownerReferences contains duplicate entries; API server dedups owner references in \
                 1.20+, and may reject such requests as early as 1.24; please fix your requests; duplicate UID(s) \
                 observed: u1\"";
    let made = maps().create(&map).await;
    assert_eq!((made.code, made.at("/metadata/ownerReferences")), (201, &json!([owner])));
    assert_eq!(made.warnings, [words]);
    map["data"] = json!({"a": "b"});
    let put = maps().name("m").update(&map).await;
    assert_eq!(
        (put.at("/metadata/ownerReferences"), put.warnings.as_slice()),
        (&json!([owner]), &[words.to_owned()][..])
    );
    let patched = maps().name("m").merge(&map).await;
    assert_eq!(patched.at("/metadata/ownerReferences"), &json!([owner]));
    assert_eq!(patched.warnings, [words]);
}

#[tokio::test]
async fn a_deletion_says_whether_it_is_done() {
    let server = Server::start().await;
    let maps = || server.on("ConfigMap", "default");
    let cases = [
        (json!([]), json!(null), 200, "Status"),
        (json!([]), json!({"orphanDependents": false}), 200, "Status"),
        (json!(["example.com/hold"]), json!(null), 200, "ConfigMap"),
        (json!(["example.com/hold"]), json!({"propagationPolicy": "Background"}), 200, "ConfigMap"),
        (json!([]), json!({"propagationPolicy": "Foreground"}), 200, "ConfigMap"),
        (json!([]), json!({"orphanDependents": true}), 200, "ConfigMap"),
        // Whoever says so, in the word of old, is told that it goes on.
        (json!(["example.com/hold"]), json!({"orphanDependents": false}), 202, "ConfigMap"),
    ];
    for (index, (finalizers, options, code, kind)) in cases.into_iter().enumerate() {
        let name = format!("m{index}");
        let made = maps().create(&json!({"metadata": {"name": name, "finalizers": finalizers}})).await.expect(201);
        let answer = maps().name(&name).delete(&options).await;
        assert_eq!((answer.code, answer.at("/kind")), (code, &json!(kind)), "{finalizers} {options}");
        if kind == "Status" {
            let details = json!({"name": name, "kind": "configmaps", "uid": made["metadata"]["uid"]});
            assert_eq!((answer.at("/status"), answer.at("/details")), (&json!("Success"), &details));
        }
    }
}

#[tokio::test]
async fn finalizers_that_a_change_brings_are_looked_at() {
    let server = Server::start().await;
    let maps = || server.on("ConfigMap", "default").name("m");
    let held = |finalizers: Value| json!({"metadata": {"finalizers": finalizers}});
    server.on("ConfigMap", "default").create(&json!({"metadata": {"name": "m"}})).await.expect(201);
    for (finalizers, field) in [(json!(["hold"]), "metadata.finalizers[0]"), (json!(["a b/c"]), "metadata.finalizers")]
    {
        let refused = maps().merge(&held(finalizers)).await;
        assert_eq!((refused.code, refused.at("/details/causes/0/field")), (422, &json!(field)), "{:#}", refused.body);
    }
    maps().merge(&held(json!(["example.com/hold"]))).await.expect(200);
    maps().delete(&Value::Null).await.expect(200);
    let late = maps().merge(&held(json!(["example.com/hold", "example.com/late"]))).await;
    assert_eq!((late.code, late.at("/details/causes/0/reason")), (422, &json!("FieldValueForbidden")));
    let namespaces = || server.on("Namespace", "").name("default");
    let finalizers = |names: Value| json!({"metadata": {"name": "default"}, "spec": {"finalizers": names}});
    let refused = namespaces().sub("finalize").update(&finalizers(json!(["kubernetes", "hold"]))).await;
    assert_eq!((refused.code, refused.at("/details/causes/0/field")), (422, &json!("spec.finalizers[1]")));
    let ignored = namespaces().update(&finalizers(json!(["kubernetes", "example.com/a"]))).await.expect(200);
    assert_eq!(ignored["spec"]["finalizers"], json!(["kubernetes"]));
    let named =
        namespaces().sub("finalize").update(&finalizers(json!(["kubernetes", "example.com/a"]))).await.expect(200);
    assert_eq!(named["spec"]["finalizers"], json!(["kubernetes", "example.com/a"]));
}

#[tokio::test]
async fn a_patch_is_held_against_its_own_fields_and_the_objects() {
    let server = Server::start().await;
    server.on("ConfigMap", "default").create(&json!({"metadata": {"name": "m"}})).await.expect(201);
    let patch = |content_type, body: &str, validation| {
        let call = server.on("ConfigMap", "default").name("m").query("fieldValidation", validation);
        call.header(header::CONTENT_TYPE, content_type).text(body).send("patch")
    };
    let cases = [
        (
            "application/json-patch+json",
            r#"[{"op": "add", "path": "/z", "value": 1, "foo": 1}, {"op": "add", "path": "/b", "path": "/c", "value": 1}]"#,
            [
                r#"json patch unknown field "[0].foo""#,
                r#"json patch duplicate field "[1].path""#,
                r#"unknown field "c""#,
                r#"unknown field "z""#,
            ],
        ),
        (
            "application/merge-patch+json",
            r#"{"z": 1, "z": 2, "metadata": {"x": 1}, "data": {"a": "1", "a": "2"}}"#,
            [
                r#"duplicate field "z""#,
                r#"duplicate field "data.a""#,
                r#"unknown field "metadata.x""#,
                r#"unknown field "z""#,
            ],
        ),
    ];
    for (content_type, body, expected) in cases {
        let refused = patch(content_type, body, "Strict").await.expect(422);
        let told = format!("strict decoding error: {}", expected.join(", "));
        assert!(refused["message"].as_str().unwrap().ends_with(&told), "{refused:#}");
        let warned = patch(content_type, body, "Warn").await;
        let warnings: Vec<String> = warned.warnings.iter().map(|one| one.replace("\\\"", "\"")).collect();
        assert_eq!(warnings, expected.map(|one| format!("299 - \"{one}\"")), "{:#}", warned.body);
        assert!(patch(content_type, body, "Ignore").await.warnings.is_empty());
    }
}
