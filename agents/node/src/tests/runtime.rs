//! A runtime in memory: containers run until they are told to end.

use std::{
    collections::{BTreeMap, BTreeSet, HashSet},
    net::Ipv4Addr,
    path::PathBuf,
    sync::{Arc, Mutex},
};

use kontiki_runtime::{
    Usage,
    spec::{ContainerSpec, ContainerState, ContainerStatus, Resources, SandboxNetwork, SandboxSpec, SandboxStatus},
};
use tokio::{
    io::AsyncRead,
    net::TcpStream,
    sync::{broadcast, mpsc},
};

use crate::{
    clock,
    containers::{
        Answer, Command, Containers, Credentials, Image, ImageConfig, Limits, PulledImage, Refusal, RefusalKind,
        Session,
    },
};

pub struct FakeRuntime {
    state: Mutex<State>,
    changes: broadcast::Sender<String>,
}

#[derive(Default)]
struct State {
    sandboxes: BTreeMap<String, SandboxStatus>,
    specs: BTreeMap<String, ContainerSpec>,
    /// What each sandbox as a whole may use.
    limits: BTreeMap<String, Resources>,
    /// What was done to containers, in order.
    done: Vec<String>,
    /// Commands that fail when they are run in a container.
    failing: BTreeSet<String>,
    /// What every container uses.
    memory_bytes: i64,
    /// Bytes on disk by container.
    written: BTreeMap<String, u64>,
    /// Whoever asks next dies.
    deadly: bool,
    /// Containers that end while it is looked at what they have written.
    short_lived: BTreeSet<String>,
}

impl FakeRuntime {
    pub fn new() -> Arc<FakeRuntime> {
        Arc::new(FakeRuntime { state: Mutex::default(), changes: broadcast::Sender::new(64) })
    }

    pub fn done(&self) -> Vec<String> {
        self.state.lock().unwrap().done.clone()
    }

    pub fn spec(&self, container: &str) -> ContainerSpec {
        self.state.lock().unwrap().specs[container].clone()
    }

    pub fn is_empty(&self) -> bool {
        self.state.lock().unwrap().sandboxes.is_empty()
    }

    pub fn fail(&self, command: &str) {
        self.state.lock().unwrap().failing.insert(command.to_owned());
    }

    pub fn use_memory(&self, bytes: i64) {
        self.state.lock().unwrap().memory_bytes = bytes;
    }

    pub fn write(&self, container: &str, bytes: u64) {
        self.state.lock().unwrap().written.insert(container.to_owned(), bytes);
    }

    pub fn kill_who_asks(&self) {
        self.state.lock().unwrap().deadly = true;
    }

    pub fn exit_when_measured(&self, container: &str) {
        self.state.lock().unwrap().short_lived.insert(container.to_owned());
    }

    /// The sandbox's shim dies, and everything with it.
    pub fn lose(&self) {
        let mut state = self.state.lock().unwrap();
        for (id, sandbox) in &mut state.sandboxes {
            sandbox.lost = true;
            let _ = self.changes.send(id.clone());
        }
    }

    /// Ends a container by itself.
    pub fn exit(&self, container: &str, exit_code: i32) {
        let mut state = self.state.lock().unwrap();
        let sandbox = state.sandboxes.values().find(|s| s.containers.iter().any(|c| c.id == container)).unwrap();
        let id = sandbox.id.clone();
        self.end(&mut state, &id, container, exit_code);
    }

    fn end(&self, state: &mut State, sandbox: &str, container: &str, exit_code: i32) {
        let status = state.sandboxes.get_mut(sandbox).unwrap();
        for own in status.containers.iter_mut().filter(|own| own.id == container) {
            if let ContainerState::Running { started_ms, .. } = own.state {
                own.state = ContainerState::Exited {
                    exit_code,
                    signal: None,
                    oom_killed: false,
                    started_ms,
                    finished_ms: clock::now(),
                };
            }
        }
        // Nobody may be listening yet.
        let _ = self.changes.send(sandbox.to_owned());
    }

    fn change<T: Send + 'static>(
        &self,
        sandbox: &str,
        change: impl FnOnce(&mut State, &mut SandboxStatus) -> Result<T, Refusal>,
    ) -> Answer<'static, T> {
        let mut state = self.state.lock().unwrap();
        let Some(mut status) = state.sandboxes.get(sandbox).cloned() else {
            return Box::pin(async { Err(Refusal::new(RefusalKind::NotFound, "no such sandbox")) });
        };
        let result = change(&mut state, &mut status);
        state.sandboxes.insert(sandbox.to_owned(), status);
        let _ = self.changes.send(sandbox.to_owned());
        Box::pin(async { result })
    }
}

