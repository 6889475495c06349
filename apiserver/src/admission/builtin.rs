//! What a kind's declaration asks for: its own admission of new objects, a class for those that name none, what other objects have
//! to do with a write, that nobody gives more than they hold, and that nodes write what is theirs alone.

use kontiki_kinds::{AdmitFacts, Author, DefaultClass};
use kontiki_model::{Key, Scope};
use serde_json::{Value, json};

use super::{
    Attributes, Operation,
    metrics::{Phase, Step},
    namespace,
};
use crate::{
    authz,
    request::Identity,
    rest::{self, Call, Refusal, View, object, read_failed},
};

/// The kind's own admission of a new object.
pub fn admit(attributes: &Attributes<'_>, object: &mut Value) -> Result<(), Refusal> {
    let Attributes { kind, view, .. } = attributes;
    let mut found = Vec::new();
    for lookup in (kind.lookups)(object) {
        let is_to_come = lookup.comes_with_namespace && namespace::is_new(attributes);
        let key = Key::new(lookup.resource, lookup.namespace, lookup.name);
        let stored = view.get(&key).map_err(|error| read_failed(&error))?;
        let known = stored.as_ref().map(object::open).transpose()?;
        found.push(known.or_else(|| is_to_come.then(|| json!({"metadata": {"name": key.name}}))));
    }
    let suffix = rest::suffix();
    let Identity { user, uid, groups, extra, .. } = attributes.identity;
    let author = Author { user, uid, groups, extra };
    let facts = AdmitFacts { suffix: &suffix, found: &found, author };
    kind.admit.iter().try_for_each(|plugin| {
        let step = Step::of(attributes, plugin.plugin, Phase::Admit);
        step.ended((plugin.admit)(object, &facts).map_err(|why| Refusal::Judged(attributes.forbidden(&why))))
    })
}

/// The class that the cluster has for objects which name none.
pub fn choose_class(attributes: &Attributes<'_>, default: &DefaultClass, object: &mut Value) -> Result<(), Refusal> {
    if !(default.is_open)(object) {
        return Ok(());
    }
    let classes = all(attributes, default.classes, "")?;
    if let Some(class) = (default.choose)(&classes) {
        (default.set)(object, class);
    }
    Ok(())
}

/// Whether other objects let the write happen.
pub fn review(attributes: &Attributes<'_>, new: &Value, old: Option<&Value>) -> Result<(), Refusal> {
    let writes = matches!(attributes.operation, Operation::Create | Operation::Update);
    let Some(review) = attributes.kind.review.filter(|_| writes && attributes.subresource.is_empty()) else {
        return Ok(());
    };
    let mut found = Vec::new();
    for lookup in (review.lookups)(new, old) {
        found.push(match &*lookup.name {
            "" => all(attributes, lookup.resource, &lookup.namespace)?,
            name => {
                let key = Key::new(lookup.resource, &*lookup.namespace, name);
                let stored = attributes.view.get(&key).map_err(|error| read_failed(&error))?;
                stored.iter().map(object::open).collect::<Result<_, _>>()?
            }
        });
    }
    let step = Step::of(attributes, review.plugin, Phase::Validate);
    step.ended((review.check)(new, old, &found).map_err(|why| Refusal::Judged(attributes.forbidden(&why))))
}

/// The objects of a resource, in one namespace if it is not empty.
fn all(attributes: &Attributes<'_>, resource: &str, namespace: &str) -> Result<Vec<Value>, Refusal> {
    let namespace = Some(namespace.to_owned()).filter(|namespace| !namespace.is_empty());
    let scope = Scope { resource: resource.to_owned(), namespace };
    let found = attributes.view.list(&scope).map_err(|error| read_failed(&error))?;
    found.iter().map(|stored| object::open(stored).map_err(Refusal::from)).collect()
}

/// Who writes an object that gives permissions must hold them.
pub(crate) fn may_give(call: &Call<'_>, view: &View<'_>, new: &Value, old: Option<&Value>) -> Result<(), Refusal> {
    let Some(grants) = call.kind.grants else { return Ok(()) };
    let giving = authz::Giving {
        grants,
        author: &call.request.identity,
        of: call.resource(),
        kind: call.group_kind(),
        kinds: view.kinds(call.core),
        namespace: call.namespace(),
        path_name: call.route.name.as_deref().unwrap_or_default(),
        new,
        old,
    };
    // As this write will find it: another operation of the same transaction may have made it.
    let stored = |key: &Key| {
        let stored = view.get(key).map_err(|error| read_failed(&error))?;
        stored.as_ref().map(object::open).transpose()
    };
    authz::check_escalation(call.core, &giving, stored).map_err(Refusal::Judged)
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
    let node_uid = |name: &str| {
        let head = attributes.call.core.log.head(&Key::new("nodes", "", name));
        head.map(|(_, head)| head.uid.to_string())
    };
    let (of, node_uid) = (attributes.resource(), &node_uid);
    let writing = authz::Writing { author, of, subresource, operation, name, new, old, node_uid };
    authz::check_restriction(&writing).map_err(|why| Refusal::Judged(attributes.forbidden(&why)))
}
