//! Changing an object: what PUT, PATCH and the subresources that edit have in common.

use std::borrow::Cow;

use kontiki_kinds::{Deletion, Kind, Subresource, metadata};
use kontiki_model::{Faults, Status, tree::at};
use kontiki_raft::{Expect, Mutation, Stored};
use serde_json::Value;

use super::{
    call::{self, Call},
    claims::{self, Denied},
    conversion,
    create::Creation,
    definition,
    object::{self, text},
    options::go_number_error,
    owners::{self, Named},
    ownership::{self, Managed},
    plan::{self, Change, Effect, Plan, Planned, Write, Written},
    store::{self, Refusal},
    view::View,
};
use crate::{
    admission::{self, Attributes, Operation, Told},
    failure,
};

/// Which rules a change has to keep.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rules {
    /// The object itself: its status stays.
    Main,
    /// `…/status`: everything but the status (and metadata) stays.
    Status,
    /// Another subresource that edits: everything but its part stays, as the kind's [`Edit`](kontiki_kinds::Edit) says.
    Edit(Subresource),
    /// The server's own edit (a binding, a finalizer list): already exact, only metadata is checked.
    Internal,
}

impl Rules {
    /// The rules of a subresource that edits.
    pub fn of(subresource: Subresource) -> Self {
        if subresource == Subresource::Status { Rules::Status } else { Rules::Edit(subresource) }
    }
}

/// One change of one object.
pub struct Update<'a> {
    pub name: &'a str,
    pub rules: Rules,
    /// From the object (with its `resourceVersion`; none if there is none) to what the client wants, both in the spelling of
    /// the request. Called again when another write came first.
    pub make: &'a (dyn Fn(Option<&Value>) -> Result<Wanted, Status> + Sync),
    /// A `metadata.uid` in what the client wants is a precondition (PUT), not a change of the uid (PATCH).
    pub uid_is_precondition: bool,
}

/// What a client wants an object to be.
#[derive(Debug)]
pub struct Wanted {
    pub object: Value,
    pub warnings: Vec<String>,
    pub managed: Managed,
}

pub async fn update(call: &Call<'_>, update: &Update<'_>, dry_run: bool) -> Result<Written, Status> {
    plan::carry_out(call, update.name, update, dry_run).await
}

impl Write for Update<'_> {
    fn plan<'a>(&'a self, call: &'a Call<'a>, view: &'a View<'a>) -> Planned<'a> {
        Box::pin(async move {
            let key = call.key(self.name);
            match view.get(&key).map_err(|error| store::read_failed(&error))? {
                Some(current) => change(call, view, self, current).await,
                None if call.kind.create_on_update && self.uid_is_precondition && self.rules == Rules::Main => {
                    let Wanted { object, warnings, managed } = (self.make)(None)?;
                    same_uid(call, self, &object, "")?;
                    Creation { object, warnings, managed, allowed: call.may_create() }.plan(call, view).await
                }
                None => Err(Refusal::Judged(call.not_found(self.name))),
            }
        })
    }
}

async fn change(call: &Call<'_>, view: &View<'_>, update: &Update<'_>, current: Stored) -> Result<Plan, Refusal> {
    let kind = call.kind;
    let known = match kind.custom {
        Some(_) => conversion::told(call.core, kind, &current).await?,
        None => Cow::Borrowed(&current),
    };
    let old = object::open(&known)?;
    let shown = kind.spelling.map(|_| kind.from_stored(old.clone()));
    let shown = shown.as_ref().unwrap_or(&old);
    let made = loop {
        let made = (update.make)(Some(shown));
        if !ownership::learn(call).await? {
            break made;
        }
    };
    let Wanted { object: mut new, warnings, managed } = made.map_err(Refusal::Judged)?;
    preconditions(call, update, &mut new, &old)?;
    let (attributes, mut told) = (Attributes::new(call, view, Operation::Update, update.name), Told { warnings });
    owners::dedup(&mut new, Named::ByRequest, &mut told.warnings);
    take_over(call, managed, &mut new, (&old, shown)).await;
    match update.rules {
        Rules::Internal => admission::restrict(&attributes, Some(&new), Some(&old))?,
        Rules::Main | Rules::Status | Rules::Edit(_) => {
            admission::mutate(&attributes, Some(&mut new), Some(&old), &mut told).await?;
            owners::dedup(&mut new, Named::ByMutation, &mut told.warnings);
        }
    }
    prepare(call, update.rules, &mut new, &old);
    if update.rules == Rules::Main {
        admission::may_give(call, view, &new, Some(&old))?;
    }
    check(call, update.rules, &new, &old).map_err(Refusal::Judged)?;
    if update.rules == Rules::Main {
        told.warnings.extend((kind.warnings)(&new, Some(&old)));
    }
    let mut change = Change::default();
    let ended = ends(kind, &new, &old);
    if ended {
        claims::release(view, kind, &old, &mut change)?;
    } else {
        match claims::claim(view, &call.core.config, kind, &mut new, Some(&old), &mut change) {
            Ok(()) => {}
            Err(Denied::Faults(faults)) => return Err(Refusal::Judged(invalid(call, &new, &faults))),
            Err(Denied::Failed(status)) => return Err(Refusal::Judged(status)),
        }
    }
    // Where the disk does not say how it is sealed, it is written anew, or that fails.
    let is_same = |new: &Value| {
        !ended
            && ownership::unchanged(new, &old)
            && object::is_stored_form(kind, &current)
            && view.is_sealed_as_today(&current).is_ok_and(|today| today)
    };
    let converted = conversion::to_stored(call.core, kind, &new, is_same).await?;
    if update.rules != Rules::Internal {
        admission::validate(&attributes, Some(&new), Some(&old), &mut told, &mut change).await?;
    }
    let warnings = told.warnings;
    object::settle(kind, &mut new);
    if is_same(&new) {
        return Ok(Plan { effect: Effect::Unchanged, object: known.into_owned(), change, warnings });
    }
    let sealed = conversion::seal(kind, new, converted)?;
    let Stored { key, revision, .. } = current;
    change.expect(&key, Expect::Revision(revision));
    match ended {
        // Watchers see the object as it last was; the author of the change sees what it asked for.
        true => change.mutations.push(Mutation::Delete { key: key.clone(), last: None }),
        false => {
            definition::stays(kind, &mut change);
            change.put(&key, &sealed.stored);
        }
    }
    Ok(Plan { effect: Effect::Updated, object: plan::uncommitted(key, revision, sealed.told), change, warnings })
}

