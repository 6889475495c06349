//! A test harness that speaks libtest's and nextest's protocol, but starts no thread before it knows that it is not to be
//! a shim; and what the tests of containers have in common.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    fs,
    future::Future,
    net::Ipv4Addr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    pin::Pin,
    process::{Child, Command, ExitCode},
    sync::atomic::{AtomicU32, Ordering},
    time::{Duration, Instant},
};

use kontiki_runtime::{
    Runtime, RuntimeConfig,
    image::ImportSource,
    is_shim_command, shim_main,
    spec::{ContainerSpec, ContainerState, Resources, SandboxNetwork, SandboxSpec, Seccomp, User},
};

pub type Fault = Box<dyn std::error::Error + Send + Sync>;
pub type Outcome = Result<(), Fault>;
type Test = fn(Bench) -> Pin<Box<dyn Future<Output = Outcome>>>;

const BUSYBOX: &str = "/bin/busybox";
const OTHER_AGENT: &str = "other-agent";
/// How long a condition may take to come true: generous, for a loaded machine.
const PATIENCE: Duration = Duration::from_secs(60);

pub fn main(tests: &[(&str, Test)]) -> ExitCode {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|argument| is_shim_command(argument)) {
        return shim_main(args);
    }
    let args: Vec<String> = args.into_iter().map(|argument| argument.to_string_lossy().into_owned()).collect();
    if args.first().is_some_and(|argument| argument == OTHER_AGENT) {
        return block_on(other_agent(args[1..].to_vec()));
    }
    let has = |flag: &str| args.iter().any(|argument| argument == flag);
    let wanted: Vec<&String> =
        args.iter().filter(|argument| !argument.starts_with('-') && *argument != "terse").collect();
    let chosen = tests.iter().filter(|(name, _)| {
        wanted.is_empty()
            || wanted
                .iter()
                .any(|want| if has("--exact") { want.as_str() == *name } else { name.contains(want.as_str()) })
    });
    if has("--list") {
        if !has("--ignored") {
            chosen.for_each(|(name, _)| println!("{name}: test"));
        }
        return ExitCode::SUCCESS;
    }
    if let Some(reason) = unable() {
        eprintln!("SKIPPED, and nothing of it was tested: containers need {reason}");
        return ExitCode::SUCCESS;
    }
    let mut failed = false;
    for (name, test) in chosen {
        let outcome = std::panic::catch_unwind(|| run(*test));
        let passed = match outcome {
            Ok(Ok(())) => true,
            Ok(Err(error)) => {
                eprintln!("{error}");
                false
            }
            Err(_) => false,
        };
        println!("test {name} ... {}", if passed { "ok" } else { "FAILED" });
        failed |= !passed;
    }
    if failed { ExitCode::FAILURE } else { ExitCode::SUCCESS }
}

fn unable() -> Option<&'static str> {
    if !nix::unistd::geteuid().is_root() {
        Some("root")
    } else if !Path::new(BUSYBOX).exists() {
        Some("/bin/busybox (Debian's package busybox-static)")
    } else {
        None
    }
}

fn block_on(task: impl Future<Output = Outcome>) -> ExitCode {
    match tokio::runtime::Runtime::new().expect("a runtime can be made").block_on(task) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

fn run(test: Test) -> Outcome {
    let tokio = tokio::runtime::Runtime::new()?;
    let folder = scratch_folder()?;
    let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        tokio.block_on(async {
            let bench = Bench::open(&folder).await?;
            tokio::time::timeout(3 * PATIENCE, test(bench)).await?
        })
    }));
    // A failed test must not spoil the machine for the next one; a passed one must have left nothing itself.
    let left = Traces::take().of(&folder);
    for folder in [&folder, &folder.join(OTHER_AGENT)] {
        if folder.exists() {
            tokio.block_on(sweep(folder));
        }
    }
    drop(tokio);
    fs::remove_dir_all(&folder)?;
    match outcome {
        Ok(Ok(())) if left.is_empty() => Ok(()),
        Ok(Ok(())) => Err(format!("left behind: {left:#?}").into()),
        Ok(Err(error)) => Err(error),
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

async fn sweep(folder: &Path) {
    let Ok(runtime) = open(folder).await else { return };
    for sandbox in runtime.list().await.into_iter().flatten() {
        if let Err(error) = runtime.remove_sandbox(&sandbox.id).await {
            eprintln!("sweeping {}: {error}", sandbox.id);
        }
    }
}

fn scratch_folder() -> Result<PathBuf, Fault> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    // Sockets need a short path.
    let folder = PathBuf::from(format!("/tmp/kr{}-{}", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed)));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}

