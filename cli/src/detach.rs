//! `--detach`: starts a cluster, a server or an agent in the background, waits until it is usable, says what to type next.

use std::{
    fs::{self, OpenOptions},
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use anyhow::{Context, Result, bail};
use k8s_openapi::api::core::v1::Node;
use kube::{Api, Client};

use crate::{
    agent,
    args::{DataDir, Up},
    layout::Layout,
    node,
};

const READY_TIME_MAX: Duration = Duration::from_secs(60);
const POLL: Duration = Duration::from_millis(50);
/// Lines of its output shown when it does not come up.
const TAIL_LINES: usize = 20;

pub async fn start(arguments: &Up) -> Result<()> {
    let layout = Layout::open(&arguments.data.data_dir)?;
    crate::server::must_be_no_server(&layout)?;
    let with_node = node::preflight(arguments, &layout).is_none();
    run_until(&layout, || usable(&layout, arguments, with_node)).await?;
    greet(&layout, arguments);
    Ok(())
}

/// `kontiki server --detach`.
pub async fn server(data: &DataDir) -> Result<()> {
    let layout = Layout::open(&data.data_dir)?;
    run_until(&layout, || serving(&layout)).await?;
    println!("the server is ready; KUBECONFIG={}", layout.kubeconfig().display());
    Ok(())
}

/// `kontiki agent --detach`.
pub async fn agent(data: &DataDir) -> Result<()> {
    let layout = Layout::open(&data.data_dir)?;
    run_until(&layout, || agent::readiness(&layout)).await?;
    println!("the node is Ready");
    Ok(())
}

/// Starts it, if it does not run.
fn begin(layout: &Layout) -> Result<Option<Child>> {
    let Some(pid) = layout.owner()? else { return spawn(layout).map(Some) };
    println!("kontiki is running already (process {pid})");
    if fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|exe| exe.to_string_lossy().ends_with(" (deleted)")) {
        println!("its binary was replaced since: stopping and starting it brings the new one");
    }
    Ok(None)
}

/// This program again, without `--detach`, in a process group of its own.
fn spawn(layout: &Layout) -> Result<Child> {
    // A kubeconfig from before names a server that is not there yet.
    if let Err(error) = fs::remove_file(layout.kubeconfig())
        && error.kind() != std::io::ErrorKind::NotFound
    {
        return Err(error).context("removing the old kubeconfig");
    }
    let output = OpenOptions::new().create(true).append(true).open(layout.output())?;
    let mut command = Command::new(std::env::current_exe()?);
    command.args(std::env::args_os().skip(1).filter(|argument| argument != "--detach"));
    command.stdin(Stdio::null()).stdout(output.try_clone()?).stderr(output).process_group(0);
    command.spawn().context("starting in the background")
}

/// Starts it unless it runs, and asks until there is nothing left to wait for; fails if what it started ends first.
async fn run_until<F>(layout: &Layout, missing: impl Fn() -> F) -> Result<()>
where
    F: Future<Output = Result<Option<String>>>,
{
    let deadline = Instant::now() + READY_TIME_MAX;
    let mut started = begin(layout)?;
    loop {
        match &mut started {
            Some(child) => {
                if let Some(status) = child.try_wait()? {
                    bail!(
                        "kontiki ended at once ({status}); its last words in {}:\n{}",
                        layout.output().display(),
                        tail(layout)
                    );
                }
            }
            // Whoever was found running may have been on its way out, killed a moment ago.
            None if layout.owner()?.is_none() => {
                println!("that one has ended; starting another");
                started = Some(spawn(layout)?);
            }
            None => {}
        }
        let state = match missing().await {
            Ok(None) => return Ok(()),
            Ok(Some(waiting_for)) => waiting_for,
            Err(error) => format!("{error:#}"),
        };
        if Instant::now() > deadline {
            bail!(
                "not usable after {READY_TIME_MAX:?}: {state}\nlast lines of {}:\n{}",
                layout.output().display(),
                tail(layout)
            );
        }
        tokio::time::sleep(POLL).await;
    }
}

/// `None` once this server says that it is ready.
async fn serving(layout: &Layout) -> Result<Option<String>> {
    if !layout.kubeconfig().exists() {
        return Ok(Some("the server has not caught up with its cluster".to_owned()));
    }
    let ready = http::Request::get("/readyz").body(Vec::new())?;
    client(&layout.kubeconfig()).await?.request_text(ready).await?;
    Ok(None)
}

/// `None` once the API answers and the node is Ready; else what is missing.
async fn usable(layout: &Layout, arguments: &Up, with_node: bool) -> Result<Option<String>> {
    if !layout.kubeconfig().exists() {
        return Ok(Some("the API server has not written its kubeconfig".to_owned()));
    }
    let client = client(&layout.kubeconfig()).await?;
    if !with_node {
        client.apiserver_version().await?;
        return Ok(None);
    }
    node_readiness(client, &node::name(arguments)?).await
}

/// `None` once the node is Ready; else what is missing.
pub async fn node_readiness(client: Client, name: &str) -> Result<Option<String>> {
    let Some(node) = Api::<Node>::all(client).get_opt(name).await? else {
        return Ok(Some(format!("node {name} has not registered")));
    };
    let conditions = node.status.and_then(|status| status.conditions).unwrap_or_default();
    let Some(ready) = conditions.iter().find(|condition| condition.type_ == "Ready") else {
        return Ok(Some(format!("node {name} has no status")));
    };
    if ready.status == "True" {
        return Ok(None);
    }
    Ok(Some(format!("node {name} is not Ready: {}", ready.message.as_deref().unwrap_or("it does not say why"))))
}

/// A client as a kubeconfig describes it.
pub async fn client(kubeconfig: &Path) -> Result<Client> {
    let client = Client::try_from(config(kubeconfig).await?);
    client.with_context(|| format!("connecting as {} says", kubeconfig.display()))
}

pub async fn config(kubeconfig: &Path) -> Result<kube::Config> {
    let shown = kubeconfig.display();
    let file = kube::config::Kubeconfig::read_from(kubeconfig).with_context(|| format!("reading {shown}"))?;
    let config = kube::Config::from_custom_kubeconfig(file, &kube::config::KubeConfigOptions::default()).await;
    config.with_context(|| format!("understanding {shown}"))
}

fn tail(layout: &Layout) -> String {
    let text = fs::read_to_string(layout.output()).unwrap_or_else(|error| error.to_string());
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(TAIL_LINES)..].join("\n")
}

fn greet(layout: &Layout, arguments: &Up) {
    let kubeconfig = layout.kubeconfig();
    // As the user would type it: relative to where they are.
    let shown = std::env::current_dir().ok().and_then(|here| kubeconfig.strip_prefix(here).ok().map(ToOwned::to_owned));
    let shown = shown.unwrap_or(kubeconfig);
    match node::preflight(arguments, layout) {
        None => println!("\nthe cluster is up. Try:\n"),
        Some(reason) => println!("\nthe control plane is up, without a node: {reason}\n\nTry:\n"),
    }
    if shown.is_absolute() {
        println!("  export KUBECONFIG={}", shown.display());
    } else {
        println!("  export KUBECONFIG=$PWD/{}", shown.display());
    }
    println!("  kubectl get nodes");
    println!("  kubectl get pods --all-namespaces --watch");
}
