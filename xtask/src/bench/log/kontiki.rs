//! Three `kontiki server`s as users run them: TLS, authentication, authorization, admission, validation, controllers, and the
//! same log below. What one write costs a user, where etcd is only what lies below an API server.

use std::{
    path::PathBuf,
    process::{Command, Stdio},
};

use anyhow::{Context, Result};

use super::cluster::{Place, System};
use crate::tool;

pub struct Kontiki;

impl System for Kontiki {
    fn label(&self) -> &'static str {
        "kontiki API"
    }

    fn describe(&self) -> String {
        "three `kontiki server`, their defaults; POST of a ConfigMap over HTTP/2 with TLS and a client certificate"
            .into()
    }

    fn protocol(&self) -> &'static str {
        "api"
    }

    fn pki(&self, place: &Place<'_>) -> Option<PathBuf> {
        Some(place.data(0).join("pki"))
    }

    fn address(&self, node: usize) -> String {
        format!("127.0.0.1:{}", 6443 + 10 * node)
    }

    fn command(&self, place: &Place<'_>, node: usize) -> Result<Command> {
        let kontiki = tool::root().join("bin/kontiki");
        let mut command = place.scratch.inside(&kontiki);
        command.arg("server").arg("--data-dir").arg(place.data(node));
        command.args(["--name", &format!("n{node}"), "--listen", &self.address(node)]);
        if place.data(node).exists() {
            return Ok(command);
        }
        if node == 0 {
            command.arg("--init");
        } else {
            let token = tool::output(place.scratch.inside(&kontiki).arg("token").arg("--data-dir").arg(place.data(0)))?;
            command.args(["--join", &self.address(0), "--token", token.trim()]);
        }
        Ok(command)
    }

    fn one_by_one(&self) -> bool {
        true
    }

    fn leader(&self, place: &Place<'_>, nodes: usize) -> Result<Option<usize>> {
        for node in 0..nodes {
            let mut curl = place.scratch.inside("curl");
            curl.args(["--silent", "--fail", "--max-time", "2", "--output", "/dev/null", "--cacert"]);
            curl.arg(place.data(0).join("pki/ca.crt")).arg(format!("https://{}/readyz", self.address(node)));
            if !curl.stdout(Stdio::null()).stderr(Stdio::null()).status()?.success() {
                return Ok(None);
            }
        }
        let mut list = place.scratch.inside(tool::root().join("bin/kontiki"));
        list.args(["members", "list", "--output", "json", "--kubeconfig"]).arg(place.data(0).join("kubeconfig"));
        let listed = list.stderr(Stdio::null()).output()?;
        let Ok(members) = serde_json::from_slice::<serde_json::Value>(&listed.stdout) else { return Ok(None) };
        let members = members.as_array().context("members that are no list")?;
        let voters = members.iter().filter(|member| member["voter"] == true).count();
        let leader = members.iter().find(|member| member["leader"] == true).and_then(|member| member["name"].as_str());
        let leader = leader.and_then(|name| name.strip_prefix('n')?.parse().ok());
        Ok(leader.filter(|_| voters == nodes))
    }
}
