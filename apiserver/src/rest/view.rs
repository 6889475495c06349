//! The state a write is decided on: the log's, below what the same transaction has already decided to change.

use std::{
    collections::{BTreeSet, HashMap},
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;
use kontiki_kinds::Kinds;
use kontiki_model::{Head, Key, Revision, Scope};
use kontiki_raft::{ListOptions, Log, Mutation, ReadError, Stored};

use super::{
    store::Refusal,
    turns::{Turn, Turns},
};
use crate::Core;

/// What will be at a key. Pending objects have revision 0: they get theirs when the transaction is applied.
pub struct View<'a> {
    /// Nothing will be written.
    pub dry_run: bool,
    log: &'a Log,
    pending: HashMap<Key, Option<Stored>>,
    /// What is served as the transaction has it, once it has written a definition.
    kinds: Option<Kinds>,
    /// By namespace. They are held for as long as the view: until what was decided on it is applied or given up.
    turns: Mutex<HashMap<String, Turn>>,
}

impl<'a> View<'a> {
    pub fn of(log: &'a Log, dry_run: bool) -> Self {
        View { dry_run, log, pending: HashMap::new(), kinds: None, turns: Mutex::default() }
    }

    /// The kinds that there are, those of this transaction's definitions among them.
    pub fn kinds(&self, core: &Core) -> Kinds {
        self.kinds.clone().unwrap_or_else(|| core.kinds())
    }

    /// From now on, these are the kinds.
    pub fn define(&mut self, kinds: Kinds) {
        self.kinds = Some(kinds);
    }

    pub fn get(&self, key: &Key) -> Result<Option<Stored>, ReadError> {
        match self.pending.get(key) {
            Some(pending) => Ok(pending.clone()),
            None => self.log.get(key),
        }
    }

    pub fn head(&self, key: &Key) -> Option<(Revision, Arc<Head>)> {
        match self.pending.get(key) {
            Some(pending) => pending.as_ref().map(|stored| (stored.revision, stored.head.clone())),
            None => self.log.head(key),
        }
    }

    /// All objects of a scope, in the order of their keys.
    pub fn list(&self, scope: &Scope) -> Result<Vec<Stored>, ReadError> {
        let mut found = self.log.list(scope, ListOptions::default())?.items;
        if !self.pending.is_empty() {
            found.retain(|stored| !self.is_pending(&stored.key));
            let pending = self.pending.values().flatten().filter(|stored| scope.contains(&stored.key));
            found.extend(pending.cloned());
            found.sort_by(|one, other| one.key.cmp(&other.key));
        }
        Ok(found)
    }

    /// Waits until no other write of this server is being charged to the quotas of a namespace. Whoever has another turn already
    /// does not wait, for others may be waiting for that one: it begins again.
    pub async fn take_turn(&self, turns: &Turns, namespace: &str) -> Result<(), Refusal> {
        let (first, has_it) = self.with_turns(|held| (held.is_empty(), held.contains_key(namespace)));
        if self.dry_run || has_it {
            return Ok(());
        }
        let turn = match first {
            true => turns.wait(namespace).await,
            false => Some(turns.take_free(namespace).ok_or(Refusal::Raced)?),
        };
        self.keep_turn(namespace, turn);
        Ok(())
    }

    /// The same for several namespaces, before anything is decided: everybody takes them in one order, so nobody waits in a circle.
    pub async fn take_turns(&self, turns: &Turns, namespaces: BTreeSet<&str>) {
        for namespace in namespaces {
            let turn = turns.wait(namespace).await;
            self.keep_turn(namespace, turn);
        }
    }

    fn keep_turn(&self, namespace: &str, turn: Option<Turn>) {
        if let Some(turn) = turn {
            self.with_turns(|held| held.insert(namespace.to_owned(), turn));
        }
    }

    /// Whether it has been waited for a turn.
    pub fn has_turns(&self) -> bool {
        self.with_turns(|held| !held.is_empty())
    }

    fn with_turns<T>(&self, with: impl FnOnce(&mut HashMap<String, Turn>) -> T) -> T {
        with(&mut self.turns.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Whether an object is stored as it would be today: encrypted, with the key that encrypts now, or not at all.
    pub fn is_sealed_as_today(&self, stored: &Stored) -> Result<bool, ReadError> {
        match self.is_pending(&stored.key) {
            true => Ok(true),
            false => self.log.is_sealed_as_today(&stored.key, stored.revision),
        }
    }

    /// What this transaction makes of a resource's objects that it writes.
    pub fn pending(&self, resource: &str) -> impl Iterator<Item = &Stored> {
        let of = self.pending.iter().filter(move |(key, _)| key.resource == resource);
        of.filter_map(|(_, stored)| stored.as_ref())
    }

    /// What this transaction puts at a key.
    pub fn pending_at(&self, key: &Key) -> Option<&Stored> {
        self.pending.get(key)?.as_ref()
    }

    /// Whether this transaction makes what is at the key.
    pub fn is_new(&self, key: &Key) -> bool {
        self.pending.get(key).is_some_and(Option::is_some) && self.log.head(key).is_none()
    }

    /// Whether this transaction changes the key.
    pub fn is_pending(&self, key: &Key) -> bool {
        self.pending.contains_key(key)
    }

    /// From now on, the state is as if this were done.
    pub fn pretend(&mut self, mutation: &Mutation) {
        let after = match mutation {
            Mutation::Put { key, head, body } => {
                let (head, body) = (Arc::new(head.clone()), Bytes::copy_from_slice(body));
                Some(Stored { key: key.clone(), revision: 0, head, body })
            }
            Mutation::Delete { .. } => None,
        };
        self.pending.insert(mutation.key().clone(), after);
    }
}
