//! What happened: the events of the cluster in revision order, each as the first server to apply it did.

use std::collections::BTreeMap;
use std::sync::Arc;

use kontiki_model::{Key, Revision, Scope};
use kontiki_raft::simulation::Store;
use kontiki_raft::{Event, EventKind};

use crate::invariants::{Violation, consecutive, identical};

#[derive(Default)]
pub struct Chronicle {
    events: Vec<Arc<Event>>,
    /// How far each server was compared with it.
    compared: BTreeMap<u64, Revision>,
}

impl Chronicle {
    /// Takes over what a server has applied since it was looked at last, and compares it with what others did.
    pub fn observe(&mut self, server: u64, store: &Store) -> Result<(), Violation> {
        let (floor, revision) = (store.floor(), store.revision());
        let compared = self.compared.entry(server).or_default();
        let first = (*compared).max(floor) + 1;
        *compared = revision;
        if first > revision {
            return Ok(());
        }
        let count = usize::try_from(revision + 1 - first).unwrap_or(usize::MAX);
        let Ok(run) = store.events_run(first, count) else { return Ok(()) };
        consecutive::check(first, revision, &run)?;
        for event in run {
            match self.get(event.revision()) {
                Some(known) => identical::check_event(server, known, &event)?,
                None => {
                    consecutive::follows(self.events.last().map(|last| &**last), &event)?;
                    self.events.push(event);
                }
            }
        }
        Ok(())
    }

    /// A server begins anew: what it says is compared from the start of what it keeps.
    pub fn restarted(&mut self, server: u64) {
        self.compared.remove(&server);
    }

    pub fn revision(&self) -> Revision {
        self.events.len() as Revision
    }

    pub fn get(&self, revision: Revision) -> Option<&Arc<Event>> {
        self.events.get(usize::try_from(revision.checked_sub(1)?).ok()?)
    }

    pub fn events(&self) -> &[Arc<Event>] {
        &self.events
    }

    /// The first event of a scope after a revision.
    pub fn next(&self, scope: &Scope, after: Revision) -> Option<&Arc<Event>> {
        let start = usize::try_from(after).unwrap_or(usize::MAX).min(self.events.len());
        self.events[start..].iter().find(|event| scope.contains(&event.object.key))
    }

    /// What an object was at a revision: the event that made it so.
    pub fn object_at(&self, key: &Key, at: Revision) -> Option<&Arc<Event>> {
        let end = usize::try_from(at).unwrap_or(usize::MAX).min(self.events.len());
        let last = self.events[..end].iter().rev().find(|event| event.object.key == *key);
        last.filter(|event| event.kind != EventKind::Deleted)
    }

    /// All live objects of a scope at a revision, by key.
    pub fn live_at(&self, scope: &Scope, at: Revision) -> BTreeMap<Key, Arc<Event>> {
        let end = usize::try_from(at).unwrap_or(usize::MAX).min(self.events.len());
        let mut live = BTreeMap::new();
        for event in self.events[..end].iter().filter(|event| scope.contains(&event.object.key)) {
            match event.kind {
                EventKind::Deleted => drop(live.remove(&event.object.key)),
                EventKind::Created | EventKind::Updated => drop(live.insert(event.object.key.clone(), event.clone())),
            }
        }
        live
    }

    /// Whether the event after this one is of the same command.
    pub fn goes_on(&self, revision: Revision) -> bool {
        match (self.get(revision), self.get(revision + 1)) {
            (Some(one), Some(two)) => one.index == two.index,
            _ => false,
        }
    }
}
