//! What the OCI spec of typical containers looks like, whole.
#![allow(clippy::unwrap_used)]

use expect_test::{Expect, expect};

use super::*;
use crate::{
    cgroup::Cgroups,
    mountinfo,
    spec::{Mount, User},
};

fn around() -> Surroundings {
    let cgroups = Cgroups::among(mountinfo::parse(
        b"31 30 0:25 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n\
         32 30 0:26 / /sys/fs/cgroup/pids rw - cgroup cgroup rw,pids\n\
         33 30 0:27 / /sys/fs/cgroup/unified rw - cgroup2 cgroup2 rw\n",
    ));
    Surroundings {
        rootfs: "/run/c/rootfs".into(),
        cgroup: "/kontiki/pod1/web-0".into(),
        hostname: "web".into(),
        network_namespace: Some("/run/netns/web".into()),
        ipc_namespace: Some("/proc/7/ns/ipc".into()),
        uts_namespace: Some("/proc/7/ns/uts".into()),
        pid_namespace: PidNamespace::Own,
        shared_memory: "/run/s/shm".into(),
        identity: Identity { uid: 0, gid: 0, groups: vec![0], home: "/root".into() },
        seccomp_profile: None,
        machine: Machine {
            capabilities: parse_capability_set("1fffeffffff").unwrap(),
            oom_score_adj: 0,
            cgroup_hierarchies: cgroups.hierarchies().to_vec(),
            cgroup_unified: cgroups.unified(),
            devices: vec![Device {
                path: "/dev/vda".into(),
                kind: 'b',
                major: 254,
                minor: 0,
                mode: 0o660,
                uid: 0,
                gid: 6,
            }],
        },
    }
}

fn container() -> ContainerSpec {
    ContainerSpec {
        id: "web-0".into(),
        image: "sha256:0".into(),
        args: vec!["httpd".into(), "-f".into()],
        env: vec![("A".into(), "1".into())],
        cwd: String::new(),
        user: User::default(),
        mounts: Vec::new(),
        resources: Resources::default(),
        privileged: false,
        read_only_root: false,
        no_new_privileges: false,
        capabilities_add: Vec::new(),
        capabilities_drop: Vec::new(),
        seccomp: Seccomp::Unconfined,
        stdin: false,
        stdin_once: false,
        tty: false,
        log_path: "/var/log/0.log".into(),
        stop_signal: None,
        process_namespace_of: None,
    }
}

/// Compares the part of the built spec at `pointer`, and the warnings.
fn check(container: &ContainerSpec, around: &Surroundings, pointer: &str, expected: Expect) {
    let built = build(container, around).unwrap();
    let spec = serde_json::to_value(&built.spec).unwrap();
    let mut text = serde_json::to_string_pretty(&sorted(spec.pointer(pointer).unwrap())).unwrap();
    for warning in built.warnings {
        text.push_str(&format!("\nwarning: {warning}"));
    }
    expected.assert_eq(&text);
}

/// Capabilities are a set, and come in any order.
fn sorted(value: &Value) -> Value {
    match value {
        Value::Array(list) if list.iter().all(|item| item.as_str().is_some_and(|text| text.starts_with("CAP_"))) => {
            let mut list = list.clone();
            list.sort_by_key(Value::to_string);
            Value::Array(list)
        }
        Value::Array(list) => list.iter().map(sorted).collect(),
        Value::Object(map) => map.iter().map(|(key, value)| (key.clone(), sorted(value))).collect(),
        other => other.clone(),
    }
}

