//! What is recorded of each operation: as of the request that it would be by itself, under the id of the transaction.

use std::{
    collections::BTreeMap,
    sync::{Mutex, MutexGuard, PoisonError},
};

use bytes::Bytes;
use http::StatusCode;
use kontiki_model::Status;
use serde_json::value::RawValue;

use crate::{audit::Entry, rest::Effect};

/// By the place of the operation. One that is not recorded is there without an entry.
#[derive(Default)]
pub(super) struct Recorded(Mutex<BTreeMap<usize, Option<Entry>>>);

impl Recorded {
    /// Once: what is decided on may change, and is then read anew.
    pub fn begin(&self, index: usize, entry: impl FnOnce() -> Option<Entry>) {
        self.entries().entry(index).or_insert_with(entry);
    }

    pub fn judged(&self, index: usize, judge: impl FnOnce(Option<&Entry>) -> Result<(), Status>) -> Result<(), Status> {
        judge(self.entries().get(&index).and_then(Option::as_ref))
    }

    pub fn done(&self, index: usize, effect: Effect, object: &RawValue) {
        let code = match effect {
            Effect::Created => StatusCode::CREATED,
            Effect::Updated | Effect::Unchanged | Effect::Deleted => StatusCode::OK,
        };
        if let Some(entry) = self.entries().remove(&index).flatten() {
            entry.ended(code.as_u16(), None, Some(Bytes::copy_from_slice(object.get().as_bytes())));
        }
    }

    /// Of all that is not done: the whole has failed.
    pub fn end(&self, failed: Option<&Status>) {
        for entry in std::mem::take(&mut *self.entries()).into_values().flatten() {
            entry.ended(failed.map_or(StatusCode::OK.as_u16(), |status| status.code), failed, None);
        }
    }

    fn entries(&self) -> MutexGuard<'_, BTreeMap<usize, Option<Entry>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
