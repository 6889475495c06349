//! Custom kinds whose versions a webhook converts: every way to read and write them, and what becomes of it when it fails.
#![allow(clippy::unwrap_used)]

mod client;
mod hook;

use std::{
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use client::{Answer, Call, Server};
use hook::{Hook, Reply};
use kontiki_apiserver::keep_definitions;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const DEFINITIONS: &str = "apiextensions.k8s.io/CustomResourceDefinition";

/// `v1` says `size`, `v2` says `large`, and both keep what was before in an annotation. While `broken`, it says no.
async fn converter(broken: Arc<AtomicBool>) -> Hook {
    Hook::start(move |_, request| {
        if broken.load(Ordering::SeqCst) {
            return Reply::Review(json!({
                "uid": request["uid"], "result": {"status": "Failure", "message": "out of order"},
            }));
        }
        convert(request)
    })
    .await
}

fn convert(request: &Value) -> Reply {
    let desired = request["desiredAPIVersion"].clone();
    let converted = request["objects"].as_array().unwrap().iter().map(|object| {
        let mut object = object.clone();
        object["metadata"]["annotations"] = json!({"was": object["apiVersion"]});
        object["metadata"]["generation"] = 77.into();
        object["apiVersion"] = desired.clone();
        let (from, to) = if desired == "example.com/v2" { ("size", "large") } else { ("large", "size") };
        // What is pruned on the way to who says what may lack all of it.
        if let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut)
            && let Some(value) = spec.remove(from)
        {
            spec.insert(to.to_owned(), value);
        }
        object
    });
    let converted: Vec<Value> = converted.collect();
    Reply::Review(json!({"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": converted}))
}

fn version(name: &str, storage: bool, field: &str) -> Value {
    let spec = json!({"type": "object", "properties": {field: {"type": "integer"}, "replicas": {"type": "integer"}}});
    json!({
        "name": name, "served": true, "storage": storage, "subresources": {"status": {}, "scale": {
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas"}},
        "selectableFields": [{"jsonPath": format!(".spec.{field}")}],
        "additionalPrinterColumns": [{"name": field, "type": "integer", "jsonPath": format!(".spec.{field}")}],
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": {
            "type": "object", "properties": {"replicas": {"type": "integer"}}}}}},
    })
}

fn definition(hook: &Hook) -> Value {
    json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1", true, "size"), version("v2", false, "large")],
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": hook.client("/convert"), "conversionReviewVersions": ["v1"]}},
        },
    })
}

fn widgets<'a>(server: &'a Server, version: &str) -> Call<'a> {
    let kind = server.core.kinds().by_resource("example.com", version, "widgets").unwrap();
    server.about(kind, "default")
}

struct Fixture {
    server: Server,
    hook: Hook,
    broken: Arc<AtomicBool>,
}

impl Fixture {
    async fn start() -> Self {
        let (server, broken) = (Server::start().await, Arc::new(AtomicBool::new(false)));
        let hook = converter(broken.clone()).await;
        server.on(DEFINITIONS, "").create(&definition(&hook)).await.expect(201);
        Fixture { server, hook, broken }
    }