fn invalid(call: &Call<'_>, object: &Value, faults: &Faults) -> Status {
    failure::invalid(call.group_kind(), text(object, "/metadata/name"), faults)
}

/// The uid that the client relies on; where there is no object, there is none.
fn same_uid(call: &Call<'_>, update: &Update<'_>, new: &Value, old_uid: &str) -> Result<(), Refusal> {
    let uid = text(new, "/metadata/uid");
    if update.uid_is_precondition && !uid.is_empty() && uid != old_uid {
        let place = match call.namespace() {
            "" => format!("/registry/{}/{}", call.kind.resource, update.name),
            namespace => format!("/registry/{}/{namespace}/{}", call.kind.resource, update.name),
        };
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {place}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
             failed: UID in precondition: {uid}, UID in object meta: {old_uid}"
        );
        return Err(Refusal::Judged(failure::conflict(call.resource(), update.name, &why)));
    }
    Ok(())
}

/// The uid and the `resourceVersion` that the client relies on.
fn preconditions(call: &Call<'_>, update: &Update<'_>, new: &mut Value, old: &Value) -> Result<(), Refusal> {
    same_uid(call, update, new, text(old, "/metadata/uid"))?;
    let given = text(new, "/metadata/resourceVersion").to_owned();
    let current = text(old, "/metadata/resourceVersion");
    match given.as_str() {
        given if given == current => Ok(()),
        "" | "0" if call.kind.unconditional_update => {
            object::metadata(new).insert("resourceVersion".to_owned(), current.into());
            Ok(())
        }
        "" | "0" => {
            let mut faults = Faults::default();
            faults.invalid("metadata.resourceVersion", 0, "must be specified for an update");
            Err(Refusal::Final(failure::invalid(call.resource(), update.name, &faults)))
        }
        given => match given.parse::<u64>() {
            Ok(_) => Err(Refusal::Judged(call.modified(update.name))),
            Err(error) => Err(Refusal::Final(failure::unexpected(go_number_error("ParseUint", given, &error)))),
        },
    }
}

/// Brings what the client wants into the form that is stored: defaults, what a change of an object leaves as it is, and who says
/// what. The old object comes as it is stored, and as the request spells it.
async fn take_over(call: &Call<'_>, managed: Managed, new: &mut Value, (old, shown): (&Value, &Value)) {
    let kind = call.kind;
    kind.schema().default(new);
    (kind.default)(new);
    let metadata = object::metadata(new);
    let old_metadata = &old["metadata"];
    metadata.shift_remove("selfLink");
    let mut keep = |member: &str, always: bool| {
        let Some(value) = old_metadata.get(member) else {
            if always {
                metadata.shift_remove(member);
            }
            return;
        };
        let unset = metadata.get(member).is_none_or(|given| given.is_null() || given == "");
        if always || unset {
            metadata.insert(member.to_owned(), value.clone());
        }
    };
    keep("uid", false);
    keep("creationTimestamp", true);
    keep("generation", true);
    // A deletion cannot be taken back; one that was never asked for is a fault, which validation tells.
    keep("deletionTimestamp", old_metadata.get("deletionTimestamp").is_some());
    keep("deletionGracePeriodSeconds", false);
    ownership::note(call, managed, new, Some(shown)).await;
    if kind.spelling.is_some() {
        *new = kind.to_stored(new.take());
        kind.stored().schema().canonical(new);
    }
}

