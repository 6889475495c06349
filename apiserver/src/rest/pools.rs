//! Where values that only one object may hold come from: ranges of addresses and ports.

use std::net::Ipv4Addr;

use kontiki_kinds::{Ledger, Pool};
use kontiki_model::{Key, Revision, Scope, Status};
use rand::Rng as _;

use super::{
    limits::{RESERVED_ADDRESSES_MAX, RESERVED_MIN, RESERVED_PORTS_MAX},
    object,
    store::read_failed,
    view::View,
};
use crate::{
    config::{Config, Ipv4Cidr},
    failure,
};

/// The ranges of one pool, in the order in which they are used up.
pub struct Ranges {
    pool: Pool,
    ranges: Vec<Range>,
}

/// Numbers that a pool gives out.
pub struct Range {
    pool: Pool,
    first: u64,
    /// The first ones are left to those who ask for a value.
    reserved: u64,
    size: u64,
    /// How the bounds are written.
    text: String,
    /// The object that says so, as it was read.
    pub source: Option<(Key, Revision)>,
}

impl Ranges {
    /// What there is to be had now. Objects say where addresses come from; as long as there is none, the configuration.
    pub fn of(pool: Pool, view: &View<'_>, config: &Config) -> Result<Self, Status> {
        let ranges = match (pool, pool.ledger()) {
            (Pool::ClusterIp, Some(ledger)) => named(ledger, view)?,
            (Pool::ClusterIp | Pool::NodePort, _) => None,
        };
        let configured = || match pool {
            Pool::ClusterIp => Range::of_addresses(config.service_cidr, None),
            Pool::NodePort => Range::of_ports(config),
        };
        Ok(Ranges { pool, ranges: ranges.unwrap_or_else(|| vec![configured()]) })
    }

    /// The range that a value is in, or why there is none.
    pub fn containing(&self, value: &str) -> Result<&Range, String> {
        let bounds = || self.ranges.iter().map(|range| range.text.as_str()).collect::<Vec<_>>().join(",");
        self.ranges.iter().find(|range| range.contains(value)).ok_or_else(|| self.pool.outside(&bounds()))
    }

    /// A free value, and the range that it is in.
    pub fn choose(&self, free: impl Fn(&str) -> bool) -> Option<(String, &Range)> {
        self.ranges.iter().find_map(|range| Some((range.choose(&free)?, range)))
    }

    pub fn exhausted(&self) -> Status {
        match self.pool {
            Pool::ClusterIp => failure::internal("failed to allocate a serviceIP: range is full"),
            Pool::NodePort => failure::internal("failed to allocate a nodePort: range is full"),
        }
    }
}

/// The ranges that objects name, `None` if there are no such objects. Those of the other address family are nobody's here.
fn named(ledger: &Ledger, view: &View<'_>) -> Result<Option<Vec<Range>>, Status> {
    let scope = Scope { resource: ledger.source.storage_resource(), namespace: None };
    let sources = view.list(&scope).map_err(|error| read_failed(&error))?;
    if sources.is_empty() {
        return Ok(None);
    }
    let mut ranges = Vec::new();
    for source in sources {
        let object = object::open(&source)?;
        let blocks = (ledger.ranges)(&object).into_iter().filter_map(|range| range.parse::<Ipv4Cidr>().ok());
        ranges.extend(blocks.map(|block| Range::of_addresses(block, Some((source.key.clone(), source.revision)))));
    }
    Ok(Some(ranges))
}

impl Range {
    fn of_addresses(block: Ipv4Cidr, source: Option<(Key, Revision)>) -> Self {
        // The network's own address and the broadcast address are nobody's.
        let (first, size) = (u64::from(block.base.to_bits()) + 1, block.size().saturating_sub(2));
        let reserved = (size / 16).clamp(RESERVED_MIN, RESERVED_ADDRESSES_MAX);
        Range { pool: Pool::ClusterIp, first, reserved, size, text: block.to_string(), source }
    }

