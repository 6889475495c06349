//! Unknown members: listed for field validation, and removed.

use serde_json::Value;

use super::{Node, Structural, is_envelope, path::Path};
use crate::ids;
use crate::strict::StrictErrors;
use crate::table::builtin;

impl Structural {
    /// The paths of unknown members, as strict field validation names them: of its metadata, its own, and of metadata of objects in it.
    pub fn unknown(&self, object: &Value) -> Vec<String> {
        let mut out = Unknown::default();
        out.look(&self.root, object, &Path::ROOT, true);
        let [mut metadata, mut own] = [out.metadata, out.own].map(StrictErrors::told);
        metadata.sort_unstable();
        own.sort_unstable();
        let (mut all, embedded): (Vec<_>, Vec<_>) =
            metadata.into_iter().partition(|path| path.starts_with("metadata."));
        all.extend(own.into_iter().chain(embedded));
        all
    }

    /// Removes unknown members.
    pub fn prune(&self, object: &mut Value) {
        prune(&self.root, object, true);
    }
}

#[derive(Default)]
struct Unknown {
    own: StrictErrors,
    metadata: StrictErrors,
}

impl Unknown {
    fn look(&mut self, node: &Node, value: &Value, path: &Path<'_>, resource: bool) {
        match value {
            Value::Object(members) => {
                for (name, value) in members {
                    let path = path.field(name);
                    if resource && is_envelope(name) {
                        if name == "metadata" {
                            let below = builtin().check(ids::META_V1_OBJECTMETA, value).unwrap_or_default();
                            below.into_iter().for_each(|below| self.metadata.add(|| format!("{path}.{below}")));
                        }
                        continue;
                    }
                    match node.member(name) {
                        Some(below) => self.look(below, value, &path, below.embedded),
                        None if node.preserve_unknown || node.knows(name) => {}
                        None => self.own.add(|| path.to_string()),
                    }
                }
            }
            Value::Array(items) => {
                let Some(below) = &node.items else { return };
                for (index, item) in items.iter().enumerate() {
                    self.look(below, item, &path.item(index), below.embedded);
                }
            }
            Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
        }
    }
}

/// Removes unknown members of a value that stands below `node`.
pub(super) fn prune_value(node: &Node, value: &mut Value) {
    prune(node, value, node.embedded);
}

fn prune(node: &Node, value: &mut Value, resource: bool) {
    match value {
        Value::Object(members) => {
            let keeps = |name: &str| (resource && is_envelope(name)) || node.preserve_unknown || node.knows(name);
            members.retain(|name, _| keeps(name));
            for (name, value) in members {
                if resource && is_envelope(name) {
                    if name == "metadata" {
                        builtin().prune(ids::META_V1_OBJECTMETA, value);
                    }
                } else if let Some(below) = node.member(name) {
                    prune(below, value, below.embedded);
                }
            }
        }
        Value::Array(items) => {
            if let Some(below) = &node.items {
                items.iter_mut().for_each(|item| prune(below, item, below.embedded));
            }
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}
