//! Quotas, limits and classes: what admission makes of a write, and that no quota is overdrawn by many writes at once.
#![allow(clippy::unwrap_used)]
mod client;
mod wire;

use std::{
    sync::{Arc, Mutex, mpsc},
    time::Duration,
};

use futures::future::join_all;
use http::Method;
use kontiki_model::Key;
use kontiki_raft::{Seal, SealFault, Standing};
use serde_json::{Value, json};

use client::Server;
use wire::{Client, Running};

/// How long a test waits for what must come.
const DEADLINE: Duration = Duration::from_secs(20);
const MAPS: &str = "/api/v1/namespaces/default/configmaps";
const QUOTAS: &str = "/api/v1/namespaces/default/resourcequotas";
const TRANSACTIONS: &str = "/apis/kontiki.dev/v1/transactions";

fn run(test: impl Future<Output = ()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

/// A quota whose usage is known, as its controller would have left it.
async fn quota(server: &Server, name: &str, hard: Value, used: Value) {
    let object = json!({"metadata": {"name": name}, "spec": {"hard": hard}});
    server.on("ResourceQuota", "default").create(&object).await.expect(201);
    let status = json!({"status": {"hard": hard, "used": used}});
    server.on("ResourceQuota", "default").name(name).sub("status").merge(&status).await.expect(200);
}

async fn used(server: &Server, name: &str) -> Value {
    server.on("ResourceQuota", "default").name(name).get().await.expect(200)["status"]["used"].take()
}

fn pod(name: &str, resources: Value) -> Value {
    json!({"metadata": {"name": name}, "spec": {"containers": [{"name": "c", "image": "i", "resources": resources}]}})
}

#[tokio::test]
async fn ranges_fill_in_and_bound_pods_and_claims() {
    let server = Server::start().await;
    let limits = json!([
        {"type": "Container", "default": {"cpu": "200m"}, "max": {"cpu": "1"}, "min": {"cpu": "50m"}},
        {"type": "Pod", "max": {"cpu": "1500m"}},
        {"type": "PersistentVolumeClaim", "max": {"storage": "5Gi"}},
    ]);
    let range = json!({"metadata": {"name": "l"}, "spec": {"limits": limits}});
    server.on("LimitRange", "default").create(&range).await.expect(201);
    let create = |pod: Value| {
        let server = &server;
        async move { server.on("Pod", "default").create(&pod).await }
    };
    let filled = create(pod("filled", json!({}))).await.expect(201);
    let resources = json!({"limits": {"cpu": "200m"}, "requests": {"cpu": "200m"}});
    assert_eq!(filled["spec"]["containers"][0]["resources"], resources);
    let annotation = &filled["metadata"]["annotations"]["kubernetes.io/limit-ranger"];
    assert_eq!(annotation, "LimitRanger plugin set: cpu request for container c; cpu limit for container c");
    let refused = create(pod("large", json!({"limits": {"cpu": "2"}}))).await.expect(403);
    assert_eq!(
        refused["message"],
        "pods \"large\" is forbidden: [maximum cpu usage per Container is 1, but limit is 2, maximum cpu usage per Pod is \
         1500m, but limit is 2]"
    );
    let mut claim = json!({"metadata": {"name": "v"}, "spec": {
        "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "6Gi"}},
    }});
    let refused = server.on("PersistentVolumeClaim", "default").create(&claim).await.expect(403);
    let why = "maximum storage usage per PersistentVolumeClaim is 5Gi, but request is 6Gi";
    assert_eq!(refused["message"], format!("persistentvolumeclaims \"v\" is forbidden: {why}"));
    claim["spec"]["resources"]["requests"]["storage"] = "5Gi".into();
    server.on("PersistentVolumeClaim", "default").create(&claim).await.expect(201);
    // The range has become narrower since: who goes may still go.
    let narrower = json!({"spec": {"limits": [{"type": "PersistentVolumeClaim", "max": {"storage": "1Gi"}}]}});
    server.on("LimitRange", "default").name("l").merge(&narrower).await.expect(200);
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    let claim = || server.on("PersistentVolumeClaim", "default").name("v");
    claim().merge(&labelled).await.expect(403);
    claim().delete(&Value::Null).await.expect(200);
    claim().merge(&json!({"metadata": {"finalizers": null}})).await.expect(200);
    claim().get().await.expect(404);
}

#[tokio::test]
async fn what_names_no_class_gets_the_default() {
    let server = Server::start().await;
    let claim = |name: &str| {
        json!({"metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
        }})
    };
    let before = server.on("PersistentVolumeClaim", "default").create(&claim("before")).await.expect(201);
    assert_eq!(before["spec"]["storageClassName"], Value::Null);
    let storage = json!({
        "metadata": {"name": "fast", "annotations": {"storageclass.kubernetes.io/is-default-class": "true"}}, "provisioner": "p.io/p",
    });
    server.on("storage.k8s.io/StorageClass", "").create(&storage).await.expect(201);
    let mut other = claim("other");
    other["spec"]["storageClassName"] = "".into();
    for (claim, class) in [(claim("with"), "fast"), (other, "")] {
        let made = server.on("PersistentVolumeClaim", "default").create(&claim).await.expect(201);
        assert_eq!(made["spec"]["storageClassName"], class);
    }
    let ingress_class = json!({
        "metadata": {"name": "web", "annotations": {"ingressclass.kubernetes.io/is-default-class": "true"}},
        "spec": {"controller": "example.com/c"},
    });
    server.on("networking.k8s.io/IngressClass", "").create(&ingress_class).await.expect(201);
    let backend = json!({"service": {"name": "s", "port": {"number": 80}}});
    let ingress = json!({"metadata": {"name": "i"}, "spec": {"defaultBackend": backend}});
    let made = server.on("networking.k8s.io/Ingress", "default").create(&ingress).await.expect(201);
    assert_eq!(made["spec"]["ingressClassName"], "web");
}

