//! DeviceClass.

use super::{CONFIGS_MAX, GROUP, each, validate_configuration, validate_selectors};
use crate::pod::is_extended_resource;
use crate::tree::{at, list};
use crate::{Kind, metadata};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "DeviceClass",
    resource: "deviceclasses",
    singular: "deviceclass",
    namespaced: false,
    type_name: "resource.v1.DeviceClass",
    generation: true,
    delete_returns_object: true,
    validate: |class, faults| {
        validate_selectors(at(class, "/spec"), "spec", faults);
        each(list(class, "/spec/config"), CONFIGS_MAX, "spec.config", faults, validate_configuration);
        if let Some(name) = at(class, "/spec/extendedResourceName").as_str().filter(|name| !is_extended_resource(name))
        {
            faults.invalid("spec.extendedResourceName", name, "must be a valid extended resource name");
        }
    },
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    ..Kind::BASE
};
