//! The few fields of an object that the machinery needs without parsing its body.

use std::collections::BTreeMap;

use bincode::{Decode, Encode};
use serde::{Deserialize, Serialize};

/// One entry of `metadata.ownerReferences`, as far as garbage collection and `why` need it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct OwnerRef {
    pub uid: String,
    pub kind: String,
    pub name: String,
    pub controller: bool,
    pub block_deletion: bool,
}

/// The classes of history. Each has a limit of its own for size and age. The order is on disk: never change it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub enum Retention {
    #[default]
    Normal,
    /// What changes all the time and says little about the past: Leases, Events.
    Short,
    /// What must leave no trace once history has let go of it: Secrets.
    Sensitive,
}

impl Retention {
    /// Every class, in the order of their numbers (`class as usize`).
    pub const ALL: [Retention; 3] = [Retention::Normal, Retention::Short, Retention::Sensitive];
}

/// What the log and the index know of an object. Built by the API server, stored beside the body, opaque to apply.
#[derive(Clone, Debug, Default, PartialEq, Eq, Encode, Decode, Serialize, Deserialize)]
pub struct Head {
    pub uid: String,
    pub generation: i64,
    pub labels: BTreeMap<String, String>,
    pub owners: Vec<OwnerRef>,
    pub finalizers: Vec<String>,
    /// `metadata.deletionTimestamp` as written in the body, if the object is being deleted.
    pub deletion: Option<String>,
    /// Selectable fields of the kind besides `metadata.name` and `metadata.namespace`, e.g. `spec.nodeName`.
    pub fields: BTreeMap<String, String>,
    /// Byte offset in the body where `"resourceVersion":"N",` is spliced in on the way out.
    pub splice: u32,
    /// How long history keeps changes of this object: what its kind declares, as a plain fact.
    pub retention: Retention,
}
