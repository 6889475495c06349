//! What a write of a custom object relies on: that its kind is still the one by which it was read and judged.

use kontiki_kinds::{Kind, customresourcedefinition::KIND};
use kontiki_model::{Key, Revision};
use kontiki_raft::Expect;

use super::plan::Change;
use crate::Core;

/// The definition stays as it is until the write is applied: nothing is left behind of a kind that has gone, or in another's form.
pub fn stays(kind: &Kind, change: &mut Change) {
    if let Some((key, revision)) = defined(kind) {
        change.expect(&key, Expect::Revision(revision));
    }
}

/// Whether the kind is another one by now, or no more.
pub fn is_over(core: &Core, kind: &Kind) -> bool {
    defined(kind).is_some_and(|(key, revision)| core.log.head(&key).is_none_or(|(now, _)| now != revision))
}

/// What defines a custom kind, which is named as the kind is stored.
fn defined(kind: &Kind) -> Option<(Key, Revision)> {
    let custom = kind.custom.as_ref()?;
    Some((Key::new(KIND.storage_resource(), "", kind.storage_resource()), custom.since))
}
