//! Archives of GNU tar in every format it has, and archives that lie.
#![allow(clippy::unwrap_used)]
use std::process::{Command, Stdio};

use super::*;

fn header(name: &str, kind: EntryType, size: u64) -> Header {
    let mut header = Header::new_gnu();
    header.set_path(name).unwrap();
    header.set_entry_type(kind);
    header.set_mode(0o644);
    header.set_uid(0);
    header.set_gid(0);
    header.set_mtime(0);
    header.set_size(size);
    header.set_cksum();
    header
}

fn archive(parts: &[(Header, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (header, data) in parts {
        out.extend_from_slice(header.as_bytes());
        out.extend_from_slice(data);
        out.resize(out.len().next_multiple_of(512), 0);
    }
    out.extend_from_slice(&[0; 1024]);
    out
}

fn pax(records: &[(&str, &[u8])]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in records {
        let rest = key.len() + value.len() + 3;
        let mut length = rest + rest.to_string().len();
        length = rest + length.to_string().len();
        out.extend_from_slice(format!("{length} {key}=").as_bytes());
        out.extend_from_slice(value);
        out.push(b'\n');
    }
    out
}

fn read_all(data: &[u8]) -> Result<Vec<(Entry, Vec<u8>)>, ImageError> {
    let mut reader = TarReader::new(data);
    let mut entries = Vec::new();
    while let Some(entry) = reader.next_entry()? {
        let mut content = Vec::new();
        let mut buffer = [0; 100];
        loop {
            match reader.read_data(&mut buffer)? {
                0 => break,
                n => content.extend_from_slice(&buffer[..n]),
            }
        }
        entries.push((entry, content));
    }
    Ok(entries)
}

#[test]
fn pax_values_may_hold_newlines() {
    let records = pax(&[
        ("SCHILY.xattr.security.capability", b"\x01\0\0\x02\n\0\0\0\n"),
        ("path", b"a/long/name"),
        ("mtime", b"12.5"),
        ("uid", b"70000"),
    ]);
    let data = archive(&[
        (header("x", EntryType::XHeader, records.len() as u64), &records),
        (header("short", EntryType::Regular, 3), b"abc"),
    ]);
    let (entry, content) = read_all(&data).unwrap().remove(0);
    assert_eq!(content, b"abc");
    assert_eq!(entry.path, b"a/long/name");
    assert_eq!((entry.mtime, entry.uid), ((12, 500_000_000), 70000));
    assert_eq!(entry.xattrs, [(b"security.capability".to_vec(), b"\x01\0\0\x02\n\0\0\0\n".to_vec())]);
}

#[test]
fn times_before_1970() {
    assert_eq!(pax_time(b"-1.25"), Some((-2, 750_000_000)));
    assert_eq!(pax_time(b"-3"), Some((-3, 0)));
    assert_eq!(pax_time(b"x"), None);
}

#[test]
fn cut_off_archives_are_found_out() {
    let data = archive(&[(header("a", EntryType::Regular, 600), &[7; 600]), (header("b", EntryType::Regular, 0), b"")]);
    assert_eq!(read_all(&data).unwrap().len(), 2);
    for cut in [300, 512, 700, 1536, 1600, 2048] {
        let error = read_all(&data[..cut]).unwrap_err();
        assert!(matches!(error, ImageError::Truncated(_)), "cut at {cut}: {error}");
    }
    assert!(read_all(&[]).unwrap().is_empty());
}

#[test]
fn what_is_not_tar_is_said_to_be_none() {
    let error = read_all(&[b'x'; 2048]).unwrap_err();
    assert!(matches!(error, ImageError::NotAnImage { .. }), "{error}");
    let mut data = archive(&[(header("a", EntryType::Regular, 0), b""), (header("b", EntryType::Regular, 0), b"")]);
    data[512] ^= 1;
    assert!(matches!(read_all(&data).unwrap_err(), ImageError::BadArchive(_)));
}

#[test]
fn an_extension_header_cannot_fill_the_memory() {
    let data = archive(&[(header("x", EntryType::XHeader, 1 << 40), b"")]);
    assert!(matches!(read_all(&data).unwrap_err(), ImageError::TooLarge { .. }));
}

/// Sparse files and long names as GNU tar writes them, in every format it has.
#[test]
fn archives_of_gnu_tar() {
    let dir = tempfile::tempdir().unwrap();
    let long = "n".repeat(120);
    let file = std::fs::File::create(dir.path().join(&long)).unwrap();
    use std::os::unix::fs::FileExt;
    for i in 0..40_u64 {
        file.write_all_at(&[b'a' + (i % 26) as u8; 4096], i * 1_000_000 / 4096 * 4096).unwrap();
    }
    file.set_len(50_000_000).unwrap();
    file.sync_all().unwrap();
    let expected = std::fs::read(dir.path().join(&long)).unwrap();
    for options in [
        &["--format=gnu", "--sparse"][..],
        &["--format=posix", "--sparse", "--sparse-version=0.0"],
        &["--format=posix", "--sparse", "--sparse-version=0.1"],
        &["--format=posix", "--sparse", "--sparse-version=1.0"],
        &["--format=gnu"],
        &["--format=posix"],
    ] {
        let output = Command::new("tar")
            .args(options)
            .args(["-cf", "-", &long])
            .current_dir(dir.path())
            .stderr(Stdio::inherit())
            .output()
            .unwrap();
        assert!(output.status.success());
        let (entry, content) = read_all(&output.stdout).unwrap().remove(0);
        assert_eq!(entry.path, long.as_bytes(), "{options:?}");
        assert_eq!(entry.size, 50_000_000, "{options:?}");
        let mut whole = vec![0; 50_000_000];
        match &entry.sparse {
            None => whole = content,
            Some(segments) => {
                let mut data = &content[..];
                for (offset, length) in segments {
                    let (offset, length) = (*offset as usize, *length as usize);
                    whole[offset..offset + length].copy_from_slice(&data[..length]);
                    data = &data[length..];
                }
                assert!(data.is_empty());
            }
        }
        assert_eq!(entry.sparse.is_some(), options.contains(&"--sparse"));
        assert!(whole == expected, "{options:?}: content differs");
    }
}
