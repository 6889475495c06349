//! What admission adds to a new Pod: priority (`Priority`), tolerations (`DefaultTolerationSeconds`), identity (`ServiceAccount`).

use serde_json::{Value, json};

use crate::tree::{at, fill, list, list_mut, missing, object, text, text_or};
use crate::{AdmitFacts, Lookup, priorityclass};

/// Where a container finds its token, the cluster's CA and its namespace.
pub const TOKEN_MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Tokens live an hour and seven seconds: an odd number tells these volumes from users' own.
const TOKEN_SECONDS: i64 = 3607;
const TOLERATION_SECONDS: i64 = 300;

/// The service account the pod runs as.
pub fn lookups(pod: &Value) -> Vec<Lookup> {
    vec![Lookup {
        resource: "serviceaccounts",
        namespace: text(pod, "/metadata/namespace").to_owned(),
        name: text_or(pod, "/spec/serviceAccountName", "default").to_owned(),
    }]
}

pub fn admit(pod: &mut Value, facts: &AdmitFacts<'_>) -> Result<(), String> {
    priority(pod)?;
    service_account(pod, facts)?;
    tolerate(pod);
    Ok(())
}

fn priority(pod: &mut Value) -> Result<(), String> {
    let class = text(pod, "/spec/priorityClassName").to_owned();
    let value = match priorityclass::SYSTEM.iter().find(|(name, _)| *name == class) {
        Some((_, value)) => *value,
        None if class.is_empty() => 0,
        None => return Err(format!("no PriorityClass with name {class} was found")),
    };
    match at(pod, "/spec/priority").as_i64() {
        Some(given) if given != value => {
            return Err(format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller computed \
                 {value} from the given PriorityClass name"
            ));
        }
        _ => {}
    }
    let spec = object(pod, "spec");
    spec["priority"] = value.into();
    fill(spec, "preemptionPolicy", "PreemptLowerPriority");
    Ok(())
}

/// Nodes that are briefly not ready keep their pods for five minutes.
pub fn tolerate(pod: &mut Value) {
    let mut tolerations = list(pod, "/spec/tolerations").to_vec();
    for key in ["node.kubernetes.io/not-ready", "node.kubernetes.io/unreachable"] {
        let tolerated = tolerations.iter().any(|one| {
            (text(one, "/key").is_empty() || text(one, "/key") == key)
                && matches!(text(one, "/effect"), "" | "NoExecute")
        });
        if !tolerated {
            tolerations.push(json!({
                "key": key, "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": TOLERATION_SECONDS,
            }));
        }
    }
    object(pod, "spec")["tolerations"] = tolerations.into();
}

fn service_account(pod: &mut Value, facts: &AdmitFacts<'_>) -> Result<(), String> {
    // A mirror pod stands for a static pod of its node, which has no identity in the cluster.
    if pod.pointer("/metadata/annotations").and_then(|all| all.get("kubernetes.io/config.mirror")).is_some() {
        return Ok(());
    }
    let name = text_or(pod, "/spec/serviceAccountName", "default").to_owned();
    let spec = object(pod, "spec");
    spec["serviceAccountName"] = name.as_str().into();
    spec["serviceAccount"] = name.as_str().into();
    let Some(Some(account)) = facts.found.first() else {
        let namespace = text(pod, "/metadata/namespace");
        return Err(format!(
            "error looking up service account {namespace}/{name}: serviceaccount \"{name}\" not found"
        ));
    };
    let wanted = [at(pod, "/spec/automountServiceAccountToken"), at(account, "/automountServiceAccountToken")];
    if wanted.into_iter().find_map(Value::as_bool).unwrap_or(true) {
        mount_service_account_token(pod, facts.suffix);
    }
    if missing(pod, "/spec/imagePullSecrets") && !list(account, "/imagePullSecrets").is_empty() {
        object(pod, "spec")["imagePullSecrets"] = at(account, "/imagePullSecrets").clone();
    }
    Ok(())
}