#[tokio::test]
async fn one_priority_class_is_for_all_pods() {
    let server = Server::start().await;
    let classes = || server.on("scheduling.k8s.io/PriorityClass", "");
    let class = |name: &str, value: i64| json!({"metadata": {"name": name}, "value": value, "globalDefault": true});
    classes().create(&class("all", 7)).await.expect(201);
    let refused = classes().create(&class("more", 8)).await.expect(403);
    assert_eq!(
        refused["message"],
        "priorityclasses.scheduling.k8s.io \"more\" is forbidden: PriorityClass all is already marked as default. Only one \
         default can exist"
    );
    let made = server.on("Pod", "default").create(&pod("p", json!({}))).await.expect(201);
    assert_eq!((&made["spec"]["priorityClassName"], &made["spec"]["priority"]), (&json!("all"), &json!(7)));
}

#[tokio::test]
async fn claims_grow_where_their_class_lets_them() {
    let server = Server::start().await;
    for (name, grows) in [("grows", true), ("stays", false)] {
        let class = json!({"metadata": {"name": name}, "provisioner": "p.io/p", "allowVolumeExpansion": grows});
        server.on("storage.k8s.io/StorageClass", "").create(&class).await.expect(201);
        let claim = json!({"metadata": {"name": name}, "spec": {
            "accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}, "storageClassName": name,
        }});
        let claims = || server.on("PersistentVolumeClaim", "default").name(name);
        server.on("PersistentVolumeClaim", "default").create(&claim).await.expect(201);
        let bound = json!({"status": {"phase": "Bound", "capacity": {"storage": "1Gi"}}});
        claims().sub("status").merge(&bound).await.expect(200);
        let larger = json!({"spec": {"resources": {"requests": {"storage": "2Gi"}}}});
        claims().merge(&larger).await.expect(if grows { 200 } else { 403 });
    }
}

#[tokio::test]
async fn quotas_are_charged_in_the_same_command_and_refuse_what_is_more() {
    let server = Server::start().await;
    let hard = json!({"pods": "2", "requests.cpu": "1", "count/configmaps": "9"});
    quota(&server, "q", hard, json!({"pods": "0", "requests.cpu": "0", "count/configmaps": "1"})).await;
    let create = |pod: Value| {
        let server = &server;
        async move { server.on("Pod", "default").create(&pod).await }
    };
    let made = create(pod("a", json!({"requests": {"cpu": "800m"}}))).await;
    let charged = server.on("ResourceQuota", "default").name("q").get().await;
    assert_eq!(charged.at("/status/used"), &json!({"pods": "1", "requests.cpu": "800m", "count/configmaps": "1"}));
    assert_eq!(made.revision().abs_diff(charged.revision()), 1, "one command");
    let refused = create(pod("b", json!({"requests": {"cpu": "300m"}}))).await.expect(403);
    let why = "exceeded quota: q, requested: requests.cpu=300m, used: requests.cpu=800m, limited: requests.cpu=1";
    assert_eq!(refused["message"], format!("pods \"b\" is forbidden: {why}"));
    let refused = create(pod("b", json!({}))).await.expect(403);
    assert_eq!(refused["message"], "pods \"b\" is forbidden: failed quota: q: must specify requests.cpu for: c");
    let dry = server.on("Pod", "default").query("dryRun", "All");
    dry.create(&pod("b", json!({"requests": {"cpu": "100m"}}))).await.expect(201);
    assert_eq!(used(&server, "q").await["pods"], "1", "a dry run is not charged");
}

