//! Commands run in containers, and clients attached to them.

use std::collections::BTreeSet;

use kontiki_runtime::{ExecSpec, FailureKind, spec::Seccomp};
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use crate::harness::{self, Bench, Outcome, text_of};

pub async fn commands_run_in_a_container(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    let mut spec = bench.shell("main", "echo up; sleep 1000");
    spec.seccomp = Seccomp::RuntimeDefault;
    spec.env = vec![("A".into(), "1".into())];
    bench.start("pod", spec).await?;
    bench.wait_for_log("main", "up").await?;
    let script = "echo $A $B $$; grep -E '^(Seccomp|CapEff|CapBnd):' /proc/self/status | tr -d '\\t'; cat; echo wrong >&2; exit 7";
    let exec = |script: &str, stdin| ExecSpec {
        args: ["sh", "-c", script].map(str::to_owned).into(),
        env: vec![("B".into(), "2".into())],
        stdin,
        ..ExecSpec::default()
    };
    let mut session = bench.runtime.exec("pod", "main", exec(script, true)).await?;
    let mut stdin = session.stdin.take().ok_or("no stdin")?;
    stdin.write_all(b"through stdin\n").await?;
    drop(stdin);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    session.stdout.read_to_string(&mut stdout).await?;
    session.stderr.read_to_string(&mut stderr).await?;
    assert_eq!(session.wait().await?, 7);
    let lines: Vec<&str> = stdout.lines().collect();
    assert!(lines[0].starts_with("1 2 ") && lines[0] != "1 2 1", "{lines:?}");
    let confined: BTreeSet<&str> = lines[1..4].iter().copied().collect();
    assert_eq!(confined, BTreeSet::from(["Seccomp:2", "CapEff:00000000a80425fb", "CapBnd:00000000a80425fb"]));
    assert_eq!((lines[4], stderr.as_str()), ("through stdin", "wrong\n"));

    let missing =
        bench.runtime.exec("pod", "main", ExecSpec { args: vec!["nothing".into()], ..ExecSpec::default() }).await;
    let error = missing.err().ok_or("it ran")?;
    assert_eq!(
        (error.failure_kind(), error.to_string().as_str()),
        (Some(FailureKind::CommandNotFound), "exec: \"nothing\": executable file not found in $PATH")
    );
    // Letting go of a session ends its command.
    let session = bench.runtime.exec("pod", "main", exec("exec sleep 77", false)).await?;
    harness::eventually("the command runs", async || Ok(harness::running(&["sleep", "77"]))).await?;
    drop(session);
    harness::eventually("the command is gone", async || Ok(!harness::running(&["sleep", "77"]))).await?;
    // The container's end is the end of what runs in it.
    let mut session = bench.runtime.exec("pod", "main", exec("sleep 78", false)).await?;
    bench.runtime.kill_container("pod", "main", 9).await?;
    assert_eq!(session.wait().await?, 137);
    bench.exited("pod", "main").await?;
    let late = bench.runtime.exec("pod", "main", exec("true", false)).await;
    assert_eq!(late.err().and_then(|error| error.failure_kind()), Some(FailureKind::WrongState));
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

pub async fn commands_run_on_a_terminal(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    let mut spec = bench.shell("main", "tty; stty size; echo up; read line; echo got $line; sleep 1000");
    (spec.tty, spec.stdin) = (true, true);
    bench.start("pod", spec).await?;
    bench.wait_for_log("main", "up").await?;
    let args = ["sh", "-c", "tty; read x; stty size; echo \"$x\"; echo $TERM; exit 4"].map(str::to_owned).into();
    let mut session =
        bench.runtime.exec("pod", "main", ExecSpec { args, tty: true, stdin: true, ..ExecSpec::default() }).await?;
    session.terminal.as_ref().ok_or("no terminal")?.resize(33, 99)?;
    session.stdin.as_mut().ok_or("no stdin")?.write_all(b"typed\n").await?;
    let mut text = Vec::new();
    session.stdout.read_to_end(&mut text).await?;
    assert_eq!(session.wait().await?, 4);
    let text = text_of(&text);
    for expected in ["/dev/pts/", "33 99", "typed", "xterm"] {
        assert!(text.contains(expected), "{text:?}");
    }
    // The container's own terminal takes input from whoever is attached.
    bench.runtime.resize_container("pod", "main", 20, 40).await?;
    let mut attached = bench.runtime.attach("pod", "main", true).await?;
    attached.stdin.as_mut().ok_or("no stdin")?.write_all(b"hello\n").await?;
    bench.wait_for_log("main", "got hello").await?;
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

pub async fn a_terminal_outlives_its_sessions(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    let mut spec = bench.shell("main", "while read line; do echo \"got $line\"; done");
    (spec.tty, spec.stdin, spec.stdin_once) = (true, true, true);
    bench.start("pod", spec).await?;
    for word in ["first", "second", "third"] {
        let mut attached = bench.runtime.attach("pod", "main", true).await?;
        let mut stdin = attached.stdin.take().ok_or("no stdin")?;
        stdin.write_all(format!("{word}\n").as_bytes()).await?;
        drop(stdin);
        bench.wait_for_log("main", &format!("got {word}")).await?;
    }
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

pub async fn attached_clients_talk_to_the_container(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    let mut spec =
        bench.shell("main", "while read line; do echo \"got $line\"; echo \"err $line\" >&2; done; echo end");
    (spec.stdin, spec.stdin_once) = (true, true);
    bench.start("pod", spec).await?;
    // One that only listened does not end the input.
    let mut listening = bench.runtime.attach("pod", "main", false).await?;
    assert!(listening.stdin.is_none());
    let mut attached = bench.runtime.attach("pod", "main", true).await?;
    let mut stdin = attached.stdin.take().ok_or("no stdin")?;
    stdin.write_all(b"one\ntwo\n").await?;
    drop(stdin);
    let (mut stdout, mut stderr) = (String::new(), String::new());
    attached.stdout.read_to_string(&mut stdout).await?;
    attached.stderr.read_to_string(&mut stderr).await?;
    assert_eq!((stdout.as_str(), stderr.as_str()), ("got one\ngot two\nend\n", "err one\nerr two\n"));
    let mut heard = String::new();
    listening.stdout.read_to_string(&mut heard).await?;
    assert_eq!(heard, stdout);
    bench.exited("pod", "main").await?;
    let said: BTreeSet<String> = bench.said("main")?.into_iter().collect();
    assert_eq!(said, ["end", "err one", "err two", "got one", "got two"].map(str::to_owned).into());
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}

pub async fn clients_leave_the_agent_its_sessions(bench: Bench) -> Outcome {
    bench.runtime.run_sandbox(bench.sandbox("pod")).await?;
    bench.start("pod", bench.shell("main", "sleep 1000")).await?;
    let mut held = Vec::new();
    let refused = loop {
        match bench.runtime.attach("pod", "main", false).await {
            Ok(session) => held.push(session),
            Err(error) => break error,
        }
    };
    assert_eq!((held.len(), refused.to_string().as_str()), (128, "128 commands and attachments are open already"));
    let command = |own| ExecSpec { args: vec!["true".into()], own, ..ExecSpec::default() };
    let refused = bench.runtime.exec("pod", "main", command(false)).await;
    assert!(refused.is_err_and(|error| error.failure_kind() == Some(FailureKind::Other)));
    assert_eq!(bench.runtime.exec("pod", "main", command(true)).await?.wait().await?, 0);
    held.pop();
    assert_eq!(bench.runtime.exec("pod", "main", command(false)).await?.wait().await?, 0);
    bench.runtime.kill_container("pod", "main", 9).await?;
    bench.exited("pod", "main").await?;
    bench.runtime.remove_sandbox("pod").await?;
    Ok(())
}
