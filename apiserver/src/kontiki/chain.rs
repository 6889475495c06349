//! From an event back to the person who set it off. Pure: what is retained comes in through [`Record`].
//!
//! A write by a part of the system names the revision it reacted to. Where that revision is its own report of a status, what
//! mattered is what the object was told to be then: the chain goes on with its last change of content. A write that names
//! nothing is explained by what it is part of: a deletion by the request for it, a creation by the owner.

use std::sync::Arc;

use kontiki_model::{Key, Revision};
use kontiki_raft::{Event, EventKind};

use super::limits::LINKS_MAX;

/// What is retained of the past.
pub(crate) trait Record {
    type Error;
    /// The event of a revision.
    fn event(&self, revision: Revision) -> Result<Option<Arc<Event>>, Self::Error>;
    /// The last event of an object, at or before a revision, that changed more than its status.
    fn content(&self, key: &Key, until: Revision) -> Result<Option<Arc<Event>>, Self::Error>;
    /// Where an object's controlling owner is.
    fn owner(&self, event: &Event) -> Option<Key>;
}

/// How an event led to the one before it in the chain.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Because {
    /// It is what was asked about.
    Asked,
    /// The write reacted to this very revision.
    ReactedTo,
    /// The write reacted to its author's own report on what this event had made of the object.
    Content,
    /// It asked for the deletion that the write completed.
    Deletion,
    /// It is of the object's controlling owner.
    Owner,
}

/// Why a chain ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// At a person, or a program that is no part of the system, who named no cause.
    Person,
    /// At a part of the system that acted by itself.
    System,
    /// Where history ends: that revision is no longer retained.
    Forgotten(Revision),
    TooLong,
}

pub(crate) struct Chain {
    pub links: Vec<(Because, Arc<Event>)>,
    pub end: End,
}

/// Whether a user is a part of the system rather than somebody who wants something.
pub(crate) fn is_system(user: &str) -> bool {
    user.starts_with("system:") && !user.starts_with("system:serviceaccount:") && user != "system:anonymous"
}

/// Follows the causes of an event. Each link is older than the one before, so there is no way in circles.
pub(crate) fn chain<R: Record>(record: &R, start: Arc<Event>) -> Result<Chain, R::Error> {
    let mut links = vec![(Because::Asked, start.clone())];
    let mut event = start;
    while links.len() < LINKS_MAX {
        let named = event.cause.filter(|cause| *cause < event.revision());
        if named.is_none() && !is_system(&event.author.user) {
            return Ok(Chain { links, end: End::Person });
        }
        let found = match named {
            Some(cause) => match reacted_to(record, &event, cause)? {
                Some(found) => found,
                None => return Ok(Chain { links, end: End::Forgotten(cause) }),
            },
            None => match unnamed(record, &event)? {
                Some(found) => found,
                None => return Ok(Chain { links, end: End::System }),
            },
        };
        event = found.1.clone();
        links.push(found);
    }
    Ok(Chain { links, end: End::TooLong })
}

fn reacted_to<R: Record>(
    record: &R,
    reaction: &Event,
    cause: Revision,
) -> Result<Option<(Because, Arc<Event>)>, R::Error> {
    let Some(event) = record.event(cause)? else { return Ok(None) };
    if event.author.user != reaction.author.user {
        return Ok(Some((Because::ReactedTo, event)));
    }
    let content = record.content(&event.object.key, cause)?;
    Ok(Some(match content {
        Some(content) if content.revision() < cause => (Because::Content, content),
        Some(_) | None => (Because::ReactedTo, event),
    }))
}

