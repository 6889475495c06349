//! ValidatingWebhookConfiguration.

use super::{GROUP, webhook};
use crate::{FinalizerRule, Kind};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "ValidatingWebhookConfiguration",
    resource: "validatingwebhookconfigurations",
    singular: "validatingwebhookconfiguration",
    categories: &["api-extensions"],
    namespaced: false,
    type_name: "admissionregistration.v1.ValidatingWebhookConfiguration",
    finalizers: FinalizerRule::Qualified,
    generation: true,
    unconditional_update: false,
    columns: webhook::COLUMNS,
    cells: webhook::cells,
    default: webhook::default,
    validate: webhook::validate,
    decides_writes: true,
    ..Kind::BASE
};
