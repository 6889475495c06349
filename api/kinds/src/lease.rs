//! Lease (coordination.k8s.io).

use kontiki_model::Faults;
use serde_json::Value;

use crate::column::{self, text_column};
use crate::tree::{at, int, text};
use crate::{Column, Disabled, FinalizerRule, Kind, Restore, Retention, metadata};

pub static KIND: Kind = Kind {
    group: "coordination.k8s.io",
    kind: "Lease",
    resource: "leases",
    singular: "lease",
    type_name: "coordination.v1.Lease",
    finalizers: FinalizerRule::Qualified,
    create_on_update: true,
    unconditional_update: false,
    columns: COLUMNS,
    cells: |lease, now| vec![column::name(lease), text(lease, "/spec/holderIdentity").into(), column::age(lease, now)],
    disabled: &[
        Disabled::new("CoordinatedLeaderElection", &[&["spec", "strategy"]]),
        Disabled::new("CoordinatedLeaderElection", &[&["spec", "preferredHolder"]]),
    ],
    validate,
    validate_update: |new, old, faults| metadata::validate_update(new, old, faults),
    retention: Retention::Short,
    restore: Restore::Never,
    ..Kind::BASE
};

const COLUMNS: &[Column] = &[column::NAME, text_column("Holder", 0, "Identity of the current holder."), column::AGE];

fn validate(lease: &Value, faults: &mut Faults) {
    let duration = at(lease, "/spec/leaseDurationSeconds");
    if !duration.is_null() && int(lease, "/spec/leaseDurationSeconds") <= 0 {
        faults.invalid("spec.leaseDurationSeconds", duration.clone(), "must be greater than 0");
    }
    let transitions = at(lease, "/spec/leaseTransitions");
    if int(lease, "/spec/leaseTransitions") < 0 {
        faults.invalid("spec.leaseTransitions", transitions.clone(), "must be greater than or equal to 0");
    }
}
