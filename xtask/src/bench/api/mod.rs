//! What one server's API can do: requests of clients, lists of many objects, watches of many watchers. There is no kube-apiserver in any
//! package that could be run beside it; the goals that name one are told with the figures.

mod flood;
mod report;

use std::{
    fmt, fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    thread,
    time::Instant,
};

use anyhow::{Context, Result, bail};
use serde::{Deserialize, de::DeserializeOwned};

use self::flood::Flooded;
use super::{IDLE, POLL, Scratch, WAIT_MAX, plot};
use crate::{build, tool};

const ADDRESS: &str = "127.0.0.1:6443";
/// Of a ConfigMap, in bytes.
const PAYLOAD: usize = 1024;
const PAGE: usize = 500;

/// What is run.
pub struct Programs {
    pub kontiki: PathBuf,
    pub load: PathBuf,
}

/// How watchers are connected.
#[derive(Clone, Copy)]
enum Way {
    /// Each over HTTP/1.1, where a watch has its connection to itself.
    Http1,
    /// So many to a connection of HTTP/2.
    Http2(usize),
}

/// How much of it.
pub struct Effort {
    clients: usize,
    run_ms: u64,
    objects: usize,
    lists: usize,
    /// Watchers, and how many writes each is told of.
    watches: &'static [(usize, usize)],
    /// Idle watchers, and how they are connected.
    idle: &'static [(usize, Way)],
    /// Connections of a user who floods the server.
    flood: usize,
}

pub const WHOLE: Effort = Effort {
    clients: 16,
    run_ms: 10_000,
    objects: 30_000,
    lists: 20,
    watches: &[(1_000, 500), (10_000, 100)],
    idle: &[(10_000, Way::Http1), (10_000, Way::Http2(100)), (10_000, Way::Http2(1))],
    flood: 200,
};
pub const TRIAL: Effort = Effort {
    clients: 4,
    run_ms: 1_000,
    objects: 1_000,
    lists: 2,
    watches: &[(50, 20), (200, 10)],
    idle: &[(100, Way::Http1), (100, Way::Http2(50)), (100, Way::Http2(1))],
    flood: 20,
};

/// Requests of several clients for a while, or lists one after the other.
#[derive(Debug, Default, Deserialize)]
struct Seen {
    ops: f64,
    errors: usize,
    seconds: f64,
    p50_ms: f64,
    p99_ms: f64,
    server_cpu_seconds: f64,
    #[serde(default)]
    bytes: f64,
}

/// Many watchers of the same writes.
#[derive(Debug, Default, Deserialize)]
struct Watched {
    events: f64,
    seconds: f64,
    sent_p50_ms: f64,
    sent_p99_ms: f64,
    acknowledged_p50_ms: f64,
    acknowledged_p99_ms: f64,
    kib_per_watcher: f64,
    server_cpu_seconds: f64,
}

/// Everything that was measured.
struct Measured {
    clients: usize,
    objects: usize,
    creates: Seen,
    updates: Seen,
    list: Seen,
    pages: Seen,
    watches: Vec<(usize, Watched)>,
    idle: Vec<(usize, Way, Watched)>,
    flooded: Vec<Flooded>,
}

pub fn api(programs: &Programs, effort: &Effort) -> Result<()> {
    let scratch = Scratch::new()?;
    // Each on a server of its own: what it takes is not what an earlier one left.
    let mut idle = Vec::new();
    for (watchers, way) in effort.idle {
        let server = Server::start(&scratch, programs)?;
        thread::sleep(IDLE);
        idle.push((*watchers, *way, server.watch("idle", *watchers, *way, 1)?));
    }
    let server = Server::start(&scratch, programs)?;
    thread::sleep(IDLE);
    let storm = |verb: &str| -> Result<Seen> {
        let (clients, millis) = (effort.clients.to_string(), effort.run_ms.to_string());
        let flags = ["storm", "--verb", verb, "--clients", &clients, "--millis", &millis, "--pid", &server.pid()];
        let seen: Seen = server.load(verb, &flags)?;
        eprintln!("{verb}: {:.0}/s, p99 {:.2} ms, {} refused", seen.ops / seen.seconds, seen.p99_ms, seen.errors);
        Ok(seen)
    };
    // Watches first: they are measured on a server that is not full of what the others left.
    let mut watches = Vec::new();
    for (watchers, writes) in effort.watches {
        watches.push((*watchers, server.watch("told", *watchers, Way::Http2(1), *writes)?));
    }
    // And lists before there is more than they are to list.
    let (objects, lists) = (effort.objects.to_string(), effort.lists.to_string());
    let _: serde_json::Value = server.load("listed", &["fill", "--objects", &objects])?;
    let list = server.load("list", &["list", "--rounds", &lists, "--pid", &server.pid()])?;
    let page = PAGE.to_string();
    let pages = server.load("list", &["list", "--rounds", &lists, "--limit", &page, "--pid", &server.pid()])?;
    let (creates, updates) = (storm("create")?, storm("update")?);
    let flooded = flood::flooded(&server, effort)?;
    drop(server);

    let (clients, objects) = (effort.clients, effort.objects);
    let measured = Measured { clients, objects, creates, updates, list, pages, watches, idle, flooded };
    let table = report::table(&measured);
    print!("{table}");
    let folder = build::target_dir()?.join("bench");
    for (name, content) in [("api.txt", table), ("api.svg", plot::svg(&report::panels(&measured)))] {
        let path = folder.join(name);
        fs::write(&path, content)?;
        println!("written: {}", path.display());
    }
    Ok(())
}

