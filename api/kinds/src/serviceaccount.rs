//! ServiceAccount.

use crate::{Kind, Subresource, metadata};

pub static KIND: Kind = Kind {
    kind: "ServiceAccount",
    resource: "serviceaccounts",
    singular: "serviceaccount",
    short_names: &["sa"],
    type_name: "core.v1.ServiceAccount",
    subresources: &[Subresource::Token],
    delete_returns_object: true,
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    ..Kind::BASE
};
