//! create + start + exit of a container, beside runc and crun on the same bundle.

use std::{
    fs,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::Result;
use serde_json::{Value, json};

use super::{Row, millis, scratch::Scratch};
use crate::{build, tool};

const CONTAINERS: usize = 40;

/// A root filesystem with busybox, as folder `rootfs` and as tar.
pub fn busybox(scratch: &Scratch) -> Result<PathBuf> {
    let root = scratch.dir.join("bundle/rootfs");
    for folder in ["bin", "proc", "dev", "sys"] {
        fs::create_dir_all(root.join(folder))?;
    }
    fs::copy("/bin/busybox", root.join("bin/busybox"))?;
    if !root.join("bin/true").exists() {
        std::os::unix::fs::symlink("busybox", root.join("bin/true"))?;
    }
    let archive = scratch.dir.join("busybox.tar");
    tool::run(Command::new("tar").arg("-C").arg(&root).arg("-cf").arg(&archive).arg("."))?;
    Ok(archive)
}

/// create + start + exit of `busybox true`: our runtime, then its peers on the same root filesystem.
pub fn containers(scratch: &Scratch, rows: &mut Vec<Row>) -> Result<()> {
    let archive = busybox(scratch)?;
    let state = scratch.dir.join("runtime");
    let shimctl = build::target_dir()?.join("release/examples/shimctl");
    let mut ours = scratch.inside(&shimctl);
    // It measures runc too, on the very bundle it made.
    let measured = tool::output(ours.arg("bench").arg(&state).arg(&archive).arg(CONTAINERS.to_string()))?;
    let figures = measured.lines().filter_map(|line| line.split_once(": "));
    rows.extend(figures.map(|(name, figure)| Row::Figure(name.to_owned(), figure.to_owned())));
    let bundle = scratch.dir.join("bundle");
    write_config(&bundle)?;
    // Debian's crun refuses a hybrid cgroup hierarchy: without cgroups it still shows its own cost.
    peer(scratch, &bundle, "crun", &["--cgroup-manager=disabled"], rows)
}

fn write_config(bundle: &Path) -> Result<()> {
    let config = bundle.join("config.json");
    if config.exists() {
        fs::remove_file(&config)?;
    }
    tool::run(Command::new("runc").arg("spec").arg("--bundle").arg(bundle))?;
    let mut spec: Value = serde_json::from_str(&fs::read_to_string(&config)?)?;
    spec["process"]["args"] = json!(["/bin/busybox", "true"]);
    spec["process"]["terminal"] = json!(false);
    // Raised limits need a capability that not every machine gives.
    if let Some(process) = spec["process"].as_object_mut() {
        process.remove("rlimits");
    }
    Ok(fs::write(&config, spec.to_string())?)
}

fn peer(scratch: &Scratch, bundle: &Path, program: &str, flags: &[&str], rows: &mut Vec<Row>) -> Result<()> {
    let mut samples = Vec::new();
    for number in 0..CONTAINERS {
        let mut command = scratch.inside(program);
        command.args(flags).args(["run", "--bundle"]).arg(bundle).arg(format!("kt-{program}-{number}"));
        let start = Instant::now();
        let output = command.stdin(Stdio::null()).output()?;
        if !output.status.success() {
            let said = String::from_utf8_lossy(&output.stderr);
            let said = said.lines().next().unwrap_or("no message").to_owned();
            rows.push(Row::Figure(
                format!("container create + start + exit: {program}"),
                format!("refused here: {said}"),
            ));
            return Ok(());
        }
        samples.push(millis(start));
    }
    rows.push(Row::Times(format!("container create + start + exit: {program} {}", flags.join(" ")), samples));
    Ok(())
}
