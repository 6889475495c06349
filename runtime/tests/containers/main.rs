//! Real containers on the machine that runs the tests: needs root and `/bin/busybox` (Debian's busybox-static), and says
//! so when it skips. The program is its own agent and its own shim, so it brings its own harness.

mod harness;
mod sessions;

use std::{ffi::OsStr, os::unix::ffi::OsStrExt, path::Path};

use harness::{Bench, Fault, Outcome, container};
use kontiki_runtime::{
    ExecSpec, FailureKind,
    spec::{
        ContainerSpec, ContainerState, Mount, ProcessUser, Propagation, Resources, SandboxNetwork, SandboxSpec,
        Seccomp, User,
    },
};
use nix::{
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        signal::{Signal, kill},
    },
    unistd::Pid,
};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

/// A soft limit on open files that is not the hard one.
const FILES: u64 = 1000;

fn main() -> std::process::ExitCode {
    harness::main(&[
        ("a_container_runs_logs_and_exits", |bench| Box::pin(a_container_runs_logs_and_exits(bench))),
        ("a_container_is_confined", |bench| Box::pin(a_container_is_confined(bench))),
        ("a_container_may_open_as_many_files_as_the_agent_was_started_with", |bench| {
            Box::pin(a_container_may_open_as_many_files_as_the_agent_was_started_with(bench))
        }),
        ("a_container_of_another_user", |bench| Box::pin(a_container_of_another_user(bench))),
        ("a_dead_shim_takes_its_containers_along", |bench| Box::pin(a_dead_shim_takes_its_containers_along(bench))),
        ("a_sandbox_that_was_never_finished_leaves_no_shim", |bench| {
            Box::pin(a_sandbox_that_was_never_finished_leaves_no_shim(bench))
        }),
        ("a_killed_agent_changes_nothing", |bench| Box::pin(a_killed_agent_changes_nothing(bench))),
        ("a_shim_that_is_slow_when_an_agent_begins_is_not_lost", |bench| {
            Box::pin(a_shim_that_is_slow_when_an_agent_begins_is_not_lost(bench))
        }),
        ("a_container_among_the_processes_of_another", |bench| {
            Box::pin(a_container_among_the_processes_of_another(bench))
        }),
        ("an_image_is_a_volume_until_its_sandbox_goes", |bench| {
            Box::pin(an_image_is_a_volume_until_its_sandbox_goes(bench))
        }),
        ("a_terminal_outlives_its_sessions", |bench| Box::pin(sessions::a_terminal_outlives_its_sessions(bench))),
        ("an_image_s_links_lead_to_nothing_of_the_machine", |bench| {
            Box::pin(an_image_s_links_lead_to_nothing_of_the_machine(bench))
        }),
        ("attached_clients_talk_to_the_container", |bench| {
            Box::pin(sessions::attached_clients_talk_to_the_container(bench))
        }),
        ("clients_leave_the_agent_its_sessions", |bench| {
            Box::pin(sessions::clients_leave_the_agent_its_sessions(bench))
        }),
        ("commands_run_in_a_container", |bench| Box::pin(sessions::commands_run_in_a_container(bench))),
        ("commands_run_on_a_terminal", |bench| Box::pin(sessions::commands_run_on_a_terminal(bench))),
        ("containers_of_a_sandbox_share_what_they_should", |bench| {
            Box::pin(containers_of_a_sandbox_share_what_they_should(bench))
        }),
        ("its_first_process_lends_a_shared_pid_namespace_nothing_of_the_machine", |bench| {
            Box::pin(its_first_process_lends_a_shared_pid_namespace_nothing_of_the_machine(bench))
        }),
        ("limits_hold", |bench| Box::pin(limits_hold(bench))),
        ("many_at_once", |bench| Box::pin(many_at_once(bench))),
        ("a_mount_whose_name_is_no_text_keeps_no_other_container", |bench| {
            Box::pin(a_mount_whose_name_is_no_text_keeps_no_other_container(bench))
        }),
        ("mounts_are_as_asked", |bench| Box::pin(mounts_are_as_asked(bench))),
        ("pods_reach_each_other", |bench| Box::pin(pods_reach_each_other(bench))),
        ("shims_outlive_containers_when_memory_runs_out", |bench| {
            Box::pin(shims_outlive_containers_when_memory_runs_out(bench))
        }),
        ("signals_end_containers", |bench| Box::pin(signals_end_containers(bench))),
        ("what_cannot_start_says_why", |bench| Box::pin(what_cannot_start_says_why(bench))),
    ])
}

