//! Values that only one object of the cluster may hold: cluster addresses and node ports.
//!
//! Each held value is a key of its own in the log, written and removed in the same command as the object that holds it.
//! So two servers, or two requests, cannot give out the same value, whoever decided first.

use std::{collections::BTreeMap, net::Ipv4Addr};

use bytes::Bytes;
use kontiki_kinds::{Claim, Kind, Pool};
use kontiki_model::{Faults, Head, Key, Status};
use kontiki_raft::{Expect, Mutation};
use rand::Rng as _;
use serde_json::{Value, json};

use super::{
    limits::{RESERVED_ADDRESSES_MAX, RESERVED_MIN, RESERVED_PORTS_MAX},
    object::{Sealed, text},
    plan::Change,
    view::View,
};
use crate::{config::Config, failure};

/// Why values cannot be had.
#[derive(Debug)]
pub enum Denied {
    /// The object asks for what is taken or does not exist.
    Faults(Faults),
    /// A pool is used up.
    Exhausted(Status),
}

/// Chooses the values that the object leaves open, writes them into it, and adds what the change needs to hold them; what
/// `old` held and the object does not is given back.
pub fn claim(
    view: &View<'_>,
    config: &Config,
    kind: &Kind,
    object: &mut Value,
    old: Option<&Value>,
    change: &mut Change,
) -> Result<(), Denied> {
    let mut held = old.map(|old| keys(kind, old)).unwrap_or_default();
    let mut taken: BTreeMap<Key, ()> = BTreeMap::new();
    let mut faults = Faults::default();
    for claim in (kind.claims)(object) {
        let pool = Range::of(claim.pool, config);
        let key = match &claim.value {
            Some(value) => {
                let key = key(claim.pool, value);
                if held.remove(&key).is_some() || taken.contains_key(&key) {
                    continue;
                }
                if let Some(why) =
                    pool.refuses(value).or_else(|| view.head(&key).map(|_| claim.pool.taken().to_owned()))
                {
                    add(&mut faults, &claim, &why);
                    continue;
                }
                key
            }
            None => {
                let free =
                    pool.choose(|key| view.head(key).is_none() && !taken.contains_key(key) && !held.contains_key(key));
                let Some(value) = free else { return Err(Denied::Exhausted(pool.exhausted())) };
                claim.write(object, &value);
                key(claim.pool, &value)
            }
        };
        taken.insert(key, ());
    }
    if !faults.is_empty() {
        return Err(Denied::Faults(faults));
    }
    for key in taken.keys() {
        change.expect(key, Expect::Absent);
        change.put(key, &holder(kind, object));
    }
    release_keys(view, held.keys(), change);
    Ok(())
}

/// Gives back what an object holds that is going away.
pub fn release(view: &View<'_>, kind: &Kind, object: &Value, change: &mut Change) {
    release_keys(view, keys(kind, object).keys(), change);
}

fn release_keys<'a>(view: &View<'_>, keys: impl Iterator<Item = &'a Key>, change: &mut Change) {
    let held = keys.filter(|key| view.head(key).is_some());
    change.mutations.extend(held.map(|key| Mutation::Delete { key: key.clone(), last: None }));
}

/// What an object holds.
pub fn keys(kind: &Kind, object: &Value) -> BTreeMap<Key, ()> {
    let claims = (kind.claims)(object).into_iter();
    claims.filter_map(|claim| Some((key(claim.pool, &claim.value?), ()))).collect()
}

/// Whether a key stands for a held value.
pub fn is_claim(key: &Key) -> bool {
    [Pool::ClusterIp, Pool::NodePort].into_iter().any(|pool| key.resource == resource(pool))
}

fn key(pool: Pool, value: &str) -> Key {
    Key::new(resource(pool), "", value)
}

fn resource(pool: Pool) -> &'static str {
    match pool {
        Pool::ClusterIp => "clusterips.kontiki.dev",
        Pool::NodePort => "nodeports.kontiki.dev",
    }
}

/// What is stored under a held value: whose it is.
pub fn holder(kind: &Kind, object: &Value) -> Sealed {
    let uid = text(object, "/metadata/uid").to_owned();
    let body = json!({
        "resource": kind.storage_resource(),
        "namespace": text(object, "/metadata/namespace"),
        "name": text(object, "/metadata/name"),
        "uid": uid,
    });
    Sealed { head: Head { uid, ..Head::default() }, body: Bytes::from(body.to_string()) }
}

