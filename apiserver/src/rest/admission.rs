//! Built-in admission: the namespace a new object goes into, the facts a kind's own admission needs, that nobody gives more
//! than they hold, and that nodes write what is theirs alone.

use kontiki_kinds::{AdmitFacts, Author};
use kontiki_model::{Cause, Key, Status};
use kontiki_raft::Expect;
use serde_json::Value;

use super::{
    call::Call,
    naming, object,
    object::text,
    plan::Change,
    store::{self, Refusal},
    view::View,
};
use crate::{
    authz,
    failure::{self, Qualified},
    request::Identity,
};

const NAMESPACES: Qualified<'static> = Qualified { group: "", resource: "namespaces" };

/// The namespace must exist and not be terminating, also when the write is applied.
pub fn namespace(call: &Call<'_>, view: &View<'_>, object: &Value, change: &mut Change) -> Result<(), Refusal> {
    let namespace = call.namespace();
    if !call.kind.namespaced {
        return Ok(());
    }
    let key = Key::new(NAMESPACES.resource, "", namespace);
    let Some((revision, head)) = view.head(&key) else {
        return Err(Refusal::Judged(failure::not_found(NAMESPACES, namespace)));
    };
    if head.deletion.is_some() {
        return Err(Refusal::Judged(terminating(call, object, namespace)));
    }
    change.expect(&key, Expect::Revision(revision));
    Ok(())
}

fn terminating(call: &Call<'_>, object: &Value, namespace: &str) -> Status {
    let why = format!("unable to create new content in namespace {namespace} because it is being terminated");
    let mut status = failure::forbidden(call.resource(), text(object, "/metadata/name"), &why);
    status.details.get_or_insert_default().causes.push(Cause {
        reason: "NamespaceTerminating".to_owned(),
        message: format!("namespace {namespace} is being terminated"),
        field: "metadata.namespace".to_owned(),
    });
    status
}

/// The kind's own admission of a new object.
pub fn admit(call: &Call<'_>, view: &View<'_>, object: &mut Value) -> Result<(), Refusal> {
    let mut found = Vec::new();
    for lookup in (call.kind.lookups)(object) {
        let key = Key::new(lookup.resource, lookup.namespace, lookup.name);
        let stored = view.get(&key).map_err(|error| store::read_failed(&error))?;
        found.push(stored.as_ref().map(object::open).transpose()?);
    }
    let suffix = naming::suffix();
    let Identity { user, uid, groups, extra, .. } = &call.request.identity;
    let author = Author { user, uid, groups, extra };
    let admitted = (call.kind.admit)(object, &AdmitFacts { suffix: &suffix, found: &found, author });
    admitted.map_err(|why| Refusal::Judged(failure::forbidden(call.resource(), text(object, "/metadata/name"), &why)))
}

/// Who writes an object that gives permissions must hold them.
pub fn may_give(call: &Call<'_>, view: &View<'_>, new: &Value, old: Option<&Value>) -> Result<(), Refusal> {
    let Some(grants) = call.kind.grants else { return Ok(()) };
    let giving = authz::Giving {
        grants,
        author: &call.request.identity,
        of: call.resource(),
        namespace: call.namespace(),
        path_name: call.route.name.as_deref().unwrap_or_default(),
        new,
        old,
    };
    // As this write will find it: another operation of the same transaction may have made it.
    let role = |key: &Key| {
        let stored = view.get(key).map_err(|error| store::read_failed(&error))?;
        stored.as_ref().map(object::open).transpose()
    };
    authz::check_escalation(call.core, &giving, role).map_err(Refusal::Judged)
}

/// A write of a node agent must be about what is its own. `operation` is `create`, `update` or `delete`.
pub fn restrict(
    call: &Call<'_>,
    operation: &'static str,
    name: &str,
    new: Option<&Value>,
    old: Option<&Value>,
) -> Result<(), Refusal> {
    let subresource = call.route.subresource.as_deref().unwrap_or_default();
    let (author, of) = (&call.request.identity, call.resource());
    let writing = authz::Writing { author, of, subresource, operation, name, new, old };
    authz::check_restriction(&writing).map_err(Refusal::Judged)
}