/// A pod network for this process: test processes run beside each other.
fn network() -> Ipv4Addr {
    let pid = std::process::id();
    Ipv4Addr::new(10, 128 + (pid >> 8) as u8 % 64, pid as u8, 0)
}

fn cgroup_of(folder: &Path) -> String {
    folder.display().to_string().trim_start_matches("/tmp/").replace('/', "-")
}

async fn open(folder: &Path) -> Result<Runtime, Fault> {
    let config = RuntimeConfig {
        state_dir: folder.join("state"),
        run_dir: folder.join("run"),
        cgroup_parent: cgroup_of(folder),
        executable: std::env::current_exe()?,
        pod_network: format!("{}/24", network()).parse()?,
    };
    Ok(Runtime::open(config).await?)
}

/// A runtime of its own for one test, with an image of busybox.
#[derive(Clone)]
pub struct Bench {
    pub runtime: Runtime,
    pub folder: PathBuf,
    image: String,
}

impl Bench {
    async fn open(folder: &Path) -> Result<Bench, Fault> {
        let runtime = open(folder).await?;
        make_image(&folder.join("image"))?;
        let image = import_image(&runtime, folder).await?;
        Ok(Bench { runtime, folder: folder.to_owned(), image })
    }

    /// The pod network's address with this number.
    pub fn address(&self, number: u8) -> Ipv4Addr {
        let [a, b, c, _] = network().octets();
        [a, b, c, number].into()
    }

    /// A later agent over the same state.
    pub async fn reopened(self) -> Result<Bench, Fault> {
        let Bench { runtime, folder, image } = self;
        assert!(matches!(open(&folder).await, Err(error) if error.to_string().contains("another process")));
        drop(runtime);
        let mut opened = None;
        eventually("the state is free", async || {
            opened = open(&folder).await.ok();
            Ok(opened.is_some())
        })
        .await?;
        Ok(Bench { runtime: opened.ok_or("it was opened")?, folder, image })
    }

    /// The state of [`other_agent`], after that has been killed.
    pub async fn taken_over(&self) -> Result<Bench, Fault> {
        let folder = self.folder.join(OTHER_AGENT);
        Ok(Bench { runtime: open(&folder).await?, folder, image: String::new() })
    }

    pub fn image(&self) -> &str {
        &self.image
    }

    /// The image with more files in it: name, content and mode.
    pub async fn with_files(self, files: &[(&str, &str, u32)]) -> Result<Bench, Fault> {
        for (name, content, mode) in files {
            let path = self.folder.join("image").join(name);
            fs::write(&path, content)?;
            fs::set_permissions(&path, fs::Permissions::from_mode(*mode))?;
        }
        let image = import_image(&self.runtime, &self.folder).await?;
        Ok(Bench { image, ..self })
    }

    pub fn sandbox(&self, id: &str) -> SandboxSpec {
        SandboxSpec {
            id: id.to_owned(),
            hostname: "shim-test".into(),
            network: SandboxNetwork::Host,
            resources: Resources::default(),
            sysctls: BTreeMap::new(),
            host_pid: false,
            host_ipc: false,
            share_pid: false,
            labels: BTreeMap::new(),
        }
    }

    pub fn shell(&self, id: &str, script: &str) -> ContainerSpec {
        container(id, &self.image, &["/bin/sh", "-c", script], &self.folder)
    }

    pub async fn start(&self, sandbox: &str, spec: ContainerSpec) -> Result<(), kontiki_runtime::RuntimeError> {
        let id = spec.id.clone();
        self.runtime.create_container(sandbox, spec).await?;
        self.runtime.start_container(sandbox, &id).await
    }

    pub async fn run(&self, sandbox: &str, spec: ContainerSpec) -> Result<ContainerState, Fault> {
        let id = spec.id.clone();
        self.start(sandbox, spec).await?;
        self.exited(sandbox, &id).await
    }

    pub async fn state(&self, sandbox: &str, container: &str) -> Result<ContainerState, Fault> {
        let status = self.runtime.status(sandbox).await?.ok_or("no such sandbox")?;
        Ok(status.containers.into_iter().find(|c| c.id == container).ok_or("no such container")?.state)
    }

