//! What objects of one kind look like, whichever source says so: a type of a table, with the operations every writer needs.

use serde_json::Value;

use crate::decode::{DecodeError, Document};
use crate::table::{Table, TypeId, builtin};

/// A type and the table it is in.
#[derive(Clone, Copy, Debug)]
pub struct Schema<'a> {
    pub table: &'a Table,
    pub id: TypeId,
}

impl Schema<'static> {
    /// A built-in type.
    pub fn builtin(id: TypeId) -> Self {
        Schema { table: builtin(), id }
    }
}

impl Schema<'_> {
    /// What field validation warns of or, when strict, refuses: keys given twice, then unknown fields.
    pub fn check_document(&self, document: &Document) -> Result<Vec<String>, DecodeError> {
        self.table.check_document(self.id, document)
    }

    /// Removes unknown fields.
    pub fn prune(&self, value: &mut Value) {
        self.table.prune(self.id, value);
    }

    /// Fills what the schema itself says.
    pub fn default(&self, value: &mut Value) {
        self.table.default(self.id, value);
    }

    /// Rewrites the value in the form that is stored.
    pub fn canonical(&self, value: &mut Value) {
        self.table.canonical(self.id, value);
    }
}
