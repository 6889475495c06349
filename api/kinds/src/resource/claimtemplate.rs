//! ResourceClaimTemplate.

use super::{GROUP, request};
use crate::names::{validate_annotations, validate_labels};
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
        validate_annotations(at(template, "/spec/metadata/annotations"), "spec.metadata.annotations", faults);
        validate_labels(at(template, "/spec/metadata/labels"), "spec.metadata.labels", faults);
        request::validate(at(template, "/spec/spec"), "spec.spec", faults);
    },
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        fields::immutable(new, old, "/spec", faults);
    },
    ..Kind::BASE
};