/// One `kontiki server` with its defaults, ended when dropped.
struct Server<'a> {
    scratch: &'a Scratch,
    programs: &'a Programs,
    data: PathBuf,
    process: Child,
}

impl<'a> Server<'a> {
    fn start(scratch: &'a Scratch, programs: &'a Programs) -> Result<Self> {
        let data = scratch.dir.join("api");
        let log = fs::File::create(scratch.dir.join("api.log"))?;
        let mut command = scratch.inside(&programs.kontiki);
        command.args(["server", "--init", "--name", "bench", "--listen", ADDRESS, "--data-dir"]).arg(&data);
        let process = command.stdout(log.try_clone()?).stderr(log).spawn().context("starting the server")?;
        let mut server = Server { scratch, programs, data, process };
        let deadline = Instant::now() + WAIT_MAX;
        while !server.is_ready()? {
            if let Some(status) = server.process.try_wait()? {
                bail!("the server ended with {status}");
            }
            if Instant::now() > deadline {
                bail!("waited {WAIT_MAX:?} for the server to be ready");
            }
            thread::sleep(POLL);
        }
        Ok(server)
    }

    fn is_ready(&self) -> Result<bool> {
        let mut curl = self.scratch.inside("curl");
        curl.args(["--silent", "--fail", "--max-time", "2", "--cacert"]).arg(self.data.join("pki/ca.crt"));
        curl.arg(format!("https://{ADDRESS}/readyz")).stdout(Stdio::null()).stderr(Stdio::null());
        Ok(curl.status()?.success())
    }

    /// nsenter becomes the server: the same pid.
    fn pid(&self) -> String {
        self.process.id().to_string()
    }

    /// Runs the load client; `prefix` begins the names of what it makes.
    fn load<T: DeserializeOwned>(&self, prefix: &str, task: &[&str]) -> Result<T> {
        told(&tool::output(&mut self.load_command(prefix, task))?)
    }

    fn load_command(&self, prefix: &str, task: &[&str]) -> Command {
        self.load_over("api", prefix, task)
    }

    fn load_over(&self, protocol: &str, prefix: &str, task: &[&str]) -> Command {
        let mut command = self.scratch.inside(&self.programs.load);
        command.args(task);
        command.args(["--protocol", protocol, "--server", ADDRESS, "--prefix", prefix]);
        command.args(["--payload", &PAYLOAD.to_string(), "--pki"]).arg(self.data.join("pki"));
        command
    }

    /// A request of the administrator's.
    fn post(&self, path: &str, body: &serde_json::Value) -> Result<()> {
        let pki = self.data.join("pki");
        let mut curl = self.scratch.inside("curl");
        curl.args(["--silent", "--show-error", "--fail", "--output", "/dev/null", "--cacert"]).arg(pki.join("ca.crt"));
        curl.arg("--cert").arg(pki.join("admin.crt")).arg("--key").arg(pki.join("admin.key"));
        curl.args(["--header", "content-type: application/json", "--data", &body.to_string()]);
        tool::run(curl.arg(format!("https://{ADDRESS}{path}")))
    }

    fn watch(&self, what: &str, watchers: usize, way: Way, writes: usize) -> Result<Watched> {
        let (watchers, per_connection) = (watchers.to_string(), way.per_connection().to_string());
        let (prefix, writes, pid) = (format!("{what}-{watchers}-{per_connection}"), writes.to_string(), self.pid());
        let mut task = vec!["watch", "--watchers", &watchers, "--per-connection", &per_connection];
        task.extend(["--writes", &writes, "--pid", &pid]);
        let watched: Watched = told(&tool::output(&mut self.load_over(way.protocol(), &prefix, &task))?)?;
        eprintln!(
            "{watchers} watchers, {way}: {:.1} KiB each, {:.0} events/s",
            watched.kib_per_watcher,
            watched.events / watched.seconds
        );
        Ok(watched)
    }
}

impl Way {
    fn protocol(self) -> &'static str {
        match self {
            Way::Http1 => "api-http1",
            Way::Http2(_) => "api",
        }
    }

    fn per_connection(self) -> usize {
        match self {
            Way::Http1 => 1,
            Way::Http2(count) => count,
        }
    }
}

impl fmt::Display for Way {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Way::Http1 => write!(f, "each over HTTP/1.1"),
            Way::Http2(1) => write!(f, "each with a connection of HTTP/2"),
            Way::Http2(count) => write!(f, "{count} on a connection of HTTP/2"),
        }
    }
}

impl Drop for Server<'_> {
    fn drop(&mut self) {
        let ended = Command::new("kill").arg(self.pid()).status().and_then(|_| self.process.wait());
        if let Err(error) = ended {
            eprintln!("ending the server: {error}");
        }
        // The next one begins with nothing.
        if let Err(error) = fs::remove_dir_all(&self.data) {
            eprintln!("removing {}: {error}", self.data.display());
        }
    }
}

/// What the load client printed last.
fn told<T: DeserializeOwned>(printed: &str) -> Result<T> {
    let line = printed.lines().last().context("the load client printed nothing")?;
    serde_json::from_str(line).with_context(|| format!("the load client printed {line}"))
}