    /// Waits for the container's end.
    pub async fn exited(&self, sandbox: &str, container: &str) -> Result<ContainerState, Fault> {
        let mut changes = self.runtime.changes();
        let waiting = async {
            loop {
                let state = self.state(sandbox, container).await?;
                if matches!(state, ContainerState::Exited { .. }) {
                    return Ok(state);
                }
                changes.recv().await?;
            }
        };
        tokio::time::timeout(PATIENCE, waiting).await?
    }

    /// Whole entries of a container's log.
    pub fn log(&self, container: &str) -> Result<Vec<String>, Fault> {
        let text = fs::read_to_string(self.folder.join(format!("{container}.log")))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// What a container has said, without times and streams.
    pub fn said(&self, container: &str) -> Result<Vec<String>, Fault> {
        let entries = self.log(container)?;
        Ok(entries.iter().map(|entry| entry.splitn(4, ' ').nth(3).unwrap_or("").to_owned()).collect())
    }

    pub async fn wait_for_log(&self, container: &str, line: &str) -> Outcome {
        eventually(line, async || Ok(self.said(container)?.iter().any(|said| said == line))).await
    }

    /// Folders and cgroups of a container that should be gone.
    pub fn left_of_container(&self, sandbox: &str, container: &str) -> Vec<String> {
        let sandbox_folder = self.folder.join("state/sandboxes").join(sandbox);
        let traces = Traces::take();
        let folders =
            [sandbox_folder.join("containers").join(container), sandbox_folder.join("libcontainer").join(container)];
        let mut left: Vec<String> =
            folders.iter().filter(|folder| folder.exists()).map(|folder| folder.display().to_string()).collect();
        let cgroup = format!("{}/pod{sandbox}/{container}", cgroup_of(&self.folder));
        left.extend(traces.cgroups.into_iter().filter(|path| path.ends_with(&cgroup)));
        left
    }

    /// Starts another process as agent, with a state of its own; see [`other_agent`].
    pub fn other_agent(&self) -> Result<Child, Fault> {
        Ok(Command::new(std::env::current_exe()?).arg(OTHER_AGENT).arg(self.folder.join(OTHER_AGENT)).spawn()?)
    }
}

/// Makes a sandbox with a running, an ending and a prepared container, says so, and waits to be killed.
async fn other_agent(args: Vec<String>) -> Outcome {
    let [folder] = args.as_slice() else { return Err("one argument".into()) };
    let folder = PathBuf::from(folder);
    let bench = Bench::open(&folder).await?;
    let labels = [("pod".to_owned(), "default/web".to_owned())].into();
    bench.runtime.run_sandbox(SandboxSpec { labels, ..bench.sandbox("pod") }).await?;
    let ticking = "i=0; while true; do echo $i; i=$((i+1)); sleep 0.01; done";
    bench.start("pod", bench.shell("ticking", ticking)).await?;
    bench.wait_for_log("ticking", "3").await?;
    bench.start("pod", bench.shell("ending", "sleep 1; exit 9")).await?;
    bench.runtime.create_container("pod", bench.shell("prepared", "true")).await?;
    let ContainerState::Running { pid, .. } = bench.state("pod", "ticking").await? else {
        return Err("it does not run".into());
    };
    fs::write(folder.join("ready.new"), pid.to_string())?;
    fs::rename(folder.join("ready.new"), folder.join("ready"))?;
    std::future::pending().await
}

pub fn container(id: &str, image: &str, args: &[&str], folder: &Path) -> ContainerSpec {
    ContainerSpec {
        id: id.to_owned(),
        image: image.to_owned(),
        args: args.iter().map(|arg| arg.to_string()).collect(),
        env: Vec::new(),
        cwd: String::new(),
        user: User::default(),
        mounts: Vec::new(),
        resources: Resources::default(),
        privileged: false,
        read_only_root: false,
        no_new_privileges: false,
        capabilities_add: Vec::new(),
        capabilities_drop: Vec::new(),
        seccomp: Seccomp::Unconfined,
        stdin: false,
        stdin_once: false,
        tty: false,
        log_path: folder.join(format!("{id}.log")),
        stop_signal: None,
        process_namespace_of: None,
    }
}

fn make_image(root: &Path) -> Outcome {
    for folder in ["bin", "etc", "mnt", "proc", "srv", "sys", "dev"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy(BUSYBOX, root.join("bin/busybox"))?;
    let applets = Command::new(BUSYBOX).arg("--list").output()?;
    for applet in String::from_utf8(applets.stdout)?.lines().filter(|applet| *applet != "busybox") {
        std::os::unix::fs::symlink("busybox", root.join("bin").join(applet))?;
    }
    fs::write(root.join("etc/passwd"), "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/false\n")?;
    fs::write(root.join("etc/group"), "root:x:0:\nwww:x:34:\nlogs:x:40:web\n")?;
    Ok(())
}

/// Imports `<folder>/image` as the plain root filesystem it is.
async fn import_image(runtime: &Runtime, folder: &Path) -> Result<String, Fault> {
    let archive = folder.join("image.tar");
    let packed = Command::new(BUSYBOX)
        .arg("tar")
        .arg("-C")
        .arg(folder.join("image"))
        .arg("-cf")
        .arg(&archive)
        .arg(".")
        .status()?;
    if !packed.success() {
        return Err("the image cannot be packed".into());
    }
    let image = runtime.images().import(Some("busybox:test"), ImportSource::Path(archive)).await?;
    Ok(image.id.as_str().to_owned())
}

/// What the runtime makes outside of its folder.
struct Traces {
    mounts: Vec<String>,
    cgroups: Vec<String>,
    /// The aliases of network links, which name their sandbox.
    links: Vec<String>,
    shims: Vec<String>,
}

impl Traces {
    fn take() -> Traces {
        let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
        let links = fs::read_dir("/sys/class/net").into_iter().flatten().flatten();
        let mut cgroups = Vec::new();
        collect_folders(Path::new("/sys/fs/cgroup"), &mut cgroups);
        Traces {
            mounts: mounts.lines().map(str::to_owned).collect(),
            cgroups,
            links: links.filter_map(|link| fs::read_to_string(link.path().join("ifalias")).ok()).collect(),
            shims: processes().into_iter().filter(|line| line.contains("\0shim\0")).collect(),
        }
    }

    /// What is there of the test in `folder`.
    fn of(self, folder: &Path) -> Vec<String> {
        let ours = folder.display().to_string();
        let name = cgroup_of(folder);
        let mut left: Vec<String> = self.mounts.into_iter().filter(|mount| mount.contains(&ours)).collect();
        left.extend(self.cgroups.into_iter().filter(|cgroup| cgroup.contains(&format!("/{name}"))));
        left.extend(self.shims.into_iter().filter(|shim| shim.contains(&ours)));
        let sandboxes = fs::read_dir(folder.join("state/sandboxes")).into_iter().flatten().flatten();
        left.extend(sandboxes.map(|entry| entry.path().display().to_string()));
        for folder in ["run", "run/netns"].map(|name| folder.join(name)) {
            let entries = fs::read_dir(folder).into_iter().flatten().flatten().map(|entry| entry.path());
            left.extend(entries.filter(|path| !path.ends_with("netns")).map(|path| path.display().to_string()));
        }
        let owner = format!("{ours}/run/netns:");
        left.extend(self.links.into_iter().filter(|link| link.contains(&owner)));
        left
    }
}

fn collect_folders(folder: &Path, found: &mut Vec<String>) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            found.push(entry.path().display().to_string());
            collect_folders(&entry.path(), found);
        }
    }
}

fn processes() -> Vec<String> {
    let entries = fs::read_dir("/proc").into_iter().flatten().flatten();
    entries
        .filter_map(|entry| fs::read(entry.path().join("cmdline")).ok())
        .map(|line| String::from_utf8_lossy(&line).into_owned())
        .collect()
}

/// Whether a process with these arguments is there.
pub fn running(arguments: &[&str]) -> bool {
    let command_line: String = arguments.iter().map(|argument| format!("{argument}\0")).collect();
    processes().contains(&command_line)
}

pub fn kill(pid: i32) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), nix::sys::signal::Signal::SIGKILL).expect("it runs");
}

pub fn text_of(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until a condition holds that nothing announces.
pub async fn eventually(what: &str, mut holds: impl AsyncFnMut() -> Result<bool, Fault>) -> Outcome {
    let deadline = Instant::now() + PATIENCE;
    while !holds().await? {
        if Instant::now() > deadline {
            return Err(format!("not in time: {what}").into());
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    Ok(())
}
