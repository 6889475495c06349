//! Values that only one object of the cluster may hold, as kinds declare them.

use kontiki_model::Fault;
use serde_json::Value;

use crate::networking::{ipaddress, servicecidr};
use crate::{Kind, tree};

/// A value from a pool that only one object may hold: a cluster address, a node port.
#[derive(Clone, Debug, PartialEq)]
pub struct Claim {
    pub pool: Pool,
    /// Where the value belongs in the object, as JSON pointers; the same value in each place.
    pub pointers: Vec<String>,
    /// The value asked for; `None` lets the server choose.
    pub value: Option<String>,
    /// The fault when the value cannot be had; its detail is completed by [`Pool::taken`] or [`Pool::outside`].
    pub fault: Fault,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Pool {
    ClusterIp,
    NodePort,
}

/// Who holds a value.
#[derive(Clone, Copy)]
pub struct Holder<'a> {
    pub kind: &'a Kind,
    pub namespace: &'a str,
    pub name: &'a str,
}

/// What objects have to do with a pool besides holding its values.
pub struct Ledger {
    /// The kind whose objects say which ranges the values come from, and those that one gives.
    pub source: &'static Kind,
    pub ranges: for<'a> fn(&'a Value) -> Vec<&'a str>,
    /// The kind with an object of each value that is held, named after it: what it is, and whether it tells of this holder.
    pub record: &'static Kind,
    pub recorded: fn(&str, &Holder<'_>) -> Value,
    pub tells_of: fn(&Value, &Holder<'_>) -> bool,
}

static ADDRESSES: Ledger = Ledger {
    source: &servicecidr::KIND,
    ranges: servicecidr::usable,
    record: &ipaddress::KIND,
    recorded: ipaddress::record,
    tells_of: ipaddress::tells_of,
};

impl Claim {
    /// Writes the value that was claimed: addresses as text, ports as numbers.
    pub fn write(&self, object: &mut Value, value: &str) {
        let value: Value = match self.pool {
            Pool::ClusterIp => value.into(),
            Pool::NodePort => value.parse::<i64>().expect("a node port is a number").into(),
        };
        for pointer in &self.pointers {
            let (parent, member) = pointer.rsplit_once('/').expect("a pointer starts with a slash");
            match member.parse::<usize>() {
                Ok(_) => tree::set(object, parent, Value::Array(vec![value.clone()])),
                Err(_) => tree::set(object, pointer, value.clone()),
            }
        }
    }
}

impl Pool {
    /// `None` for a pool that only the server's configuration and its holders tell of.
    pub fn ledger(self) -> Option<&'static Ledger> {
        match self {
            Pool::ClusterIp => Some(&ADDRESSES),
            Pool::NodePort => None,
        }
    }

    /// Why a value that somebody else holds cannot be had.
    pub fn taken(self) -> &'static str {
        match self {
            Pool::ClusterIp => "provided IP is already allocated",
            Pool::NodePort => "provided port is already allocated",
        }
    }

    /// Why a value outside the pool cannot be had; `range` is how the pool's bounds are written: `30000-32767`.
    pub fn outside(self, range: &str) -> String {
        match self {
            Pool::ClusterIp => "the provided network does not match the current range".to_owned(),
            Pool::NodePort => format!("provided port is not in the valid range. The range of valid ports is {range}"),
        }
    }
}
