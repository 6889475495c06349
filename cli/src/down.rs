//! `kontiki down`: ends the process and its containers, and leaves nothing on the host but the data folder.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use kontiki_runtime::{Runtime, RuntimeConfig, mountinfo, podnet::Cidr};
use nix::{
    mount::{MntFlags, umount2},
    sys::signal,
    unistd::Pid,
};

use crate::{agent, args::Down, layout::Layout};

const STOP_TIME_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);

pub async fn down(arguments: &Down) -> Result<()> {
    let data_dir = &arguments.data.data_dir;
    if !data_dir.exists() {
        bail!("there is no {}: nothing to stop", data_dir.display());
    }
    let layout = Layout::open(data_dir)?;
    if let Some(pid) = layout.owner()? {
        stop(&layout, pid).await?;
        println!("stopped process {pid}");
    }
    // From here on nobody else may start in this folder.
    let _owner = layout.own()?;
    if nix::unistd::geteuid().is_root() && layout.node().exists() {
        let pods = match agent::pod_network(&layout)? {
            Some(network) => network,
            None => arguments.pods.pod_cidr.parse().context("--pod-cidr")?,
        };
        let removed = remove_containers(&layout, pods).await?;
        println!("removed the containers of {removed} pods");
    }
    println!("the cluster's objects stay in {}", layout.root().display());
    Ok(())
}

async fn stop(layout: &Layout, pid: i32) -> Result<()> {
    signal::kill(Pid::from_raw(pid), signal::Signal::SIGTERM).with_context(|| format!("ending process {pid}"))?;
    let deadline = Instant::now() + STOP_TIME_MAX;
    while layout.owner()? == Some(pid) {
        if Instant::now() > deadline {
            bail!(
                "process {pid} has not ended {STOP_TIME_MAX:?} after SIGTERM; {} says why",
                layout.output().display()
            );
        }
        tokio::time::sleep(POLL).await;
    }
    Ok(())
}

async fn remove_containers(layout: &Layout, pod_network: Cidr) -> Result<usize> {
    let runtime = Runtime::open(runtime_config(layout, pod_network)).await.context("opening the containers' state")?;
    let sandboxes = runtime.list().await?;
    for sandbox in &sandboxes {
        runtime.remove_sandbox(&sandbox.id).await.with_context(|| format!("removing pod {}", sandbox.id))?;
    }
    // Volumes of pods are the node agent's, which is gone: secrets and tokens must not stay mounted.
    unmount_below(&layout.node())?;
    kontiki_network::cleanup().await.context("removing the services' rules")?;
    Ok(sandboxes.len())
}

/// Unmounts everything below a folder, the last mounted first.
fn unmount_below(folder: &Path) -> Result<()> {
    let mounts = mountinfo::read().context("reading the mounts")?;
    let points = mounts.into_iter().rev().map(|mount| mount.mount_point);
    for point in points.filter(|point| point.starts_with(folder)) {
        umount2(&point, MntFlags::MNT_DETACH).with_context(|| format!("unmounting {}", point.display()))?;
    }
    Ok(())
}

/// How the runtime is opened for a data folder; the node agent uses the same.
pub fn runtime_config(layout: &Layout, pod_network: Cidr) -> RuntimeConfig {
    RuntimeConfig {
        state_dir: layout.node(),
        run_dir: layout.run(),
        cgroup_parent: layout.cgroup(),
        // Also right after the file on disk was replaced by a new build.
        executable: "/proc/self/exe".into(),
        pod_network,
    }
}
