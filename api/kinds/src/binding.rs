//! Binding: the scheduler's verdict on a pod, posted to a collection of its own. Nothing is stored.

use crate::Kind;
use crate::kind::Computed;

pub static KIND: Kind = Kind {
    kind: "Binding",
    resource: "bindings",
    singular: "binding",
    type_name: "core.v1.Binding",
    verbs: &["create"],
    columns: &[],
    cells: |_, _| Vec::new(),
    computed: Some(Computed::PodBinding),
    measure: None,
    ..Kind::BASE
};
