//! Real mounts, below a scratch directory.
#![allow(clippy::unwrap_used)]
use super::*;

fn root_only(test: &str) -> bool {
    let root = nix::unistd::geteuid().is_root();
    if !root {
        println!("SKIPPED {test}: needs root");
    }
    root
}

fn layer(root: &Path, name: &str, files: &[(&str, &str)]) -> PathBuf {
    let layer = root.join(name);
    for (path, content) in files {
        let path = layer.join(path);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, content).unwrap();
    }
    layer
}

#[test]
fn upper_layers_win_and_leave_nothing_behind() {
    if !root_only("upper_layers_win_and_leave_nothing_behind") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layers = [
        layer(dir.path(), "a", &[("etc/who", "lower"), ("etc/only-a", "a")]),
        layer(dir.path(), "b", &[("etc/who", "upper"), ("bin/tool", "x")]),
    ];
    fs::set_permissions(&layers[1], fs::Permissions::from_mode(0o711)).unwrap();
    let container = dir.path().join("containers/c 1");
    fs::create_dir_all(&container).unwrap();
    let root = mount(&layers, &container).unwrap();
    let read = |path: &str| fs::read_to_string(root.join(path)).unwrap();
    assert_eq!((read("etc/who"), read("etc/only-a"), read("bin/tool")), ("upper".into(), "a".into(), "x".into()));
    assert_eq!(fs::metadata(&root).unwrap().mode() & 0o777, 0o711);
    fs::write(root.join("etc/who"), "container").unwrap();
    assert_eq!(fs::read_to_string(layers[1].join("etc/who")).unwrap(), "upper");

    assert_eq!(mounted_below(dir.path()).unwrap(), [fs::canonicalize(&container).unwrap()]);
    // Mounting again, as after a crash, starts afresh.
    let root = mount(&layers, &container).unwrap();
    assert_eq!(fs::read_to_string(root.join("etc/who")).unwrap(), "upper");
    unmount(&container).unwrap();
    unmount(&container).unwrap();
    assert_eq!(mounted_below(dir.path()).unwrap(), Vec::<PathBuf>::new());
    assert_eq!(fs::read_dir(&container).unwrap().count(), 0);
}

#[test]
fn a_read_only_root_is_nobody_s_to_change() {
    if !root_only("a_read_only_root_is_nobody_s_to_change") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let layers = [
        layer(dir.path(), "a", &[("data/who", "lower"), ("data/only-a", "a")]),
        layer(dir.path(), "b", &[("data/who", "upper")]),
    ];
    let folder = dir.path().join("image");
    fs::create_dir(&folder).unwrap();
    for (layers, who) in [(&layers[..], Some("upper")), (&layers[..1], Some("lower")), (&[], None)] {
        assert!(!is_mounted(&folder));
        let root = mount_read_only(layers, &folder).unwrap();
        assert!(is_mounted(&folder));
        assert_eq!(fs::read_to_string(root.join("data/who")).ok().as_deref(), who);
        let error = fs::write(root.join("new"), "").unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::ReadOnlyFilesystem);
        unmount(&folder).unwrap();
    }
    assert_eq!(fs::read_dir(&folder).unwrap().count(), 0);
}

#[test]
fn as_many_layers_as_images_may_have() {
    if !root_only("as_many_layers_as_images_may_have") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let container = dir.path().join("c");
    fs::create_dir(&container).unwrap();
    let layers: Vec<PathBuf> =
        (0..LAYERS_MAX).map(|n| layer(dir.path(), &format!("{n:064}"), &[("top", &n.to_string())])).collect();
    let root = mount(&layers, &container).unwrap();
    assert_eq!(fs::read_to_string(root.join("top")).unwrap(), (LAYERS_MAX - 1).to_string());
    unmount(&container).unwrap();
    let root = mount(&[], &container).unwrap();
    assert_eq!(fs::read_dir(root).unwrap().count(), 0);
    unmount(&container).unwrap();
}

#[test]
fn state_on_overlayfs_writes_to_memory() {
    if !root_only("state_on_overlayfs_writes_to_memory") {
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let outer = dir.path().join("outer");
    fs::create_dir(&outer).unwrap();
    let state = mount(&[layer(dir.path(), "base", &[("x", "")])], &outer).unwrap();
    let container = state.join("c");
    fs::create_dir(&container).unwrap();
    let root = mount(&[layer(&state, "l0", &[("hello", "world")])], &container).unwrap();
    fs::write(root.join("new"), "1").unwrap();
    assert_eq!(fs::read_to_string(root.join("hello")).unwrap(), "world");
    assert!(container.join("scratch/upper/new").exists());
    unmount(&container).unwrap();
    assert_eq!(fs::read_dir(&container).unwrap().count(), 0);
    unmount(&outer).unwrap();
}

#[test]
fn a_missing_layer_is_named() {
    let dir = tempfile::tempdir().unwrap();
    let error = mount(&[dir.path().join("gone")], dir.path()).unwrap_err();
    assert!(error.to_string().contains("gone is missing in the image store"), "{error}");
}
