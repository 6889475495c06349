//! What this machine is and has: read from the kernel, without judgement but for the pressure thresholds.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
};

use k8s_openapi::{api::core::v1::NodeSystemInfo, apimachinery::pkg::api::resource::Quantity};
use nix::sys::{statvfs::statvfs, utsname::uname};

use crate::limits::{
    DISK_PRESSURE_BYTES, DISK_PRESSURE_PERCENT, INODE_PRESSURE_PERCENT, MEMORY_PRESSURE_BYTES, PID_PRESSURE_PERCENT,
    PODS_MAX,
};

/// The API level this agent speaks, as `kubectl get nodes` shows it.
pub const KUBELET_VERSION: &str = concat!("v1.36.0+kontiki.", env!("CARGO_PKG_VERSION"));
const RUNTIME_VERSION: &str = concat!("kontiki://", env!("CARGO_PKG_VERSION"));

#[derive(Clone, Debug, PartialEq)]
pub struct Facts {
    pub cpus: usize,
    pub memory_bytes: u64,
    pub disk_bytes: u64,
    pub info: NodeSystemInfo,
}

impl Facts {
    pub fn read(state_dir: &Path) -> Result<Facts, String> {
        let memory = fs::read_to_string("/proc/meminfo").map_err(|error| format!("/proc/meminfo: {error}"))?;
        let disk = statvfs(state_dir).map_err(|error| format!("{}: {error}", state_dir.display()))?;
        Ok(Facts {
            cpus: std::thread::available_parallelism().map_err(|error| format!("processors: {error}"))?.get(),
            memory_bytes: meminfo(&memory, "MemTotal").ok_or("/proc/meminfo has no MemTotal")?,
            disk_bytes: disk.blocks() * disk.fragment_size(),
            info: system_info()?,
        })
    }

    pub fn capacity(&self) -> BTreeMap<String, Quantity> {
        let quantities = [
            ("cpu", self.cpus.to_string()),
            ("memory", format!("{}Ki", self.memory_bytes >> 10)),
            ("ephemeral-storage", format!("{}Ki", self.disk_bytes >> 10)),
            ("pods", PODS_MAX.to_string()),
        ];
        quantities.into_iter().map(|(name, amount)| (name.to_owned(), Quantity(amount))).collect()
    }

    /// What pods may ask for: what is left when pressure would begin.
    pub fn allocatable(&self) -> BTreeMap<String, Quantity> {
        let mut amounts = self.capacity();
        let memory = self.memory_bytes.saturating_sub(MEMORY_PRESSURE_BYTES);
        let disk = self.disk_bytes - DISK_PRESSURE_BYTES.min(self.disk_bytes / 100 * DISK_PRESSURE_PERCENT);
        amounts.insert("memory".to_owned(), Quantity(format!("{}Ki", memory >> 10)));
        amounts.insert("ephemeral-storage".to_owned(), Quantity(disk.to_string()));
        amounts
    }

    /// Whether a mount can be made read-only together with all that is mounted below it, as mount_setattr(2) does.
    pub fn recursive_read_only(&self) -> bool {
        version(&self.info.kernel_version).is_some_and(|version| version >= (5, 12))
    }

    pub fn allocatable_text(&self) -> BTreeMap<String, String> {
        self.allocatable().into_iter().map(|(name, Quantity(amount))| (name, amount)).collect()
    }
}

fn system_info() -> Result<NodeSystemInfo, String> {
    let name = uname().map_err(|error| format!("uname: {error}"))?;
    let first = |paths: &[&str]| paths.iter().find_map(|path| fs::read_to_string(path).ok()).unwrap_or_default();
    let machine_id = first(&["/etc/machine-id", "/var/lib/dbus/machine-id"]).trim().to_owned();
    let system_uuid = first(&["/sys/class/dmi/id/product_uuid"]).trim().to_lowercase();
    Ok(NodeSystemInfo {
        architecture: architecture(&name.machine().to_string_lossy()).to_owned(),
        boot_id: first(&["/proc/sys/kernel/random/boot_id"]).trim().to_owned(),
        container_runtime_version: RUNTIME_VERSION.to_owned(),
        kernel_version: name.release().to_string_lossy().into_owned(),
        kube_proxy_version: String::new(),
        kubelet_version: KUBELET_VERSION.to_owned(),
        system_uuid: if system_uuid.is_empty() { machine_id.clone() } else { system_uuid },
        machine_id,
        operating_system: "linux".to_owned(),
        os_image: os_image(&first(&["/etc/os-release", "/usr/lib/os-release"])),
        swap: None,
    })
}

