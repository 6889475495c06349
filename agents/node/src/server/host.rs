//! What the whole machine uses, as Linux tells it.

use std::{fs, io};

/// In which Linux tells times to everybody, on all machines.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Clone, Copy, Debug, PartialEq)]
pub struct HostUsage {
    pub cpu_seconds: f64,
    pub memory_bytes: u64,
    /// Without what could be given back at once.
    pub memory_working_set_bytes: u64,
    pub memory_available_bytes: u64,
}

impl HostUsage {
    pub fn measure() -> io::Result<Self> {
        let odd = || io::Error::other("not as Linux writes it");
        Self::read(&fs::read_to_string("/proc/stat")?, &fs::read_to_string("/proc/meminfo")?).ok_or_else(odd)
    }

    fn read(stat: &str, meminfo: &str) -> Option<Self> {
        let times = stat.lines().find_map(|line| line.strip_prefix("cpu "))?;
        let times: Vec<f64> = times.split_ascii_whitespace().map_while(|time| time.parse().ok()).collect();
        let [user, nice, system, _idle, _waiting, irq, softirq, ..] = times[..] else { return None };
        let bytes = |name: &str| {
            let line = meminfo.lines().find_map(|line| line.strip_prefix(name))?;
            Some(line.split_ascii_whitespace().next()?.parse::<u64>().ok()? * 1024)
        };
        let memory_bytes = bytes("MemTotal:")?.saturating_sub(bytes("MemFree:")?);
        Some(HostUsage {
            cpu_seconds: (user + nice + system + irq + softirq) / TICKS_PER_SECOND,
            memory_bytes,
            memory_working_set_bytes: memory_bytes.saturating_sub(bytes("Inactive(file):")?),
            memory_available_bytes: bytes("MemAvailable:")?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_linux_writes_is_read() {
        let stat = "cpu  100 20 30 4000 7 5 45 9 0 0\ncpu0 1 2 3 4 5 6 7 8 9 10\n";
        let meminfo =
            "MemTotal: 1000 kB\nMemFree: 400 kB\nMemAvailable: 700 kB\nInactive:  9 kB\nInactive(file): 100 kB\n";
        let expected = HostUsage {
            cpu_seconds: 2.0,
            memory_bytes: 600 * 1024,
            memory_working_set_bytes: 500 * 1024,
            memory_available_bytes: 700 * 1024,
        };
        assert_eq!(HostUsage::read(stat, meminfo), Some(expected));
        assert_eq!(HostUsage::read("cpu 1 2\n", meminfo), None);
        assert!(HostUsage::measure().is_ok());
    }
}
