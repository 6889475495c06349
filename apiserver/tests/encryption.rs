//! Encryption at rest as clients see it: not at all, except where a key is missing or changed.
#![allow(clippy::unwrap_used)]

mod client;

use std::sync::Arc;

use base64::{Engine as _, engine::general_purpose::STANDARD};
use kontiki_apiserver::encryption::Encryption;
use serde_json::{Value, json};

use crate::client::Server;

/// A configuration for Secrets, by the names of keys; `identity` among them stays in clear.
fn configuration(keys: &[&str]) -> String {
    let provider = |name: &&str| match *name {
        "identity" => json!({"identity": {}}),
        name => {
            let secret = STANDARD.encode([name.as_bytes()[0]; 32]);
            json!({"aesgcm": {"keys": [{"name": name, "secret": secret}]}})
        }
    };
    json!({
        "apiVersion": "apiserver.config.k8s.io/v1",
        "kind": "EncryptionConfiguration",
        "resources": [{"resources": ["secrets"], "providers": keys.iter().map(provider).collect::<Vec<_>>()}],
    })
    .to_string()
}

async fn start(keys: &[&str]) -> (Server, Arc<Encryption>) {
    let encryption = Encryption::new(&configuration(keys)).unwrap();
    (Server::start_sealed(encryption.clone()).await, encryption)
}

fn secret(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name, "namespace": "default"}, "data": {"v": STANDARD.encode(value)}})
}

async fn create(server: &Server, name: &str) -> Value {
    server.on("Secret", "default").create(&secret(name, name)).await.expect(201)
}

/// The keys that sealed the Secrets, as the log counts them: with today's, with another, with one that is not there.
async fn standing(server: &Server) -> [usize; 3] {
    let census = server.core.log.seal_census().await.unwrap();
    [census.current, census.outdated, census.unopenable.count()]
}

fn values(list: &Value) -> Vec<String> {
    let items = list["items"].as_array().unwrap();
    items
        .iter()
        .map(|item| String::from_utf8(STANDARD.decode(item["data"]["v"].as_str().unwrap()).unwrap()).unwrap())
        .collect()
}

#[tokio::test]
async fn what_is_encrypted_is_read_listed_watched_and_changed_as_ever() {
    let (server, _) = start(&["a"]).await;
    let of = || server.on("Secret", "default");
    let made = create(&server, "one").await;
    create(&server, "two").await;
    assert_eq!(of().name("one").get().await.expect(200), made);
    assert_eq!(values(&of().list().await.expect(200)), ["one", "two"]);
    let changed = of().name("one").merge(&json!({"stringData": {"v": "new"}})).await.expect(200);
    let events = of().query("resourceVersion", made["metadata"]["resourceVersion"].as_str().unwrap()).watch(2).await;
    assert_eq!((&events[0]["type"], &events[1]["type"]), (&json!("ADDED"), &json!("MODIFIED")));
    assert_eq!(events[1]["object"], changed);
    let before = server.core.log.revision();
    let same = of().name("one").update(&changed).await.expect(200);
    assert_eq!((same, server.core.log.revision()), (changed, before), "what changes nothing is not written");
    let gone = of().name("two").delete(&Value::Null).await;
    assert_eq!(gone.code, 200);
    assert_eq!(standing(&server).await, [1, 0, 0]);
}

#[tokio::test]
async fn writing_secrets_again_brings_them_under_the_new_first_key() {
    let (server, encryption) = start(&["identity"]).await;
    for name in ["one", "two"] {
        create(&server, name).await;
    }
    encryption.replace(&configuration(&["a", "identity"])).unwrap();
    assert_eq!(standing(&server).await, [0, 2, 0]);
    // As `kubectl get secrets -A -o json | kubectl replace -f -` does it.
    let replace = async || {
        let list = server.on("Secret", "").list().await.expect(200);
        for item in list["items"].as_array().unwrap() {
            let name = item["metadata"]["name"].as_str().unwrap();
            let replaced = server.on("Secret", "default").name(name).update(item).await.expect(200);
            assert_eq!(replaced["data"], item["data"]);
        }
    };
    replace().await;
    assert_eq!(standing(&server).await, [2, 0, 0]);
    encryption.replace(&configuration(&["b", "a"])).unwrap();
    let applied = secret("one", "one");
    let dry = server.on("Secret", "default").name("one").query("dryRun", "All").merge(&json!({})).await;
    assert_eq!((dry.code, standing(&server).await), (200, [0, 2, 0]), "a dry run writes nothing");
    let patched = server.on("Secret", "default").name("one").merge(&json!({"data": applied["data"]})).await;
    assert_eq!((patched.code, standing(&server).await), (200, [1, 1, 0]), "a patch that changes nothing does as well");
    replace().await;
    encryption.replace(&configuration(&["b"])).unwrap();
    assert_eq!(standing(&server).await, [2, 0, 0]);
    assert_eq!(values(&server.on("Secret", "").list().await.expect(200)), ["one", "two"]);
    // The past is sealed with the keys of its time.
    let past = server.on("Secret", "default").name("one").at_revision(server.core.log.revision()).get().await;
    assert_eq!(past.code, 200);
}

#[tokio::test]
async fn a_lost_key_fails_its_objects_alone_and_says_which() {
    let (server, encryption) = start(&["a"]).await;
    let lost = create(&server, "lost").await;
    encryption.replace(&configuration(&["b"])).unwrap();
    create(&server, "kept").await;
    let of = || server.on("Secret", "default");
    let why = "Internal error occurred: unable to transform key \"/registry/secrets/default/lost\": it is encrypted with key \
               \"a\" of aesgcm, which the encryption configuration does not have for secrets";
    let get = of().name("lost").get().await;
    assert_eq!((get.code, get.at("/message").as_str()), (500, Some(why)));
    for answer in [
        of().list().await,
        of().name("lost").update(&lost).await,
        of().name("lost").merge(&json!({"data": {}})).await,
        of().query("fieldSelector", "metadata.name=lost").list().await,
    ] {
        assert_eq!((answer.code, answer.at("/message").as_str()), (500, Some(why)));
    }
    assert_eq!(values(&of().query("fieldSelector", "metadata.name=kept").list().await.expect(200)), ["kept"]);
    let kept = of().name("kept").get().await.expect(200);
    of().name("kept").merge(&json!({"metadata": {"labels": {"a": "b"}}})).await.expect(200);
    server.on("ConfigMap", "default").create(&json!({"metadata": {"name": "c"}})).await.expect(201);

    let watched = of().query("sendInitialEvents", "true").query("resourceVersionMatch", "NotOlderThan");
    let watched = watched.query("allowWatchBookmarks", "true").watch(1).await;
    assert_eq!((&watched[0]["type"], &watched[0]["object"]["code"]), (&json!("ERROR"), &json!(410)));
    assert!(watched[0]["object"]["message"].as_str().unwrap().contains("secrets/default/lost"));
    let later = of().query("resourceVersion", kept["metadata"]["resourceVersion"].as_str().unwrap()).watch(1).await;
    assert_eq!((&later[0]["type"], &later[0]["object"]["metadata"]["name"]), (&json!("MODIFIED"), &json!("kept")));

    encryption.replace(&configuration(&["b", "a"])).unwrap();
    assert_eq!(of().name("lost").get().await.expect(200), lost, "with the key it is there again");
}
