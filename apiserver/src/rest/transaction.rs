//! Many writes as one: every one is decided by its own verb, on a state in which those before it have happened; then all
//! are proposed as one command. Either all of them happen, at consecutive revisions, or none does.

use std::{collections::HashMap, sync::Arc};

use kontiki_kinds::Kinds;
use kontiki_model::{Key, Status};
use kontiki_raft::{Event, Stored};

use super::{
    apply::Application,
    bundle::{Bundle, Done, Refused},
    call::Call,
    create::Creation,
    definition,
    delete::{self, Removal},
    limits::TRANSACTION_OPERATIONS_AT_ONCE,
    object,
    options::{DeleteOptions, WriteOptions},
    patch::{self, Patching},
    plan::{Change, Effect, Plan, Planned, Write, Written},
    put::Replacement,
    server_side_apply,
    store::{self, Attempts, Refusal},
    update::Rules,
    view::View,
};
use crate::{
    Core,
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

/// The operations of a transaction, in order.
pub struct Operations<'a> {
    /// Those of kinds that there are; the others are of kinds that operations before them may define.
    pub ready: Vec<Option<Operation>>,
    /// One of the others, among the kinds that there are when it is its turn.
    pub late: Late<'a>,
}

/// Why nothing happened, and which operation is the reason: its place, and what it does.
#[derive(Debug)]
pub struct Failed {
    pub operation: Option<(usize, String)>,
    pub status: Status,
}

impl Operation {
    /// As in `apply configmap web`.
    pub fn describe(&self) -> String {
        let name = self.route.name.as_deref().unwrap_or("");
        format!("{} {} {name}", self.verb.name(), self.route.kind.singular).trim_end().to_owned()
    }

    pub fn call<'a>(&'a self, core: &'a Arc<Core>) -> Call<'a> {
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
            Verb::Patch if patch::applies(call) => Box::new(server_side_apply::Application::read(call, rules)?),
            Verb::Patch => Box::new(Patching::read(call, rules)?),
            Verb::Update => Box::new(Replacement::read(call, rules, options("UpdateOptions")?)?),
        })
    }

    /// What the operation relies on, whatever it does.
    pub fn preconditions(&self, call: &Call<'_>, view: &View<'_>) -> Result<(), Refusal> {
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

/// One that was read before anything was decided.
type Ready<'a> = Option<(&'a Operation, Box<dyn Write + 'a>)>;

/// Carries out all operations or none. The answers are in the order of the operations.
pub async fn transact(
    core: &Arc<Core>,
    request: &ApiRequest,
    operations: &Operations<'_>,
    dry_run: bool,
) -> Result<Vec<Done>, Failed> {
    let mut writes: Vec<Ready<'_>> = Vec::with_capacity(operations.ready.len());
    for (index, operation) in operations.ready.iter().enumerate() {
        writes.push(match operation {
            Some(operation) => {
                Some((operation, operation.read(core).map_err(|status| failed(operations, index, status))?))
            }
            None => None,
        });
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
                attempt(core, request, (&writes, operations.late), &mut bundle).await
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
        let over = |operation: &Option<Operation>| {
            operation.as_ref().is_some_and(|operation| definition::is_over(core, &operation.route.kind))
        };
        if raced && let Some(index) = operations.ready.iter().position(over) {
            return Err(failed(operations, index, failure::definition_changed()));
        }
    }
}

fn failed(operations: &Operations<'_>, index: usize, status: Status) -> Failed {
    let operation = operations.ready[index].as_ref().map(|operation| (index, operation.describe()));
    Failed { operation, status }
}

pub type Late<'a> = &'a (dyn Fn(usize, &Kinds) -> Result<Operation, Status> + Sync);

async fn attempt(
    core: &Arc<Core>,
    request: &ApiRequest,
    (writes, late): (&[Ready<'_>], Late<'_>),
    bundle: &mut Bundle<'_>,
) -> Result<Vec<Done>, Refused> {
    let of_all = |refusal| (None, refusal);
    for (index, ready) in writes.iter().enumerate() {
        match ready {
            Some((operation, write)) => bundle.decide(core, index, operation, &**write).await?,
            None => {
                let prepared = late(index, &bundle.view.kinds(core)).map_err(|mut status| {
                    if status.code == 404 {
                        status.message += &definition::unserved(&bundle.view, |_| true).unwrap_or_default();
                    }
                    // There may be a newer state, with other kinds.
                    of_all(Refusal::Judged(status))
                });
                let operation = prepared?;
                definition::is_own(&bundle.view, &operation.route.kind)
                    .map_err(|status| (Some((index, operation.describe())), Refusal::Judged(status)))?;
                let read = operation.read(core);
                let write = read.map_err(|status| (Some((index, operation.describe())), Refusal::Final(status)))?;
                bundle.decide(core, index, &operation, &*write).await?;
            }
        }
        if index % TRANSACTION_OPERATIONS_AT_ONCE == TRANSACTION_OPERATIONS_AT_ONCE - 1 {
            tokio::task::yield_now().await;
        }
    }
    let (change, done) = (std::mem::take(&mut bundle.change), bundle.done());
    if bundle.view.dry_run {
        return Ok(done);
    }
    let events = match change.mutations.is_empty() {
        true => {
            let keys: Vec<_> = done.iter().map(|(_, one)| (&one.stored.key, one.stored.revision)).collect();
            store::confirm(core, &keys).await.map_err(of_all)?;
            Vec::new()
        }
        false => store::commit(core, request, VERB, change).await.map_err(of_all)?,
    };
    dated(done, &events).map_err(|status| of_all(status.into()))
}

/// What was written, at the revisions that it got.
fn dated(done: Vec<Done>, events: &[Arc<Event>]) -> Result<Vec<Done>, Status> {
    let revisions: HashMap<&Key, u64> = events.iter().map(|event| (&event.object.key, event.revision())).collect();
    let dated = done.into_iter().map(|(kind, one)| {
        let known = revisions.get(&one.stored.key).copied();
        let revision = match one.effect {
            Effect::Unchanged => known.unwrap_or(one.stored.revision),
            Effect::Created | Effect::Updated | Effect::Deleted => known.ok_or_else(|| store::lost(&one.stored.key))?,
        };
        Ok((kind, Written { stored: Stored { revision, ..one.stored }, ..one }))
    });
    dated.collect()
}