fn image() -> Image {
    let config =
        ImageConfig { entrypoint: vec!["/web".into()], env: vec!["PATH=/bin".into()], ..ImageConfig::default() };
    Image { id: "sha256:web".into(), names: vec!["web:1".into()], config, ..Image::default() }
}

impl Containers for FakeRuntime {
    fn list(&self) -> Answer<'_, Vec<SandboxStatus>> {
        let list = self.state.lock().unwrap().sandboxes.values().cloned().collect();
        Box::pin(async { Ok(list) })
    }

    fn status<'a>(&'a self, sandbox: &'a str) -> Answer<'a, Option<SandboxStatus>> {
        let (status, deadly) = {
            let mut state = self.state.lock().unwrap();
            (state.sandboxes.get(sandbox).cloned(), std::mem::take(&mut state.deadly))
        };
        assert!(!deadly, "who asks dies");
        Box::pin(async { Ok(status) })
    }

    fn run_sandbox(&self, spec: SandboxSpec) -> Answer<'_, SandboxStatus> {
        let address = match spec.network {
            SandboxNetwork::Pod { address } => Some(address),
            SandboxNetwork::Host => None,
        };
        let status = SandboxStatus {
            id: spec.id.clone(),
            labels: spec.labels,
            address,
            shim_pid: 1,
            created_ms: clock::now(),
            lost: false,
            containers: Vec::new(),
        };
        let mut state = self.state.lock().unwrap();
        state.limits.insert(spec.id.clone(), spec.resources);
        state.sandboxes.insert(spec.id, status.clone());
        Box::pin(async { Ok(status) })
    }

    fn remove_sandbox<'a>(&'a self, sandbox: &'a str) -> Answer<'a, ()> {
        self.state.lock().unwrap().sandboxes.remove(sandbox);
        let _ = self.changes.send(sandbox.to_owned());
        // The news may be there before the answer.
        Box::pin(async {
            tokio::task::yield_now().await;
            Ok(())
        })
    }

    fn create_container<'a>(&'a self, sandbox: &'a str, spec: &'a ContainerSpec) -> Answer<'a, ()> {
        self.change(sandbox, |state, status| {
            if spec.args[0] == "/missing" {
                return Err(Refusal::new(RefusalKind::CannotExecute, "\"/missing\": no such file"));
            }
            // As cgroups do.
            let whole = state.limits[sandbox].cpu_quota_us;
            if whole.is_some_and(|whole| spec.resources.cpu_quota_us.is_some_and(|own| own > whole)) {
                return Err(Refusal::other("more cpu than the sandbox has"));
            }
            state.done.push(format!("create {}", spec.id));
            state.specs.insert(spec.id.clone(), spec.clone());
            status.containers.push(ContainerStatus {
                id: spec.id.clone(),
                image: spec.image.clone(),
                state: ContainerState::Created,
                log_path: spec.log_path.clone(),
                user: None,
            });
            Ok(())
        })
    }

    fn start_container<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ()> {
        self.change(sandbox, |_, status| {
            for own in status.containers.iter_mut().filter(|own| own.id == container) {
                own.state = ContainerState::Running { pid: 1, started_ms: clock::now() };
            }
            Ok(())
        })
    }

    fn kill_container<'a>(&'a self, sandbox: &'a str, container: &'a str, signal: i32) -> Answer<'a, ()> {
        let mut state = self.state.lock().unwrap();
        state.done.push(format!("signal {container} {signal}"));
        if state.sandboxes.contains_key(sandbox) {
            self.end(&mut state, sandbox, container, 128 + signal);
        }
        Box::pin(async { Ok(()) })
    }

    fn remove_container<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, ()> {
        self.change(sandbox, |_, status| {
            status.containers.retain(|own| own.id != container);
            Ok(())
        })
    }

    fn limit_container<'a>(&'a self, _: &'a str, container: &'a str, limits: &'a Limits) -> Answer<'a, ()> {
        let memory = limits.of_container.memory_bytes.unwrap_or_default();
        let mut state = self.state.lock().unwrap();
        if memory < state.memory_bytes {
            let message = format!("memory limit ({memory}) below current usage ({})", state.memory_bytes);
            return Box::pin(async { Err(Refusal::new(RefusalKind::InUse, message)) });
        }
        state.done.push(format!("limit {container} to {memory} bytes"));
        Box::pin(async { Ok(()) })
    }

    fn limit_sandbox<'a>(&'a self, sandbox: &'a str, limits: &'a Resources) -> Answer<'a, ()> {
        self.state.lock().unwrap().limits.insert(sandbox.to_owned(), limits.clone());
        Box::pin(async { Ok(()) })
    }

    fn changes(&self) -> broadcast::Receiver<String> {
        self.changes.subscribe()
    }

    fn exec<'a>(&'a self, _: &'a str, container: &'a str, command: Command) -> Answer<'a, Session> {
        let mut state = self.state.lock().unwrap();
        let line = command.args.join(" ");
        state.done.push(format!("exec {container} {line}"));
        let code = i32::from(state.failing.contains(&line));
        let session = Session {
            stdin: None,
            stdout: Some(Box::new(std::io::Cursor::new(b"output".to_vec()))),
            stderr: None,
            resize: mpsc::channel(1).0,
            exit: Box::pin(async move { Ok(code) }),
        };
        Box::pin(async { Ok(session) })
    }

    fn attach<'a>(&'a self, _: &'a str, _: &'a str, _: bool) -> Answer<'a, Session> {
        Box::pin(async { Err(Refusal::other("nothing to attach to")) })
    }

    fn connect<'a>(&'a self, _: &'a str, _: u16) -> Answer<'a, TcpStream> {
        Box::pin(async { Err(Refusal::other("nothing listens")) })
    }

    fn usage<'a>(&'a self, _: &'a str, _: Option<&'a str>) -> Answer<'a, Usage> {
        Box::pin(async { Ok(Usage::default()) })
    }

    fn written<'a>(&'a self, sandbox: &'a str, container: &'a str) -> Answer<'a, u64> {
        let mut state = self.state.lock().unwrap();
        if state.short_lived.contains(container) {
            self.end(&mut state, sandbox, container, 0);
        }
        let bytes = state.written.get(container).copied().unwrap_or(0);
        Box::pin(async move { Ok(bytes) })
    }

    fn take_address(&self, _: &str) -> Result<Ipv4Addr, Refusal> {
        Ok(Ipv4Addr::new(127, 0, 0, 9))
    }

    fn release_address(&self, _: &str) {}

    fn resolve<'a>(&'a self, reference: &'a str) -> Answer<'a, Option<Image>> {
        let known = matches!(reference, "web:1" | "sha256:web").then(image);
        let valid = !reference.contains(' ');
        Box::pin(async move {
            match valid {
                true => Ok(known),
                false => Err(Refusal::new(RefusalKind::InvalidReference, "invalid reference format")),
            }
        })
    }

    fn pull<'a>(&'a self, reference: &'a str, _: &'a [Credentials]) -> Answer<'a, PulledImage> {
        Box::pin(async move { Err(Refusal::new(RefusalKind::NotFound, format!("{reference} is not in its registry"))) })
    }

    fn import<'a>(&'a self, _: Option<&'a str>, _: Box<dyn AsyncRead + Send + Unpin>) -> Answer<'a, Image> {
        Box::pin(async { Ok(image()) })
    }

    fn images(&self) -> Answer<'_, Vec<Image>> {
        Box::pin(async { Ok(vec![image()]) })
    }

    fn used_images(&self) -> Answer<'_, HashSet<String>> {
        Box::pin(async { Ok(HashSet::new()) })
    }

    fn mounted_image<'a>(&'a self, _: &'a str, name: &'a str) -> Answer<'a, Option<PathBuf>> {
        let done = format!("mount sha256:web as {name}");
        let mounted = self.state.lock().unwrap().done.contains(&done);
        Box::pin(async move { Ok(mounted.then(|| PathBuf::from("/images").join(name))) })
    }

    fn mount_image<'a>(&'a self, _: &'a str, name: &'a str, image: &'a str) -> Answer<'a, PathBuf> {
        self.state.lock().unwrap().done.push(format!("mount {image} as {name}"));
        Box::pin(async move { Ok(PathBuf::from("/images").join(name)) })
    }

    fn remove_image<'a>(&'a self, _: &'a str) -> Answer<'a, ()> {
        Box::pin(async { Ok(()) })
    }
}
