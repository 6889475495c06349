//! A snapshot over the API, and what comes back from it: by new writes, that every watcher sees.
#![allow(clippy::unwrap_used)]
mod wire;

use bytes::Bytes;
use http::{Method, StatusCode};
use kontiki_raft::EventKind;
use kontiki_raft::Subject;
use kontiki_raft::WatchItem;
use serde_json::{Value, json};

use wire::{Answer, Client, Running};

const CONFIGMAPS: &str = "/api/v1/namespaces/default/configmaps";
const SERVICES: &str = "/api/v1/namespaces/default/services";
const SNAPSHOT: &str = "/apis/kontiki.dev/v1/snapshot";
const RESTORE: &str = "/apis/kontiki.dev/v1/restore";

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

async fn made(admin: &mut Client, collection: &str, object: &Value) -> Value {
    let answer = admin.post(collection, object).await;
    assert_eq!(answer.status, StatusCode::CREATED, "{:?}", answer.body);
    answer.json()
}

fn configmap(name: &str, value: &str) -> Value {
    json!({"metadata": {"name": name}, "data": {"k": value}})
}

async fn snapshot(admin: &mut Client) -> Bytes {
    let answer = admin.get(SNAPSHOT).await;
    assert_eq!(
        (answer.status, &answer.headers["content-type"]),
        (StatusCode::OK, &"application/vnd.kontiki.snapshot".parse().unwrap())
    );
    answer.body
}

async fn restore(admin: &mut Client, query: &str, snapshot: &Bytes) -> Answer {
    admin.call(Method::POST, &format!("{RESTORE}{query}"), snapshot.clone()).await
}

/// `action resource/name`, in order.
fn changes(answer: &Answer) -> Vec<String> {
    assert_eq!(answer.status, StatusCode::OK, "{:?}", answer.body);
    let body = answer.json();
    let changes = body["changes"].as_array().unwrap().iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    changes
        .map(|one| {
            format!("{} {}/{}", text(&one["action"]), text(&one["object"]["resource"]), text(&one["object"]["name"]))
        })
        .collect()
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

#[test]
fn objects_become_again_what_they_were_and_watchers_see_it() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let kept = made(&mut admin, CONFIGMAPS, &configmap("kept", "1")).await;
        let gone = made(&mut admin, CONFIGMAPS, &configmap("gone", "1")).await;
        let renewed = made(&mut admin, CONFIGMAPS, &configmap("renewed", "1")).await;
        let changed = made(&mut admin, CONFIGMAPS, &configmap("changed", "1")).await;
        let before = revision(&changed);
        made(&mut admin, CONFIGMAPS, &configmap("late", "1")).await;
        let file = snapshot(&mut admin).await;

        let put = |name: &str, value: &str| (format!("{CONFIGMAPS}/{name}"), configmap(name, value).to_string());
        let (path, body) = put("changed", "2");
        assert_eq!(admin.call(Method::PUT, &path, body).await.status, 200);
        for name in ["gone", "renewed"] {
            assert_eq!(admin.call(Method::DELETE, &format!("{CONFIGMAPS}/{name}"), "").await.status, 200);
        }
        made(&mut admin, CONFIGMAPS, &configmap("renewed", "2")).await;
        made(&mut admin, CONFIGMAPS, &configmap("new", "1")).await;

        // A dry run tells, and does nothing.
        let now = server.log.revision();
        let expected = [
            "update configmaps/changed",
            "create configmaps/gone",
            "replace configmaps/renewed",
            "delete configmaps/new",
        ];
        let dry = restore(&mut admin, "?dryRun=All", &file).await;
        assert_eq!(
            (changes(&dry), dry.json()["atomic"].clone(), server.log.revision()),
            (expected.map(str::to_owned).into(), json!(false), now)
        );

        let mut watch = server.log.watch(Subject::Lasting, now).unwrap();
        let done = restore(&mut admin, "", &file).await;
        assert_eq!(changes(&done), expected);
        let last = server.log.revision();
        assert_eq!(done.json()["revisions"], json!({"first": now + 1, "last": last}));
        let mut seen = Vec::new();
        loop {
            match watch.next().await.unwrap() {
                WatchItem::Event(event) => {
                    assert_eq!(
                        (event.author.verb.as_str(), event.author.user.as_str()),
                        ("restore", "kubernetes-admin")
                    );
                    seen.push(format!("{:?} {}", event.kind, event.object.key.name));
                }
                WatchItem::Progress(at) if at >= last => break,
                WatchItem::Progress(_) => {}
            }
        }
        assert_eq!(seen, ["Deleted renewed", "Updated changed", "Created gone", "Created renewed", "Deleted new"]);
        for object in [&kept, &gone, &renewed, &changed] {
            let name = object["metadata"]["name"].as_str().unwrap();
            let mut now = admin.get(&format!("{CONFIGMAPS}/{name}")).await.json();
            now["metadata"]["resourceVersion"] = object["metadata"]["resourceVersion"].clone();
            assert_eq!(now, *object, "uid and all");
        }

        // To an earlier revision, one step that touches only what differs; then there is nothing left to do.
        let earlier = restore(&mut admin, &format!("?to={before}"), &file).await;
        assert_eq!(
            (changes(&earlier), &earlier.json()["commands"]),
            (vec!["delete configmaps/late".to_owned()], &json!(1))
        );
        let again = restore(&mut admin, &format!("?to={before}"), &file).await;
        assert_eq!(
            (changes(&again), &again.json()["commands"], &again.json()["revisions"]),
            (Vec::new(), &json!(0), &Value::Null)
        );
        server.stop().await;
    });
}

