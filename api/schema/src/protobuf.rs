//! Kubernetes' protobuf form: the envelope, and objects by the field numbers of their types. What a Go server would read
//! and write, byte for byte.
//!
//! Reading makes a [`serde_json::Value`]; writing starts at JSON text, which is what is stored ([`Source`]). Bounds: input
//! nests no deeper than [`DEPTH_MAX`](crate::decode::DEPTH_MAX), nothing is allocated for a length before the bytes of that length are there, and
//! whoever calls bounds the input itself.

mod decode;
mod encode;
mod list;
mod source;
mod wire;

use crate::table::{Form, Item, Table, TypeId};

pub use decode::Enveloped;
pub use encode::{EncodeError, watch_frame};
pub use list::ListWriter;
pub use source::Source;

/// The first bytes of every envelope.
pub const MAGIC: [u8; 4] = *b"k8s\0";

impl Table {
    /// Whether objects of this type can be written in protobuf: some of Kubernetes' own cannot, and no custom resource.
    pub fn has_protobuf(&self, id: TypeId) -> bool {
        let kind = self.get(id);
        let numbered = || kind.fields.iter().all(|field| field.number > 0 && !matches!(field.item(), Item::Any));
        kind.form != Form::Struct || (!kind.preserve_unknown && numbered())
    }

    /// The type of an enveloped object. Those of the meta group are known in every version.
    fn enveloped_type(&self, api_version: &str, kind: &str) -> Option<TypeId> {
        let (group, version) = api_version.split_once('/').unwrap_or(("", api_version));
        self.lookup_gvk(group, version, kind).or_else(|| self.lookup(&format!("meta.v1.{kind}")))
    }
}

#[cfg(test)]
mod properties;
#[cfg(test)]
mod tests;