/// Adds the volume with the token, the cluster's CA and the namespace, and mounts it in each container that has nothing there.
/// The volume's name ends in the given suffix.
pub fn mount_service_account_token(pod: &mut Value, suffix: &str) {
    let existing = list(pod, "/spec/volumes").iter().map(|one| text(one, "/name"));
    let existing = existing.filter(|name| name.starts_with("kube-api-access-")).map(str::to_owned).next();
    let name = existing.clone().unwrap_or_else(|| format!("kube-api-access-{suffix}"));
    let mut used = false;
    for member in ["initContainers", "containers"] {
        for container in list_mut(object(pod, "spec"), &format!("/{member}")) {
            let mut mounts = list(container, "/volumeMounts").to_vec();
            if mounts.iter().any(|mount| text(mount, "/mountPath") == TOKEN_MOUNT_PATH) {
                continue;
            }
            mounts.push(json!({"name": name, "readOnly": true, "mountPath": TOKEN_MOUNT_PATH}));
            container["volumeMounts"] = mounts.into();
            used = true;
        }
    }
    if used && existing.is_none() {
        let mut volumes = list(pod, "/spec/volumes").to_vec();
        volumes.push(token_volume(&name));
        object(pod, "spec")["volumes"] = volumes.into();
    }
}

fn token_volume(name: &str) -> Value {
    json!({
        "name": name,
        "projected": {
            "sources": [
                {"serviceAccountToken": {"expirationSeconds": TOKEN_SECONDS, "path": "token"}},
                {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
                {"downwardAPI": {"items": [
                    {"path": "namespace", "fieldRef": {"apiVersion": "v1", "fieldPath": "metadata.namespace"}},
                ]}},
            ],
            "defaultMode": 420,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Author;

    fn admitted(spec: Value, account: Option<Value>) -> Result<Value, String> {
        let mut pod = json!({"metadata": {"namespace": "a"}, "spec": spec});
        let facts = AdmitFacts { suffix: "abcde", found: &[account], author: Author::default() };
        admit(&mut pod, &facts).map(|()| pod["spec"].take())
    }

    #[test]
    fn a_pod_gets_identity_priority_and_tolerations() {
        let spec = admitted(json!({"containers": [{"name": "c"}]}), Some(json!({}))).unwrap();
        assert_eq!(spec["serviceAccountName"], "default");
        assert_eq!(spec["serviceAccount"], "default");
        assert_eq!(spec["priority"], 0);
        assert_eq!(spec["volumes"][0]["name"], "kube-api-access-abcde");
        assert_eq!(
            spec["containers"][0]["volumeMounts"],
            json!([{"name": "kube-api-access-abcde", "readOnly": true, "mountPath": TOKEN_MOUNT_PATH}])
        );
        assert_eq!(spec["tolerations"].as_array().map(Vec::len), Some(2));
    }

    #[test]
    fn who_wants_no_token_gets_none() {
        let none = json!({"automountServiceAccountToken": false});
        let cases = [
            (json!({"automountServiceAccountToken": false}), json!({}), false),
            (json!({}), none.clone(), false),
            (json!({"automountServiceAccountToken": true}), none, true),
        ];
        for (mut spec, account, mounted) in cases {
            spec["containers"] = json!([{"name": "c"}]);
            let spec = admitted(spec, Some(account)).unwrap();
            assert_eq!(!missing(&spec, "/volumes"), mounted);
        }
    }

    #[test]
    fn refusals_say_why() {
        assert_eq!(
            admitted(json!({"serviceAccountName": "sa0"}), None),
            Err("error looking up service account a/sa0: serviceaccount \"sa0\" not found".to_owned())
        );
        assert_eq!(
            admitted(json!({"priorityClassName": "none"}), Some(json!({}))),
            Err("no PriorityClass with name none was found".to_owned())
        );
        let critical = admitted(json!({"priorityClassName": "system-node-critical"}), Some(json!({}))).unwrap();
        assert_eq!(critical["priority"], 2_000_001_000);
    }

    #[test]
    fn own_tolerations_are_respected() {
        let all = json!([{"operator": "Exists"}]);
        let spec = admitted(json!({"tolerations": all}), Some(json!({}))).unwrap();
        assert_eq!(spec["tolerations"], all);
    }
}