#[test]
fn services_come_back_with_their_addresses_unless_others_hold_them() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let service = |name: &str, address: Option<&str>| json!({"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
        let web = made(&mut admin, SERVICES, &service("web", Some("10.96.7.7"))).await;
        made(&mut admin, SERVICES, &service("other", Some("10.96.7.8"))).await;
        let file = snapshot(&mut admin).await;
        assert_eq!(admin.call(Method::DELETE, &format!("{SERVICES}/web"), "").await.status, 200);
        made(&mut admin, SERVICES, &service("thief", Some("10.96.7.7"))).await;

        let alone = restore(&mut admin, "?resource=svc&namespace=kube-public", &file).await;
        assert_eq!(changes(&alone), [""; 0]);
        let unknown = restore(&mut admin, "?resource=svc&namespace=elsewhere", &file).await;
        assert!(unknown.status == 400 && unknown.message().contains("there is no namespace"), "{}", unknown.message());
        let done = restore(&mut admin, "", &file).await;
        assert_eq!(changes(&done), ["create services/web", "delete services/thief"]);
        assert_eq!(done.json()["commands"], 1);
        let now = admin.get(&format!("{SERVICES}/web")).await.json();
        assert_eq!((&now["spec"], &now["metadata"]["uid"]), (&web["spec"], &web["metadata"]["uid"]));
        // The address is held again, and given back with the service.
        let refused = admin.post(SERVICES, &service("second", Some("10.96.7.7"))).await;
        assert_eq!(refused.status, 422, "{:?}", refused.body);
        assert_eq!(admin.call(Method::DELETE, &format!("{SERVICES}/web"), "").await.status, 200);
        made(&mut admin, SERVICES, &service("second", Some("10.96.7.7"))).await;

        // Only what was selected: the holder is none of it, and stays.
        let namespace = json!({"metadata": {"name": "shop"}});
        made(&mut admin, "/api/v1/namespaces", &namespace).await;
        let shop = "/api/v1/namespaces/shop/services";
        made(&mut admin, shop, &service("front", Some("10.96.7.9"))).await;
        let file = snapshot(&mut admin).await;
        assert_eq!(admin.call(Method::DELETE, &format!("{shop}/front"), "").await.status, 200);
        made(&mut admin, SERVICES, &service("squatter", Some("10.96.7.9"))).await;
        let blocked = restore(&mut admin, "?namespace=shop", &file).await;
        assert_eq!(changes(&blocked), [""; 0]);
        assert_eq!(blocked.json()["refused"][0]["reason"], "another object holds 10.96.7.9 now");
        assert_eq!(admin.get(&format!("{SERVICES}/squatter")).await.status, 200);
        server.stop().await;
    });
}

