//! The Python package `kubernetes`; what it does is said in `python/`.

use crate::{
    harness::{Cluster, succeed},
    interpreters::{administrator, python, script},
};

pub fn typed(cluster: &Cluster) {
    run(cluster, "python/typed.py");
}

pub fn dynamic(cluster: &Cluster) {
    run(cluster, "python/dynamic.py");
}

fn run(cluster: &Cluster, name: &str) {
    let Some(environment) = python() else { return };
    succeed(administrator(cluster, &environment.join("bin/python")).arg(script(name)));
}
