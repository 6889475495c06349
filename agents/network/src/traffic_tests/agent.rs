//! The whole agent: a Kubernetes API made of three lists and a watch, rules in a kernel.

use std::{convert::Infallible, time::Instant};

use bytes::Bytes;
use futures::{StreamExt, channel::mpsc};
use http::{Request, Response};
use http_body::Frame;
use http_body_util::StreamBody;
use kube::client::Body;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::*;
use crate::run::run;

/// Lists a service, and sends as EndpointSlices what comes through the channel.
fn api(slices: mpsc::UnboundedReceiver<Value>) -> kube::Client {
    let slices = std::sync::Arc::new(std::sync::Mutex::new(Some(slices)));
    let answer = move |request: Request<Body>| {
        let uri = request.uri().clone();
        let is_watch = uri.query().is_some_and(|query| query.contains("watch=true"));
        let is_slices = uri.path().ends_with("/endpointslices");
        let events = slices.lock().unwrap().take_if(|_| is_watch && is_slices);
        let lines = match events {
            Some(events) => events.boxed(),
            None if is_watch => futures::stream::pending().boxed(),
            None => futures::stream::iter([list(uri.path())]).boxed(),
        };
        let frames = lines.map(|line: Value| Ok::<_, Infallible>(Frame::data(Bytes::from(format!("{line}\n")))));
        std::future::ready(Ok::<_, Infallible>(Response::new(StreamBody::new(frames))))
    };
    kube::Client::new(tower::service_fn(answer), "default")
}

fn list(path: &str) -> Value {
    let spec = json!({"clusterIP": CLUSTER_IP, "ports": [{"port": 80}]});
    let service = json!({"metadata": {"name": "web", "namespace": "default", "resourceVersion": "1"}, "spec": spec});
    let items = if path.ends_with("/services") { vec![service] } else { Vec::new() };
    json!({"metadata": {"resourceVersion": "1"}, "items": items})
}

fn slice(kind: &str, revision: u32, pod: Ipv4Addr) -> Value {
    json!({"type": kind, "object": {
        "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice", "addressType": "IPv4",
        "metadata": {"name": "web-1", "namespace": "default", "resourceVersion": revision.to_string(),
            "labels": {"kubernetes.io/service-name": "web"}},
        "ports": [{"port": 8080}],
        "endpoints": [{"addresses": [pod], "nodeName": "node", "conditions": {"ready": true}}],
    }})
}

/// Asks until the answer is the one that is waited for.
#[track_caller]
fn wait_for(net: &Net, good: impl Fn(&io::Result<String>) -> bool) {
    let deadline = Instant::now() + DEADLINE;
    loop {
        let answer = net.a.ask_within(CLUSTER_IP, 80, PATIENCE);
        if good(&answer) {
            return;
        }
        assert!(Instant::now() < deadline, "{answer:?}");
        thread::yield_now();
    }
}

#[test]
fn the_agent_follows_the_api() {
    let Some(net) = Net::new("the_agent_follows_the_api") else { return };
    let (events, slices) = mpsc::unbounded();
    let cancel = CancellationToken::new();
    let stop = cancel.clone();
    let (ended, result) = channel();
    let agent = move || {
        // Its threads are children of this one, and so in the node's namespace.
        let running = async { run(api(slices), "node".into(), PODS.into(), Vec::new(), stop).await };
        ended.send(on_this_thread(running).map_err(|error| error.to_string())).unwrap();
    };
    net.node.jobs.send(Box::new(agent)).unwrap();

    wait_for(&net, |answer| answer.as_ref().is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused));
    events.unbounded_send(slice("ADDED", 2, B)).unwrap();
    wait_for(&net, |answer| answer.as_ref().is_ok_and(|answer| answer.starts_with("b ")));
    events.unbounded_send(slice("MODIFIED", 3, A)).unwrap();
    wait_for(&net, |answer| answer.as_ref().is_ok_and(|answer| answer.starts_with("a ")));
    events.unbounded_send(slice("DELETED", 4, A)).unwrap();
    wait_for(&net, |answer| answer.is_err());

    cancel.cancel();
    assert_eq!(result.recv().unwrap(), Ok(()));
    assert!(net.node.nft("list tables".into()).contains("kontiki"), "the rules outlive the agent");
    net.node.run(|| on_this_thread(crate::cleanup()).unwrap());
    assert_eq!(net.node.nft("list tables".into()), "");
}

/// For the figures: prints, and asserts nothing about time.
#[test]
fn two_thousand_services() {
    let Some(net) = Net::new("two_thousand_services") else { return };
    let ports: Vec<ServicePort> = (0..2000_u32)
        .map(|n| {
            let endpoints: Vec<Ipv4Addr> = (0..5).map(|e| Ipv4Addr::from(u32::from(A) + n * 5 + e)).collect();
            let cluster_ip = Ipv4Addr::from(u32::from(Ipv4Addr::new(10, 96, 0, 1)) + n);
            ServicePort { service: format!("s{n}"), cluster_ip, node_port: None, ..service(&endpoints) }
        })
        .collect();
    let mut view = view(ports);
    let started = Instant::now();
    let before = ruleset(&view, PODS);
    let pure = started.elapsed();
    let script = replacement(&before);
    let started = Instant::now();
    net.node.nft(script);
    let loaded = started.elapsed();
    view.ports[1000].endpoints.pop();
    let script = change(&before, &ruleset(&view, PODS));
    let started = Instant::now();
    net.node.nft(script);
    println!(
        "2,000 services of 5 endpoints: rules {pure:?}, loaded in {loaded:?}, one change in {:?}",
        started.elapsed()
    );
}
