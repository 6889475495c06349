//! Role (rbac.authorization.k8s.io).

use crate::{Kind, rbac};

pub static KIND: Kind = Kind {
    kind: "Role",
    resource: "roles",
    singular: "role",
    type_name: "rbac.v1.Role",
    validate: |role, faults| rbac::validate_rules(role, true, faults),
    ..rbac::ROLE
};
