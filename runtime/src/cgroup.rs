//! The cgroup tree: where it is, whole-sandbox limits, what is used, who is in it, and its removal.
//! Limits of single containers are libcontainer's; this module knows neither sandboxes nor specs of containers.

mod usage;

use std::{
    collections::BTreeSet,
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
};

use nix::{
    errno::Errno,
    sys::signal::{Signal, kill},
    unistd::Pid,
};

pub use self::usage::{Throttling, Usage};
use crate::{device_filter, mountinfo, spec::Resources};

/// The hierarchies of this machine: one (cgroup v2) or several (v1, with or without a v2 beside).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Cgroups {
    hierarchies: Vec<Hierarchy>,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hierarchy {
    pub mount_point: PathBuf,
    pub version: Version,
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Version {
    /// Its controllers, or none for a named hierarchy.
    V1(Vec<String>),
    V2,
}

const V1_CONTROLLERS: &[&str] = &[
    "blkio",
    "cpu",
    "cpuacct",
    "cpuset",
    "devices",
    "freezer",
    "hugetlb",
    "memory",
    "net_cls",
    "net_prio",
    "perf_event",
    "pids",
];

impl Cgroups {
    pub fn detect() -> io::Result<Cgroups> {
        let cgroups = Cgroups::among(mountinfo::read()?);
        if cgroups.hierarchies.is_empty() {
            return Err(io::Error::new(io::ErrorKind::NotFound, "no cgroup filesystem is mounted"));
        }
        Ok(cgroups)
    }

    /// Of several mounts of one hierarchy the first counts.
    pub fn among(mounts: Vec<mountinfo::Entry>) -> Cgroups {
        let mut hierarchies: Vec<Hierarchy> = Vec::new();
        for mountinfo::Entry { mount_point, filesystem, options } in mounts {
            let version = match filesystem.as_str() {
                "cgroup2" => Version::V2,
                "cgroup" => Version::V1(
                    options.split(',').filter(|option| V1_CONTROLLERS.contains(option)).map(str::to_owned).collect(),
                ),
                _ => continue,
            };
            let known = hierarchies.iter().any(|known| match (&known.version, &version) {
                (Version::V2, Version::V2) => true,
                (Version::V1(a), Version::V1(b)) if a.is_empty() && b.is_empty() => known.mount_point == mount_point,
                (Version::V1(a), Version::V1(b)) => a == b,
                _ => false,
            });
            if !known {
                hierarchies.push(Hierarchy { mount_point, version });
            }
        }
        Cgroups { hierarchies }
    }

    pub fn hierarchies(&self) -> &[Hierarchy] {
        &self.hierarchies
    }

    /// Only cgroup v2, which then has all the controllers.
    pub fn unified(&self) -> bool {
        self.hierarchies.iter().all(|hierarchy| hierarchy.version == Version::V2)
    }

    /// Makes `path` in every hierarchy, its parents too, and gives it limits.
    pub fn create(&self, path: &str, resources: &Resources) -> io::Result<()> {
        self.hierarchies.iter().try_for_each(|hierarchy| hierarchy.make(path))?;
        self.limit(path, resources)
    }

    /// Gives `path`, which is there, limits. What is not set stays as it is. One that the kernel refuses keeps no other from
    /// being set; the first is told.
    pub fn limit(&self, path: &str, resources: &Resources) -> io::Result<()> {
        let mut limited = Ok(());
        for hierarchy in &self.hierarchies {
            // Beside v1 hierarchies a v2 one has no controllers.
            if hierarchy.version == Version::V2 && !self.unified() {
                continue;
            }
            for (file, value) in limits(&hierarchy.version, resources) {
                let file = hierarchy.folder(path).join(file);
                limited = limited.and(fs::write(&file, &value).map_err(|error| {
                    io::Error::new(error.kind(), format!("cannot write {value:?} to {}: {error}", file.display()))
                }));
            }
        }
        limited
    }

    /// Makes `path` and lets it weigh, beside the machine's own work, as much as there are CPUs. Where CPU time has no
    /// weights there is nothing to weigh.
    pub fn create_for_all_cpus(&self, path: &str) -> io::Result<()> {
        let cpus = std::thread::available_parallelism().map_or(1, |cpus| cpus.get() as u64);
        let resources = Resources { cpu_shares: Some(1024 * cpus), ..Resources::default() };
        for hierarchy in &self.hierarchies {
            hierarchy.make(path)?;
            for (file, value) in limits(&hierarchy.version, &resources) {
                match fs::OpenOptions::new().write(true).open(hierarchy.folder(path).join(file)) {
                    Err(error) if error.kind() == io::ErrorKind::NotFound => {}
                    file => file?.write_all(value.as_bytes())?,
                }
            }
        }
        Ok(())
    }

    /// Makes `path` and lets only the devices that every container has be used in it, where no v1 hierarchy does that.
    pub fn confine_devices(&self, path: &str) -> io::Result<()> {
        if self.unified() {
            for hierarchy in &self.hierarchies {
                hierarchy.make(path)?;
                device_filter::confine(&hierarchy.folder(path))?;
            }
        }
        Ok(())
    }

    /// Makes `path` and moves this process into it.
    pub fn enter(&self, path: &str) -> io::Result<()> {
        self.hierarchies.iter().try_for_each(|hierarchy| {
            again_if_removed(|| {
                hierarchy.make(path)?;
                fs::write(hierarchy.folder(path).join("cgroup.procs"), "0")
            })
        })
    }

    /// Every process in `path` and below.
    pub fn processes(&self, path: &str) -> io::Result<BTreeSet<i32>> {
        let mut found = BTreeSet::new();
        for hierarchy in &self.hierarchies {
            collect_processes(&hierarchy.folder(path), &mut found)?;
        }
        Ok(found)
    }

    /// Sends SIGKILL to every process in `path` and below; returns how many there were.
    pub fn kill(&self, path: &str) -> io::Result<usize> {
        let processes = self.processes(path)?;
        for &process in &processes {
            match kill(Pid::from_raw(process), Signal::SIGKILL) {
                Ok(()) | Err(Errno::ESRCH) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Ok(processes.len())
    }

    /// Removes `path` and everything below. Fails with `ResourceBusy` while processes are in it.
    pub fn remove(&self, path: &str) -> io::Result<()> {
        self.hierarchies.iter().try_for_each(|hierarchy| remove_folder(&hierarchy.folder(path)))
    }

    /// Removes `path` where nothing is in or below it; says whether it is gone everywhere.
    pub fn remove_if_empty(&self, path: &str) -> io::Result<bool> {
        let mut gone = true;
        for hierarchy in &self.hierarchies {
            match fs::remove_dir(hierarchy.folder(path)) {
                Ok(()) => {}
                Err(error) => match error.kind() {
                    io::ErrorKind::NotFound => {}
                    io::ErrorKind::ResourceBusy | io::ErrorKind::DirectoryNotEmpty => gone = false,
                    _ => return Err(error),
                },
            }
        }
        Ok(gone)
    }

    /// Processes the kernel has killed in `path` for want of memory.
    pub fn oom_kills(&self, path: &str) -> io::Result<u64> {
        let file = match self.hierarchy_of("memory") {
            Some(hierarchy) => hierarchy.folder(path).join(match hierarchy.version {
                Version::V1(_) => "memory.oom_control",
                Version::V2 => "memory.events",
            }),
            None => return Ok(0),
        };
        Ok(keyed_value(&read_if_there(&file)?, "oom_kill").unwrap_or(0))
    }

    fn hierarchy_of(&self, controller: &str) -> Option<&Hierarchy> {
        let unified = self.unified();
        self.hierarchies.iter().find(|hierarchy| match &hierarchy.version {
            Version::V1(controllers) => controllers.iter().any(|name| name == controller),
            Version::V2 => unified,
        })
    }
}

impl Hierarchy {
    pub fn folder(&self, path: &str) -> PathBuf {
        self.mount_point.join(path.trim_start_matches('/'))
    }

    fn make(&self, path: &str) -> io::Result<()> {
        again_if_removed(|| self.try_make(path))
    }

    fn try_make(&self, path: &str) -> io::Result<()> {
        let mut folder = self.mount_point.clone();
        for name in path.split('/').filter(|name| !name.is_empty()) {
            if self.version == Version::V2 {
                pass_controllers_down(&folder)?;
            }
            let parent = folder.clone();
            folder.push(name);
            match fs::create_dir(&folder) {
                Ok(()) => {}
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {}
                Err(error) => return Err(error),
            }
            if matches!(&self.version, Version::V1(controllers) if controllers.iter().any(|name| name == "cpuset")) {
                inherit_cpuset(&parent, &folder)?;
            }
        }
        Ok(())
    }
}

/// The last sandbox takes the folders that all share along; the next may be making its own in them just then.
fn again_if_removed(mut make: impl FnMut() -> io::Result<()>) -> io::Result<()> {
    const ATTEMPTS_MAX: usize = 10;
    for _ in 1..ATTEMPTS_MAX {
        match make() {
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) if error.raw_os_error() == Some(Errno::ENODEV as i32) => {}
            done => return done,
        }
    }
    make()
}

/// The files and values that make `resources` the limits of a cgroup.
fn limits(version: &Version, resources: &Resources) -> Vec<(&'static str, String)> {
    let mut files = Vec::new();
    match version {
        Version::V1(controllers) => {
            let has = |name: &str| controllers.iter().any(|controller| controller == name);
            if has("cpu") {
                files.extend(resources.cpu_shares.map(|shares| ("cpu.shares", shares.to_string())));
                files.extend(resources.cpu_period_us.map(|period| ("cpu.cfs_period_us", period.to_string())));
                files.extend(resources.cpu_quota_us.map(|quota| ("cpu.cfs_quota_us", quota.to_string())));
            }
            if has("memory") {
                files.extend(resources.memory_bytes.map(|bytes| ("memory.limit_in_bytes", bytes.to_string())));
            }
            if has("pids") {
                files.extend(resources.pids.map(|pids| ("pids.max", pids.to_string())));
            }
        }
        Version::V2 => {
            files.extend(resources.cpu_shares.map(|shares| ("cpu.weight", cpu_weight(shares).to_string())));
            files.extend(resources.cpu_quota_us.map(|quota| {
                let quota = if quota < 0 { "max".to_owned() } else { quota.to_string() };
                ("cpu.max", format!("{quota} {}", resources.cpu_period_us.unwrap_or(100_000)))
            }));
            files.extend(resources.memory_bytes.map(|bytes| ("memory.max", bytes.to_string())));
            files.extend(resources.pids.map(|pids| ("pids.max", pids.to_string())));
        }
    }
    files
}

/// Shares (2..=262144) as a weight (1..=10000), as the OCI runtimes convert them.
fn cpu_weight(shares: u64) -> u64 {
    1 + (shares.clamp(2, 262_144) - 2) * 9999 / 262_142
}

/// Below a cgroup v2 folder there are only the controllers that it hands down.
fn pass_controllers_down(folder: &Path) -> io::Result<()> {
    let available = read_if_there(&folder.join("cgroup.controllers"))?;
    let wanted: Vec<String> = available
        .split_whitespace()
        .filter(|name| ["cpu", "cpuset", "io", "memory", "pids"].contains(name))
        .map(|name| format!("+{name}"))
        .collect();
    if wanted.is_empty() {
        return Ok(());
    }
    fs::write(folder.join("cgroup.subtree_control"), wanted.join(" "))
}

/// A cpuset takes no process until it has CPUs and memory nodes.
fn inherit_cpuset(parent: &Path, folder: &Path) -> io::Result<()> {
    for file in ["cpuset.cpus", "cpuset.mems"] {
        if fs::read_to_string(folder.join(file))?.trim().is_empty() {
            fs::write(folder.join(file), fs::read_to_string(parent.join(file))?.trim())?;
        }
    }
    Ok(())
}

fn collect_processes(folder: &Path, found: &mut BTreeSet<i32>) -> io::Result<()> {
    let text = read_if_there(&folder.join("cgroup.procs"))?;
    found.extend(text.lines().filter_map(|line| line.trim().parse::<i32>().ok()).filter(|&pid| pid > 0));
    for child in child_folders(folder)? {
        collect_processes(&child, found)?;
    }
    Ok(())
}

fn remove_folder(folder: &Path) -> io::Result<()> {
    for child in child_folders(folder)? {
        remove_folder(&child)?;
    }
    match fs::remove_dir(folder) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
        _ => Ok(()),
    }
}

fn child_folders(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let mut folders = Vec::new();
    for entry in entries {
        let entry = entry?;
        if entry.file_type()?.is_dir() {
            folders.push(entry.path());
        }
    }
    Ok(folders)
}

/// A cgroup may go away between two looks at it: that is an empty one.
fn read_if_there(file: &Path) -> io::Result<String> {
    match fs::read_to_string(file) {
        Err(error) if error.kind() == io::ErrorKind::NotFound || error.raw_os_error() == Some(Errno::ENODEV as i32) => {
            Ok(String::new())
        }
        text => text,
    }
}

fn keyed_value(text: &str, key: &str) -> Option<u64> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(' ')?;
        (name == key).then(|| value.trim().parse().ok())?
    })
}

