//! Kinds that are defined at run time: what a definition comes to, and what its objects may be.
#![allow(clippy::unwrap_used)]

mod client;
mod hook;

use std::{
    sync::{Arc, Mutex},
    time::Duration,
};

use client::{Answer, Call, Server};
use hook::{Hook, yes};
use kontiki_apiserver::keep_definitions;
use kontiki_model::Scope;
use kontiki_raft::ListOptions;
use serde_json::{Value, json};
use tokio::time::{Instant, sleep};

const DEFINITIONS: &str = "apiextensions.k8s.io/CustomResourceDefinition";

fn version(name: &str, storage: bool, spec: &Value) -> Value {
    let status = json!({"type": "object", "properties": {
        "replicas": {"type": "integer"}, "selector": {"type": "string"}, "phase": {"type": "string"}}});
    json!({
        "name": name, "served": true, "storage": storage,
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec, "status": status}}},
        "subresources": {"status": {}, "scale": {
            "specReplicasPath": ".spec.replicas", "statusReplicasPath": ".status.replicas", "labelSelectorPath": ".status.selector"}},
        "additionalPrinterColumns": [
            {"name": "Size", "type": "integer", "jsonPath": ".spec.size"},
            {"name": "Phase", "type": "string", "jsonPath": ".status.phase", "priority": 1}],
        "selectableFields": [{"jsonPath": ".spec.color"}],
    })
}

fn spec() -> Value {
    json!({
        "type": "object", "required": ["size"],
        "properties": {
            "size": {"type": "integer", "minimum": 1, "maximum": 10},
            "color": {"type": "string", "enum": ["red", "blue"], "default": "red"},
            "replicas": {"type": "integer", "default": 1},
        },
        "x-kubernetes-validations": [
            {"rule": "!has(oldSelf.color) || self.color == oldSelf.color", "message": "color is fixed"}],
    })
}

fn definition(plural: &str, kind: &str, versions: &[Value]) -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.example.com")},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "versions": versions,
            "names": {"plural": plural, "kind": kind, "shortNames": [format!("{plural}-short")], "categories": ["all"]},
        },
    })
}

fn widget(version: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

async fn define(server: &Server, definition: &Value) -> Value {
    server.on(DEFINITIONS, "").create(definition).await.expect(201)
}

async fn defined(server: &Server, name: &str) -> Value {
    server.on(DEFINITIONS, "").name(name).get().await.expect(200)
}

/// Requests about the widgets of a version.
fn widgets<'a>(server: &'a Server, version: &str) -> Call<'a> {
    let kind = server.core.kinds().by_resource("example.com", version, "widgets").unwrap();
    server.about(kind, "default")
}

/// Waits until something holds.
async fn until(right: impl AsyncFn() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(20);
    while !right().await {
        assert!(Instant::now() < deadline, "what is waited for does not come");
        sleep(Duration::from_millis(10)).await;
    }
}

fn causes(answer: &Answer) -> Vec<String> {
    let causes = answer.at("/details/causes").as_array().cloned().unwrap_or_default();
    causes.iter().map(|one| format!("{} {}", one["reason"].as_str().unwrap(), one["field"].as_str().unwrap())).collect()
}

