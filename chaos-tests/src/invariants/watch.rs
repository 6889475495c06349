//! A watch is ordered, unique, without a gap, and resumable from whatever it has seen.

use kontiki_model::{Revision, Scope};
use kontiki_raft::Event;

use super::{Violation, brief, same_event, violated};
use crate::model::Model;

/// What one watcher has been told, and so what it must be told next.
#[derive(Clone, Debug)]
pub struct Watched {
    pub scope: Scope,
    /// Everything up to here was told.
    pub told: Revision,
}

impl Watched {
    /// The next event of the scope and no other.
    pub fn event(&mut self, model: &Model, seen: &Event) -> Result<(), Violation> {
        let Some(expected) = model.events_after(&self.scope, self.told).next() else {
            return violated("a watch tells only what happened", brief(seen));
        };
        if seen.revision() <= self.told {
            return violated("a watch tells each event once, in order", format!("{} after {}", brief(seen), self.told));
        }
        if seen.revision() != expected.revision {
            return violated("a watch leaves no gap", format!("{} instead of {}", brief(seen), expected.revision));
        }
        if !same_event(seen, expected) {
            return violated("a watch tells what happened as it happened", format!("{seen:?} is not {expected:?}"));
        }
        self.told = seen.revision();
        Ok(())
    }

    /// A bookmark never passes an event that was not told, nor the present; and never goes back.
    pub fn progress(&mut self, model: &Model, revision: Revision) -> Result<(), Violation> {
        if let Some(next) = model.events_after(&self.scope, self.told).next()
            && next.revision <= revision
        {
            return violated("a bookmark passes no event", format!("{revision} passes {}", next.revision));
        }
        if revision > model.revision() || revision < self.told {
            return violated("a bookmark is between the last event and the present", revision.to_string());
        }
        self.told = revision;
        Ok(())
    }

    /// Being told that history is gone is right only if it is.
    pub fn compacted(&self, model: &Model) -> Result<(), Violation> {
        let floor = model.floor_of(&self.scope.resource);
        if self.told >= floor {
            return violated("retained history can be resumed", format!("from {}, floor {floor}", self.told));
        }
        Ok(())
    }

    pub fn caught_up(&self, model: &Model) -> bool {
        model.events_after(&self.scope, self.told).next().is_none()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::sync::Arc;

    use kontiki_model::{Head, Key};
    use kontiki_raft::{Author, Command, Event, Mutation, Stored};

    use super::*;
    use crate::model::ModelEvent;

    fn to_event(event: &ModelEvent) -> Event {
        let stored = |revision, body: &[u8]| Stored {
            key: event.key.clone(),
            revision,
            head: Arc::new(event.head.clone()),
            body: body.to_vec().into(),
        };
        Event {
            kind: event.kind,
            object: stored(event.revision, &event.body),
            previous: event.previous.as_ref().map(|(revision, body)| stored(*revision, body)),
            index: 0,
            time_ms: event.time_ms,
            author: Arc::new(Author::default()),
            cause: None,
        }
    }

    /// The promise that is broken when a watcher of three writes of one object is told these, by number, or their bookmarks.
    fn broken(told: &[i64]) -> Option<&'static str> {
        let mut model = Model::default();
        let put = || Mutation::Put { key: Key::new("pods", "ns", "a"), head: Head::default(), body: vec![1] };
        let command = || Command { mutations: vec![put()], ..Command::default() };
        let events: Vec<_> = (0..3).map(|_| to_event(&model.apply(&command()).unwrap()[0])).collect();
        let mut watched = Watched { scope: Scope { resource: "pods".into(), namespace: None }, told: 0 };
        let tell = |number: &i64| match usize::try_from(*number) {
            Ok(event) => watched.event(&model, &events[event - 1]),
            Err(_) => watched.progress(&model, number.unsigned_abs()),
        };
        told.iter().try_for_each(tell).err().map(|violation| violation.promise)
    }

    #[test]
    fn each_way_to_break_a_watch_is_noticed() {
        assert_eq!(broken(&[1, 2, 3, -3]), None);
        assert_eq!(broken(&[1, 3]), Some("a watch leaves no gap"));
        assert_eq!(broken(&[1, 1]), Some("a watch tells each event once, in order"));
        assert_eq!(broken(&[1, 2, 1]), Some("a watch tells each event once, in order"));
        assert_eq!(broken(&[1, 2, 3, 3]), Some("a watch tells only what happened"));
        assert_eq!(broken(&[1, -2]), Some("a bookmark passes no event"));
        assert_eq!(broken(&[1, 2, 3, -4]), Some("a bookmark is between the last event and the present"));
        assert_eq!(broken(&[1, 2, 3, -2]), Some("a bookmark is between the last event and the present"));
    }
}
