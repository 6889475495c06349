//! What the log ought to be, in the simplest way that can be right: a list of events, and everything recomputed from it.

use std::collections::BTreeMap;

use kontiki_model::{Head, Key, Retention, Revision, Scope};
use kontiki_raft::{Command, EventKind, Expect, Mutation, Rejection};

/// An event as the model knows it.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelEvent {
    pub revision: Revision,
    pub kind: EventKind,
    pub key: Key,
    pub head: Head,
    pub body: Vec<u8>,
    pub previous: Option<(Revision, Vec<u8>)>,
    pub time_ms: i64,
}

/// A live object.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelObject {
    pub revision: Revision,
    pub head: Head,
    pub body: Vec<u8>,
}

/// How old history may become.
#[derive(Clone, Copy, Debug)]
pub struct Ages {
    pub normal_ms: i64,
    pub short_ms: i64,
}

#[derive(Debug, Default)]
pub struct Model {
    events: Vec<ModelEvent>,
    live: BTreeMap<Key, ModelObject>,
    floor: Revision,
    floors: BTreeMap<String, Revision>,
}

impl Model {
    pub fn revision(&self) -> Revision {
        self.events.len() as Revision
    }

    /// All or nothing, as `kontiki_raft` promises it.
    pub fn apply(&mut self, command: &Command) -> Result<Vec<ModelEvent>, Rejection> {
        for precondition in &command.preconditions {
            self.check(&precondition.key, &precondition.expect)?;
        }
        for mutation in &command.mutations {
            if let Mutation::Delete { key, .. } = mutation {
                self.check(key, &Expect::Present)?;
            }
        }
        Ok(command.mutations.iter().map(|mutation| self.change(mutation, command.time_ms)).collect())
    }

    fn check(&self, key: &Key, expect: &Expect) -> Result<(), Rejection> {
        let found = self.live.get(key);
        let holds = match expect {
            Expect::Absent => found.is_none(),
            Expect::Present => found.is_some(),
            Expect::Revision(revision) => found.is_some_and(|object| object.revision == *revision),
            Expect::Uid(uid) => found.is_some_and(|object| object.head.uid == *uid),
        };
        let found = found.map(|object| (object.revision, object.head.uid.clone()));
        if holds { Ok(()) } else { Err(Rejection::Precondition { key: key.clone(), expect: expect.clone(), found }) }
    }

    fn change(&mut self, mutation: &Mutation, time_ms: i64) -> ModelEvent {
        let revision = self.revision() + 1;
        let key = mutation.key().clone();
        let before = self.live.get(&key).cloned();
        let (kind, head, body) = match (mutation, &before) {
            (Mutation::Put { head, body, .. }, None) => (EventKind::Created, head.clone(), body.clone()),
            (Mutation::Put { head, body, .. }, Some(_)) => (EventKind::Updated, head.clone(), body.clone()),
            (Mutation::Delete { last: Some((head, body)), .. }, _) => (EventKind::Deleted, head.clone(), body.clone()),
            (Mutation::Delete { last: None, .. }, Some(before)) => {
                (EventKind::Deleted, before.head.clone(), before.body.clone())
            }
            (Mutation::Delete { last: None, .. }, None) => unreachable!("checked to be present"),
        };
        if kind == EventKind::Deleted {
            self.live.remove(&key);
        } else {
            let object = ModelObject { revision, head: head.clone(), body: body.clone() };
            self.live.insert(key.clone(), object);
        }
        let previous = before.map(|object| (object.revision, object.body));
        let event = ModelEvent { revision, kind, key, head, body, previous, time_ms };
        self.events.push(event.clone());
        event
    }

    /// Forgets by age, as history's compaction does.
    pub fn compact(&mut self, now_ms: i64, ages: Ages) {
        let expired = |event: &&ModelEvent| event.time_ms < now_ms - ages.normal_ms;
        self.floor = self.events.iter().take_while(expired).last().map_or(self.floor, |event| event.revision);
        let short = self.events.iter().filter(|event| event.head.retention == Retention::Short);
        for event in short.take_while(|event| event.time_ms < now_ms - ages.short_ms) {
            self.floors.insert(event.key.resource.clone(), event.revision);
        }
    }

    /// Takes over where history is said to begin, if nothing that should still be told lies before it, nor anything after it
    /// that should be gone. Between two events of the normal class any revision says the same.
    pub fn accept_floor(&mut self, told: Revision) -> bool {
        let between = self.events.iter().filter(|event| told < event.revision && event.revision <= self.floor);
        let same = told <= self.floor && between.clone().all(|event| event.revision <= self.floor_of_short(event));
        if same {
            self.floor = told;
        }
        same
    }

    /// A crash takes back what was forgotten since the state was last flushed, never more, and never less than whole.
    pub fn remember(&mut self, floor: Revision, floors: &BTreeMap<String, Revision>) -> bool {
        let earlier = |(resource, told): (&String, &Revision)| *told <= self.floor_of(resource);
        let possible = floor <= self.floor && floors.iter().all(earlier);
        self.floor = floor;
        self.floors.clone_from(floors);
        possible
    }

    fn floor_of_short(&self, event: &ModelEvent) -> Revision {
        let floor = self.floors.get(&event.key.resource).copied().unwrap_or_default();
        if event.head.retention == Retention::Short { floor } else { 0 }
    }

    pub fn floor(&self) -> Revision {
        self.floor
    }

    pub fn floor_of(&self, resource: &str) -> Revision {
        self.floors.get(resource).copied().unwrap_or_default().max(self.floor)
    }

    pub fn live(&self) -> &BTreeMap<Key, ModelObject> {
        &self.live
    }

    pub fn live_at(&self, at: Revision) -> BTreeMap<Key, ModelObject> {
        let mut live = BTreeMap::new();
        for event in self.events.iter().take_while(|event| event.revision <= at) {
            if event.kind == EventKind::Deleted {
                live.remove(&event.key);
            } else {
                let object =
                    ModelObject { revision: event.revision, head: event.head.clone(), body: event.body.clone() };
                live.insert(event.key.clone(), object);
            }
        }
        live
    }

    pub fn events_after<'a>(&'a self, scope: &'a Scope, after: Revision) -> impl Iterator<Item = &'a ModelEvent> {
        self.events.iter().skip(after as usize).filter(|event| scope.contains(&event.key))
    }

    pub fn events_of<'a>(&'a self, key: &'a Key) -> impl DoubleEndedIterator<Item = &'a ModelEvent> {
        self.events.iter().filter(move |event| event.key == *key)
    }
}
