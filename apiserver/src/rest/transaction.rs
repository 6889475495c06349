//! Many writes as one: every one is decided by its own verb, on a state in which those before it have happened; then all
//! are proposed as one command. Either all of them happen, at consecutive revisions, or none does.

use std::{
    collections::{BTreeSet, HashMap},
    sync::Arc,
};

use kontiki_model::{Key, Status};
use kontiki_raft::{Event, Expect, Mutation, Stored};

use super::{
    apply::Application,
    call::Call,
    create::Creation,
    definition,
    delete::{self, Removal},
    limits::TRANSACTION_OPERATIONS_AT_ONCE,
    object,
    options::{DeleteOptions, WriteOptions},
    patch::Patching,
    plan::{Change, Effect, Plan, Planned, Write, Written},
    put::Replacement,
    store::{self, Attempts, Refusal},
    update::Rules,
    view::View,
};
use crate::{
    Core, admission,
    failure::{self, Qualified},
    request::{ApiRequest, ResourceRequest},
};

const TRANSACTIONS: Qualified<'static> = Qualified { group: "kontiki.dev", resource: "transactions" };
/// The verb that history tells of.
const VERB: &str = "transact";

/// One write of a transaction: the request that it would be by itself. It has been authorized.
pub struct Operation {
    pub verb: Verb,
    pub route: ResourceRequest,
    pub request: ApiRequest,
    /// Apply only: why its author may not create the object, if so.
    pub may_create: Result<(), Status>,
    pub uid: Option<String>,
    pub resource_version: Option<String>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Deserialize)]
#[serde(try_from = "String")]
pub enum Verb {
    /// Create, or bring to what a configuration says.
    Apply,
    /// Write nothing; the object must be there, and as the preconditions say.
    Check,
    Create,
    Delete,
    Patch,
    Update,
}

impl Verb {
    const ALL: [Verb; 6] = [Verb::Apply, Verb::Check, Verb::Create, Verb::Delete, Verb::Patch, Verb::Update];

    pub fn name(self) -> &'static str {
        match self {
            Verb::Apply => "apply",
            Verb::Check => "check",
            Verb::Create => "create",
            Verb::Delete => "delete",
            Verb::Patch => "patch",
            Verb::Update => "update",
        }
    }
}

impl TryFrom<String> for Verb {
    type Error = String;

    fn try_from(name: String) -> Result<Self, String> {
        let known = || Verb::ALL.map(|verb| format!("{:?}", verb.name())).join(", ");
        let found = Verb::ALL.into_iter().find(|verb| verb.name() == name);
        found.ok_or_else(|| format!("verb: Unsupported value: {name:?}: supported values: {}", known()))
    }
}

/// Why nothing happened, and which operation is the reason.
#[derive(Debug)]
pub struct Failed {
    pub operation: Option<usize>,
    pub status: Status,
}

impl Operation {
    fn call<'a>(&'a self, core: &'a Arc<Core>) -> Call<'a> {
        Call::new(core, &self.route, &self.request)
    }

    fn read<'a>(&'a self, core: &'a Arc<Core>) -> Result<Box<dyn Write + 'a>, Status> {
        let call = &self.call(core);
        let options = |name: &str| WriteOptions::read(&self.request, name);
        let rules = if self.route.subresource.is_some() { Rules::Status } else { Rules::Main };
        Ok(match self.verb {
            Verb::Apply => {
                let options = WriteOptions::read_patch(&self.request, false)?;
                Box::new(Application::read(call, options, self.may_create.clone())?)
            }
            Verb::Check => Box::new(Check { name: call.name()? }),
            Verb::Create => Box::new(Creation::read(call, options("CreateOptions")?)?),
            Verb::Delete => {
                Box::new(Removal { name: call.name()?, options: DeleteOptions::read(&self.request)?, last_words: None })
            }
            Verb::Patch => Box::new(Patching::read(call, rules)?),
            Verb::Update => Box::new(Replacement::read(call, rules, options("UpdateOptions")?)?),
        })
    }

    /// What the operation relies on, whatever it does.
    fn preconditions(&self, call: &Call<'_>, view: &View<'_>) -> Result<(), Refusal> {
        if self.uid.is_none() && self.resource_version.is_none() {
            return Ok(());
        }
        let name = call.name()?;
        let current = view.get(&call.key(name)).map_err(|error| store::read_failed(&error))?;
        let current = current.ok_or_else(|| Refusal::Judged(call.not_found(name)))?;
        let (uid, resource_version) = (self.uid.clone(), self.resource_version.clone());
        let options = DeleteOptions { uid, resource_version, ..DeleteOptions::default() };
        delete::preconditions(call, &object::open(&current)?, &options).map_err(Refusal::Judged)
    }
}

/// An object that others of the transaction rely on.
struct Check<'a> {
    name: &'a str,
}

impl Write for Check<'_> {
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a> {
        Box::pin(async move {
            let current = view.get(&call.key(self.name)).map_err(|error| store::read_failed(&error))?;
            let object = current.ok_or_else(|| Refusal::Judged(call.not_found(self.name)))?;
            Ok(Plan { effect: Effect::Unchanged, object, change: Change::default(), warnings: Vec::new() })
        })
    }
}

