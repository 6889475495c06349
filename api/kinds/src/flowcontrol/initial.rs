//! The priority levels and flow schemas that every cluster has. Two of each are mandatory: what they say is fixed.

use kontiki_model::Faults;
use serde_json::{Value, json};

use crate::tree::{at, remove, text};

const AUTOUPDATE: &str = "apf.kubernetes.io/autoupdate-spec";

pub fn priority_levels() -> Vec<Value> {
    let limited = |shares: i64, lendable: i64, response: Value| {
        json!({"type": "Limited", "limited": {
            "nominalConcurrencyShares": shares, "limitResponse": response, "lendablePercent": lendable,
        }})
    };
    let queue = |queues: i64, hand: i64| json!({"type": "Queue", "queuing": {"queues": queues, "handSize": hand, "queueLengthLimit": 50}});
    let exempt = json!({"type": "Exempt", "exempt": {"nominalConcurrencyShares": 0, "lendablePercent": 0}});
    [
        ("exempt", exempt),
        ("catch-all", limited(5, 0, json!({"type": "Reject"}))),
        ("system", limited(30, 33, queue(64, 6))),
        ("node-high", limited(40, 25, queue(64, 6))),
        ("leader-election", limited(10, 0, queue(16, 4))),
        ("workload-high", limited(40, 50, queue(128, 6))),
        ("workload-low", limited(100, 90, queue(128, 6))),
        ("global-default", limited(20, 50, queue(128, 6))),
    ]
    .map(|(name, spec)| object(name, spec))
    .into()
}

pub fn flow_schemas() -> Vec<Value> {
    let everyone = [group("system:unauthenticated"), group("system:authenticated")];
    let masters = [group("system:masters")];
    let nodes = [group("system:nodes")];
    let manager = [user("system:kube-controller-manager")];
    let scheduler = [user("system:kube-scheduler")];
    let system_accounts = [account("*")];
    let leases = [resource_rule(&["get", "create", "update"], "coordination.k8s.io", &["leases"], false)];
    let node_rules = [
        resource_rule(&["*"], "", &["nodes", "nodes/status"], true),
        resource_rule(&["*"], "coordination.k8s.io", &["leases"], false),
    ];
    let endpoints = resource_rule(&["get", "create", "update"], "", &["endpoints"], false);
    let health = json!([{"verbs": ["get"], "nonResourceURLs": ["/healthz", "/readyz", "/livez"]}]);
    let probes = json!([{"subjects": everyone, "nonResourceRules": health}]);
    let leaders = [&manager[..], &scheduler, &system_accounts].concat();
    let endpoint_controllers =
        [&manager[..], &[account("endpoint-controller"), account("endpointslicemirroring-controller")]].concat();
    [
        schema("exempt", "exempt", 1, None, anything(&masters)),
        schema("catch-all", "catch-all", 10_000, BY_USER, anything(&everyone)),
        schema("probes", "exempt", 2, None, probes),
        schema("system-leader-election", "leader-election", 100, BY_USER, some(&leaders, &leases)),
        schema("endpoint-controller", "workload-high", 150, BY_USER, some(&endpoint_controllers, &[endpoints])),
        schema("workload-leader-election", "leader-election", 200, BY_USER, some(&system_accounts, &leases)),
        schema("system-node-high", "node-high", 400, BY_USER, some(&nodes, &node_rules)),
        schema("system-nodes", "system", 500, BY_USER, anything(&nodes)),
        schema("kube-controller-manager", "workload-high", 800, BY_NAMESPACE, anything(&manager)),
        schema("kube-scheduler", "workload-high", 800, BY_NAMESPACE, anything(&scheduler)),
        schema("kube-system-service-accounts", "workload-high", 900, BY_NAMESPACE, anything(&system_accounts)),
        schema("service-accounts", "workload-low", 9000, BY_USER, anything(&[group("system:serviceaccounts")])),
        schema("global-default", "global-default", 9900, BY_USER, anything(&everyone)),
    ]
    .into()
}

/// The spec that a mandatory flow schema must have.
pub fn fixed_flow_schema(name: &str) -> Option<Value> {
    ["exempt", "catch-all"].contains(&name).then(|| spec_of(&flow_schemas(), name))
}

/// The spec that a mandatory priority level must have.
pub fn fixed_priority_level(name: &str) -> Option<Value> {
    ["exempt", "catch-all"].contains(&name).then(|| spec_of(&priority_levels(), name))
}

