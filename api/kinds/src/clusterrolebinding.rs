//! ClusterRoleBinding (rbac.authorization.k8s.io).

use crate::{Kind, rbac};

pub static KIND: Kind = Kind {
    kind: "ClusterRoleBinding",
    resource: "clusterrolebindings",
    singular: "clusterrolebinding",
    namespaced: false,
    type_name: "rbac.v1.ClusterRoleBinding",
    validate: |binding, faults| rbac::validate_binding(binding, &["ClusterRole"], false, faults),
    ..rbac::BINDING
};
