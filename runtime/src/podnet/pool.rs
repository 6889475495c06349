//! Which addresses a node's pods have. Pure: remembers nothing beyond the process, and is rebuilt from the living sandboxes.

use std::{
    collections::{BTreeSet, VecDeque},
    fmt,
    net::Ipv4Addr,
    str::FromStr,
};

/// An IPv4 network: `10.244.0.0/24`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Cidr {
    network: Ipv4Addr,
    prefix: u8,
}

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not an IPv4 network: {why}")]
pub struct CidrError {
    text: String,
    why: &'static str,
}

impl FromStr for Cidr {
    type Err = CidrError;

    fn from_str(text: &str) -> Result<Self, CidrError> {
        let bad = |why| CidrError { text: text.to_owned(), why };
        let (network, prefix) = text.split_once('/').ok_or(bad("it has no `/`"))?;
        let network: Ipv4Addr = network.parse().map_err(|_| bad("the address cannot be read"))?;
        let prefix: u8 = prefix.parse().map_err(|_| bad("the prefix length is not a number"))?;
        if prefix > 32 {
            return Err(bad("the prefix is longer than 32"));
        }
        let cidr = Self { network, prefix };
        if cidr.mask() & u32::from(network) != u32::from(network) {
            return Err(bad("it has bits set beyond the prefix"));
        }
        Ok(cidr)
    }
}

impl fmt::Display for Cidr {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.network, self.prefix)
    }
}

impl Cidr {
    fn mask(self) -> u32 {
        u32::MAX.checked_shl(32 - u32::from(self.prefix)).unwrap_or(0)
    }

    pub fn contains(self, address: Ipv4Addr) -> bool {
        u32::from(address) & self.mask() == u32::from(self.network)
    }

    fn broadcast(self) -> u32 {
        u32::from(self.network) | !self.mask()
    }

    /// The first address: the node's own end of every pod's link.
    pub fn gateway(self) -> Ipv4Addr {
        Ipv4Addr::from(u32::from(self.network).saturating_add(1).min(self.broadcast()))
    }

    /// What pods get: all but the network, the gateway and the broadcast address.
    fn pods(self) -> std::ops::Range<u32> {
        u32::from(self.network).saturating_add(2)..self.broadcast()
    }
}

/// Addresses given back that are not given out again at once, as others may still know them.
const RECENT_MAX: usize = 64;

#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PoolError {
    #[error("no free pod address left in {0}: all {1} are in use")]
    Exhausted(Cidr, usize),
    #[error("{0} is not a pod address of {1}")]
    Foreign(Ipv4Addr, Cidr),
    #[error("{0} is in use already")]
    Taken(Ipv4Addr),
}

/// The addresses of a node's pod network, and who has which.
#[derive(Clone, Debug)]
pub struct AddressPool {
    cidr: Cidr,
    used: BTreeSet<u32>,
    /// Given back lately, the longest ago first.
    recent: VecDeque<u32>,
}

impl AddressPool {
    pub fn new(cidr: Cidr) -> Self {
        Self { cidr, used: BTreeSet::new(), recent: VecDeque::new() }
    }

    pub fn cidr(&self) -> Cidr {
        self.cidr
    }

    /// The lowest free address that was not given back lately; where there is none, the one given back longest ago.
    pub fn allocate(&mut self) -> Result<Ipv4Addr, PoolError> {
        let free = self.cidr.pods().find(|address| !self.used.contains(address) && !self.recent.contains(address));
        let address = match free {
            Some(address) => address,
            None => self.recent.pop_front().ok_or(PoolError::Exhausted(self.cidr, self.used.len()))?,
        };
        self.used.insert(address);
        Ok(Ipv4Addr::from(address))
    }

    /// Marks the address of a sandbox that is there already.
    pub fn claim(&mut self, address: Ipv4Addr) -> Result<(), PoolError> {
        let number = u32::from(address);
        if !self.cidr.pods().contains(&number) {
            return Err(PoolError::Foreign(address, self.cidr));
        }
        if !self.used.insert(number) {
            return Err(PoolError::Taken(address));
        }
        self.recent.retain(|recent| *recent != number);
        Ok(())
    }

    /// Gives an address back; one that was not given out is left alone.
    pub fn release(&mut self, address: Ipv4Addr) {
        let number = u32::from(address);
        if self.used.remove(&number) {
            self.recent.push_back(number);
            if self.recent.len() > RECENT_MAX {
                self.recent.pop_front();
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn pool(cidr: &str) -> AddressPool {
        AddressPool::new(cidr.parse().unwrap())
    }

    fn ip(text: &str) -> Ipv4Addr {
        text.parse().unwrap()
    }

    #[test]
    fn networks() {
        let cidr: Cidr = "10.244.3.0/24".parse().unwrap();
        assert_eq!((cidr.gateway(), cidr.to_string()), (ip("10.244.3.1"), "10.244.3.0/24".into()));
        assert!(cidr.contains(ip("10.244.3.9")) && !cidr.contains(ip("10.244.4.9")));
        for bad in ["", "10.244.0.0", "10.244.0.0/33", "10.244.0.1/24", "x/8", "10.0.0.0/-1"] {
            assert!(bad.parse::<Cidr>().is_err(), "{bad}");
        }
        assert!("0.0.0.0/0".parse::<Cidr>().unwrap().contains(ip("8.8.8.8")));
    }

    #[test]
    fn lowest_free_and_not_just_given_back() {
        let mut pool = pool("10.244.0.0/24");
        assert_eq!(pool.allocate(), Ok(ip("10.244.0.2")));
        assert_eq!(pool.allocate(), Ok(ip("10.244.0.3")));
        pool.release(ip("10.244.0.2"));
        assert_eq!(pool.allocate(), Ok(ip("10.244.0.4")));
        pool.claim(ip("10.244.0.2")).unwrap();
        assert_eq!(pool.claim(ip("10.244.0.2")), Err(PoolError::Taken(ip("10.244.0.2"))));
        for foreign in ["10.244.0.0", "10.244.0.1", "10.244.0.255", "10.245.0.9"] {
            assert!(matches!(pool.claim(ip(foreign)), Err(PoolError::Foreign(..))), "{foreign}");
        }
    }

    #[test]
    fn a_full_pool_says_so_and_uses_what_comes_back() {
        let mut pool = pool("10.0.0.0/29");
        let all: Vec<Ipv4Addr> = (0..5).map(|_| pool.allocate().unwrap()).collect();
        assert_eq!(all.last(), Some(&ip("10.0.0.6")));
        let text = pool.allocate().unwrap_err().to_string();
        assert_eq!(text, "no free pod address left in 10.0.0.0/29: all 5 are in use");
        pool.release(ip("10.0.0.4"));
        pool.release(ip("10.0.0.2"));
        assert_eq!(pool.allocate(), Ok(ip("10.0.0.4")));
        pool.release(ip("10.9.9.9"));
        assert_eq!(pool.allocate(), Ok(ip("10.0.0.2")));
        assert!(pool.allocate().is_err());
    }
}
