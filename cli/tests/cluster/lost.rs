//! Servers that lose their data: a damaged log is learned again from the others, and one survivor goes on without them.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
};

use serde_json::{Value, json};

use crate::{
    harness::{Process, succeed, text, wait},
    servers::Servers,
};

impl Servers {
    /// Runs a server that must refuse to start; what it says.
    fn refuses(&self, name: &str, arguments: &[&str]) -> String {
        let output = self.kontiki(&["server", "--data-dir", name]).args(arguments).output().unwrap();
        assert!(!output.status.success(), "{name} {arguments:?} started: {}", text(&output));
        text(&output)
    }

    /// The number that a member has.
    fn number(&self, name: &str) -> u64 {
        let members = self.members("a").unwrap();
        members.iter().find(|member| member["name"] == name).unwrap()["id"].as_u64().unwrap()
    }

    /// Leaves a server as one that was interrupted when it had set its log aside, and was the member of a number before.
    fn interrupt_rebuild(&self, name: &str, replaces: u64) {
        let file = self.data(name).join("server.json");
        let mut settings: Value = serde_json::from_slice(&fs::read(&file).unwrap()).unwrap();
        settings["origin"] =
            json!({"from": "join", "servers": [self.address("a")], "member": false, "replaces": replaces});
        settings["begun"] = json!(false);
        fs::write(&file, settings.to_string()).unwrap();
        fs::remove_dir_all(self.data(name).join("log")).unwrap();
    }

    /// The first line of the stream of all events that holds this.
    fn tells(&self, server: &str, wanted: &str) -> String {
        let mut tail = self.kontiki(&["tail", "--from", "start", "--kubeconfig"]);
        let child = tail.arg(self.data(server).join("kubeconfig")).stdout(Stdio::piped()).spawn().unwrap();
        let mut process = Process(child);
        let mut lines = BufReader::new(process.0.stdout.take().unwrap()).lines().map(Result::unwrap);
        lines.find(|line| line.contains(wanted)).expect("the stream goes on until it is told")
    }

    fn configmap(&self, server: &str, name: &str) -> Value {
        serde_json::from_str(&succeed(&mut self.kubectl(server, &["get", "configmap", name, "-o", "json"]))).unwrap()
    }
}

fn revision(object: &Value) -> u64 {
    object["metadata"]["resourceVersion"].as_str().unwrap().parse().unwrap()
}

/// Changes a byte in the middle of what was written to the log last; the file, and what is in it now.
fn damage_log(servers: &Servers, name: &str) -> (PathBuf, Vec<u8>) {
    let files = fs::read_dir(servers.data(name).join("log/log")).unwrap().map(|entry| entry.unwrap().path());
    let file = files.filter(|path| path.extension().is_some_and(|ending| ending == "wal")).max().unwrap();
    let mut bytes = fs::read(&file).unwrap();
    let middle = bytes.iter().rposition(|byte| *byte != 0).unwrap() / 2;
    bytes[middle] ^= 0x41;
    fs::write(&file, &bytes).unwrap();
    (file, bytes)
}

#[test]
fn a_server_whose_log_is_damaged_refuses_to_start_and_learns_it_again() {
    let mut servers = Servers::start(&["a", "b", "c"]);
    succeed(&mut servers.kubectl("a", &["create", "configmap", "before"]));
    servers.signal("c", "-9");
    let (file, bytes) = damage_log(&servers, "c");
    let said = servers.refuses("c", &[]);
    assert!(said.contains("--rebuild"), "{said}");
    assert_eq!(fs::read(&file).unwrap(), bytes, "a refusal changes nothing");
    succeed(&mut servers.kubectl("b", &["create", "configmap", "meanwhile"]));

    let (other, nobody) = (servers.address("a"), servers.address("c"));
    let said = servers.refuses("c", &["--rebuild", &nobody]);
    assert!(said.contains("no server answers") && fs::read(&file).unwrap() == bytes, "{said}");
    servers.spawn("c", &["--rebuild", &other]);
    servers.wait_ready("c");
    for name in ["before", "meanwhile"] {
        let (here, there) = (servers.configmap("c", name), servers.configmap("a", name));
        assert_eq!(here, there);
    }
    let aside = fs::read_dir(servers.data("c")).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let aside: Vec<String> = aside.filter(|name| name.starts_with("log.")).collect();
    assert_eq!(aside.len(), 1, "the damaged log is kept: {aside:?}");
    // It is one of three again: the loss of another one is survived.
    servers.signal("b", "-9");
    wait("a write on the two that are left", || {
        let output = servers.kubectl("c", &["create", "configmap", "after"]).output().unwrap();
        if output.status.success() { Ok(()) } else { Err(text(&output)) }
    });
    // And it starts as any other, without a flag.
    servers.signal("c", "-9");
    servers.spawn("c", &[]);
    servers.wait_ready("c");
    servers.configmap("c", "after");
}

