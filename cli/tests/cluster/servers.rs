//! Three servers as three processes: joining, losing one, letting one go, and what is refused.

use std::{
    fs,
    net::TcpListener,
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::harness::{Netns, succeed, text, wait};

/// Servers on ports of the loopback address, each with a folder of its own. Needs no root.
pub struct Servers {
    pub dir: tempfile::TempDir,
    /// Where they run, if not in the network of the test itself.
    netns: Option<Netns>,
    host: &'static str,
    pub running: Vec<(String, Child)>,
    /// What every server is started with besides.
    flags: Vec<String>,
}

impl Servers {
    /// Founds a cluster with the first and joins the others, all voting when this returns.
    pub fn start(names: &[&str]) -> Self {
        Servers::start_in(None, "127.0.0.1", names)
    }

    pub fn start_in(netns: Option<Netns>, host: &'static str, names: &[&str]) -> Self {
        let mut servers = Servers::prepare(&[]);
        (servers.netns, servers.host) = (netns, host);
        servers.begin(names);
        servers
    }

    /// A folder for servers that will have these flags; none runs yet.
    pub fn prepare(flags: &[&str]) -> Self {
        let flags = flags.iter().map(|&flag| flag.to_owned()).collect();
        Servers { dir: tempfile::tempdir().unwrap(), netns: None, host: "127.0.0.1", running: Vec::new(), flags }
    }

    /// Founds a cluster with the first and joins the others, all voting when this returns.
    pub fn begin(&mut self, names: &[&str]) {
        for (index, name) in names.iter().enumerate() {
            if index == 0 {
                let listen = self.listen();
                self.spawn(name, &["--init", "--name", name, "--listen", &listen]);
            } else {
                self.join(name);
            }
            self.wait_ready(name);
        }
    }

    /// Starts one that ran before.
    pub fn again(&mut self, name: &str) {
        self.spawn(name, &[]);
    }

    fn listen(&self) -> String {
        format!("{}:0", self.host)
    }

    fn command(&self, program: &str) -> Command {
        match &self.netns {
            Some(netns) => netns.command(program),
            None => Command::new(program),
        }
    }

    pub fn data(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    pub fn kontiki(&self, arguments: &[&str]) -> Command {
        let mut command = self.command(env!("CARGO_BIN_EXE_kontiki"));
        command.args(arguments).current_dir(self.dir.path()).stdin(Stdio::null());
        command.env_remove("KUBECONFIG").env_remove("KONTIKI_DATA_DIR").env_remove("KONTIKI_TOKEN");
        command
    }

    pub fn spawn(&mut self, name: &str, arguments: &[&str]) {
        let log = fs::OpenOptions::new().create(true).append(true).open(self.dir.path().join(format!("{name}.log")));
        let log = log.unwrap();
        let mut command = self.kontiki(&["server", "--data-dir", name]);
        command.args(arguments).args(&self.flags).stdout(log.try_clone().unwrap()).stderr(log);
        self.running.push((name.to_owned(), command.spawn().unwrap()));
    }

    pub fn token(&self, role: &str) -> String {
        let first = &self.running[0].0;
        succeed(&mut self.kontiki(&["token", "--role", role, "--data-dir", first])).trim().to_owned()
    }

    pub fn address(&self, name: &str) -> String {
        let settings: Value = serde_json::from_slice(&fs::read(self.data(name).join("server.json")).unwrap()).unwrap();
        settings["address"].as_str().unwrap().to_owned()
    }

    pub fn join(&mut self, name: &str) {
        let (token, address) = (self.token("server"), self.address(&self.running[0].0.clone()));
        let listen = self.listen();
        let flags = ["--join", &address, "--token", &token, "--name", name, "--listen", &listen];
        self.spawn(name, &flags);
    }

    pub fn members(&self, through: &str) -> Result<Vec<Value>, String> {
        let kubeconfig = self.data(through).join("kubeconfig");
        let list = self.kontiki(&["members", "list", "-o", "json", "--kubeconfig"]).arg(kubeconfig).output().unwrap();
        if !list.status.success() {
            return Err(text(&list));
        }
        serde_json::from_slice(&list.stdout).map_err(|error| error.to_string())
    }

    /// What one server is told about the members that shows another its certificate.
    pub fn as_server(&self, name: &str, asked: &str, flags: &[&str]) -> Value {
        let pki = self.data(name).join("pki");
        let mut curl = self.command("curl");
        curl.args(["--silent", "--show-error", "--cacert"]).arg(pki.join("ca.crt"));
        curl.arg("--cert").arg(pki.join("peer.crt")).arg("--key").arg(pki.join("peer.key")).args(flags);
        let answer = succeed(curl.arg(format!("https://{}/apis/kontiki.dev/v1/members", self.address(asked))));
        serde_json::from_str(&answer).unwrap()
    }

    pub fn wait_ready(&self, name: &str) {
        wait("the server to vote and be ready", || {
            let members = self.members(name).map_err(|error| format!("{error}\n{}", self.log(name)))?;
            let ready = |one: &&Value| one["name"] == name && one["voter"] == true && one["ready"] == true;
            members.iter().find(ready).map(drop).ok_or_else(|| format!("{members:?}\n{}", self.log(name)))
        });
    }

    pub fn log(&self, name: &str) -> String {
        fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default()
    }

    pub fn leader(&self, through: &str) -> String {
        wait("a leader", || {
            let members = self.members(through)?;
            let leader = members.iter().find(|member| member["leader"] == true);
            leader.map(|leader| leader["name"].as_str().unwrap().to_owned()).ok_or_else(|| format!("{members:?}"))
        })
    }

    pub fn kubectl(&self, server: &str, arguments: &[&str]) -> Command {
        let mut command = self.command("kubectl");
        command.arg("--kubeconfig").arg(self.data(server).join("kubeconfig")).arg("--context").arg(server);
        command.args(arguments).current_dir(self.dir.path()).env("HOME", self.dir.path()).stdin(Stdio::null());
        command
    }

    pub fn signal(&mut self, name: &str, signal: &str) -> String {
        let index = self.running.iter().position(|(one, _)| one == name).unwrap();
        let (_, mut child) = self.running.remove(index);
        succeed(Command::new("kill").args([signal, &child.id().to_string()]));
        child.wait().unwrap().to_string()
    }
}

impl Drop for Servers {
    fn drop(&mut self) {
        for (name, child) in &mut self.running {
            let _ = child.kill();
            let _ = child.wait();
            if std::thread::panicking() {
                let log = fs::read_to_string(self.dir.path().join(format!("{name}.log"))).unwrap_or_default();
                let lines: Vec<&str> = log.lines().collect();
                eprintln!("--- {name}, last lines\n{}", lines[lines.len().saturating_sub(20)..].join("\n"));
            }
        }
    }
}

#[test]
fn three_servers_are_one_cluster_and_survive_the_loss_of_any_one() {
    let names = ["a", "b", "c"];
    let mut servers = Servers::start(&names);
    for name in names {
        succeed(&mut servers.kubectl(name, &["create", "configmap", name]));
    }
    for name in names {
        let all = succeed(&mut servers.kubectl(name, &["get", "configmaps", "a", "b", "c", "-o", "name"]));
        assert_eq!(all.lines().count(), 3, "{all}");
    }

    let leader = servers.leader("a");
    let others: Vec<&str> = names.into_iter().filter(|name| *name != leader).collect();
    servers.signal(&leader, "-9");
    wait("a write on the servers that are left", || {
        let output = servers.kubectl(others[0], &["create", "configmap", "after"]).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(text(&output)) }
    });
    succeed(&mut servers.kubectl(others[1], &["get", "configmap", "after"]));
    let status = succeed(&mut servers.kubectl(others[1], &["get", "componentstatuses", "--no-headers"]));
    let state = |of: &str| {
        let line = status.lines().find(|line| line.split_whitespace().next() == Some(of)).unwrap_or_default();
        line.split_whitespace().nth(1).unwrap_or_default().to_owned()
    };
    assert_eq!((state(&leader).as_str(), state(others[0]).as_str()), ("Unhealthy", "Healthy"), "{status}");
    assert_eq!((state("scheduler").as_str(), state("controller-manager").as_str()), ("Healthy", "Healthy"), "{status}");

    // With its data it needs neither token nor flag; and a planned stop is no failure.
    servers.spawn(&leader, &[]);
    servers.wait_ready(&leader);
    succeed(&mut servers.kubectl(&leader, &["get", "configmap", "after"]));
    let leader = servers.leader(&leader);
    let status = servers.signal(&leader, "-TERM");
    assert!(status.contains("exit status: 0"), "{status}: {}", servers.log(&leader));
    assert!(servers.log(&leader).contains("leadership handed over"), "{}", servers.log(&leader));
}

#[test]
fn servers_join_at_the_same_time() {
    let mut servers = Servers::start(&["a"]);
    let others = ["b", "c", "d"];
    others.iter().for_each(|name| servers.join(name));
    others.iter().for_each(|name| servers.wait_ready(name));
    assert_eq!(servers.members("a").unwrap().len(), 4);
    assert!(!servers.log("a").contains("ERROR"), "{}", servers.log("a"));
}

#[test]
fn members_come_and_go_while_writes_go_on() {
    let mut servers = Servers::start(&["a", "b", "c"]);
    let members = |servers: &Servers, arguments: &[&str]| {
        let mut command = servers.kontiki(&["members"]);
        command.args(arguments).arg("--kubeconfig").arg(servers.data("a").join("kubeconfig"));
        command
    };
    assert!(succeed(&mut members(&servers, &["transfer", "b"])).contains("b leads"));
    assert_eq!(servers.leader("a"), "b");
    let refused = text(&members(&servers, &["transfer", ""]).output().unwrap());
    assert!(refused.contains("a value is required"), "{refused}");
    let refused = text(&members(&servers, &["add", "Bad Name!"]).output().unwrap());
    assert!(refused.contains("make a server's name"), "{refused}");
    // One that was just stopped has answered a moment ago.
    let pid = servers.running.iter().find(|(name, _)| name == "c").unwrap().1.id().to_string();
    succeed(Command::new("kill").args(["-STOP", &pid]));
    let refused = text(&members(&servers, &["transfer", "c"]).output().unwrap());
    succeed(Command::new("kill").args(["-CONT", &pid]));
    assert!(refused.contains("it cannot lead"), "{refused}");
    assert_eq!(servers.leader("a"), "b");
    succeed(&mut members(&servers, &["remove", "b"]));
    // The one that was let go finds out, says so and ends.
    let index = servers.running.iter().position(|(name, _)| name == "b").unwrap();
    let (_, mut child) = servers.running.remove(index);
    wait("the removed server to end", || {
        child.try_wait().unwrap().ok_or_else(|| servers.log("b")).map(|status| assert!(!status.success()))
    });
    assert!(servers.log("b").contains("it was removed"), "{}", servers.log("b"));
    let listed = servers.members("a").unwrap();
    assert_eq!(listed.len(), 2, "{listed:?}");
    succeed(&mut servers.kubectl("c", &["create", "configmap", "with-two"]));
    // Two that are left need each other: none is let go while the other is dead.
    servers.signal("c", "-9");
    let refused = members(&servers, &["remove", "a"]).output().unwrap();
    assert!(!refused.status.success(), "{}", text(&refused));
    servers.spawn("c", &[]);
    servers.wait_ready("c");
    // Its name and its folder may be used again, emptied.
    fs::remove_dir_all(servers.data("b")).unwrap();
    let told = succeed(&mut members(&servers, &["add", "b", "--data-dir", "a"]));
    assert!(told.contains("--join") && told.contains("--token K1."), "{told}");
    servers.join("b");
    servers.wait_ready("b");
    succeed(&mut servers.kubectl("b", &["get", "configmap", "with-two"]));
}

#[test]
fn a_removed_server_is_not_heard_with_what_it_still_holds() {
    let mut servers = Servers::start(&["a", "b", "c"]);
    // It does not hear that it is removed.
    servers.signal("b", "-9");
    let mut remove = servers.kontiki(&["members", "remove", "b", "--kubeconfig"]);
    succeed(remove.arg(servers.data("a").join("kubeconfig")));

    assert_eq!(servers.as_server("c", "a", &[])["kind"], "MemberList");
    let refused = servers.as_server("b", "a", &[]);
    assert_eq!(refused["code"], 401, "{refused}");
    assert_eq!(refused["message"], "Unauthorized: kontiki:server:b was removed from this cluster");

    // Started again it takes itself for a member, is not heard by the others' logs, and finds out.
    servers.spawn("b", &[]);
    let index = servers.running.iter().position(|(name, _)| name == "b").unwrap();
    let (_, mut child) = servers.running.remove(index);
    wait("the removed server to end", || {
        child.try_wait().unwrap().ok_or_else(|| servers.log("b")).map(|status| assert!(!status.success()))
    });
    assert!(servers.log("b").contains("it was removed"), "{}", servers.log("b"));
    let heard = servers.log("a") + &servers.log("c");
    assert!(heard.contains("was removed from the cluster"), "{heard}");

    // The name is free for another one.
    fs::remove_dir_all(servers.data("b")).unwrap();
    servers.join("b");
    servers.wait_ready("b");
    assert_eq!(servers.members("c").unwrap().len(), 3);
}

#[test]
fn servers_that_are_all_stopped_at_once_wait_for_nobody() {
    let names = ["a", "b", "c"];
    let mut servers = Servers::start(&names);
    succeed(&mut servers.kubectl("a", &["create", "configmap", "kept"]));
    let pids = servers.running.iter().map(|(_, child)| child.id().to_string());
    succeed(Command::new("kill").arg("-TERM").args(pids));
    for (name, mut child) in std::mem::take(&mut servers.running) {
        let log = |servers: &Servers| servers.log(&name);
        assert!(child.wait().unwrap().success(), "{}", log(&servers));
        let log = log(&servers);
        assert!(
            !log.contains("in time") && !log.contains("has not come back") && !log.contains("ERROR"),
            "{name}: {log}"
        );
    }
    names.iter().for_each(|name| servers.again(name));
    servers.wait_ready("a");
    succeed(&mut servers.kubectl("c", &["get", "configmap", "kept"]));
}

#[test]
fn who_may_not_join_is_told_why_and_nothing_changes() {
    let servers = Servers::start(&["a"]);
    let (token, address) = (servers.token("server"), servers.address("a"));
    let secret = token.rsplit('.').next().unwrap();
    let ca = token.split('.').nth(1).unwrap();
    let wrong_secret = token.replace(secret, &"0".repeat(64));
    let wrong_ca = token.replace(ca, &"0".repeat(64));
    let agents = servers.token("agent");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let taken = taken.local_addr().unwrap().to_string();
    let join = |token: &str, more: &[&str]| {
        let mut flags = vec!["--join".to_owned(), address.clone(), "--token".to_owned(), token.to_owned()];
        flags.extend(more.iter().map(|flag| (*flag).to_owned()));
        flags
    };
    let here = ["--listen", "127.0.0.1:0", "--name", "b"];
    let init = |more: &[&str]| [&["--init"][..], &here, more].concat().into_iter().map(str::to_owned).collect();
    let table = [
        (join(&wrong_secret, &here), "refuses the token"),
        (join(&wrong_ca, &here), "not the cluster of this token"),
        (join(&agents, &here), "is an agent token, not the one for a server"),
        (init(&["--advertise", "0.0.0.0:1"]), "nobody reaches a server there"),
        (init(&["--service-cidr", "10.0.0.0/31"]), "too few addresses"),
        (join("nonsense", &here), "not a join token"),
        (join(&token, &["--listen", "127.0.0.1:0", "--name", "a"]), "is a member already"),
        (join(&token, &["--listen", "127.0.0.1:0", "--name", "b", "--advertise", &address]), "belongs to the member"),
        (join(&token, &["--listen", &taken, "--name", "b"]), "cannot listen"),
        (vec!["--listen".to_owned(), "127.0.0.1:0".to_owned()], "give --init to found a cluster"),
    ];
    for (flags, expected) in table {
        let output = servers.kontiki(&["server", "--data-dir", "new"]).args(&flags).output().unwrap();
        let said = text(&output);
        assert!(!output.status.success() && said.contains(expected), "{flags:?}: {said}");
        assert!(!servers.data("new").join("server.json").exists(), "{flags:?}");
    }
    let running = servers.kontiki(&["server", "--init", "--data-dir", "a"]).output().unwrap();
    assert!(!running.status.success() && text(&running).contains("already"), "{}", text(&running));
    assert_eq!(servers.members("a").unwrap().len(), 1);
}
