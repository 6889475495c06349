//! `make up-ha`: three servers and two agents on one machine, as if on five; and what makes trying them out comfortable.

mod place;
mod processes;

use std::{
    fs::{self, OpenOptions},
    net::{SocketAddr, TcpStream},
    os::unix::process::CommandExt as _,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail};
use clap::Args;
use serde_json::Value;

pub use self::processes::wait_for;
use self::{
    place::Place,
    processes::{Found, Process, end, holder, wait_while},
};
use crate::{
    build,
    tool::{self, output},
};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    Server,
    Agent,
}

/// One of the machines that the cluster pretends to have.
#[derive(Debug)]
pub struct Machine {
    pub name: &'static str,
    pub role: Role,
    /// Last byte of its address.
    pub host: u8,
    /// Addresses of an agent's pods.
    pub pods: &'static str,
}

static MACHINES: &[Machine] = &[
    Machine { name: "server-1", role: Role::Server, host: 11, pods: "" },
    Machine { name: "server-2", role: Role::Server, host: 12, pods: "" },
    Machine { name: "server-3", role: Role::Server, host: 13, pods: "" },
    Machine { name: "agent-1", role: Role::Agent, host: 21, pods: "10.244.1.0/24" },
    Machine { name: "agent-2", role: Role::Agent, host: 22, pods: "10.244.2.0/24" },
];

const START_TIME_MAX: Duration = Duration::from_secs(60);
const ANSWER_TIME_MAX: Duration = Duration::from_secs(10);
const ASK_TIME_MAX: Duration = Duration::from_secs(1);
const CONNECT_TIME_MAX: Duration = Duration::from_millis(500);

pub fn machines() -> &'static [Machine] {
    MACHINES
}

impl Role {
    fn name(self) -> &'static str {
        match self {
            Role::Agent => "agent",
            Role::Server => "server",
        }
    }
}

/// The cluster of this checkout.
struct Trial {
    dir: PathBuf,
    place: Place,
    binary: PathBuf,
}

/// Where the cluster is kept, and what runs it.
#[derive(Args, Clone, Debug, Default)]
pub struct Of {
    /// Folder of the cluster; .kontiki/ha in the checkout if absent
    #[arg(long, value_name = "DIR")]
    dir: Option<PathBuf>,

    /// Run this kontiki; if absent, bin/kontiki, which is built first
    #[arg(long, value_name = "FILE")]
    binary: Option<PathBuf>,
}

/// Starts whatever does not run.
pub fn up(of: &Of) -> Result<()> {
    if of.binary.is_none() {
        build::build()?;
    }
    let trial = Trial::open(of)?;
    let (running, missing): (Vec<_>, Vec<_>) =
        trial.place.machines().into_iter().partition(|machine| holder(&trial.data(machine)).is_some());
    if missing.is_empty() {
        println!("up already: all {} processes run", running.len());
        trial.write_down()?;
        trial.greet()?;
        return Ok(());
    }
    for machine in trial.place.machines() {
        trial.place.ensure(machine)?;
    }
    let of = |role: Role| missing.iter().copied().filter(move |machine| machine.role == role);
    // Who has data goes first, all at once: one of three alone has no majority to be ready with.
    for machine in of(Role::Server).filter(|machine| trial.has_data(machine)) {
        trial.spawn(machine, &[])?;
    }
    for machine in of(Role::Server).filter(|machine| !trial.has_data(machine)) {
        let begin = trial.first_steps(machine)?;
        trial.spawn(machine, &begin.iter().map(String::as_str).collect::<Vec<_>>())?;
        trial.wait_ready(machine)?;
    }
    for machine in trial.place.machines().into_iter().filter(|machine| machine.role == Role::Server) {
        trial.wait_ready(machine)?;
    }
    trial.write_kubeconfig()?;
    let agents: Vec<(&Machine, Child)> =
        of(Role::Agent).map(|machine| Ok((machine, trial.detach(machine)?))).collect::<Result<_>>()?;
    for (machine, mut child) in agents {
        if !child.wait()?.success() {
            bail!("{} did not become a Ready node", machine.name);
        }
    }
    trial.write_down()?;
    trial.greet()
}

