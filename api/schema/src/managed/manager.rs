//! Keeps who says what, through every write.

use serde_json::Value;

use super::{
    BEFORE_FIRST_APPLY,
    compare::Comparison,
    element::Element,
    entries::{ManagedFields, Manager, Operation, Owned},
    set::{FieldSet, printed},
};
use crate::schema::Schema;

/// What the server sets or the path says: nobody's fields.
const STRIPPED: &[&[&str]] = &[
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

/// One write, as far as it matters for who says what.
#[derive(Clone, Copy)]
pub struct FieldManager<'a> {
    pub schema: Schema<'a>,
    /// Of the objects: `apps/v1`.
    pub api_version: &'a str,
    /// What is written to; empty for the object itself.
    pub subresource: &'a str,
    /// Fields that such writes do not change.
    pub reset: &'a [&'a [&'a str]],
    /// RFC 3339, whole seconds.
    pub now: &'a str,
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

impl FieldManager<'_> {
    /// What a write changes, as far as such writes can. Both forms are canonical; of an object that is created, the old one is
    /// the type's empty form.
    pub fn differences(&self, live: &Value, new: &Value) -> Comparison {
        let mut comparison = self.schema.table.differences(self.schema.id, live, new);
        comparison.cut(&["metadata", "managedFields"]);
        self.reset.iter().for_each(|path| comparison.cut(path));
        comparison
    }

    /// A write of any sort: `name` says from now on what it changed, and nobody else does.
    pub fn update(&self, comparison: &Comparison, managed: &mut ManagedFields, name: &str) {
        self.record(comparison, managed, &Manager::updater(name, self.api_version, self.subresource));
        managed.cap();
    }

    fn record(&self, comparison: &Comparison, managed: &mut ManagedFields, manager: &Manager) {
        if comparison.is_same() {
            return;
        }
        let mut said = comparison.added.clone();
        said.unite(&comparison.modified);
        managed.release(comparison, &said, None);
        strip(&mut said);
        if said.is_empty() {
            return;
        }
        let owned = managed.entries.entry(manager.clone()).or_insert_with(|| self.owned(FieldSet::default()));
        owned.fields.unite(&said);
        owned.time = Some(self.now.to_owned());
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
            self.record(&self.differences(&empty, live), &mut managed, &before);
        }
        let applier = Manager::applier(name, self.subresource);
        let merged = self.schema.table.merged(self.schema.id, live, config);
        let mut fields = self.schema.table.field_set(self.schema.id, config);
        self.reset.iter().for_each(|path| fields.cut(path));
        let last = managed.entries.insert(applier.clone(), self.owned(fields));
        let (last, last_time) = last.map_or((FieldSet::default(), None), |owned| (owned.fields, owned.time));
        let object = self.prune(merged, &managed, &last);
        let comparison = self.schema.table.differences(self.schema.id, live, &object);
        let mut visible = comparison.clone();
        self.reset.iter().for_each(|path| visible.cut(path));
        let mut said = visible.added.clone();
        said.unite(&visible.modified);
        let conflicts = managed.conflicts(&said, &applier);
        if !force && !conflicts.is_empty() {
            return Err(Conflicts(conflicts));
        }
        managed.release(&visible, &said, Some(&applier));
        let changed = !comparison.is_same();
        if let Some(owned) = managed.entries.get_mut(&applier) {
            strip(&mut owned.fields);
            owned.time = if changed { Some(self.now.to_owned()) } else { last_time };
        }
        managed.entries.retain(|_, owned| !owned.fields.is_empty());
        Ok(Applied { object: changed.then_some(object), managed })
    }
}

impl ManagedFields {
    /// Fields that others say, and that were said otherwise now.
    fn conflicts(&self, said: &FieldSet, applier: &Manager) -> Vec<Conflict> {
        let others = self.entries.iter().filter(|(manager, _)| *manager != applier);
        let conflict = |(manager, owned): (&Manager, &Owned)| {
            let paths = owned.fields.intersection(said).paths();
            let manager = manager.clone();
            paths.into_iter().map(move |path| Conflict { manager: manager.clone(), path })
        };
        others.flat_map(conflict).collect()
    }

    /// What was said otherwise or removed is not said by those who said it, besides the applier.
    fn release(&mut self, comparison: &Comparison, said: &FieldSet, applier: Option<&Manager>) {
        for (manager, owned) in &mut self.entries {
            if Some(manager) != applier {
                owned.fields.subtract(said);
                owned.fields.subtract(&comparison.removed);
            }
        }
        self.entries.retain(|manager, owned| Some(manager) == applier || !owned.fields.is_empty());
    }

    /// What a manager has applied.
    pub fn applied(&self, name: &str, subresource: &str) -> Option<&FieldSet> {
        self.entries.get(&Manager::applier(name, subresource)).map(|owned| &owned.fields)
    }

    /// The names of those who say something, and how they said it.
    pub fn managers(&self) -> impl Iterator<Item = (&str, Operation)> {
        self.entries.keys().map(|manager| (manager.name.as_str(), manager.operation))
    }
}

fn strip(fields: &mut FieldSet) {
    let mut stripped = FieldSet::default();
    for path in STRIPPED {
        let path: Vec<_> = path.iter().map(|name| Element::field(*name)).collect();
        stripped.insert(&path);
    }
    fields.subtract(&stripped);
}
