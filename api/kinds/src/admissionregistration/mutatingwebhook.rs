//! MutatingWebhookConfiguration.

use super::{GROUP, REINVOCATION_POLICIES, webhook};
use crate::tree::{fill, list, list_mut, text};
use crate::{FinalizerRule, Kind, fields};

pub static KIND: Kind = Kind {
    group: GROUP,
    kind: "MutatingWebhookConfiguration",
    resource: "mutatingwebhookconfigurations",
    singular: "mutatingwebhookconfiguration",
    categories: &["api-extensions"],
    namespaced: false,
    type_name: "admissionregistration.v1.MutatingWebhookConfiguration",
    finalizers: FinalizerRule::Qualified,
    generation: true,
    unconditional_update: false,
    columns: webhook::COLUMNS,
    cells: webhook::cells,
    default: |configuration| {
        webhook::default(configuration);
        for webhook in list_mut(configuration, "/webhooks") {
            fill(webhook, "reinvocationPolicy", "Never");
        }
    },
    validate: |configuration, faults| {
        webhook::validate(configuration, faults);
        for (index, webhook) in list(configuration, "/webhooks").iter().enumerate() {
            let path = format!("webhooks[{index}].reinvocationPolicy");
            fields::one_of(text(webhook, "/reinvocationPolicy"), path, &REINVOCATION_POLICIES, faults);
        }
    },
    decides_writes: true,
    ..Kind::BASE
};
