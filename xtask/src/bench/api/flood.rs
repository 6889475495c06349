//! One user's latency, alone and while another one floods the server with as many requests as it takes.

use std::{process::Stdio, thread, time::Duration};

use anyhow::{Context, Result, bail};
use serde_json::json;

use super::{Effort, Seen, Server, told};

const USER: &str = "jane";
const FLOODING: &str = "flood";
/// Until all connections of the flood are made and its queues are full, and as long again at its end.
const LEAD: Duration = Duration::from_secs(2);

pub struct Flooded {
    /// What the flood consists of; nothing, if there is none.
    pub by: Option<&'static str>,
    pub connections: usize,
    /// What the user saw who asks for one thing at a time.
    pub seen: Seen,
    /// What the one saw who floods.
    pub flood: Seen,
}

pub(super) fn flooded(server: &Server<'_>, effort: &Effort) -> Result<Vec<Flooded>> {
    // Users as others are: an administrator is exempt from waiting.
    let users = [USER, FLOODING].map(|name| json!({"kind": "User", "apiGroup": GROUP, "name": name}));
    let binding = json!({
        "apiVersion": format!("{GROUP}/v1"), "kind": "ClusterRoleBinding", "metadata": {"name": "load"},
        "roleRef": {"apiGroup": GROUP, "kind": "ClusterRole", "name": "edit"}, "subjects": users,
    });
    server.post(&format!("/apis/{GROUP}/v1/clusterrolebindings"), &binding)?;
    [None, Some("create"), Some("list")].into_iter().map(|by| beside(server, effort, by)).collect()
}

const GROUP: &str = "rbac.authorization.k8s.io";

fn beside(server: &Server<'_>, effort: &Effort, by: Option<&'static str>) -> Result<Flooded> {
    let connections = effort.flood.to_string();
    let (time, all) = (Duration::from_millis(effort.run_ms), Duration::from_millis(effort.run_ms) + 2 * LEAD);
    let (time, all) = (time.as_millis().to_string(), all.as_millis().to_string());
    let name = format!("beside-{}", by.unwrap_or("nobody"));
    let flood = by
        .map(|verb| {
            let task = ["storm", "--verb", verb, "--clients", &connections, "--millis", &all, "--as", FLOODING];
            let mut command = server.load_command(&format!("{name}-flood"), &task);
            command.stdout(Stdio::piped()).spawn().context("starting the flood")
        })
        .transpose()?;
    thread::sleep(LEAD);
    let task = ["storm", "--verb", "create", "--clients", "1", "--millis", &time, "--as", USER];
    let seen = server.load(&name, &task);
    let flood = match flood {
        None => Seen::default(),
        Some(process) => {
            let output = process.wait_with_output()?;
            if !output.status.success() {
                bail!("the flood ended with {}", output.status);
            }
            told(&String::from_utf8(output.stdout)?)?
        }
    };
    let seen: Seen = seen?;
    eprintln!("{name}: p99 {:.2} ms, {} refused; the flood {:.0}/s", seen.p99_ms, seen.errors, flood.rate());
    Ok(Flooded { by, connections: effort.flood, seen, flood })
}