#[test]
fn a_plain_container() {
    check(
        &container(),
        &around(),
        "",
        expect![[r#"
        {
          "ociVersion": "1.2.0",
          "root": {
            "path": "/run/c/rootfs",
            "readonly": false
          },
          "mounts": [
            {
              "destination": "/proc",
              "type": "proc",
              "source": "proc",
              "options": [
                "nosuid",
                "noexec",
                "nodev"
              ]
            },
            {
              "destination": "/dev",
              "type": "tmpfs",
              "source": "tmpfs",
              "options": [
                "nosuid",
                "strictatime",
                "mode=755",
                "size=65536k"
              ]
            },
            {
              "destination": "/dev/pts",
              "type": "devpts",
              "source": "devpts",
              "options": [
                "nosuid",
                "noexec",
                "newinstance",
                "ptmxmode=0666",
                "mode=0620",
                "gid=5"
              ]
            },
            {
              "destination": "/dev/mqueue",
              "type": "mqueue",
              "source": "mqueue",
              "options": [
                "nosuid",
                "noexec",
                "nodev"
              ]
            },
            {
              "destination": "/dev/shm",
              "type": "bind",
              "source": "/run/s/shm",
              "options": [
                "bind",
                "nosuid",
                "noexec",
                "nodev"
              ]
            },
            {
              "destination": "/sys",
              "type": "sysfs",
              "source": "sysfs",
              "options": [
                "nosuid",
                "noexec",
                "nodev",
                "ro"
              ]
            },
            {
              "destination": "/sys/fs/cgroup",
              "type": "tmpfs",
              "source": "tmpfs",
              "options": [
                "nosuid",
                "noexec",
                "nodev",
                "mode=755",
                "size=4k"
              ]
            },
            {
              "destination": "/sys/fs/cgroup/memory",
              "type": "bind",
              "source": "/sys/fs/cgroup/memory/kontiki/pod1/web-0",
              "options": [
                "bind",
                "nosuid",
                "noexec",
                "nodev",
                "relatime",
                "ro"
              ]
            },
            {
              "destination": "/sys/fs/cgroup/pids",
              "type": "bind",
              "source": "/sys/fs/cgroup/pids/kontiki/pod1/web-0",
              "options": [
                "bind",
                "nosuid",
                "noexec",
                "nodev",
                "relatime",
                "ro"
              ]
            }
          ],
          "process": {
            "terminal": false,
            "user": {
              "uid": 0,
              "gid": 0,
              "additionalGids": [
                0
              ]
            },
            "args": [
              "httpd",
              "-f"
            ],
            "env": [
              "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
              "HOSTNAME=web",
              "A=1",
              "HOME=/root"
            ],
            "cwd": "/",
            "capabilities": {
              "bounding": [
                "CAP_AUDIT_WRITE",
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_KILL",
                "CAP_MKNOD",
                "CAP_NET_BIND_SERVICE",
                "CAP_NET_RAW",
                "CAP_SETFCAP",
                "CAP_SETGID",
                "CAP_SETPCAP",
                "CAP_SETUID",
                "CAP_SYS_CHROOT"
              ],
              "effective": [
                "CAP_AUDIT_WRITE",
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_KILL",
                "CAP_MKNOD",
                "CAP_NET_BIND_SERVICE",
                "CAP_NET_RAW",
                "CAP_SETFCAP",
                "CAP_SETGID",
                "CAP_SETPCAP",
                "CAP_SETUID",
                "CAP_SYS_CHROOT"
              ],
              "inheritable": [],
              "permitted": [
                "CAP_AUDIT_WRITE",
                "CAP_CHOWN",
                "CAP_DAC_OVERRIDE",
                "CAP_FOWNER",
                "CAP_FSETID",
                "CAP_KILL",
                "CAP_MKNOD",
                "CAP_NET_BIND_SERVICE",
                "CAP_NET_RAW",
                "CAP_SETFCAP",
                "CAP_SETGID",
                "CAP_SETPCAP",
                "CAP_SETUID",
                "CAP_SYS_CHROOT"
              ],
              "ambient": []
            },
            "oomScoreAdj": 0
          },
          "linux": {
            "resources": {
              "devices": [
                {
                  "allow": false,
                  "access": "rwm"
                }
              ]
            },
            "cgroupsPath": "/kontiki/pod1/web-0",
            "namespaces": [
              {
                "type": "mount"
              },
              {
                "type": "pid"
              },
              {
                "type": "network",
                "path": "/run/netns/web"
              },
              {
                "type": "ipc",
                "path": "/proc/7/ns/ipc"
              },
              {
                "type": "uts",
                "path": "/proc/7/ns/uts"
              }
            ],
            "rootfsPropagation": "slave",
            "maskedPaths": [
              "/proc/acpi",
              "/proc/asound",
              "/proc/interrupts",
              "/proc/kcore",
              "/proc/keys",
              "/proc/latency_stats",
              "/proc/sched_debug",
              "/proc/scsi",
              "/proc/timer_list",
              "/proc/timer_stats",
              "/sys/devices/virtual/powercap",
              "/sys/firmware"
            ],
            "readonlyPaths": [
              "/proc/bus",
              "/proc/fs",
              "/proc/irq",
              "/proc/sys",
              "/proc/sysrq-trigger"
            ]
          }
        }"#]],
    );
}

#[test]
fn a_privileged_container() {
    let container = ContainerSpec { privileged: true, ..container() };
    check(
        &container,
        &around(),
        "/linux",
        expect![[r#"
        {
          "resources": {
            "devices": [
              {
                "allow": true,
                "access": "rwm"
              }
            ]
          },
          "cgroupsPath": "/kontiki/pod1/web-0",
          "namespaces": [
            {
              "type": "mount"
            },
            {
              "type": "pid"
            },
            {
              "type": "network",
              "path": "/run/netns/web"
            },
            {
              "type": "ipc",
              "path": "/proc/7/ns/ipc"
            },
            {
              "type": "uts",
              "path": "/proc/7/ns/uts"
            }
          ],
          "devices": [
            {
              "path": "/dev/vda",
              "type": "b",
              "major": 254,
              "minor": 0,
              "fileMode": 432,
              "uid": 0,
              "gid": 6
            }
          ],
          "rootfsPropagation": "slave"
        }"#]],
    );
}

#[test]
fn a_confined_process() {
    let mut around = around();
    around.identity = Identity { uid: 1000, gid: 100, groups: vec![10, 100], home: "/home/web".into() };
    around.machine.capabilities.remove("CAP_NET_RAW");
    let container = ContainerSpec {
        cwd: "/srv".into(),
        tty: true,
        no_new_privileges: true,
        capabilities_add: vec!["NET_RAW".into(), "SYS_TIME".into()],
        capabilities_drop: vec!["ALL".into()],
        resources: Resources { oom_score_adj: Some(-998), ..Resources::default() },
        env: vec![("HOME".into(), "/tmp".into()), ("PATH".into(), "/bin".into())],
        ..container()
    };
    check(
        &container,
        &around,
        "/process",
        expect![[r#"
        {
          "terminal": true,
          "user": {
            "uid": 1000,
            "gid": 100,
            "additionalGids": [
              10,
              100
            ]
          },
          "args": [
            "httpd",
            "-f"
          ],
          "env": [
            "HOSTNAME=web",
            "TERM=xterm",
            "HOME=/tmp",
            "PATH=/bin"
          ],
          "cwd": "/srv",
          "capabilities": {
            "bounding": [
              "CAP_SYS_TIME"
            ],
            "effective": [
              "CAP_SYS_TIME"
            ],
            "inheritable": [],
            "permitted": [
              "CAP_SYS_TIME"
            ],
            "ambient": []
          },
          "noNewPrivileges": true,
          "oomScoreAdj": 0
        }
        warning: not given, because this machine does not allow it: CAP_NET_RAW
        warning: oom_score_adj is 0 instead of -998: lowering it takes CAP_SYS_RESOURCE"#]],
    );
}

#[test]
fn limits_and_shared_namespaces() {
    let mut around = around();
    around.machine.cgroup_unified = true;
    around.network_namespace = None;
    around.ipc_namespace = None;
    around.uts_namespace = None;
    around.pid_namespace = PidNamespace::Joined("/proc/8/ns/pid".into());
    let container = ContainerSpec {
        resources: Resources {
            cpu_shares: Some(102),
            cpu_quota_us: Some(10_000),
            cpu_period_us: Some(100_000),
            memory_bytes: Some(1 << 26),
            pids: Some(64),
            oom_score_adj: None,
        },
        ..container()
    };
    check(
        &container,
        &around,
        "/linux/namespaces",
        expect![[r#"
        [
          {
            "type": "mount"
          },
          {
            "type": "pid",
            "path": "/proc/8/ns/pid"
          },
          {
            "type": "cgroup"
          }
        ]"#]],
    );
    check(
        &container,
        &around,
        "/linux/resources",
        expect![[r#"
        {
          "devices": [
            {
              "allow": false,
              "access": "rwm"
            }
          ],
          "memory": {
            "limit": 67108864
          },
          "cpu": {
            "shares": 102,
            "quota": 10000,
            "period": 100000
          },
          "pids": {
            "limit": 64
          }
        }"#]],
    );
    check(
        &container,
        &around,
        "/mounts/6",
        expect![[r#"
        {
          "destination": "/sys/fs/cgroup",
          "type": "cgroup",
          "source": "cgroup",
          "options": [
            "nosuid",
            "noexec",
            "nodev",
            "relatime",
            "ro"
          ]
        }"#]],
    );
}

#[test]
fn own_mounts_replace_standard_ones_and_come_outer_first() {
    let mount = |source: &str, destination: &str, read_only, propagation| Mount {
        source: source.into(),
        destination: destination.into(),
        read_only,
        recursive_read_only: destination == "/data/c",
        propagation,
    };
    let container = ContainerSpec {
        mounts: vec![
            mount("/v/inner", "/data/a/b", true, Propagation::HostToContainer),
            mount("/v/shm", "/dev/shm", false, Propagation::Private),
            mount("/v/outer", "/data", false, Propagation::Bidirectional),
            mount("/v/deep", "/data/c", true, Propagation::Private),
        ],
        ..container()
    };
    let spec = build(&container, &around()).unwrap().spec;
    let mounts: Vec<String> = spec
        .mounts()
        .iter()
        .flatten()
        .map(|mount| {
            let options = mount.options().clone().unwrap_or_default().join(",");
            format!("{} {options}", mount.destination().display())
        })
        .collect();
    assert_eq!(mounts.iter().filter(|mount| mount.starts_with("/dev/shm ")).count(), 1);
    assert_eq!(
        mounts[mounts.len() - 4..],
        [
            "/data rbind,rshared,rw",
            "/dev/shm rbind,rprivate,rw",
            "/data/c rbind,rprivate,rro",
            "/data/a/b rbind,rslave,ro",
        ]
    );
    assert_eq!(spec.linux().as_ref().unwrap().rootfs_propagation().as_deref(), Some("shared"));
}

#[test]
fn faults_are_told() {
    let check = |container: ContainerSpec, kind, message: &str| {
        let failure = build(&container, &around()).unwrap_err();
        assert_eq!((failure.kind, failure.message.as_str()), (kind, message));
    };
    check(ContainerSpec { args: vec![], ..container() }, FailureKind::InvalidSpec, "no command specified");
    check(
        ContainerSpec { capabilities_add: vec!["FLY".into()], ..container() },
        FailureKind::InvalidSpec,
        "unknown capability \"FLY\"",
    );
    check(
        ContainerSpec { seccomp: Seccomp::Localhost("p.json".into()), ..container() },
        FailureKind::InvalidSpec,
        "cannot load seccomp profile \"p.json\"",
    );
}

#[test]
fn users_are_looked_up_in_the_image() {
    let accounts = Accounts {
        passwd: "root:x:0:0:root:/root:/bin/sh\nweb:x:33:34:web:/srv:/bin/false\nbroken line\n\
                 minus:x:4294967295:0::/:\nlast:x:50:50::/:\n"
            .into(),
        group: "root:x:0:\nwww:x:34:\nlogs:x:40:web,other\nnone:x:4294967295:last\n".into(),
    };
    let find_as = |user: User| match Identity::find(&user, &accounts) {
        Ok(identity) => format!("{}:{} {:?} {}", identity.uid, identity.gid, identity.groups, identity.home),
        Err(failure) => format!("{:?}: {failure}", failure.kind),
    };
    let user = |user: &str, group: Option<u32>, more: &[u32]| User {
        user: user.into(),
        group,
        additional_groups: more.to_vec(),
        strict_groups: false,
    };
    let find = |name: &str, group: Option<u32>, more: &[u32]| find_as(user(name, group, more));
    assert_eq!(find("", None, &[]), "0:0 [0] /root");
    assert_eq!(find("web", None, &[7]), "33:34 [7, 34, 40] /srv");
    assert_eq!(find("33", None, &[]), "33:34 [34, 40] /srv");
    assert_eq!(find("33", Some(5), &[]), "33:5 [5, 40] /srv");
    assert_eq!(find("web:logs", None, &[]), "33:40 [40] /srv");
    assert_eq!(find("web:9", None, &[]), "33:9 [9, 40] /srv");
    assert_eq!(find("1234", None, &[1]), "1234:0 [0, 1] /");
    assert_eq!(find_as(User { strict_groups: true, ..user("web", None, &[7]) }), "33:34 [7, 34] /srv");
    // -1 is "leave it as it is" to the kernel: the process would stay root.
    for (name, group, more) in [
        ("4294967295", None, vec![]),
        ("2147483648", None, vec![]),
        ("minus", None, vec![]),
        ("33:4294967295", None, vec![]),
        ("33:none", None, vec![]),
        ("33", Some(u32::MAX), vec![]),
        ("33", None, vec![u32::MAX]),
        ("last", None, vec![]),
    ] {
        assert_eq!(find(name, group, &more), "BadUser: uids and gids must be in range 0-2147483647", "{name}");
    }
    assert_eq!(find("2147483647", None, &[]), "2147483647:0 [0] /");
    assert_eq!(
        find("nobody", None, &[]),
        "BadUser: unable to find user nobody: no matching entries in the image's /etc/passwd"
    );
    assert_eq!(
        find("web:nogroup", None, &[]),
        "BadUser: unable to find group nogroup: no matching entries in the image's /etc/group"
    );
}

#[test]
fn a_command_in_a_container_is_like_its_process() {
    let spec = build(&container(), &around()).unwrap().spec;
    let process = exec_process(&spec, &["sh".into()], &[("A".into(), "2".into())], true).unwrap();
    assert_eq!(process["args"], json!(["sh"]));
    assert_eq!(process["terminal"], json!(true));
    assert_eq!(process["env"], json!([PATH_DEFAULT, "HOSTNAME=web", "HOME=/root", "A=2", "TERM=xterm"]));
    assert_eq!(exec_process(&spec, &[], &[], false).unwrap_err().message, "no command specified");
}