    fn widgets(&self, version: &str) -> Call<'_> {
        widgets(&self.server, version)
    }

    async fn create(&self, version: &str, name: &str, spec: &Value) -> Value {
        let object = json!({
            "apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": name}, "spec": spec,
        });
        self.widgets(version).create(&object).await.expect(201)
    }

    /// How many objects were sent, call by call.
    fn batches(&self) -> Vec<usize> {
        self.hook.asked().iter().map(|request| request["objects"].as_array().unwrap().len()).collect()
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn each_version_is_read_and_written_in_its_own_form() {
    let fixture = Fixture::start().await;
    let made = fixture.create("v2", "a", &json!({"large": 3})).await;
    assert_eq!((&made["apiVersion"], &made["spec"]), (&json!("example.com/v2"), &json!({"large": 3})));
    // To be stored; who wrote it is told what they wrote.
    assert_eq!(fixture.batches(), [1]);
    let stored = fixture.widgets("v1").name("a").get().await.expect(200);
    assert_eq!((&stored["apiVersion"], &stored["spec"]), (&json!("example.com/v1"), &json!({"size": 3})));
    assert_eq!(stored["metadata"]["generation"], 1, "of metadata only labels and annotations are the webhook's");
    assert_eq!(stored["metadata"]["annotations"], json!({"was": "example.com/v2"}));
    assert_eq!(fixture.batches(), [1], "what is stored is told as it is");
    let told = fixture.widgets("v2").name("a").get().await.expect(200);
    assert_eq!(told["spec"], json!({"large": 3}));
    let patched = fixture.widgets("v2").name("a").merge(&json!({"spec": {"large": 4}})).await.expect(200);
    assert_eq!((&patched["spec"], &patched["metadata"]["generation"]), (&json!({"large": 4}), &json!(2)));
    assert_eq!(fixture.widgets("v1").name("a").get().await.expect(200)["spec"], json!({"size": 4}));
    let same = fixture.widgets("v2").name("a").merge(&json!({"spec": {"large": 4}})).await.expect(200);
    assert_eq!(same["spec"], json!({"large": 4}));
    let table = fixture.widgets("v2").accept("application/json;as=Table;v=v1;g=meta.k8s.io").list().await.expect(200);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 4]));
    let scale = fixture.widgets("v2").name("a").sub("scale");
    let scaled = scale.merge(&json!({"spec": {"replicas": 5}})).await.expect(200);
    assert_eq!(scaled["spec"], json!({"replicas": 5}));
    let status = fixture.widgets("v2").name("a").sub("status");
    let status = status.merge(&json!({"status": {"replicas": 1}})).await.expect(200);
    assert_eq!((&status["spec"], &status["status"]), (&json!({"large": 4, "replicas": 5}), &json!({"replicas": 1})));
    let dry = fixture.widgets("v2").name("a").query("dryRun", "All");
    assert_eq!(dry.merge(&json!({"spec": {"large": 9}})).await.expect(200)["spec"]["large"], 9);
    assert_eq!(fixture.widgets("v2").name("a").get().await.expect(200)["spec"]["large"], 4);
    let gone = fixture.widgets("v2").name("a").delete(&Value::Null).await.expect(200);
    assert_eq!(gone["status"], "Success");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_list_is_one_call_and_a_second_one_none() {
    let fixture = Fixture::start().await;
    for name in ["a", "b", "c"] {
        fixture.create("v1", name, &json!({"size": 1})).await;
    }
    for _ in 0..2 {
        let list = fixture.widgets("v2").list().await.expect(200);
        let told: Vec<_> = list["items"].as_array().unwrap().iter().map(|item| item["spec"].clone()).collect();
        assert_eq!(told, vec![json!({"large": 1}); 3]);
        assert_eq!(list["items"][0]["apiVersion"], "example.com/v2");
    }
    assert_eq!(fixture.batches(), [3]);
}

#[tokio::test(flavor = "multi_thread")]
async fn watches_tell_each_version() {
    let fixture = Fixture::start().await;
    fixture.create("v1", "a", &json!({"size": 1})).await;
    let first = fixture.widgets("v2").watch(1).await;
    assert_eq!((&first[0]["type"], &first[0]["object"]["spec"]), (&json!("ADDED"), &json!({"large": 1})));
    let from = first[0]["object"]["metadata"]["resourceVersion"].as_str().unwrap().to_owned();
    fixture.create("v2", "b", &json!({"large": 2})).await;
    fixture.widgets("v1").name("a").delete(&Value::Null).await.expect(200);
    let events = fixture.widgets("v2").query("resourceVersion", &from).watch(2).await;
    let told: Vec<_> = events.iter().map(|event| (event["type"].clone(), event["object"]["spec"].clone())).collect();
    assert_eq!(told, [(json!("ADDED"), json!({"large": 2})), (json!("DELETED"), json!({"large": 1}))]);
}