#[tokio::test]
async fn a_service_that_changes_is_charged_the_difference() {
    let server = Server::start().await;
    let bounds = json!({"services": "1", "services.nodeports": "2"});
    quota(&server, "q", bounds, json!({"services": "0", "services.nodeports": "0"})).await;
    let ports = |number: u16| (0..number).map(|port| json!({"name": format!("p{port}"), "port": 80 + port}));
    let service = |of: &str, number: u16| {
        let ports: Vec<Value> = ports(number).collect();
        json!({"metadata": {"name": "s"}, "spec": {"type": of, "ports": ports}})
    };
    server.on("Service", "default").create(&service("ClusterIP", 2)).await.expect(201);
    assert_eq!(used(&server, "q").await, json!({"services": "1", "services.nodeports": "0"}));
    let change = |to: Value| {
        let server = &server;
        async move { server.on("Service", "default").name("s").update(&to).await }
    };
    change(service("NodePort", 2)).await.expect(200);
    assert_eq!(used(&server, "q").await, json!({"services": "1", "services.nodeports": "2"}));
    let refused = change(service("NodePort", 3)).await.expect(403);
    let why =
        "exceeded quota: q, requested: services.nodeports=1, used: services.nodeports=2, limited: services.nodeports=2";
    assert_eq!(refused["message"], format!("services \"s\" is forbidden: {why}"));
    change(service("ClusterIP", 1)).await.expect(200);
    assert_eq!(used(&server, "q").await["services.nodeports"], "2", "given back by the controller");
}

#[tokio::test]
async fn a_pod_that_is_resized_is_charged_the_difference() {
    let server = Server::start().await;
    quota(&server, "q", json!({"requests.cpu": "1"}), json!({"requests.cpu": "0"})).await;
    server.on("Pod", "default").create(&pod("a", json!({"requests": {"cpu": "400m"}}))).await.expect(201);
    let resize = |cpu: &'static str| {
        let server = &server;
        async move {
            let container = json!({"name": "c", "resources": {"requests": {"cpu": cpu}}});
            let patch = json!({"spec": {"containers": [container]}});
            let pod = server.on("Pod", "default").name("a").sub("resize");
            pod.patch("application/strategic-merge-patch+json", &patch).await
        }
    };
    resize("900m").await.expect(200);
    assert_eq!(used(&server, "q").await, json!({"requests.cpu": "900m"}));
    let refused = resize("1100m").await.expect(403);
    let why = "exceeded quota: q, requested: requests.cpu=200m, used: requests.cpu=900m, limited: requests.cpu=1";
    assert_eq!(refused["message"], format!("pods \"a\" is forbidden: {why}"));
    resize("300m").await.expect(200);
    assert_eq!(used(&server, "q").await, json!({"requests.cpu": "900m"}), "given back by the controller");
}

#[test]
fn of_many_creates_at_once_exactly_as_many_as_there_is_room_for_succeed() {
    run(async {
        const WRITERS: usize = 200;
        const ROOM: usize = 50;
        let server = Server::start().await;
        let bounds = json!({"configmaps": ROOM.to_string(), "count/configmaps": "1000"});
        quota(&server, "q", bounds, json!({"configmaps": "0", "count/configmaps": "0"})).await;
        let writers = (0..WRITERS).map(|writer| {
            let server = &server;
            async move {
                let map = json!({"metadata": {"name": format!("m{writer}")}});
                server.on("ConfigMap", "default").create(&map).await
            }
        });
        let answers = join_all(writers).await;
        let with = |code: u16| answers.iter().filter(|answer| answer.code == code).count();
        assert_eq!((with(201), with(403)), (ROOM, WRITERS - ROOM), "nobody hears of a conflict");
        assert_eq!(used(&server, "q").await, json!({"configmaps": "50", "count/configmaps": "50"}));
        let maps = server.on("ConfigMap", "default").list().await;
        assert_eq!(maps.at("/items").as_array().map(Vec::len), Some(ROOM));
    });
}

