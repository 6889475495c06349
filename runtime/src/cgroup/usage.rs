//! What a cgroup has used, as its files tell.

use std::{fs, io};

use super::{Cgroups, Version, keyed_value, number, read_if_there};
use crate::podnet::Traffic;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    pub cpu_nanoseconds: u64,
    /// Of a cgroup whose cpu is limited.
    pub throttling: Throttling,
    pub memory_bytes: u64,
    /// Memory that could not be reclaimed under pressure: usage less inactive file pages.
    pub memory_working_set_bytes: u64,
    /// Memory that is no file's.
    pub memory_rss_bytes: u64,
    pub memory_cache_bytes: u64,
    pub pids: u64,
    /// Of a whole sandbox that has a network of its own.
    pub traffic: Option<Traffic>,
}

/// How often a cgroup had its turn, and how often it had used it up.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Throttling {
    pub periods: u64,
    pub throttled_periods: u64,
    pub throttled_nanoseconds: u64,
}

impl Cgroups {
    pub fn usage(&self, path: &str) -> io::Result<Usage> {
        let mut usage = Usage::default();
        if let Some(hierarchy) = self.hierarchy_of("cpuacct") {
            let folder = hierarchy.folder(path);
            usage.cpu_nanoseconds = match hierarchy.version {
                Version::V1(_) => number(&fs::read_to_string(folder.join("cpuacct.usage"))?),
                Version::V2 => {
                    keyed_value(&fs::read_to_string(folder.join("cpu.stat"))?, "usage_usec").unwrap_or(0) * 1000
                }
            };
        }
        if let Some(hierarchy) = self.hierarchy_of("cpu") {
            usage.throttling = throttling(&read_if_there(&hierarchy.folder(path).join("cpu.stat"))?);
        }
        if let Some(hierarchy) = self.hierarchy_of("memory") {
            let folder = hierarchy.folder(path);
            let [current, inactive, rss, cache] = match hierarchy.version {
                Version::V1(_) => ["memory.usage_in_bytes", "total_inactive_file", "total_rss", "total_cache"],
                Version::V2 => ["memory.current", "inactive_file", "anon", "file"],
            };
            let stat = fs::read_to_string(folder.join("memory.stat"))?;
            let of = |key: &str| keyed_value(&stat, key).unwrap_or(0);
            usage.memory_bytes = number(&fs::read_to_string(folder.join(current))?);
            usage.memory_working_set_bytes = usage.memory_bytes.saturating_sub(of(inactive));
            (usage.memory_rss_bytes, usage.memory_cache_bytes) = (of(rss), of(cache));
        }
        usage.pids = self.processes(path)?.len() as u64;
        Ok(usage)
    }
}

/// Both versions of `cpu.stat`.
fn throttling(stat: &str) -> Throttling {
    let of = |key: &str| keyed_value(stat, key);
    Throttling {
        periods: of("nr_periods").unwrap_or(0),
        throttled_periods: of("nr_throttled").unwrap_or(0),
        throttled_nanoseconds: of("throttled_time").or_else(|| Some(of("throttled_usec")? * 1000)).unwrap_or(0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn throttling_is_read_in_both_versions() {
        let expected = Throttling { periods: 10, throttled_periods: 3, throttled_nanoseconds: 5_000 };
        for stat in [
            "nr_periods 10\nnr_throttled 3\nthrottled_time 5000\n",
            "usage_usec 1\nuser_usec 1\nnr_periods 10\nnr_throttled 3\nthrottled_usec 5\n",
        ] {
            assert_eq!(throttling(stat), expected, "{stat}");
        }
        assert_eq!(throttling("usage_usec 1\n"), Throttling::default());
    }
}