#[test]
fn a_removed_server_does_not_come_back_by_rebuilding_and_an_interrupted_one_does() {
    let mut servers = Servers::start(&["a", "b", "c"]);
    let (first, other) = (servers.number("c"), servers.address("a"));
    servers.signal("c", "-9");
    // Interrupted at the worst moment: its former self is let go of, and what asked for that is gone, log and all.
    let asked = json!({"id": 4242, "name": "c", "address": servers.address("c"), "replaces": first}).to_string();
    let answer = servers.as_server("c", "a", &["--json", &asked]);
    assert!(answer["message"].as_str().unwrap().contains("no server that could be a member"), "{answer}");
    assert_eq!(servers.members("a").unwrap().len(), 2);
    servers.interrupt_rebuild("c", first);
    servers.spawn("c", &[]);
    servers.wait_ready("c");

    let second = servers.number("c");
    servers.signal("c", "-9");
    let mut remove = servers.kontiki(&["members", "remove", "c", "--kubeconfig"]);
    succeed(remove.arg(servers.data("a").join("kubeconfig")));
    let said = servers.refuses("c", &["--rebuild", &other]);
    assert!(said.contains("it was removed. To let it in again, remove"), "{said}");
    let folders = || fs::read_dir(servers.data("c")).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(folders().any(|name| name == "log"), "nothing was set aside");
    // Removed while it was at it: it asks again and again, in vain.
    servers.interrupt_rebuild("c", second);
    for flags in [vec![], vec![], vec!["--rebuild", &other]] {
        let said = servers.refuses("c", &flags);
        assert!(
            said.contains("was removed from the cluster. To let it in again, empty its folder"),
            "{flags:?}: {said}"
        );
    }
    assert_eq!(servers.members("a").unwrap().len(), 2);
}

#[test]
fn a_number_that_an_administrator_adds_again_is_a_members_like_any_other() {
    let mut servers = Servers::start(&["a", "b", "c"]);
    let (number, other) = (servers.number("c"), servers.address("a"));
    let asked = json!({"id": number, "name": "c", "address": servers.address("c")});
    fs::write(servers.data("member.json"), asked.to_string()).unwrap();
    servers.signal("c", "-9");
    let mut remove = servers.kontiki(&["members", "remove", "c", "--kubeconfig"]);
    succeed(remove.arg(servers.data("a").join("kubeconfig")));
    wait("the number to be let in again", || {
        // It ends whenever it finds out first that it was removed.
        let runs = |(name, child): &mut (String, Child)| name != "c" || child.try_wait().unwrap().is_none();
        servers.running.retain_mut(runs);
        if servers.running.iter().all(|(name, _)| name != "c") {
            servers.spawn("c", &[]);
        }
        let mut add = servers.kubectl("a", &["create", "--raw", "/apis/kontiki.dev/v1/members", "-f"]);
        let answer = add.arg(servers.data("member.json")).output().unwrap();
        if answer.status.success() { Ok(()) } else { Err(text(&answer)) }
    });
    servers.wait_ready("c");
    assert_eq!(servers.number("c"), number);

    servers.signal("c", "-9");
    servers.spawn("c", &["--rebuild", &other]);
    servers.wait_ready("c");
    assert_ne!(servers.number("c"), number);
    assert_eq!(servers.members("a").unwrap().len(), 3);
}

