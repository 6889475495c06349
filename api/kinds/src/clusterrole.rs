//! ClusterRole (rbac.authorization.k8s.io).

use kontiki_model::Faults;
use serde_json::Value;

use crate::tree::{list, missing};
use crate::{Kind, rbac, selector};

pub static KIND: Kind = Kind {
    kind: "ClusterRole",
    resource: "clusterroles",
    singular: "clusterrole",
    namespaced: false,
    type_name: "rbac.v1.ClusterRole",
    validate,
    ..rbac::ROLE
};

fn validate(role: &Value, faults: &mut Faults) {
    rbac::validate_rules(role, false, faults);
    if missing(role, "/aggregationRule") {
        return;
    }
    let selectors = list(role, "/aggregationRule/clusterRoleSelectors");
    if selectors.is_empty() {
        let detail = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        faults.required("aggregationRule.clusterRoleSelectors", detail);
    }
    for (index, one) in selectors.iter().enumerate() {
        selector::validate(one, &format!("aggregationRule.clusterRoleSelectors[{index}]"), faults);
    }
}
