//! Debian's etcd, with its own defaults.

use std::process::Command;

use anyhow::Result;

use super::cluster::{NODES, Place, System};
use crate::tool;

pub struct Etcd;

impl Etcd {
    fn peer(node: usize) -> String {
        format!("http://127.0.0.1:{}", 2380 + 10 * node)
    }
}

impl System for Etcd {
    fn label(&self) -> &'static str {
        "etcd"
    }

    fn describe(&self) -> String {
        let version = tool::output(Command::new("etcd").arg("--version")).unwrap_or_default();
        let version = version.lines().next().and_then(|line| line.split(": ").nth(1)).unwrap_or("?").to_owned();
        format!("Debian's etcd {version}, its defaults; KV.Put over gRPC without TLS")
    }

    fn protocol(&self) -> &'static str {
        "grpc"
    }

    fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", 2379 + 10 * node)
    }

    fn command(&self, place: &Place<'_>, node: usize) -> Result<Command> {
        let mut command = place.scratch.inside("etcd");
        let peers: Vec<String> = (0..NODES).map(|node| format!("n{node}={}", Etcd::peer(node))).collect();
        let client = format!("http://{}", self.address(node));
        command.arg("--data-dir").arg(place.data(node)).args(["--name", &format!("n{node}"), "--logger", "zap"]);
        command.args(["--listen-client-urls", &client, "--advertise-client-urls", &client]);
        command.args(["--listen-peer-urls", &Etcd::peer(node), "--initial-advertise-peer-urls", &Etcd::peer(node)]);
        command.args(["--initial-cluster", &peers.join(","), "--initial-cluster-state", "new"]);
        Ok(command)
    }

    fn one_by_one(&self) -> bool {
        false
    }

    fn leader(&self, place: &Place<'_>, nodes: usize) -> Result<Option<usize>> {
        let mut leader = None;
        for node in 0..nodes {
            let url = format!("http://{}/v3/maintenance/status", self.address(node));
            let Some(status) = place.ask(&["--data", "{}", &url]) else { return Ok(None) };
            if status["leader"].as_str().is_none_or(|leader| leader == "0") {
                return Ok(None);
            }
            if status["leader"] == status["header"]["member_id"] {
                leader = Some(node);
            }
        }
        Ok(leader)
    }
}
