//! Cluster roles of controllers, each for the service account of its name in `kube-system`; and all of them together for
//! the identity that kontiki's controllers share.

use serde_json::{Value, json};

use super::{
    Resource,
    role::{CORE, Default, EVENTS, LIST, READ, RoleData, RuleData, To, bind, on, on_named, role},
};

const PREFIX: &str = "system:controller:";
/// All of these rules in one role: controllers run in one process, as one user.
const TOGETHER: &str = "kontiki:controllers";
/// What Kubernetes' API server does by itself, without a role, and a controller does here.
const OF_THE_SERVER: &[RuleData] = &[on(CREATE, NETWORKING, &["ipaddresses"])];

const ADMISSION: &[&str] = &["admissionregistration.k8s.io"];
const APPS: &[&str] = &["apps"];
const APPS_OLD: &[&str] = &["apps", "extensions"];
const BATCH: &[&str] = &["batch"];
const CERTIFICATES: &[&str] = &["certificates.k8s.io"];
const DISCOVERY: &[&str] = &["discovery.k8s.io"];
const NETWORKING: &[&str] = &["networking.k8s.io"];
const POLICY: &[&str] = &["policy"];
const RESOURCE: &[&str] = &["resource.k8s.io"];
const STORAGE: &[&str] = &["storage.k8s.io"];

const CREATE: &[&str] = &["create"];
const GET: &[&str] = &["get"];
const UPDATE: &[&str] = &["update"];
const PATCH: &[&str] = &["patch", "update"];
const READ_DELETE: &[&str] = &["get", "list", "watch", "delete"];
const READ_PUT: &[&str] = &["get", "list", "watch", "update"];
const KEEP: &[&str] = &["get", "list", "watch", "create", "update", "delete"];
const KEEP_PATCH: &[&str] = &["get", "list", "watch", "create", "update", "delete", "patch"];
const PODS: RuleData = on(&["list", "watch", "create", "delete", "patch"], CORE, &["pods"]);

pub fn roles() -> Vec<Default> {
    let mut roles: Vec<Default> = ROLES.iter().map(RoleData::cluster_role).collect();
    let rules: Vec<Value> =
        roles.iter().flat_map(|role| role.object["rules"].as_array().into_iter().flatten().cloned()).collect();
    let mut together = RoleData { ..role(TOGETHER, &[]) }.cluster_role();
    let own = RoleData { ..role(TOGETHER, OF_THE_SERVER) }.cluster_role();
    let own = own.object["rules"].as_array().into_iter().flatten().cloned();
    together.object["rules"] = json!(once_each(rules.into_iter().chain(own).collect()));
    roles.push(together);
    roles
}

fn once_each(rules: Vec<Value>) -> Vec<Value> {
    let mut out: Vec<Value> = Vec::new();
    for rule in rules {
        if !out.contains(&rule) {
            out.push(rule);
        }
    }
    out
}

pub fn bindings() -> Vec<Default> {
    let account = |role: &RoleData| role.name.strip_prefix(PREFIX).expect("a controller's role begins so");
    let own = |role: &RoleData| {
        let mut bound = bind(role.name, role.name, &To::Accounts(&[""]));
        bound.object["subjects"][0]["name"] = account(role).into();
        bound
    };
    let mut bindings: Vec<Default> = ROLES.iter().map(own).collect();
    bindings.push(bind(TOGETHER, TOGETHER, &To::Users(&["system:kube-controller-manager"])));
    debug_assert!(bindings.iter().all(|one| one.resource == Resource::ClusterRoleBindings));
    bindings
}