    fn of_ports(config: &Config) -> Self {
        let (first, last) = (u64::from(*config.node_ports.start()), u64::from(*config.node_ports.end()));
        let size = (last + 1).saturating_sub(first);
        let reserved = (size / 32).clamp(RESERVED_MIN, RESERVED_PORTS_MAX);
        Range { pool: Pool::NodePort, first, reserved, size, text: format!("{first}-{last}"), source: None }
    }

    fn contains(&self, value: &str) -> bool {
        let number = match self.pool {
            Pool::ClusterIp => value.parse::<Ipv4Addr>().ok().map(|address| u64::from(address.to_bits())),
            Pool::NodePort => value.parse::<u64>().ok(),
        };
        number.and_then(|number| number.checked_sub(self.first)).is_some_and(|offset| offset < self.size)
    }

    fn value(&self, offset: u64) -> String {
        let number = self.first + offset;
        match self.pool {
            Pool::ClusterIp => Ipv4Addr::from_bits(number as u32).to_string(),
            Pool::NodePort => number.to_string(),
        }
    }

    /// A free value, from a random place on; the reserved ones only when the others are used up.
    fn choose(&self, free: impl Fn(&str) -> bool) -> Option<String> {
        let reserved = self.reserved.min(self.size);
        let open = self.size - reserved;
        let start = if open == 0 { 0 } else { rand::rng().random_range(0..open) };
        let rotated = (0..open).map(|step| reserved + (start + step) % open);
        rotated.chain(0..reserved).map(|offset| self.value(offset)).find(|value| free(value))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config() -> Config {
        let listen = "127.0.0.1:0".parse().unwrap();
        Config::new(listen, "127.0.0.1".parse().unwrap(), "unused".into())
    }

    #[test]
    fn values_come_from_inside_the_pool_and_the_reserved_ones_last() {
        let range = Range::of_addresses("10.96.0.0/28".parse().unwrap(), None);
        assert_eq!((range.value(0), range.value(range.size - 1)), ("10.96.0.1".into(), "10.96.0.14".into()));
        assert!(range.contains("10.96.0.14"));
        for outside in ["10.96.0.0", "10.96.0.15", "8.8.8.8", "x"] {
            assert!(!range.contains(outside), "{outside}");
        }
        let ports = Range::of_ports(&config());
        assert!(ports.contains("30000") && ports.contains("32767") && !ports.contains("1"));
        for _ in 0..100 {
            let port: u64 = ports.choose(|_| true).unwrap().parse().unwrap();
            assert!((30_086..=32_767).contains(&port), "{port}");
        }
        assert_eq!(ports.choose(|value| value == "30001"), Some("30001".to_owned()));
        assert_eq!(ports.choose(|_| false), None);
    }

    #[test]
    fn one_range_is_used_up_before_the_next() {
        let ranges = ["10.0.0.0/30", "10.1.0.0/30"].map(|block| Range::of_addresses(block.parse().unwrap(), None));
        let ranges = Ranges { pool: Pool::ClusterIp, ranges: ranges.into() };
        let without = |taken: &[&str]| ranges.choose(|value| !taken.contains(&value)).map(|(value, _)| value);
        assert_eq!(without(&["10.0.0.2"]).as_deref(), Some("10.0.0.1"));
        assert_eq!(without(&["10.0.0.1", "10.0.0.2", "10.1.0.1"]).as_deref(), Some("10.1.0.2"));
        assert_eq!(without(&["10.0.0.1", "10.0.0.2", "10.1.0.1", "10.1.0.2"]), None);
        assert_eq!(ranges.containing("10.1.0.1").map(|range| range.text.as_str()), Ok("10.1.0.0/30"));
        let outside = ranges.containing("10.2.0.1").map(|range| range.text.as_str());
        assert_eq!(outside, Err("the provided network does not match the current range".to_owned()));
    }
}
