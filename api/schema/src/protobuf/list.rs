//! A list in protobuf, written item by item: besides the result, one item at a time is in memory.

use super::{
    MAGIC,
    encode::{ENVELOPE_END, EncodeError, put_type_meta},
    source::Source,
    wire::{put_message, put_varint},
};
use crate::table::{Item, Shape, Table, TypeId};

pub struct ListWriter<'t> {
    table: &'t Table,
    api_version: String,
    kind: String,
    /// The type and the field number of the items.
    item: (TypeId, u32),
    list: Vec<u8>,
}

impl<'t> ListWriter<'t> {
    /// Begins a list of a kind such as `PodList`; `bytes` is about how large it will be.
    pub fn new(
        table: &'t Table,
        api_version: &str,
        kind: &str,
        metadata: &Source<'_>,
        bytes: usize,
    ) -> Result<Self, EncodeError> {
        let id = table.writable_type(api_version, kind)?;
        let field = |name: &str| match table.field(id, name).map(|field| (field.shape, field.number)) {
            Some((Shape::One(Item::Of(inner)) | Shape::List(Item::Of(inner)), number)) => Ok((inner, number)),
            Some(_) | None => Err(EncodeError::NoProtobuf(kind.to_owned())),
        };
        let (meta, number) = field("metadata")?;
        let mut list = Vec::with_capacity(bytes);
        put_message(&mut list, number, |out| table.put_struct(meta, metadata, out))?;
        let (api_version, kind) = (api_version.to_owned(), kind.to_owned());
        Ok(ListWriter { table, api_version, kind, item: field("items")?, list })
    }

    pub fn item(&mut self, item: &Source<'_>) -> Result<(), EncodeError> {
        let (id, number) = self.item;
        put_message(&mut self.list, number, |out| self.table.put_struct(id, item, out))
    }

    /// The list in its envelope.
    pub fn finish(self) -> Vec<u8> {
        let ListWriter { api_version, kind, mut list, .. } = self;
        let mut head = MAGIC.to_vec();
        put_type_meta(&mut head, &api_version, &kind);
        head.push(2 << 3 | 2);
        put_varint(&mut head, list.len() as u64);
        list.reserve(head.len() + ENVELOPE_END.len());
        list.splice(..0, head);
        list.extend_from_slice(&ENVELOPE_END);
        list
    }
}
