//! ClusterRoles that gather the rules of others: `aggregationRule` says which, this writes what they are.

use std::sync::Arc;

use k8s_openapi::api::rbac::v1::{ClusterRole, PolicyRule};
use kontiki_informer::{Change, Informer, ObjectKey, Queue};
use kube::{
    Api, ResourceExt,
    api::{Patch, PatchParams},
};
use serde_json::json;

use crate::{
    ControllerError,
    context::{Context, settled},
    pods::{matches, selector},
};

struct Controller {
    context: Context,
    roles: Informer<ClusterRole>,
}

pub async fn run(context: Context) {
    let queue: Queue<ObjectKey> = Queue::default();
    let of_role = queue.clone();
    // Any role may begin or cease to be part of any other, so one look is at all of them.
    let everything = ObjectKey::new("", "");
    let roles = context.informer::<ClusterRole>(vec![Box::new(move |_: &Change<ClusterRole>| {
        of_role.add(everything.clone());
    })]);
    if !roles.synced().await {
        return;
    }
    let controller = Arc::new(Controller { context, roles });
    let cancel = controller.context.cancel.clone();
    queue
        .drain(1, cancel, move |key| {
            let controller = controller.clone();
            async move { settled("clusterrole", &key, controller.reconcile().await) }
        })
        .await;
}

impl Controller {
    async fn reconcile(&self) -> Result<(), ControllerError> {
        let roles = self.roles.list(None);
        for role in roles.iter().filter(|role| role.metadata.deletion_timestamp.is_none()) {
            let Some(rules) = gathered(role, &roles)? else { continue };
            if role.rules.as_ref().unwrap_or(&Vec::new()) == &rules {
                continue;
            }
            let version = role.resource_version();
            let api: Api<ClusterRole> = Api::all(self.context.clients.caused_by(version.as_deref()));
            // Of the role as it was looked at: somebody may be changing what it gathers.
            let patch = json!({"metadata": {"resourceVersion": version}, "rules": rules});
            api.patch(&role.name_any(), &PatchParams::default(), &Patch::Merge(patch)).await?;
        }
        Ok(())
    }
}

/// The rules of the roles that this one selects, each once; `None` if it selects none. `roles` are ordered by name.
fn gathered(role: &ClusterRole, roles: &[Arc<ClusterRole>]) -> Result<Option<Vec<PolicyRule>>, ControllerError> {
    let Some(aggregation) = &role.aggregation_rule else { return Ok(None) };
    let mut rules: Vec<PolicyRule> = Vec::new();
    for one in aggregation.cluster_role_selectors.iter().flatten() {
        let selector = selector(one)?;
        let selected = |other: &&Arc<ClusterRole>| {
            other.name_any() != role.name_any() && matches(&selector, other.metadata.labels.as_ref())
        };
        for rule in roles.iter().filter(selected).flat_map(|other| other.rules.iter().flatten()) {
            if !rules.contains(rule) {
                rules.push(rule.clone());
            }
        }
    }
    Ok(Some(rules))
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn role(name: &str, labels: serde_json::Value, verbs: &[&str], gathers: &[&str]) -> Arc<ClusterRole> {
        let rules: Vec<_> =
            verbs.iter().map(|verb| json!({"verbs": [verb], "apiGroups": [""], "resources": ["pods"]})).collect();
        let selectors: Vec<_> = gathers.iter().map(|label| json!({"matchLabels": {*label: "true"}})).collect();
        let mut role = json!({"metadata": {"name": name, "labels": labels}, "rules": rules});
        if !gathers.is_empty() {
            role["aggregationRule"] = json!({"clusterRoleSelectors": selectors});
        }
        Arc::new(serde_json::from_value(role).unwrap())
    }

    #[test]
    fn a_role_gathers_what_it_selects_once_and_in_order() {
        let roles = [
            role("all", json!({"to-a": "true"}), &["stale"], &["to-b", "to-a"]),
            role("b", json!({"to-b": "true"}), &["list", "get"], &[]),
            role("c", json!({"to-a": "true", "to-b": "true"}), &["get", "watch"], &[]),
            role("d", json!({"to-a": "false"}), &["delete"], &[]),
        ];
        let rules = gathered(&roles[0], &roles).unwrap().unwrap();
        let verbs: Vec<_> = rules.iter().map(|rule| rule.verbs[0].as_str()).collect();
        assert_eq!(verbs, ["list", "get", "watch"]);
        assert_eq!(gathered(&roles[1], &roles).unwrap(), None);
    }
}
