//! What a pod refers to, and so what the agent of its node must be able to read.

use serde_json::Value;

/// A kind of object that pods refer to by name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Referred {
    ConfigMap,
    PersistentVolumeClaim,
    ResourceClaim,
    Secret,
    ServiceAccount,
}

/// Whether the pod refers to the object of this name in its own namespace.
pub fn refers(pod: &Value, referred: Referred, name: &str) -> bool {
    let spec = &pod["spec"];
    match referred {
        Referred::ServiceAccount => return spec["serviceAccountName"] == name,
        Referred::ResourceClaim => return claims(pod).any(|claim| claim["resourceClaimName"] == name),
        Referred::PersistentVolumeClaim if is_ephemeral(pod, name) => return true,
        Referred::PersistentVolumeClaim | Referred::ConfigMap | Referred::Secret => {}
    }
    let pulls = referred == Referred::Secret && list(&spec["imagePullSecrets"]).any(|secret| secret["name"] == name);
    pulls
        || list(&spec["volumes"]).any(|volume| in_volume(volume, referred, name))
        || ["containers", "initContainers", "ephemeralContainers"]
            .iter()
            .flat_map(|kind| list(&spec[kind]))
            .any(|container| in_container(container, referred, name))
}

/// Where the pod names claims of devices, be they its own or made for it.
fn claims(pod: &Value) -> impl Iterator<Item = &Value> {
    let status = &pod["status"];
    list(&pod["spec"]["resourceClaims"])
        .chain(list(&status["resourceClaimStatuses"]))
        .chain(std::iter::once(&status["extendedResourceClaimStatus"]))
}

/// Whether a claim of this name is made for one of the pod's volumes.
fn is_ephemeral(pod: &Value, claim: &str) -> bool {
    let pod_name = pod["metadata"]["name"].as_str().unwrap_or_default();
    let volume = claim.strip_prefix(pod_name).and_then(|rest| rest.strip_prefix('-'));
    list(&pod["spec"]["volumes"]).any(|one| !one["ephemeral"].is_null() && one["name"].as_str() == volume)
}

/// What of other objects the pod would give to its node, the first that is found.
pub fn any(pod: &Value) -> Option<&'static str> {
    let spec = &pod["spec"];
    let containers = ["containers", "initContainers", "ephemeralContainers"].map(|kind| &spec[kind]);
    let from = |member: &str, whole: &str| {
        containers.iter().flat_map(|kind| list(kind)).any(|container| {
            list(&container["env"]).any(|variable| !variable["valueFrom"][member].is_null())
                || list(&container["envFrom"]).any(|source| !source[whole].is_null())
        })
    };
    let volume = |member: &str| {
        list(&spec["volumes"]).any(|volume| {
            !volume[member].is_null() || list(&volume["projected"]["sources"]).any(|source| !source[member].is_null())
        })
    };
    let has = [
        ("a service account", spec["serviceAccountName"].as_str().is_some_and(|name| !name.is_empty())),
        (
            "secrets",
            volume("secret") || from("secretKeyRef", "secretRef") || list(&spec["imagePullSecrets"]).next().is_some(),
        ),
        ("configmaps", volume("configMap") || from("configMapKeyRef", "configMapRef")),
        ("persistentvolumeclaims", volume("persistentVolumeClaim") || volume("ephemeral")),
        ("service account tokens", volume("serviceAccountToken")),
        ("resourceclaims", list(&spec["resourceClaims"]).next().is_some()),
    ];
    has.into_iter().find(|(_, has)| *has).map(|(what, _)| what)
}

fn in_volume(volume: &Value, referred: Referred, name: &str) -> bool {
    match referred {
        Referred::ConfigMap => {
            volume["configMap"]["name"] == name
                || list(&volume["projected"]["sources"]).any(|source| source["configMap"]["name"] == name)
        }
        Referred::Secret => {
            volume["secret"]["secretName"] == name
                || list(&volume["projected"]["sources"]).any(|source| source["secret"]["name"] == name)
        }
        Referred::PersistentVolumeClaim => volume["persistentVolumeClaim"]["claimName"] == name,
        Referred::ServiceAccount | Referred::ResourceClaim => false,
    }
}

fn in_container(container: &Value, referred: Referred, name: &str) -> bool {
    let (key, whole) = match referred {
        Referred::ConfigMap => ("configMapKeyRef", "configMapRef"),
        Referred::Secret => ("secretKeyRef", "secretRef"),
        Referred::PersistentVolumeClaim | Referred::ResourceClaim | Referred::ServiceAccount => return false,
    };
    list(&container["env"]).any(|variable| variable["valueFrom"][key]["name"] == name)
        || list(&container["envFrom"]).any(|source| source[whole]["name"] == name)
}

fn list(value: &Value) -> impl Iterator<Item = &Value> {
    value.as_array().into_iter().flatten()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn references_of_a_pod() {
        let pod = json!({"metadata": {"name": "p"}, "spec": {
            "serviceAccountName": "robot",
            "resourceClaims": [{"name": "own", "resourceClaimName": "device"}, {"name": "made", "resourceClaimTemplateName": "t"}],
            "imagePullSecrets": [{"name": "pull"}],
            "volumes": [
                {"configMap": {"name": "cm-volume"}},
                {"secret": {"secretName": "secret-volume"}},
                {"projected": {"sources": [{"configMap": {"name": "cm-projected"}}, {"secret": {"name": "secret-projected"}}]}},
                {"persistentVolumeClaim": {"claimName": "claim"}},
                {"name": "scratch", "ephemeral": {"volumeClaimTemplate": {}}},
                {"name": "empty", "emptyDir": {}},
            ],
            "containers": [{"env": [{"valueFrom": {"configMapKeyRef": {"name": "cm-env"}}}]}],
            "initContainers": [{"envFrom": [{"secretRef": {"name": "secret-from"}}, {"configMapRef": {"name": "cm-from"}}]}],
        }, "status": {
            "resourceClaimStatuses": [{"name": "made", "resourceClaimName": "p-made-x"}],
            "extendedResourceClaimStatus": {"resourceClaimName": "p-extended-x"},
        }});
        for name in ["cm-volume", "cm-projected", "cm-env", "cm-from"] {
            assert!(refers(&pod, Referred::ConfigMap, name), "{name}");
            assert!(!refers(&pod, Referred::Secret, name), "{name}");
        }
        for name in ["pull", "secret-volume", "secret-projected", "secret-from"] {
            assert!(refers(&pod, Referred::Secret, name), "{name}");
            assert!(!refers(&pod, Referred::ConfigMap, name), "{name}");
        }
        assert!(refers(&pod, Referred::ServiceAccount, "robot") && !refers(&pod, Referred::ServiceAccount, "other"));
        for (kind, yes, no) in [
            (
                Referred::PersistentVolumeClaim,
                &["claim", "p-scratch"][..],
                &["p-empty", "scratch", "p-", "x-scratch"][..],
            ),
            (Referred::ResourceClaim, &["device", "p-made-x", "p-extended-x"], &["own", "made", "t", "claim"]),
        ] {
            for name in yes {
                assert!(refers(&pod, kind, name), "{kind:?} {name}");
            }
            for name in no {
                assert!(!refers(&pod, kind, name), "{kind:?} {name}");
            }
        }
    }
}
