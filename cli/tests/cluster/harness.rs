//! A cluster for one test: started in its own network namespace and folder, and gone without a trace at the end.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    sync::{
        OnceLock,
        atomic::{AtomicU32, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;

/// Every wait ends: a test that waits longer has failed.
pub const WAIT_MAX: Duration = Duration::from_secs(90);
const POLL: Duration = Duration::from_millis(100);

static CLUSTERS: AtomicU32 = AtomicU32::new(0);

/// A network namespace; removed when dropped.
pub struct Netns(String);

impl Netns {
    pub fn new() -> Self {
        let number = CLUSTERS.fetch_add(1, Ordering::Relaxed);
        let name = format!("kt-test-{}-{number}", std::process::id());
        succeed(Command::new("ip").args(["netns", "add", &name]));
        let ip = |arguments: &str| succeed(Command::new("ip").args(["-n", &name]).args(arguments.split(' ')));
        ip("link set lo up");
        // A host has a default route, and so must this one: its uplink leads nowhere.
        ip("link add uplink type veth peer name nowhere");
        ip("address add 192.0.2.2/24 dev uplink");
        ip("link set uplink up");
        ip("link set nowhere up");
        ip("route add default via 192.0.2.1 dev uplink onlink");
        Netns(name)
    }

    /// Joins this namespace and another one by a link, with these addresses of one /24.
    pub fn link(&self, own: &str, other: &Netns, its: &str) {
        succeed(
            Command::new("ip")
                .args(["link", "add", "across", "netns", &self.0, "type", "veth", "peer", "name", "across"])
                .args(["netns", &other.0]),
        );
        for (netns, address) in [(&self.0, own), (&other.0, its)] {
            succeed(Command::new("ip").args([
                "-n",
                netns,
                "address",
                "add",
                &format!("{address}/24"),
                "dev",
                "across",
            ]));
            succeed(Command::new("ip").args(["-n", netns, "link", "set", "across", "up"]));
        }
    }

    /// The file that pins it.
    pub fn path(&self) -> String {
        format!("/run/netns/{}", self.0)
    }

    /// A command that runs inside. Only the network differs: mounts stay the host's.
    pub fn command(&self, program: impl AsRef<std::ffi::OsStr>) -> Command {
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/run/netns/{}", self.0)).arg("--").arg(program);
        command
    }
}

impl Drop for Netns {
    fn drop(&mut self) {
        let _ = Command::new("ip").args(["netns", "delete", &self.0]).status();
    }
}

pub struct Cluster {
    pub netns: Netns,
    pub dir: tempfile::TempDir,
    /// What its folders outside of the data folder are called; known once it runs.
    tag: OnceLock<String>,
}

impl Cluster {
    /// Starts a cluster and waits until its node is Ready.
    pub fn start() -> Self {
        let cluster = Cluster { netns: Netns::new(), dir: tempfile::tempdir().unwrap(), tag: OnceLock::new() };
        cluster.up();
        cluster.tag.set(tag_of(&cluster.data())).unwrap();
        cluster
    }

    pub fn kontiki(&self, arguments: &[&str]) -> Command {
        let mut command = self.netns.command(env!("CARGO_BIN_EXE_kontiki"));
        command.args(arguments).current_dir(self.dir.path()).env_remove("KUBECONFIG").stdin(Stdio::null());
        command
    }

    pub fn up(&self) -> String {
        succeed(&mut self.kontiki(&["up", "--detach", "--data-dir", ".kontiki", "--node-name", "here"]))
    }

    pub fn down(&self) -> String {
        succeed(&mut self.kontiki(&["down", "--data-dir", ".kontiki"]))
    }

    pub fn data(&self) -> PathBuf {
        self.dir.path().join(".kontiki")
    }

    /// The process that runs the cluster.
    pub fn pid(&self) -> i32 {
        fs::read_to_string(self.data().join("lock")).unwrap().trim().parse().unwrap()
    }

    pub fn kubectl(&self, arguments: &[&str]) -> Command {
        let mut command = self.netns.command("kubectl");
        command.arg("--kubeconfig").arg(self.data().join("kubeconfig")).args(arguments);
        // kubectl keeps what it discovered in the home folder.
        command.current_dir(self.dir.path()).env("HOME", self.dir.path()).env_remove("KUBECONFIG").stdin(Stdio::null());
        command
    }

    /// Runs kubectl; it must succeed.
    pub fn k(&self, arguments: &[&str]) -> String {
        succeed(&mut self.kubectl(arguments))
    }

    /// Runs kubectl; it must fail. What it says.
    pub fn k_fails(&self, arguments: &[&str]) -> String {
        let output = self.kubectl(arguments).output().unwrap();
        assert!(!output.status.success(), "kubectl {arguments:?} succeeded: {}", text(&output));
        text(&output)
    }

    /// Applies a manifest from a string.
    pub fn apply(&self, manifest: &str) -> String {
        let file = self.dir.path().join("manifest.yaml");
        fs::write(&file, manifest).unwrap();
        self.k(&["apply", "-f", "manifest.yaml"])
    }

    pub fn get(&self, what: &[&str]) -> Value {
        let mut arguments = vec!["get", "-o", "json"];
        arguments.extend(what);
        serde_json::from_str(&self.k(&arguments)).unwrap()
    }

    /// A root filesystem with busybox, as a tar archive.
    pub fn busybox_tar(&self) -> PathBuf {
        busybox_tar(self.dir.path())
    }

    /// Imports busybox under a name on every node.
    pub fn import_busybox(&self, name: &str) {
        let archive = self.busybox_tar();
        let archive = archive.to_str().unwrap();
        succeed(&mut self.kontiki(&[
            "image",
            "import",
            "--kubeconfig",
            ".kontiki/kubeconfig",
            "--name",
            name,
            archive,
        ]));
    }

    /// The last container may be gone a moment before what was around it.
    pub fn assert_no_pod_left(&self) {
        wait("cgroups and links of pods to go", || {
            let left = [self.pod_cgroups(), self.pod_links()].concat();
            if left.is_empty() { Ok(()) } else { Err(format!("{left:#?}")) }
        });
    }

    /// Cgroups of this cluster's pods.
    fn pod_cgroups(&self) -> Vec<String> {
        let below = self.cgroups();
        let pods = below.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        pods.map(|entry| entry.path().display().to_string()).filter(|path| path.contains("/pod")).collect()
    }

    /// The cgroups of this cluster, in each hierarchy: named as its socket folder.
    pub fn cgroups(&self) -> Vec<PathBuf> {
        let mut hierarchies = vec![PathBuf::from("/sys/fs/cgroup")];
        hierarchies.extend(fs::read_dir("/sys/fs/cgroup").unwrap().flatten().map(|entry| entry.path()));
        let named = hierarchies.iter().flat_map(|folder| fs::read_dir(folder).into_iter().flatten().flatten());
        let ours = |path: &PathBuf| {
            let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
            name.strip_prefix("kontiki-").is_some_and(|tag| self.tag.get().is_some_and(|own| own == tag))
        };
        named.map(|entry| entry.path()).filter(ours).collect()
    }

    /// Host ends of pods' links.
    fn pod_links(&self) -> Vec<String> {
        let links = succeed(self.netns.command("ip").args(["-o", "link", "show", "type", "veth"]));
        let of_pods = links.lines().filter(|line| !line.contains("uplink") && !line.contains("nowhere"));
        of_pods.map(str::to_owned).collect()
    }

    pub fn assert_no_trace(&self) {
        let folder = self.dir.path().to_str().unwrap();
        let left = || -> Vec<String> {
            let mounts = fs::read_to_string("/proc/self/mounts").unwrap();
            let mounts = mounts.lines().filter(|line| line.contains(folder)).map(str::to_owned);
            let links = self.pod_links();
            let rules = succeed(self.netns.command("nft").args(["list", "tables"]));
            mounts
                .chain(links)
                .chain(rules.lines().map(str::to_owned))
                .chain(self.cgroups().iter().map(|path| path.display().to_string()))
                .collect()
        };
        wait("mounts, links and rules to go", || {
            left().is_empty().then_some(()).ok_or_else(|| format!("{:#?}", left()))
        });
    }
}

impl Drop for Cluster {
    fn drop(&mut self) {
        let output = self.kontiki(&["down", "--data-dir", ".kontiki"]).output();
        if thread::panicking() {
            let log = fs::read_to_string(self.data().join("kontiki.log")).unwrap_or_default();
            let lines: Vec<&str> = log.lines().collect();
            eprintln!("--- the cluster's log, last lines\n{}", lines[lines.len().saturating_sub(60)..].join("\n"));
        } else {
            assert!(output.is_ok_and(|output| output.status.success()), "the cluster did not go down");
        }
    }
}

/// A root filesystem with busybox, as a tar archive in the folder.
pub fn busybox_tar(dir: &Path) -> PathBuf {
    let root = dir.join("busybox");
    fs::create_dir_all(root.join("bin")).unwrap();
    fs::create_dir_all(root.join("www")).unwrap();
    fs::copy("/bin/busybox", root.join("bin/busybox")).unwrap();
    fs::write(root.join("www/index.html"), "hello from kontiki\n").unwrap();
    for name in ["sh", "sleep", "cat", "true", "false", "echo"] {
        if !root.join("bin").join(name).exists() {
            std::os::unix::fs::symlink("busybox", root.join("bin").join(name)).unwrap();
        }
    }
    let archive = dir.join("busybox.tar");
    succeed(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."));
    archive
}

/// FNV-1a of the data folder's path, as the product names what lies outside of it.
fn tag_of(data: &Path) -> String {
    let path = fs::canonicalize(data).unwrap();
    let step = |hash: u64, byte: &u8| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
    format!("{:016x}", path.as_os_str().as_encoded_bytes().iter().fold(0xcbf2_9ce4_8422_2325, step))
}

pub fn text(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// Runs to the end, which must be success; gives standard output.
pub fn succeed(command: &mut Command) -> String {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(output.status.success(), "{command:?} failed with {}:\n{}", output.status, text(&output));
    String::from_utf8(output.stdout).unwrap()
}

/// Polls until the condition gives a value; its last objection is the failure.
pub fn wait<T>(what: &str, mut condition: impl FnMut() -> Result<T, String>) -> T {
    let deadline = Instant::now() + WAIT_MAX;
    loop {
        match condition() {
            Ok(value) => return value,
            Err(state) if Instant::now() > deadline => panic!("waited {WAIT_MAX:?} for {what}; last: {state}"),
            Err(_) => thread::sleep(POLL),
        }
    }
}

/// Real containers need root and this machine's kernel; without them a test says so and is not counted as a pass of anything.
pub fn able() -> bool {
    let root = succeed(Command::new("id").arg("-u")).trim() == "0";
    if !root {
        eprintln!("SKIPPED: needs root for containers and network namespaces");
    }
    root
}

/// A child process ended by pid at the end.
pub struct Process(pub Child);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

pub fn is_alive(pid: i32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}
