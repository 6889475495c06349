//! What commands print, and who reads it.

use std::{
    fs::File,
    io::pipe,
    os::unix::process::ExitStatusExt as _,
    path::Path,
    process::{Command, Output, Stdio},
};

/// `kontiki down`, of a folder where nothing runs.
fn down(folder: &Path, stdout: impl Into<Stdio>) -> Output {
    let mut command = Command::new(env!("CARGO_BIN_EXE_kontiki"));
    command.args(["down", "--data-dir"]).arg(folder).stdout(stdout).stderr(Stdio::piped()).output().unwrap()
}

#[test]
fn a_command_whose_reader_has_gone_ends_as_other_programs_do() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let folder = tempfile::tempdir().unwrap();
    let ended = down(folder.path(), writer);
    assert_eq!(ended.status.signal(), Some(nix::libc::SIGPIPE), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}

#[test]
fn what_is_not_printed_is_a_failure() {
    let (folder, full) = (tempfile::tempdir().unwrap(), File::create("/dev/full").unwrap());
    let ended = down(folder.path(), full);
    assert_eq!(ended.status.code(), Some(1), "{ended:?}");
    let said = String::from_utf8_lossy(&ended.stderr);
    assert!(
        said.starts_with("error: writing to standard output: No space left") && said.lines().count() == 1,
        "{said}"
    );
}

#[test]
fn what_is_missing_is_named_once() {
    let ended = down(Path::new("/nonexistent/kontiki"), Stdio::null());
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "error: there is no /nonexistent/kontiki: nothing to stop\n");
    let mut list = Command::new(env!("CARGO_BIN_EXE_kontiki"));
    let ended = list.args(["members", "list", "--kubeconfig", "/nonexistent/x"]).output().unwrap();
    let said = String::from_utf8_lossy(&ended.stderr);
    assert_eq!(said, "error: reading /nonexistent/x: No such file or directory (os error 2)\n");
}
