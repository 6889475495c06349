//! A node without a runtime: one pod, a log folder, and containers whose commands are played by the test.

use std::{
    path::PathBuf,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use futures::FutureExt;
use k8s_openapi::api::core::v1::Pod;
use kontiki_runtime::{
    Throttling, Usage,
    podnet::{Counts, Traffic},
};
use serde_json::json;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex},
    sync::mpsc,
};

use crate::{
    containers::{Answer, Command, Image, Refusal, RefusalKind, Session},
    disk::{ContainerBytes, Written},
    load::{Disk, Load, Memory},
    probes::Tally,
    server::{
        access::Verdict,
        backend::{Archive, Backend, Connection, Place},
    },
};

pub struct Fake {
    pub logs: tempfile::TempDir,
    pub alive: AtomicBool,
    pub images: Mutex<Vec<Image>>,
    /// How often it was asked about tokens.
    pub reviews: AtomicUsize,
}

impl Fake {
    pub fn new() -> Arc<Fake> {
        let logs = tempfile::tempdir().unwrap();
        Arc::new(Fake { logs, alive: AtomicBool::new(true), images: Mutex::default(), reviews: AtomicUsize::new(0) })
    }

    pub fn log(&self) -> PathBuf {
        self.logs.path().join("0.log")
    }

    pub fn end(&self) {
        self.alive.store(false, Ordering::SeqCst);
    }
}

impl Backend for Fake {
    fn node_name(&self) -> &str {
        "node-1"
    }

    fn probes(&self) -> Tally {
        Tally::default()
    }

    fn pods(&self) -> Vec<Arc<Pod>> {
        let container = |name: &str, state| {
            json!({
                "name": name, "image": "demo:1", "imageID": "", "ready": true, "restartCount": 0,
                "containerID": format!("kontiki://uid-1.{name}-0"), "state": state,
            })
        };
        let pod = json!({
            "metadata": { "name": "web", "namespace": "default", "uid": "uid-1" },
            "spec": { "containers": [{ "name": "app", "stdin": true }, { "name": "slow" }] },
            "status": { "phase": "Running", "containerStatuses": [
                container("app", json!({ "running": { "startedAt": "2026-01-01T00:00:00Z" } })),
                container("slow", json!({ "waiting": { "reason": "ContainerCreating" } })),
            ] },
        });
        vec![Arc::new(serde_json::from_value(pod).unwrap())]
    }

    fn pod(&self, namespace: &str, name: &str) -> Option<Arc<Pod>> {
        self.pods().into_iter().find(|_| (namespace, name) == ("default", "web"))
    }

    fn place(&self, _: &Pod, container_id: &str) -> Option<Place> {
        let (sandbox, container) = container_id.strip_prefix("kontiki://")?.split_once('.')?;
        Some(Place { sandbox: sandbox.to_owned(), container: container.to_owned(), log: self.log() })
    }

    fn is_alive<'a>(&'a self, _: &'a Place) -> Answer<'a, bool> {
        async { Ok(self.alive.load(Ordering::SeqCst)) }.boxed()
    }

    fn exec<'a>(&'a self, _: &'a Place, command: Command) -> Answer<'a, Session> {
        async move { run(command) }.boxed()
    }

    fn attach<'a>(&'a self, _: &'a Place, stdin: bool) -> Answer<'a, Session> {
        let command = Command { args: vec!["cat".to_owned()], stdin, ..Command::default() };
        async move { run(command).map(|session| Session { exit: std::future::pending().boxed(), ..session }) }.boxed()
    }

    /// Port 80 answers what it is told; nothing listens elsewhere.
    fn connect<'a>(&'a self, _: &'a Pod, port: u16) -> Answer<'a, Box<dyn Connection>> {
        async move {
            if port != 80 {
                return Err(Refusal::other("connection refused"));
            }
            let (ours, theirs) = duplex(1024);
            tokio::spawn(echo(theirs));
            Ok(Box::new(ours) as Box<dyn Connection>)
        }
        .boxed()
    }

    fn load(&self) -> Result<Load, Refusal> {
        let memory = Memory { total: 8_000, free: 3_000, available: 6_000, inactive_files: 3_000, ..Memory::default() };
        let disk = Disk { bytes: 50_000, available: 20_000, used: 30_000, ..Disk::default() };
        Ok(Load { cpu_nanoseconds: 90_500_000_000, memory, disk, ..Load::default() })
    }

    fn written<'a>(&'a self, _: &'a Pod) -> Answer<'a, Written> {
        let container = ContainerBytes { root: 300, logs: 20 };
        let written = Written {
            volumes: [("scratch".to_owned(), 1_000)].into(),
            containers: [("app".to_owned(), container)].into(),
            host_files: 0,
        };
        async move { Ok(written) }.boxed()
    }

