use kube::{api::ApiResource, core::GroupVersionKind, core::ObjectMeta};
use serde_json::Value;

use super::*;
use crate::scripted::{self, Asked};

fn collector(answer: impl Fn(&str, &str) -> (u16, Value) + Clone + Send + Sync + 'static) -> (Collector, Asked) {
    let (context, asked) = scripted::context(answer);
    let recorder = context.recorder("garbage-collector-controller");
    (Collector { context, graph: Arc::default(), recorder }, asked)
}

/// A ConfigMap whose uid is its name, with these owners.
fn metadata(name: &str, owners: &[&str]) -> Value {
    let owner = |name: &&str| json!({"apiVersion": "v1", "kind": "ConfigMap", "name": name, "uid": name});
    let owners: Vec<Value> = owners.iter().map(owner).collect();
    json!({"name": name, "namespace": "a", "uid": name, "resourceVersion": "7", "ownerReferences": owners})
}

/// What the API answers who asks for it.
fn found(metadata: &Value) -> (u16, Value) {
    (200, json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": metadata}))
}

async fn put(collector: &Collector, metadata: Value) {
    let resource = Arc::new(ApiResource::from_gvk(&GroupVersionKind::gvk("", "v1", "ConfigMap")));
    let metadata: ObjectMeta = serde_json::from_value(metadata).unwrap();
    let mut graph = collector.graph.write().await;
    graph.learn([(resource.clone(), true)]);
    let (namespace, name) = (metadata.namespace.clone(), metadata.name.clone().unwrap_or_default());
    graph.put(Identity { resource, namespace, name }, &metadata);
}

/// An owner that is being deleted with this finalizer, and three that it owns.
async fn put_family(collector: &Collector, finalizer: &str) {
    let mut owner = metadata("owner", &[]);
    owner["finalizers"] = json!([finalizer]);
    owner["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    put(collector, owner).await;
    for name in ["one", "two", "three"] {
        put(collector, metadata(name, &["owner"])).await;
    }
}

fn paths(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| format!("/api/v1/namespaces/a/configmaps/{name}")).collect()
}

fn name_of(path: &str) -> &str {
    path.rsplit('/').next().unwrap_or_default()
}

/// Everything is owned by `owner`, and no write to `two` is let in.
fn refuses_two(method: &str, path: &str) -> (u16, Value) {
    match (method, name_of(path)) {
        ("GET", name) => found(&metadata(name, &["owner"])),
        (_, "two") => scripted::failure(403, "Forbidden", "two"),
        (_, name) => found(&metadata(name, &[])),
    }
}

#[tokio::test]
async fn a_dependent_that_cannot_be_deleted_keeps_no_other() {
    let (collector, asked) = collector(refuses_two);
    put_family(&collector, FOREGROUND).await;
    let refused = collector.attend("owner").await.unwrap_err();
    assert_eq!(refused.to_string(), "Forbidden");
    assert_eq!(asked.with("DELETE"), paths(&["one", "three", "two"]));
}

#[tokio::test]
async fn a_dependent_that_cannot_be_released_keeps_its_owner_and_no_other() {
    let (collector, asked) = collector(refuses_two);
    put_family(&collector, ORPHAN).await;
    collector.attend("owner").await.unwrap_err();
    assert_eq!(asked.with("PATCH"), paths(&["one", "three", "two"]));
}

#[tokio::test]
async fn what_has_other_owners_by_now_is_not_deleted_in_the_foreground() {
    let (collector, asked) = collector(|_, path| match name_of(path) {
        "one" => found(&metadata("one", &[])),
        "two" => found(&metadata("two", &["owner", "other"])),
        name => found(&metadata(name, &["owner"])),
    });
    put_family(&collector, FOREGROUND).await;
    collector.attend("owner").await.unwrap();
    assert_eq!(asked.with("DELETE"), paths(&["three"]));
}

#[tokio::test]
async fn what_was_released_before_its_owner_went_stays() {
    let (collector, asked) = collector(|_, path| match name_of(path) {
        "child" => found(&metadata("child", &[])),
        name => scripted::failure(404, "NotFound", name),
    });
    put(&collector, metadata("child", &["owner"])).await;
    collector.attend("child").await.unwrap();
    assert_eq!(asked.with("DELETE"), Vec::<String>::new());
}

#[tokio::test]
async fn a_resource_that_is_not_served_says_nothing_of_an_owner() {
    let (collector, asked) = collector(|_, path| match name_of(path) {
        "child" => found(&metadata("child", &["ghost"])),
        _ => scripted::failure(404, "NotFound", ""),
    });
    put(&collector, metadata("child", &["ghost"])).await;
    collector.attend("child").await.unwrap_err();
    assert_eq!((asked.with("GET"), asked.with("DELETE")), (paths(&["child", "ghost"]), Vec::new()));
}

#[tokio::test]
async fn what_is_not_found_is_gone_and_its_dependent_goes() {
    let (collector, asked) = collector(|_, path| match name_of(path) {
        "child" => found(&metadata("child", &["ghost"])),
        name => scripted::failure(404, "NotFound", name),
    });
    put(&collector, metadata("child", &["ghost"])).await;
    collector.attend("child").await.unwrap();
    assert_eq!(asked.with("DELETE"), paths(&["child"]));
}
