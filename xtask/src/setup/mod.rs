//! The Debian packages the project needs, and why; and other people's clients that its tests drive.

mod clients;

use std::process::Command;

use anyhow::{Result, bail};

use crate::tool;

/// What a package is needed for.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Need {
    Build,
    Run,
    Test,
    Bench,
}

/// `(package, need, why)`; the test list is what the end-to-end tests and benchmarks drive as real peers.
const PACKAGES: &[(&str, Need, &str)] = &[
    ("g++", Need::Build, "compiles RocksDB"),
    ("libclang-dev", Need::Build, "bindgen reads RocksDB's header"),
    ("libnftables-dev", Need::Build, "service addresses are programmed through libnftables"),
    ("libseccomp-dev", Need::Build, "system call filters of containers"),
    ("pkg-config", Need::Build, "finds the libraries above"),
    ("conntrack", Need::Run, "forgets UDP flows to endpoints that are gone"),
    ("iproute2", Need::Run, "makes the machines of `make up-ha`; tests look for what is left behind"),
    ("libnftables1", Need::Run, "the same library at run time"),
    ("libseccomp2", Need::Run, "the same library at run time"),
    ("busybox-static", Need::Test, "the container image of the examples and tests"),
    ("curl", Need::Test, "asks a Service as a user would"),
    ("golang-go", Need::Test, "builds what reads schemas as Argo CD does"),
    ("golang-k8s-kube-openapi-dev", Need::Test, "its libraries"),
    ("docker-registry", Need::Test, "images are pulled from it, on loopback"),
    ("nftables", Need::Test, "looks for rules left behind"),
    ("strace", Need::Test, "makes a server's syncs fail, as a dying disk does"),
    ("openssl", Need::Test, "makes certificates that near their end"),
    ("skopeo", Need::Test, "fills the registry and makes image archives"),
    ("unzip", Need::Test, "unpacks the clients that come in archives"),
    ("crun", Need::Bench, "a peer in `make bench`"),
    ("etcd-server", Need::Bench, "another"),
    ("linux-perf", Need::Bench, "counts the servers' syncs in `make bench`"),
    ("runc", Need::Bench, "a peer in `make bench`"),
];

/// Installs what is missing for `need` and all before it.
pub fn install(need: Need) -> Result<()> {
    let mut missing: Vec<(&str, &str)> = Vec::new();
    for (package, needed_for, why) in PACKAGES {
        if *needed_for <= need && !is_installed(package)? {
            missing.push((package, why));
        }
    }
    // Any kubectl will do: Debian's own is 1.20.
    if need >= Need::Test && !tool::installed("kubectl") {
        missing.push(("kubernetes-client", "kubectl drives the end-to-end tests"));
    }
    if need >= Need::Test && clients::lacks_venv() {
        missing.push(("python3-venv", "Python's clients are installed apart from the system's packages"));
    }
    if !missing.is_empty() {
        install_packages(&missing)?;
    }
    if need >= Need::Test { clients::install() } else { Ok(()) }
}

fn install_packages(missing: &[(&str, &str)]) -> Result<()> {
    println!("installing from Debian's packages:");
    for (package, why) in missing {
        println!("  {package:<18} {why}");
    }
    let names: Vec<&str> = missing.iter().map(|(package, _)| *package).collect();
    if tool::output(Command::new("id").arg("-u"))?.trim() != "0" {
        bail!("not root: run `sudo apt-get install --no-install-recommends {}` and try again", names.join(" "));
    }
    tool::run(Command::new("apt-get").args(["update", "--quiet", "--quiet"]))?;
    let mut apt = Command::new("apt-get");
    apt.args(["install", "--yes", "--quiet", "--quiet", "--no-install-recommends"]).args(&names);
    tool::run(apt.env("DEBIAN_FRONTEND", "noninteractive"))
}

fn is_installed(package: &str) -> Result<bool> {
    let output = Command::new("dpkg-query").args(["--show", "--showformat=${db:Status-Status}", package]).output()?;
    Ok(output.status.success() && output.stdout == b"installed")
}