#[test]
fn a_service_that_was_made_anew_is_replaced_with_all_it_holds() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let service = |name: &str, address: &str| json!({"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
        let web = format!("{SERVICES}/web");
        let told = |address: &str| format!("/apis/networking.k8s.io/v1/ipaddresses/{address}");
        for (then, now) in [("10.96.7.7", "10.96.7.7"), ("10.96.7.7", "10.96.7.8")] {
            let was = made(&mut admin, SERVICES, &service("web", then)).await;
            let file = snapshot(&mut admin).await;
            assert_eq!(admin.call(Method::DELETE, &web, "").await.status, 200);
            made(&mut admin, SERVICES, &service("web", now)).await;
            let done = restore(&mut admin, "", &file).await;
            assert_eq!(changes(&done), ["replace services/web"], "{then} {now}");
            let is = admin.get(&web).await.json();
            assert_eq!((&is["spec"], &is["metadata"]["uid"]), (&was["spec"], &was["metadata"]["uid"]));
            assert_eq!(admin.get(&told(then)).await.json()["spec"]["parentRef"]["name"], "web");
            // Nothing of what it held in between is left, and what it holds is given back with it.
            assert_eq!(admin.call(Method::DELETE, &web, "").await.status, 200);
            for address in [then, now] {
                assert_eq!(admin.get(&told(address)).await.status, 404);
                made(&mut admin, SERVICES, &service("next", address)).await;
                assert_eq!(admin.call(Method::DELETE, &format!("{SERVICES}/next"), "").await.status, 200);
            }
        }
        server.stop().await;
    });
}

#[test]
fn addresses_stay_with_whomever_they_are_told_of() {
    run(async {
        const ADDRESSES: &str = "/apis/networking.k8s.io/v1/ipaddresses";
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let service = |name: &str, address: &str| json!({"metadata": {"name": name}, "spec": {"clusterIP": address, "ports": [{"port": 80}]}});
        let told = |address: &str, resource: &str, name: &str| {
            let parent = json!({"group": "", "resource": resource, "namespace": "default", "name": name});
            json!({"metadata": {"name": address}, "spec": {"parentRef": parent}})
        };
        made(&mut admin, SERVICES, &service("web", "10.96.7.1")).await;
        made(&mut admin, SERVICES, &service("blocked", "10.96.7.2")).await;
        let file = snapshot(&mut admin).await;
        for name in ["web", "blocked"] {
            assert_eq!(admin.call(Method::DELETE, &format!("{SERVICES}/{name}"), "").await.status, 200);
        }
        // Made by hand: one for the Service that comes back, one for somebody else.
        let own = made(&mut admin, ADDRESSES, &told("10.96.7.1", "services", "web")).await;
        made(&mut admin, ADDRESSES, &told("10.96.7.2", "gateways", "front")).await;
        // Of the Services that go, one's address is told to be another's by now, and one's is looked after by somebody.
        made(&mut admin, SERVICES, &service("passed", "10.96.7.3")).await;
        assert_eq!(admin.call(Method::DELETE, &format!("{ADDRESSES}/10.96.7.3"), "").await.status, 200);
        made(&mut admin, ADDRESSES, &told("10.96.7.3", "gateways", "front")).await;
        made(&mut admin, SERVICES, &service("held", "10.96.7.4")).await;
        let mut held = admin.get(&format!("{ADDRESSES}/10.96.7.4")).await.json();
        held["metadata"]["finalizers"] = json!(["example.com/audit"]);
        let path = format!("{ADDRESSES}/10.96.7.4");
        assert_eq!(admin.call(Method::PUT, &path, held.to_string()).await.status, 200);
        made(&mut admin, SERVICES, &service("plain", "10.96.7.5")).await;

        let done = restore(&mut admin, "", &file).await;
        assert_eq!(
            changes(&done),
            ["create services/web", "delete services/held", "delete services/passed", "delete services/plain"]
        );
        assert_eq!(done.json()["refused"][0]["reason"], "another object holds 10.96.7.2 now");
        let mut left = Vec::new();
        for last in 1..=5 {
            let address = admin.get(&format!("{ADDRESSES}/10.96.7.{last}")).await.json();
            left.push(address["spec"]["parentRef"]["name"].as_str().map(str::to_owned));
            if last == 1 {
                assert_eq!(address, own, "it said so already");
            }
        }
        let expected = [Some("web"), Some("front"), Some("front"), Some("held"), None];
        assert_eq!(left, expected.map(|name| name.map(str::to_owned)));
        server.stop().await;
    });
}

