//! Rust's `kube`: a reflector fed by a streaming list, wait conditions, server-side apply, exec.

use std::{fs, panic, thread};

use futures::{StreamExt as _, TryStreamExt as _};
use k8s_openapi::{
    api::core::v1::{ConfigMap, Namespace, Pod},
    apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition,
};
use kube::{
    Api, Client, Config, ResourceExt as _,
    api::{AttachParams, DeleteParams, ListParams, Patch, PatchParams, PostParams},
    config::{KubeConfigOptions, Kubeconfig},
    runtime::{
        conditions, reflector,
        wait::await_condition,
        watcher::{self, InitialListStrategy, watcher},
    },
};
use serde_json::json;
use tokio::io::AsyncReadExt as _;

use crate::harness::{Cluster, Netns, WAIT_MAX};

const NAMESPACE: &str = "kube-rs";
/// More than one page of a list, so that the stream is not a list in disguise.
const MAPS: usize = 600;

pub fn reflects_waits_and_executes(cluster: &Cluster) {
    let kubeconfig = fs::read_to_string(cluster.data().join("kubeconfig")).unwrap();
    let _ = rustls::crypto::ring::default_provider().install_default();
    inside(&cluster.netns, || {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let kubeconfig = Kubeconfig::from_yaml(&kubeconfig).unwrap();
            let config = Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await.unwrap();
            let client = Client::try_from(config).unwrap();
            let namespace = serde_json::from_value(json!({"metadata": {"name": NAMESPACE}})).unwrap();
            Api::<Namespace>::all(client.clone()).create(&PostParams::default(), &namespace).await.unwrap();
            reflects(client.clone()).await;
            applies(client.clone()).await;
            waits(client.clone()).await;
            executes(client).await;
        });
    });
}

/// Runs something in a network, on a thread of its own: sockets are of the network that their thread was in.
fn inside(netns: &Netns, run: impl FnOnce() + Send) {
    let entered = || {
        let namespace = fs::File::open(netns.path()).unwrap();
        nix::sched::setns(namespace, nix::sched::CloneFlags::CLONE_NEWNET).unwrap();
        run();
    };
    thread::scope(|scope| scope.spawn(entered).join()).unwrap_or_else(|panic| panic::resume_unwind(panic));
}

async fn within<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(WAIT_MAX, future).await.unwrap_or_else(|_| panic!("waited {WAIT_MAX:?} for {what}"))
}

fn map(name: &str, data: &str) -> ConfigMap {
    let labels = json!({"of": "reflector"});
    serde_json::from_value(json!({"metadata": {"name": name, "labels": labels}, "data": {"k": data}})).unwrap()
}

async fn reflects(client: Client) {
    let maps = &Api::<ConfigMap>::namespaced(client, NAMESPACE);
    let made = futures::stream::iter(0..MAPS).map(|number| async move {
        maps.create(&PostParams::default(), &map(&format!("map-{number}"), "1")).await.map(drop)
    });
    made.buffer_unordered(16).try_collect::<()>().await.unwrap();

    let config = watcher::Config::default().labels("of=reflector").streaming_lists();
    assert_eq!(config.initial_list_strategy, InitialListStrategy::StreamingList);
    let (reader, writer) = reflector::store();
    let mut stream = Box::pin(reflector(writer, watcher(maps.clone(), config)));
    let mut next = async || within("an event", stream.next()).await.unwrap().unwrap();

    assert!(matches!(next().await, watcher::Event::Init));
    for _ in 0..MAPS {
        assert!(matches!(next().await, watcher::Event::InitApply(_)));
    }
    assert!(matches!(next().await, watcher::Event::InitDone));
    reader.wait_until_ready().await.unwrap();
    assert_eq!(reader.len(), MAPS);

    maps.create(&PostParams::default(), &map("later", "1")).await.unwrap();
    let patch = Patch::Merge(json!({"data": {"k": "2"}}));
    maps.patch("later", &PatchParams::default(), &patch).await.unwrap();
    maps.delete("map-0", &DeleteParams::default()).await.unwrap();
    assert!(matches!(next().await, watcher::Event::Apply(map) if map.name_any() == "later"));
    assert!(matches!(next().await, watcher::Event::Apply(map) if map.data.as_ref().unwrap()["k"] == "2"));
    assert!(matches!(next().await, watcher::Event::Delete(map) if map.name_any() == "map-0"));
    assert_eq!(reader.len(), MAPS);
    let of = ListParams::default().labels("of=reflector");
    maps.delete_collection(&DeleteParams::default(), &of).await.unwrap();
    while !reader.is_empty() {
        next().await;
    }
}

