//! Which objects a restore is about, and which it leaves alone whatever is asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kontiki_kinds::{Deletion, Kind, KindRef, Kinds, Restore, custom};
use kontiki_model::{Key, Revision, Status};
use kontiki_raft::{ReadError, backup::Archive};

use crate::{
    bootstrap, definitions, failure,
    peers::former,
    request::ApiRequest,
    rest::{claims, definition, store::read_failed},
};

#[derive(Clone)]
pub struct Selection {
    known: Kinds,
    /// Empty: all.
    kinds: Vec<KindRef>,
    /// Empty: all, and what is in none.
    namespaces: BTreeSet<String>,
    own: Vec<Key>,
}

/// What is to be done about a key.
pub enum Judged {
    /// It is compared, and becomes what it was.
    Restored(KindRef),
    /// Not asked for, or it follows the object that holds it.
    Outside,
    /// Left as it is, for this reason.
    Left(&'static str),
}

impl Selection {
    pub fn read(known: Kinds, request: &ApiRequest) -> Result<Self, Status> {
        let values = |name: &'static str| {
            let given = request.query.iter().filter(move |(key, value)| key == name && !value.is_empty());
            given.map(|(_, value)| value)
        };
        let mut kinds = Vec::new();
        for resource in values("resource") {
            let unknown = || failure::bad_request(format!("there is no resource {resource:?}"));
            kinds.push(find(&known, resource).ok_or_else(unknown)?);
        }
        let namespaces = values("namespace").cloned().collect();
        Ok(Selection { known, kinds, namespaces, own: bootstrap::own_objects().into() })
    }

    /// With the kinds that were defined then, where they are not now and their definitions come back.
    pub fn and_past(&self, archive: &Archive, to: Revision, past: &BTreeMap<Key, Revision>) -> Result<Self, Status> {
        let mut custom = self.known.custom().to_vec();
        for key in past.keys().filter(|key| key.resource == definitions::resource()) {
            if !matches!(self.judge(key), Judged::Restored(_)) {
                continue;
            }
            let was = match archive.get_at(key, to) {
                Ok(Some(was)) => was,
                // What cannot be read is told where it is compared.
                Ok(None) | Err(ReadError::Compacted { .. } | ReadError::Sealed(_)) => continue,
                Err(error) => return Err(read_failed(&error)),
            };
            let definition = serde_json::from_slice(&was.body).map_err(failure::internal)?;
            let unknown = |kind: &Arc<Kind>| self.known.by_storage_resource(&kind.storage_resource()).is_none();
            custom.extend(custom::served(&definition, was.revision).into_iter().filter(unknown));
        }
        Ok(Selection { known: Kinds::with(custom), ..self.clone() })
    }

    /// Those that were named.
    pub fn namespaces(&self) -> impl Iterator<Item = &str> {
        self.namespaces.iter().map(String::as_str)
    }

    pub fn known(&self) -> &Kinds {
        &self.known
    }

    pub fn judge(&self, key: &Key) -> Judged {
        let Some(kind) = self.known.by_storage_resource(&key.resource) else {
            return match key.resource.contains('.') {
                _ if claims::is_claim(key) || definition::is_of_names(key) || former::is_note(key) => Judged::Outside,
                true => Judged::Left("custom objects whose definition is not there"),
                false => Judged::Left("the cluster's own records"),
            };
        };
        if !self.contains(&kind, key) {
            return Judged::Outside;
        }
        match kind.restore {
            Restore::Never => Judged::Left("Leases and Events: they tell who holds what, and what happened, now"),
            Restore::Whole | Restore::WhileThere if self.own.contains(key) => {
                Judged::Left("the kubernetes Service and its endpoints: they tell where the servers are now")
            }
            Restore::Whole | Restore::WhileThere => Judged::Restored(kind),
        }
    }

    fn contains(&self, kind: &Kind, key: &Key) -> bool {
        // A namespace is in itself: nothing can come back into one that is gone.
        let place = if kind.deletion == Deletion::SpecFinalizers { &key.name } else { &key.namespace };
        let is = |one: &KindRef| one.storage_resource() == key.resource;
        (self.kinds.is_empty() || self.kinds.iter().any(is))
            && (self.namespaces.is_empty() || self.namespaces.contains(place))
    }
}

/// A resource by any name that kubectl takes.
fn find(kinds: &Kinds, name: &str) -> Option<KindRef> {
    let lower = name.to_lowercase();
    kinds.by_storage_resource(&lower).or_else(|| {
        let known = |kind: &KindRef| {
            kind.resource == lower || kind.singular == lower || kind.short_names.contains(&lower.as_str())
        };
        kinds.iter().find(known)
    })
}