/// A mandatory object says what it must; but how much the exempt level lends is for administrators to say.
pub fn validate_fixed(object: &Value, fixed: fn(&str) -> Option<Value>, faults: &mut Faults) {
    let name = text(object, "/metadata/name");
    let Some(mut fixed) = fixed(name) else { return };
    let mut spec = at(object, "/spec").clone();
    let open = remove(&mut fixed, "exempt").is_some();
    if open {
        remove(&mut spec, "exempt");
    }
    if spec != fixed {
        let except = if open { " except the 'exempt' field" } else { "" };
        let detail = format!("spec of '{name}'{except} must equal the fixed value");
        faults.invalid("spec", at(object, "/spec").clone(), detail);
    }
}

fn spec_of(all: &[Value], name: &str) -> Value {
    all.iter().find(|one| text(one, "/metadata/name") == name).map(|one| at(one, "/spec").clone()).unwrap_or_default()
}

const BY_USER: Option<&str> = Some("ByUser");
const BY_NAMESPACE: Option<&str> = Some("ByNamespace");

fn object(name: &str, spec: Value) -> Value {
    json!({"metadata": {"name": name, "annotations": {AUTOUPDATE: "true"}}, "spec": spec})
}

fn schema(name: &str, level: &str, precedence: i64, method: Option<&str>, rules: Value) -> Value {
    let mut spec = json!({"priorityLevelConfiguration": {"name": level}, "matchingPrecedence": precedence});
    if let Some(method) = method {
        spec["distinguisherMethod"] = json!({"type": method});
    }
    spec["rules"] = rules;
    let mut schema = object(name, spec);
    let message =
        format!("This FlowSchema references the PriorityLevelConfiguration object named {level:?} and it exists");
    schema["status"] = json!({"conditions": [
        {"type": "Dangling", "status": "False", "lastTransitionTime": null, "reason": "Found", "message": message},
    ]});
    schema
}

/// Every request of these.
fn anything(subjects: &[Value]) -> Value {
    json!([{
        "subjects": subjects,
        "resourceRules": [{"verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "clusterScope": true, "namespaces": ["*"]}],
        "nonResourceRules": [{"verbs": ["*"], "nonResourceURLs": ["*"]}],
    }])
}

/// Some requests of these.
fn some(subjects: &[Value], rules: &[Value]) -> Value {
    json!([{"subjects": subjects, "resourceRules": rules}])
}

fn resource_rule(verbs: &[&str], group: &str, resources: &[&str], cluster: bool) -> Value {
    let mut rule = json!({"verbs": verbs, "apiGroups": [group], "resources": resources, "namespaces": ["*"]});
    if cluster {
        rule["clusterScope"] = true.into();
    }
    rule
}

fn group(name: &str) -> Value {
    json!({"kind": "Group", "group": {"name": name}})
}

fn user(name: &str) -> Value {
    json!({"kind": "User", "user": {"name": name}})
}

fn account(name: &str) -> Value {
    json!({"kind": "ServiceAccount", "serviceAccount": {"namespace": "kube-system", "name": name}})
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Kind;

    fn faults_of(kind: &Kind, object: &Value) -> usize {
        let mut faults = Faults::default();
        let mut object = object.clone();
        (kind.default)(&mut object);
        (kind.validate)(&object, &mut faults);
        faults.iter().count()
    }

    #[test]
    fn what_every_cluster_has_is_valid_and_complete() {
        let (levels, schemas) = (priority_levels(), flow_schemas());
        for level in &levels {
            assert_eq!(faults_of(&super::super::prioritylevel::KIND, level), 0, "{level}");
        }
        for schema in &schemas {
            assert_eq!(faults_of(&super::super::flowschema::KIND, schema), 0, "{schema}");
            let level = text(schema, "/spec/priorityLevelConfiguration/name");
            assert!(levels.iter().any(|one| text(one, "/metadata/name") == level), "{level}");
        }
    }

    #[test]
    fn the_mandatory_ones_are_fixed() {
        let mut schemas = flow_schemas();
        schemas[1]["spec"]["matchingPrecedence"] = 9_999.into();
        assert_eq!(faults_of(&super::super::flowschema::KIND, &schemas[1]), 1);
        let mut levels = priority_levels();
        levels[0]["spec"]["exempt"]["lendablePercent"] = 7.into();
        assert_eq!(faults_of(&super::super::prioritylevel::KIND, &levels[0]), 0);
        levels[1]["spec"]["limited"]["nominalConcurrencyShares"] = 7.into();
        assert_eq!(faults_of(&super::super::prioritylevel::KIND, &levels[1]), 1);
    }
}
