//! Layers entry by entry, harmless and hostile, and what overlayfs is given for them.
#![allow(clippy::unwrap_used)]
use std::{
    fmt::Write as _,
    fs,
    os::unix::fs::{FileTypeExt, MetadataExt},
    sync::atomic::AtomicU64,
};

use expect_test::{Expect, expect};
use tar::{Builder, EntryType, Header};

use super::*;

/// One line of a layer: kind, path, and what belongs to it.
enum Line<'a> {
    Dir(&'a str, u32),
    File(&'a str, &'a str),
    Link(&'a str, &'a str),
    Hard(&'a str, &'a str),
    Char(&'a str, u32, u32),
}
use Line::*;

fn archive(lines: &[Line<'_>]) -> Vec<u8> {
    let mut builder = Builder::new(Vec::new());
    for line in lines {
        let mut header = Header::new_gnu();
        header.set_mode(0o644);
        header.set_uid(1);
        header.set_gid(2);
        header.set_mtime(1_000_000);
        header.set_size(0);
        let (path, data) = match line {
            Dir(path, mode) => {
                header.set_entry_type(EntryType::Directory);
                header.set_mode(*mode);
                (path, "")
            }
            File(path, data) => {
                header.set_size(data.len() as u64);
                header.set_mode(0o4755);
                (path, *data)
            }
            Link(path, target) => {
                header.set_entry_type(EntryType::Symlink);
                header.set_link_name_literal(target).unwrap();
                (path, "")
            }
            Hard(path, target) => {
                header.set_entry_type(EntryType::Link);
                header.set_link_name_literal(target).unwrap();
                (path, "")
            }
            Char(path, major, minor) => {
                header.set_entry_type(EntryType::Char);
                header.set_device_major(*major).unwrap();
                header.set_device_minor(*minor).unwrap();
                (path, "")
            }
        };
        // By hand: the builder refuses the very paths that attacks are made of.
        header.as_old_mut().name[..path.len()].copy_from_slice(path.as_bytes());
        header.set_cksum();
        builder.append(&header, data.as_bytes()).unwrap();
    }
    builder.into_inner().unwrap()
}

/// Every file below the directory, as overlayfs will see it.
fn show(root: &Path) -> String {
    let mut out = String::new();
    let mut paths = vec![root.to_path_buf()];
    let mut names = Vec::new();
    while let Some(path) = paths.pop() {
        if fs::symlink_metadata(&path).unwrap().is_dir() {
            paths.extend(fs::read_dir(&path).unwrap().map(|entry| entry.unwrap().path()));
        }
        names.push(path);
    }
    names.sort();
    for path in names {
        let metadata = fs::symlink_metadata(&path).unwrap();
        let shown = path.strip_prefix(root).unwrap().display().to_string();
        let kind = metadata.file_type();
        write!(out, "/{shown} {:o} {}:{}", metadata.mode() & 0o7777, metadata.uid(), metadata.gid()).unwrap();
        if kind.is_symlink() {
            write!(out, " -> {}", fs::read_link(&path).unwrap().display()).unwrap();
        } else if kind.is_char_device() {
            write!(out, " char {}", metadata.rdev()).unwrap();
        } else if kind.is_file() {
            write!(out, " {:?} links={}", fs::read_to_string(&path).unwrap(), metadata.nlink()).unwrap();
        } else if xattr::get(&path, OPAQUE_XATTR).unwrap().is_some() {
            write!(out, " opaque").unwrap();
        }
        writeln!(out).unwrap();
    }
    out
}

fn try_unpack(lines: &[Line<'_>], root: &Path) -> Result<Unpacked, ImageError> {
    let data = archive(lines);
    unpack(&mut TarReader::new(&data[..]), root, &Budget::default())
}

fn check(lines: &[Line<'_>], expected: Expect) {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: unpacking needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    // A link that an escape would follow.
    fs::write(dir.path().join("outside"), "untouched").unwrap();
    let root = dir.path().join("root");
    fs::create_dir(&root).unwrap();
    let shown = match try_unpack(lines, &root) {
        Ok(_) => show(&root),
        Err(error) => format!("{error}\n"),
    };
    expected.assert_eq(&shown);
    assert_eq!(fs::read_to_string(dir.path().join("outside")).unwrap(), "untouched");
    let mut around: Vec<_> = fs::read_dir(dir.path()).unwrap().map(|e| e.unwrap().file_name()).collect();
    around.sort();
    assert_eq!(around, ["outside", "root"]);
}

#[test]
fn owners_modes_and_links() {
    check(
        &[
            Dir("./", 0o711),
            Dir("bin/", 0o755),
            File("bin/su", "x"),
            Hard("bin/su2", "bin/su"),
            Link("sbin", "bin"),
            Link("abs", "/etc/passwd"),
            Char("dev/null", 1, 3),
            File("a/b/c", "implied"),
        ],
        expect![[r#"
            / 711 1:2
            /a 755 0:0
            /a/b 755 0:0
            /a/b/c 4755 1:2 "implied" links=1
            /abs 777 1:2 -> /etc/passwd
            /bin 755 1:2
            /bin/su 4755 1:2 "x" links=2
            /bin/su2 4755 1:2 "x" links=2
            /dev 755 0:0
            /dev/null 644 1:2 char 259
            /sbin 777 1:2 -> bin
        "#]],
    );
}

#[test]
fn whiteouts_become_what_overlayfs_reads() {
    check(
        &[
            File("etc/.wh.gone", ""),
            Dir("var/", 0o755),
            File("var/.wh..wh..opq", ""),
            File("var/new", "n"),
            File(".wh..wh.plnk", ""),
            // Deleted and made anew in one layer, in both orders.
            File(".wh.again", ""),
            Dir("again/", 0o755),
            Dir("kept/", 0o755),
            File(".wh.kept", ""),
            File(".wh.file", ""),
            File("file", "new"),
        ],
        expect![[r#"
            / 755 0:0
            /again 755 1:2 opaque
            /etc 755 0:0
            /etc/gone 0 0:0 char 0
            /file 4755 1:2 "new" links=1
            /kept 755 1:2 opaque
            /var 755 1:2 opaque
            /var/new 4755 1:2 "n" links=1
        "#]],
    );
}

#[test]
fn later_entries_win() {
    check(
        &[
            File("x", "file"),
            Dir("x/", 0o700),
            File("x/y", "1"),
            File("x/y", "2"),
            Dir("d/", 0o700),
            File("d/deep/file", ""),
            Link("d", "x"),
            File("d/through-link", "in x"),
        ],
        expect![[r#"
            / 755 0:0
            /d 777 1:2 -> x
            /x 700 1:2
            /x/through-link 4755 1:2 "in x" links=1
            /x/y 4755 1:2 "2" links=1
        "#]],
    );
}

#[test]
fn nothing_outside_is_reached() {
    let up = expect![[r#"
        layer entry "../outside": its path climbs with `..`, which layers must not
    "#]];
    check(&[File("../outside", "evil")], up);
    check(
        &[File("/outside", "inside"), Link("l", "../../outside"), File("l", "replaces the link")],
        expect![[r#"
            / 755 0:0
            /l 4755 1:2 "replaces the link" links=1
            /outside 4755 1:2 "inside" links=1
        "#]],
    );
    check(
        &[Link("up", ".."), File("up/outside", "stays in"), Link("abs", "/"), File("abs/etc/x", "stays in")],
        expect![[r#"
            / 755 0:0
            /abs 777 1:2 -> /
            /etc 755 0:0
            /etc/x 4755 1:2 "stays in" links=1
            /outside 4755 1:2 "stays in" links=1
            /up 777 1:2 -> ..
        "#]],
    );
    check(
        &[Link("up", ".."), Hard("mine", "up/../outside")],
        expect![[r#"
            layer entry "up/../outside": its path climbs with `..`, which layers must not
        "#]],
    );
    check(
        &[Hard("mine", "nowhere")],
        expect![[r#"
            layer entry "mine": it is a hard link to "nowhere", which is not in this layer
        "#]],
    );
    check(
        &[Link("loop", "loop"), File("loop/x", "")],
        expect![[r#"
            layer entry "loop/x": opening the parent of: ELOOP: Too many symbolic links encountered
        "#]],
    );
    check(
        &[File("a/.wh...", "")],
        expect![[r#"
            layer entry "a/.wh...": it is a whiteout of nothing
        "#]],
    );
}

#[test]
fn attributes_reach_the_file_and_steering_ones_do_not() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: unpacking needs root");
        return;
    }
    let capability = b"\x01\0\0\x02\x0a\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0";
    let mut builder = Builder::new(Vec::new());
    builder
        .append_pax_extensions([
            ("SCHILY.xattr.security.capability", &capability[..]),
            ("SCHILY.xattr.user.note", b"hi"),
            ("SCHILY.xattr.trusted.overlay.redirect", b"/etc"),
        ])
        .unwrap();
    let mut header = Header::new_ustar();
    header.set_size(1);
    header.set_mode(0o755);
    header.set_uid(5);
    header.set_gid(5);
    header.set_mtime(77);
    builder.append_data(&mut header, "ping", &b"x"[..]).unwrap();
    let data = builder.into_inner().unwrap();
    let dir = tempfile::tempdir().unwrap();
    unpack(&mut TarReader::new(&data[..]), dir.path(), &Budget::default()).unwrap();
    let ping = dir.path().join("ping");
    assert_eq!(xattr::get(&ping, "security.capability").unwrap().unwrap(), capability);
    assert_eq!(xattr::get(&ping, "user.note").unwrap().unwrap(), b"hi");
    assert_eq!(xattr::get(&ping, "trusted.overlay.redirect").unwrap(), None);
    assert_eq!(fs::metadata(&ping).unwrap().mtime(), 77);
}

#[test]
fn directories_keep_their_times() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: unpacking needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    try_unpack(&[Dir("d/", 0o755), Dir("d/e/", 0o555), File("d/e/f", "x"), File("d/late", "x")], dir.path()).unwrap();
    for path in ["d", "d/e", "d/e/f"] {
        assert_eq!(fs::metadata(dir.path().join(path)).unwrap().mtime(), 1_000_000, "{path}");
    }
}

#[test]
fn a_directory_that_was_replaced_gives_nobody_its_time() {
    if !nix::unistd::geteuid().is_root() {
        println!("SKIPPED: unpacking needs root");
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let lines = [Dir("d/", 0o755), Dir("d/e/", 0o755), Dir("d.d/", 0o755), File("d", "x"), File("d.d/late", "x")];
    try_unpack(&lines, dir.path()).unwrap();
    assert!(fs::metadata(dir.path().join("d")).unwrap().is_file());
    assert_eq!(fs::metadata(dir.path().join("d.d")).unwrap().mtime(), 1_000_000);
}

#[test]
fn a_bomb_is_stopped_by_its_budget() {
    let budget = Budget { bytes: AtomicU64::new(10), files: AtomicU64::new(2), directory_names: AtomicU64::new(10) };
    let dir = tempfile::tempdir().unwrap();
    let data = archive(&[File("a", "12345678901")]);
    let error = unpack(&mut TarReader::new(&data[..]), dir.path(), &budget).unwrap_err();
    assert_eq!(error.to_string(), "the image is larger than the limit of 64 GiB unpacked");
    let data = archive(&[File("a", ""), File("b", "")]);
    let error = unpack(&mut TarReader::new(&data[..]), dir.path(), &budget).unwrap_err();
    assert_eq!(error.to_string(), "the image is larger than the limit of 4000000 files");
    // Directories that nobody names are made all the same.
    let budget = Budget { files: AtomicU64::new(4), ..Budget::default() };
    let data = archive(&[File("c/d/e/f", ""), File("c/d/e/g/h", "")]);
    let error = unpack(&mut TarReader::new(&data[..]), dir.path(), &budget).unwrap_err();
    assert_eq!(error.to_string(), "the image is larger than the limit of 4000000 files");
    let budget = Budget { directory_names: AtomicU64::new(10), ..Budget::default() };
    let data = archive(&[Dir("12345/", 0o755), Dir("12345/", 0o755), Dir("67890/", 0o755), Dir("1/", 0o755)]);
    let error = unpack(&mut TarReader::new(&data[..]), dir.path(), &budget).unwrap_err();
    assert_eq!(error.to_string(), "the image is larger than the limit of 256 MiB of names of directories");
}