fn add(faults: &mut Faults, claim: &Claim, why: &str) {
    let fault = claim.fault.clone();
    faults.add(fault.kind, fault.field, fault.value, format!("{}{why}", fault.detail));
}

/// The numbers a pool gives out.
struct Range {
    pool: Pool,
    first: u64,
    /// The first ones are left to those who ask for a value.
    reserved: u64,
    size: u64,
    /// How the bounds are written.
    text: String,
}

impl Range {
    fn of(pool: Pool, config: &Config) -> Self {
        match pool {
            Pool::ClusterIp => {
                let cidr = config.service_cidr;
                // The network's own address and the broadcast address are nobody's.
                let (first, size) = (u64::from(cidr.base.to_bits()) + 1, cidr.size() - 2);
                let reserved = (size / 16).clamp(RESERVED_MIN, RESERVED_ADDRESSES_MAX);
                Range { pool, first, reserved, size, text: cidr.to_string() }
            }
            Pool::NodePort => {
                let (first, last) = (u64::from(*config.node_ports.start()), u64::from(*config.node_ports.end()));
                let size = (last + 1).saturating_sub(first);
                let reserved = (size / 32).clamp(RESERVED_MIN, RESERVED_PORTS_MAX);
                Range { pool, first, reserved, size, text: format!("{first}-{last}") }
            }
        }
    }

    fn refuses(&self, value: &str) -> Option<String> {
        let number = match self.pool {
            Pool::ClusterIp => value.parse::<Ipv4Addr>().ok().map(|address| u64::from(address.to_bits())),
            Pool::NodePort => value.parse::<u64>().ok(),
        };
        let inside = number.and_then(|number| number.checked_sub(self.first)).is_some_and(|offset| offset < self.size);
        (!inside).then(|| self.pool.outside(&self.text))
    }

    fn value(&self, offset: u64) -> String {
        let number = self.first + offset;
        match self.pool {
            Pool::ClusterIp => Ipv4Addr::from_bits(number as u32).to_string(),
            Pool::NodePort => number.to_string(),
        }
    }

    /// A free value, from a random place on; the reserved ones only when the others are used up.
    fn choose(&self, free: impl Fn(&Key) -> bool) -> Option<String> {
        let reserved = self.reserved.min(self.size);
        let open = self.size - reserved;
        let start = if open == 0 { 0 } else { rand::rng().random_range(0..open) };
        let rotated = (0..open).map(|step| reserved + (start + step) % open);
        rotated.chain(0..reserved).map(|offset| self.value(offset)).find(|value| free(&key(self.pool, value)))
    }

    fn exhausted(&self) -> Status {
        match self.pool {
            Pool::ClusterIp => failure::internal("failed to allocate a serviceIP: range is full"),
            Pool::NodePort => failure::internal("failed to allocate a nodePort: range is full"),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn config() -> Config {
        let listen = "127.0.0.1:0".parse().unwrap();
        let mut config = Config::new(listen, "127.0.0.1".parse().unwrap(), "unused".into());
        config.service_cidr = "10.96.0.0/28".parse().unwrap();
        config
    }

    #[test]
    fn values_come_from_inside_the_pool_and_the_reserved_ones_last() {
        let range = Range::of(Pool::ClusterIp, &config());
        assert_eq!((range.value(0), range.value(range.size - 1)), ("10.96.0.1".into(), "10.96.0.14".into()));
        assert_eq!(range.refuses("10.96.0.14"), None);
        for outside in ["10.96.0.0", "10.96.0.15", "8.8.8.8", "x"] {
            assert!(range.refuses(outside).is_some(), "{outside}");
        }
        let ports = Range::of(Pool::NodePort, &config());
        assert_eq!((ports.refuses("30000"), ports.refuses("32767")), (None, None));
        assert_eq!(ports.refuses("1"), Some(Pool::NodePort.outside("30000-32767")));
        for _ in 0..100 {
            let port: u64 = ports.choose(|_| true).unwrap().parse().unwrap();
            assert!((30_086..=32_767).contains(&port), "{port}");
        }
        assert_eq!(ports.choose(|key| key.name == "30001"), Some("30001".to_owned()));
        assert_eq!(ports.choose(|_| false), None);
    }
}