    fn usage<'a>(&'a self, _: &'a Pod, place: Option<&'a Place>) -> Answer<'a, Usage> {
        let memory_bytes = if place.is_some() { 1_000 } else { 2_000 };
        let memory_working_set_bytes = memory_bytes / 2;
        let cpu_nanoseconds = memory_bytes * 1_000_000;
        let traffic = place.is_none().then(|| {
            let received = Counts { bytes: 10, packets: 1, ..Counts::default() };
            Traffic { received, sent: Counts { bytes: 20, packets: 2, ..Counts::default() } }
        });
        let throttling = Throttling { periods: 5, throttled_periods: 3, throttled_nanoseconds: 2_000_000_000 };
        let memory_rss_bytes = memory_bytes / 4;
        let used =
            Usage { memory_bytes, memory_working_set_bytes, memory_rss_bytes, cpu_nanoseconds, ..Usage::default() };
        let usage = Usage { throttling, traffic, ..used };
        async move { Ok(usage) }.boxed()
    }

    /// A token is the name of its holder, and `reader` may get metrics. Nothing is ever said of `unheard`.
    fn review<'a>(&'a self, token: &'a str, subresource: &'a str) -> Answer<'a, Verdict> {
        self.reviews.fetch_add(1, Ordering::SeqCst);
        let verdict = match (token, subresource) {
            ("unheard", _) => return std::future::pending().boxed(),
            ("reader", "metrics") => Verdict::Allowed,
            ("reader" | "somebody", _) => Verdict::Refused { user: token.to_owned() },
            _ => Verdict::Unknown,
        };
        async move { Ok(verdict) }.boxed()
    }

    fn images(&self) -> Answer<'_, Vec<Image>> {
        async { Ok(self.images.lock().unwrap().clone()) }.boxed()
    }

    fn import<'a>(&'a self, name: Option<&'a str>, mut archive: Archive) -> Answer<'a, Image> {
        async move {
            let mut bytes = Vec::new();
            archive.read_to_end(&mut bytes).await.map_err(|error| Refusal::other(error.to_string()))?;
            if bytes.is_empty() {
                return Err(Refusal::new(RefusalKind::Invalid, "archive is truncated"));
            }
            let names = name.map(str::to_owned).into_iter().collect();
            let image = Image { names, size_bytes: bytes.len() as u64, ..Image::default() };
            self.images.lock().unwrap().push(image.clone());
            Ok(image)
        }
        .boxed()
    }

    fn remove_image<'a>(&'a self, reference: &'a str) -> Answer<'a, ()> {
        async move {
            match reference {
                "used" => Err(Refusal::new(RefusalKind::InUse, "in use")),
                "demo:1" => Ok(()),
                _ => Err(Refusal::new(RefusalKind::NotFound, "not found")),
            }
        }
        .boxed()
    }
}

async fn echo(mut stream: DuplexStream) {
    let mut buffer = [0; 1024];
    while let Ok(length @ 1..) = stream.read(&mut buffer).await {
        if stream.write_all(&buffer[..length]).await.is_err() {
            return;
        }
    }
}

/// `cat`, `exit <code>`, `both` (a word on each stream), `size` (waits for the terminal's size and says it).
fn run(command: Command) -> Result<Session, Refusal> {
    let words: Vec<&str> = command.args.iter().map(String::as_str).collect();
    let (mut out, stdout) = duplex(64);
    let (mut err, stderr) = duplex(64);
    let (stdin, mut input) = duplex(64);
    let (resize, mut sizes) = mpsc::channel(4);
    let played = match words[..] {
        ["cat"] => async move {
            tokio::io::copy(&mut input, &mut out).await.unwrap();
            0
        }
        .boxed(),
        ["exit", code] => {
            let code = code.parse().unwrap();
            async move { code }.boxed()
        }
        ["both"] => async move {
            out.write_all(b"to stdout").await.unwrap();
            err.write_all(b"to stderr").await.unwrap();
            0
        }
        .boxed(),
        ["size"] => async move {
            let (rows, columns) = sizes.recv().await.unwrap();
            out.write_all(format!("{rows}x{columns}").as_bytes()).await.unwrap();
            0
        }
        .boxed(),
        _ => {
            let message = format!("exec: {:?}: executable file not found in $PATH", words[0]);
            return Err(Refusal::new(RefusalKind::CannotExecute, message));
        }
    };
    // Played whether or not anybody waits for the end.
    let played = tokio::spawn(played);
    Ok(Session {
        stdin: command.stdin.then(|| Box::new(stdin) as _),
        stdout: Some(Box::new(stdout)),
        stderr: Some(Box::new(stderr)),
        resize,
        exit: async move { Ok(played.await.unwrap()) }.boxed(),
    })
}
