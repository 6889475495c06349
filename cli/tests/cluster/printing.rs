//! What commands print, and who reads it.

use std::{
    io::pipe,
    os::unix::process::ExitStatusExt as _,
    process::{Command, Stdio},
};

#[test]
fn a_command_whose_reader_has_gone_ends_as_other_programs_do() {
    let (reader, writer) = pipe().unwrap();
    drop(reader);
    let mut command = Command::new(env!("CARGO_BIN_EXE_kontiki"));
    command.args(["down", "--data-dir", "/nonexistent/kontiki"]).stdout(writer).stderr(Stdio::piped());
    let ended = command.output().unwrap();
    assert_eq!(ended.status.signal(), Some(nix::libc::SIGPIPE), "{ended:?}");
    assert_eq!(String::from_utf8_lossy(&ended.stderr), "");
}