#[test]
fn a_bound_that_comes_back_is_a_new_revision_of_its_namespace() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let quotas = "/api/v1/namespaces/default/resourcequotas";
        for name in ["q", "r"] {
            made(&mut admin, quotas, &json!({"metadata": {"name": name}, "spec": {"hard": {"pods": "1"}}})).await;
        }
        let file = snapshot(&mut admin).await;
        for relabelled in [false, true] {
            for name in ["q", "r"] {
                assert_eq!(admin.call(Method::DELETE, &format!("{quotas}/{name}"), "").await.status, 200);
            }
            if relabelled {
                let mut namespace = admin.get("/api/v1/namespaces/default").await.json();
                namespace["metadata"]["labels"]["late"] = "1".into();
                let put = admin.call(Method::PUT, "/api/v1/namespaces/default", namespace.to_string()).await;
                assert_eq!(put.status, 200, "{}", put.text());
            }
            let before = revision(&admin.get("/api/v1/namespaces/default").await.json());
            let done = restore(&mut admin, "", &file).await;
            let told = changes(&done);
            assert_eq!(told.contains(&"update namespaces/default".to_owned()), relabelled, "{told:?}");
            assert_eq!(done.json()["commands"], 1);
            let namespace = admin.get("/api/v1/namespaces/default").await.json();
            assert!(revision(&namespace) > before, "writes that were decided before are decided again");
            assert_eq!(namespace["metadata"]["labels"].get("late"), None);
            let quota = admin.get(&format!("{quotas}/q")).await.json();
            let index = |object: &Value| server.log.event(revision(object)).unwrap().index;
            assert_eq!(index(&namespace), index(&quota), "in one with the bound");
        }
        server.stop().await;
    });
}

#[test]
fn quotas_do_not_know_what_is_used_after_something_came_back() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let quotas = "/api/v1/namespaces/default/resourcequotas";
        for (name, bounded) in [("maps", "count/configmaps"), ("pods", "pods")] {
            let hard = json!({bounded: "2"});
            let mut quota =
                made(&mut admin, quotas, &json!({"metadata": {"name": name}, "spec": {"hard": hard}})).await;
            quota["status"] = json!({"hard": hard, "used": {bounded: "0"}});
            let put = admin.call(Method::PUT, &format!("{quotas}/{name}/status"), quota.to_string()).await;
            assert_eq!(put.status, 200, "{}", put.text());
        }
        for name in ["a", "b"] {
            made(&mut admin, CONFIGMAPS, &configmap(name, "1")).await;
        }
        let file = snapshot(&mut admin).await;
        for name in ["a", "b"] {
            assert_eq!(admin.call(Method::DELETE, &format!("{CONFIGMAPS}/{name}"), "").await.status, 200);
        }
        // The controller has counted, and there is room for two.
        let mut quota = admin.get(&format!("{quotas}/maps")).await.json();
        quota["status"]["used"]["count/configmaps"] = "0".into();
        admin.call(Method::PUT, &format!("{quotas}/maps/status"), quota.to_string()).await;
        let done = restore(&mut admin, "", &file).await;
        assert_eq!(changes(&done), ["create configmaps/a", "create configmaps/b"]);
        assert_eq!(done.json()["commands"], 1);
        let refused = admin.post(CONFIGMAPS, &configmap("c", "1")).await;
        assert_eq!(refused.status, 403, "{}", refused.text());
        assert!(refused.message().contains("status unknown for quota: maps"), "{}", refused.message());
        let other = admin.get(&format!("{quotas}/pods")).await.json();
        assert_eq!(other["status"]["used"], json!({"pods": "0"}), "it has nothing to do with maps");
        server.stop().await;
    });
}

