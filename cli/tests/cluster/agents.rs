//! Agents as processes of their own: pods on two machines, and servers that die under them.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
};

use serde_json::Value;

use crate::{
    harness::{Netns, able, busybox_tar, succeed, text, wait},
    servers::Servers,
};

const ONE: &str = "198.51.100.1";
const TWO: &str = "198.51.100.2";

/// An agent's process, and its pods, gone at the end.
struct Agent {
    name: &'static str,
    data: PathBuf,
    process: Child,
    /// Runs kontiki on the agent's machine.
    kontiki: Box<dyn Fn() -> Command>,
}

impl Agent {
    fn start(name: &'static str, data: PathBuf, kontiki: Box<dyn Fn() -> Command>, flags: &[&str]) -> Self {
        let process = Agent::spawn(&data, &kontiki, flags);
        Agent { name, data, process, kontiki }
    }

    fn spawn(data: &PathBuf, kontiki: &dyn Fn() -> Command, flags: &[&str]) -> Child {
        fs::create_dir_all(data).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(data.join("out")).unwrap();
        let mut command = kontiki();
        command.arg("agent").arg("--data-dir").arg(data).args(flags).stdin(Stdio::null());
        command.stdout(log.try_clone().unwrap()).stderr(log).spawn().unwrap()
    }

    fn log(&self) -> String {
        fs::read_to_string(self.data.join("out")).unwrap_or_default()
    }

    /// The server it is connected to.
    fn server(&self) -> String {
        let log = self.log();
        let last = log.lines().filter_map(|line| line.split("connected server=").nth(1)).next_back();
        last.unwrap_or_default().trim_matches('"').to_owned()
    }

    /// Ends it in order and starts it again; meanwhile something is done to its folder.
    fn restart(&mut self, meanwhile: impl FnOnce(&Path)) {
        succeed(Command::new("kill").arg(self.process.id().to_string()));
        assert!(self.process.wait().unwrap().success(), "{}", self.log());
        meanwhile(&self.data);
        self.process = Agent::spawn(&self.data, &self.kontiki, &[]);
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let down = (self.kontiki)().arg("down").arg("--data-dir").arg(&self.data).output();
        if std::thread::panicking() {
            let log = self.log();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- {}, last lines\n{}", self.name, lines[lines.len().saturating_sub(20)..].join("\n"));
        } else {
            assert!(down.is_ok_and(|down| down.status.success()), "the agent's pods did not go");
        }
    }
}

/// What an agent shows to servers, and what it shows to whoever asks it.
const IDENTITIES: [&str; 2] = ["kubelet-client.pem", "kubelet-server.pem"];
/// A certificate that has less left is renewed.
const TWO_MONTHS_S: u32 = 60 * 24 * 3600;

/// Puts a certificate that has a month left, and differs in nothing else, in the place of the one in the file.
fn age(issuer: &Path, identity: &Path) {
    assert!(lasts(identity, TWO_MONTHS_S), "it is new");
    let beside = |extension: &str| identity.with_extension(extension);
    let openssl = |arguments: &[&str], files: &[(&str, &Path)]| {
        let mut openssl = Command::new("openssl");
        openssl.arg("x509").args(arguments);
        for (flag, file) in files {
            openssl.arg(flag).arg(file);
        }
        succeed(&mut openssl)
    };
    let request = beside("request");
    let files = [("-in", identity), ("-signkey", identity), ("-out", &request)];
    openssl(&["-x509toreq", "-copy_extensions", "copy"], &files);
    let (ca, key, serial, aged) = (issuer.join("ca.crt"), issuer.join("ca.key"), beside("serial"), beside("aged"));
    let files: [(&str, &Path); 5] =
        [("-in", &request), ("-CA", &ca), ("-CAkey", &key), ("-CAserial", &serial), ("-out", &aged)];
    openssl(&["-req", "-days", "30", "-copy_extensions", "copy", "-CAcreateserial"], &files);
    let key = fs::read_to_string(identity).unwrap();
    let key = &key[key.find("-----BEGIN PRIVATE KEY-----").unwrap()..];
    fs::write(identity, fs::read_to_string(&aged).unwrap() + key).unwrap();
    assert!(!lasts(identity, TWO_MONTHS_S) && lasts(identity, 0));
}

fn lasts(certificate: &Path, seconds: u32) -> bool {
    let mut openssl = Command::new("openssl");
    openssl.args(["x509", "-noout", "-checkend", &seconds.to_string(), "-in"]).arg(certificate);
    openssl.output().unwrap().status.success()
}

