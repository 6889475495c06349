//! Keeps ARCHITECTURE.md's edges and "never" list true, read from cargo metadata and the sources.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Result, bail};
use cargo_metadata::{DependencyKind, Metadata, MetadataCommand, Package};

use crate::tool;

/// Which rooms of the workspace a room may link. Anything not listed is forbidden.
const EDGES: &[(&str, &[&str])] = &[
    ("base2histogram", &[]),
    (
        "kontiki",
        &[
            "kontiki-apiserver",
            "kontiki-controllers",
            "kontiki-informer",
            "kontiki-network",
            "kontiki-node",
            "kontiki-raft",
            "kontiki-runtime",
            "kontiki-scheduler",
            "kontiki-schema",
        ],
    ),
    ("kontiki-apiserver", &["kontiki-cel", "kontiki-kinds", "kontiki-model", "kontiki-raft", "kontiki-schema"]),
    ("kontiki-bench", &["kontiki-model", "kontiki-raft"]),
    ("kontiki-cel", &["kontiki-model"]),
    ("kontiki-chaos", &["kontiki-model", "kontiki-raft"]),
    ("kontiki-controllers", &["kontiki-informer", "kontiki-kinds"]),
    ("kontiki-informer", &[]),
    ("kontiki-kinds", &["kontiki-cel", "kontiki-model", "kontiki-schema"]),
    ("kontiki-model", &[]),
    ("kontiki-network", &["kontiki-informer"]),
    ("kontiki-node", &["kontiki-informer", "kontiki-model", "kontiki-runtime"]),
    ("kontiki-raft", &["kontiki-model"]),
    ("kontiki-runtime", &[]),
    ("kontiki-scheduler", &["kontiki-informer", "kontiki-model"]),
    ("kontiki-schema", &["kontiki-cel", "kontiki-model"]),
    ("xtask", &["kontiki-schema"]),
];

/// Third-party crates that only some rooms may declare, and why.
const RESERVED: &[(&str, &[&str], &str)] = &[
    ("bincode", &["kontiki-model", "kontiki-raft"], "frames of the log"),
    (
        "k8s-openapi",
        &["kontiki", "kontiki-controllers", "kontiki-informer", "kontiki-network", "kontiki-node", "kontiki-scheduler"],
        "170,000 lines: only rooms that need structs link it",
    ),
    (
        "kube",
        &["kontiki", "kontiki-controllers", "kontiki-informer", "kontiki-network", "kontiki-node", "kontiki-scheduler"],
        "the API is reached by clients only",
    ),
    ("libcgroups", &["kontiki-runtime"], "containers"),
    ("libcontainer", &["kontiki-runtime"], "containers"),
    ("openraft", &["kontiki-raft"], "consensus"),
    ("rocksdb", &["kontiki-raft"], "storage"),
    ("warp", &["kontiki-apiserver"], "HTTP"),
];

/// Crates that the pure rooms must not even link indirectly.
const IMPURE: &[&str] = &["hyper", "mio", "rustls", "tokio"];
const PURE: &[&str] = &["kontiki-kinds", "kontiki-model", "kontiki-schema"];

/// Words that may stand only in files whose path starts with one of the given prefixes.
const CONFINED: &[(&str, &[&str], &str)] = &[
    ("bincode::config", &["raft/src/codec"], "one module frames bytes"),
    ("libcontainer::", &["runtime/src/oci", "runtime/src/shim"], "libcontainer never runs in the tokio process"),
    ("openraft::", &["raft/src/consensus"], "openraft's generics do not leak"),
    ("rocksdb::", &["raft/src/disk"], "one module tree touches the disk"),
    ("env::args", &["cli/"], "only cli reads arguments"),
    ("env::var", &["cli/"], "only cli reads the environment"),
    ("warp::", &["apiserver/src/serve"], "warp composes the HTTP layer and nothing else"),
];

/// Rooms that must not decide by a kind's name.
const GENERIC: &[&str] = &["apiserver/", "api/schema/", "raft/"];
/// Who may see what, and what a token is bound to, are rules about particular kinds.
const ABOUT_KINDS: &[&str] = &["apiserver/src/authz/", "apiserver/src/bootstrap.rs", "apiserver/src/token_request.rs"];

