//! ResourceClaimTemplate.

use super::{GROUP, adminaccess, request};
use crate::tree::{at, object};
use crate::{Kind, fields, metadata};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "ResourceClaimTemplate",
    resource: "resourceclaimtemplates",
    singular: "resourceclaimtemplate",
    type_name: "resource.v1.ResourceClaimTemplate",
    delete_returns_object: true,
    default: |template| {
        let spec = object(template, "spec");
        object(spec, "metadata");
        request::default(object(spec, "spec"));
    },
    validate_create: |template, faults| {
        fields::template_metadata(at(template, "/spec/metadata"), "spec.metadata", faults);
        request::validate(at(template, "/spec/spec"), "spec.spec", faults);
    },
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        fields::immutable(new, old, "/spec", faults);
    },
    review: Some(&adminaccess::OF_TEMPLATE),
    ..Kind::BASE
};