fn pod(name: &str, node: &str) -> Vec<String> {
    let spec = format!(r#"{{"spec":{{"nodeName":"{node}","terminationGracePeriodSeconds":0}}}}"#);
    let serve = "echo from $(hostname) > /www/index.html; exec /bin/busybox httpd -f -p 80 -h /www";
    [
        "run",
        name,
        "--image",
        "busybox:test",
        "--restart=Never",
        "--overrides",
        &spec,
        "--command",
        "--",
        "/bin/sh",
        "-c",
        serve,
    ]
    .map(str::to_owned)
    .to_vec()
}

#[test]
fn agents_follow_a_living_server_and_their_pods_reach_each_other() {
    if !able() {
        return;
    }
    let (here, there) = (Netns::new(), Netns::new());
    here.link(ONE, &there, TWO);
    let in_here = here.path();
    let mut servers = Servers::start_in(Some(here), ONE, &["a", "b", "c"]);
    let token = servers.token("agent");
    let joined = servers.address("a");
    let agent = |name: &'static str, netns: String, address: &'static str, pods: &'static str| {
        let kontiki = Box::new(move || {
            let mut command = Command::new("nsenter");
            command.arg(format!("--net={netns}")).arg("--").arg(env!("CARGO_BIN_EXE_kontiki"));
            command
        });
        let flags =
            ["--join", &joined, "--token", &token, "--name", name, "--node-address", address, "--pod-cidr", pods];
        Agent::start(name, servers.data(name), kontiki, &flags)
    };
    let mut one = agent("one", in_here, ONE, "10.244.1.0/24");
    let two = agent("two", there.path(), TWO, "10.244.2.0/24");
    let k = |servers: &Servers, server: &str, arguments: &[&str]| succeed(&mut servers.kubectl(server, arguments));
    wait("both nodes", || {
        let nodes = k(&servers, "a", &["get", "nodes", "--no-headers"]);
        if nodes.matches(" Ready ").count() == 2 { Ok(()) } else { Err(format!("{nodes}{}{}", one.log(), two.log())) }
    });
    let archive = busybox_tar(servers.dir.path());
    let kubeconfig = servers.data("a").join("kubeconfig");
    let mut import = servers.kontiki(&["image", "import", "--name", "busybox:test", "--kubeconfig"]);
    succeed(import.arg(&kubeconfig).arg(&archive));
    let run = |servers: &Servers, server: &str, name: &str, node: &str| {
        let arguments = pod(name, node);
        k(servers, server, &arguments.iter().map(String::as_str).collect::<Vec<_>>());
        k(servers, server, &["wait", "--for=condition=Ready", &format!("pod/{name}"), "--timeout=60s"]);
    };
    run(&servers, "a", "p1", "one");
    run(&servers, "a", "p2", "two");
    let get = |servers: &Servers, server: &str, name: &str| -> Value {
        serde_json::from_str(&k(servers, server, &["get", "pod", name, "-o", "json"])).unwrap()
    };
    let address = get(&servers, "a", "p2")["status"]["podIP"].as_str().unwrap().to_owned();
    let fetch = ["exec", "p1", "--", "/bin/busybox", "wget", "-qO-", &format!("http://{address}/")];
    wait("one node's pod to reach the other's", || {
        let output = servers.kubectl("a", &fetch).output().unwrap();
        if text(&output).contains("from p2") { Ok(()) } else { Err(text(&output)) }
    });

    // The server that the agent talks to is killed: the pod goes on, the agent goes elsewhere and is given work there.
    let before = get(&servers, "a", "p1")["status"]["containerStatuses"][0]["containerID"].clone();
    let used = one.server();
    let victim = ["a", "b", "c"].into_iter().find(|name| servers.address(name) == used).expect("a server's address");
    let left = ["a", "b", "c"].into_iter().find(|name| *name != victim).unwrap();
    servers.signal(victim, "-9");
    wait("the agent to find another server", || if one.server() == used { Err(one.log()) } else { Ok(()) });
    run(&servers, left, "p3", "one");
    // Nor does its own restart, which needs no flags, cost a pod anything; nor do certificates that are renewed then.
    let issuer = servers.data(left).join("pki");
    one.restart(|data| IDENTITIES.iter().for_each(|identity| age(&issuer, &data.join("pki").join(identity))));
    wait("new certificates", || {
        let kept = IDENTITIES.map(|identity| one.data.join("pki").join(identity));
        if kept.iter().all(|kept| lasts(kept, TWO_MONTHS_S)) { Ok(()) } else { Err(one.log()) }
    });
    run(&servers, left, "p4", "one");
    let after = get(&servers, left, "p1");
    assert_eq!(after["status"]["containerStatuses"][0]["containerID"], before);
    assert_eq!(after["status"]["containerStatuses"][0]["restartCount"], 0);
    assert!(succeed(&mut servers.kubectl(left, &fetch)).contains("from p2"));
    drop(two);
}