async fn a_container_runs_logs_and_exits(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    let script = "echo to stdout; echo to stderr >&2; printf 'no line feed'; exit 3";
    let exit = bench.run("pod", bench.shell("main", script)).await?;
    let ContainerState::Exited { exit_code, signal, oom_killed, started_ms, finished_ms } = exit else {
        return Err("it has not exited".into());
    };
    assert_eq!((exit_code, signal, oom_killed), (3, None, false));
    assert!(started_ms > 0 && started_ms <= finished_ms);
    let entries = bench.log("main")?;
    let mut said: Vec<&str> = entries.iter().map(|entry| entry.split_once(' ').map_or("", |(_, rest)| rest)).collect();
    said.sort_unstable();
    assert_eq!(said, ["stderr F to stderr", "stdout F to stdout", "stdout P no line feed"]);
    assert!(entries.iter().all(|entry| entry.find(' ') == Some("2026-11-21T08:00:00.123456789Z".len())));

    // Asking again changes nothing; a container's name is taken until it is removed.
    let again = bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    assert_eq!(again.containers.len(), 1);
    let taken = bench.runtime.create_container("pod", bench.shell("main", "true")).await;
    assert_eq!(taken.err().and_then(|error| error.failure_kind()), Some(FailureKind::WrongState));
    bench.runtime.remove_container("pod", "main").await?;
    bench.runtime.remove_container("pod", "main").await?;
    assert_eq!(bench.run("pod", bench.shell("main", "true")).await?, bench.state("pod", "main").await?);

    bench.runtime.remove_sandbox("pod").await?;
    bench.runtime.remove_sandbox("pod").await?;
    assert_eq!(bench.runtime.list().await?, []);
    Ok(())
}

