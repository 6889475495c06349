//! The pure core: `(live heads, revision, term, command) → changes`, the same on every server.

use std::sync::Arc;

use bytes::Bytes;
use kontiki_model::{Head, Key, Revision};

use crate::{Command, EventKind, Expect, Mutation, Precondition, Rejection};

/// What apply may know of the state: the live head of a key.
pub trait Heads {
    fn current(&self, key: &Key) -> Option<(Revision, Arc<Head>)>;
}

/// One mutation, decided. Its revision is the state's next one.
#[derive(Clone, Debug, PartialEq)]
pub struct Change {
    pub kind: EventKind,
    pub key: Key,
    pub revision: Revision,
    /// The version that this one replaces.
    pub previous: Option<(Revision, Arc<Head>)>,
    pub after: After,
}

/// The object after a change; for a deletion its last form.
#[derive(Clone, Debug, PartialEq)]
pub enum After {
    Given(Arc<Head>, Bytes),
    /// A deletion that leaves the object as it was stored.
    AsStored,
}

/// All changes of a command, with consecutive revisions after `revision`, or the reason why there are none.
///
/// `term` is the log entry's own. A command written for an older one is refused: its writer has lost its office since.
pub fn apply(heads: &impl Heads, revision: Revision, term: u64, command: &Command) -> Result<Vec<Change>, Rejection> {
    debug_assert_eq!(command.validate(), Ok(()), "checked before it was proposed");
    if let Some(written_for) = command.term
        && written_for < term
    {
        return Err(Rejection::StaleTerm { written_for, current: term });
    }
    command.preconditions.iter().try_for_each(|precondition| check(heads, precondition))?;
    let revisions = revision + 1..;
    command.mutations.iter().zip(revisions).map(|(mutation, revision)| change(heads, mutation, revision)).collect()
}

fn check(heads: &impl Heads, Precondition { key, expect }: &Precondition) -> Result<(), Rejection> {
    let found = heads.current(key);
    let holds = match (expect, &found) {
        (Expect::Absent, found) => found.is_none(),
        (Expect::Present, found) => found.is_some(),
        (Expect::Revision(expected), Some((revision, _))) => expected == revision,
        (Expect::Uid(expected), Some((_, head))) => *expected == head.uid,
        (Expect::Revision(_) | Expect::Uid(_), None) => false,
    };
    if holds { Ok(()) } else { Err(unmet(key, expect.clone(), found)) }
}

fn change(heads: &impl Heads, mutation: &Mutation, revision: Revision) -> Result<Change, Rejection> {
    let key = mutation.key().clone();
    let previous = heads.current(&key);
    let given = |head: &Head, body: &[u8]| After::Given(Arc::new(head.clone()), Bytes::copy_from_slice(body));
    let (kind, after) = match (mutation, &previous) {
        (Mutation::Put { head, body, .. }, None) => (EventKind::Created, given(head, body)),
        (Mutation::Put { head, body, .. }, Some(_)) => (EventKind::Updated, given(head, body)),
        (Mutation::Delete { .. }, None) => return Err(unmet(&key, Expect::Present, None)),
        (Mutation::Delete { last: Some((head, body)), .. }, Some(_)) => (EventKind::Deleted, given(head, body)),
        (Mutation::Delete { last: None, .. }, Some(_)) => (EventKind::Deleted, After::AsStored),
    };
    Ok(Change { kind, key, revision, previous, after })
}