static ROLES: &[RoleData] = &[
    role(
        "system:controller:attachdetach-controller",
        &[
            on(LIST, CORE, &["persistentvolumes", "persistentvolumeclaims"]),
            on(READ, CORE, &["nodes"]),
            on(PATCH, CORE, &["nodes/status"]),
            on(LIST, CORE, &["pods"]),
            EVENTS,
            on(&["get", "create", "delete", "list", "watch"], STORAGE, &["volumeattachments"]),
            on(READ, STORAGE, &["csidrivers"]),
            on(READ, STORAGE, &["csinodes"]),
        ],
    ),
    role(
        "system:controller:clusterrole-aggregation-controller",
        &[on(
            &["escalate", "get", "list", "watch", "update", "patch"],
            &["rbac.authorization.k8s.io"],
            &["clusterroles"],
        )],
    ),
    role(
        "system:controller:cronjob-controller",
        &[
            on(READ_PUT, BATCH, &["cronjobs"]),
            on(KEEP_PATCH, BATCH, &["jobs"]),
            on(UPDATE, BATCH, &["cronjobs/status"]),
            on(UPDATE, BATCH, &["cronjobs/finalizers"]),
            on(&["list", "watch", "delete"], CORE, &["pods"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:daemon-set-controller",
        &[
            on(READ, APPS_OLD, &["daemonsets"]),
            on(UPDATE, APPS_OLD, &["daemonsets/status"]),
            on(UPDATE, APPS_OLD, &["daemonsets/finalizers"]),
            on(LIST, CORE, &["nodes"]),
            PODS,
            on(CREATE, CORE, &["pods/binding"]),
            on(KEEP_PATCH, APPS, &["controllerrevisions"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:deployment-controller",
        &[
            on(READ_PUT, APPS_OLD, &["deployments"]),
            on(UPDATE, APPS_OLD, &["deployments/status"]),
            on(UPDATE, APPS_OLD, &["deployments/finalizers"]),
            on(KEEP_PATCH, APPS_OLD, &["replicasets"]),
            on(READ_PUT, CORE, &["pods"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:disruption-controller",
        &[
            on(READ, APPS_OLD, &["deployments"]),
            on(READ, APPS_OLD, &["replicasets"]),
            on(READ, CORE, &["replicationcontrollers"]),
            on(READ, POLICY, &["poddisruptionbudgets"]),
            on(READ, APPS, &["statefulsets"]),
            on(UPDATE, POLICY, &["poddisruptionbudgets/status"]),
            on(PATCH, CORE, &["pods/status"]),
            on(GET, &["*"], &["*/scale"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpoint-controller",
        &[
            on(READ, CORE, &["services", "pods"]),
            on(KEEP, CORE, &["endpoints"]),
            on(CREATE, CORE, &["endpoints/restricted"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpointslice-controller",
        &[
            on(READ, CORE, &["services", "pods", "nodes"]),
            on(UPDATE, CORE, &["services/finalizers"]),
            on(KEEP, DISCOVERY, &["endpointslices"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:endpointslicemirroring-controller",
        &[
            on(READ, CORE, &["services", "endpoints"]),
            on(UPDATE, CORE, &["services/finalizers"]),
            on(UPDATE, CORE, &["endpoints/finalizers"]),
            on(KEEP, DISCOVERY, &["endpointslices"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:expand-controller",
        &[
            on(&["get", "list", "watch", "update", "patch"], CORE, &["persistentvolumes"]),
            on(PATCH, CORE, &["persistentvolumeclaims/status"]),
            on(READ, CORE, &["persistentvolumeclaims"]),
            EVENTS,
            on(GET, CORE, &["services"]),
        ],
    ),
    role(
        "system:controller:ephemeral-volume-controller",
        &[
            on(READ, CORE, &["pods"]),
            on(UPDATE, CORE, &["pods/finalizers"]),
            on(&["get", "list", "watch", "create"], CORE, &["persistentvolumeclaims"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:resource-claim-controller",
        &[
            on(READ, CORE, &["pods"]),
            on(UPDATE, CORE, &["pods/finalizers"]),
            on(&["get", "list", "watch", "create", "delete"], RESOURCE, &["resourceclaims"]),
            on(PATCH, RESOURCE, &["resourceclaims", "resourceclaims/status"]),
            on(PATCH, CORE, &["pods/status"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:generic-garbage-collector",
        &[on(&["get", "list", "watch", "patch", "update", "delete"], &["*"], &["*"]), EVENTS],
    ),
    role(
        "system:controller:horizontal-pod-autoscaler",
        &[
            on(READ, &["autoscaling"], &["horizontalpodautoscalers"]),
            on(UPDATE, &["autoscaling"], &["horizontalpodautoscalers/status"]),
            on(&["get", "update"], &["*"], &["*/scale"]),
            on(LIST, CORE, &["pods"]),
            on(LIST, &["metrics.k8s.io"], &["pods"]),
            on(READ, &["custom.metrics.k8s.io"], &["*"]),
            on(READ, &["external.metrics.k8s.io"], &["*"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:job-controller",
        &[
            on(&["get", "list", "watch", "update", "patch"], BATCH, &["jobs"]),
            on(UPDATE, BATCH, &["jobs/status"]),
            on(UPDATE, BATCH, &["jobs/finalizers"]),
            PODS,
            EVENTS,
        ],
    ),
    role(
        "system:controller:namespace-controller",
        &[
            on(READ_DELETE, CORE, &["namespaces"]),
            on(UPDATE, CORE, &["namespaces/finalize", "namespaces/status"]),
            on(&["get", "list", "watch", "delete", "deletecollection"], &["*"], &["*"]),
        ],
    ),
    role(
        "system:controller:node-controller",
        &[
            on(&["get", "list", "watch", "update", "delete", "patch"], CORE, &["nodes"]),
            on(PATCH, CORE, &["nodes/status"]),
            on(PATCH, CORE, &["pods/status"]),
            on(READ_DELETE, CORE, &["pods"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:persistent-volume-binder",
        &[
            on(KEEP, CORE, &["persistentvolumes"]),
            on(UPDATE, CORE, &["persistentvolumes/status"]),
            on(READ_PUT, CORE, &["persistentvolumeclaims"]),
            on(UPDATE, CORE, &["persistentvolumeclaims/status"]),
            on(&["list", "watch", "get", "create", "delete"], CORE, &["pods"]),
            on(READ, STORAGE, &["storageclasses"]),
            on(LIST, CORE, &["nodes"]),
            EVENTS,
            on(&["watch"], CORE, &["events"]),
            on(GET, CORE, &["services"]),
        ],
    ),
    role(
        "system:controller:pod-garbage-collector",
        &[
            on(&["list", "watch", "delete"], CORE, &["pods"]),
            on(READ, CORE, &["nodes"]),
            on(&["patch"], CORE, &["pods/status"]),
        ],
    ),
    role(
        "system:controller:replicaset-controller",
        &[
            on(READ_PUT, APPS_OLD, &["replicasets"]),
            on(UPDATE, APPS_OLD, &["replicasets/status"]),
            on(UPDATE, APPS_OLD, &["replicasets/finalizers"]),
            PODS,
            EVENTS,
        ],
    ),
    role(
        "system:controller:replication-controller",
        &[
            on(READ_PUT, CORE, &["replicationcontrollers"]),
            on(UPDATE, CORE, &["replicationcontrollers/status"]),
            on(UPDATE, CORE, &["replicationcontrollers/finalizers"]),
            PODS,
            EVENTS,
        ],
    ),
    role(
        "system:controller:resourcequota-controller",
        &[on(LIST, &["*"], &["*"]), on(UPDATE, CORE, &["resourcequotas/status"]), EVENTS],
    ),
    role(
        "system:controller:route-controller",
        &[on(LIST, CORE, &["nodes"]), on(&["patch"], CORE, &["nodes/status"]), EVENTS],
    ),
    role("system:controller:service-account-controller", &[on(CREATE, CORE, &["serviceaccounts"]), EVENTS]),
    role(
        "system:controller:service-controller",
        &[on(READ, CORE, &["services"]), on(PATCH, CORE, &["services/status"]), on(LIST, CORE, &["nodes"]), EVENTS],
    ),
    role(
        "system:controller:service-cidrs-controller",
        &[
            on(&["get", "list", "watch", "patch", "update"], NETWORKING, &["servicecidrs"]),
            on(PATCH, NETWORKING, &["servicecidrs/finalizers"]),
            on(PATCH, NETWORKING, &["servicecidrs/status"]),
            on(READ, NETWORKING, &["ipaddresses"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:statefulset-controller",
        &[
            on(LIST, CORE, &["pods"]),
            on(READ, APPS, &["statefulsets"]),
            on(UPDATE, APPS, &["statefulsets/status"]),
            on(UPDATE, APPS, &["statefulsets/finalizers"]),
            on(&["get", "create", "delete", "update", "patch"], CORE, &["pods"]),
            on(KEEP_PATCH, APPS, &["controllerrevisions"]),
            on(&["get", "create", "list", "watch"], CORE, &["persistentvolumeclaims"]),
            on(&["update", "delete"], CORE, &["persistentvolumeclaims"]),
            on(UPDATE, CORE, &["pods/finalizers"]),
            EVENTS,
        ],
    ),
    role("system:controller:ttl-controller", &[on(&["update", "patch", "list", "watch"], CORE, &["nodes"]), EVENTS]),
    role(
        "system:controller:certificate-controller",
        &[
            on(READ_DELETE, CERTIFICATES, &["certificatesigningrequests"]),
            on(UPDATE, CERTIFICATES, &["certificatesigningrequests/status", "certificatesigningrequests/approval"]),
            on_named(&["approve"], CERTIFICATES, &["signers"], &["kubernetes.io/kube-apiserver-client-kubelet"]),
            on_named(
                &["sign"],
                CERTIFICATES,
                &["signers"],
                &[
                    "kubernetes.io/legacy-unknown",
                    "kubernetes.io/kube-apiserver-client",
                    "kubernetes.io/kube-apiserver-client-kubelet",
                    "kubernetes.io/kubelet-serving",
                ],
            ),
            on(CREATE, &["authorization.k8s.io"], &["subjectaccessreviews"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:pvc-protection-controller",
        &[on(READ_PUT, CORE, &["persistentvolumeclaims"]), on(READ, CORE, &["pods"]), EVENTS],
    ),
    role("system:controller:pv-protection-controller", &[on(READ_PUT, CORE, &["persistentvolumes"]), EVENTS]),
    role(
        "system:controller:volumeattributesclass-protection-controller",
        &[
            on(READ, CORE, &["persistentvolumeclaims"]),
            on(READ, CORE, &["persistentvolumes"]),
            on(READ_PUT, STORAGE, &["volumeattributesclasses"]),
            EVENTS,
        ],
    ),
    role("system:controller:ttl-after-finished-controller", &[on(READ_DELETE, BATCH, &["jobs"]), EVENTS]),
    role("system:controller:root-ca-cert-publisher", &[on(&["create", "update"], CORE, &["configmaps"]), EVENTS]),
    role(
        "system:controller:validatingadmissionpolicy-status-controller",
        &[
            on(READ, ADMISSION, &["validatingadmissionpolicies"]),
            on(&["get", "patch", "update"], ADMISSION, &["validatingadmissionpolicies/status"]),
            EVENTS,
        ],
    ),
    role(
        "system:controller:legacy-service-account-token-cleaner",
        &[
            on_named(GET, CORE, &["configmaps"], &["kube-apiserver-legacy-service-account-token-tracking"]),
            on(&["patch", "delete"], CORE, &["secrets"]),
        ],
    ),
    role(
        "system:controller:selinux-warning-controller",
        &[
            EVENTS,
            on(READ, CORE, &["persistentvolumes"]),
            on(READ, CORE, &["persistentvolumeclaims"]),
            on(READ, CORE, &["pods"]),
            on(READ, STORAGE, &["csidrivers"]),
        ],
    ),
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn controllers_may_make_the_addresses_that_kubernetes_makes_in_its_api_server() {
        let together = roles().into_iter().find(|role| role.object["metadata"]["name"] == TOGETHER).unwrap();
        let rules = together.object["rules"].as_array().unwrap();
        let has = |rule: &Value, list: &str, one: &str| rule[list].as_array().unwrap().contains(&json!(one));
        assert!(rules.iter().any(|rule| has(rule, "resources", "ipaddresses") && has(rule, "verbs", "create")));
    }
}
