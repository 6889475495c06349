//! Secrets encrypted where they are stored, on three servers: nothing of them in any file, keys that change without a restart,
//! and what is told when one is lost.

use std::{
    fs,
    io::Write as _,
    path::Path,
    process::{Command, Stdio},
};

use serde_json::json;

use crate::harness::{succeed, text, wait};
use crate::servers::Servers;

const NAMES: [&str; 3] = ["one", "two", "three"];
/// As Secrets hold them in base64; nothing in them repeats, so that compression leaves them as they are.
const HIDDEN: &str = "UTdyJFZ6MnhLI205THdANHRCcDhuRGNeMXNGZyY2aEpj";
const OPEN: &str = "b1BlTjIjeFY5JGtMN0BtUTRedFI4Jm5XMXpGNmhKM2NE";

fn configure(servers: &Servers, keys: &[&str]) {
    let key = |name: &&str| {
        let secret = match *name {
            "first" => "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=",
            _ => "ZmVkY2JhOTg3NjU0MzIxMGZlZGNiYTk4NzY1NDMyMTA=",
        };
        format!("      - {{name: {name}, secret: {secret}}}\n")
    };
    let keys: String = keys.iter().map(key).collect();
    let text = format!(
        "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n- resources: [secrets]\n  \
         providers:\n  - aescbc:\n      keys:\n{keys}  - identity: {{}}\n"
    );
    fs::write(servers.dir.path().join("encryption.yaml"), text).unwrap();
}

/// How often a server has said that it read the configuration anew.
fn reread(servers: &Servers, name: &str) -> usize {
    servers.log(name).matches("the encryption configuration was read anew").count()
}

/// Another configuration, taken by all.
fn change(servers: &Servers, keys: &[&str]) {
    let before = NAMES.map(|name| reread(servers, name));
    configure(servers, keys);
    wait("every server to read the configuration", || {
        let now = NAMES.map(|name| reread(servers, name));
        if now.iter().zip(before).all(|(now, before)| *now > before) { Ok(()) } else { Err(format!("{now:?}")) }
    });
}

fn found(dir: &Path, text: &str) -> Vec<String> {
    let mut grep = Command::new("grep");
    let output = grep.args(["--recursive", "--files-with-matches", "--text", "-F", text]).arg(dir).output().unwrap();
    String::from_utf8(output.stdout).unwrap().lines().map(str::to_owned).collect()
}

#[test]
fn secrets_are_in_no_file_in_clear_and_their_keys_are_changed_while_three_servers_run() {
    let flags = [
        "--encryption-provider-config",
        "encryption.yaml",
        "--encryption-provider-config-automatic-reload",
        "--controllers=false",
    ];
    let mut servers = Servers::prepare(&flags);
    configure(&servers, &["first"]);
    servers.begin(&NAMES);
    let object = |kind: &str, value: &str| json!({"apiVersion": "v1", "kind": kind, "metadata": {"name": "object"}, "data": {"v": value}});
    let objects =
        json!({"apiVersion": "v1", "kind": "List", "items": [object("Secret", HIDDEN), object("ConfigMap", OPEN)]});
    fs::write(servers.dir.path().join("objects.json"), objects.to_string()).unwrap();
    succeed(&mut servers.kubectl("two", &["create", "-f", "objects.json"]));
    let read = |servers: &Servers, name: &str| {
        succeed(&mut servers.kubectl(name, &["get", "secret", "object", "-o", "jsonpath={.data.v}"]))
    };
    for name in NAMES {
        let named = || {
            let kubeconfig = fs::read_to_string(servers.data(name).join("kubeconfig")).unwrap_or_default();
            if kubeconfig.contains(&format!("current-context: {name}"))
                || kubeconfig.contains(&format!("- name: {name}"))
            {
                Ok(())
            } else {
                Err(kubeconfig)
            }
        };
        wait("a server's kubeconfig to name it", named);
        assert_eq!(read(&servers, name), HIDDEN, "{name}");
    }
    let kubeconfig = servers.data("one").join("kubeconfig");
    succeed(servers.kontiki(&["snapshot", "save", "all.snapshot", "--kubeconfig"]).arg(&kubeconfig));
    let inspected = succeed(&mut servers.kontiki(&["snapshot", "inspect", "all.snapshot"]));
    assert!(inspected.contains("secrets"), "what a snapshot holds is told without a key: {inspected}");
    fs::remove_file(servers.dir.path().join("objects.json")).unwrap();
    assert_eq!(found(servers.dir.path(), HIDDEN), Vec::<String>::new());
    for name in NAMES {
        assert!(!found(&servers.data(name), OPEN).is_empty(), "{name} has what is not encrypted");
        assert!(!found(&servers.data(name), "k8s:enc:aescbc:v1:first:").is_empty(), "{name} has what is");
    }

    change(&servers, &["first", "second"]);
    change(&servers, &["second", "first"]);
    let secrets = succeed(&mut servers.kubectl("three", &["get", "secrets", "-A", "-o", "json"]));
    let mut replace = servers.kubectl("three", &["replace", "-f", "-"]).stdin(Stdio::piped()).spawn().unwrap();
    replace.stdin.take().unwrap().write_all(secrets.as_bytes()).unwrap();
    assert!(replace.wait().unwrap().success());
    change(&servers, &["second"]);
    for name in NAMES {
        assert_eq!(read(&servers, name), HIDDEN, "{name}, without the first key");
    }

    change(&servers, &["first"]);
    let refused = servers.kubectl("one", &["get", "secret", "object"]).output().unwrap();
    assert!(
        text(&refused).contains("unable to transform key \"/registry/secrets/default/object\""),
        "{}",
        text(&refused)
    );
    assert!(text(&refused).contains("key \"second\" of aescbc"), "{}", text(&refused));
    succeed(&mut servers.kubectl("one", &["get", "configmap", "object"]));
    servers.signal("three", "-KILL");
    servers.again("three");
    servers.wait_ready("three");
    wait("the warning of a server that lacks a key", || {
        let log = servers.log("three");
        if log.contains("encrypted objects cannot be read") { Ok(()) } else { Err(log) }
    });
    change(&servers, &["first", "second"]);
    assert_eq!(read(&servers, "three"), HIDDEN);
    assert!(NAMES.iter().all(|name| !servers.log(name).contains("MDEyMzQ1Njc4")), "no key is logged");
    assert_eq!(found(servers.dir.path(), HIDDEN), Vec::<String>::new());
}
