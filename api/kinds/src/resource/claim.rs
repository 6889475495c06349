//! ResourceClaim.

use serde_json::{Value, json};

use super::{GROUP, adminaccess, request, status, usage};
use crate::column::{self, text_column};
use crate::tree::{keep, list, missing, object};
use crate::{Column, Kind, Subresource, fields, metadata};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "ResourceClaim",
    resource: "resourceclaims",
    singular: "resourceclaim",
    type_name: "resource.v1.ResourceClaim",
    subresources: &[Subresource::Status],
    status_resets: Kind::ALL_BUT_STATUS,
    delete_returns_object: true,
    columns: COLUMNS,
    cells: |claim, now| vec![column::name(claim), state(claim).into(), column::age(claim, now)],
    default: |claim| {
        request::default(object(claim, "spec"));
        object(claim, "status");
    },
    prepare_create: |claim| claim["status"] = json!({}),
    prepare_update: |new, old| keep(new, old, "status"),
    prepare_status: status::prepare,
    validate_create: |claim, faults| request::validate(&claim["spec"], "spec", faults),
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        fields::immutable(new, old, "/spec", faults);
    },
    validate_status: status::validate,
    measure: Some(&usage::MEASURE),
    review: Some(&adminaccess::OF_CLAIM),
    ..Kind::BASE
};

const COLUMNS: &[Column] =
    &[column::NAME, text_column("State", 0, "Whether devices are allocated, and for somebody."), column::AGE];

fn state(claim: &Value) -> String {
    let deleted = !missing(claim, "/metadata/deletionTimestamp");
    let allocated = !missing(claim, "/status/allocation");
    let reserved = allocated && !list(claim, "/status/reservedFor").is_empty();
    let all =
        [(deleted, "deleted"), (!allocated && !deleted, "pending"), (allocated, "allocated"), (reserved, "reserved")];
    all.into_iter().filter(|(is, _)| *is).map(|(_, word)| word).collect::<Vec<_>>().join(",")
}
