//! Every kind goes through the same life: what the generic store promises, it promises for all of them.
#![allow(clippy::unwrap_used)]

mod client;

use client::{Answer, Server};
use kontiki_kinds::{Deletion, KINDS, Kind, KindRef};
use serde_json::{Value, json};

const NAMESPACE: &str = "default";
const FINALIZER: &str = "example.com/hold";

/// The least that is a valid object of the kind, besides its name.
fn example(kind: &Kind) -> Value {
    if kind.custom.is_some() {
        return json!({"apiVersion": kind.group_version(), "kind": kind.kind, "spec": {"size": 1}});
    }
    let examples: Vec<Value> = serde_json::from_str(include_str!("fixtures/examples.json")).unwrap();
    let version = kind.group_version();
    let found = examples.into_iter().find(|one| one["kind"] == kind.kind && one["apiVersion"] == *version);
    found.unwrap_or_else(|| panic!("{version} {} has no example: add one to fixtures/examples.json", kind.kind))
}

/// The kinds that have a life, and objects of any name; the others are told by the server and never stored, or named after what
/// they define.
fn stored() -> impl Iterator<Item = KindRef> {
    KINDS.iter().filter(|kind| kind.computed.is_none() && !kind.defines_kinds).map(|kind| KindRef::Builtin(kind))
}

/// A word as a name of the kind: some kinds' names say what their objects are.
fn name_of(kind: &Kind, word: &str) -> String {
    match kind.kind {
        "APIService" => format!("v1.{word}.example.com"),
        "IPAddress" => format!("10.120.0.{}", word.bytes().map(u32::from).sum::<u32>() % 250 + 1),
        _ => word.to_owned(),
    }
}

