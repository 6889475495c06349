//! VolumeAttachment.

use kontiki_model::Faults;
use serde_json::{Value, json};

use super::{GROUP, bytes};
use crate::column::{self, text_column};
use crate::names::{report, subdomain};
use crate::tree::{at, fill, flag, keep, missing, object, text};
use crate::{Column, Kind, Subresource, fields, persistentvolume};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "VolumeAttachment",
    resource: "volumeattachments",
    singular: "volumeattachment",
    namespaced: false,
    type_name: "storage.v1.VolumeAttachment",
    subresources: &[Subresource::Status],
    status_resets: Kind::ALL_BUT_STATUS,
    delete_returns_object: true,
    unconditional_update: false,
    columns: COLUMNS,
    cells: |attachment, now| {
        vec![
            column::name(attachment),
            text(attachment, "/spec/attacher").into(),
            text(attachment, "/spec/source/persistentVolumeName").into(),
            text(attachment, "/spec/nodeName").into(),
            flag(attachment, "/status/attached").into(),
            column::age(attachment, now),
        ]
    },
    default: |attachment| fill(object(attachment, "status"), "attached", false),
    prepare_create: |attachment| attachment["status"] = json!({"attached": false}),
    prepare_update: |new, old| keep(new, old, "status"),
    validate,
    validate_create: |attachment, faults| {
        fields::driver_name(text(attachment, "/spec/attacher"), "spec.attacher", faults);
        if let Some(name) = at(attachment, "/spec/source/persistentVolumeName").as_str() {
            report(subdomain(name), name, "spec.source.persistentVolumeName", faults);
        }
    },
    validate_update: |new, old, faults| fields::immutable(new, old, "/spec", faults),
    validate_status: |new, _, faults| validate(new, faults),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    Column { format: "name", ..text_column("Attacher", 0, "The driver that attaches the volume.") },
    text_column("PV", 0, "The volume."),
    text_column("Node", 0, "The node that it is attached to."),
    Column { r#type: "boolean", ..text_column("Attached", 0, "Whether it is attached.") },
    column::AGE,
];

const METADATA_BYTES_MAX: usize = 256 * 1024;
const MESSAGE_LENGTH_MAX: usize = 1024;

fn validate(attachment: &Value, faults: &mut Faults) {
    if text(attachment, "/spec/attacher").is_empty() {
        faults.required("spec.attacher", "");
    }
    validate_source(at(attachment, "/spec/source"), faults);
    let node = text(attachment, "/spec/nodeName");
    report(subdomain(node), node, "spec.nodeName", faults);
    if bytes(attachment, "/status/attachmentMetadata") > METADATA_BYTES_MAX {
        faults.too_long("status.attachmentMetadata", METADATA_BYTES_MAX);
    }
    for member in ["attachError", "detachError"] {
        let error = at(attachment, &format!("/status/{member}"));
        if text(error, "/message").len() > MESSAGE_LENGTH_MAX {
            // Kubernetes names the limit of the metadata here.
            faults.too_long(format!("status.{member}.message"), METADATA_BYTES_MAX);
        }
        if let Some(code) = at(error, "/errorCode").as_i64().filter(|code| *code < 0) {
            let detail = "must be between 0 and 2147483647, inclusive";
            faults.invalid(format!("status.{member}.errorCode"), code, detail);
        }
    }
}

fn validate_source(source: &Value, faults: &mut Faults) {
    const PATH: &str = "spec.source";
    const DETAIL: &str = "must specify exactly one of inlineVolumeSpec and persistentVolumeName";
    match (missing(source, "/inlineVolumeSpec"), at(source, "/persistentVolumeName").as_str()) {
        (true, None) => faults.required(PATH, DETAIL),
        (false, Some(_)) => faults.forbidden(PATH, DETAIL),
        (true, Some("")) => {
            faults.required(format!("{PATH}.persistentVolumeName"), "must specify non empty persistentVolumeName");
        }
        (false, None) => persistentvolume::validate_inline(
            at(source, "/inlineVolumeSpec"),
            &format!("{PATH}.inlineVolumeSpec"),
            faults,
        ),
        (true, Some(_)) => {}
    }
}
