//! A write between its decision and its proposal. Every verb makes plans; alone each is proposed as it is, in a
//! transaction many become one command.

use futures::future::BoxFuture;
use kontiki_model::{Key, Revision, Status};
use kontiki_raft::{Expect, Mutation, Precondition, Stored};

use super::{
    call::Call,
    object::Sealed,
    store::{self, Attempts, Refusal},
    view::View,
};

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
}

/// An object that is not committed, or not yet.
pub fn uncommitted(key: Key, revision: Revision, sealed: Sealed) -> Stored {
    Stored { key, revision, head: sealed.head.into(), body: sealed.body }
}

/// Carries out one write, again on fresh state when another one came first.
pub async fn carry_out(call: &Call<'_>, name: &str, write: &dyn Write, dry_run: bool) -> Result<Written, Status> {
    let mut attempts = Attempts::new(call.core, call.modified(name));
    loop {
        let view = View::of(&call.core.log, dry_run);
        let attempted = attempt(call, write, &view).await;
        if view.has_turns() {
            attempts.are_charged();
        }
        drop(view);
        match attempted {
            Ok(written) => return Ok(written),
            Err(refusal) => attempts.again(refusal).await?,
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
            let events = store::commit(call.core, call.request, call.route.verb, change).await?;
            let event = events.iter().find(|event| event.object.key == object.key);
            event.ok_or_else(|| store::lost(&object.key))?.revision()
        }
    };
    Ok(Written { effect, stored: Stored { revision, ..object }, warnings })
}
