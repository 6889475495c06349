//! The runtime alone, as the node agent would use it. For trying and measuring; needs root.
//!
//! `shimctl run <state folder> <image> <command>...` runs one container; the image is a name in the store or an archive.
//! `shimctl bench <state folder> <image> <rounds>` measures create + start + exit of `true`, beside `runc run` on the same
//! bundle where Debian's runc is installed.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    path::{Path, PathBuf},
    process::{Command, ExitCode, Stdio},
    time::{Duration, Instant},
};

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
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let tokio = tokio::runtime::Runtime::new()?;
    match args.as_slice() {
        ["run", state, image, command @ ..] if !command.is_empty() => {
            let code = tokio.block_on(run(Path::new(state), image, command))?;
            Ok(ExitCode::from(code as u8))
        }
        ["bench", state, image, rounds] => {
            tokio.block_on(bench(Path::new(state), image, rounds.parse()?))?;
            Ok(ExitCode::SUCCESS)
        }
        _ => {
            eprintln!("usage: shimctl run <state folder> <image> <command>...");
            eprintln!("       shimctl bench <state folder> <image> <rounds>");
            Ok(ExitCode::from(2))
        }
    }
}

async fn open(state: &Path, image: &str) -> Result<(Runtime, String), Fault> {
    let config = RuntimeConfig {
        state_dir: state.to_owned(),
        run_dir: state.join("run"),
        cgroup_parent: "kontiki-shimctl".into(),
        executable: std::env::current_exe()?,
        pod_network: "10.200.0.0/24".parse()?,
    };
    let runtime = Runtime::open(config).await?;
    let found = match Path::new(image).exists() {
        true => Some(runtime.images().import(Some("shimctl:latest"), ImportSource::Path(image.into())).await?),
        false => runtime.images().resolve(image).await?,
    };
    let id = found.ok_or("no such image, and no such file")?.id.as_str().to_owned();
    Ok((runtime, id))
}

async fn run(state: &Path, image: &str, command: &[&str]) -> Result<i32, Fault> {
    let (runtime, image) = open(state, image).await?;
    let id = format!("shimctl-{}", std::process::id());
    let log = state.join(format!("{id}.log"));
    runtime.run_sandbox(sandbox(&id)).await?;
    let code = once(&runtime, &id, container("main", &image, command, &log)).await;
    print!("{}", std::fs::read_to_string(&log).unwrap_or_default());
    runtime.remove_sandbox(&id).await?;
    code
}

/// Creates and starts a container and waits for its end.
async fn once(runtime: &Runtime, sandbox: &str, spec: ContainerSpec) -> Result<i32, Fault> {
    let mut changes = runtime.changes();
    let container = spec.id.clone();
    runtime.create_container(sandbox, spec).await?;
    runtime.start_container(sandbox, &container).await?;
    loop {
        let status = runtime.status(sandbox).await?.ok_or("the sandbox is gone")?;
        let found = status.containers.iter().find(|known| known.id == container).ok_or("the container is gone")?;
        if let ContainerState::Exited { exit_code, .. } = found.state {
            return Ok(exit_code);
        }
        changes.recv().await?;
    }
}

async fn bench(state: &Path, image: &str, rounds: usize) -> Result<(), Fault> {
    let (runtime, image) = open(state, image).await?;
    let id = format!("shimctl-{}", std::process::id());
    let log = state.join(format!("{id}.log"));
    let start = Instant::now();
    let status = runtime.run_sandbox(sandbox(&id)).await?;
    println!("sandbox: {:?}", start.elapsed());
    let mut ours = Vec::new();
    let mut removals = Vec::new();
    for round in 0..rounds {
        let name = format!("c{round}");
        let start = Instant::now();
        once(&runtime, &id, container(&name, &image, &["true"], &log)).await?;
        ours.push(start.elapsed());
        let start = Instant::now();
        runtime.remove_container(&id, &name).await?;
        removals.push(start.elapsed());
    }
    println!("kontiki, create + start + exit of `true`: {}", summary(ours));
    println!("kontiki, removing it: {}", summary(removals));
    // The last container's bundle, mounted once more, is runc's.
    runtime.create_container(&id, container("bundle", &image, &["true"], &log)).await?;
    let bundle = state.join("sandboxes").join(&id).join("containers/bundle");
    match runc(&bundle, rounds)? {
        Some(times) => println!("runc run, on the same bundle: {}", summary(times)),
        None => println!("runc: not installed"),
    }
    println!("shim: {}", memory(status.shim_pid)?);
    let start = Instant::now();
    runtime.remove_sandbox(&id).await?;
    println!("removing the sandbox: {:?}", start.elapsed());
    Ok(())
}

fn runc(bundle: &Path, rounds: usize) -> Result<Option<Vec<Duration>>, Fault> {
    let Some(program) = ["/usr/sbin/runc", "/usr/bin/runc"].map(PathBuf::from).into_iter().find(|path| path.exists())
    else {
        return Ok(None);
    };
    let config = std::fs::read_to_string(bundle.join("config.json"))?;
    std::fs::write(bundle.join("config.json"), config.replace("/bundle\"", "/runc\""))?;
    let mut times = Vec::new();
    for round in 0..rounds {
        let start = Instant::now();
        let status = Command::new(&program)
            .args(["run", "--bundle"])
            .arg(bundle)
            .arg(format!("shimctl-{}-{round}", std::process::id()))
            .stdin(Stdio::null())
            .status()?;
        if !status.success() {
            return Err("runc has failed".into());
        }
        times.push(start.elapsed());
    }
    Ok(Some(times))
}

fn summary(mut times: Vec<Duration>) -> String {
    times.sort_unstable();
    let at = |part: usize| times[(times.len() - 1) * part / 100];
    format!("median {:?}, p90 {:?}, of {}", at(50), at(90), times.len())
}

fn memory(pid: i32) -> Result<String, Fault> {
    let rollup = std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup"))?;
    let kilobytes = |name: &str| -> Option<u64> {
        rollup.lines().find_map(|line| line.strip_prefix(name))?.trim().strip_suffix(" kB")?.parse().ok()
    };
    let of = |name: &str| kilobytes(name).map_or("?".to_owned(), |number| format!("{number} kB"));
    Ok(format!("{} resident, {} anonymous", of("Rss:"), of("Anonymous:")))
}

fn sandbox(id: &str) -> SandboxSpec {
    SandboxSpec {
        id: id.to_owned(),
        hostname: "shimctl".into(),
        network: SandboxNetwork::Pod { address: [10, 200, 0, 2].into() },
        resources: Resources::default(),
        sysctls: BTreeMap::new(),
        host_pid: false,
        host_ipc: false,
        share_pid: false,
        labels: BTreeMap::new(),
    }
}

fn container(id: &str, image: &str, command: &[&str], log: &Path) -> ContainerSpec {
    ContainerSpec {
        id: id.to_owned(),
        image: image.to_owned(),
        args: command.iter().map(|arg| arg.to_string()).collect(),
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
        // As in the bundle that runc gets: filters are not part of it.
        seccomp: Seccomp::Unconfined,
        stdin: false,
        stdin_once: false,
        tty: false,
        log_path: log.into(),
        stop_signal: None,
        process_namespace_of: None,
    }
}
