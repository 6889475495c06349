//! A kind whose versions a webhook converts, on three servers: written through one, read in the other version through any.

use std::{fs, process::Output};

use serde_json::{Value, json};

use crate::{
    harness::{succeed, text, wait},
    hook::{Hook, Reply},
    servers::Servers,
};

const NAMES: [&str; 3] = ["one", "two", "three"];

/// `v1` says `size`, `v2` says `large`.
fn converted(request: &Value) -> Reply {
    let desired = &request["desiredAPIVersion"];
    let (from, to) = if desired == "example.com/v2" { ("size", "large") } else { ("large", "size") };
    let convert = |object: &Value| {
        let mut object = object.clone();
        object["apiVersion"] = desired.clone();
        let spec = object["spec"].as_object_mut().unwrap();
        if let Some(value) = spec.remove(from) {
            spec.insert(to.to_owned(), value);
        }
        object
    };
    let objects: Vec<Value> = request["objects"].as_array().unwrap().iter().map(convert).collect();
    Reply::Review(json!({"uid": request["uid"], "result": {"status": "Success"}, "convertedObjects": objects}))
}

fn definition(hook: &Hook) -> Value {
    let version = |name: &str, storage: bool, field: &str| {
        let spec = json!({"type": "object", "required": [field], "properties": {field: {"type": "integer"}}});
        json!({
            "name": name, "served": true, "storage": storage,
            "additionalPrinterColumns": [{"name": field, "type": "integer", "jsonPath": format!(".spec.{field}")}],
            "schema": {"openAPIV3Schema": {"type": "object", "properties": {"spec": spec}}},
        })
    };
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "widgets", "kind": "Widget"},
            "versions": [version("v1", true, "size"), version("v2", false, "large")],
            "conversion": {"strategy": "Webhook", "webhook": {
                "clientConfig": hook.client("/convert"), "conversionReviewVersions": ["v1"]}},
        },
    })
}

fn create(servers: &Servers, through: &str, object: &Value) -> Output {
    let file = servers.dir.path().join("object.json");
    fs::write(&file, object.to_string()).unwrap();
    // What is not known is left to the server to leave out.
    servers.kubectl(through, &["create", "--validate=false", "-f", file.to_str().unwrap()]).output().unwrap()
}

fn widget(version: &str, name: &str, spec: &Value) -> Value {
    json!({"apiVersion": format!("example.com/{version}"), "kind": "Widget", "metadata": {"name": name}, "spec": spec})
}

#[test]
fn a_converted_kind_reads_the_same_on_every_server_and_after_the_leader_is_lost() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let hook = runtime.block_on(Hook::start(|_, request| converted(request)));
    let mut servers = Servers::start(&NAMES);
    let leader = servers.leader(NAMES[0]);
    let [near, far] = NAMES.into_iter().filter(|name| *name != leader).collect::<Vec<_>>()[..] else { unreachable!() };
    let spec = |servers: &Servers, through: &str, version: &str, name: &str| {
        let kind = format!("widgets.{version}.example.com");
        let found = succeed(&mut servers.kubectl(through, &["get", &kind, name, "-o", "json"]));
        serde_json::from_str::<Value>(&found).unwrap()["spec"].take()
    };

    assert!(create(&servers, &leader, &definition(&hook)).status.success());
    let established = ["wait", "--for=condition=Established", "crd/widgets.example.com", "--timeout=60s"];
    succeed(&mut servers.kubectl(far, &established));
    for (through, version, name, written) in
        [(leader.as_str(), "v1", "a", json!({"size": 1})), (near, "v2", "b", json!({"large": 2}))]
    {
        wait("the kind to be served everywhere", || {
            let output = create(&servers, through, &widget(version, name, &written));
            if output.status.success() { Ok(()) } else { Err(text(&output)) }
        });
    }
    for through in NAMES {
        wait("the kind to be served here too", || {
            let output = servers.kubectl(through, &["get", "widgets"]).output().unwrap();
            if output.status.success() { Ok(()) } else { Err(text(&output)) }
        });
        assert_eq!(spec(&servers, through, "v2", "a"), json!({"large": 1}), "{through}");
        assert_eq!(spec(&servers, through, "v1", "b"), json!({"size": 2}), "{through}");
        let table = succeed(&mut servers.kubectl(through, &["get", "widgets.v2.example.com"]));
        let rows: Vec<Vec<&str>> = table.lines().map(|line| line.split_whitespace().take(2).collect()).collect();
        assert_eq!(rows, [["NAME", "LARGE"], ["a", "1"], ["b", "2"]], "{through}");
    }

    servers.signal(&leader, "-9");
    wait("a write in the other version", || {
        let output = create(&servers, far, &widget("v2", "c", &json!({"large": 3})));
        if output.status.success() { Ok(()) } else { Err(text(&output)) }
    });
    for through in [near, far] {
        assert_eq!(spec(&servers, through, "v1", "c"), json!({"size": 3}), "{through}");
        assert_eq!(spec(&servers, through, "v2", "a"), json!({"large": 1}), "{through}");
    }
    // What is refused is worded in the version it was written in.
    let refused = create(&servers, near, &widget("v2", "d", &json!({"size": 4})));
    assert!(text(&refused).contains("spec.large: Required value"), "{}", text(&refused));
}
