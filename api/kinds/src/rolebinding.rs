//! RoleBinding (rbac.authorization.k8s.io).

use crate::{Kind, rbac};

pub static KIND: Kind = Kind {
    kind: "RoleBinding",
    resource: "rolebindings",
    singular: "rolebinding",
    type_name: "rbac.v1.RoleBinding",
    validate: |binding, faults| rbac::validate_binding(binding, &["Role", "ClusterRole"], true, faults),
    ..rbac::BINDING
};