#[tokio::test(flavor = "multi_thread")]
async fn fields_are_selected_in_the_version_of_the_request() {
    let fixture = Fixture::start().await;
    for (index, version) in ["v1", "v2", "v1", "v2"].iter().enumerate() {
        let field = if *version == "v1" { "size" } else { "large" };
        fixture.create(version, &format!("w{index}"), &json!({field: index / 2})).await;
    }
    let selected = |version: &str, selector: &'static str| fixture.widgets(version).query("fieldSelector", selector);
    let names = |list: &Value| -> Vec<String> {
        list["items"].as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap().into()).collect()
    };
    for (version, selector, expected) in [
        ("v1", "spec.size=0", &["w0", "w1"][..]),
        ("v2", "spec.large=0", &["w0", "w1"]),
        ("v2", "spec.large!=0", &["w2", "w3"]),
        ("v2", "spec.large=1,metadata.name=w2", &["w2"]),
        ("v2", "spec.large=7", &[]),
    ] {
        assert_eq!(names(&selected(version, selector).list().await.expect(200)), expected, "{selector}");
    }
    let unknown = selected("v2", "spec.size=0").list().await;
    assert_eq!((unknown.code, unknown.at("/message")), (400, &json!("field label not supported: spec.size")));
    let first = selected("v2", "spec.large=0").query("limit", "1").list().await.expect(200);
    let token = first["metadata"]["continue"].as_str().unwrap();
    let rest = selected("v2", "spec.large=0").query("limit", "1").query("continue", token).list().await.expect(200);
    assert_eq!((names(&first), names(&rest)), (vec!["w0".to_owned()], vec!["w1".to_owned()]));
    assert_eq!(rest["metadata"].get("continue"), Some(&json!("")));
    // What was written in another version enters and leaves the selection.
    let from = rest["metadata"]["resourceVersion"].as_str().unwrap();
    fixture.widgets("v1").name("w2").merge(&json!({"spec": {"size": 0}})).await.expect(200);
    fixture.widgets("v1").name("w0").merge(&json!({"spec": {"size": 5}})).await.expect(200);
    let told = |events: Vec<Value>| -> Vec<(Value, Value)> {
        events.iter().map(|event| (event["type"].clone(), event["object"]["metadata"]["name"].clone())).collect()
    };
    let events = told(selected("v2", "spec.large=0").query("resourceVersion", from).watch(2).await);
    assert_eq!(events, [(json!("ADDED"), json!("w2")), (json!("DELETED"), json!("w0"))]);
    let present = told(selected("v2", "spec.large=0").watch(2).await);
    assert_eq!(present, [(json!("ADDED"), json!("w1")), (json!("ADDED"), json!("w2"))]);
    let gone = selected("v2", "spec.large=0").send("deletecollection").await.expect(200);
    assert_eq!(names(&gone), ["w1", "w2"]);
    assert_eq!(names(&fixture.widgets("v2").list().await.expect(200)), ["w0", "w3"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_selection_by_version_is_begun_again_where_its_state_is_forgotten_meanwhile() {
    // More than are converted at once: between two batches there is time for much to happen.
    const WIDGETS: usize = 501;
    let server = Arc::new(Server::start().await);
    let meanwhile = Arc::new(Mutex::new(None::<Arc<Server>>));
    let forgetting = meanwhile.clone();
    let hook = Hook::start_async(move |_, request| {
        let interrupted = forgetting.lock().unwrap().take();
        Box::pin(async move {
            if let Some(server) = interrupted {
                widgets(&server, "v1").name("w000").merge(&json!({"spec": {"size": 2}})).await.expect(200);
                server.forget_history().await;
            }
            convert(&request)
        })
    })
    .await;
    server.on(DEFINITIONS, "").create(&definition(&hook)).await.expect(201);
    for number in 0..WIDGETS {
        let metadata = json!({"name": format!("w{number:03}")});
        let widget =
            json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": metadata, "spec": {"size": 1}});
        widgets(&server, "v1").create(&widget).await.expect(201);
    }
    let selected = || widgets(&server, "v2").query("fieldSelector", "spec.large=1");
    let count = |list: &Answer| list.at("/items").as_array().map_or(0, Vec::len);
    *meanwhile.lock().unwrap() = Some(server.clone());
    let all = selected().list().await;
    assert_eq!((all.code, count(&all)), (200, WIDGETS - 1), "as it is now: {}", all.at("/message"));

    let first = selected().query("limit", "1").list().await;
    widgets(&server, "v1").name("w000").merge(&json!({"spec": {"size": 3}})).await.expect(200);
    server.forget_history().await;
    let after = first.at("/metadata/continue").as_str().unwrap();
    let expired = selected().query("continue", after).list().await;
    assert_eq!((expired.code, expired.at("/reason")), (410, &json!("Expired")));
    let goes_on = selected().query("continue", expired.at("/metadata/continue").as_str().unwrap()).list().await;
    assert_eq!((goes_on.code, count(&goes_on)), (200, WIDGETS - 2));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_converted_once_for_all_who_watch_it() {
    let fixture = Fixture::start().await;
    let from = fixture.create("v1", "a", &json!({"size": 1})).await["metadata"]["resourceVersion"].clone();
    fixture.create("v1", "b", &json!({"size": 2})).await;
    let watches = (0..8).map(|_| fixture.widgets("v2").query("resourceVersion", from.as_str().unwrap()).watch(1));
    for events in futures::future::join_all(watches).await {
        assert_eq!(events[0]["object"]["spec"], json!({"large": 2}));
    }
    assert_eq!(fixture.batches(), [1]);
}

#[tokio::test(flavor = "multi_thread")]
async fn who_says_what_is_known_across_versions() {
    let fixture = Fixture::start().await;
    let apply = async |version: &str, manager: &str, spec: Value, force: bool| {
        let configuration = json!({
            "apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": "a"}, "spec": spec,
        });
        let call = fixture.widgets(version).name("a").query("fieldManager", manager);
        let call = if force { call.query("force", "true") } else { call };
        call.patch("application/apply-patch+yaml", &configuration).await
    };
    apply("v1", "a", json!({"size": 3, "replicas": 1}), false).await.expect(201);
    let refused = apply("v2", "b", json!({"large": 4}), false).await;
    assert_eq!((refused.code, refused.at("/details/causes/0/field")), (409, &json!(".spec.size")), "{}", refused.body);
    assert_eq!(refused.at("/details/causes/0/message"), "conflict with \"a\"");
    // Who says the same in other words shares it.
    apply("v2", "b", json!({"large": 3}), false).await.expect(200);
    let refused = apply("v1", "a", json!({"size": 5, "replicas": 1}), false).await;
    assert_eq!((refused.code, refused.at("/details/causes/0/field")), (409, &json!(".spec.large")), "{}", refused.body);
    apply("v2", "b", json!({"large": 4}), true).await.expect(200);
    let owners = async |field: &str| {
        let object = fixture.widgets("v1").name("a").get().await.expect(200);
        let managed = object["metadata"]["managedFields"].as_array().unwrap().clone();
        let says = |one: &&Value| one["fieldsV1"]["f:spec"].get(format!("f:{field}")).is_some();
        managed.iter().filter(says).map(|one| one["manager"].as_str().unwrap().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((owners("size").await, owners("large").await), (vec![], vec!["b".to_owned()]));
    // An update takes a field from those who said it in another version.
    let edit = fixture.widgets("v1").name("a").query("fieldManager", "editor");
    edit.merge(&json!({"spec": {"size": 6}})).await.expect(200);
    assert_eq!((owners("size").await, owners("large").await), (vec!["editor".to_owned()], vec![]));
    // What an applier says no more in another version than before goes.
    apply("v2", "a", json!({"large": 7}), true).await.expect(200);
    let left = apply("v1", "a", json!({"replicas": 2}), false).await.expect(200);
    assert_eq!(left["spec"], json!({"replicas": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_webhook_that_fails_is_told_and_hurts_nobody_else() {
    let fixture = Fixture::start().await;
    fixture.create("v1", "a", &json!({"size": 1})).await;
    fixture.broken.store(true, Ordering::SeqCst);
    let expected = "conversion webhook for example.com/v1, Kind=Widget failed: out of order";
    for verb in ["get", "list"] {
        let call = if verb == "get" { fixture.widgets("v2").name("a") } else { fixture.widgets("v2") };
        let answer = call.send(verb).await;
        assert_eq!((answer.code, answer.at("/message"), answer.at("/reason")), (500, &json!(expected), &Value::Null));
    }
    let events = fixture.widgets("v2").watch(1).await;
    assert_eq!((&events[0]["type"], &events[0]["object"]["message"]), (&json!("ERROR"), &json!(expected)));
    let object = json!({
        "apiVersion": "example.com/v2", "kind": "Widget", "metadata": {"name": "b"}, "spec": {"large": 1},
    });
    let refused = fixture.widgets("v2").create(&object).await;
    let of_new = "conversion webhook for example.com/v2, Kind=Widget failed: out of order";
    assert_eq!((refused.code, refused.at("/message")), (500, &json!(of_new)));
    assert_eq!(fixture.widgets("v1").name("b").get().await.code, 404);
    // The stored version needs nobody, nor does going away.
    assert_eq!(fixture.widgets("v1").watch(1).await[0]["type"], "ADDED");
    fixture.widgets("v1").name("a").merge(&json!({"spec": {"size": 2}})).await.expect(200);
    tokio::spawn(keep_definitions(fixture.server.core.clone()));
    fixture.server.on(DEFINITIONS, "").name("widgets.example.com").delete(&Value::Null).await.expect(200);
    let deadline = Instant::now() + Duration::from_secs(20);
    while fixture.server.core.kinds().by_resource("example.com", "v1", "widgets").is_some() {
        assert!(Instant::now() < deadline, "the kind does not go");
        sleep(Duration::from_millis(10)).await;
    }
}
