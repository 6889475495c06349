//! Keeps who says what, through every write.

use std::{collections::BTreeMap, sync::LazyLock};

use serde_json::Value;

use super::{
    BEFORE_FIRST_APPLY,
    compare::Comparison,
    element::Element,
    entries::{ManagedFields, Manager, Operation, Owned},
    reach::Reach,
    set::{FieldSet, printed},
};
use crate::schema::Schema;

/// What the server sets or the path says: nobody's fields.
static STRIPPED: LazyLock<FieldSet> = LazyLock::new(|| {
    let paths: &[&[&str]] = &[
        &["apiVersion"],
        &["kind"],
        &["metadata"],
        &["metadata", "creationTimestamp"],
        &["metadata", "generation"],
        &["metadata", "managedFields"],
        &["metadata", "name"],
        &["metadata", "namespace"],
        &["metadata", "resourceVersion"],
        &["metadata", "selfLink"],
        &["metadata", "uid"],
    ];
    let mut stripped = FieldSet::default();
    for path in paths {
        let path: Vec<_> = path.iter().map(|name| Element::field(*name)).collect();
        stripped.insert(&path);
    }
    stripped
});

/// One write, as far as it matters for who says what.
#[derive(Clone, Copy)]
pub struct FieldManager<'a> {
    pub schema: Schema<'a>,
    /// Of the objects: `apps/v1`.
    pub api_version: &'a str,
    /// What is written to; empty for the object itself.
    pub subresource: &'a str,
    /// What such writes can change.
    pub reach: Reach<'a>,
    /// RFC 3339, whole seconds.
    pub now: &'a str,
    pub versions: &'a dyn Versions,
}

/// The other versions in which an object is told: who said something in one is asked about the fields of that one.
pub trait Versions {
    /// An object in another version, canonical; `None` if that is not served any more, and whoever said something in it is
    /// forgotten.
    fn told(&self, object: &Value, api_version: &str) -> Option<Value>;
    /// Has the type of a version looked at, and what such writes can change in it; not if it is not served.
    fn of_type(&self, api_version: &str, look: &mut dyn FnMut(Schema<'_>, Reach<'_>));
}

/// There is one version.
impl Versions for () {
    fn told(&self, _: &Value, _: &str) -> Option<Value> {
        None
    }

    fn of_type(&self, _: &str, _: &mut dyn FnMut(Schema<'_>, Reach<'_>)) {}
}

/// What a write does to an object.
#[derive(Clone, Debug)]
pub struct Change<'v> {
    live: &'v Value,
    new: &'v Value,
    comparison: Comparison,
}

/// What a configuration makes of an object.
#[derive(Clone, Debug, PartialEq)]
pub struct Applied {
    /// The merged object; `None` if it is what it was.
    pub object: Option<Value>,
    pub managed: ManagedFields,
}

/// A field that somebody else says otherwise.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    pub manager: Manager,
    pub path: Vec<Element>,
}

/// A configuration was not applied: others say some of its fields otherwise.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{} fields are said otherwise by others", .0.len())]
pub struct Conflicts(pub Vec<Conflict>);

impl Conflict {
    /// `.spec.replicas`.
    pub fn field(&self) -> String {
        printed(&self.path)
    }
}

impl Change<'_> {
    pub fn is_same(&self) -> bool {
        self.comparison.is_same()
    }

    /// What is said otherwise now.
    fn said(&self) -> FieldSet {
        self.comparison.said()
    }

    /// The same, if nothing is gone.
    pub(super) fn said_without_removals(&self) -> Option<FieldSet> {
        self.comparison.removed.is_empty().then(|| self.said())
    }
}

impl Comparison {
    fn said(&self) -> FieldSet {
        let mut said = self.added.clone();
        said.unite(&self.modified);
        said
    }
}

