//! Other people's clients, unmodified, against one whole cluster: Python's `kubernetes` and `kopf`, JavaScript's
//! `@kubernetes/client-node`, Rust's `kube`, Helm and kubectl in several releases, and what Argo CD reads schemas with. This machine's own kubectl is everywhere in the
//! room next door.

#![allow(clippy::unwrap_used)]

#[allow(dead_code)]
#[path = "../cluster/harness.rs"]
mod harness;

mod argo;
mod gatekeeper;
mod helm;
mod interpreters;
mod javascript;
mod kube_rs;
mod kubectl;
mod operator;
mod python;

use std::thread;

use crate::harness::{Cluster, able};

/// A client's name, and what it does to a cluster. Each keeps to a namespace of its own.
type Client = (&'static str, fn(&Cluster));

static CLIENTS: &[Client] = &[
    ("Argo CD's schemas", argo::reads_schemas),
    ("Helm 3", helm::three),
    ("Helm 4", helm::four),
    ("kopf", operator::runs),
    ("kopf, its webhooks", gatekeeper::judges),
    ("kube-rs", kube_rs::reflects_waits_and_executes),
    ("kubectl 1.20", kubectl::v1_20),
    ("kubectl 1.32", kubectl::v1_32),
    ("kubectl 1.35", kubectl::v1_35),
    ("@kubernetes/client-node", javascript::informs_applies_and_executes),
    ("kubernetes, dynamic", python::dynamic),
    ("kubernetes, typed", python::typed),
];

/// One test, because each test is a process of its own, and a cluster is more to start than all that is asked of it.
#[test]
fn other_peoples_clients_cannot_tell() {
    if !able() {
        return;
    }
    let cluster = &Cluster::start();
    cluster.import_busybox("busybox:test");
    let failed: Vec<&str> = thread::scope(|scope| {
        let running: Vec<_> =
            CLIENTS.iter().map(|(name, client)| (*name, scope.spawn(move || client(cluster)))).collect();
        running.into_iter().filter_map(|(name, client)| client.join().is_err().then_some(name)).collect()
    });
    assert!(failed.is_empty(), "failed, as said above: {failed:?}");
}
