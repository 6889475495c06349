//! One server: from start to the first write, what it keeps in memory, from the API to a running pod.

use std::{
    fs,
    io::{BufRead, BufReader},
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc,
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde_json::{Value, json};

use super::{IDLE, POLL, Row, WAIT_MAX, containers::busybox, millis, scratch::Scratch};
use crate::tool;

const STARTS: usize = 5;
const PODS: usize = 20;
const AT_ONCE: usize = 30;

/// A `kontiki up` in the foreground, ended with its containers.
struct Server<'a> {
    scratch: &'a Scratch,
    data: PathBuf,
    child: Child,
}

impl<'a> Server<'a> {
    fn start(scratch: &'a Scratch, name: &str, flags: &[&str]) -> Result<Self> {
        let data = scratch.dir.join(name);
        let log = fs::File::create(scratch.dir.join(format!("{name}.log")))?;
        let mut command = scratch.inside(tool::root().join("bin/kontiki"));
        command.args(["up", "--node-name", "bench", "--data-dir"]).arg(&data).args(flags);
        let child = command.stdout(log.try_clone()?).stderr(log).spawn()?;
        Ok(Server { scratch, data, child })
    }

    /// curl as the administrator.
    fn curl(&self, path: &str) -> Command {
        let pki = self.data.join("pki");
        let mut curl = self.scratch.inside("curl");
        curl.args(["--silent", "--show-error", "--fail-with-body", "--no-buffer", "--cacert"]).arg(pki.join("ca.crt"));
        curl.arg("--cert").arg(pki.join("admin.crt")).arg("--key").arg(pki.join("admin.key"));
        curl.arg(format!("https://127.0.0.1:6443{path}"));
        curl
    }

    fn get(&self, path: &str) -> Result<Value> {
        Ok(serde_json::from_str(&tool::output(&mut self.curl(path))?)?)
    }

    fn post(&self, path: &str, body: &Value) -> Result<()> {
        let mut curl = self.curl(path);
        curl.args(["--header", "Content-Type: application/json", "--data"]).arg(body.to_string());
        tool::output(&mut curl)?;
        Ok(())
    }

    fn wait(&mut self, what: &str, mut condition: impl FnMut(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + WAIT_MAX;
        while !condition(self) {
            if let Some(status) = self.child.try_wait()? {
                bail!("kontiki ended with {status} while waiting for {what}");
            }
            if Instant::now() > deadline {
                bail!("waited {WAIT_MAX:?} for {what}");
            }
            thread::sleep(POLL);
        }
        Ok(())
    }

    fn wait_for_write(&mut self) -> Result<()> {
        let body = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"generateName": "bench-"}});
        self.wait("the first write", |server| {
            server.data.join("pki/admin.key").exists()
                && server.post("/api/v1/namespaces/default/configmaps", &body).is_ok()
        })
    }

    fn wait_for_node(&mut self) -> Result<()> {
        self.wait("the node", |server| {
            let Ok(node) = server.get("/api/v1/nodes/bench") else { return false };
            let conditions = node["status"]["conditions"].as_array().cloned().unwrap_or_default();
            conditions.iter().any(|condition| condition["type"] == "Ready" && condition["status"] == "True")
        })
    }

    /// The process behind nsenter, which execs: the same pid.
    fn resident_kib(&self) -> Result<u64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.child.id()))?;
        let line = status.lines().find(|line| line.starts_with("VmRSS:")).context("no VmRSS")?;
        Ok(line.split_whitespace().nth(1).context("no figure")?.parse()?)
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let mut down = self.scratch.inside(tool::root().join("bin/kontiki"));
        let ended = down.args(["down", "--data-dir"]).arg(&self.data).stdout(Stdio::null()).status();
        if !ended.is_ok_and(|status| status.success()) {
            eprintln!("`kontiki down` failed; killing process {}", self.child.id());
            if let Err(error) = self.child.kill() {
                eprintln!("killing it: {error}");
            }
        }
        if let Err(error) = self.child.wait() {
            eprintln!("waiting for it: {error}");
        }
    }
}

