//! IngressClass.

use kontiki_model::Faults;
use serde_json::Value;

use super::GROUP;
use super::ingress::class_annotation;
use crate::admission::newest;
use crate::column::{self, text_column};
use crate::names::{label, report};
use crate::tree::{at, fill, missing, object, object_mut, text};
use crate::{Column, DefaultClass, Kind, fields, metadata};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "IngressClass",
    resource: "ingressclasses",
    singular: "ingressclass",
    namespaced: false,
    type_name: "networking.v1.IngressClass",
    generation: true,
    columns: COLUMNS,
    cells: |class, now| {
        vec![
            column::name(class),
            text(class, "/spec/controller").into(),
            parameters(at(class, "/spec/parameters")).into(),
            column::age(class, now),
        ]
    },
    default: |class| {
        if let Some(parameters) = object_mut(class, "/spec/parameters") {
            fill(parameters, "scope", "Cluster");
        }
    },
    validate,
    validate_update: |new, old, faults| {
        metadata::validate_update(new, old, faults);
        fields::immutable(new, old, "/spec/controller", faults);
    },
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Controller", 0, "The controller that serves ingresses of this class."),
    text_column("Parameters", 0, "What configures the controller further."),
    column::AGE,
];

/// What ingresses without a class get.
pub static DEFAULT: DefaultClass = DefaultClass {
    plugin: "DefaultIngressClass",
    classes: "ingressclasses.networking.k8s.io",
    is_open: |ingress| missing(ingress, "/spec/ingressClassName") && class_annotation(ingress).is_none(),
    choose: |classes| {
        newest(classes, |class| {
            let annotation = "ingressclass.kubernetes.io/is-default-class";
            at(class, "/metadata/annotations").get(annotation).is_some_and(|value| value == "true")
        })
    },
    set: |ingress, class| object(ingress, "spec")["ingressClassName"] = at(class, "/metadata/name").clone(),
};

const CONTROLLER_LENGTH_MAX: usize = 250;

/// `Kind.group/name`
fn parameters(reference: &Value) -> String {
    if reference.is_null() {
        return "<none>".to_owned();
    }
    let group = at(reference, "/apiGroup").as_str().map(|group| format!(".{group}")).unwrap_or_default();
    format!("{}{group}/{}", text(reference, "/kind"), text(reference, "/name"))
}

fn validate(class: &Value, faults: &mut Faults) {
    let controller = text(class, "/spec/controller");
    if controller.is_empty() {
        faults.required("spec.controller", "");
    } else {
        if controller.len() > CONTROLLER_LENGTH_MAX {
            faults.too_long("spec.controller", CONTROLLER_LENGTH_MAX);
        }
        fields::domain_prefixed_path(controller, "spec.controller", faults);
    }
    if !missing(class, "/spec/parameters") {
        validate_parameters(at(class, "/spec/parameters"), "spec.parameters", faults);
    }
}

fn validate_parameters(parameters: &Value, path: &str, faults: &mut Faults) {
    fields::reference(parameters, path, "kind", faults);
    let namespace = at(parameters, "/namespace").as_str();
    match (text(parameters, "/scope"), namespace) {
        ("Namespace", None) => {
            faults.required(format!("{path}.namespace"), "`parameters.scope` is set to 'Namespace'");
        }
        ("Namespace", Some(name)) => report(label(name), name, &format!("{path}.namespace"), faults),
        ("Cluster", Some(_)) => {
            faults.forbidden(format!("{path}.namespace"), "`parameters.scope` is set to 'Cluster'");
        }
        ("Cluster", None) => {}
        (other, _) => faults.not_supported(format!("{path}.scope"), other, &["Cluster", "Namespace"]),
    }
}