/// The members of a cluster, as it tells them.
pub fn members(binary: &Path, kubeconfig: &Path) -> Result<Vec<Value>> {
    let mut list = Command::new(binary);
    list.args(["members", "list", "-o", "json", "--kubeconfig"]).arg(kubeconfig);
    Ok(serde_json::from_str(&output(&mut list)?)?)
}

/// Starts one machine's process again, with its data.
pub fn restart(name: &str, of: &Of) -> Result<()> {
    let trial = Trial::open(of)?;
    let machines = trial.place.machines();
    let known = || machines.iter().map(|machine| machine.name).collect::<Vec<_>>().join(", ");
    let machine = machines.iter().copied().find(|machine| machine.name == name);
    let machine = machine.with_context(|| format!("NAME must be one of {}", known()))?;
    if !trial.has_data(machine) {
        bail!("{name} has no data: `make up-ha` makes it");
    }
    if let Some(pid) = holder(&trial.data(machine)) {
        println!("{name} runs already (process {pid})");
        return trial.write_down();
    }
    trial.place.ensure(machine)?;
    let pid = trial.spawn(machine, &[])?;
    trial.write_down()?;
    println!("{name} runs again (process {pid})");
    Ok(())
}

/// Ends it all and removes what it left on the machine; its data stays. `false`: there was nothing.
pub fn down(of: &Of) -> Result<bool> {
    if !Place::is_chosen(&of.dir()) {
        return Ok(false);
    }
    let trial = Trial::open(of)?;
    // Agents first: they tell the servers goodbye.
    for machine in trial.place.machines().into_iter().rev() {
        let data = trial.data(machine);
        if let Some(pid) = holder(&data) {
            end(pid, &data)?;
            println!("ended {} (process {pid})", machine.name);
        }
        let netns = Path::new("/run/netns").join(trial.place.netns(machine));
        if machine.role == Role::Agent && data.exists() && netns.exists() {
            tool::run(trial.place.command(machine, &trial.binary).args(["down", "--data-dir"]).arg(&data))?;
        }
    }
    trial.place.remove()?;
    let list = trial.list();
    if list.exists() {
        fs::remove_file(&list).with_context(|| format!("removing {}", list.display()))?;
    }
    Ok(true)
}

/// A server answers when its log is open, whether it has found the others or not; an agent's server is there at once.
fn answers(role: Role, address: SocketAddr) -> Result<()> {
    match role {
        Role::Agent => Ok(TcpStream::connect_timeout(&address, CONNECT_TIME_MAX).map(drop)?),
        Role::Server => {
            let mut curl = Command::new("curl");
            curl.args(["--silent", "--show-error", "--fail", "--insecure", "--noproxy", "*", "--output", "/dev/null"]);
            curl.args(["--max-time", &ASK_TIME_MAX.as_secs().to_string(), &format!("https://{address}/livez")]);
            output(&mut curl).map(drop)
        }
    }
}

impl Of {
    /// Not this checkout's own cluster.
    pub fn is_elsewhere(&self) -> bool {
        self.dir.is_some()
    }

    fn dir(&self) -> PathBuf {
        self.dir.clone().unwrap_or_else(|| tool::root().join(".kontiki/ha"))
    }
}

impl Trial {
    fn open(of: &Of) -> Result<Self> {
        let dir = of.dir();
        fs::create_dir_all(&dir).with_context(|| format!("making {}", dir.display()))?;
        let dir = fs::canonicalize(&dir)?;
        let binary = of.binary.clone().unwrap_or_else(|| tool::root().join("bin/kontiki"));
        let binary = fs::canonicalize(&binary).with_context(|| format!("looking for {}", binary.display()))?;
        let place = Place::choose(&dir)?;
        Ok(Trial { dir, place, binary })
    }

