//! The runtime alone: runs one container from an image in a store, as the node agent would. For trying and measuring.
//!
//! `shimctl <state folder> <image> <command>...`, where the image is a name in the store or an archive to import.

use std::{collections::BTreeMap, ffi::OsString, process::ExitCode, time::Instant};

use kontiki_runtime::{
    Runtime, RuntimeConfig,
    image::ImportSource,
    is_shim_command, shim_main,
    spec::{ContainerSpec, ContainerState, Resources, SandboxNetwork, SandboxSpec, Seccomp, User},
};

type Fault = Box<dyn std::error::Error>;

fn main() -> Result<ExitCode, Fault> {
    let args: Vec<OsString> = std::env::args_os().skip(1).collect();
    if args.first().is_some_and(|command| is_shim_command(command)) {
        return Ok(shim_main(args));
    }
    let args: Vec<String> = args.into_iter().map(|arg| arg.to_string_lossy().into_owned()).collect();
    let [state, image, command @ ..] = args.as_slice() else {
        eprintln!("usage: shimctl <state folder> <image> <command>...");
        return Ok(ExitCode::from(2));
    };
    let code = tokio::runtime::Runtime::new()?.block_on(run(state, image, command))?;
    Ok(ExitCode::from(code as u8))
}

async fn run(state: &str, image: &str, command: &[String]) -> Result<i32, Fault> {
    let config = RuntimeConfig {
        state_dir: state.into(),
        run_dir: format!("{state}/run").into(),
        cgroup_parent: "kontiki-shimctl".into(),
        executable: std::env::current_exe()?,
        pod_network: "10.200.0.0/24".parse()?,
    };
    let runtime = Runtime::open(config).await?;
    let image = match runtime.images().resolve(image).await {
        Ok(Some(image)) => image,
        _ => runtime.images().import(Some("shimctl:latest"), ImportSource::Path(image.into())).await?,
    };
    let id = format!("shimctl-{}", std::process::id());
    let mut changes = runtime.changes();
    let start = Instant::now();
    runtime.run_sandbox(sandbox(&id)).await?;
    eprintln!("sandbox after {:?}", start.elapsed());
    let log = format!("{state}/{id}.log");
    let ran = async {
        let start = Instant::now();
        runtime.create_container(&id, container(image.id.as_str(), command, &log)).await?;
        let created = start.elapsed();
        runtime.start_container(&id, "main").await?;
        let started = start.elapsed();
        loop {
            let status = runtime.status(&id).await?.ok_or("the sandbox is gone")?;
            if let Some(ContainerState::Exited { exit_code, .. }) = status.containers.first().map(|c| c.state.clone()) {
                eprintln!("created {created:?}, started {started:?}, exited {:?}", start.elapsed());
                return Ok::<i32, Fault>(exit_code);
            }
            changes.recv().await?;
        }
    };
    let code = ran.await;
    print!("{}", std::fs::read_to_string(&log).unwrap_or_default());
    runtime.remove_sandbox(&id).await?;
    code
}

fn sandbox(id: &str) -> SandboxSpec {
    SandboxSpec {
        id: id.to_owned(),
        hostname: "shimctl".into(),
        network: SandboxNetwork::Host,
        resources: Resources::default(),
        sysctls: BTreeMap::new(),
        host_pid: false,
        host_ipc: false,
        share_pid: false,
        labels: BTreeMap::new(),
    }
}

fn container(image: &str, command: &[String], log: &str) -> ContainerSpec {
    ContainerSpec {
        id: "main".into(),
        image: image.to_owned(),
        args: command.to_vec(),
        env: Vec::new(),
        cwd: "/".into(),
        user: User::default(),
        mounts: Vec::new(),
        resources: Resources::default(),
        privileged: false,
        read_only_root: false,
        no_new_privileges: false,
        capabilities_add: Vec::new(),
        capabilities_drop: Vec::new(),
        seccomp: Seccomp::RuntimeDefault,
        stdin: false,
        stdin_once: false,
        tty: false,
        log_path: log.into(),
        stop_signal: None,
    }
}
