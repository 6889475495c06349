//! The roles and bindings that every cluster has: Kubernetes' own, by its names, and the few that kontiki's parts need
//! besides. Data; `reconcile` brings it to the log.
mod cluster_roles;
mod controllers;
mod namespaces;
mod role;

use std::sync::LazyLock;

use serde_json::json;

use super::{
    rbac::{GROUP, Rbac, Resource},
    rule::Rule,
};
pub use role::Default;

/// All of them, roles before the bindings that name them.
pub fn all() -> Vec<Default> {
    let mut all = cluster_roles::roles();
    all.extend(controllers::roles());
    all.extend(namespaces::roles());
    all.extend(cluster_roles::bindings());
    all.extend(controllers::bindings());
    all.extend(namespaces::bindings());
    all
}

/// The rules of node agents, as the node authorizer judges what it does not judge by itself.
pub fn node_rules() -> &'static [Rule] {
    static RULES: LazyLock<Vec<Rule>> =
        LazyLock::new(|| Rule::list(&json!({"rules": role::rules(cluster_roles::NODE)})));
    &RULES
}

/// As if all of them were there and nothing else: what counts before the log is known.
pub fn index() -> &'static Rbac {
    static INDEX: LazyLock<Rbac> = LazyLock::new(|| {
        let mut rbac = Rbac::default();
        for Default { resource, namespace, object } in all() {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            rbac.set(resource, namespace, name, Some(&object));
        }
        rbac
    });
    &INDEX
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;

    use super::*;

    #[test]
    fn every_binding_names_a_role_and_nothing_is_there_twice() {
        let all = all();
        let id =
            |one: &Default| (one.resource.plural(), one.namespace, one.object["metadata"]["name"].clone().to_string());
        let ids: HashSet<_> = all.iter().map(id).collect();
        assert_eq!(ids.len(), all.len());
        for one in &all {
            let reference = &one.object["roleRef"];
            if reference.is_null() {
                continue;
            }
            let cluster = reference["kind"] == "ClusterRole";
            let resource = if cluster { Resource::ClusterRoles } else { Resource::Roles };
            let namespace = if cluster { "" } else { one.namespace };
            assert!(ids.contains(&(resource.plural(), namespace, reference["name"].to_string())), "{reference}");
        }
    }

    #[test]
    fn they_are_valid_objects_of_their_kinds() {
        for Default { resource, namespace, mut object } in all() {
            let kind = kontiki_kinds::by_resource(GROUP, "v1", resource.plural()).expect("RBAC's kinds are served");
            assert_eq!(object["kind"], kind.kind);
            if !namespace.is_empty() {
                object["metadata"]["namespace"] = namespace.into();
            }
            let before = object.clone();
            (kind.default)(&mut object);
            assert_eq!(object, before, "nothing is left to default");
            let mut faults = kontiki_model::Faults::default();
            kontiki_kinds::metadata::validate(kind, &object, &mut faults);
            (kind.validate)(&object, &mut faults);
            assert!(faults.is_empty(), "{object}: {faults:?}");
        }
    }

    #[test]
    fn a_role_is_what_kubernetes_makes_of_it() {
        let all = all();
        let find = |name: &str| all.iter().find(|one| one.object["metadata"]["name"] == name).map(|one| &one.object);
        let edit = json!({
            "apiVersion": "rbac.authorization.k8s.io/v1",
            "kind": "ClusterRole",
            "metadata": {
                "name": "edit",
                "labels": {
                    "kubernetes.io/bootstrapping": "rbac-defaults",
                    "rbac.authorization.k8s.io/aggregate-to-admin": "true",
                },
                "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
            },
            "rules": null,
            "aggregationRule": {
                "clusterRoleSelectors": [{"matchLabels": {"rbac.authorization.k8s.io/aggregate-to-edit": "true"}}],
            },
        });
        assert_eq!(find("edit"), Some(&edit));
        let proxier = find("system:node-proxier").map(|role| &role["rules"][2]);
        let events = json!({"verbs": ["create", "patch", "update"], "apiGroups": ["", "events.k8s.io"], "resources": ["events"]});
        assert_eq!(proxier, Some(&events));
    }
}