#[test]
fn what_tells_of_the_present_is_left_alone() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let leases = "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases";
        made(
            &mut admin,
            leases,
            &json!({"metadata": {"name": "n"}, "spec": {"holderIdentity": "then", "leaseDurationSeconds": 9}}),
        )
        .await;
        made(&mut admin, "/api/v1/nodes", &json!({"metadata": {"name": "old"}})).await;
        let file = snapshot(&mut admin).await;
        assert_eq!(admin.call(Method::DELETE, "/api/v1/nodes/old", "").await.status, 200);
        made(&mut admin, "/api/v1/nodes", &json!({"metadata": {"name": "new"}})).await;
        let done = restore(&mut admin, "?to=1", &file).await;
        let touched = changes(&done);
        assert!(
            touched.iter().all(|one| !one.contains("nodes/") && !one.contains("leases") && !one.contains("kubernetes")),
            "{touched:?}"
        );
        for path in [
            "/api/v1/nodes/new",
            "/api/v1/namespaces/default",
            "/api/v1/namespaces/kube-system",
            &format!("{SERVICES}/kubernetes"),
        ] {
            assert_eq!(admin.get(path).await.status, 200, "{path}");
        }
        let left: Vec<_> = done.json()["left"]
            .as_array()
            .unwrap()
            .iter()
            .map(|one| one["what"].as_str().unwrap().to_owned())
            .collect();
        assert_eq!(left.len(), 3, "{left:?}");
        server.stop().await;
    });
}

#[test]
fn nothing_comes_back_into_a_namespace_that_is_going() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let namespace = "/api/v1/namespaces/ending";
        made(&mut admin, "/api/v1/namespaces", &json!({"metadata": {"name": "ending"}})).await;
        for name in ["kept", "lost"] {
            made(&mut admin, &format!("{namespace}/configmaps"), &configmap(name, "1")).await;
        }
        let file = snapshot(&mut admin).await;
        let changed = configmap("kept", "2").to_string();
        assert_eq!(admin.call(Method::PUT, &format!("{namespace}/configmaps/kept"), changed).await.status, 200);
        assert_eq!(admin.call(Method::DELETE, &format!("{namespace}/configmaps/lost"), "").await.status, 200);
        assert!(admin.call(Method::DELETE, namespace, "").await.status.is_success());

        let done = restore(&mut admin, "?resource=configmaps&namespace=ending", &file).await;
        assert_eq!(changes(&done), ["update configmaps/kept"]);
        let refused = done.json()["refused"][0].clone();
        assert_eq!(refused["reason"], "its namespace is being deleted; restore the Namespace as well", "{refused}");
        // With its namespace, it comes back.
        assert_eq!(
            changes(&restore(&mut admin, "", &file).await),
            ["update namespaces/ending", "create configmaps/lost"]
        );
        server.stop().await;
    });
}

#[test]
fn what_was_on_its_way_out_stays_out() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let namespace = "/api/v1/namespaces/ending";
        made(&mut admin, "/api/v1/namespaces", &json!({"metadata": {"name": "ending"}})).await;
        made(&mut admin, &format!("{namespace}/configmaps"), &configmap("inside", "1")).await;
        let held = json!({"metadata": {"name": "held", "finalizers": ["example.org/held"]}});
        made(&mut admin, CONFIGMAPS, &held).await;
        for path in [namespace, &format!("{CONFIGMAPS}/held")] {
            assert!(admin.call(Method::DELETE, path, "").await.status.is_success(), "{path}");
        }
        let file = snapshot(&mut admin).await;

        let inside = format!("{namespace}/configmaps/inside");
        assert_eq!(admin.call(Method::DELETE, &inside, "").await.status, 200);
        for (path, list) in [(format!("{namespace}/finalize"), "spec"), (format!("{CONFIGMAPS}/held"), "metadata")] {
            let mut object = admin.get(path.trim_end_matches("/finalize")).await.json();
            object[list]["finalizers"] = json!([]);
            assert_eq!(admin.call(Method::PUT, &path, object.to_string()).await.status, 200, "{path}");
        }
        assert_eq!(admin.get(namespace).await.status, 404);
        let done = restore(&mut admin, "", &file).await;
        assert_eq!(changes(&done), Vec::<String>::new());
        let left = json!({"what": "what was being deleted then", "count": 3});
        assert!(done.json()["left"].as_array().unwrap().contains(&left), "{:?}", done.body);
        server.stop().await;
    });
}

