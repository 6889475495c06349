//! What goes when an applier says a field no more.

use std::collections::BTreeMap;

use serde_json::Value;

use super::{
    FieldManager,
    entries::{ManagedFields, Owned},
    set::FieldSet,
};
use crate::schema::Schema;

impl FieldManager<'_> {
    /// Removes from a merged object what its applier said the last time and says no more, unless somebody else says it, or
    /// nobody said it: what the server filled in goes only with what holds it. Each field is looked for in the version in which it
    /// was said; where the applier's last one is not served any more, nothing goes.
    ///
    /// `managed` holds what the applier says now.
    pub(super) fn prune(&self, merged: Value, managed: &ManagedFields, last: &Owned) -> Value {
        if last.fields.is_empty() {
            return merged;
        }
        self.pruned(&merged, managed, last).unwrap_or(merged)
    }

    fn pruned(&self, merged: &Value, managed: &ManagedFields, last: &Owned) -> Option<Value> {
        let mut said = BTreeMap::<&str, FieldSet>::new();
        for owned in managed.entries.values() {
            said.entry(&owned.api_version).or_default().unite(&owned.fields);
        }
        let version = last.api_version.as_str();
        let mut whole = Told { object: merged.clone(), version: self.api_version }.within(self, version)?;
        let mut left = whole.clone();
        self.of_type(version, |Schema { table, id, .. }| {
            table.remove_fields(id, &mut left.object, &table.with_parents(id, &last.fields));
        })?;
        // Back comes what anybody says. First in this version: a conversion may not do without it.
        let first = said.remove_entry(version);
        for (version, owned) in first.into_iter().chain(said) {
            let (Some(as_whole), Some(as_left)) = (whole.within(self, version), left.within(self, version)) else {
                // What is said in a version that is no more is forgotten.
                continue;
            };
            (whole, left) = (as_whole, as_left);
            self.of_type(version, |schema| left.object = with_owned(schema, &whole.object, &left.object, &owned))?;
        }
        let (whole, left) = (whole.within(self, version)?, left.within(self, version)?);
        let mut pruned = whole.clone();
        self.of_type(version, |schema| {
            pruned.object = with_dangling(schema, &whole.object, &left.object, &last.fields);
        })?;
        Some(pruned.within(self, self.api_version)?.object)
    }

    /// `None` if the version is not served.
    fn of_type(&self, version: &str, look: impl FnOnce(Schema<'_>)) -> Option<()> {
        if version == self.api_version {
            look(self.schema);
            return Some(());
        }
        let mut look = Some(look);
        self.versions.of_type(version, &mut |schema, _| {
            if let Some(look) = look.take() {
                look(schema);
            }
        });
        look.is_none().then_some(())
    }
}

/// An object as a version tells it.
#[derive(Clone)]
struct Told<'a> {
    object: Value,
    version: &'a str,
}

impl Told<'_> {
    fn within<'b>(&self, manager: &FieldManager<'_>, version: &'b str) -> Option<Told<'b>> {
        let object = match self.version == version {
            true => self.object.clone(),
            false => manager.versions.told(&self.object, version)?,
        };
        Some(Told { object, version })
    }
}

/// A pruned object with what is owned of the whole one.
fn with_owned(schema: Schema<'_>, whole: &Value, pruned: &Value, owned: &FieldSet) -> Value {
    let Schema { table, id, .. } = schema;
    let said = |value: &Value| table.with_parents(id, &table.field_set(id, value));
    let mut kept = said(pruned);
    kept.unite(&table.with_parents(id, owned));
    let mut gone = said(whole);
    gone.subtract(&kept);
    let mut value = whole.clone();
    table.remove_fields(id, &mut value, &gone);
    value
}

/// A pruned object with what is not the applier's, though it stood below what was.
fn with_dangling(schema: Schema<'_>, whole: &Value, pruned: &Value, last: &FieldSet) -> Value {
    let Schema { table, id, .. } = schema;
    let said = |value: &Value| table.with_parents(id, &table.field_set(id, value));
    let mut removed = said(whole);
    removed.subtract(&said(pruned));
    let mut value = whole.clone();
    table.remove_fields(id, &mut value, &removed.intersection(&table.with_parents(id, last)));
    value
}