const LINES_MAX: usize = 800;

/// Checks everything; the error lists every fault.
pub fn check() -> Result<()> {
    let metadata = MetadataCommand::new().current_dir(tool::root()).exec()?;
    let mut faults = Vec::new();
    edges(&metadata, &mut faults);
    purity(&metadata, &mut faults);
    declarations(&metadata, &mut faults)?;
    for path in sources()? {
        let text = fs::read_to_string(tool::root().join(&path))?;
        source(&path, &text, &mut faults);
    }
    if faults.is_empty() {
        return Ok(());
    }
    bail!("tidy found {} faults:\n  {}", faults.len(), faults.join("\n  "));
}

fn members(metadata: &Metadata) -> impl Iterator<Item = &Package> {
    metadata.packages.iter().filter(|package| metadata.workspace_members.contains(&package.id))
}

fn edges(metadata: &Metadata, faults: &mut Vec<String>) {
    let names: BTreeSet<&str> = members(metadata).map(|package| package.name.as_str()).collect();
    for package in members(metadata) {
        let name = package.name.as_str();
        let Some((_, allowed)) = EDGES.iter().find(|(room, _)| *room == name) else {
            faults.push(format!("{name}: a room that EDGES in xtask/src/tidy.rs does not know"));
            continue;
        };
        for dependency in package.dependencies.iter().filter(|one| one.kind != DependencyKind::Development) {
            let target = dependency.name.as_str();
            if names.contains(target) && !allowed.contains(&target) {
                faults.push(format!("{name} links {target}: not an edge of ARCHITECTURE.md"));
            }
            if let Some((_, rooms, why)) = RESERVED.iter().find(|(reserved, _, _)| *reserved == target)
                && !rooms.contains(&name)
            {
                faults.push(format!("{name} declares {target}, which is reserved ({why})"));
            }
        }
    }
}

/// The pure rooms reach no crate that does IO, however indirectly.
fn purity(metadata: &Metadata, faults: &mut Vec<String>) {
    let Some(resolve) = &metadata.resolve else {
        faults.push("cargo metadata has no dependency graph".into());
        return;
    };
    let nodes: BTreeMap<_, _> = resolve.nodes.iter().map(|node| (&node.id, node)).collect();
    for package in members(metadata).filter(|package| PURE.contains(&package.name.as_str())) {
        let mut seen = BTreeSet::new();
        let mut open = vec![&package.id];
        while let Some(id) = open.pop() {
            if !seen.insert(id) {
                continue;
            }
            let normal = |dependency: &&cargo_metadata::NodeDep| {
                dependency.dep_kinds.iter().any(|kind| kind.kind == DependencyKind::Normal)
            };
            open.extend(nodes[id].deps.iter().filter(normal).map(|dependency| &dependency.pkg));
        }
        for reached in metadata.packages.iter().filter(|one| seen.contains(&one.id)) {
            if IMPURE.contains(&reached.name.as_str()) {
                faults.push(format!("{} is pure but reaches {}", package.name, reached.name));
            }
        }
    }
}

/// Every third-party crate is declared once, in the workspace, with its reason; and is used.
fn declarations(metadata: &Metadata, faults: &mut Vec<String>) -> Result<()> {
    let manifest = fs::read_to_string(tool::root().join("Cargo.toml"))?;
    let section = manifest.split("[workspace.dependencies]").nth(1).unwrap_or("").split("\n[").next().unwrap_or("");
    for line in section.lines().filter(|line| line.contains('=') && !line.starts_with('#')) {
        let name = line.split('=').next().unwrap_or("").trim();
        if !line.contains("path = ") && !line.contains("} # ") && !line.contains("\" # ") {
            faults.push(format!("Cargo.toml: {name} is declared without its reason"));
        }
        if !members(metadata).any(|package| package.dependencies.iter().any(|one| one.name == name)) {
            faults.push(format!("Cargo.toml: {name} is declared but no room uses it"));
        }
    }
    for package in members(metadata) {
        let text = fs::read_to_string(&package.manifest_path)?;
        // Its own version is a crate's that stands in for another.
        for line in text.lines().filter(|line| line.contains("version = \"") && !line.starts_with("version = ")) {
            faults.push(format!("{}: `{line}` belongs into the workspace's manifest", package.name));
        }
    }
    Ok(())
}