#[test]
fn only_administrators_and_only_whole_snapshots_of_this_cluster() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let file = snapshot(&mut admin).await;
        let token = admin.service_account("robot").await;
        let mut robot = server.bearer(&token).await;
        let refused = robot.get(SNAPSHOT).await;
        assert_eq!(refused.status, 403);
        assert!(
            refused.message().contains("cannot get resource \"snapshots\" in API group \"kontiki.dev\""),
            "{}",
            refused.message()
        );
        assert_eq!(restore(&mut robot, "", &file).await.status, 403);

        let now = server.log.revision();
        let mut damaged = file.to_vec();
        let middle = damaged.len() / 2;
        damaged[middle] ^= 1;
        for (body, query, expected) in [
            (Bytes::from(damaged), "", "damaged"),
            (file.slice(..file.len() - 1), "", "ends early"),
            (Bytes::from_static(b"hello"), "", "not a snapshot"),
            (file.clone(), "?to=999999", "is not in the snapshot"),
            (file.clone(), "?to=soon", "is no moment"),
            (file.clone(), "?resource=gizmos", "there is no resource"),
        ] {
            let mut admin = server.admin().await;
            let refused = restore(&mut admin, query, &body).await;
            assert_eq!(refused.status, 400, "{:?}", refused.body);
            assert!(refused.message().contains(expected), "{}", refused.message());
        }
        assert_eq!(server.log.revision(), now);

        let other = Running::start().await;
        let mut its_admin = other.admin().await;
        let refused = restore(&mut its_admin, "", &file).await;
        assert!(refused.status == 400 && refused.message().contains("of another cluster"), "{}", refused.message());
        made(&mut its_admin, CONFIGMAPS, &configmap("own", "1")).await;
        let moved = restore(&mut its_admin, "?anyCluster=true", &file).await;
        assert!(changes(&moved).contains(&"delete configmaps/own".to_owned()), "{:?}", moved.body);
        other.stop().await;
        server.stop().await;
    });
}

#[test]
fn custom_objects_come_back_with_their_definition() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let definitions = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
        let schema = json!({"type": "object", "x-kubernetes-preserve-unknown-fields": true});
        let crd = json!({
            "metadata": {"name": "crons.ex.io"},
            "spec": {"group": "ex.io", "scope": "Namespaced", "names": {"plural": "crons", "kind": "Cron"}, "versions": [
                {"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema}},
            ]},
        });
        made(&mut admin, definitions, &crd).await;
        let crons = "/apis/ex.io/v1/namespaces/default/crons";
        let cron = json!({"apiVersion": "ex.io/v1", "kind": "Cron", "metadata": {"name": "c"}, "spec": {"a": 1}});
        let cron = made(&mut admin, crons, &cron).await;
        let file = snapshot(&mut admin).await;

        let mut watch = server.log.watch(Subject::Lasting, server.log.revision()).unwrap();
        assert_eq!(admin.call(Method::DELETE, &format!("{definitions}/crons.ex.io"), "").await.status, 200);
        loop {
            if let WatchItem::Event(event) = watch.next().await.unwrap()
                && (event.kind, event.object.key.name.as_str()) == (EventKind::Deleted, "crons.ex.io")
            {
                break;
            }
        }
        let expected = ["create customresourcedefinitions.apiextensions.k8s.io/crons.ex.io", "create crons.ex.io/c"];
        let of_namespace = restore(&mut admin, "?dryRun=All&namespace=default", &file).await;
        assert_eq!(changes(&of_namespace), Vec::<String>::new(), "nothing comes back that nobody would serve");
        // Its APIService comes and goes by itself.
        let all = |answer: Answer| {
            let mut all = changes(&answer);
            all.retain(|change| !change.contains("apiservices"));
            all
        };
        assert_eq!(all(restore(&mut admin, "?dryRun=All", &file).await), expected);
        assert_eq!(all(restore(&mut admin, "", &file).await), expected);
        let back = admin.get(&format!("{crons}/c")).await;
        assert_eq!((back.status, &back.json()["metadata"]["uid"]), (StatusCode::OK, &cron["metadata"]["uid"]));
        assert_eq!(all(restore(&mut admin, "?dryRun=All", &file).await), Vec::<String>::new());
    });
}
