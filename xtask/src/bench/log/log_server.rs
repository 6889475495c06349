//! Kontiki's log alone, behind the very protocol that etcd speaks: a store of keys against a store of keys.

use std::process::Command;

use anyhow::{Context, Result};

use super::cluster::{Place, System};
use crate::build;

pub struct LogServer;

impl LogServer {
    fn peers(node: usize) -> String {
        format!("127.0.0.1:{}", 3380 + 10 * node)
    }

    fn status(&self, place: &Place<'_>, node: usize) -> Option<serde_json::Value> {
        place.ask(&[&format!("http://{}/status", self.address(node))])
    }
}

impl System for LogServer {
    fn label(&self) -> &'static str {
        "kontiki log"
    }

    fn describe(&self) -> String {
        "Kontiki's log in a process of its own, its defaults; the same KV.Put over gRPC without TLS".into()
    }

    fn protocol(&self) -> &'static str {
        "grpc"
    }

    fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", 3379 + 10 * node)
    }

    fn command(&self, place: &Place<'_>, node: usize) -> Result<Command> {
        let mut command = place.scratch.inside(build::target_dir()?.join("release/log-server"));
        command.arg("--dir").arg(place.data(node)).args(["--name", &format!("n{node}")]);
        command.args(["--listen", &self.address(node), "--peers", &LogServer::peers(node)]);
        if node > 0 {
            command.arg("--join");
        }
        Ok(command)
    }

    fn join(&self, place: &Place<'_>, node: usize) -> Result<()> {
        let id = super::wait(|| self.status(place, node)?["node"].as_u64()).context("the server did not start")?;
        let member = format!("http://{}/members/{id}/n{node}/{}", self.address(0), LogServer::peers(node));
        super::wait(|| place.ask(&["--request", "POST", "--max-time", "60", &member]))
            .context("the server did not join")?;
        Ok(())
    }

    fn one_by_one(&self) -> bool {
        true
    }

    fn leader(&self, place: &Place<'_>, nodes: usize) -> Result<Option<usize>> {
        let mut leader = None;
        for node in 0..nodes {
            let Some(status) = self.status(place, node) else { return Ok(None) };
            if status["leader"].is_null() {
                return Ok(None);
            }
            if status["leader"] == status["node"] {
                leader = Some(node);
            }
        }
        Ok(leader)
    }
}
