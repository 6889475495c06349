//! Lists: pages of one revision, the past, selections, and what a client is told when the past is gone.
#![allow(clippy::unwrap_used)]

mod client;

use base64::{Engine as _, engine::general_purpose::URL_SAFE_NO_PAD as BASE64URL};
use client::{Answer, Server};
use http_body_util::BodyExt as _;
use serde_json::{Value, json};

const MAPS: usize = 7;

async fn filled() -> Server {
    let server = Server::start().await;
    for index in 0..MAPS {
        let parity = if index % 2 == 0 { "even" } else { "odd" };
        let object = json!({"metadata": {"name": format!("m{index}"), "labels": {"parity": parity}}});
        server.on("ConfigMap", "default").create(&object).await.expect(201);
    }
    server
}

fn names(answer: &Answer) -> Vec<&str> {
    answer.at("/items").as_array().unwrap().iter().map(|item| item["metadata"]["name"].as_str().unwrap()).collect()
}

fn token(answer: &Answer) -> String {
    answer.at("/metadata/continue").as_str().unwrap_or_default().to_owned()
}

#[tokio::test]
async fn pages_show_the_revision_of_the_first_one() {
    let server = filled().await;
    let maps = || server.on("ConfigMap", "default").query("limit", "3");
    let first = maps().list().await;
    assert_eq!(names(&first), ["m0", "m1", "m2"]);
    assert_eq!(first.at("/metadata/remainingItemCount"), 4);
    server.on("ConfigMap", "default").name("m4").delete(&Value::Null).await.expect(200);
    server.on("ConfigMap", "default").create(&json!({"metadata": {"name": "m3a"}})).await.expect(201);
    let second = maps().query("continue", &token(&first)).list().await;
    assert_eq!(names(&second), ["m3", "m4", "m5"]);
    assert_eq!(second.revision(), first.revision());
    let third = maps().query("continue", &token(&second)).list().await;
    assert_eq!((names(&third), token(&third)), (vec!["m6"], String::new()));
    assert_eq!(third.at("/metadata/remainingItemCount"), &Value::Null);
}

#[tokio::test]
async fn selections_have_no_remaining_count_and_match_on_heads() {
    let server = filled().await;
    let maps = || server.on("ConfigMap", "default");
    let odd = maps().query("labelSelector", "parity=odd").query("limit", "2").list().await;
    assert_eq!(names(&odd), ["m1", "m3"]);
    assert_eq!(odd.at("/metadata/remainingItemCount"), &Value::Null);
    let rest = maps().query("labelSelector", "parity=odd").query("continue", &token(&odd)).list().await;
    assert_eq!(names(&rest), ["m5"]);
    let one = maps().query("fieldSelector", "metadata.name=m2").query("labelSelector", "parity=even").list().await;
    assert_eq!(names(&one), ["m2"]);
    let none = maps().query("fieldSelector", "metadata.name=m2").query("labelSelector", "parity=odd").list().await;
    assert_eq!(names(&none), [""; 0]);
    let refused = maps().query("fieldSelector", "data.a=1").list().await;
    let words = "\"data.a\" is not a known field selector: only \"metadata.name\", \"metadata.namespace\"";
    assert_eq!((refused.code, refused.at("/message")), (400, &json!(words)));
}

#[tokio::test]
async fn the_past_is_listed_exactly_and_the_future_is_refused() {
    let server = filled().await;
    let maps = || server.on("ConfigMap", "default");
    let past = maps().name("m2").get().await.revision();
    let exact = maps().query("resourceVersion", &past.to_string()).query("resourceVersionMatch", "Exact").list().await;
    assert_eq!(names(&exact), ["m0", "m1", "m2"]);
    assert_eq!(exact.revision(), past);
    let newer = maps().query("resourceVersion", &past.to_string()).list().await;
    assert_eq!(names(&newer).len(), MAPS);
    for asked in [
        maps().query("resourceVersion", "999999").list().await,
        maps().name("m0").query("resourceVersion", "999999").get().await,
    ] {
        assert_eq!((asked.code, asked.at("/details/causes/0/reason")), (504, &json!("ResourceVersionTooLarge")));
        assert_eq!(asked.at("/details/retryAfterSeconds"), 1);
    }
}

#[tokio::test]
async fn a_token_of_a_forgotten_revision_is_answered_with_one_that_goes_on() {
    let server = filled().await;
    let maps = || server.on("ConfigMap", "default").query("limit", "3");
    let first = maps().list().await;
    server.on("ConfigMap", "default").name("m6").merge(&json!({"data": {"k": "v"}})).await.expect(200);
    server.forget_history().await;
    let expired = maps().query("continue", &token(&first)).list().await;
    assert_eq!((expired.code, expired.at("/reason")), (410, &json!("Expired")));
    let goes_on = maps().query("continue", &token(&expired)).list().await;
    assert_eq!((goes_on.code, names(&goes_on)), (200, vec!["m3", "m4", "m5"]));
    let old = first.revision().to_string();
    let exact = maps().query("resourceVersion", &old).query("resourceVersionMatch", "Exact").list().await;
    assert_eq!((exact.code, exact.at("/reason")), (410, &json!("Expired")));
    let undeleted = maps().query("continue", &token(&first)).send("deletecollection").await;
    assert_eq!((undeleted.code, undeleted.at("/reason")), (410, &json!("Expired")));
    let deleted = maps().query("continue", &token(&undeleted)).send("deletecollection").await;
    assert_eq!((deleted.code, names(&deleted)), (200, vec!["m3", "m4", "m5"]));
}

