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

#[test]
fn an_image_that_goes_to_no_cluster_says_where_it_is() {
    let folder = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(folder.path().join("root/www")).unwrap();
    let data = folder.path().join("data");
    let mut import = Command::new(env!("CARGO_BIN_EXE_kontiki"));
    import.args(["image", "import", "--name", "demo:1"]).arg(folder.path().join("demo.tar"));
    import.arg("--data-dir").arg(&data).env_remove("KUBECONFIG");
    let packed = Command::new("tar").current_dir(folder.path()).args(["-C", "root", "-cf", "demo.tar", "."]).status();
    assert!(packed.unwrap().success());
    let ended = import.output().unwrap();
    let told = format!(
        "imported into {}; with --kubeconfig, or KUBECONFIG set, images go to the nodes of a cluster\n",
        data.display()
    );
    assert_eq!(String::from_utf8_lossy(&ended.stderr), told);
    let table = String::from_utf8_lossy(&ended.stdout);
    assert!(table.starts_with("NAME") && !table.contains("NODE"), "{table}");
}
