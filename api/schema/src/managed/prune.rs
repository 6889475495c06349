//! What goes when an applier says a field no more.

use serde_json::Value;

use super::{FieldManager, entries::ManagedFields, set::FieldSet};
use crate::schema::Schema;

impl FieldManager<'_> {
    /// Removes from a merged object what its applier said the last time and says no more, unless somebody else says it, or
    /// nobody said it: what the server filled in goes only with what holds it.
    ///
    /// `managed` holds what the applier says now.
    pub(super) fn prune(&self, merged: Value, managed: &ManagedFields, last: &FieldSet) -> Value {
        if last.is_empty() {
            return merged;
        }
        let Schema { table, id, .. } = self.schema;
        let said = |value: &Value| table.with_parents(id, &table.field_set(id, value));
        let without = |fields: &FieldSet| {
            let mut value = merged.clone();
            table.remove_fields(id, &mut value, fields);
            value
        };
        let last = table.with_parents(id, last);
        let all = said(&merged);
        // Back comes what anybody says.
        let mut kept = said(&without(&last));
        let mut owned = FieldSet::default();
        managed.entries.values().for_each(|one| owned.unite(&one.fields));
        kept.unite(&table.with_parents(id, &owned));
        let mut gone = all.clone();
        gone.subtract(&kept);
        // And what is not the applier's, though it stood below what was.
        let mut removed = all;
        removed.subtract(&said(&without(&gone)));
        without(&removed.intersection(&last))
    }
}