fn named(kind: &Kind, word: &str) -> Value {
    let mut object = example(kind);
    object["metadata"] = json!({"name": name_of(kind, word), "labels": {"battery": "yes"}});
    if kind.kind == "APIService" {
        object["spec"]["group"] = format!("{word}.example.com").into();
    }
    object
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_is_created_read_changed_and_deleted() {
    let server = Server::start().await;
    for kind in stored() {
        let life = Life { server: &server, kind };
        let created = life.created().await;
        life.read(&created).await;
        life.patched().await;
        life.updated().await;
        life.deleted().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn every_kind_can_be_applied() {
    let server = Server::start().await;
    for kind in stored() {
        Life { server: &server, kind }.applied().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn finalizers_hold_every_kind() {
    let server = Server::start().await;
    for kind in stored() {
        Life { server: &server, kind }.held().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_custom_kind_has_the_same_life() {
    let server = Server::start().await;
    let definition = json!({
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": {
                "type": "object", "properties": {"spec": {"type": "object", "properties": {"size": {"type": "integer"}}}}}}}],
        },
    });
    server.on("apiextensions.k8s.io/CustomResourceDefinition", "").create(&definition).await.expect(201);
    let kind = server.core.kinds().by_resource("example.com", "v1", "widgets").unwrap();
    let life = Life { server: &server, kind };
    let created = life.created().await;
    life.read(&created).await;
    life.patched().await;
    life.updated().await;
    life.deleted().await;
    life.applied().await;
    life.held().await;
}

struct Life<'a> {
    server: &'a Server,
    kind: KindRef,
}

impl Life<'_> {
    fn all(&self) -> client::Call<'_> {
        self.server.about(self.kind.clone(), NAMESPACE)
    }

    fn one(&self) -> client::Call<'_> {
        self.all().name(&self.name("battery"))
    }

    fn name(&self, word: &str) -> String {
        name_of(&self.kind, word)
    }

    fn ok(&self, step: &str, answer: Answer, code: u16) -> Answer {
        assert_eq!(answer.code, code, "{} {step}: {:#}", self.kind.kind, answer.body);
        answer
    }

    async fn created(&self) -> Value {
        let object = named(&self.kind, "battery");
        let dry = self.ok("dry run", self.all().query("dryRun", "All").create(&object).await, 201);
        assert_eq!(dry.at("/metadata/resourceVersion"), &Value::Null);
        self.ok("after a dry run", self.one().get().await, 404);
        let created = self.ok("create", self.all().create(&object).await, 201);
        assert_eq!(created.at("/kind"), self.kind.kind);
        assert_eq!(created.at("/apiVersion"), &json!(self.kind.group_version()));
        let again = self.ok("create again", self.all().create(&object).await, 409);
        assert_eq!(again.at("/reason"), "AlreadyExists");
        let unnamed = self.ok("without a name", self.all().create(&example(&self.kind)).await, 422);
        assert_eq!(unnamed.at("/reason"), "Invalid");
        let mut strict = object.clone();
        strict["metadata"]["name"] = "strict".into();
        strict["nonsense"] = 1.into();
        let refused = self.all().query("fieldValidation", "Strict").create(&strict).await;
        self.ok("unknown field", refused, 400);
        created.body
    }

    async fn read(&self, created: &Value) {
        let got = self.ok("get", self.one().get().await, 200);
        assert_eq!(got.body, *created);
        let listed = self.ok("list", self.all().query("labelSelector", "battery=yes").list().await, 200);
        let items = listed.at("/items").as_array().unwrap();
        assert_eq!(items.len(), 1);
        assert_eq!(items[0]["metadata"], created["metadata"]);
        assert_eq!(items[0].get("kind").is_some(), self.kind.custom.is_some());
        let name = self.all().query("fieldSelector", &format!("metadata.name={}", self.name("battery")));
        let table = name.accept("application/json;as=Table;v=v1;g=meta.k8s.io").list().await;
        let table = self.ok("table", table, 200);
        let (columns, cells) = (table.at("/columnDefinitions"), table.at("/rows/0/cells"));
        assert_eq!(columns.as_array().unwrap().len(), self.kind.columns.len(), "{}", self.kind.kind);
        let expected = (self.kind.cells)(created, chrono::Utc::now()).len();
        assert_eq!(cells.as_array().unwrap().len(), expected, "{}", self.kind.kind);
        assert_eq!(table.at("/rows/0/object/metadata"), &created["metadata"]);
        let partial = self.one().accept("application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io").get().await;
        assert_eq!(self.ok("metadata", partial, 200).at("/metadata"), &created["metadata"]);
        let before = got.revision() - 1;
        let watch = self.all().query("resourceVersion", &before.to_string()).query("labelSelector", "battery");
        let events = watch.watch(1).await;
        assert_eq!(events, [json!({"type": "ADDED", "object": created})]);
    }

    async fn patched(&self) {
        let label = |value: &str| json!({"metadata": {"labels": {"patched": value}}});
        let merge = self.ok("merge patch", self.one().merge(&label("merge")).await, 200);
        assert_eq!(merge.at("/metadata/labels/patched"), "merge");
        let same = self.ok("same again", self.one().merge(&label("merge")).await, 200);
        assert_eq!(same.revision(), merge.revision(), "{}: a patch that changes nothing", self.kind.kind);
        let json_patch = json!([
            {"op": "test", "path": "/metadata/labels/patched", "value": "merge"},
            {"op": "replace", "path": "/metadata/labels/patched", "value": "json"},
        ]);
        let json = self.ok("JSON patch", self.one().patch("application/json-patch+json", &json_patch).await, 200);
        assert_eq!(json.at("/metadata/labels/patched"), "json");
        let strategic = self.one().patch("application/strategic-merge-patch+json", &label("strategic")).await;
        match self.kind.custom {
            Some(_) => {
                self.ok("strategic patch", strategic, 415);
                self.ok("merge patch in its place", self.one().merge(&label("strategic")).await, 200);
            }
            None => {
                let strategic = self.ok("strategic patch", strategic, 200);
                assert_eq!(strategic.at("/metadata/labels/patched"), "strategic");
            }
        }
        let other = json!({"metadata": {"name": "other"}});
        self.ok("another name", self.one().merge(&other).await, 400);
        let dry = self.ok("dry patch", self.one().query("dryRun", "All").merge(&label("dry")).await, 200);
        assert_eq!(dry.at("/metadata/labels/patched"), "dry");
        let got = self.one().get().await;
        assert_eq!(got.at("/metadata/labels/patched"), "strategic");
    }

    /// Two who apply, one who updates, and one who takes all names off.
    async fn applied(&self) {
        const TYPE: &str = "application/apply-patch+yaml";
        let name = self.name("applied");
        let config = |labels: Value| {
            let mut config = named(&self.kind, "applied");
            config["apiVersion"] = self.kind.group_version().into();
            config["kind"] = self.kind.kind.into();
            config["metadata"]["labels"] = labels;
            config
        };
        let patch = |manager: &str, config: Value| {
            let call = self.all().name(&name).query("fieldManager", manager);
            async move { call.patch(TYPE, &config).await }
        };
        let full = config(json!({"mine": "1", "shared": "1"}));
        let created = self.ok("create by apply", patch("m1", full.clone()).await, 201);
        let entry = created.at("/metadata/managedFields/0");
        assert_eq!((&entry["manager"], &entry["operation"]), (&json!("m1"), &json!("Apply")), "{}", self.kind.kind);
        assert_eq!(entry["fieldsV1"]["f:metadata"], json!({"f:labels": {"f:mine": {}, "f:shared": {}}}));
        let again = self.ok("apply again", patch("m1", full).await, 200);
        assert_eq!(again.body, created.body, "{}", self.kind.kind);
        let label = |labels: Value| json!({"apiVersion": self.kind.group_version(), "kind": self.kind.kind, "metadata": {"labels": labels}});
        let refused = self.ok("conflict", patch("m2", label(json!({"shared": "2"}))).await, 409);
        assert_eq!(refused.at("/details/causes/0/reason"), "FieldManagerConflict");
        assert_eq!(refused.at("/details/causes/0/field"), ".metadata.labels.shared");
        let forced = self.all().name(&name).query("fieldManager", "m2").query("force", "true");
        let forced = self.ok("force", forced.patch(TYPE, &label(json!({"shared": "2"}))).await, 200);
        let labels = |answer: &Answer| ["mine", "shared"].map(|name| answer.at("/metadata/labels")[name].clone());
        assert_eq!(labels(&forced), [json!("1"), json!("2")], "{}", self.kind.kind);
        let changed = self.all().name(&name).query("fieldManager", "updater");
        let changed = self.ok("update", changed.merge(&json!({"metadata": {"labels": {"mine": "3"}}})).await, 200);
        let entries = changed.at("/metadata/managedFields").as_array().unwrap();
        let updater = entries.iter().find(|entry| entry["manager"] == "updater").unwrap();
        assert_eq!(updater["fieldsV1"], json!({"f:metadata": {"f:labels": {"f:mine": {}}}}), "{}", self.kind.kind);
        let given_up = self.ok("give up", patch("m2", label(json!({}))).await, 200);
        assert_eq!(labels(&given_up), [json!("3"), Value::Null], "{}", self.kind.kind);
        let reset = json!([{"op": "replace", "path": "/metadata/managedFields", "value": [{}]}]);
        let reset = self.all().name(&name).patch("application/json-patch+json", &reset).await;
        assert_eq!(self.ok("reset", reset, 200).at("/metadata/managedFields"), &Value::Null);
        // Another spelling of the kind would find it.
        let options = json!({"propagationPolicy": "Background"});
        self.ok("delete it", self.all().name(&name).delete(&options).await, 200);
    }

    async fn updated(&self) {
        let mut object = self.one().get().await.body;
        object["metadata"]["annotations"] = json!({"a": "1"});
        let updated = self.ok("update", self.one().update(&object).await, 200);
        assert_eq!(updated.at("/metadata/annotations/a"), "1");
        // Of metadata, labels and annotations count as content for some kinds; owners count for none.
        let owned =
            json!({"metadata": {"ownerReferences": [{"apiVersion": "v1", "kind": "K", "name": "o", "uid": "u"}]}});
        let owned = self.ok("owned", self.one().merge(&owned).await, 200);
        assert_eq!(owned.at("/metadata/generation"), updated.at("/metadata/generation"), "{}", self.kind.kind);
        assert_eq!(owned.at("/metadata/generation").is_null(), !self.kind.generation, "{}", self.kind.kind);
        let updated = owned;
        let stale = self.ok("stale update", self.one().update(&object).await, 409);
        assert_eq!(stale.at("/reason"), "Conflict");
        let same = self.ok("same update", self.one().update(&updated.body).await, 200);
        assert_eq!(same.revision(), updated.revision());
        let mut other = updated.body.clone();
        other["metadata"]["uid"] = "11111111-2222-3333-4444-555555555555".into();
        self.ok("another uid", self.one().update(&other).await, 409);
        let absent = named(&self.kind, "absent");
        let code = if self.kind.create_on_update { 201 } else { 404 };
        self.ok("update of nothing", self.all().name(&self.name("absent")).update(&absent).await, code);
        if self.kind.create_on_update {
            // Another spelling of the kind would find it.
            self.ok("delete it", self.all().name(&self.name("absent")).delete(&Value::Null).await, 200);
        }
    }

    async fn deleted(&self) {
        let object = self.one().get().await;
        let (before, guarded) = (object.revision(), !object.at("/metadata/finalizers").is_null());
        let wrong = json!({"preconditions": {"uid": "11111111-2222-3333-4444-555555555555"}});
        self.ok("wrong uid", self.one().delete(&wrong).await, 409);
        self.ok("dry delete", self.one().query("dryRun", "All").delete(&Value::Null).await, 200);
        self.ok("after a dry delete", self.one().get().await, 200);
        let options = json!({"propagationPolicy": "Background"});
        let deleted = self.ok("delete", self.one().delete(&options).await, 200);
        match (self.kind.delete_returns_object || guarded, self.kind.deletion) {
            (false, Deletion::Immediate) => assert_eq!(deleted.at("/status"), "Success"),
            _ => assert_eq!(deleted.at("/metadata/name"), &self.name("battery")),
        }
        if self.kind.deletion == Deletion::SpecFinalizers {
            let emptied = json!({"metadata": {"name": "battery"}, "spec": {}});
            self.ok("finalize", self.one().sub("finalize").update(&emptied).await, 200);
        }
        if guarded {
            self.ok("let go", self.one().merge(&json!({"metadata": {"finalizers": null}})).await, 200);
        }
        self.ok("gone", self.one().get().await, 404);
        let watch = self.all().query("resourceVersion", &before.to_string());
        // What a finalizer holds is marked first, then goes; the others go at once.
        let types: &[&str] = match self.kind.deletion {
            Deletion::Immediate | Deletion::Graceful if !guarded => &["DELETED"],
            Deletion::Immediate | Deletion::Graceful | Deletion::SpecFinalizers => &["MODIFIED", "DELETED"],
        };
        let selected = format!("metadata.name={}", self.name("battery"));
        let events = watch.query("fieldSelector", &selected).watch(types.len()).await;
        let told: Vec<_> = events.iter().map(|event| event["type"].as_str().unwrap()).collect();
        assert_eq!(told, types, "{}", self.kind.kind);
        self.ok("delete again", self.one().delete(&Value::Null).await, 404);
    }

    async fn held(&self) {
        let mut object = named(&self.kind, "held");
        object["metadata"]["finalizers"] = json!([FINALIZER]);
        self.ok("create held", self.all().create(&object).await, 201);
        let name = self.name("held");
        let held = || self.all().name(&name);
        let options = json!({"gracePeriodSeconds": 0, "propagationPolicy": "Background"});
        let marked = self.ok("delete held", held().delete(&options).await, 200);
        assert_ne!(marked.at("/metadata/deletionTimestamp"), &Value::Null, "{}", self.kind.kind);
        let again = self.ok("delete held again", held().delete(&options).await, 200);
        assert_eq!(again.revision(), marked.revision(), "{}: a second DELETE changes nothing", self.kind.kind);
        let taken = self.ok("name is taken", self.all().create(&object).await, 409);
        assert!(taken.at("/message").as_str().unwrap().starts_with("object is being deleted: "));
        let more = json!({"metadata": {"finalizers": [FINALIZER, "example.com/more"]}});
        self.ok("no new finalizer", held().merge(&more).await, 422);
        if self.kind.deletion == Deletion::SpecFinalizers {
            let emptied = json!({"metadata": {"name": "held"}, "spec": {}});
            self.ok("finalize held", held().sub("finalize").update(&emptied).await, 200);
            self.ok("still held", held().get().await, 200);
        }
        self.ok("let go", held().merge(&json!({"metadata": {"finalizers": null}})).await, 200);
        self.ok("gone", held().get().await, 404);
    }
}
