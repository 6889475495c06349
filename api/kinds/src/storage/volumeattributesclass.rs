//! VolumeAttributesClass.

use super::{GROUP, kept, validate_parameters, validate_provisioner};
use crate::column::{self, text_column};
use crate::tree::{count, text};
use crate::{Admit, Column, Kind, metadata, persistentvolume};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "VolumeAttributesClass",
    resource: "volumeattributesclasses",
    singular: "volumeattributesclass",
    short_names: &["vac"],
    namespaced: false,
    type_name: "storage.v1.VolumeAttributesClass",
    delete_returns_object: true,
    columns: COLUMNS,
    cells: |class, now| vec![column::name(class), text(class, "/driverName").into(), column::age(class, now)],
    // Not removed while volumes use it; a controller lets go.
    admit: &[Admit {
        plugin: persistentvolume::PROTECTION,
        admit: |class, _| {
            persistentvolume::protect(class, "kubernetes.io/vac-protection");
            Ok(())
        },
    }],
    validate: |class, faults| {
        validate_provisioner(class, "driverName", faults);
        validate_parameters(class, faults);
        if count(class, "/parameters") == 0 {
            faults.required("parameters", "must contain at least one key/value pair");
        }
    },
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        for member in ["driverName", "parameters"] {
            kept(new, old, member, faults);
        }
    },
    ..Kind::BASE
};

const COLUMNS: &[Column] =
    &[column::NAME, text_column("DriverName", 0, "The driver that knows the attributes."), column::AGE];