/// What explains a write of the system that names no cause.
fn unnamed<R: Record>(record: &R, event: &Event) -> Result<Option<(Because, Arc<Event>)>, R::Error> {
    let before = event.revision() - 1;
    match event.kind {
        EventKind::Deleted => {
            let asked = record.content(&event.object.key, before)?;
            Ok(asked.filter(|asked| asked.object.head.deletion.is_some()).map(|asked| (Because::Deletion, asked)))
        }
        EventKind::Created | EventKind::Updated => {
            let Some(owner) = record.owner(event) else { return Ok(None) };
            Ok(record.content(&owner, before)?.map(|owner| (Because::Owner, owner)))
        }
    }
}

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use bytes::Bytes;
    use kontiki_model::{Head, OwnerRef};
    use kontiki_raft::{Author, Stored};

    use super::*;

    const CONTROLLERS: &str = "system:kube-controller-manager";

    /// Events in order; those of the list `status` changed no content.
    #[derive(Default)]
    struct Past {
        events: Vec<Arc<Event>>,
        status: Vec<Revision>,
        floor: Revision,
    }

    impl Past {
        fn add(&mut self, kind: EventKind, name: &str, user: &str, cause: Option<Revision>) -> &mut Head {
            let revision = self.events.len() as u64 + 1;
            let object =
                Stored { key: Key::new("things", "", name), revision, head: Arc::default(), body: Bytes::new() };
            let author = Arc::new(Author { user: user.to_owned(), ..Author::default() });
            let event = Event { kind, object, previous: None, index: revision, time_ms: 0, author, cause };
            self.events.push(Arc::new(event));
            let last = self.events.last_mut().and_then(Arc::get_mut).map(|event| &mut event.object.head);
            Arc::make_mut(last.expect("it was pushed above"))
        }

        fn status(&mut self, name: &str, cause: Option<Revision>) {
            self.add(EventKind::Updated, name, CONTROLLERS, cause);
            self.status.push(self.events.len() as u64);
        }

        /// `<revision> <because>` of each link, and the end.
        fn told(&self, revision: Revision) -> String {
            let Ok(start) = self.event(revision);
            let Ok(chain) = chain(self, start.expect("asked about something that is there"));
            let links = chain.links.iter().map(|(because, event)| format!("{} {because:?}", event.revision()));
            format!("{} | {:?}", links.collect::<Vec<_>>().join(", "), chain.end)
        }
    }

    impl Record for Past {
        type Error = Infallible;

        fn event(&self, revision: Revision) -> Result<Option<Arc<Event>>, Infallible> {
            Ok(self.events.iter().find(|event| event.revision() == revision && revision > self.floor).cloned())
        }

        fn content(&self, key: &Key, until: Revision) -> Result<Option<Arc<Event>>, Infallible> {
            let is = |event: &&Arc<Event>| {
                let revision = event.revision();
                event.object.key == *key
                    && revision <= until
                    && revision > self.floor
                    && !self.status.contains(&revision)
            };
            Ok(self.events.iter().rev().find(is).cloned())
        }

        fn owner(&self, event: &Event) -> Option<Key> {
            let owner = event.object.head.owners.first()?;
            Some(Key::new("things", "", owner.name.as_str()))
        }
    }

    #[test]
    fn a_pod_is_traced_back_to_the_person_who_applied_its_deployment() {
        let mut past = Past::default();
        past.add(EventKind::Created, "deployment", "alice", None); // 1
        past.add(EventKind::Updated, "deployment", CONTROLLERS, Some(1)); // 2: its annotation
        past.add(EventKind::Created, "replicaset", CONTROLLERS, Some(2)); // 3
        past.status("replicaset", Some(3)); // 4
        past.add(EventKind::Created, "pod", CONTROLLERS, Some(4)); // 5
        past.add(EventKind::Updated, "pod", "system:kube-scheduler", Some(5)); // 6
        assert_eq!(past.told(6), "6 Asked, 5 ReactedTo, 3 Content, 2 ReactedTo, 1 ReactedTo | Person");
        past.floor = 1;
        assert_eq!(past.told(6), "6 Asked, 5 ReactedTo, 3 Content, 2 ReactedTo | Forgotten(1)");
    }

    #[test]
    fn what_names_no_cause_is_explained_by_its_owner_or_by_the_request_to_delete() {
        let mut past = Past::default();
        past.add(EventKind::Created, "set", "alice", None); // 1
        let owner = OwnerRef { name: "set".into(), ..OwnerRef::default() };
        past.add(EventKind::Created, "pod", CONTROLLERS, None).owners.push(owner); // 2
        past.add(EventKind::Updated, "pod", "bob", None).deletion = Some("now".into()); // 3
        past.status("pod", None); // 4
        past.add(EventKind::Deleted, "pod", "system:node:n", None); // 5
        past.add(EventKind::Created, "lease", "system:apiserver", None); // 6
        past.add(EventKind::Deleted, "lease", "system:apiserver", None); // 7
        assert_eq!(past.told(2), "2 Asked, 1 Owner | Person");
        assert_eq!(past.told(5), "5 Asked, 3 Deletion | Person");
        assert_eq!(past.told(6), "6 Asked | System");
        assert_eq!(past.told(7), "7 Asked | System");
    }

    #[test]
    fn a_replacement_is_traced_back_to_whoever_deleted_what_it_replaces() {
        let mut past = Past::default();
        past.add(EventKind::Created, "set", "alice", None); // 1
        past.add(EventKind::Created, "old", CONTROLLERS, Some(1)); // 2
        past.add(EventKind::Updated, "old", "bob", None).deletion = Some("now".into()); // 3
        past.add(EventKind::Updated, "old", "system:node:n", Some(3)); // 4
        past.status.push(4);
        past.add(EventKind::Created, "new", CONTROLLERS, Some(4)); // 5
        assert_eq!(past.told(5), "5 Asked, 4 ReactedTo, 3 ReactedTo | Person");
    }

    #[test]
    fn a_program_or_person_that_names_a_cause_is_not_the_end() {
        let robot = "system:serviceaccount:ns:robot";
        let mut past = Past::default();
        past.add(EventKind::Created, "widget", "alice", None); // 1
        past.add(EventKind::Created, "deployment", robot, Some(1)); // 2
        past.add(EventKind::Updated, "deployment", robot, None); // 3
        past.add(EventKind::Updated, "deployment", "bob", Some(3)); // 4: takes it back
        past.add(EventKind::Updated, "deployment", "bob", Some(9)); // 5
        assert_eq!(past.told(2), "2 Asked, 1 ReactedTo | Person");
        assert_eq!(past.told(3), "3 Asked | Person");
        assert_eq!(past.told(4), "4 Asked, 3 ReactedTo | Person");
        assert_eq!(past.told(5), "5 Asked | Person");
        past.floor = 1;
        assert_eq!(past.told(2), "2 Asked | Forgotten(1)");
    }

    #[test]
    fn a_cause_that_is_not_older_is_no_cause() {
        let mut past = Past::default();
        past.add(EventKind::Created, "x", CONTROLLERS, Some(1));
        past.add(EventKind::Created, "y", CONTROLLERS, Some(9));
        assert_eq!(past.told(1), "1 Asked | System");
        assert_eq!(past.told(2), "2 Asked | System");
        for user in ["alice", "system:serviceaccount:ns:robot", "system:anonymous"] {
            assert!(!is_system(user), "{user}");
        }
    }
}
