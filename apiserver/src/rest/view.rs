//! The state a write is decided on: the log's, below what the same transaction has already decided to change.

use std::{collections::HashMap, sync::Arc};

use bytes::Bytes;
use kontiki_model::{Head, Key, Revision, Scope};
use kontiki_raft::{ListOptions, Log, Mutation, ReadError, Stored};

/// What will be at a key. Pending objects have revision 0: they get theirs when the transaction is applied.
pub struct View<'a> {
    /// Nothing will be written.
    pub dry_run: bool,
    log: &'a Log,
    pending: HashMap<Key, Option<Stored>>,
}

impl<'a> View<'a> {
    pub fn of(log: &'a Log, dry_run: bool) -> Self {
        View { dry_run, log, pending: HashMap::new() }
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