fn unmet(key: &Key, expect: Expect, found: Option<(Revision, Arc<Head>)>) -> Rejection {
    let found = found.map(|(revision, head)| (revision, head.uid.clone()));
    Rejection::Precondition { key: key.clone(), expect, found }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use std::collections::HashMap;

    use super::*;

    struct Fixed(HashMap<Key, (Revision, Arc<Head>)>);

    impl Heads for Fixed {
        fn current(&self, key: &Key) -> Option<(Revision, Arc<Head>)> {
            self.0.get(key).cloned()
        }
    }

    fn key(name: &str) -> Key {
        Key::new("pods", "default", name)
    }

    fn head(uid: &str) -> Head {
        Head { uid: uid.into(), ..Head::default() }
    }

    /// `a` at revision 5 with uid `u`, nothing else; the state is at revision 9, the log in term 3.
    fn apply_to_a(command: &Command) -> Result<Vec<Change>, Rejection> {
        apply(&Fixed(HashMap::from([(key("a"), (5, Arc::new(head("u"))))])), 9, 3, command)
    }

    fn put(name: &str) -> Mutation {
        Mutation::Put { key: key(name), head: head("new"), body: b"{}".to_vec() }
    }

    fn delete(name: &str) -> Mutation {
        Mutation::Delete { key: key(name), last: None }
    }

    #[test]
    fn changes_get_consecutive_revisions_and_know_what_they_replace() {
        let command = Command { mutations: vec![put("b"), put("a")], ..Command::default() };
        let given = || After::Given(Arc::new(head("new")), Bytes::from_static(b"{}"));
        let created = Change { kind: EventKind::Created, key: key("b"), revision: 10, previous: None, after: given() };
        let previous = Some((5, Arc::new(head("u"))));
        let updated = Change { kind: EventKind::Updated, key: key("a"), revision: 11, previous, after: given() };
        assert_eq!(apply_to_a(&command), Ok(vec![created, updated]));
    }

    #[test]
    fn deletion_keeps_the_stored_form_or_takes_the_given_one() {
        let last = Some((head("last"), b"x".to_vec()));
        for (last, after) in
            [(None, After::AsStored), (last, After::Given(Arc::new(head("last")), Bytes::from_static(b"x")))]
        {
            let mutations = vec![Mutation::Delete { key: key("a"), last }];
            let changes = apply_to_a(&Command { mutations, ..Command::default() }).unwrap();
            assert_eq!((changes[0].kind, &changes[0].after), (EventKind::Deleted, &after));
        }
    }

    #[test]
    fn preconditions_hold_or_nothing_happens() {
        let found = Some((5, "u".to_owned()));
        let cases = [
            ("a", Expect::Present, true),
            ("a", Expect::Absent, false),
            ("a", Expect::Revision(5), true),
            ("a", Expect::Revision(4), false),
            ("a", Expect::Uid("u".into()), true),
            ("a", Expect::Uid("v".into()), false),
            ("b", Expect::Present, false),
            ("b", Expect::Absent, true),
            ("b", Expect::Revision(0), false),
            ("b", Expect::Uid(String::new()), false),
        ];
        for (name, expect, holds) in cases {
            let preconditions = vec![Precondition { key: key(name), expect: expect.clone() }];
            let command = Command { preconditions, mutations: vec![put("c")], ..Command::default() };
            let found = found.clone().filter(|_| name == "a");
            let rejection = Rejection::Precondition { key: key(name), expect: expect.clone(), found };
            let expected = if holds { Ok(1) } else { Err(rejection) };
            assert_eq!(apply_to_a(&command).map(|changes| changes.len()), expected, "{name} {expect:?}");
        }
    }

    #[test]
    fn deleting_what_is_absent_rejects_the_whole_command() {
        let command = Command { mutations: vec![put("b"), delete("c")], ..Command::default() };
        let expected = Rejection::Precondition { key: key("c"), expect: Expect::Present, found: None };
        assert_eq!(apply_to_a(&command), Err(expected));
    }

    #[test]
    fn a_writer_of_an_older_term_is_refused() {
        for (term, expected) in
            [(None, Ok(1)), (Some(3), Ok(1)), (Some(2), Err(Rejection::StaleTerm { written_for: 2, current: 3 }))]
        {
            let command = Command { term, mutations: vec![put("b")], ..Command::default() };
            assert_eq!(apply_to_a(&command).map(|changes| changes.len()), expected, "{term:?}");
        }
    }
}