impl FieldManager<'_> {
    /// What a write changes, as far as such writes can. Both forms are canonical; of an object that is created, the old one is
    /// the type's empty form.
    pub fn change<'v>(&self, live: &'v Value, new: &'v Value) -> Change<'v> {
        Change { live, new, comparison: compared((self.schema, self.reach), live, new) }
    }

    /// What turned one object into another, as another version tells it.
    fn differences(&self, api_version: &str, live: &Value, new: &Value) -> Option<Comparison> {
        let (live, new) = (self.versions.told(live, api_version), self.versions.told(new, api_version));
        let (live, new) = (live?, new?);
        let mut comparison = None;
        self.versions.of_type(api_version, &mut |schema, reach| {
            comparison = Some(compared((schema, reach), &live, &new));
        });
        comparison
    }

    /// A write of any sort: `name` says from now on what it changed, and nobody else does.
    pub fn update(&self, change: &Change<'_>, managed: &mut ManagedFields, name: &str) {
        self.record(change, managed, &Manager::updater(name, self.api_version, self.subresource));
        managed.cap();
    }

    fn record(&self, change: &Change<'_>, managed: &mut ManagedFields, manager: &Manager) {
        if change.is_same() {
            return;
        }
        let mut said = change.said();
        self.release(change, managed, None);
        strip(&mut said);
        if said.is_empty() {
            return;
        }
        let owned = managed.entries.entry(manager.clone()).or_insert_with(|| self.owned(FieldSet::default()));
        owned.fields.unite(&said);
        owned.time = Some(self.now.to_owned());
    }

    /// The change as the versions of all entries tell it; of those that are not served any more, nothing.
    fn told(&self, change: &Change<'_>, managed: &ManagedFields) -> BTreeMap<String, Comparison> {
        let mut told = BTreeMap::from([(self.api_version.to_owned(), change.comparison.clone())]);
        for owned in managed.entries.values() {
            if !told.contains_key(&owned.api_version)
                && let Some(comparison) = self.differences(&owned.api_version, change.live, change.new)
            {
                told.insert(owned.api_version.clone(), comparison);
            }
        }
        told
    }

    /// Fields that others than the applier say, and that are said otherwise now.
    fn conflicts(&self, change: &Change<'_>, managed: &ManagedFields, applier: &Manager) -> Vec<Conflict> {
        let told = self.told(change, managed);
        let mut conflicts = Vec::new();
        for (manager, owned) in managed.entries.iter().filter(|(manager, _)| *manager != applier) {
            let Some(comparison) = told.get(&owned.api_version) else { continue };
            let paths = owned.fields.intersection(&comparison.said()).paths();
            conflicts.extend(paths.into_iter().map(|path| Conflict { manager: manager.clone(), path }));
        }
        conflicts
    }

    /// What was said otherwise or removed is not said any more by those who said it, besides the applier.
    fn release(&self, change: &Change<'_>, managed: &mut ManagedFields, applier: Option<&Manager>) {
        if managed.entries.is_empty() {
            return;
        }
        let told = self.told(change, managed);
        managed.entries.retain(|manager, owned| {
            if Some(manager) == applier {
                return true;
            }
            let Some(comparison) = told.get(&owned.api_version) else { return false };
            owned.fields.subtract(&comparison.said());
            owned.fields.subtract(&comparison.removed);
            !owned.fields.is_empty()
        });
    }

    fn owned(&self, fields: FieldSet) -> Owned {
        Owned { fields, api_version: self.api_version.to_owned(), time: None }
    }

    /// A configuration that passed [`Table::check_config`], applied to `live`. Without `force`, fields that somebody else says
    /// otherwise are refused. Where nobody says anything, whoever made the object counts as somebody.
    pub fn apply(
        &self,
        live: &Value,
        config: &Value,
        managed: &ManagedFields,
        name: &str,
        force: bool,
    ) -> Result<Applied, Conflicts> {
        let mut managed = managed.clone();
        if managed.is_empty() && live.pointer("/metadata/uid").is_some() {
            let mut empty = Value::Null;
            self.schema.canonical(&mut empty);
            let before = Manager::updater(BEFORE_FIRST_APPLY, self.api_version, self.subresource);
            self.record(&self.change(&empty, live), &mut managed, &before);
        }
        let applier = Manager::applier(name, self.subresource);
        let merged = self.schema.table.merged(self.schema.id, live, config);
        let mut fields = self.schema.table.field_set(self.schema.id, config);
        self.reach.limit(&mut fields);
        let last = managed.entries.insert(applier.clone(), self.owned(fields));
        let last_time = last.as_ref().and_then(|last| last.time.clone());
        let object = match last {
            Some(last) => self.prune(merged, &managed, &last),
            None => merged,
        };
        let change = self.change(live, &object);
        if !force {
            let conflicts = self.conflicts(&change, &managed, &applier);
            if !conflicts.is_empty() {
                return Err(Conflicts(conflicts));
            }
        }
        self.release(&change, &mut managed, Some(&applier));
        // Fields that such writes cannot change count here: they are merged, and left out when the object is stored.
        let changed = !compared((self.schema, Reach::ALL), live, &object).is_same();
        if let Some(owned) = managed.entries.get_mut(&applier) {
            strip(&mut owned.fields);
            owned.time = if changed { Some(self.now.to_owned()) } else { last_time };
        }
        managed.entries.retain(|_, owned| !owned.fields.is_empty());
        Ok(Applied { object: changed.then_some(object), managed })
    }
}

impl ManagedFields {
    /// What a manager has applied.
    pub fn applied(&self, name: &str, subresource: &str) -> Option<&FieldSet> {
        self.entries.get(&Manager::applier(name, subresource)).map(|owned| &owned.fields)
    }

    /// The names of those who say something, and how they said it.
    pub fn managers(&self) -> impl Iterator<Item = (&str, Operation)> {
        self.entries.keys().map(|manager| (manager.name.as_str(), manager.operation))
    }
}

fn compared((schema, reach): (Schema<'_>, Reach<'_>), live: &Value, new: &Value) -> Comparison {
    let mut comparison = schema.table.differences(schema.id, live, new);
    comparison.cut(&["metadata", "managedFields"]);
    comparison.limit(reach);
    comparison
}

pub(super) fn strip(fields: &mut FieldSet) {
    fields.subtract(&STRIPPED);
}
