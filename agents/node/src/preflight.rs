//! Why this machine, or this user on it, cannot run pods: found before anything is begun, told in words that help.

use std::{fs, path::Path};

use kontiki_runtime::mountinfo;
use nix::unistd::geteuid;

/// `None` if pods can run here; otherwise what is missing and what to do about it. Changes nothing.
/// `state_dir` is where images and volumes are going to be.
pub fn unable(state_dir: &Path) -> Option<String> {
    if !geteuid().is_root() {
        return Some(
            "running pods needs root (namespaces, mounts, cgroups and nftables): start kontiki with sudo".into(),
        );
    }
    let filesystems = fs::read_to_string("/proc/filesystems").unwrap_or_default();
    let mounts = mountinfo::read().map_err(|error| format!("reading {}: {error}", mountinfo::FILE));
    let modules = fs::read_to_string("/proc/modules").unwrap_or_default();
    let machine = Machine {
        filesystems: &filesystems,
        cgroups: mounts.map(|mounts| mounts.iter().any(|mount| matches!(&*mount.filesystem, "cgroup" | "cgroup2"))),
        modules: &modules,
        nf_tables: nf_tables_socket(),
        namespaces: ["net", "mnt", "pid", "ipc", "uts"]
            .iter()
            .all(|name| Path::new("/proc/self/ns").join(name).exists()),
        state_dir_writable: writable(state_dir),
        module_folder: Path::new("/lib/modules").exists(),
    };
    machine.problem().map(|problem| format!("this machine cannot run pods: {problem}"))
}

/// What the kernel says of itself.
#[derive(Clone)]
struct Machine<'a> {
    filesystems: &'a str,
    /// A hierarchy of them is mounted.
    cgroups: Result<bool, String>,
    modules: &'a str,
    nf_tables: bool,
    namespaces: bool,
    state_dir_writable: Result<(), String>,
    /// Modules can be loaded when they are needed.
    module_folder: bool,
}

impl Machine<'_> {
    fn problem(&self) -> Option<String> {
        if !self.namespaces {
            return Some("its kernel has no network, mount, PID, IPC or UTS namespaces".to_owned());
        }
        if !self.has_filesystem("overlay") && !self.module_folder {
            return Some("its kernel has no overlayfs (CONFIG_OVERLAY_FS)".to_owned());
        }
        match &self.cgroups {
            Ok(true) => {}
            Ok(false) => return Some("no cgroup filesystem is mounted: mount cgroup2 at /sys/fs/cgroup".to_owned()),
            Err(error) => return Some(error.clone()),
        }
        if !self.nf_tables {
            return Some(
                "its kernel has no nf_tables (modprobe nf_tables), or this process lacks CAP_NET_ADMIN".to_owned(),
            );
        }
        self.state_dir_writable.clone().err()
    }

    fn has_filesystem(&self, name: &str) -> bool {
        let listed = self.filesystems.lines().any(|line| line.split_whitespace().next_back() == Some(name));
        listed || self.modules.lines().any(|line| line.split(' ').next() == Some(name))
    }
}

/// A netlink socket to netfilter can be had.
fn nf_tables_socket() -> bool {
    use nix::sys::socket::{AddressFamily, SockFlag, SockProtocol, SockType, socket};
    socket(AddressFamily::Netlink, SockType::Raw, SockFlag::SOCK_CLOEXEC, SockProtocol::NetlinkNetFilter).is_ok()
}

fn writable(folder: &Path) -> Result<(), String> {
    // The nearest folder that is there already says whether more can be made in it.
    let nearest = folder.ancestors().find(|ancestor| ancestor.exists()).unwrap_or(Path::new("/"));
    nix::unistd::access(nearest, nix::unistd::AccessFlags::W_OK)
        .map_err(|error| format!("{} cannot be written: {error}", nearest.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_thing_missing_is_named() {
        let good = Machine {
            filesystems: "nodev\ttmpfs\nnodev\toverlay\n",
            cgroups: Ok(true),
            modules: "",
            nf_tables: true,
            namespaces: true,
            state_dir_writable: Ok(()),
            module_folder: false,
        };
        assert_eq!(good.problem(), None);
        for (machine, word) in [
            (Machine { filesystems: "", ..good.clone() }, "overlayfs"),
            (Machine { cgroups: Ok(false), ..good.clone() }, "mount cgroup2"),
            (Machine { cgroups: Err("reading the mounts".into()), ..good.clone() }, "reading the mounts"),
            (Machine { nf_tables: false, ..good.clone() }, "nf_tables"),
            (Machine { namespaces: false, ..good.clone() }, "namespaces"),
            (Machine { state_dir_writable: Err("/x cannot be written".into()), ..good.clone() }, "/x"),
        ] {
            assert!(machine.problem().unwrap().contains(word), "{word}");
        }
    }
}