async fn applies(client: Client) {
    let maps = Api::<ConfigMap>::namespaced(client, NAMESPACE);
    let apply = async |manager: &str, force: bool, data: &str| {
        let mut patch = map("applied", data);
        // What is applied says what it is.
        let types = json!({"apiVersion": "v1", "kind": "ConfigMap"});
        patch.metadata.labels = None;
        let mut patch = serde_json::to_value(patch).unwrap();
        patch.as_object_mut().unwrap().extend(types.as_object().unwrap().clone());
        let params = PatchParams { force, ..PatchParams::apply(manager) };
        maps.patch("applied", &params, &Patch::Apply(patch)).await
    };
    apply("first", false, "1").await.unwrap();
    let refused = apply("second", false, "2").await.unwrap_err();
    assert!(matches!(&refused, kube::Error::Api(status) if status.code == 409), "{refused}");
    assert_eq!(apply("second", true, "2").await.unwrap().data.unwrap()["k"], "2");
}

async fn waits(client: Client) {
    let definitions = Api::<CustomResourceDefinition>::all(client);
    let schema = json!({"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}});
    let definition = serde_json::from_value(json!({
        "metadata": {"name": "things.rust.kontiki.test"},
        "spec": {
            "group": "rust.kontiki.test", "scope": "Namespaced", "names": {"kind": "Thing", "plural": "things"},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": schema}],
        },
    }));
    let name = "things.rust.kontiki.test";
    let established = await_condition(definitions.clone(), name, conditions::is_crd_established());
    let made = async { definitions.create(&PostParams::default(), &definition.unwrap()).await.unwrap() };
    let (established, made) = within("the definition", futures::future::join(established, made)).await;
    established.unwrap().unwrap();
    let uid = made.uid().unwrap();
    let gone = await_condition(definitions.clone(), name, conditions::is_deleted(&uid));
    let deleted = async { definitions.delete(name, &DeleteParams::default()).await.unwrap() };
    within("its end", futures::future::join(gone, deleted)).await.0.unwrap();
}

async fn executes(client: Client) {
    let pods = Api::<Pod>::namespaced(client, NAMESPACE);
    let container = json!({"name": "main", "image": "busybox:test", "command": ["/bin/sleep", "1000000"]});
    let spec = json!({"terminationGracePeriodSeconds": 1, "containers": [container]});
    let pod = serde_json::from_value(json!({"metadata": {"name": "runs"}, "spec": spec})).unwrap();
    pods.create(&PostParams::default(), &pod).await.unwrap();
    let running = await_condition(pods.clone(), "runs", conditions::is_pod_running());
    let running = within("the pod", running).await.unwrap().unwrap();

    let command = ["/bin/sh", "-c", "echo out; echo err >&2; exit 3"];
    let mut session = pods.exec("runs", command, &AttachParams::default()).await.unwrap();
    let (mut out, mut err) = (String::new(), String::new());
    let (mut stdout, mut stderr) = (session.stdout().unwrap(), session.stderr().unwrap());
    let status = session.take_status().unwrap();
    let read = futures::future::join(stdout.read_to_string(&mut out), stderr.read_to_string(&mut err));
    let (read_out, read_err) = within("its output", read).await;
    read_out.and(read_err).unwrap();
    let status = within("its status", status).await.unwrap();
    assert_eq!((out.as_str(), err.as_str()), ("out\n", "err\n"));
    let causes = status.details.unwrap().causes.unwrap();
    assert_eq!(causes[0].message.as_deref(), Some("3"), "{causes:?}");

    let uid = running.uid().unwrap();
    let gone = await_condition(pods.clone(), "runs", conditions::is_deleted(&uid));
    let quickly = DeleteParams { grace_period_seconds: Some(1), ..DeleteParams::default() };
    let deleted = async { pods.delete("runs", &quickly).await.unwrap() };
    within("its end", futures::future::join(gone, deleted)).await.0.unwrap();
}