pub fn starts(scratch: &Scratch, rows: &mut Vec<Row>) -> Result<()> {
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for number in 0..STARTS {
        for samples in [&mut first, &mut again] {
            let start = Instant::now();
            let mut server = Server::start(scratch, &format!("start-{number}"), &["--no-node"])?;
            server.wait_for_write()?;
            samples.push(millis(start));
        }
    }
    rows.push(Row::Times("first start, PKI made → first write".into(), first));
    rows.push(Row::Times("start → first write".into(), again));
    let server = Server::start(scratch, "idle", &["--no-node"]).and_then(|mut server| {
        server.wait_for_write()?;
        Ok(server)
    })?;
    thread::sleep(IDLE);
    let resident = format!("{:.1} MiB", server.resident_kib()? as f64 / 1024.0);
    rows.push(Row::Figure("resident, idle control plane".into(), resident));
    Ok(())
}

pub fn pods(scratch: &Scratch, rows: &mut Vec<Row>) -> Result<()> {
    let start = Instant::now();
    let mut server = Server::start(scratch, "cluster", &[])?;
    server.wait_for_node()?;
    rows.push(Row::Times("first start → node Ready".into(), vec![millis(start)]));
    let archive = busybox(scratch)?;
    let mut import = scratch.inside(tool::root().join("bin/kontiki"));
    import.args(["image", "import", "--name", "bench:1"]).arg(&archive);
    tool::output(import.arg("--kubeconfig").arg(server.data.join("kubeconfig")))?;
    let account = "/api/v1/namespaces/default/serviceaccounts/default";
    server.wait("the service account", |server| server.get(account).is_ok())?;
    thread::sleep(IDLE);
    let resident = format!("{:.1} MiB", server.resident_kib()? as f64 / 1024.0);
    rows.push(Row::Figure("resident, idle server and node agent".into(), resident));
    let running = watch_running(&server)?;
    let mut one = Vec::new();
    for number in 0..PODS {
        let name = format!("one-{number}");
        let start = Instant::now();
        server.post("/api/v1/namespaces/default/pods", &pod(&name))?;
        one.push(until(&running, &name, start)?);
    }
    rows.push(Row::Times("API → Running, one at a time".into(), one));
    let start = Instant::now();
    let items: Vec<Value> = (0..AT_ONCE).map(|number| pod(&format!("all-{number}"))).collect();
    for item in &items {
        server.post("/api/v1/namespaces/default/pods", item)?;
    }
    let created = millis(start);
    let mut all = Vec::new();
    for _ in 0..AT_ONCE {
        let (_, at) = running.recv_timeout(WAIT_MAX).context("waiting for pods to run")?;
        all.push(at.duration_since(start).as_secs_f64() * 1000.0);
    }
    rows.push(Row::Times(format!("API → Running, {AT_ONCE} at once (posting took {created:.0} ms)"), all));
    Ok(())
}

fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod", "metadata": {"name": name},
        "spec": {"terminationGracePeriodSeconds": 0, "automountServiceAccountToken": false,
                 "containers": [{"name": "c", "image": "bench:1", "command": ["/bin/busybox", "sleep", "600"]}]},
    })
}

/// Names of pods with the time their first container was seen running, from a watch.
fn watch_running(server: &Server<'_>) -> Result<mpsc::Receiver<(String, Instant)>> {
    let mut curl = server.curl("/api/v1/namespaces/default/pods?watch=true&timeoutSeconds=300");
    let mut child = curl.stdout(Stdio::piped()).spawn()?;
    let stream = child.stdout.take().context("curl's output")?;
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        let mut seen = std::collections::HashSet::new();
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            let Ok(event) = serde_json::from_str::<Value>(&line) else { continue };
            let running = event["object"]["status"]["containerStatuses"][0]["state"]["running"].is_object();
            let Some(name) = event["object"]["metadata"]["name"].as_str() else { continue };
            if running && seen.insert(name.to_owned()) && sender.send((name.to_owned(), Instant::now())).is_err() {
                break;
            }
        }
        child.wait()
    });
    Ok(receiver)
}

fn until(running: &mpsc::Receiver<(String, Instant)>, name: &str, start: Instant) -> Result<f64> {
    let (seen, at) = running.recv_timeout(WAIT_MAX).with_context(|| format!("waiting for {name} to run"))?;
    if seen != name {
        bail!("{seen} runs while waiting for {name}");
    }
    Ok(at.duration_since(start).as_secs_f64() * 1000.0)
}