fn number(text: &str) -> u64 {
    text.trim().parse().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    const HYBRID: &[u8] = b"\
24 1 0:21 / /proc rw - proc proc rw
30 1 0:24 / /sys/fs/cgroup rw,relatime - tmpfs tmpfs rw,mode=755
31 30 0:25 / /sys/fs/cgroup/cpu,cpuacct rw - cgroup cgroup rw,cpu,cpuacct
32 30 0:26 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory
33 30 0:27 / /sys/fs/cgroup/systemd rw - cgroup cgroup rw,xattr,name=systemd
34 30 0:28 / /sys/fs/cgroup/unified rw shared:9 - cgroup2 cgroup2 rw
35 30 0:26 / /somewhere/else rw - cgroup cgroup rw,memory
36 30 8:1 /chosen/by/a/pod\xff /pods/\xff rw - ext4 /dev/sda1 rw
";

    #[test]
    fn hybrid_hierarchies_are_found_once() {
        let cgroups = Cgroups::among(mountinfo::parse(HYBRID));
        let found: Vec<(String, Version)> =
            cgroups.hierarchies().iter().map(|h| (h.mount_point.display().to_string(), h.version.clone())).collect();
        let v1 = |names: &[&str]| Version::V1(names.iter().map(|name| name.to_string()).collect());
        assert_eq!(
            found,
            [
                ("/sys/fs/cgroup/cpu,cpuacct".into(), v1(&["cpu", "cpuacct"])),
                ("/sys/fs/cgroup/memory".into(), v1(&["memory"])),
                ("/sys/fs/cgroup/systemd".into(), v1(&[])),
                ("/sys/fs/cgroup/unified".into(), Version::V2),
            ]
        );
        assert!(!cgroups.unified());
    }

    #[test]
    fn one_v2_mount_is_unified() {
        let table = b"30 1 0:24 / /sys/fs/cgroup rw - cgroup2 cgroup2 rw,nsdelegate\n";
        assert!(Cgroups::among(mountinfo::parse(table)).unified());
    }

    #[test]
    fn limits_follow_the_version() {
        let resources = Resources {
            cpu_shares: Some(1024),
            cpu_quota_us: Some(50_000),
            cpu_period_us: Some(100_000),
            memory_bytes: Some(64 << 20),
            pids: Some(100),
            oom_score_adj: None,
        };
        let check = |version, expected: &[(&str, &str)]| {
            let found = limits(&version, &resources);
            let found: Vec<(&str, &str)> = found.iter().map(|(file, value)| (*file, value.as_str())).collect();
            assert_eq!(found, expected);
        };
        check(
            Version::V2,
            &[("cpu.weight", "39"), ("cpu.max", "50000 100000"), ("memory.max", "67108864"), ("pids.max", "100")],
        );
        check(Version::V1(vec!["memory".into()]), &[("memory.limit_in_bytes", "67108864")]);
        check(
            Version::V1(vec!["cpu".into()]),
            &[("cpu.shares", "1024"), ("cpu.cfs_period_us", "100000"), ("cpu.cfs_quota_us", "50000")],
        );
        check(Version::V1(vec![]), &[]);
    }

    #[test]
    fn a_limit_that_is_refused_keeps_no_other_from_holding() {
        let root = tempfile::tempdir().unwrap();
        let version = Version::V1(vec!["cpu".into(), "memory".into()]);
        let hierarchy = Hierarchy { mount_point: root.path().to_owned(), version };
        let pod = root.path().join("pod");
        // Nobody can write to a folder.
        fs::create_dir_all(pod.join("cpu.cfs_quota_us")).unwrap();
        let resources = Resources { cpu_quota_us: Some(50_000), memory_bytes: Some(64 << 20), ..Resources::default() };
        let limited = Cgroups { hierarchies: vec![hierarchy] }.limit("pod", &resources);
        assert!(limited.unwrap_err().to_string().contains("cpu.cfs_quota_us"));
        assert_eq!(fs::read_to_string(pod.join("memory.limit_in_bytes")).unwrap(), "67108864");
    }

    #[test]
    fn weights_span_the_range() {
        assert_eq!([2, 1024, 262_144, 0].map(cpu_weight), [1, 39, 10_000, 1]);
    }
}