/// All Rust sources git knows, relative to the top.
fn sources() -> Result<Vec<PathBuf>> {
    let listed = tool::output(std::process::Command::new("git").current_dir(tool::root()).args([
        "ls-files",
        "--cached",
        "--others",
        "--exclude-standard",
        "*.rs",
    ]))?;
    Ok(listed.lines().map(PathBuf::from).filter(|path| tool::root().join(path).exists()).collect())
}

fn source(path: &Path, text: &str, faults: &mut Vec<String>) {
    let shown = path.display().to_string();
    let is_test = path
        .components()
        .any(|part| matches!(part.as_os_str().to_str(), Some("tests" | "tests.rs" | "examples" | "benches")));
    let generated = shown.contains("generated");
    let code: String = text.split("#[cfg(test)]").next().unwrap_or("").to_owned();
    if !is_test && !text.starts_with("//!") {
        faults.push(format!("{shown}: does not begin with `//!` saying what it owns"));
    }
    if !generated && text.lines().count() > LINES_MAX {
        faults.push(format!("{shown}: more than {LINES_MAX} lines"));
    }
    if shown.starts_with("xtask/") || is_test || generated {
        return;
    }
    // What the compiler knew is not the environment.
    let code = code.replace("std::env::consts::", "consts::");
    for (word, prefixes, why) in CONFINED {
        if code.contains(word) && !prefixes.iter().any(|prefix| shown.starts_with(prefix)) {
            faults.push(format!("{shown}: says `{word}`, which belongs to {} ({why})", prefixes.join(" or ")));
        }
    }
    for (number, line) in code.lines().enumerate() {
        let number = number + 1;
        if ["TODO", "FIXME", "XXX"].iter().any(|word| line.contains(word)) {
            faults.push(format!("{shown}:{number}: left for later in the code"));
        }
        // Agents work on typed structs and may name kinds; the generic machinery may not.
        let generic = GENERIC.iter().any(|room| shown.starts_with(room));
        let generic = generic && !ABOUT_KINDS.iter().any(|file| shown.starts_with(file));
        if generic && names_a_kind(line) {
            faults
                .push(format!("{shown}:{number}: decides by a kind's name: make it a field of the kind's declaration"));
        }
    }
}

fn names_a_kind(line: &str) -> bool {
    let names = ["Pod", "Service", "Deployment", "ReplicaSet", "Secret", "ConfigMap", "Node", "Namespace"];
    let plurals = ["pods", "services", "deployments", "replicasets", "secrets", "configmaps", "nodes", "namespaces"];
    names
        .iter()
        .chain(&plurals)
        .any(|name| line.contains(&format!("== \"{name}\"")) || line.contains(&format!("\"{name}\" =>")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults_of(path: &str, text: &str) -> Vec<String> {
        let mut faults = Vec::new();
        source(Path::new(path), text, &mut faults);
        faults
    }

    #[test]
    fn the_tree_is_tidy() {
        if let Err(faults) = check() {
            panic!("{faults}");
        }
    }

    #[test]
    fn faults_in_a_source_are_found() {
        assert_eq!(faults_of("raft/src/a.rs", "//! A.\nfn f() {}\n"), Vec::<String>::new());
        assert_eq!(faults_of("raft/src/a.rs", "fn f() {}\n").len(), 1);
        assert_eq!(faults_of("raft/src/a.rs", "//! A.\nuse openraft::Raft;\n").len(), 1);
        assert_eq!(faults_of("apiserver/src/a.rs", "//! A.\nif kind == \"Pod\" {}\n").len(), 1);
        assert_eq!(faults_of("agents/node/src/a.rs", "//! A.\n// TODO\n").len(), 1);
        assert_eq!(faults_of("api/model/src/a.rs", &format!("//! A.\n{}", "\n".repeat(LINES_MAX))).len(), 1);
    }
}
