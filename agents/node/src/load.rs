//! What the machine as a whole is using, read from the kernel when it is asked for.

use std::{fs, io, path::Path};

use nix::{
    sys::statvfs::statvfs,
    unistd::{SysconfVar, sysconf},
};

/// The kernel's ticks per second where it does not say.
const TICKS_DEFAULT: u64 = 100;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Load {
    /// When it started.
    pub booted_s: i64,
    pub cpu_nanoseconds: u64,
    pub memory: Memory,
    pub disk: Disk,
    pub processes: u64,
    pub processes_max: u64,
}

/// In bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Memory {
    pub total: u64,
    pub free: u64,
    /// What could be had without swapping.
    pub available: u64,
    /// Pages of files that were not used lately.
    pub inactive_files: u64,
    pub swap_total: u64,
    pub swap_free: u64,
}

impl Memory {
    pub fn used(self) -> u64 {
        self.total.saturating_sub(self.free)
    }

    /// Without what could be given back at once; as a cgroup's is counted.
    pub fn working_set(self) -> u64 {
        self.used().saturating_sub(self.inactive_files)
    }
}

/// Of the filesystem that holds pods and images.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Disk {
    pub bytes: u64,
    pub available: u64,
    pub used: u64,
    pub inodes: u64,
    pub inodes_free: u64,
}

impl Load {
    pub fn read(folder: &Path) -> io::Result<Load> {
        let (cpu_ticks, booted_s) = stat(&fs::read_to_string("/proc/stat")?);
        let per_second = sysconf(SysconfVar::CLK_TCK)?.and_then(|ticks| u64::try_from(ticks).ok());
        let limit = fs::read_to_string("/proc/sys/kernel/pid_max")?;
        Ok(Load {
            booted_s,
            cpu_nanoseconds: cpu_ticks.saturating_mul(1_000_000_000 / per_second.unwrap_or(TICKS_DEFAULT).max(1)),
            memory: memory(&fs::read_to_string("/proc/meminfo")?),
            disk: disk(folder)?,
            processes: processes(&fs::read_to_string("/proc/loadavg")?),
            processes_max: limit.trim().parse().unwrap_or(0),
        })
    }
}

fn disk(folder: &Path) -> io::Result<Disk> {
    let seen = statvfs(folder)?;
    let unit = seen.fragment_size();
    Ok(Disk {
        bytes: seen.blocks() * unit,
        available: seen.blocks_available() * unit,
        used: seen.blocks().saturating_sub(seen.blocks_free()) * unit,
        inodes: seen.files(),
        inodes_free: seen.files_free(),
    })
}

/// Ticks in which the processors were not idle, and when the machine started.
fn stat(text: &str) -> (u64, i64) {
    let line = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    let ticks = line("cpu").unwrap_or_default().split_whitespace().map(|number| number.parse().unwrap_or(0u64));
    // user, nice, system, idle, iowait, irq, softirq, steal; what guests used is in the first two.
    let busy = ticks.take(8).enumerate().filter(|(at, _)| !matches!(at, 3 | 4)).map(|(_, ticks)| ticks).sum();
    (busy, line("btime").and_then(|number| number.trim().parse().ok()).unwrap_or(0))
}

fn memory(text: &str) -> Memory {
    let bytes = |name: &str| {
        let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
        line.and_then(|line| line.trim().strip_suffix("kB")?.trim().parse::<u64>().ok()).unwrap_or(0) << 10
    };
    Memory {
        total: bytes("MemTotal"),
        free: bytes("MemFree"),
        available: bytes("MemAvailable"),
        inactive_files: bytes("Inactive(file)"),
        swap_total: bytes("SwapTotal"),
        swap_free: bytes("SwapFree"),
    }
}

/// `0.20 0.18 0.12 1/80 11206` tells of 80.
fn processes(text: &str) -> u64 {
    let all = text.split_whitespace().nth(3).and_then(|part| part.split_once('/'));
    all.and_then(|(_, all)| all.parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_words_are_read() {
        let text = "cpu  10 20 30 1000 500 1 2 3 7 7\ncpu0 1 1 1 1 1 1 1 1 0 0\nbtime 1700000000\n";
        assert_eq!(stat(text), (66, 1_700_000_000));
        let text = "MemTotal: 8 kB\nMemFree: 2 kB\nMemAvailable: 5 kB\nInactive(file): 2 kB\nSwapTotal: 4 kB\nSwapFree: 3 kB\n";
        let memory = memory(text);
        assert_eq!((memory.used(), memory.working_set(), memory.swap_free), (6 << 10, 4 << 10, 3 << 10));
        assert_eq!(processes("0.20 0.18 0.12 1/80 11206\n"), 80);
    }

    #[test]
    fn this_machine_has_a_load() {
        let load = Load::read(Path::new("/")).unwrap();
        assert!(load.cpu_nanoseconds > 0 && load.memory.working_set() > 0 && load.processes_max > 0);
    }
}