/// Carries out all operations or none. The answers are in the order of the operations.
pub async fn transact(
    core: &Arc<Core>,
    request: &ApiRequest,
    operations: &[Operation],
    dry_run: bool,
) -> Result<Vec<Written>, Failed> {
    let mut writes = Vec::with_capacity(operations.len());
    for (index, operation) in operations.iter().enumerate() {
        let write = operation.read(core).map_err(|status| Failed { operation: Some(index), status })?;
        writes.push((operation, write));
    }
    let overtaken = failure::conflict(TRANSACTIONS, "", "its objects have been modified; please try again");
    let mut attempts = Attempts::new(core, overtaken);
    loop {
        let mut bundle = Bundle::new(core, dry_run);
        let attempted = match bundle.take_turns(core, operations).await {
            Ok(charged) => {
                if charged {
                    attempts.are_charged();
                }
                attempt(core, request, &writes, &mut bundle).await
            }
            Err(refusal) => Err((None, refusal)),
        };
        drop(bundle);
        let (operation, refusal) = match attempted {
            Ok(written) => return Ok(written),
            Err(refused) => refused,
        };
        let raced = matches!(refusal, Refusal::Raced);
        attempts.again(refusal).await.map_err(|status| Failed { operation, status })?;
        let over = |operation: &Operation| definition::is_over(core, &operation.route.kind);
        if raced && let Some(index) = operations.iter().position(over) {
            return Err(Failed { operation: Some(index), status: failure::definition_changed() });
        }
    }
}

async fn attempt(
    core: &Arc<Core>,
    request: &ApiRequest,
    writes: &[(&Operation, Box<dyn Write + '_>)],
    bundle: &mut Bundle<'_>,
) -> Result<Vec<Written>, (Option<usize>, Refusal)> {
    let of_all = |refusal| (None, refusal);
    for (index, (operation, write)) in writes.iter().enumerate() {
        bundle.add(&operation.call(core), operation, &**write).await.map_err(|refusal| (Some(index), refusal))?;
        if index % TRANSACTION_OPERATIONS_AT_ONCE == TRANSACTION_OPERATIONS_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
    }
    let (change, written) = (std::mem::take(&mut bundle.change), std::mem::take(&mut bundle.written));
    if bundle.view.dry_run {
        return Ok(written);
    }
    let events = match change.mutations.is_empty() {
        true => {
            let keys: Vec<_> = written.iter().map(|one| (&one.stored.key, one.stored.revision)).collect();
            store::confirm(core, &keys).await.map_err(of_all)?;
            Vec::new()
        }
        false => store::commit(core, request, VERB, change).await.map_err(of_all)?,
    };
    dated(written, &events).map_err(|status| of_all(status.into()))
}

/// What was written, at the revisions that it got.
fn dated(written: Vec<Written>, events: &[Arc<Event>]) -> Result<Vec<Written>, Status> {
    let revisions: HashMap<&Key, u64> = events.iter().map(|event| (&event.object.key, event.revision())).collect();
    let dated = written.into_iter().map(|one| match one.effect {
        Effect::Unchanged => {
            let renewed = revisions.get(&one.stored.key).copied();
            Ok(Written { stored: Stored { revision: renewed.unwrap_or(one.stored.revision), ..one.stored }, ..one })
        }
        Effect::Created | Effect::Updated | Effect::Deleted => {
            let revision = *revisions.get(&one.stored.key).ok_or_else(|| store::lost(&one.stored.key))?;
            Ok(Written { stored: Stored { revision, ..one.stored }, ..one })
        }
    });
    dated.collect()
}

/// Plans that become one command.
struct Bundle<'a> {
    view: View<'a>,
    change: Change,
    /// Where in the command a key is written, and what is expected of a key.
    places: HashMap<Key, usize>,
    expected: HashMap<Key, Expect>,
    written: Vec<Written>,
}

impl<'a> Bundle<'a> {
    fn new(core: &'a Core, dry_run: bool) -> Self {
        Bundle {
            view: View::of(&core.log, dry_run),
            change: Change::default(),
            places: HashMap::new(),
            expected: HashMap::new(),
            written: Vec::new(),
        }
    }

    /// Takes the turns of all namespaces whose quotas may be charged, in one order. Says whether there are any.
    async fn take_turns(&self, core: &Core, operations: &[Operation]) -> Result<bool, Refusal> {
        let mut namespaces = BTreeSet::new();
        let writes = operations.iter().filter(|one| !self.view.dry_run && one.verb != Verb::Check);
        for namespace in writes.filter_map(|one| one.route.namespace.as_deref()) {
            if !namespaces.contains(namespace) && admission::has_quotas(&self.view, namespace)? {
                namespaces.insert(namespace);
            }
        }
        let charged = !namespaces.is_empty();
        self.view.take_turns(&core.turns, namespaces).await;
        Ok(charged)
    }

    async fn add(&mut self, call: &Call<'_>, operation: &Operation, write: &dyn Write) -> Result<(), Refusal> {
        operation.preconditions(call, &self.view)?;
        let Plan { effect, object, mut change, warnings } = write.plan(call, &self.view).await?;
        if effect == Effect::Unchanged {
            // Nor may it change until the others happen.
            change.expect(&object.key, Expect::Revision(object.revision));
        }
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
        self.written.push(Written { effect, stored: object, warnings });
        Ok(())
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
