//! What a kind's declaration asks for: its own admission of new objects, that nobody gives more than they hold, and that nodes
//! write what is theirs alone.

use kontiki_kinds::{AdmitFacts, Author};
use kontiki_model::Key;
use serde_json::Value;

use super::{Attributes, Operation};
use crate::{
    authz, failure,
    request::Identity,
    rest::{self, Call, Refusal, View, object, read_failed},
};

/// The kind's own admission of a new object.
pub fn admit(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Refusal> {
    let Attributes { kind, view, .. } = attributes;
    let mut found = Vec::new();
    for lookup in (kind.lookups)(object) {
        let key = Key::new(lookup.resource, lookup.namespace, lookup.name);
        let stored = view.get(&key).map_err(|error| read_failed(&error))?;
        found.push(stored.as_ref().map(object::open).transpose()?);
    }
    let suffix = rest::suffix();
    let Identity { user, uid, groups, extra, .. } = attributes.identity;
    let author = Author { user, uid, groups, extra };
    let admitted = (kind.admit)(object, &AdmitFacts { suffix: &suffix, found: &found, author });
    admitted.map_err(|why| Refusal::Judged(failure::forbidden(attributes.resource(), attributes.name, &why)))
}

/// Who writes an object that gives permissions must hold them.
pub(crate) fn may_give(call: &Call<'_>, view: &View<'_>, new: &Value, old: Option<&Value>) -> Result<(), Refusal> {
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
        let stored = view.get(key).map_err(|error| read_failed(&error))?;
        stored.as_ref().map(object::open).transpose()
    };
    authz::check_escalation(call.core, &giving, role).map_err(Refusal::Judged)
}

/// A write of a node agent must be about what is its own.
pub(crate) fn restrict(attributes: &Attributes<'_>, new: Option<&Value>, old: Option<&Value>) -> Result<(), Refusal> {
    let Attributes { identity: author, name, subresource, .. } = *attributes;
    let operation = match attributes.operation {
        Operation::Create => "create",
        Operation::Update => "update",
        Operation::Delete => "delete",
        Operation::Connect => return Ok(()),
    };
    let writing = authz::Writing { author, of: attributes.resource(), subresource, operation, name, new, old };
    authz::check_restriction(&writing).map_err(Refusal::Judged)
}
