//! What admission adds to a new Pod: identity, priority, tolerations, what its runtime takes ([`runtime`]).

use serde_json::{Value, json};

use super::annotations::MIRROR;
use super::runtime;
use crate::tree::{at, fill, int, list, list_mut, missing, object, text, text_or};
use crate::{Admit, AdmitFacts, Lookup};

/// Where a container finds its token, the cluster's CA and its namespace.
pub const TOKEN_MOUNT_PATH: &str = "/var/run/secrets/kubernetes.io/serviceaccount";
/// Tokens live an hour and seven seconds: an odd number tells these volumes from users' own.
const TOKEN_SECONDS: i64 = 3607;
const TOLERATION_SECONDS: i64 = 300;
/// The account that a controller gives every namespace.
const DEFAULT_ACCOUNT: &str = "default";

/// The service account the pod runs as, and the classes it names.
pub fn lookups(pod: &Value) -> Vec<Lookup> {
    let account = text_or(pod, "/spec/serviceAccountName", DEFAULT_ACCOUNT);
    let mut all = vec![Lookup {
        resource: "serviceaccounts",
        namespace: text(pod, "/metadata/namespace").to_owned(),
        name: account.to_owned(),
        comes_with_namespace: account == DEFAULT_ACCOUNT,
    }];
    let class = text(pod, "/spec/priorityClassName");
    if !class.is_empty() {
        all.push(Lookup::of_cluster("priorityclasses.scheduling.k8s.io", class));
    }
    all.extend(runtime::lookup(pod));
    all
}

pub const PLUGINS: &[Admit] = &[
    Admit { plugin: "ServiceAccount", admit: service_account },
    Admit { plugin: "Priority", admit: priority },
    Admit {
        plugin: "DefaultTolerationSeconds",
        admit: |pod, _| {
            tolerate(pod);
            Ok(())
        },
    },
    Admit {
        plugin: "RuntimeClass",
        admit: |pod, facts| {
            // Looked up last, if at all.
            let class = runtime::lookup(pod).and_then(|_| facts.found.last()?.clone());
            runtime::admit(pod, class.as_ref())
        },
    },
];

/// The class decides; what the pod says itself must agree.
fn priority(pod: &mut Value, facts: &AdmitFacts<'_>) -> Result<(), String> {
    const PREEMPTS: &str = "PreemptLowerPriority";
    let (value, policy) = match text(pod, "/spec/priorityClassName") {
        "" => (0, PREEMPTS),
        name => {
            let class = facts.found.get(1).and_then(Option::as_ref);
            let class = class.ok_or_else(|| format!("no PriorityClass with name {name} was found"))?;
            (int(class, "/value"), text_or(class, "/preemptionPolicy", PREEMPTS))
        }
    };
    let why = |what: &str, given: &str, computed: &str| {
        format!(
            "the {what} ({given}) must not be provided in pod spec; priority admission controller computed {computed} from the given \
             PriorityClass name"
        )
    };
    if let Some(given) = at(pod, "/spec/priority").as_i64().filter(|given| *given != value) {
        return Err(why("integer value of priority", &given.to_string(), &value.to_string()));
    }
    if let Some(given) = at(pod, "/spec/preemptionPolicy").as_str().filter(|given| *given != policy) {
        return Err(why("string value of PreemptionPolicy", given, policy));
    }
    let spec = object(pod, "spec");
    spec["priority"] = value.into();
    fill(spec, "preemptionPolicy", policy);
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
    if pod.pointer("/metadata/annotations").and_then(|all| all.get(MIRROR)).is_some() {
        return Ok(());
    }
    let name = text_or(pod, "/spec/serviceAccountName", DEFAULT_ACCOUNT).to_owned();
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
        admitted_among(spec, &[account])
    }

    fn admitted_among(spec: Value, found: &[Option<Value>]) -> Result<Value, String> {
        let mut pod = json!({"metadata": {"namespace": "a"}, "spec": spec});
        let facts = AdmitFacts { suffix: "abcde", found, author: Author::default() };
        PLUGINS.iter().try_for_each(|plugin| (plugin.admit)(&mut pod, &facts)).map(|()| pod["spec"].take())
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
    }

    #[test]
    fn the_class_decides_the_priority() {
        let with = |mut spec: Value, class: Option<Value>| {
            spec["priorityClassName"] = "c".into();
            admitted_among(spec, &[Some(json!({})), class])
        };
        let class = json!({"value": 7, "preemptionPolicy": "Never"});
        let spec = with(json!({}), Some(class.clone())).unwrap();
        assert_eq!((&spec["priority"], &spec["preemptionPolicy"]), (&json!(7), &json!("Never")));
        assert_eq!(with(json!({}), None), Err("no PriorityClass with name c was found".to_owned()));
        let must_not = "must not be provided in pod spec; priority admission controller computed";
        let given = "from the given PriorityClass name";
        assert_eq!(
            with(json!({"priority": 8}), Some(class.clone())),
            Err(format!("the integer value of priority (8) {must_not} 7 {given}"))
        );
        assert_eq!(
            with(json!({"preemptionPolicy": "PreemptLowerPriority"}), Some(class)),
            Err(format!("the string value of PreemptionPolicy (PreemptLowerPriority) {must_not} Never {given}"))
        );
    }

    #[test]
    fn own_tolerations_are_respected() {
        let all = json!([{"operator": "Exists"}]);
        let spec = admitted(json!({"tolerations": all}), Some(json!({}))).unwrap();
        assert_eq!(spec["tolerations"], all);
    }
}
