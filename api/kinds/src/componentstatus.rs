//! ComponentStatus: how the parts of the control plane are, told anew each time it is asked for.

use crate::column::{self, text_column};
use crate::kind::Computed;
use crate::tree::{list, text};
use crate::{Column, Kind};

pub static KIND: Kind = Kind {
    kind: "ComponentStatus",
    resource: "componentstatuses",
    singular: "componentstatus",
    short_names: &["cs"],
    namespaced: false,
    type_name: "core.v1.ComponentStatus",
    verbs: &["get", "list"],
    columns: COLUMNS,
    cells: |status, _| {
        let healthy = list(status, "/conditions").iter().find(|one| text(one, "/type") == "Healthy");
        let state = match healthy.map(|condition| text(condition, "/status")) {
            Some("True") => "Healthy",
            Some("False") => "Unhealthy",
            _ => "Unknown",
        };
        let of = |pointer: &str| healthy.map_or("", |condition| text(condition, pointer));
        vec![column::name(status), state.into(), of("/message").into(), of("/error").into()]
    },
    deprecation: Some("v1 ComponentStatus is deprecated in v1.19+"),
    computed: Some(Computed::Components),
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[
    column::NAME,
    text_column("Status", 0, "Status of the component conditions"),
    text_column("Message", 0, "Message of the component conditions"),
    text_column("Error", 0, "Error of the component conditions"),
];