/// A survivor whose log is damaged in its middle, in a copy.
fn accepts_loss(servers: &Servers) {
    succeed(Command::new("cp").arg("-a").arg(servers.data("a")).arg(servers.data("damaged")));
    damage_log(servers, "damaged");
    let refused = servers.kontiki(&["recover", "--data-dir", "damaged", "--yes"]).output().unwrap();
    let said = text(&refused);
    assert!(!refused.status.success() && said.contains("--accept-loss takes what is left"), "{said}");
    let told = succeed(&mut servers.kontiki(&["recover", "--data-dir", "damaged", "--yes", "--accept-loss"]));
    assert!(told.contains("The log is damaged: entries ") && told.contains(" are gone"), "{told}");
}

#[test]
fn one_server_goes_on_when_the_others_are_lost_for_good() {
    let mut servers = Servers::start(&["b", "a", "c"]);
    succeed(&mut servers.kubectl("b", &["create", "configmap", "kept"]));
    let kept = servers.configmap("a", "kept");
    let running = servers.kontiki(&["recover", "--data-dir", "a", "--yes"]).output().unwrap();
    assert!(!running.status.success(), "recovered under a running server: {}", text(&running));
    for name in ["a", "b", "c"] {
        servers.signal(name, "-9");
    }
    let asked = servers.kontiki(&["recover", "--data-dir", "a"]).output().unwrap();
    let said = text(&asked);
    assert!(!asked.status.success() && said.contains("--yes") && said.contains("b (127.0.0.1:"), "{said}");
    accepts_loss(&servers);
    let told = succeed(&mut servers.kontiki(&["recover", "--data-dir", "a", "--yes"]));
    assert!(told.contains("a cluster of its own") && told.contains("are skipped"), "{told}");

    let again = servers.kontiki(&["recover", "--data-dir", "a", "--yes"]).output().unwrap();
    assert!(text(&again).contains("it needs no recovery"), "{}", text(&again));

    let (key, away) = (servers.data("a").join("pki/sa.key"), servers.data("a").join("away"));
    fs::rename(&key, &away).unwrap();
    let said = servers.refuses("a", &[]);
    assert!(said.contains("sa.key is gone"), "another key's tokens are nobody's: {said}");
    fs::rename(&away, &key).unwrap();

    servers.spawn("a", &[]);
    servers.wait_ready("a");
    assert_eq!(servers.configmap("a", "kept"), kept);
    succeed(&mut servers.kubectl("a", &["create", "configmap", "after"]));
    assert!(revision(&servers.configmap("a", "after")) > revision(&kept));
    assert!(servers.tells("a", "kontiki recover").contains("recover"));

    // Somebody starts the lost ones after all, a majority of what was: they are not heard, and the cluster stays as it is. A server
    // that starts asks those that it knows whether it is a member still.
    servers.spawn("b", &[]);
    servers.spawn("c", &[]);
    servers.wait_ready("b");
    servers.signal("a", "-9");
    servers.again("a");
    servers.wait_ready("a");
    wait("the lost one to be refused", || {
        let log = servers.log("a");
        if log.contains("refused a connection") { Ok(()) } else { Err(log) }
    });
    assert_eq!(servers.members("a").unwrap().len(), 1);
    let settings: Value = serde_json::from_slice(&fs::read(servers.data("a").join("server.json")).unwrap()).unwrap();
    assert_eq!(settings["origin"]["from"], "init", "it asks none of the old cluster whether it is a member");
    servers.signal("b", "-9");
    servers.signal("c", "-9");
    fs::remove_dir_all(servers.data("b")).unwrap();
    servers.join("b");
    servers.wait_ready("b");
    assert_eq!(servers.configmap("b", "kept"), kept);
}