async fn a_container_is_confined(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    let script = "
        hostname; echo pid $$; grep -E '^(CapEff|CapBnd|CapPrm|CapInh|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'
        unshare -m true 2>&1; mount -t tmpfs none /mnt 2>&1 | head -1
        echo 1 > /proc/sys/kernel/panic; cat /proc/kcore | wc -c
        for f in /sys/fs/cgroup/*/cgroup.procs; do [ -w $f ] && echo 'a' > $f && echo writable $f; done
        echo 99999999999 > /sys/fs/cgroup/memory/memory.limit_in_bytes; touch /sys/kernel/x
        mknod /tmp-disk b 254 0 && cat /tmp-disk >/dev/null
        ls /dev | tr '\\n' ' '; echo; tr '\\0' '\\n' < /proc/1/environ; pwd; id";
    let mut spec = bench.shell("main", script);
    spec.seccomp = Seccomp::RuntimeDefault;
    spec.env = vec![("B".into(), "2 = two".into()), ("A".into(), "1".into())];
    bench.run("pod", spec).await?;
    let said = bench.said("main")?;
    for expected in [
        "pid 1",
        "CapEff:00000000a80425fb",
        "CapBnd:00000000a80425fb",
        "CapInh:0000000000000000",
        "NoNewPrivs:0",
        "Seccomp:2",
        "/bin/sh: can't create /proc/sys/kernel/panic: Read-only file system",
        "touch: /sys/kernel/x: Read-only file system",
        "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero ",
        "B=2 = two",
        "HOME=/root",
        "HOSTNAME=shim-test",
        "uid=0(root) gid=0(root) groups=0(root)",
    ] {
        assert!(said.iter().any(|line| line == expected), "{expected:?} is not in {said:#?}");
    }
    let refused = |what: &str| said.iter().any(|line| line.contains(what) && line.contains("Operation not permitted"));
    assert!(refused("unshare") && refused("tmp-disk"), "{said:#?}");
    assert!(!said.iter().any(|line| line.starts_with("writable ")), "{said:#?}");
    let order: Vec<&String> = said.iter().filter(|line| line.starts_with("A=") || line.starts_with("B=")).collect();
    assert_eq!(order, ["B=2 = two", "A=1"]);

    let mut spec = bench
        .shell("tight", "exec 2>&1; touch /x; grep -E '^(CapEff|NoNewPrivs|Seccomp):' /proc/self/status | tr -d '\\t'");
    (spec.read_only_root, spec.no_new_privileges) = (true, true);
    spec.capabilities_drop = vec!["ALL".into()];
    spec.capabilities_add = vec!["NET_BIND_SERVICE".into()];
    spec.seccomp = Seccomp::RuntimeDefault;
    bench.run("pod", spec).await?;
    assert_eq!(
        bench.said("tight")?,
        ["touch: /x: Read-only file system", "CapEff:0000000000000400", "NoNewPrivs:1", "Seccomp:2"]
    );

    let mut spec = bench.shell("mighty", "grep -E '^Seccomp:' /proc/self/status | tr -d '\\t'; mount -t tmpfs none /mnt && echo mounted; ls -d /dev/loop-control /dev/kmsg /dev/vda 2>/dev/null | head -1");
    spec.privileged = true;
    bench.run("pod", spec).await?;
    let said = bench.said("mighty")?;
    assert_eq!(said[..2], ["Seccomp:0", "mounted"]);
    assert!(said[2].starts_with("/dev/"), "{said:?}");
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

async fn a_container_may_open_as_many_files_as_the_agent_was_started_with(bench: Bench) -> Outcome {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
    setrlimit(Resource::RLIMIT_NOFILE, FILES, hard)?;
    assert_eq!(kontiki_runtime::raise_open_files()?, (FILES, hard));
    assert_eq!(getrlimit(Resource::RLIMIT_NOFILE)?, (hard, hard));
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    bench.run("pod", bench.shell("main", "ulimit -Sn; ulimit -Hn")).await?;
    let said = bench.log("main")?.join(" ");
    assert!(said.contains(&format!(" {FILES}")) && said.contains(&format!(" {hard}")), "{said}");
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

async fn a_container_of_another_user(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    let script = "exec 2>&1; id -u; id -g; id -G; pwd; echo $HOME; echo through > /dev/stdout; touch /x; grep -E '^(CapEff|Seccomp):' /proc/self/status | tr -d '\\t'";
    let spec = ContainerSpec {
        user: User { user: "web".into(), additional_groups: vec![7], ..User::default() },
        cwd: "/srv/deep/down".into(),
        seccomp: Seccomp::RuntimeDefault,
        ..bench.shell("main", script)
    };
    bench.run("pod", spec).await?;
    assert_eq!(
        bench.said("main")?,
        [
            "33",
            "34",
            "34 7 40",
            "/srv/deep/down",
            "/srv",
            "through",
            "touch: /x: Permission denied",
            "CapEff:0000000000000000",
            "Seccomp:2"
        ]
    );
    let status = bench.runtime.status("pod").await?.ok_or("no such sandbox")?;
    assert_eq!(status.containers[0].user, Some(ProcessUser { uid: 33, gid: 34, groups: vec![7, 34, 40] }));
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

async fn what_cannot_start_says_why(bench: Bench) -> Outcome {
    let more = [
        ("plain-file", "not a program", 0o644),
        ("script", "#!/no/such/interpreter\n", 0o755),
        ("garbage", "garbage", 0o755),
    ];
    let bench = bench.with_files(&more).await?;
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    let command = |args: &[&str]| ContainerSpec {
        args: args.iter().map(|arg| arg.to_string()).collect(),
        ..bench.shell("main", "")
    };
    let mount = |source: &str| Mount {
        source: source.into(),
        destination: "/data".into(),
        read_only: false,
        recursive_read_only: false,
        propagation: Propagation::Private,
    };
    let cases = [
        (
            command(&["no-such-command"]),
            FailureKind::CommandNotFound,
            "exec: \"no-such-command\": executable file not found in $PATH",
        ),
        (
            command(&["/no/such"]),
            FailureKind::CommandNotFound,
            "exec: \"/no/such\": stat /no/such: no such file or directory",
        ),
        (command(&["/plain-file"]), FailureKind::PermissionDenied, "exec: \"/plain-file\": permission denied"),
        (command(&["/bin"]), FailureKind::PermissionDenied, "exec: \"/bin\": is a directory"),
        (command(&["/garbage"]), FailureKind::Other, "exec /garbage: exec format error"),
        (
            command(&["/script"]),
            FailureKind::CommandNotFound,
            "exec /script: no such file or directory (is its interpreter in the image?)",
        ),
        (command(&[]), FailureKind::InvalidSpec, "no command specified"),
        (
            ContainerSpec { mounts: vec![mount("/no/such/folder")], ..bench.shell("main", "") },
            FailureKind::BadMount,
            "cannot mount /no/such/folder at /data: its source does not exist",
        ),
        (
            ContainerSpec { user: User { user: "nobody-here".into(), ..User::default() }, ..bench.shell("main", "") },
            FailureKind::BadUser,
            "unable to find user nobody-here: no matching entries in the image's /etc/passwd",
        ),
        (
            ContainerSpec { capabilities_add: vec!["FLYING".into()], ..bench.shell("main", "") },
            FailureKind::InvalidSpec,
            "unknown capability \"FLYING\"",
        ),
    ];
    for (spec, kind, message) in cases {
        let error = bench.start("pod", spec).await.err().ok_or(message)?;
        assert_eq!((error.failure_kind(), error.to_string().as_str()), (Some(kind), message));
        bench.runtime.remove_container("pod", "main").await?;
        assert_eq!(bench.left_of_container("pod", "main"), Vec::<String>::new());
    }
    // A folder over a file is only found out while mounting.
    let folder = ContainerSpec {
        mounts: vec![Mount { destination: "/plain-file".into(), ..mount("/tmp") }],
        ..bench.shell("main", "true")
    };
    let error = bench.start("pod", folder).await.err().ok_or("a folder cannot be mounted over a file")?;
    assert_eq!(error.failure_kind(), Some(FailureKind::BadMount), "{error}");
    assert!(error.to_string().contains("/plain-file"), "{error}");
    // A command that could not be executed is an ended container, as if it had ended with 128.
    bench.start("pod", command(&["/garbage"])).await.expect_err("garbage is no program");
    let ContainerState::Exited { exit_code, .. } = bench.exited("pod", "main").await? else { unreachable!() };
    assert_eq!(exit_code, 128);
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

async fn an_image_is_a_volume_until_its_sandbox_goes(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    assert_eq!(bench.runtime.mounted_image("pod", "data").await?, None);
    let source = bench.runtime.mount_image("pod", "data", bench.image()).await?;
    assert_eq!(bench.runtime.mount_image("pod", "data", bench.image()).await?, source, "it stays where it is");
    let mount = Mount {
        source: source.clone(),
        destination: "/data".into(),
        read_only: true,
        recursive_read_only: false,
        propagation: Propagation::Private,
    };
    let spec = ContainerSpec { mounts: vec![mount], ..bench.shell("main", "ls /data/bin/busybox; touch /data/x") };
    bench.run("pod", spec).await?;
    let mut said = bench.said("main")?;
    said.sort_unstable();
    assert_eq!(said, ["/data/bin/busybox", "touch: /data/x: Read-only file system"]);

    let bench = bench.reopened().await?;
    assert_eq!(bench.runtime.mounted_image("pod", "data").await?.as_ref(), Some(&source), "an agent finds it again");
    assert_eq!(bench.runtime.mounted_images().await?, [bench.image().to_owned()].into());
    bench.runtime.remove_sandbox("pod").await?;
    assert!(!source.exists());
    assert!(bench.runtime.mounted_images().await?.is_empty());
    Ok(())
}

async fn mounts_are_as_asked(bench: Bench) -> Outcome {
    let volume = bench.folder.join("volume");
    std::fs::create_dir_all(volume.join("inner"))?;
    std::fs::write(volume.join("file"), "content\n")?;
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    let mount = |source: &Path, destination: &str, read_only| Mount {
        source: source.to_owned(),
        destination: destination.into(),
        read_only,
        recursive_read_only: false,
        propagation: Propagation::Private,
    };
    let below = volume.join("below");
    std::fs::create_dir(&below)?;
    nix::mount::mount(Some(&volume.join("inner")), &below, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>)?;
    let spec = ContainerSpec {
        mounts: vec![
            Mount { recursive_read_only: true, ..mount(&volume, "/deep", true) },
            mount(&volume.join("inner"), "/data/inner", false),
            mount(&volume, "/data", true),
            mount(&volume.join("file"), "/etc/config/one", true),
        ],
        cwd: "/data/inner/work".into(),
        ..bench.shell(
            "main",
            "cat /data/file /etc/config/one; touch /data/x; touch here; touch /data/below/flat; touch /deep/below/deep; echo x > /etc/config/one; pwd; df -P /dev/shm | tail -1 | cut -d' ' -f1; ls -ld /dev/shm | cut -c1-10",
        )
    };
    let ran = bench.run("pod", spec).await;
    nix::mount::umount(&below)?;
    ran?;
    // The two streams are logged in the order of each, not of both.
    let mut said = bench.said("main")?;
    said.sort_unstable();
    assert_eq!(
        said,
        [
            "/bin/sh: can't create /etc/config/one: Read-only file system",
            "/data/inner/work",
            "content",
            "content",
            "drwxrwxrwt",
            "shm",
            "touch: /data/x: Read-only file system",
            "touch: /deep/below/deep: Read-only file system",
        ]
    );
    assert!(volume.join("inner/flat").exists(), "read-only without what is mounted below");
    assert!(volume.join("inner/work/here").exists());
    bench.runtime.remove_sandbox("pod").await?;
    assert!(volume.join("inner/work/here").exists());
    Ok(())
}

async fn signals_end_containers(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    let sandbox = "pod";
    // The first process of a PID namespace only gets the signals it has asked for.
    bench.start(sandbox, bench.shell("deaf", "echo up; sleep 1000")).await?;
    bench
        .start(sandbox, bench.shell("polite", "trap 'echo bye; exit 5' TERM; echo up; while true; do sleep 0.05; done"))
        .await?;
    bench.wait_for_log("polite", "up").await?;
    bench.runtime.kill_container(sandbox, "deaf", 15).await?;
    bench.runtime.kill_container(sandbox, "polite", 15).await?;
    let ContainerState::Exited { exit_code, signal, .. } = bench.exited(sandbox, "polite").await? else {
        unreachable!()
    };
    assert_eq!((exit_code, signal), (5, None));
    assert!(matches!(bench.state(sandbox, "deaf").await?, ContainerState::Running { .. }));
    bench.runtime.kill_container(sandbox, "deaf", 9).await?;
    let ContainerState::Exited { exit_code, signal, .. } = bench.exited(sandbox, "deaf").await? else { unreachable!() };
    assert_eq!((exit_code, signal), (137, Some(9)));
    // A dead container takes a signal as if it had come too late, an unknown one does not.
    bench.runtime.kill_container(sandbox, "deaf", 9).await?;
    let unknown = bench.runtime.kill_container(sandbox, "nobody", 9).await;
    assert_eq!(unknown.err().and_then(|error| error.failure_kind()), Some(FailureKind::NotFound));
    // Orphans are reaped, not kept: the shell below leaves one to the first process.
    bench.run(sandbox, bench.shell("orphans", "(sleep 0.01 & ); sleep 0.1; ls -d /proc/[0-9]* | wc -l")).await?;
    bench.runtime.remove_sandbox(sandbox).await?;
    Ok(())
}

async fn shims_outlive_containers_when_memory_runs_out(bench: Bench) -> Outcome {
    let score = |process: &str| std::fs::read_to_string(format!("/proc/{process}/oom_score_adj"));
    // Not every machine lets tests lower it; then all have what the tests were started with.
    let able = kontiki_runtime::spare_agent().is_ok();
    let own = score("self")?;
    let (shim, containers) = if able { ("-998\n", "0") } else { (own.as_str(), own.trim()) };
    let status = bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    assert_eq!(score(&status.shim_pid.to_string())?, shim);
    bench.run("pod", bench.shell("main", "cat /proc/self/oom_score_adj")).await?;
    assert_eq!(bench.said("main")?, [containers]);
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

async fn an_image_s_links_lead_to_nothing_of_the_machine(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    let (host, volume) = (bench.folder.join("host"), bench.folder.join("volume"));
    let image = bench.folder.join("image");
    std::fs::create_dir(&host)?;
    std::fs::write(host.join("ptmx"), "of the machine")?;
    // What mounts find in the image where the link leads.
    std::fs::create_dir_all(image.join(host.strip_prefix("/")?))?;
    std::fs::create_dir_all(volume.join("dev"))?;
    std::os::unix::fs::symlink("/", image.join("root-link"))?;
    let bench = bench.with_files(&[]).await?;
    let mount = |destination: &str| Mount {
        source: volume.clone(),
        destination: destination.into(),
        read_only: false,
        recursive_read_only: false,
        propagation: Propagation::Private,
    };
    let refusal = async |bench: &Bench, mounts: Vec<Mount>| {
        let spec = ContainerSpec { mounts, ..bench.shell("main", "true") };
        let error = bench.runtime.create_container("pod", spec).await.err().ok_or("it was made")?;
        assert_eq!(error.failure_kind(), Some(FailureKind::BadMount), "{error}");
        Ok::<_, Fault>(error.to_string())
    };
    for destination in ["/", "/./", "/root-link"] {
        let said = refusal(&bench, vec![mount(destination)]).await?;
        assert_eq!(said, format!("cannot mount {} at {destination}: that is the container's root", volume.display()));
    }
    let mut bench = bench;
    for name in ["dev", "proc", "sys"] {
        let link = image.join(name);
        if link.exists() {
            std::fs::remove_dir(&link)?;
        }
        std::os::unix::fs::symlink(&host, &link)?;
        bench = bench.with_files(&[]).await?;
        let expected = format!("cannot mount /{name}: in the image it is a symbolic link");
        assert_eq!(refusal(&bench, vec![]).await?, expected);
        assert_eq!(refusal(&bench, vec![mount(&format!("/{name}"))]).await?, expected);
        std::fs::remove_file(&link)?;
    }
    let found: Vec<_> =
        std::fs::read_dir(&host)?.map(|entry| entry.map(|entry| entry.file_name())).collect::<Result<_, _>>()?;
    assert_eq!(found, ["ptmx"]);
    assert_eq!(std::fs::read_to_string(host.join("ptmx"))?, "of the machine");
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

async fn a_mount_whose_name_is_no_text_keeps_no_other_container(bench: Bench) -> Outcome {
    let (named, pinned) = (bench.folder.join(OsStr::from_bytes(b"\xff")), bench.folder.join("pinned"));
    std::fs::create_dir(&named)?;
    std::fs::create_dir(&pinned)?;
    nix::mount::mount(Some(&named), &pinned, None::<&str>, nix::mount::MsFlags::MS_BIND, None::<&str>)?;
    let outcome = async {
        bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
        bench.run("pod", bench.shell("other", "echo ran")).await?;
        assert_eq!(bench.said("other")?, ["ran"]);
        let own = Mount {
            source: pinned.clone(),
            destination: "/data".into(),
            read_only: false,
            recursive_read_only: false,
            propagation: Propagation::Private,
        };
        let spec = ContainerSpec { mounts: vec![own], ..bench.shell("own", "true") };
        let refused = bench.runtime.create_container("pod", spec).await.err();
        assert_eq!(refused.and_then(|error| error.failure_kind()), Some(FailureKind::BadMount));
        bench.runtime.remove_sandbox("pod").await?;
        Ok(())
    };
    let outcome = outcome.await;
    nix::mount::umount(&pinned)?;
    outcome
}

async fn limits_hold(bench: Bench) -> Outcome {
    let pod = SandboxSpec {
        resources: Resources { memory_bytes: Some(256 << 20), cpu_shares: Some(512), ..Resources::default() },
        ..bench.sandbox("pod")
    };
    bench.runtime.run_sandbox(pod).await?;
    let spec = ContainerSpec {
        resources: Resources { memory_bytes: Some(24 << 20), ..Resources::default() },
        ..bench.shell("hungry", "exec 2>&1; tail /dev/zero; echo survived $?; tail /dev/zero")
    };
    let ContainerState::Exited { exit_code, oom_killed, .. } = bench.run("pod", spec).await? else { unreachable!() };
    assert!(oom_killed && exit_code == 137, "{exit_code} {oom_killed}");
    assert_eq!(bench.said("hungry")?.last().map(String::as_str), Some("survived 137"));
    let spec = ContainerSpec {
        resources: Resources { pids: Some(8), oom_score_adj: Some(500), ..Resources::default() },
        ..bench.shell("forks", "cat /proc/self/oom_score_adj; for i in 1 2 3 4 5 6 7 8 9 10 11 12; do sleep 5 & done")
    };
    bench.run("pod", spec).await?;
    let said = bench.said("forks")?;
    assert_eq!(said[0], "500");
    assert!(said.iter().any(|line| line.contains("can't fork")), "{said:?}");
    // Too little to even get there: it fails, and does not hang.
    let spec = ContainerSpec {
        resources: Resources { memory_bytes: Some(256 << 10), ..Resources::default() },
        ..bench.shell("starved", "true")
    };
    match bench.start("pod", spec).await {
        Ok(()) => assert!(
            matches!(bench.exited("pod", "starved").await?, ContainerState::Exited { exit_code, .. } if exit_code != 0)
        ),
        Err(error) => assert_eq!(error.failure_kind(), Some(FailureKind::Other), "{error}"),
    }
    bench.runtime.remove_container("pod", "starved").await?;
    bench.start("pod", bench.shell("busy", "echo up; while true; do :; done")).await?;
    bench.wait_for_log("busy", "up").await?;
    harness::eventually(
        "time used",
        async || Ok(bench.runtime.stats("pod", "busy").await?.cpu_nanoseconds > 1_000_000),
    )
    .await?;
    let usage = bench.runtime.stats("pod", "busy").await?;
    assert!(
        usage.pids == 1 && usage.memory_bytes > 0 && usage.memory_working_set_bytes <= usage.memory_bytes,
        "{usage:?}"
    );
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

async fn a_container_among_the_processes_of_another(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    bench.start("pod", bench.shell("target", "echo up; exec sleep 777")).await?;
    bench.wait_for_log("target", "up").await?;
    let beside = |id: &str, script: &str| ContainerSpec {
        process_namespace_of: Some("target".to_owned()),
        ..bench.shell(id, script)
    };
    bench
        .run("pod", beside("looker", "tr '\\0' ' ' < /proc/1/cmdline; echo; [ $$ -ne 1 ] && echo not the first"))
        .await?;
    assert_eq!(bench.said("looker")?, ["sleep 777 ", "not the first"]);
    // It ends with the container that it looks at.
    bench.start("pod", beside("follower", "echo up; exec sleep 778")).await?;
    bench.wait_for_log("follower", "up").await?;
    bench.runtime.kill_container("pod", "target", 9).await?;
    let ContainerState::Exited { exit_code, .. } = bench.exited("pod", "follower").await? else { unreachable!() };
    assert_eq!(exit_code, 137);
    bench.exited("pod", "target").await?;
    let late = bench.start("pod", beside("late", "true")).await.err().ok_or("its target has ended")?;
    assert_eq!(late.to_string(), "container \"target\" is not running");
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

async fn containers_of_a_sandbox_share_what_they_should(bench: Bench) -> Outcome {
    let pod = SandboxSpec {
        share_pid: true,
        sysctls: [("kernel.shm_rmid_forced".into(), "1".into())].into(),
        ..bench.sandbox("pod")
    };
    bench.runtime.run_sandbox(pod).await?;
    bench.start("pod", bench.shell("first", "echo shared > /dev/shm/x; echo up; exec sleep 555")).await?;
    bench.wait_for_log("first", "up").await?;
    let script =
        "cat /dev/shm/x /proc/sys/kernel/shm_rmid_forced; ps -o args | grep -c '^sleep 555'; sleep 556 & exit 0";
    bench.run("pod", bench.shell("second", script)).await?;
    assert_eq!(bench.said("second")?, ["shared", "1", "1"]);
    // What a container leaves in the shared PID namespace does not outlive it.
    harness::eventually("the orphan is gone", async || Ok(!harness::running(&["sleep", "556"]))).await?;
    assert!(harness::running(&["sleep", "555"]));
    bench.runtime.remove_sandbox("pod").await?;
    assert!(!harness::running(&["sleep", "555"]));

    let refused = SandboxSpec { sysctls: [("kernel.panic".into(), "1".into())].into(), ..bench.sandbox("bad") };
    let error = bench.runtime.run_sandbox(refused).await.err().ok_or("it set the machine's sysctl")?;
    assert!(error.to_string().contains("sysctl \"kernel.panic\": it is not separate for each sandbox"), "{error}");
    assert_eq!(bench.runtime.status("bad").await?, None);

    let host = SandboxSpec { host_pid: true, host_ipc: true, ..bench.sandbox("host") };
    bench.runtime.run_sandbox(host).await?;
    let script = format!("ls -d /proc/{}; (sleep 557 &) ; echo left", std::process::id());
    bench.run("host", bench.shell("main", &script)).await?;
    assert_eq!(bench.said("main")?, [format!("/proc/{}", std::process::id()), "left".into()]);
    harness::eventually("the orphan is gone", async || Ok(!harness::running(&["sleep", "557"]))).await?;
    bench.runtime.remove_sandbox("host").await?;
    Ok(())
}

async fn its_first_process_lends_a_shared_pid_namespace_nothing_of_the_machine(bench: Bench) -> Outcome {
    let network = SandboxNetwork::Pod { address: bench.address(2) };
    bench.runtime.run_sandbox(SandboxSpec { share_pid: true, network, ..bench.sandbox("pod") }).await?;
    let script = "ls -A /proc/1/root/ | wc -l; touch /proc/1/root/x 2>&1 | grep -o 'Read-only.*'
        grep -E '^(Uid|Gid|CapPrm|NoNewPrivs):' /proc/1/status | tr '\\t' ' '
        [ $(readlink /proc/1/ns/net) = $(readlink /proc/self/ns/net) ] && echo same network";
    let spec = ContainerSpec { capabilities_add: vec!["SYS_PTRACE".into()], ..bench.shell("tracer", script) };
    bench.run("pod", spec).await?;
    assert_eq!(
        bench.said("tracer")?,
        [
            "0",
            "Read-only file system",
            "Uid: 65535 65535 65535 65535",
            "Gid: 65535 65535 65535 65535",
            "CapPrm: 0000000000000000",
            "NoNewPrivs: 1",
            "same network",
        ]
    );
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

async fn pods_reach_each_other(bench: Bench) -> Outcome {
    let mut addresses = Vec::new();
    for name in ["server", "client"] {
        let mut pod = bench.sandbox(name);
        let address = bench.address(addresses.len() as u8 + 2);
        pod.network = SandboxNetwork::Pod { address };
        pod.sysctls = [("net.ipv4.ip_unprivileged_port_start".into(), "81".into())].into();
        let status = bench.runtime.run_sandbox(pod).await?;
        assert_eq!(status.address, Some(address));
        addresses.push(address);
    }
    bench
        .start("server", bench.shell("httpd", "mkdir /www; hostname > /www/index.html; exec httpd -f -p 80 -h /www"))
        .await?;
    let server = addresses[0];
    let script = format!(
        "hostname; cat /proc/sys/net/ipv4/ip_unprivileged_port_start; ip -o -4 addr show eth0 | grep -o 'inet [0-9.]*'
        for i in $(seq 100); do wget -q -O - http://{server}/ 2>/dev/null && exit; sleep 0.05; done; exit 1"
    );
    bench.run("client", bench.shell("wget", &script)).await?;
    assert_eq!(bench.said("wget")?, ["shim-test", "81", &format!("inet {}", addresses[1]), "shim-test"]);
    let mut connection = bench.runtime.connect("server", 80).await?;
    connection.write_all(b"GET / HTTP/1.0\r\n\r\n").await?;
    let mut answer = String::new();
    connection.read_to_string(&mut answer).await?;
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("shim-test\n"), "{answer:?}");
    bench.runtime.remove_sandbox("server").await?;
    bench.runtime.remove_sandbox("client").await?;
    Ok(())
}

async fn many_at_once(bench: Bench) -> Outcome {
    let mut tasks = tokio::task::JoinSet::new();
    for number in 0..6 {
        let bench = bench.clone();
        let address = bench.address(number as u8 + 2);
        tasks.spawn(async move {
            let pod = format!("pod{number}");
            let network = SandboxNetwork::Pod { address };
            bench.runtime.run_sandbox(SandboxSpec { network, ..bench.sandbox(&pod) }).await?;
            for round in 0..3 {
                let name = format!("c{number}-{round}");
                let exit = bench.run(&pod, bench.shell(&name, &format!("exit {number}"))).await?;
                assert!(matches!(exit, ContainerState::Exited { exit_code, .. } if exit_code == number));
            }
            bench.runtime.remove_sandbox(&pod).await?;
            Ok::<(), Fault>(())
        });
    }
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    assert_eq!(bench.runtime.list().await?, []);
    Ok(())
}

async fn a_killed_agent_changes_nothing(bench: Bench) -> Outcome {
    // Another process is the agent: it makes a sandbox with three containers and is killed.
    let mut agent = bench.other_agent()?;
    let ready = bench.folder.join("other-agent/ready");
    harness::eventually("the other agent is done", async || Ok(ready.exists())).await?;
    agent.kill()?;
    agent.wait()?;
    let bench = bench.taken_over().await?;
    let status = bench.runtime.status("pod").await?.ok_or("the sandbox was not adopted")?;
    assert!(!status.lost);
    assert_eq!(status.labels.get("pod").map(String::as_str), Some("default/web"));
    let ContainerState::Running { pid, .. } = bench.state("pod", "ticking").await? else {
        return Err("it does not run any more".into());
    };
    assert_eq!(std::fs::read_to_string(ready)?, pid.to_string());
    // One ended while nobody watched, one was prepared only; both are as they were.
    let ContainerState::Exited { exit_code, .. } = bench.exited("pod", "ending").await? else { unreachable!() };
    assert_eq!(exit_code, 9);
    assert_eq!(bench.state("pod", "prepared").await?, ContainerState::Created);
    bench.runtime.start_container("pod", "prepared").await?;
    bench.exited("pod", "prepared").await?;
    let ticks = bench.said("ticking")?.len();
    harness::eventually("the log goes on", async || Ok(bench.said("ticking")?.len() > ticks + 2)).await?;
    let said = bench.said("ticking")?;
    let expected: Vec<String> = (0..said.len()).map(|number| number.to_string()).collect();
    assert_eq!(said, expected, "nothing is missing and nothing is there twice");
    bench.runtime.remove_sandbox("pod").await?;
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    Ok(())
}

async fn a_shim_that_is_slow_when_an_agent_begins_is_not_lost(bench: Bench) -> Outcome {
    let mut agent = bench.other_agent()?;
    let (ready, other) = (bench.folder.join("other-agent/ready"), bench.folder.join("other-agent"));
    harness::eventually("the other agent is done", async || Ok(ready.exists())).await?;
    let record = std::fs::read(other.join("state/sandboxes/pod/sandbox.json"))?;
    let shim = serde_json::from_slice::<serde_json::Value>(&record)?["shim"]["pid"].as_i64().ok_or("no shim")?;
    let shim = Pid::from_raw(shim.try_into()?);
    // As if it waited for a disk.
    kill(shim, Signal::SIGSTOP)?;
    agent.kill()?;
    agent.wait()?;
    let bench = bench.taken_over().await?;
    let status = bench.runtime.status("pod").await?.ok_or("the sandbox was not adopted")?;
    assert!(!status.lost);
    let ContainerState::Running { pid, .. } = bench.state("pod", "ticking").await? else {
        return Err("it does not run any more".into());
    };
    assert_eq!(std::fs::read_to_string(ready)?, pid.to_string());
    kill(shim, Signal::SIGCONT)?;
    let ContainerState::Exited { exit_code, .. } = bench.exited("pod", "ending").await? else { unreachable!() };
    assert_eq!(exit_code, 9);
    let ticks = bench.said("ticking")?.len();
    harness::eventually("the log goes on", async || Ok(bench.said("ticking")?.len() > ticks)).await?;
    bench.runtime.remove_sandbox("pod").await?;
    assert!(!Path::new(&format!("/proc/{pid}")).exists());
    Ok(())
}

async fn a_sandbox_that_was_never_finished_leaves_no_shim(bench: Bench) -> Outcome {
    let status = bench.runtime.run_sandbox(SandboxSpec { share_pid: true, ..bench.sandbox("pod") }).await?;
    // As an agent leaves it that is killed while the shim starts.
    let record = bench.folder.join("state/sandboxes/pod/sandbox.json");
    let mut unfinished: serde_json::Value = serde_json::from_slice(&std::fs::read(&record)?)?;
    unfinished["shim"] = serde_json::Value::Null;
    std::fs::write(&record, unfinished.to_string())?;
    let bench = bench.reopened().await?;
    assert_eq!(bench.runtime.list().await?, []);
    let shim = format!("/proc/{}", status.shim_pid);
    harness::eventually("the shim is gone", async || Ok(!Path::new(&shim).exists())).await
}

async fn a_dead_shim_takes_its_containers_along(bench: Bench) -> Outcome {
    let status = bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    bench.start("pod", bench.shell("main", "sleep 601 & sleep 602")).await?;
    bench.run("pod", bench.shell("done", "exit 2")).await?;
    let mut session = bench
        .runtime
        .exec("pod", "main", ExecSpec { args: vec!["sleep".into(), "603".into()], ..ExecSpec::default() })
        .await?;
    harness::kill(status.shim_pid);
    harness::eventually("the loss is noticed", async || {
        Ok(bench.runtime.status("pod").await?.is_some_and(|status| status.lost))
    })
    .await?;
    assert!(session.wait().await.is_err());
    for number in [601, 602, 603] {
        let number = number.to_string();
        harness::eventually("its processes are gone", async || Ok(!harness::running(&["sleep", &number]))).await?;
    }
    assert!(matches!(
        bench.state("pod", "main").await?,
        ContainerState::Exited { exit_code: 137, signal: Some(9), .. }
    ));
    assert!(matches!(bench.state("pod", "done").await?, ContainerState::Exited { exit_code: 2, .. }));
    let refused = bench.runtime.create_container("pod", container("x", bench.image(), &[], &bench.folder)).await;
    assert!(refused.is_err_and(|error| error.to_string().contains("remove the sandbox")));
    // An agent that comes later finds it lost, too.
    drop(session);
    let bench = bench.reopened().await?;
    let status = bench.runtime.status("pod").await?.ok_or("it was forgotten")?;
    assert!(status.lost && status.containers.len() == 2, "{status:?}");
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}
