//! What transcripts are replayed against: servers on ports of the loopback address, without nodes. What was recorded knows of none,
//! and on a node its pods would run.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail};
use serde_json::Value;

use crate::{
    ha::{self, wait_for},
    tool::output,
};

const START_TIME_MAX: Duration = Duration::from_secs(60);

/// A server, and the folder with the administrator's certificate and the CA's.
pub struct Reached {
    pub url: String,
    pub pki: PathBuf,
}

/// Servers of one cluster; ended when dropped.
pub struct Servers<'a> {
    binary: &'a Path,
    /// What signs the tokens of service accounts.
    key: &'a Path,
    dir: PathBuf,
    running: Vec<Child>,
}

impl<'a> Servers<'a> {
    /// The first founds the cluster; all vote when this returns.
    pub fn start(binary: &'a Path, key: &'a Path, dir: PathBuf, count: usize, controllers: bool) -> Result<Self> {
        fs::create_dir_all(&dir)?;
        let mut servers = Servers { binary, key, dir, running: Vec::new() };
        for number in 0..count {
            servers.spawn(number, controllers)?;
            let log = servers.log(number);
            wait_for("a server to be ready", START_TIME_MAX, &log, || servers.look(number))?;
        }
        Ok(servers)
    }

    fn spawn(&mut self, number: usize, controllers: bool) -> Result<()> {
        let log = fs::File::create(self.log(number))?;
        let mut command = Command::new(self.binary);
        command.args(["server", "--listen", "127.0.0.1:0", "--name", &name(number)]);
        command.arg(format!("--controllers={controllers}")).arg("--data-dir").arg(self.data(number));
        command.arg("--service-account-signing-key-file").arg(self.key);
        if number == 0 {
            command.arg("--init");
        } else {
            let token = output(Command::new(self.binary).args(["token", "--data-dir"]).arg(self.data(0)))?;
            command.args(["--join", &self.address(0)?, "--token", token.trim()]);
        }
        command.env_remove("KUBECONFIG").env_remove("KONTIKI_DATA_DIR").stdin(Stdio::null());
        self.running.push(command.stdout(log.try_clone()?).stderr(log).spawn().context("starting a server")?);
        Ok(())
    }

    fn look(&mut self, number: usize) -> Result<()> {
        if let Some(status) = self.running[number].try_wait()? {
            bail!("it ended with {status}");
        }
        let members = ha::members(self.binary, &self.data(number).join("kubeconfig"))?;
        let ready =
            |member: &&Value| member["name"] == name(number) && member["voter"] == true && member["ready"] == true;
        members.iter().find(ready).map(drop).with_context(|| format!("{members:?}"))
    }

    pub fn leader(&self) -> Result<Reached> {
        self.find("leader", |leads| leads)
    }

    pub fn follower(&self) -> Result<Reached> {
        self.find("follower", |leads| !leads)
    }

    fn find(&self, what: &str, wanted: impl Fn(bool) -> bool) -> Result<Reached> {
        let members = ha::members(self.binary, &self.data(0).join("kubeconfig"))?;
        let found = members.iter().find(|member| wanted(member["leader"] == true));
        let url = found.and_then(|member| member["address"].as_str());
        let url = url.with_context(|| format!("no {what} among {members:?}"))?.to_owned();
        Ok(Reached { url, pki: self.data(0).join("pki") })
    }

    fn address(&self, number: usize) -> Result<String> {
        let settings: Value = serde_json::from_slice(&fs::read(self.data(number).join("server.json"))?)?;
        Ok(settings["address"].as_str().context("a server without an address")?.to_owned())
    }

    fn data(&self, number: usize) -> PathBuf {
        self.dir.join(name(number))
    }

    fn log(&self, number: usize) -> PathBuf {
        self.dir.join(format!("{}.log", name(number)))
    }
}

impl Drop for Servers<'_> {
    fn drop(&mut self) {
        for server in &mut self.running {
            if let Err(error) = server.kill().and_then(|()| server.wait()) {
                eprintln!("ending a server: {error}");
            }
        }
    }
}

fn name(number: usize) -> String {
    format!("server-{}", number + 1)
}
