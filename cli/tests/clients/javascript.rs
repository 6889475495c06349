//! `@kubernetes/client-node`; what it does is said in `javascript/`.

use std::path::Path;

use crate::{
    harness::{Cluster, succeed},
    interpreters::{administrator, javascript, script},
};

pub fn informs_applies_and_executes(cluster: &Cluster) {
    let Some(packages) = javascript() else { return };
    succeed(administrator(cluster, Path::new("node")).arg(script("javascript/client.js")).env("CLIENTS", packages));
}