/// `6.1.0-18-amd64` as (6, 1).
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

/// The architecture as Go and OCI name it.
fn architecture(machine: &str) -> &str {
    match machine {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        "armv7l" | "armv6l" => "arm",
        other => other,
    }
}

fn os_image(os_release: &str) -> String {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map_or("Linux", |name| name.trim_matches('"')).to_owned()
}

/// A value of `/proc/meminfo` in bytes.
fn meminfo(text: &str, name: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'))?;
    Some(line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()? << 10)
}

/// What is short on the machine now; the text says by how much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Pressure {
    pub memory: bool,
    pub disk: bool,
    pub pids: bool,
}

pub fn pressure(state_dir: &Path) -> Pressure {
    let memory = fs::read_to_string("/proc/meminfo").ok().and_then(|text| meminfo(&text, "MemAvailable"));
    Pressure {
        memory: memory.is_some_and(|available| available < MEMORY_PRESSURE_BYTES),
        disk: disk_use(state_dir)
            .is_some_and(|used| used.below(DISK_PRESSURE_PERCENT) || used.free_inodes_percent < INODE_PRESSURE_PERCENT),
        pids: free_pids_percent().is_some_and(|free| free < PID_PRESSURE_PERCENT),
    }
}

pub struct DiskUse {
    pub free_bytes: u64,
    pub free_percent: u64,
    pub free_inodes_percent: u64,
}

impl DiskUse {
    /// Less is free than this share of the disk, and less than a pod may need at once.
    pub fn below(&self, percent: u64) -> bool {
        self.free_percent < percent && self.free_bytes < DISK_PRESSURE_BYTES
    }
}

/// `None` if it cannot be told.
pub fn disk_use(folder: &Path) -> Option<DiskUse> {
    let disk = statvfs(folder).ok()?;
    let percent = |part: u64, whole: u64| (part * 100).checked_div(whole).unwrap_or(100);
    Some(DiskUse {
        free_bytes: disk.blocks_available() * disk.fragment_size(),
        free_percent: percent(disk.blocks_available(), disk.blocks()),
        free_inodes_percent: percent(disk.files_available(), disk.files()),
    })
}

fn free_pids_percent() -> Option<u64> {
    let max: u64 = fs::read_to_string("/proc/sys/kernel/pid_max").ok()?.trim().parse().ok()?;
    let load = fs::read_to_string("/proc/loadavg").ok()?;
    let used: u64 = load.split_whitespace().nth(3)?.split('/').nth(1)?.parse().ok()?;
    Some(max.saturating_sub(used) * 100 / max.max(1))
}

/// The machine's own resolver configuration, past a stub that only works on the host.
pub fn resolv_conf() -> PathBuf {
    let real = Path::new("/run/systemd/resolve/resolv.conf");
    let stub = fs::read_to_string("/etc/resolv.conf").is_ok_and(|text| text.contains("nameserver 127.0.0.53"));
    if stub && real.exists() { real.to_owned() } else { "/etc/resolv.conf".into() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_and_os_release_are_read() {
        assert_eq!(meminfo("MemTotal:     4 kB\nMemAvailable: 2 kB\n", "MemAvailable"), Some(2048));
        assert_eq!(meminfo("MemTotal:     4 kB\n", "MemAvailable"), None);
        assert_eq!(
            os_image("ID=debian\nPRETTY_NAME=\"Debian GNU/Linux 13 (trixie)\"\n"),
            "Debian GNU/Linux 13 (trixie)"
        );
    }

    #[test]
    fn a_kernel_is_known_by_its_release() {
        for (release, expected) in
            [("6.1.0-18-amd64", Some((6, 1))), ("5.12", Some((5, 12))), ("6.12+deb13", Some((6, 12))), ("?", None)]
        {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn this_machine_has_facts() {
        let facts = Facts::read(Path::new("/")).unwrap();
        assert!(facts.cpus > 0 && facts.memory_bytes > 0 && facts.disk_bytes > 0);
        let (capacity, allocatable) = (facts.capacity(), facts.allocatable());
        assert_eq!(capacity["pods"], allocatable["pods"]);
        assert!(!facts.info.kernel_version.is_empty() && !facts.info.boot_id.is_empty());
    }
}
