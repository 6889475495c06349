#![allow(clippy::unwrap_used)]
use std::{fs, os::unix::fs::PermissionsExt as _};

use super::*;

fn names(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

#[test]
fn what_was_issued_is_kept() {
    let dir = tempfile::tempdir().unwrap();
    let first = Pki::open(dir.path()).unwrap();
    let server = first.server(&names(&["localhost", "127.0.0.1", "::1"])).unwrap();
    let token_key = first.token_key().unwrap();
    let second = Pki::open(dir.path()).unwrap();
    assert_eq!(second.ca_pem(), first.ca_pem());
    assert_eq!(second.token_key().unwrap(), token_key);
    let again = second.server(&names(&["::1", "localhost", "127.0.0.1"])).unwrap();
    assert_eq!(again.certificate_pem, server.certificate_pem);
    let other = second.server(&names(&["localhost", "10.0.0.1"])).unwrap();
    assert_ne!(other.certificate_pem, server.certificate_pem, "other names, other certificate");
}

#[test]
fn every_file_is_for_its_owner_alone() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(&dir.path().join("pki")).unwrap();
    let node = pki.node("n-1", &["10.0.0.7".parse().unwrap()]).unwrap();
    let admin = pki.admin().unwrap();
    for path in [&pki.ca_path(), &admin.key_path, &admin.certificate_path, &node.server.key_path] {
        assert_eq!(fs::metadata(path).unwrap().permissions().mode() & 0o777, 0o600, "{path:?}");
    }
    assert_eq!(fs::metadata(dir.path().join("pki")).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn a_crash_between_key_and_certificate_is_healed() {
    let dir = tempfile::tempdir().unwrap();
    let before = Pki::open(dir.path()).unwrap();
    let admin = before.admin().unwrap();
    fs::remove_file(before.ca_path()).unwrap();
    fs::write(dir.path().join("ca.crt.new"), "-----BEGIN CERT").unwrap();
    let after = Pki::open(dir.path()).unwrap();
    assert!(!dir.path().join("ca.crt.new").exists());
    assert_eq!(after.admin().unwrap().certificate_pem, admin.certificate_pem, "signed by the same key: still good");
    fs::remove_file(&admin.certificate_path).unwrap();
    assert_ne!(after.admin().unwrap().certificate_pem, admin.certificate_pem);
}

#[test]
fn a_damaged_ca_is_never_replaced() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    let key = fs::read(dir.path().join("ca.key")).unwrap();
    fs::remove_file(dir.path().join("ca.key")).unwrap();
    assert!(matches!(Pki::open(dir.path()), Err(PkiError::KeyMissing { .. })));
    fs::write(dir.path().join("ca.key"), new_key("other").unwrap().serialize_pem()).unwrap();
    assert!(matches!(Pki::open(dir.path()), Err(PkiError::Mismatch { .. })));
    fs::write(dir.path().join("ca.key"), "no key").unwrap();
    assert!(matches!(Pki::open(dir.path()), Err(PkiError::Key { .. })));
    fs::write(dir.path().join("ca.key"), key).unwrap();
    assert_eq!(Pki::open(dir.path()).unwrap().ca_pem(), pki.ca_pem());
}

#[test]
fn a_node_name_cannot_leave_the_directory() {
    let dir = tempfile::tempdir().unwrap();
    let pki = Pki::open(dir.path()).unwrap();
    for name in ["", "..", "../admin", "a/b", ".hidden"] {
        assert!(matches!(pki.node(name, &[]), Err(PkiError::Name(_))), "{name}");
    }
}
