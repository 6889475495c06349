//! Trees as strangers make them, dealt with by a process that has little: few descriptors and a small stack.
#![allow(clippy::unwrap_used)]

use std::{
    fs,
    os::{fd::OwnedFd, unix::fs::symlink},
    path::{Path, PathBuf},
    thread,
};

use kontiki_runtime::tree::{remove, usage_bytes};
use nix::{
    errno::Errno,
    fcntl::{OFlag, open, openat},
    mount::{MntFlags, MsFlags, mount, umount2},
    sys::{
        resource::{Resource, getrlimit, setrlimit},
        stat::{Mode, mkdirat},
    },
    unistd::{geteuid, write},
};

const FILES_MAX: u64 = 64;
const STACK_BYTES: usize = 256 << 10;
const FOLDER: OFlag = OFlag::O_RDONLY.union(OFlag::O_DIRECTORY);

fn with_little<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
    setrlimit(Resource::RLIMIT_NOFILE, FILES_MAX, hard).unwrap();
    thread::Builder::new().stack_size(STACK_BYTES).spawn(work).unwrap().join().unwrap()
}

/// Makes folders in each other and gives the last.
fn nest(root: &Path, depth: usize, name: &str) -> OwnedFd {
    let mut folder = open(root, FOLDER, Mode::empty()).unwrap();
    for _ in 0..depth {
        mkdirat(&folder, name, Mode::S_IRWXU).unwrap();
        folder = openat(&folder, name, FOLDER, Mode::empty()).unwrap();
    }
    folder
}

fn fill(folder: &OwnedFd, name: &str, bytes: usize) {
    let file = openat(folder, name, OFlag::O_WRONLY | OFlag::O_CREAT, Mode::S_IRWXU).unwrap();
    assert_eq!(write(&file, &vec![1; bytes]), Ok(bytes));
}

#[test]
fn a_tree_of_any_depth_is_removed() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, beside) = (scratch.path().join("root"), scratch.path().join("beside"));
    for folder in [&root, &beside] {
        fs::create_dir(folder).unwrap();
        fs::write(folder.join("file"), "").unwrap();
    }
    symlink(&beside, root.join("link")).unwrap();
    // Further ones at many levels, so that what was left behind has to be come back to.
    let mut path = root.clone();
    for level in 0..60 {
        path.push("level");
        fs::create_dir(&path).unwrap();
        for branch in ["a", "b"] {
            nest(&path, 1, branch);
            nest(&path.join(branch), level, "branch");
            fs::write(path.join(branch).join("file"), "").unwrap();
        }
    }
    fill(&nest(&path, 20_000, "deep"), "file", 1);
    let tree = root.clone();
    with_little(move || remove(&tree)).unwrap();
    assert!(!root.exists());
    assert!(beside.join("file").exists());
    remove(&root).unwrap();
    remove(&root.join("nor/this")).unwrap();
    symlink(&beside, &root).unwrap();
    remove(&root).unwrap();
    assert!(beside.join("file").exists() && !root.is_symlink(), "the link went, and nothing else");
}

#[test]
fn what_is_mounted_in_a_tree_is_not_removed() {
    if !geteuid().is_root() {
        println!("SKIPPED what_is_mounted_in_a_tree_is_not_removed: needs root");
        return;
    }
    let scratch = tempfile::tempdir().unwrap();
    let (root, mounted) = (scratch.path().join("root"), scratch.path().join("root/a/mounted"));
    let kept = scratch.path().join("kept");
    fs::create_dir_all(&mounted).unwrap();
    fs::create_dir(&kept).unwrap();
    fs::write(kept.join("file"), "").unwrap();
    let bind = |to: &Path| mount(Some(&kept), to, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    bind(&mounted);
    let refused = remove(&root).unwrap_err();
    umount2(&mounted, MntFlags::MNT_DETACH).unwrap();
    bind(&root);
    let root_refused = remove(&root).unwrap_err();
    umount2(&root, MntFlags::MNT_DETACH).unwrap();
    for error in [refused, root_refused] {
        let errno = error.raw_os_error().map(Errno::from_raw);
        assert!(matches!(errno, Some(Errno::EXDEV | Errno::EBUSY)), "{error}");
    }
    assert!(kept.join("file").exists());
    remove(&root).unwrap();
}

#[test]
fn what_lies_deep_is_measured() {
    const BYTES: usize = 1 << 20;
    let scratch = tempfile::tempdir().unwrap();
    // The first is below what a path can name, the second further down than folders are held open.
    for (name, depth) in [("n".repeat(200), 60), ("d".to_owned(), 1_000)] {
        let root = scratch.path().join(depth.to_string());
        fs::create_dir(&root).unwrap();
        let bottom = nest(&root, depth, &name);
        // One on each way, whichever is taken first.
        nest(&root.join(&name), 1, "before");
        nest(&root.join(&name), 1, "z");
        fs::write(root.join(&name).join("before/file"), vec![1; BYTES]).unwrap();
        fs::write(root.join(&name).join("z/file"), vec![1; BYTES]).unwrap();
        let measured = {
            let root = root.clone();
            move || with_little(move || usage_bytes(&root)).unwrap()
        };
        let before = measured.clone()();
        assert!(before >= 2 * BYTES as u64, "{depth}: {before}");
        fill(&bottom, "file", BYTES);
        let grown = measured() - before;
        assert!((BYTES as u64..2 * BYTES as u64).contains(&grown), "{depth}: {grown}");
        remove(&root).unwrap();
    }
    assert_eq!(usage_bytes(&scratch.path().join("not there")).unwrap(), 0);
}

#[test]
fn a_file_with_many_names_is_measured_once() {
    let scratch = tempfile::tempdir().unwrap();
    let measured = || usage_bytes(scratch.path()).unwrap();
    let file = scratch.path().join("store");
    fs::write(&file, vec![1; 1 << 20]).unwrap();
    let alone = measured();
    assert!(alone >= 1 << 20, "{alone}");
    assert_eq!(usage_bytes(&file).unwrap(), alone);
    fs::create_dir(scratch.path().join("links")).unwrap();
    let folder = measured() - alone;
    (0..3).for_each(|n| fs::hard_link(&file, scratch.path().join("links").join(n.to_string())).unwrap());
    assert_eq!(measured(), alone + folder);
}

#[test]
fn neither_links_nor_mounts_are_measured() {
    let scratch = tempfile::tempdir().unwrap();
    let (root, elsewhere) = (scratch.path().join("root"), scratch.path().join("elsewhere"));
    let inner: PathBuf = root.join("inner");
    fs::create_dir_all(&inner).unwrap();
    fs::create_dir(&elsewhere).unwrap();
    fs::write(elsewhere.join("file"), vec![1; 1 << 20]).unwrap();
    symlink(&elsewhere, root.join("link")).unwrap();
    let before = usage_bytes(&root).unwrap();
    assert!(before < 1 << 20, "{before}");
    if !geteuid().is_root() {
        println!("SKIPPED half of neither_links_nor_mounts_are_measured: needs root");
        return;
    }
    mount(Some(&elsewhere), &inner, None::<&str>, MsFlags::MS_BIND, None::<&str>).unwrap();
    let after = usage_bytes(&root).unwrap();
    umount2(&inner, MntFlags::MNT_DETACH).unwrap();
    assert!(after <= before, "{after}");
}
