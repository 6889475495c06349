//! What this process takes, under the names that Prometheus' own clients tell it by. Linux counts it; elsewhere nothing is told.

use std::{fs, io, sync::atomic::AtomicU64};

use prometheus_client::{
    metrics::{counter::Counter, gauge::Gauge},
    registry::Registry,
};

/// In which Linux tells times to everybody, on all machines.
const TICKS_PER_SECOND: f64 = 100.0;

#[derive(Default)]
pub struct ProcessGauges {
    cpu_seconds: Counter<f64, AtomicU64>,
    resident_bytes: Gauge,
    virtual_bytes: Gauge,
    open_files: Gauge,
    started: Gauge<f64, AtomicU64>,
}

/// From `/proc/self/stat`.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Times {
    cpu_seconds: f64,
    /// Since the machine was started.
    started_seconds: f64,
}

impl ProcessGauges {
    pub fn register(&self, registry: &mut Registry) {
        registry.register("process_cpu_seconds", "Time on processors", self.cpu_seconds.clone());
        registry.register("process_resident_memory_bytes", "Memory in use", self.resident_bytes.clone());
        registry.register("process_virtual_memory_bytes", "Addresses in use", self.virtual_bytes.clone());
        registry.register("process_open_fds", "Open files and connections", self.open_files.clone());
        registry.register("process_start_time_seconds", "When it was started", self.started.clone());
    }

    pub fn measure(&self) {
        if let Err(error) = self.read() {
            tracing::debug!(%error, "what this process takes is not told");
        }
    }

    fn read(&self) -> io::Result<()> {
        let odd = || io::Error::other("not as Linux writes it");
        let times = Times::read(&fs::read_to_string("/proc/self/stat")?).ok_or_else(odd)?;
        self.cpu_seconds.inc_by((times.cpu_seconds - self.cpu_seconds.get()).max(0.0));
        let booted = number_behind(&fs::read_to_string("/proc/stat")?, "btime").ok_or_else(odd)?;
        self.started.set(booted as f64 + times.started_seconds);
        let status = fs::read_to_string("/proc/self/status")?;
        for (gauge, name) in [(&self.resident_bytes, "VmRSS:"), (&self.virtual_bytes, "VmSize:")] {
            gauge.set(number_behind(&status, name).ok_or_else(odd)?.saturating_mul(1024));
        }
        self.open_files.set(i64::try_from(fs::read_dir("/proc/self/fd")?.count()).unwrap_or(i64::MAX));
        Ok(())
    }
}

impl Times {
    fn read(stat: &str) -> Option<Self> {
        // The second field is a name in brackets, which may hold anything.
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_ascii_whitespace().collect();
        let seconds = |number: usize| Some(fields.get(number - 3)?.parse::<f64>().ok()? / TICKS_PER_SECOND);
        Some(Times { cpu_seconds: seconds(14)? + seconds(15)?, started_seconds: seconds(22)? })
    }
}

/// The first number of the line that begins with a word.
fn number_behind(text: &str, word: &str) -> Option<i64> {
    let line = text.lines().find_map(|line| line.strip_prefix(word))?;
    line.split_ascii_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn what_linux_writes_is_read() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 900 0 0 0 150 50 0 0 20 0 9 0 12345 1000 200 18446744073709551615";
        assert_eq!(Times::read(stat), Some(Times { cpu_seconds: 2.0, started_seconds: 123.45 }));
        assert_eq!(Times::read("7 (a) S"), None);
        assert_eq!(number_behind("VmSize:\t 2 kB\nVmRSS:\t  34 kB\n", "VmRSS:"), Some(34));
        let gauges = ProcessGauges::default();
        gauges.read().unwrap();
        assert!(gauges.resident_bytes.get() > 0 && gauges.open_files.get() > 0);
    }
}
