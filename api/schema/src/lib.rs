//! One schema engine over a type table: strict decoding, pruning, defaults, canonical form, patches, OpenAPI.
//! Pure: no IO, no clock. Two sources of tables: the built-in one is generated, a CRD's compiles at run time.
//!
//! - [`builtin`] is the table of Kubernetes' own types; [`Table::lookup`] and [`Table::lookup_gvk`] find a [`TypeId`],
//!   [`ids`] names them all.
//! - [`decode_json`], [`decode_yaml`]: bytes to a [`Document`] (a value and the keys that were given twice).
//! - [`Table::decode_protobuf`], [`Table::encode_protobuf`], [`ListWriter`], [`watch_frame`]: the protobuf form.
//! - [`Table::check`], [`Table::check_document`]: types that do not fit are an error, unknown fields are listed; [`Objections`]
//!   is what strict validation has against them and against fields that are given twice.
//! - [`Table::prune`], [`Table::default`], [`Table::canonical`]: drop unknown fields, fill the schema's defaults,
//!   write as a Go server would. The last is what is stored.
//! - [`merge_patch`], [`json_patch`], [`Table::strategic_merge`]; [`decode_patch`] reads the body of the first and the last.
//! - [`Table::three_way_patch`] is what `kubectl apply` sends.
//! - [`json`]: text as Go's encoder writes it.
//! - [`openapi::v3`], [`openapi::v2`], [`openapi::assembled`]: the published documents.

mod canonical;
mod check;
mod declared;
mod decode;
mod defaults;
mod descriptions;
#[rustfmt::skip]
mod generated;
mod go;
pub mod json;
pub mod managed;
pub mod openapi;
mod patch;
mod protobuf;
mod prune;
mod scalar;
mod schema;
mod strict;
pub mod structural;
mod syntax;
mod table;

pub use decode::{DecodeError, Document, Duplicate, decode_json, decode_yaml};
pub use generated::ids;
pub use go::print as go_print;
pub use patch::{PatchError, decode_patch, json_operations, json_patch, json_patch_objections, merge_patch};
pub use protobuf::{EncodeError, Enveloped, ListWriter, Source, watch_frame};
pub use scalar::parse_duration;
pub use schema::Schema;
pub use strict::Objections;
pub use structural::{Ratchet, Structural, custom_types, is_known_format, published, sorted};
pub use table::{Field, Form, Gvk, Item, ListType, Omit, Patch, Shape, Table, Text, Type, TypeId, builtin};
