//! The kernel's table of this process' mounts. Names in it are bytes of no particular encoding: whoever may make a folder
//! that is bound somewhere has chosen some of them.

use std::{ffi::OsString, fs, io, os::unix::ffi::OsStringExt, path::PathBuf};

pub const FILE: &str = "/proc/self/mountinfo";

/// One mount.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    pub mount_point: PathBuf,
    pub filesystem: String,
    /// Options of the filesystem, as opposed to those of the mount.
    pub options: String,
}

/// The mounts of this process, the latest last.
pub fn read() -> io::Result<Vec<Entry>> {
    Ok(parse(&fs::read(FILE)?))
}

/// Reads the content of a `mountinfo` file (proc_pid_mountinfo(5)).
pub fn parse(table: &[u8]) -> Vec<Entry> {
    table.split(|&byte| byte == b'\n').filter_map(entry).collect()
}

fn entry(line: &[u8]) -> Option<Entry> {
    /// Optional fields come from here on, and a hyphen after them.
    const OPTIONAL: usize = 6;
    let fields: Vec<&[u8]> = line.split(|&byte| byte == b' ').collect();
    let hyphen = OPTIONAL + fields.get(OPTIONAL..)?.iter().position(|field| *field == b"-")?;
    let text = |index: usize| Some(String::from_utf8_lossy(fields.get(index)?).into_owned());
    Some(Entry {
        mount_point: OsString::from_vec(unescape(fields[4])).into(),
        filesystem: text(hyphen + 1)?,
        options: text(hyphen + 3)?,
    })
}

/// The kernel writes space, tab, newline and backslash as three octal digits.
fn unescape(field: &[u8]) -> Vec<u8> {
    let mut plain = Vec::with_capacity(field.len());
    let mut rest = field;
    while let [first, more @ ..] = rest {
        let (byte, after) = match (first, more) {
            (b'\\', [a @ b'0'..=b'3', b @ b'0'..=b'7', c @ b'0'..=b'7', after @ ..]) => {
                (((a - b'0') << 6) | ((b - b'0') << 3) | (c - b'0'), after)
            }
            _ => (*first, more),
        };
        plain.push(byte);
        rest = after;
    }
    plain
}

#[cfg(test)]
mod tests {
    use std::os::unix::ffi::OsStrExt;

    use super::*;

    #[test]
    fn names_are_read_as_the_kernel_writes_them() {
        let table = b"24 1 0:21 / /proc rw - proc proc rw\n\
            36 24 98:0 / /a\\040b rw shared:1 master:2 - ext4 /dev/x rw,discard\n\
            37 36 98:0 /\xff /a\\040b/c\\134\xfe rw - ext4 /dev/x rw\n\
            nonsense\n\
            30 1 0:24 / /sys/fs/cgroup rw,relatime - cgroup2 cgroup2 rw,nsdelegate\n";
        let found: Vec<_> = parse(table)
            .iter()
            .map(|entry| {
                let point = entry.mount_point.as_os_str().as_bytes().to_vec();
                (point, entry.filesystem.clone(), entry.options.clone())
            })
            .collect();
        let entry =
            |point: &[u8], filesystem: &str, options: &str| (point.to_vec(), filesystem.to_owned(), options.to_owned());
        assert_eq!(
            found,
            [
                entry(b"/proc", "proc", "rw"),
                entry(b"/a b", "ext4", "rw,discard"),
                entry(b"/a b/c\\\xfe", "ext4", "rw"),
                entry(b"/sys/fs/cgroup", "cgroup2", "rw,nsdelegate"),
            ]
        );
    }
}