    fn data(&self, machine: &Machine) -> PathBuf {
        self.dir.join(machine.name)
    }

    fn log(&self, machine: &Machine) -> PathBuf {
        self.data(machine).join("kontiki.log")
    }

    fn list(&self) -> PathBuf {
        self.dir.join("processes.json")
    }

    fn kubeconfig(&self) -> PathBuf {
        self.dir.join("kubeconfig")
    }

    fn has_data(&self, machine: &Machine) -> bool {
        self.data(machine).join(format!("{}.json", machine.role.name())).exists()
    }

    fn servers(&self) -> Vec<&'static Machine> {
        self.place.machines().into_iter().filter(|machine| machine.role == Role::Server).collect()
    }

    /// What a machine without data is told to become.
    fn first_steps(&self, machine: &Machine) -> Result<Vec<String>> {
        let mut arguments = vec!["--name".to_owned(), machine.name.to_owned()];
        let address = self.place.address(machine);
        match machine.role {
            Role::Server => arguments.extend(["--listen".to_owned(), address.to_string()]),
            Role::Agent => arguments.extend([
                "--node-address".to_owned(),
                address.ip().to_string(),
                "--pod-cidr".to_owned(),
                machine.pods.to_owned(),
            ]),
        }
        let members: Vec<_> = self.servers().into_iter().filter(|server| self.has_data(server)).collect();
        let Some(first) = members.first() else {
            arguments.push("--init".to_owned());
            return Ok(arguments);
        };
        let mut token = Command::new(&self.binary);
        token.args(["token", "--role", machine.role.name(), "--data-dir"]).arg(self.data(first));
        let addresses: Vec<String> = members.iter().map(|server| self.place.address(server).to_string()).collect();
        arguments.extend(["--join".to_owned(), addresses.join(","), "--token".to_owned()]);
        arguments.push(output(&mut token)?.trim().to_owned());
        Ok(arguments)
    }

    /// Starts a machine's process in the background; its pid, once it runs and, where it can be reached, answers.
    fn spawn(&self, machine: &Machine, arguments: &[&str]) -> Result<u32> {
        let data = self.data(machine);
        fs::create_dir_all(&data)?;
        let log = OpenOptions::new().create(true).append(true).open(self.log(machine))?;
        let mut command = self.place.command(machine, &self.binary);
        command.arg(machine.role.name()).arg("--data-dir").arg(&data).args(arguments);
        command.current_dir(tool::root()).env_remove("KUBECONFIG").env_remove("KONTIKI_DATA_DIR");
        command.stdin(Stdio::null()).stdout(log.try_clone()?).stderr(log).process_group(0);
        let mut child = command.spawn().with_context(|| format!("starting {}", machine.name))?;
        let pid = child.id();
        let address = self.place.address(machine);
        let log = self.log(machine);
        let mut lives = move || match child.try_wait() {
            Ok(None) => Ok(()),
            Ok(Some(status)) => Err(anyhow!("{} ended at once ({status})", machine.name)),
            Err(error) => Err(error.into()),
        };
        wait_while(&format!("{} to start", machine.name), START_TIME_MAX, &log, || match lives() {
            Err(ended) => Found::Never(ended),
            Ok(()) if holder(&data) == Some(pid) => Found::It(()),
            Ok(()) => Found::NotYet(anyhow!("it does not hold its data folder yet")),
        })?;
        // It listens before it has read its data. Where the network to it is cut, it runs all the same.
        let reached = wait_while("it to answer", ANSWER_TIME_MAX, &log, || match lives() {
            Err(ended) => Found::Never(ended),
            Ok(()) => answers(machine.role, address).map_or_else(Found::NotYet, Found::It),
        });
        match reached {
            Err(error) if lives().is_ok() => {
                println!("{} runs (process {pid}) but cannot be reached at {address}: {error:#}", machine.name);
                Ok(pid)
            }
            reached => reached.map(|()| pid),
        }
    }

    /// Starts an agent and leaves the waiting for its Ready node to the returned process.
    fn detach(&self, machine: &Machine) -> Result<Child> {
        let begin = if self.has_data(machine) { Vec::new() } else { self.first_steps(machine)? };
        let mut command = self.place.command(machine, &self.binary);
        command.args(["agent", "--detach", "--data-dir"]).arg(self.data(machine)).args(begin);
        command.current_dir(tool::root()).env_remove("KUBECONFIG").env_remove("KONTIKI_DATA_DIR").stdin(Stdio::null());
        command.spawn().with_context(|| format!("starting {}", machine.name))
    }

    fn members(&self, through: &Machine) -> Result<Vec<Value>> {
        members(&self.binary, &self.data(through).join("kubeconfig"))
    }

    /// Waits until the server votes and is ready, by its own word.
    fn wait_ready(&self, machine: &Machine) -> Result<()> {
        wait_for(&format!("{} to be ready", machine.name), START_TIME_MAX, &self.log(machine), || {
            let members = self.members(machine)?;
            let own = members.iter().find(|member| member["name"] == machine.name);
            let own = own.context("it is no member yet")?;
            if own["voter"] == true && own["ready"] == true {
                return Ok(());
            }
            bail!("{own}")
        })
    }

    /// The operator's kubeconfig, with all servers in it.
    fn write_kubeconfig(&self) -> Result<()> {
        let servers = self.servers();
        let first = servers.first().context("there are no servers")?;
        let text = wait_for("a kubeconfig with all servers", START_TIME_MAX, &self.log(first), || {
            let text = fs::read_to_string(self.data(first).join("kubeconfig"))?;
            let missing = servers.iter().find(|server| !text.contains(&self.place.address(server).to_string()));
            match missing {
                None => Ok(text),
                Some(server) => bail!("{} is not in it yet", server.name),
            }
        })?;
        let partial = self.dir.join("kubeconfig.new");
        fs::copy(self.data(first).join("kubeconfig"), &partial)?;
        fs::write(&partial, text)?;
        fs::rename(&partial, self.kubeconfig()).context("writing the kubeconfig")
    }

    /// Writes down who runs as which process; one that does not run keeps the pid it had.
    fn write_down(&self) -> Result<()> {
        let before = processes::read(&self.list())?;
        let mut list = Vec::new();
        for machine in self.place.machines() {
            let known = before.iter().find(|process| process.name == machine.name).map(|process| process.pid);
            let Some(pid) = holder(&self.data(machine)).or(known) else { continue };
            list.push(Process {
                name: machine.name.to_owned(),
                role: machine.role.name().to_owned(),
                pid,
                address: format!("https://{}", self.place.address(machine)),
                netns: self.place.netns(machine),
            });
        }
        processes::write(&self.list(), &list)
    }

    fn greet(&self) -> Result<()> {
        let list = processes::read(&self.list())?;
        println!("\n  {:10} {:28} {:>8}  network namespace", "name", "address", "process");
        for Process { name, pid, address, netns, .. } in &list {
            println!("  {name:10} {address:28} {pid:>8}  {netns}");
        }
        let victim = list.first().context("no process is written down")?;
        println!("\nTry:\n\n  export KUBECONFIG={}", self.kubeconfig().display());
        println!("  kubectl get nodes,componentstatuses");
        println!("  bin/kontiki members list");
        println!("\nkill one, look, and start it again:\n");
        println!("  kill -9 {}", victim.pid);
        println!("  kubectl --context server-2 get nodes");
        println!("  make ha-restart NAME={}", victim.name);
        println!("\n`make down` ends all of it; {} keeps the data.", self.dir.display());
        Ok(())
    }
}
