//! A write between its decision and its proposal. Every verb makes plans; alone each is proposed as it is, in a
//! transaction many become one command.

use std::collections::BTreeMap;

use futures::future::BoxFuture;
use kontiki_model::{Head, Key, Revision, Status};
use kontiki_raft::{Expect, Mutation, Precondition, Stored};

use super::{
    call::Call,
    conversion::Forms,
    definition,
    object::Sealed,
    store::{self, Attempts, Refusal},
    view::View,
};
use crate::failure;

/// A write that was read: what it makes of any state. Deciding changes nothing, and may be done again. It may take its time:
/// others may have to be asked.
pub trait Write: Send + Sync {
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a>;
}

pub type Planned<'a> = BoxFuture<'a, Result<Plan, Refusal>>;

/// What one write comes to on the state that it was decided on.
#[derive(Debug)]
pub struct Plan {
    pub effect: Effect,
    /// The object as its author is told of it, with the revision it had before (0 for a new one).
    pub object: Stored,
    pub change: Change,
    pub warnings: Vec<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Created,
    Updated,
    /// The object is already as it was asked to be.
    Unchanged,
    Deleted,
}

/// Mutations of one write and what they rely on.
#[derive(Debug, Default)]
pub struct Change {
    pub preconditions: Vec<Precondition>,
    pub mutations: Vec<Mutation>,
    /// Objects, by key, that are to have a new revision, as they are or are not there: others rely on theirs.
    pub renewals: BTreeMap<Key, Option<Stored>>,
}

/// A write that was carried out.
#[derive(Debug)]
pub struct Written {
    pub effect: Effect,
    pub stored: Stored,
    pub warnings: Vec<String>,
}

impl Change {
    pub fn expect(&mut self, key: &Key, expect: Expect) {
        self.preconditions.push(Precondition { key: key.clone(), expect });
    }

    pub fn put(&mut self, key: &Key, sealed: &Sealed) {
        self.mutations.push(Mutation::Put { key: key.clone(), head: sealed.head.clone(), body: sealed.body.to_vec() });
    }

    /// Has an object written as it is. One that is not there yet must not come before the change either.
    pub fn renew(&mut self, key: Key, present: Option<Stored>) {
        self.renewals.entry(key).or_insert(present);
    }

    /// Complete: what is written anyhow is renewed by that.
    pub fn settle(&mut self) {
        for (key, present) in std::mem::take(&mut self.renewals) {
            if self.mutations.iter().any(|mutation| *mutation.key() == key) {
                continue;
            }
            match present {
                Some(Stored { revision, head, body, .. }) => {
                    self.expect(&key, Expect::Revision(revision));
                    self.put(&key, &Sealed { head: Head::clone(&head), body });
                }
                None => self.expect(&key, Expect::Absent),
            }
        }
    }
}

/// An object that is not committed, or not yet.
pub fn uncommitted(key: Key, revision: Revision, sealed: Sealed) -> Stored {
    Stored { key, revision, head: sealed.head.into(), body: sealed.body }
}

/// Carries out one write, again on fresh state when another one came first.
pub async fn carry_out(call: &Call<'_>, name: &str, write: &dyn Write, dry_run: bool) -> Result<Written, Status> {
    let mut attempts = Attempts::new(call.core, call.modified(name));
    loop {
        let forms = Forms::default();
        let call = &Call { forms: Some(&forms), ..*call };
        let view = View::of(&call.core.log, dry_run);
        let attempted = attempt(call, write, &view).await;
        if view.has_turns() {
            attempts.are_charged();
        }
        drop(view);
        match attempted {
            Ok(written) => return Ok(written),
            Err(refusal) => {
                let raced = matches!(refusal, Refusal::Raced);
                attempts.again(refusal).await?;
                if raced && definition::is_over(call.core, call.kind) {
                    return Err(failure::definition_changed());
                }
            }
        }
    }
}

async fn attempt(call: &Call<'_>, write: &dyn Write, view: &View<'_>) -> Result<Written, Refusal> {
    let Plan { effect, object, change, warnings } = write.plan(call, view).await?;
    let revision = match effect {
        Effect::Unchanged => {
            store::confirm(call.core, &[(&object.key, object.revision)]).await?;
            object.revision
        }
        Effect::Created | Effect::Updated | Effect::Deleted if view.dry_run => object.revision,
        Effect::Created | Effect::Updated | Effect::Deleted => {
            let events = store::commit(call.core, call.request, &call.authors_verb(), change).await?;
            let event = events.iter().find(|event| event.object.key == object.key);
            event.ok_or_else(|| store::lost(&object.key))?.revision()
        }
    };
    Ok(Written { effect, stored: Stored { revision, ..object }, warnings })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use bytes::Bytes;

    use super::*;

    fn change(written: &[&str], renewed: &[(&str, Option<Revision>)]) -> Vec<String> {
        let key = |name: &str| Key::new("namespaces", "", name);
        let mut change = Change::default();
        for name in written {
            change.mutations.push(Mutation::Delete { key: key(name), last: None });
        }
        for (name, revision) in renewed {
            let (head, body) = (Arc::default(), Bytes::new());
            change.renew(key(name), revision.map(|revision| Stored { key: key(name), revision, head, body }));
        }
        change.settle();
        let expected = change.preconditions.iter().map(|one| format!("{} {:?}", one.key.name, one.expect));
        let put = change.mutations.iter().filter(|mutation| matches!(mutation, Mutation::Put { .. }));
        expected.chain(put.map(|mutation| format!("{} put", mutation.key().name))).collect()
    }

    #[test]
    fn what_is_renewed_is_written_once_and_only_if_nothing_else_writes_it() {
        assert_eq!(change(&["q"], &[("a", Some(7)), ("b", None)]), ["a Revision(7)", "b Absent", "a put"]);
        assert_eq!(change(&["a"], &[("a", Some(7))]), [""; 0]);
        assert_eq!(change(&[], &[("a", Some(7)), ("a", Some(8))]), ["a Revision(7)", "a put"]);
    }
}
