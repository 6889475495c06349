//! What has gone through a pod's link.

use std::{fs, io};

/// As the pod sees it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Traffic {
    pub received: Counts,
    pub sent: Counts,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    pub bytes: u64,
    pub packets: u64,
    pub errors: u64,
    pub dropped: u64,
}

/// Of the pod behind this host end; `None` if there is no such link.
pub fn behind(link: &str) -> io::Result<Option<Traffic>> {
    Ok(find(&fs::read_to_string("/proc/thread-self/net/dev")?, link))
}

/// What the host's end has sent the pod has received.
fn find(table: &str, link: &str) -> Option<Traffic> {
    let line = table.lines().find_map(|line| line.trim_start().strip_prefix(link)?.strip_prefix(':'))?;
    let numbers: Vec<u64> = line.split_whitespace().map_while(|number| number.parse().ok()).collect();
    let counts = |from: usize| {
        let [bytes, packets, errors, dropped] = numbers.get(from..from + 4)?.try_into().ok()?;
        Some(Counts { bytes, packets, errors, dropped })
    };
    Some(Traffic { received: counts(8)?, sent: counts(0)? })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_kernels_table_is_read_from_the_pods_side() {
        let table = "Inter-|   Receive | Transmit\n face |bytes packets\n  ktab: 1 2 3 4 0 0 0 0 5 6 7 8 0 0 0 0\n   kta: 9 0 0 0 0 0 0 0 9 0 0 0 0 0 0 0\n";
        let received = Counts { bytes: 5, packets: 6, errors: 7, dropped: 8 };
        let sent = Counts { bytes: 1, packets: 2, errors: 3, dropped: 4 };
        assert_eq!(find(table, "ktab"), Some(Traffic { received, sent }));
        assert_eq!(find(table, "kta").map(|traffic| traffic.sent.bytes), Some(9));
        assert_eq!(find(table, "kt"), None);
    }
}