/// Takes back what a write by these rules may not change, and counts and dates what it does.
fn prepare(call: &Call<'_>, rules: Rules, new: &mut Value, old: &Value) {
    let kind = call.kind;
    if rules != Rules::Internal {
        kind.drop_disabled(new, Some(old));
    }
    match rules {
        Rules::Main => (kind.prepare_update)(new, old),
        Rules::Status => {
            (kind.prepare_status)(new, old);
            kind.keep_reset(new, old);
        }
        Rules::Edit(subresource) => {
            if let Some(edit) = kind.edit(subresource) {
                (edit.prepare)(new, old);
            }
        }
        Rules::Internal => {}
    }
    if rules != Rules::Internal {
        (kind.stamp)(new, Some(old), call::now());
    }
    if matches!(rules, Rules::Main | Rules::Edit(_)) && kind.generation && differs(kind, new, old) {
        let generation = at(old, "/metadata/generation").and_then(Value::as_i64).unwrap_or_default();
        object::metadata(new).insert("generation".to_owned(), (generation + 1).into());
    }
}

/// Whether anything but metadata and status changed.
pub fn differs(kind: &Kind, new: &Value, old: &Value) -> bool {
    // Without a status of its own, what is called so is content.
    let status_counts = kind.custom.is_some() && !kind.has(Subresource::Status);
    let counts =
        |name: &str| !matches!(name, "kind" | "apiVersion" | "metadata") && (name != "status" || status_counts);
    let same = |new: &Value, old: &Value| {
        let names =
            |object: &Value| object.as_object().map_or(0, |members| members.keys().filter(|name| counts(name)).count());
        let members = new.as_object().into_iter().flatten().filter(|(name, _)| counts(name));
        names(new) == names(old) && members.into_iter().all(|(name, value)| old.get(name) == Some(value))
    };
    if same(new, old) {
        return false;
    }
    let canonical = |object: &Value| {
        let mut object = object.clone();
        kind.stored().schema().canonical(&mut object);
        object
    };
    !same(&canonical(new), &canonical(old))
}

fn check(call: &Call<'_>, rules: Rules, new: &Value, old: &Value) -> Result<(), Status> {
    let mut faults = Faults::default();
    metadata::validate_update(new, old, &mut faults);
    match rules {
        Rules::Main => {
            faults.extend(new_faults(call.kind, new, old));
            (call.kind.validate_update)(new, old, &mut faults);
            call.kind.validate_schema(new, Some(old), &mut faults);
        }
        Rules::Status => {
            (call.kind.validate_status)(new, old, &mut faults);
            call.kind.validate_schema(new, Some(old), &mut faults);
        }
        Rules::Edit(subresource) => {
            if let Some(edit) = call.kind.edit(subresource) {
                (edit.validate)(new, old, &mut faults);
            }
        }
        Rules::Internal => {}
    }
    call.valid(new, &faults)
}

/// What is wrong with an object and was not before: one that was stored before a rule was known can still be changed.
fn new_faults(kind: &Kind, new: &Value, old: &Value) -> Faults {
    let judge = |object: &Value| {
        let mut faults = Faults::default();
        metadata::validate_again(kind, object, &mut faults);
        (kind.validate)(object, &mut faults);
        faults
    };
    let faults = judge(new);
    if faults.is_empty() { faults } else { faults.without(&judge(old)) }
}

/// An object that is being deleted goes with its last finalizer.
fn ends(kind: &Kind, new: &Value, old: &Value) -> bool {
    let empty = |pointer: &str| at(new, pointer).and_then(Value::as_array).is_none_or(Vec::is_empty);
    let grace = at(old, "/metadata/deletionGracePeriodSeconds").and_then(Value::as_i64).unwrap_or_default();
    let deleted = !text(old, "/metadata/deletionTimestamp").is_empty() && grace == 0 && empty("/metadata/finalizers");
    match kind.deletion {
        Deletion::Immediate | Deletion::Graceful => deleted,
        Deletion::SpecFinalizers => deleted && empty("/spec/finalizers"),
    }
}

#[cfg(test)]
mod tests {
    use kontiki_kinds::by_gvk;
    use serde_json::json;

    use super::*;

    #[test]
    fn what_was_wrong_before_does_not_stand_in_the_way() {
        let slice = |hosts: &[&str]| {
            let endpoints: Vec<Value> =
                hosts.iter().map(|host| json!({"addresses": ["10.0.0.1"], "hostname": host})).collect();
            json!({"metadata": {"name": "s"}, "addressType": "IPv4", "endpoints": endpoints})
        };
        let kind = by_gvk("discovery.k8s.io", "v1", "EndpointSlice").unwrap();
        let fields = |new: &Value, old: &Value| {
            new_faults(kind, new, old).iter().map(|fault| fault.field.clone()).collect::<Vec<_>>()
        };
        let old = slice(&["A", "b"]);
        assert_eq!(fields(&old, &slice(&[])), ["endpoints[0].hostname"]);
        assert_eq!(fields(&old, &old), Vec::<String>::new());
        assert_eq!(fields(&slice(&["A", "B"]), &old), ["endpoints[1].hostname"]);
        assert_eq!(fields(&slice(&["C", "b"]), &old), ["endpoints[0].hostname"]);
    }
}
