//! The plans of a transaction as they become one command: each is decided on what those before it make of the log, and what the
//! cluster makes of them by itself.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use kontiki_kinds::{Kind, KindRef};
use kontiki_model::Key;
use kontiki_raft::{Expect, Mutation, Stored};

use super::{
    call::Call,
    conversion::Forms,
    definition,
    plan::{Change, Effect, Plan, Write, Written},
    store::Refusal,
    transaction::{Operation, Operations, Verb},
    view::View,
};
use crate::{Core, admission, failure};

/// An operation that was written, and the kind that it is of.
pub type Done = (KindRef, Written);

/// Why nothing happens, and the operation that is to blame: its place, and what it does.
pub type Refused = (Option<(usize, String)>, Refusal);

/// Plans that become one command.
pub struct Bundle<'a> {
    pub view: View<'a>,
    pub change: Change,
    /// Where in the command a key is written, and what is expected of a key.
    places: HashMap<Key, usize>,
    expected: HashMap<Key, Expect>,
    /// Which operation writes an object.
    operations: HashMap<Key, usize>,
    done: Vec<Done>,
}

impl<'a> Bundle<'a> {
    pub fn new(core: &'a Core, dry_run: bool) -> Self {
        Bundle {
            view: View::of(&core.log, dry_run),
            change: Change::default(),
            places: HashMap::new(),
            expected: HashMap::new(),
            operations: HashMap::new(),
            done: Vec::new(),
        }
    }

    /// Takes the turns of all namespaces whose quotas may be charged, in one order. Says whether there are any.
    pub async fn take_turns(&self, core: &Core, operations: &Operations<'_>) -> Result<bool, Refusal> {
        let mut namespaces = BTreeSet::new();
        let ready = operations.ready.iter().flatten();
        let writes = ready.filter(|one| !self.view.dry_run && one.verb != Verb::Check);
        for namespace in writes.filter_map(|one| one.route.namespace.as_deref()) {
            if !namespaces.contains(namespace) && admission::has_quotas(&self.view, namespace)? {
                namespaces.insert(namespace);
            }
        }
        let charged = !namespaces.is_empty();
        self.view.take_turns(&core.turns, namespaces).await;
        Ok(charged)
    }

    /// Decides one operation, and what follows from it at once.
    pub async fn decide(
        &mut self,
        core: &Arc<Core>,
        index: usize,
        operation: &Operation,
        write: &dyn Write,
    ) -> Result<(), Refused> {
        let decided = self.add(core, index, operation, write).await;
        decided.map_err(|refusal| (Some((index, operation.describe())), refusal))
    }

    async fn add(
        &mut self,
        core: &Arc<Core>,
        index: usize,
        operation: &Operation,
        write: &dyn Write,
    ) -> Result<(), Refusal> {
        let forms = Forms::default();
        let call = &Call { forms: Some(&forms), ..operation.call(core) };
        operation.preconditions(call, &self.view)?;
        let plan = write.plan(call, &self.view).await?;
        let writes = operation.verb != Verb::Check;
        if writes && let Some(first) = self.operations.insert(plan.object.key.clone(), index) {
            return Err(Refusal::Final(failure::bad_request(format!(
                "operations[{index}] and operations[{first}] both write {} {:?}; a transaction writes an object once",
                call.kind.singular, plan.object.key.name
            ))));
        }
        let written = self.take(plan);
        if writes {
            self.follow(core, call.kind, &written.stored.key).await?;
        }
        self.done.push((operation.route.kind.clone(), written));
        Ok(())
    }

    /// What the cluster makes of a written object by itself, where operations behind rely on it: kinds are served and bounds hold.
    async fn follow(&mut self, core: &Arc<Core>, kind: &Kind, key: &Key) -> Result<(), Refusal> {
        if kind.defines_kinds {
            if self.view.head(key).is_some() {
                let (request, route) = definition::own(&key.name);
                let call = Call::new(core, &route, &request);
                let settled = definition::Settlement { name: &key.name }.plan(&call, &self.view).await?;
                self.take(settled);
            }
            self.view.define(definition::kinds(core, &self.view)?);
        }
        let change = admission::take_over_bounds(core, &self.view, kind, key)?;
        self.carry(change);
        Ok(())
    }

    fn take(&mut self, plan: Plan) -> Written {
        let Plan { effect, object, mut change, warnings } = plan;
        if effect == Effect::Unchanged {
            // Nor may it change until the others happen.
            change.expect(&object.key, Expect::Revision(object.revision));
        }
        self.carry(change);
        Written { effect, stored: object, warnings }
    }

    fn carry(&mut self, change: Change) {
        // What an earlier operation writes is as it was decided: nobody else can come between.
        let foreign = change.preconditions.into_iter().filter(|one| !self.view.is_pending(&one.key));
        for precondition in foreign {
            let known = self.expected.insert(precondition.key.clone(), precondition.expect.clone());
            if known.as_ref() != Some(&precondition.expect) {
                self.change.preconditions.push(precondition);
            }
        }
        // They are to the other operations what they are to everybody: as they were.
        let renewals = change.renewals.into_iter().filter(|(key, _)| !self.view.is_pending(key));
        for (key, present) in renewals {
            self.change.renew(key, present);
        }
        for mutation in change.mutations {
            self.view.pretend(&mutation);
            self.write(mutation);
        }
    }

    /// All that was decided, as it is at the end.
    pub fn done(&mut self) -> Vec<Done> {
        let mut done = std::mem::take(&mut self.done);
        // A custom object is kept as its author is told of it: it may be stored in another form.
        for (_, one) in done.iter_mut().filter(|(kind, _)| kind.custom.is_none()) {
            if let Some(Stored { head, body, .. }) = self.view.pending_at(&one.stored.key) {
                (one.stored.head, one.stored.body) = (head.clone(), body.clone());
            }
        }
        done
    }

    /// A key has one event in a command: what one object gives back and another one takes (an address) passes on.
    fn write(&mut self, mutation: Mutation) {
        match self.places.get(mutation.key()) {
            Some(place) => self.change.mutations[*place] = mutation,
            None => {
                self.places.insert(mutation.key().clone(), self.change.mutations.len());
                self.change.mutations.push(mutation);
            }
        }
    }
}