/// Holds a write back between its decision and the log, as long as nobody lets it go on: bodies are sealed just then.
#[derive(Default)]
struct Gate {
    armed: Mutex<Option<Held>>,
}

/// Whose next write is held; where that is told, and where it may go on.
type Held = (&'static str, mpsc::Sender<()>, mpsc::Receiver<()>);

impl Gate {
    /// The next write of this resource is held: the one tells that it is, the other lets it go on.
    fn hold(&self, resource: &'static str) -> (mpsc::Receiver<()>, mpsc::Sender<()>) {
        let ((decided, held), (go, gone)) = (mpsc::channel(), mpsc::channel());
        *self.armed.lock().unwrap() = Some((resource, decided, gone));
        (held, go)
    }
}

impl Seal for Gate {
    fn seal(&self, key: &Key, _: &[u8]) -> Result<Option<Vec<u8>>, SealFault> {
        let armed = self.armed.lock().unwrap().take_if(|(resource, ..)| *resource == key.resource);
        if let Some((_, decided, gone)) = armed {
            decided.send(()).unwrap();
            gone.recv_timeout(DEADLINE).unwrap();
        }
        Ok(None)
    }

    fn open(&self, _: &Key, sealed: &[u8]) -> Result<Vec<u8>, SealFault> {
        Ok(sealed.to_vec())
    }

    fn standing(&self, _: &Key, _: &[u8]) -> Standing {
        Standing::Current
    }

    fn covers(&self, _: &str) -> bool {
        false
    }
}

#[test]
fn what_was_decided_before_a_quota_was_known_is_charged_to_it() {
    run(async {
        let gate = Arc::new(Gate::default());
        let server = Arc::new(Server::start_sealed(gate.clone()).await);
        let bounds = || json!({"pods": "1", "requests.cpu": "1"});
        let with = |cpu: &str| pod("a", json!({"requests": {"cpu": cpu}}));
        let wait = async |held: mpsc::Receiver<()>| {
            tokio::task::spawn_blocking(move || held.recv_timeout(DEADLINE)).await.unwrap().unwrap();
        };

        let (held, go) = gate.hold("pods");
        let (of, object) = (server.clone(), with("400m"));
        let created = tokio::spawn(async move { of.on("Pod", "default").create(&object).await });
        wait(held).await;
        quota(&server, "q", bounds(), json!({"pods": "0", "requests.cpu": "0"})).await;
        go.send(()).unwrap();
        created.await.unwrap().expect(201);
        assert_eq!(used(&server, "q").await, json!({"pods": "1", "requests.cpu": "400m"}));

        server.on("ResourceQuota", "default").name("q").delete(&Value::Null).await.expect(200);
        let (held, go) = gate.hold("pods");
        let of = server.clone();
        let resized = tokio::spawn(async move {
            let container = json!({"name": "c", "resources": {"requests": {"cpu": "1100m"}}});
            let patch = json!({"spec": {"containers": [container]}});
            let pod = of.on("Pod", "default").name("a").sub("resize");
            pod.patch("application/strategic-merge-patch+json", &patch).await
        });
        wait(held).await;
        quota(&server, "q", bounds(), json!({"pods": "1", "requests.cpu": "400m"})).await;
        go.send(()).unwrap();
        let refused = resized.await.unwrap().expect(403);
        let why = "exceeded quota: q, requested: requests.cpu=700m, used: requests.cpu=400m, limited: requests.cpu=1";
        assert_eq!(refused["message"], format!("pods \"a\" is forbidden: {why}"));
    });
}

#[tokio::test]
async fn what_is_charged_leaves_the_namespace_alone_and_bounds_move_it() {
    let server = Server::start().await;
    let namespace = async || server.on("Namespace", "").name("default").get().await.revision();
    let before = namespace().await;
    quota(&server, "q", json!({"pods": "5"}), json!({"pods": "0"})).await;
    let bounded = namespace().await;
    assert!(bounded > before);
    server.on("Pod", "default").create(&pod("a", json!({}))).await.expect(201);
    let counted = json!({"status": {"hard": {"pods": "5"}, "used": {"pods": "3"}}});
    server.on("ResourceQuota", "default").name("q").sub("status").merge(&counted).await.expect(200);
    assert_eq!(namespace().await, bounded);
    server.on("ResourceQuota", "default").name("q").merge(&json!({"spec": {"hard": {"pods": "6"}}})).await.expect(200);
    assert!(namespace().await > bounded);
}

#[test]
fn transactions_take_their_turn_and_are_charged_as_a_whole() {
    run(async {
        const WRITERS: usize = 40;
        const EACH: usize = 5;
        // Room for some transactions in one namespace, for all in the other; the last one would need more than is left.
        const ROOM: usize = 52;
        let server = Running::start().await;
        let mut admin = server.admin().await;
        let other = json!({"metadata": {"name": "other"}});
        assert_eq!(admin.post("/api/v1/namespaces", &other).await.status, 201);
        set(&mut admin, QUOTAS, ROOM).await;
        set(&mut admin, "/api/v1/namespaces/other/resourcequotas", 1000).await;
        let writers = (0..WRITERS).map(|writer| {
            let server = &server;
            async move {
                let mut client = server.admin().await;
                let create = |namespace: &str, number: usize| {
                    let name = format!("m{writer}-{number}");
                    let metadata = json!({"name": name, "namespace": namespace});
                    json!({"verb": "create", "object": {"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata}})
                };
                // Half of them come to the namespaces in the other order.
                let order = if writer % 2 == 0 { ["default", "other"] } else { ["other", "default"] };
                let operations: Vec<Value> =
                    order.iter().flat_map(|namespace| (0..EACH).map(|number| create(namespace, number))).collect();
                let body = json!({"kind": "Transaction", "apiVersion": "kontiki.dev/v1", "operations": operations});
                client.post(TRANSACTIONS, &body).await.status.as_u16()
            }
        });
        let codes = join_all(writers).await;
        let with = |code: u16| codes.iter().filter(|one| **one == code).count();
        assert_eq!((with(200), with(403)), (ROOM / EACH, WRITERS - ROOM / EACH), "{codes:?}");
        let used = |answer: wire::Answer| answer.json()["status"]["used"]["configmaps"].clone();
        assert_eq!(used(admin.get(&format!("{QUOTAS}/q")).await), "50");
        assert_eq!(used(admin.get("/api/v1/namespaces/other/resourcequotas/q").await), "50");
        let maps = admin.get(MAPS).await.json()["items"].as_array().unwrap().clone();
        let made = |map: &&Value| map["metadata"]["name"].as_str().is_some_and(|name| name.starts_with('m'));
        assert_eq!(maps.iter().filter(made).count(), 50);
        server.stop().await;
    });
}

#[test]
fn what_is_applied_as_one_is_charged_exactly_or_not_at_all() {
    run(async {
        let server = Running::start().await;
        let mut admin = server.admin().await;
        set(&mut admin, QUOTAS, 5).await;
        let apply = async |admin: &mut Client, maps: &[(&str, &str)]| {
            let operations: Vec<Value> = maps
                .iter()
                .map(|(name, value)| {
                    let metadata = json!({"name": name, "namespace": "default"});
                    let object =
                        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": {"k": value}});
                    json!({"verb": "apply", "object": object})
                })
                .collect();
            let body = json!({"kind": "Transaction", "apiVersion": "kontiki.dev/v1", "operations": operations});
            let answer = admin.post(TRANSACTIONS, &body).await;
            let quota = admin.get(&format!("{QUOTAS}/q")).await.json();
            (answer.status.as_u16(), quota["status"]["used"]["configmaps"].as_str().unwrap().to_owned())
        };
        let used = |code: u16, used: &str| (code, used.to_owned());
        assert_eq!(apply(&mut admin, &[("a", "1"), ("b", "1"), ("c", "1")]).await, used(200, "3"));
        assert_eq!(
            apply(&mut admin, &[("a", "2"), ("d", "1"), ("b", "1"), ("e", "1")]).await,
            used(200, "5"),
            "two are new"
        );
        assert_eq!(apply(&mut admin, &[("a", "3"), ("f", "1")]).await, used(403, "5"));
        assert_eq!(admin.get(&format!("{MAPS}/a")).await.json()["data"]["k"], "2");
        assert_eq!(admin.get(&format!("{MAPS}/f")).await.status, 404);
        assert_eq!(apply(&mut admin, &[("a", "3"), ("b", "3")]).await, used(200, "5"));
        server.stop().await;
    });
}

async fn set(admin: &mut Client, quotas: &str, room: usize) {
    let hard = json!({"configmaps": room.to_string()});
    let quota = json!({"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": "q"}, "spec": {"hard": hard}});
    let mut made = admin.post(quotas, &quota).await.json();
    made["status"] = json!({"hard": hard, "used": {"configmaps": "0"}});
    let status = admin.call(Method::PUT, &format!("{quotas}/q/status"), made.to_string()).await;
    assert_eq!(status.status, 200, "{}", status.text());
}