#[tokio::test]
async fn a_token_is_too_old_after_five_minutes() {
    let server = filled().await;
    let maps = || server.on("ConfigMap", "default").query("limit", "3");
    let first = maps().list().await;
    let mut old: Value = serde_json::from_slice(&BASE64URL.decode(token(&first)).unwrap()).unwrap();
    old["made"] = json!(old["made"].as_i64().unwrap() - 301);
    let old = BASE64URL.encode(old.to_string());
    for verb in ["list", "deletecollection"] {
        let expired = maps().query("continue", &old).send(verb).await;
        assert_eq!((expired.code, expired.at("/reason")), (410, &json!("Expired")), "{verb}");
        let goes_on = maps().query("continue", &token(&expired)).list().await;
        assert_eq!(names(&goes_on), ["m3", "m4", "m5"], "{verb}");
    }
    let past = maps().at_revision(first.revision()).query("continue", &old).list().await;
    assert_eq!(names(&past), ["m3", "m4", "m5"], "what was does not change");
}

#[tokio::test]
async fn a_collection_is_deleted_by_selection() {
    let server = filled().await;
    let maps = || server.on("ConfigMap", "default");
    let dry = maps().query("dryRun", "All").send("deletecollection").await;
    assert_eq!(names(&dry).len(), MAPS);
    let deleted = maps().query("labelSelector", "parity=odd").send("deletecollection").await;
    assert_eq!((deleted.code, names(&deleted)), (200, vec!["m1", "m3", "m5"]));
    assert_eq!(names(&maps().list().await), ["m0", "m2", "m4", "m6"]);
    assert_eq!(maps().send("deletecollection").await.code, 200);
    assert_eq!(names(&maps().list().await), [""; 0]);
}

/// The text of an answer, or of the first piece of a stream.
async fn text(call: client::Call<'_>, verb: &'static str) -> String {
    let mut body = call.respond(verb).await.into_body();
    let mut text = String::new();
    while let Some(frame) = body.frame().await {
        text += std::str::from_utf8(frame.unwrap().data_ref().unwrap()).unwrap();
        if verb == "watch" {
            break;
        }
    }
    text
}

#[tokio::test]
async fn every_answer_escapes_what_gos_encoder_does() {
    let server = Server::start().await;
    let maps = || server.on("ConfigMap", "default");
    let said = "<a> & b\u{2028}\u{2029}c";
    let escaped = r"\u003ca\u003e \u0026 b\u2028\u2029c";
    let map = maps().text(&json!({"metadata": {"name": "m"}, "data": {"k": said}}).to_string());
    let one = || maps().name("m");
    let involved = json!({"kind": "ConfigMap", "namespace": "default", "name": "m"});
    let event = json!({"metadata": {"name": "e"}, "involvedObject": involved, "message": said, "type": "Normal"});
    server.on("Event", "default").create(&event).await.expect(201);
    const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io";
    for (what, text) in [
        ("create", text(map, "create").await),
        ("get", text(one(), "get").await),
        ("pretty", text(one().query("pretty", "true"), "get").await),
        ("list", text(maps(), "list").await),
        ("watch", text(maps().query("resourceVersion", "0"), "watch").await),
        ("cells", text(server.on("Event", "default").accept(TABLE).query("includeObject", "None"), "list").await),
        ("failure", text(maps().name(said), "get").await),
    ] {
        assert!(text.contains(escaped), "{what}: {text}");
        assert!(!text.contains(['<', '>', '&', '\u{2028}', '\u{2029}']), "{what}: {text}");
    }
}

#[tokio::test]
async fn no_more_of_a_collection_is_deleted_than_a_list_shows() {
    let server = filled().await;
    let maps = || server.on("ConfigMap", "default");
    let old = maps().list().await.at("/metadata/resourceVersion").as_str().unwrap().to_owned();
    let first = maps().query("limit", "2").send("deletecollection").await;
    assert_eq!((first.code, names(&first)), (200, vec!["m0", "m1"]));
    assert_eq!((first.at("/metadata/remainingItemCount"), names(&maps().list().await).len()), (&json!(5), 5));
    maps().create(&json!({"metadata": {"name": "m00"}})).await.expect(201);
    let rest = maps().query("limit", "2").query("continue", &token(&first)).send("deletecollection").await;
    assert_eq!(names(&rest), ["m2", "m3"]);
    let exact = || maps().query("resourceVersion", &old).query("resourceVersionMatch", "Exact");
    assert_eq!(names(&exact().send("deletecollection").await).len(), MAPS);
    assert_eq!(names(&maps().list().await), ["m00"], "what came later is not meant");
    let future = maps().query("resourceVersion", "1000000").send("deletecollection").await;
    assert_eq!((future.code, names(&maps().list().await).len()), (504, 1));
}