async fn with_widgets() -> Server {
    let server = Server::start().await;
    define(&server, &definition("widgets", "Widget", &[version("v1", true, &spec())])).await;
    server
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_is_served_before_its_author_is_told() {
    let server = Server::start().await;
    let created = define(&server, &definition("widgets", "Widget", &[version("v1", true, &spec())])).await;
    assert_eq!(created["spec"]["names"]["listKind"], "WidgetList");
    assert_eq!(created["status"]["storedVersions"], json!(["v1"]));
    let list = widgets(&server, "v1").list().await.expect(200);
    assert_eq!(list["kind"], "WidgetList");
    let now = defined(&server, "widgets.example.com").await;
    let conditions: Vec<_> =
        now["status"]["conditions"].as_array().unwrap().iter().map(|one| (&one["type"], &one["status"])).collect();
    assert_eq!(conditions, [(&json!("NamesAccepted"), &json!("True")), (&json!("Established"), &json!("True"))]);
    assert_eq!(now["status"]["acceptedNames"], now["spec"]["names"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn names_that_are_taken_are_not_served() {
    let server = with_widgets().await;
    define(&server, &definition("gadgets", "Widget", &[version("v1", true, &spec())])).await;
    let second = defined(&server, "gadgets.example.com").await;
    assert_eq!(second["status"]["conditions"][0]["reason"], "ListKindConflict");
    assert!(server.core.kinds().by_resource("example.com", "v1", "gadgets").is_none());
    // What is in the way goes, and the name is free.
    server.on(DEFINITIONS, "").name("widgets.example.com").delete(&Value::Null).await.expect(200);
    assert!(server.core.kinds().by_resource("example.com", "v1", "gadgets").is_some());
}

#[tokio::test(flavor = "multi_thread")]
async fn objects_are_filled_pruned_and_checked() {
    let server = with_widgets().await;
    let all = || widgets(&server, "v1");
    let made = all().create(&widget("v1", "a", &json!({"size": 3, "junk": 1}))).await;
    assert_eq!(made.warnings, ["299 - \"unknown field \\\"spec.junk\\\"\""]);
    let made = made.expect(201);
    assert_eq!(made["spec"], json!({"color": "red", "replicas": 1, "size": 3}));
    assert_eq!(made["metadata"]["generation"], 1);
    let strict =
        all().query("fieldValidation", "Strict").create(&widget("v1", "b", &json!({"size": 3, "junk": 1}))).await;
    assert_eq!(strict.code, 400);
    let wrong = all().create(&widget("v1", "b", &json!({"size": 0, "color": "green"}))).await;
    assert_eq!(wrong.code, 422);
    assert_eq!(
        causes(&wrong),
        ["FieldValueNotSupported spec.color", "FieldValueInvalid spec.size", "FieldValueInvalid <nil>",]
    );
    let mut other = widget("v1", "b", &json!({"size": 3}));
    other["kind"] = "Gadget".into();
    let other = all().create(&other).await;
    assert_eq!((other.code, causes(&other)), (422, vec!["FieldValueInvalid kind".to_owned()]));
    let changed = all().name("a").merge(&json!({"spec": {"color": "blue"}})).await;
    assert_eq!(changed.at("/message"), "Widget.example.com \"a\" is invalid: spec: Invalid value: color is fixed");
}

#[tokio::test(flavor = "multi_thread")]
async fn status_and_scale_are_apart() {
    let server = with_widgets().await;
    let one = || widgets(&server, "v1").name("a");
    widgets(&server, "v1").create(&widget("v1", "a", &json!({"size": 3}))).await.expect(201);
    let main = one().merge(&json!({"status": {"phase": "X"}})).await.expect(200);
    assert_eq!(main.get("status"), None);
    let status = json!({"status": {"phase": "Up", "replicas": 1, "selector": "a=b"}, "spec": {"size": 9}});
    let status = one().sub("status").merge(&status).await.expect(200);
    assert_eq!((&status["spec"]["size"], &status["status"]["phase"]), (&json!(3), &json!("Up")));
    assert_eq!(status["metadata"]["generation"], 1);
    let scale = one().sub("scale").get().await.expect(200);
    assert_eq!(scale["spec"], json!({"replicas": 1}));
    assert_eq!(scale["status"], json!({"replicas": 1, "selector": "a=b"}));
    one().sub("scale").merge(&json!({"spec": {"replicas": 5}})).await.expect(200);
    let scaled = one().get().await.expect(200);
    assert_eq!((&scaled["spec"]["replicas"], &scaled["metadata"]["generation"]), (&json!(5), &json!(2)));
    let scale = json!({"metadata": {"name": "a"}, "spec": {"replicas": 6}});
    let put = one().sub("scale").update(&scale).await.expect(200);
    assert_eq!(put["spec"], json!({"replicas": 6}), "no version is named: the object as it is");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_scale_has_columns_of_its_own() {
    let server = with_widgets().await;
    widgets(&server, "v1").create(&widget("v1", "a", &json!({"size": 3, "replicas": 4}))).await.expect(201);
    let containers = json!([{"name": "c", "image": "example.local/app:1"}]);
    let template = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"containers": containers}});
    let spec = json!({"replicas": 4, "selector": {"matchLabels": {"a": "b"}}, "template": template});
    let deployment = json!({"metadata": {"name": "a"}, "spec": spec});
    server.on("apps/Deployment", "default").create(&deployment).await.expect(201);
    for (call, age) in [(widgets(&server, "v1"), "date"), (server.on("apps/Deployment", "default"), "string")] {
        let call = call.name("a").sub("scale");
        let table = call.clone().accept("application/json;as=Table;v=v1;g=meta.k8s.io").get().await.expect(200);
        let columns: Vec<_> = table["columnDefinitions"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
        assert_eq!(columns, ["Name", "Desired", "Available", "Age"]);
        assert_eq!(table["columnDefinitions"][3]["type"], age);
        assert_eq!(table["rows"][0]["cells"].as_array().unwrap()[..3], [json!("a"), json!(4), json!(0)]);
        assert_eq!(table["rows"][0]["object"]["kind"], "PartialObjectMetadata");
        let metadata = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io";
        let metadata = call.accept(metadata).get().await.expect(200);
        assert_eq!((&metadata["kind"], &metadata["metadata"]["name"]), (&json!("PartialObjectMetadata"), &json!("a")));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_status_says_nothing_of_metadata() {
    let server = with_widgets().await;
    let one = || widgets(&server, "v1").name("a");
    let made = widgets(&server, "v1").create(&widget("v1", "a", &json!({"size": 3}))).await.expect(201);
    let owner = json!({"apiVersion": "v1", "kind": "A", "name": "a", "uid": "b"});
    let metadata = json!({"labels": {"a": "b"}, "annotations": {"a": "b"}, "finalizers": ["a.example/b"], "ownerReferences": [owner]});
    let patch = json!({"metadata": metadata, "status": {"phase": "Up"}});
    let said = one().sub("status").merge(&patch).await.expect(200);
    assert_eq!(said["status"]["phase"], "Up");
    let told = |object: &Value| {
        let mut metadata = object["metadata"].clone();
        for member in ["resourceVersion", "managedFields"] {
            metadata[member] = Value::Null;
        }
        metadata
    };
    assert_eq!(told(&said), told(&made));
    let last = said["metadata"]["managedFields"].as_array().unwrap().last().unwrap().clone();
    assert_eq!((&last["subresource"], last["fieldsV1"].get("f:metadata")), (&json!("status"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn whole_numbers_are_told_without_a_point() {
    let server = with_widgets().await;
    let text = r#"{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"size": 3.0, "replicas": 2e0}}"#;
    let made = widgets(&server, "v1").text(text).send("create").await.expect(201);
    assert_eq!(made["spec"], json!({"color": "red", "replicas": 2, "size": 3}));
    let scale = widgets(&server, "v1").name("a").sub("scale").get().await.expect(200);
    assert_eq!(scale["spec"], json!({"replicas": 2}));
}

#[tokio::test(flavor = "multi_thread")]
async fn floats_are_told_as_go_tells_them() {
    let server = Server::start().await;
    let spec = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
    let mut version = version("v1", true, &spec);
    version["selectableFields"] = json!([]);
    define(&server, &definition("widgets", "Widget", &[version])).await;
    let text = r#"{"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "a"}, "spec": {"a": 1e20, "b": 1E21, "c": 0.00001, "d": 0.0000001}}"#;
    let expected = r#""spec":{"a":100000000000000000000,"b":1e+21,"c":0.00001,"d":1e-7}"#;
    let made = widgets(&server, "v1").text(text).respond("create").await;
    let read = widgets(&server, "v1").name("a").respond("get").await;
    for response in [made, read] {
        let bytes = http_body_util::BodyExt::collect(response.into_body()).await.unwrap().to_bytes();
        let told = String::from_utf8(bytes.to_vec()).unwrap();
        assert!(told.contains(expected), "{told}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deprecated_version_names_the_one_to_use() {
    let server = Server::start().await;
    let old = |name: &str| {
        let mut version = version(name, false, &spec());
        version["deprecated"] = true.into();
        version
    };
    let mut told = old("v1beta2");
    told["deprecationWarning"] = "gone soon".into();
    let unserved =
        json!({"name": "v3", "served": false, "storage": false, "schema": version("v3", false, &spec())["schema"]});
    let versions =
        [version("v1", true, &spec()), old("v1beta1"), told, old("v2"), version("v1alpha1", false, &spec()), unserved];
    define(&server, &definition("widgets", "Widget", &versions)).await;
    let warnings = async |version: &str| widgets(&server, version).list().await.warnings;
    let newer = "299 - \"example.com/v1beta1 Widget is deprecated; use example.com/v1 Widget\"";
    assert_eq!(warnings("v1beta1").await, [newer]);
    assert_eq!(warnings("v1beta2").await, ["299 - \"gone soon\""]);
    assert_eq!(warnings("v2").await, ["299 - \"example.com/v2 Widget is deprecated\""]);
    assert_eq!(warnings("v1").await, Vec::<String>::new());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_format_that_says_nothing_is_told_once() {
    let server = Server::start().await;
    let with = |formats: &[&str]| {
        let mut version = version("v1", true, &spec());
        for (index, format) in formats.iter().enumerate() {
            version["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"][format!("f{index}")] =
                json!({"type": "string", "format": format});
        }
        definition("widgets", "Widget", &[version])
    };
    let put = async |formats: &[&str]| {
        let mut definition = with(formats);
        let name = definition["metadata"]["name"].as_str().unwrap().to_owned();
        definition["metadata"] = defined(&server, &name).await["metadata"].clone();
        server.on(DEFINITIONS, "").name(&name).update(&definition).await
    };
    let made = server.on(DEFINITIONS, "").create(&with(&["one"])).await;
    assert_eq!(made.warnings, ["299 - \"unrecognized format \\\"one\\\"\""]);
    let more = put(&["one", "two"]).await;
    assert_eq!((more.code, more.warnings), (200, vec!["299 - \"unrecognized format \\\"two\\\"\"".to_owned()]));
    let mut blind = with(&["one"]);
    blind["metadata"] = json!({"name": "widgets.example.com"});
    let blind = server.on(DEFINITIONS, "").name("widgets.example.com").update(&blind).await;
    assert_eq!((blind.code, causes(&blind)), (422, vec!["FieldValueInvalid metadata.resourceVersion".to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn columns_and_selectors_are_the_definitions() {
    let server = with_widgets().await;
    for (name, color) in [("a", "red"), ("b", "blue")] {
        widgets(&server, "v1").create(&widget("v1", name, &json!({"size": 3, "color": color}))).await.expect(201);
    }
    let blue = widgets(&server, "v1").query("fieldSelector", "spec.color=blue").list().await.expect(200);
    let names: Vec<_> = blue["items"].as_array().unwrap().iter().map(|item| &item["metadata"]["name"]).collect();
    assert_eq!(names, ["b"]);
    assert_eq!(blue["items"][0]["kind"], "Widget");
    let unknown = widgets(&server, "v1").query("fieldSelector", "spec.size=3").list().await;
    assert_eq!((unknown.code, unknown.at("/message")), (400, &json!("field label not supported: spec.size")));
    let table = widgets(&server, "v1").accept("application/json;as=Table;v=v1;g=meta.k8s.io").list().await.expect(200);
    let columns: Vec<_> = table["columnDefinitions"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(columns, ["Name", "Size", "Phase"]);
    assert_eq!(table["rows"][0]["cells"], json!(["a", 3, null]));
}

#[tokio::test(flavor = "multi_thread")]
async fn every_version_tells_the_same_objects() {
    let server = Server::start().await;
    let mut second = spec();
    second["properties"]["extra"] = json!({"type": "string", "default": "new"});
    let versions = [version("v1", true, &spec()), version("v2", false, &second)];
    define(&server, &definition("widgets", "Widget", &versions)).await;
    widgets(&server, "v1").create(&widget("v1", "a", &json!({"size": 3}))).await.expect(201);
    let told = widgets(&server, "v2").name("a").get().await.expect(200);
    assert_eq!(told["apiVersion"], "example.com/v2");
    let listed = widgets(&server, "v2").list().await.expect(200);
    assert_eq!(listed["items"][0]["apiVersion"], "example.com/v2");
    let updated = widgets(&server, "v2").name("a").merge(&json!({"spec": {"size": 4}})).await.expect(200);
    assert_eq!((&updated["apiVersion"], &updated["spec"]["size"]), (&json!("example.com/v2"), &json!(4)));
    let events = widgets(&server, "v2").query("resourceVersion", "1").watch(1).await;
    assert_eq!(events[0]["object"]["apiVersion"], "example.com/v2");
    let first = widgets(&server, "v1").name("a").get().await.expect(200);
    assert_eq!((&first["apiVersion"], first["spec"].get("extra")), (&json!("example.com/v1"), None));
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_webhook_would_have_to_convert_is_refused() {
    let server = Server::start().await;
    let versions = [version("v1", true, &spec()), version("v2", false, &spec())];
    let mut definition = definition("widgets", "Widget", &versions);
    let hook = json!({"clientConfig": {"url": "https://127.0.0.1:1/convert"}, "conversionReviewVersions": ["v1"]});
    definition["spec"]["conversion"] = json!({"strategy": "Webhook", "webhook": hook});
    define(&server, &definition).await;
    widgets(&server, "v1").create(&widget("v1", "a", &json!({"size": 3}))).await.expect(201);
    widgets(&server, "v1").name("a").get().await.expect(200);
    let refused = [
        widgets(&server, "v2").name("a").get().await,
        widgets(&server, "v2").list().await,
        widgets(&server, "v2").create(&widget("v2", "b", &json!({"size": 3}))).await,
    ];
    for answer in refused {
        assert_eq!(answer.code, 500, "{:#}", answer.body);
        assert!(answer.body["message"].as_str().unwrap().contains("conversion webhook for example.com/"));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_stored_before_gets_new_defaults_when_it_is_read() {
    let server = with_widgets().await;
    widgets(&server, "v1").create(&widget("v1", "a", &json!({"size": 3}))).await.expect(201);
    let mut wider = defined(&server, "widgets.example.com").await;
    wider["spec"]["versions"][0]["schema"]["openAPIV3Schema"]["properties"]["spec"]["properties"]["shape"] =
        json!({"type": "string", "default": "round"});
    server.on(DEFINITIONS, "").name("widgets.example.com").update(&wider).await.expect(200);
    let read = widgets(&server, "v1").name("a").get().await.expect(200);
    assert_eq!(read["spec"]["shape"], "round");
    let listed = widgets(&server, "v1").list().await.expect(200);
    assert_eq!(listed["items"][0]["spec"]["shape"], "round");
}

#[tokio::test(flavor = "multi_thread")]
async fn custom_objects_may_have_finalizers_without_a_domain() {
    const FINALIZER: &str = "resources-finalizer.argocd.argoproj.io";
    let server = with_widgets().await;
    let mut held = widget("v1", "held", &json!({"size": 3}));
    held["metadata"]["finalizers"] = json!([FINALIZER]);
    let made = widgets(&server, "v1").create(&held).await;
    assert_eq!(made.code, 201, "{:#}", made.body);
    assert!(made.warnings[0].contains("prefer a domain-qualified finalizer name"), "{:?}", made.warnings);
    let changed = widgets(&server, "v1").name("held").merge(&json!({"spec": {"size": 4}})).await;
    assert_eq!((changed.code, changed.warnings.len()), (200, 0));
    let refused = widgets(&server, "v1").name("held").merge(&json!({"metadata": {"finalizers": ["a b"]}})).await;
    assert_eq!((refused.code, refused.at("/details/causes/0/field")), (422, &json!("metadata.finalizers")));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_goes_after_its_objects() {
    let server = with_widgets().await;
    tokio::spawn(keep_definitions(server.core.clone()));
    let kind = || server.core.kinds().by_resource("example.com", "v1", "widgets");
    let mut held = widget("v1", "held", &json!({"size": 3}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    widgets(&server, "v1").create(&held).await.expect(201);
    widgets(&server, "v1").create(&widget("v1", "free", &json!({"size": 3}))).await.expect(201);
    let marked = server.on(DEFINITIONS, "").name("widgets.example.com").delete(&Value::Null).await.expect(200);
    assert_eq!(marked["metadata"]["finalizers"], json!(["customresourcecleanup.apiextensions.k8s.io"]));
    let left = async || widgets(&server, "v1").list().await.expect(200)["items"].as_array().unwrap().len();
    until(async || left().await == 1).await;
    let refused = widgets(&server, "v1").create(&widget("v1", "late", &json!({"size": 3}))).await;
    assert_eq!(refused.code, 405, "{:#}", refused.body);
    widgets(&server, "v1").name("held").merge(&json!({"metadata": {"finalizers": null}})).await.expect(200);
    until(async || kind().is_none()).await;
    assert_eq!(server.on(DEFINITIONS, "").name("widgets.example.com").get().await.code, 404);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_that_goes_holds_up_no_other() {
    let server = with_widgets().await;
    define(&server, &definition("gadgets", "Gadget", &[version("v1", true, &spec())])).await;
    let mut held = widget("v1", "held", &json!({"size": 3}));
    held["metadata"]["finalizers"] = json!(["example.com/hold"]);
    widgets(&server, "v1").create(&held).await.expect(201);
    let kind = |plural: &str| server.core.kinds().by_resource("example.com", "v1", plural);
    let mut gadget = widget("v1", "free", &json!({"size": 3}));
    gadget["kind"] = "Gadget".into();
    server.about(kind("gadgets").unwrap(), "default").create(&gadget).await.expect(201);
    for plural in ["gadgets", "widgets"] {
        server.on(DEFINITIONS, "").name(&format!("{plural}.example.com")).delete(&Value::Null).await.expect(200);
    }
    // Nobody's answer waits for their objects: here nobody deletes them yet.
    let scope = |plural: &str| Scope { resource: format!("{plural}.example.com"), namespace: None };
    let left = |plural: &str| server.core.log.count(&scope(plural), 2);
    assert_eq!((left("gadgets"), left("widgets")), (1, 1));
    define(&server, &definition("gizmos", "Gizmo", &[version("v1", true, &spec())])).await;
    assert!(kind("gizmos").is_some());
    tokio::spawn(keep_definitions(server.core.clone()));
    until(async || kind("gadgets").is_none()).await;
    assert_eq!((left("gadgets"), left("widgets")), (0, 1));
    until(async || !widgets(&server, "v1").name("held").get().await.body["metadata"]["deletionTimestamp"].is_null())
        .await;
    widgets(&server, "v1").name("held").merge(&json!({"metadata": {"finalizers": null}})).await.expect(200);
    until(async || kind("widgets").is_none()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_definition_goes_also_if_it_serves_nothing() {
    let server = with_widgets().await;
    tokio::spawn(keep_definitions(server.core.clone()));
    widgets(&server, "v1").create(&widget("v1", "a", &json!({"size": 3}))).await.expect(201);
    let mut unserved = version("v1", true, &spec());
    unserved["served"] = json!(false);
    let patch = json!({"spec": {"versions": [unserved]}});
    server.on(DEFINITIONS, "").name("widgets.example.com").merge(&patch).await.expect(200);
    server.on(DEFINITIONS, "").name("widgets.example.com").delete(&Value::Null).await.expect(200);
    until(async || server.on(DEFINITIONS, "").name("widgets.example.com").get().await.code == 404).await;
    let scope = Scope { resource: "widgets.example.com".to_owned(), namespace: None };
    assert_eq!(server.core.log.count(&scope, 1), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn definitions_that_make_no_sense_are_refused() {
    let server = Server::start().await;
    let sound = definition("widgets", "Widget", &[version("v1", true, &spec())]);
    let schema = "/spec/versions/0/schema/openAPIV3Schema/properties/spec";
    let table: [(&str, Value, &str); 8] = [
        ("/metadata/name", json!("other"), "FieldValueInvalid metadata.name"),
        ("/spec/scope", json!("Galaxy"), "FieldValueNotSupported spec.scope"),
        ("/spec/group", json!("nodots"), "FieldValueInvalid spec.group"),
        ("/spec/versions/0/storage", json!(false), "FieldValueInvalid spec.versions"),
        (
            "/spec/versions/0/additionalPrinterColumns/0/jsonPath",
            json!("spec.size"),
            "FieldValueInvalid spec.versions[0].additionalPrinterColumns[0].jsonPath",
        ),
        (
            "/spec/versions/0/selectableFields/0/jsonPath",
            json!(".spec.none"),
            "FieldValueInvalid spec.versions[0].selectableFields[0].jsonPath",
        ),
        (
            schema,
            json!({"properties": {}}),
            "FieldValueRequired spec.versions[0].schema.openAPIV3Schema.properties[spec].type",
        ),
        (
            schema,
            json!({"type": "object", "x-kubernetes-validations": [{"rule": "self.none > 1"}]}),
            "FieldValueInvalid spec.versions[0].schema.openAPIV3Schema.properties[spec].x-kubernetes-validations[0].rule",
        ),
    ];
    for (pointer, value, expected) in table {
        let mut wrong = sound.clone();
        *wrong.pointer_mut(pointer).unwrap() = value;
        let answer = server.on(DEFINITIONS, "").create(&wrong).await;
        assert_eq!(answer.code, 422, "{pointer}: {:#}", answer.body);
        assert!(causes(&answer).contains(&expected.to_owned()), "{pointer}: {:#?}", causes(&answer));
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_when_its_kind_becomes_another() {
    let server = with_widgets().await;
    let made = widgets(&server, "v1").create(&widget("v1", "a", &json!({"size": 3}))).await;
    let from = made.revision().to_string();
    let mut watch = widgets(&server, "v1").query("resourceVersion", &from).follow().await;

    // A condition is not the author's change.
    let mut seen = defined(&server, "widgets.example.com").await;
    let condition = json!({"type": "Audited", "status": "True", "reason": "ByHand", "message": "",
        "lastTransitionTime": "2026-11-29T00:00:00Z"});
    seen["status"]["conditions"].as_array_mut().unwrap().push(condition);
    server.on(DEFINITIONS, "").name("widgets.example.com").sub("status").update(&seen).await.expect(200);
    widgets(&server, "v1").name("a").merge(&json!({"spec": {"size": 4}})).await.expect(200);
    assert_eq!(watch.next().await.unwrap()["object"]["spec"]["size"], 4);

    let mut spec = spec();
    spec["properties"]["shape"] = json!({"type": "string"});
    let wider = json!({"spec": {"versions": [version("v1", true, &spec)]}});
    server.on(DEFINITIONS, "").name("widgets.example.com").merge(&wider).await.expect(200);
    widgets(&server, "v1").name("a").merge(&json!({"spec": {"shape": "round"}})).await.expect(200);
    assert_eq!(watch.next().await, None, "it tells nothing without what the kind now has");
    let again = widgets(&server, "v1").query("resourceVersion", &from).watch(2).await;
    assert_eq!(again[1]["object"]["spec"]["shape"], "round");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_tells_the_end_of_every_object_of_a_kind_that_goes() {
    let server = with_widgets().await;
    tokio::spawn(keep_definitions(server.core.clone()));
    let mut from = 0;
    for name in ["a", "b"] {
        from = widgets(&server, "v1").create(&widget("v1", name, &json!({"size": 3}))).await.revision();
    }
    let mut watch = widgets(&server, "v1").query("resourceVersion", &from.to_string()).follow().await;
    widgets(&server, "v1").name("a").merge(&json!({"spec": {"size": 4}})).await.expect(200);
    server.on(DEFINITIONS, "").name("widgets.example.com").delete(&Value::Null).await.expect(200);
    until(async || server.on(DEFINITIONS, "").name("widgets.example.com").get().await.code == 404).await;
    let mut told = Vec::new();
    // Whoever asks for its events only now could not ask for anything else any more.
    while let Some(event) = watch.next().await {
        let text = |pointer: &str| event.pointer(pointer).unwrap().as_str().unwrap().to_owned();
        told.push([text("/type"), text("/object/metadata/name")].join(" "));
    }
    told[1..].sort();
    assert_eq!(told, ["MODIFIED a", "DELETED a", "DELETED b"]);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_object_is_of_its_kind_as_it_is_when_the_object_is_written() {
    let server = Arc::new(with_widgets().await);
    tokio::spawn(keep_definitions(server.core.clone()));
    // What is done to the definition while somebody is asked about a widget.
    let meanwhile = Arc::new(Mutex::new(None::<(Arc<Server>, Value)>));
    let asked = meanwhile.clone();
    let hook = Hook::start_async(move |_, request| {
        let meanwhile = asked.lock().unwrap().take();
        Box::pin(async move {
            match meanwhile {
                Some((server, Value::Null)) => {
                    server.on(DEFINITIONS, "").name("widgets.example.com").delete(&Value::Null).await.expect(200);
                    let deadline = Instant::now() + Duration::from_secs(20);
                    while server.on(DEFINITIONS, "").name("widgets.example.com").get().await.code != 404 {
                        assert!(Instant::now() < deadline, "the definition does not go");
                        sleep(Duration::from_millis(10)).await;
                    }
                }
                Some((server, patch)) => {
                    server.on(DEFINITIONS, "").name("widgets.example.com").merge(&patch).await.expect(200);
                }
                None => {}
            }
            yes(&request)
        })
    })
    .await;
    let rule =
        json!({"operations": ["*"], "apiGroups": ["example.com"], "apiVersions": ["*"], "resources": ["widgets"]});
    let webhook = json!({
        "name": "a.b.c", "clientConfig": hook.client("/"), "rules": [rule], "sideEffects": "None",
        "admissionReviewVersions": ["v1"],
    });
    let configuration = json!({"metadata": {"name": "v"}, "webhooks": [webhook]});
    let kind = "admissionregistration.k8s.io/ValidatingWebhookConfiguration";
    server.on(kind, "").create(&configuration).await.expect(201);

    let mut taller = spec();
    taller["properties"]["height"] = json!({"type": "integer", "default": 7});
    let patch = json!({"spec": {"versions": [version("v1", true, &taller)]}});
    *meanwhile.lock().unwrap() = Some((server.clone(), patch));
    let made = widgets(&server, "v1").create(&widget("v1", "a", &json!({"size": 3}))).await.expect(201);
    assert_eq!(made["spec"]["height"], 7);
    let mut wider = taller.clone();
    wider["properties"]["width"] = json!({"type": "integer", "default": 8});
    let patch = json!({"spec": {"versions": [version("v1", true, &wider)]}});
    *meanwhile.lock().unwrap() = Some((server.clone(), patch));
    let changed = widgets(&server, "v1").name("a").merge(&json!({"spec": {"size": 4}})).await.expect(200);
    assert_eq!((&changed["spec"]["size"], &changed["spec"]["width"]), (&json!(4), &json!(8)));

    *meanwhile.lock().unwrap() = Some((server.clone(), Value::Null));
    let late = widgets(&server, "v1").create(&widget("v1", "late", &json!({"size": 3}))).await;
    assert_eq!(late.code, 404, "{}", late.body);
    let scope = Scope { resource: "widgets.example.com".to_owned(), namespace: None };
    assert_eq!(server.core.log.list(&scope, ListOptions::default()).unwrap().items.len(), 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn frames_are_of_the_kind_that_told_them() {
    let server = with_widgets().await;
    let made = widgets(&server, "v1").create(&widget("v1", "a", &json!({"size": 3}))).await;
    let from = (made.revision() - 1).to_string();
    let told = widgets(&server, "v1").query("resourceVersion", &from).watch(1).await;
    assert_eq!(told[0]["object"]["spec"].get("height"), None);
    let mut spec = spec();
    spec["properties"]["height"] = json!({"type": "integer", "default": 7});
    let taller = json!({"spec": {"versions": [version("v1", true, &spec)]}});
    server.on(DEFINITIONS, "").name("widgets.example.com").merge(&taller).await.expect(200);
    let told = widgets(&server, "v1").query("resourceVersion", &from).watch(1).await;
    assert_eq!(told[0]["object"]["spec"]["height"], 7);
}
