//! Cluster roles for people and for the parts of a cluster, and who has them.

use super::role::{
    CORE, Default, EVENTS, LIST, READ, READ_UPDATE, READ_WRITE, RoleData, RuleData, Rules, To, WRITE, bind, on,
    on_named, on_paths, role,
};

const APPS: &[&str] = &["apps"];
const AUTHENTICATION: &[&str] = &["authentication.k8s.io"];
const AUTHORIZATION: &[&str] = &["authorization.k8s.io"];
const AUTOSCALING: &[&str] = &["autoscaling"];
const BATCH: &[&str] = &["batch"];
const CERTIFICATES: &[&str] = &["certificates.k8s.io"];
const COORDINATION: &[&str] = &["coordination.k8s.io"];
const DISCOVERY: &[&str] = &["discovery.k8s.io"];
const EXTENSIONS: &[&str] = &["extensions"];
const KONTIKI: &[&str] = &["kontiki.dev"];
const NETWORKING: &[&str] = &["networking.k8s.io"];
const POLICY: &[&str] = &["policy"];
const RBAC: &[&str] = &["rbac.authorization.k8s.io"];
const RESOURCE: &[&str] = &["resource.k8s.io"];
const STORAGE: &[&str] = &["storage.k8s.io"];

const CREATE: &[&str] = &["create"];
const GET: &[&str] = &["get"];

pub fn roles() -> Vec<Default> {
    ROLES.iter().map(RoleData::cluster_role).collect()
}

pub fn bindings() -> Vec<Default> {
    BINDINGS.iter().map(|(name, role, to)| bind(name, role, to)).collect()
}

const fn part_of(role: &'static str, name: &'static str, rules: &'static [RuleData]) -> RoleData {
    RoleData { name, part_of: role, rules: Rules::Of(rules) }
}

const fn gathered(name: &'static str, part_of: &'static str) -> RoleData {
    RoleData { name, part_of, rules: Rules::Gathered }
}

static ROLES: &[RoleData] = &[
    role("cluster-admin", &[on(&["*"], &["*"], &["*"]), on_paths(&["*"], &["*"])]),
    role(
        "system:monitoring",
        &[on_paths(
            GET,
            &["/metrics", "/metrics/slis", "/livez", "/readyz", "/healthz", "/livez/*", "/readyz/*", "/healthz/*"],
        )],
    ),
    role(
        "system:discovery",
        &[on_paths(
            GET,
            &[
                "/livez",
                "/readyz",
                "/healthz",
                "/version",
                "/version/",
                "/openapi",
                "/openapi/*",
                "/api",
                "/api/*",
                "/apis",
                "/apis/*",
            ],
        )],
    ),
    role(
        "system:basic-user",
        &[
            on(CREATE, AUTHORIZATION, &["selfsubjectaccessreviews", "selfsubjectrulesreviews"]),
            on(CREATE, AUTHENTICATION, &["selfsubjectreviews"]),
        ],
    ),
    role("system:public-info-viewer", &[on_paths(GET, &["/livez", "/readyz", "/healthz", "/version", "/version/"])]),
    gathered("admin", ""),
    gathered("edit", "admin"),
    gathered("view", "edit"),
    part_of("admin", "system:aggregate-to-admin", ADMIN),
    part_of("edit", "system:aggregate-to-edit", EDIT),
    part_of("view", "system:aggregate-to-view", VIEW),
    role(
        "system:heapster",
        &[on(READ, CORE, &["events", "pods", "nodes", "namespaces"]), on(READ, EXTENSIONS, &["deployments"])],
    ),
    role("system:node", NODE),
    role("system:node-problem-detector", &[on(GET, CORE, &["nodes"]), on(&["patch"], CORE, &["nodes/status"]), EVENTS]),
    role(
        "system:kubelet-api-admin",
        &[
            on(READ, CORE, &["nodes"]),
            on(&["proxy"], CORE, &["nodes"]),
            on(
                &["*"],
                CORE,
                &[
                    "nodes/proxy",
                    "nodes/metrics",
                    "nodes/stats",
                    "nodes/log",
                    "nodes/configz",
                    "nodes/healthz",
                    "nodes/pods",
                ],
            ),
        ],
    ),
    role(
        "system:node-bootstrapper",
        &[on(&["create", "get", "list", "watch"], CERTIFICATES, &["certificatesigningrequests"])],
    ),
    role(
        "system:auth-delegator",
        &[on(CREATE, AUTHENTICATION, &["tokenreviews"]), on(CREATE, AUTHORIZATION, &["subjectaccessreviews"])],
    ),
    role("system:kube-aggregator", &[on(READ, CORE, &["services", "endpoints"])]),
    role(
        "system:kube-controller-manager",
        &[
            EVENTS,
            on(CREATE, COORDINATION, &["leases"]),
            on_named(&["get", "update"], COORDINATION, &["leases"], &["kube-controller-manager"]),
            on(CREATE, CORE, &["secrets", "serviceaccounts"]),
            on(&["delete"], CORE, &["secrets"]),
            on(GET, CORE, &["namespaces", "secrets", "serviceaccounts", "configmaps"]),
            on(&["update"], CORE, &["secrets", "serviceaccounts"]),
            on(CREATE, AUTHENTICATION, &["tokenreviews"]),
            on(CREATE, AUTHORIZATION, &["subjectaccessreviews"]),
            on(LIST, &["*"], &["*"]),
            on(CREATE, CORE, &["serviceaccounts/token"]),
        ],
    ),
    role("system:kube-dns", &[on(LIST, CORE, &["endpoints", "services"]), on(LIST, DISCOVERY, &["endpointslices"])]),
    role(
        "system:persistent-volume-provisioner",
        &[
            on(&["get", "list", "watch", "create", "delete"], CORE, &["persistentvolumes"]),
            on(&["get", "list", "watch", "update"], CORE, &["persistentvolumeclaims"]),
            on(READ, STORAGE, &["storageclasses"]),
            on(&["watch"], CORE, &["events"]),
            EVENTS,
        ],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:nodeclient",
        &[on(CREATE, CERTIFICATES, &["certificatesigningrequests/nodeclient"])],
    ),
    role(
        "system:certificates.k8s.io:certificatesigningrequests:selfnodeclient",
        &[on(CREATE, CERTIFICATES, &["certificatesigningrequests/selfnodeclient"])],
    ),
    role(
        "system:volume-scheduler",
        &[
            on(READ_UPDATE, CORE, &["persistentvolumes"]),
            on(READ, STORAGE, &["storageclasses"]),
            on(READ_UPDATE, CORE, &["persistentvolumeclaims"]),
        ],
    ),
    role(
        "system:certificates.k8s.io:legacy-unknown-approver",
        &[on_named(&["approve"], CERTIFICATES, &["signers"], &["kubernetes.io/legacy-unknown"])],
    ),
    role(
        "system:certificates.k8s.io:kubelet-serving-approver",
        &[on_named(&["approve"], CERTIFICATES, &["signers"], &["kubernetes.io/kubelet-serving"])],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-approver",
        &[on_named(&["approve"], CERTIFICATES, &["signers"], &["kubernetes.io/kube-apiserver-client"])],
    ),
    role(
        "system:certificates.k8s.io:kube-apiserver-client-kubelet-approver",
        &[on_named(&["approve"], CERTIFICATES, &["signers"], &["kubernetes.io/kube-apiserver-client-kubelet"])],
    ),
    role(
        "system:service-account-issuer-discovery",
        &[on_paths(GET, &["/.well-known/openid-configuration", "/openid/v1/jwks"])],
    ),
    role(
        "system:node-proxier",
        &[
            on(LIST, CORE, &["services", "endpoints"]),
            on(READ, CORE, &["nodes"]),
            EVENTS,
            on(LIST, DISCOVERY, &["endpointslices"]),
            on(LIST, NETWORKING, &["servicecidrs"]),
        ],
    ),
    role(
        "system:kube-scheduler",
        &[
            EVENTS,
            on(CREATE, COORDINATION, &["leases"]),
            on_named(&["get", "update"], COORDINATION, &["leases"], &["kube-scheduler"]),
            on(READ, CORE, &["nodes"]),
            on(&["get", "list", "watch", "delete"], CORE, &["pods"]),
            on(CREATE, CORE, &["pods/binding", "bindings"]),
            on(&["patch", "update"], CORE, &["pods/status"]),
            on(READ, CORE, &["services", "replicationcontrollers"]),
            on(READ, &["apps", "extensions"], &["replicasets"]),
            on(READ, APPS, &["statefulsets"]),
            on(READ, POLICY, &["poddisruptionbudgets"]),
            on(READ, CORE, &["persistentvolumeclaims", "persistentvolumes"]),
            on(CREATE, AUTHENTICATION, &["tokenreviews"]),
            on(CREATE, AUTHORIZATION, &["subjectaccessreviews"]),
            on(READ, STORAGE, &["csinodes"]),
            on(READ, CORE, &["namespaces"]),
            on(READ, STORAGE, &["csidrivers"]),
            on(READ, STORAGE, &["csistoragecapacities"]),
            on(READ, STORAGE, &["volumeattachments"]),
            on(READ, RESOURCE, &["deviceclasses"]),
            on(READ_UPDATE, RESOURCE, &["resourceclaims"]),
            on(READ_UPDATE, RESOURCE, &["resourceclaims/status"]),
            on(READ, RESOURCE, &["resourceslices"]),
        ],
    ),
    // Servers among themselves: joining, and whether the others live.
    role(
        "kontiki:server",
        &[on(&["create", "list"], KONTIKI, &["members"]), on_paths(GET, &["/livez/*", "/readyz/*"])],
    ),
];

static BINDINGS: &[(&str, &str, To)] = &[
    ("cluster-admin", "cluster-admin", To::Groups(&["system:masters"])),
    ("system:monitoring", "system:monitoring", To::Groups(&["system:monitoring"])),
    ("system:discovery", "system:discovery", To::Groups(&["system:authenticated"])),
    ("system:basic-user", "system:basic-user", To::Groups(&["system:authenticated"])),
    (
        "system:public-info-viewer",
        "system:public-info-viewer",
        To::Groups(&["system:authenticated", "system:unauthenticated"]),
    ),
    ("system:node-proxier", "system:node-proxier", To::Users(&["system:kube-proxy"])),
    (
        "system:kube-controller-manager",
        "system:kube-controller-manager",
        To::Users(&["system:kube-controller-manager"]),
    ),
    ("system:kube-dns", "system:kube-dns", To::Accounts(&["kube-dns"])),
    ("system:kube-scheduler", "system:kube-scheduler", To::Users(&["system:kube-scheduler"])),
    ("system:volume-scheduler", "system:volume-scheduler", To::Users(&["system:kube-scheduler"])),
    // The node authorizer gives its rules to nodes, each its own part.
    ("system:node", "system:node", To::Nobody),
    (
        "system:service-account-issuer-discovery",
        "system:service-account-issuer-discovery",
        To::Groups(&["system:serviceaccounts"]),
    ),
    ("kontiki:server", "kontiki:server", To::Groups(&["kontiki:servers"])),
    // The node agent programs Service addresses and routes itself, as kube-proxy does elsewhere.
    ("kontiki:node-proxier", "system:node-proxier", To::Groups(&["system:nodes"])),
];

const ADMIN: &[RuleData] =
    &[on(CREATE, AUTHORIZATION, &["localsubjectaccessreviews"]), on(READ_WRITE, RBAC, &["roles", "rolebindings"])];

const EDIT: &[RuleData] = &[
    on(READ, CORE, &["pods/attach", "pods/proxy", "pods/exec", "pods/portforward", "secrets", "services/proxy"]),
    on(&["impersonate"], CORE, &["serviceaccounts"]),
    on(WRITE, CORE, &["pods", "pods/attach", "pods/proxy", "pods/exec", "pods/portforward"]),
    on(CREATE, CORE, &["pods/eviction"]),
    on(
        WRITE,
        CORE,
        &[
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
            "services/proxy",
            "persistentvolumeclaims",
            "configmaps",
            "secrets",
            "events",
        ],
    ),
    on(CREATE, CORE, &["serviceaccounts/token"]),
    on(
        WRITE,
        APPS,
        &[
            "statefulsets",
            "statefulsets/scale",
            "daemonsets",
            "deployments",
            "deployments/scale",
            "deployments/rollback",
            "replicasets",
            "replicasets/scale",
        ],
    ),
    on(WRITE, AUTOSCALING, &["horizontalpodautoscalers"]),
    on(WRITE, BATCH, &["jobs", "cronjobs"]),
    on(
        WRITE,
        EXTENSIONS,
        &[
            "daemonsets",
            "deployments",
            "deployments/scale",
            "deployments/rollback",
            "ingresses",
            "replicasets",
            "replicasets/scale",
            "replicationcontrollers/scale",
            "networkpolicies",
        ],
    ),
    on(WRITE, POLICY, &["poddisruptionbudgets"]),
    on(WRITE, NETWORKING, &["networkpolicies", "ingresses"]),
    on(READ_WRITE, COORDINATION, &["leases"]),
    on(WRITE, RESOURCE, &["resourceclaims", "resourceclaimtemplates"]),
];

const VIEW: &[RuleData] = &[
    on(
        READ,
        CORE,
        &[
            "pods",
            "replicationcontrollers",
            "replicationcontrollers/scale",
            "serviceaccounts",
            "services",
            "services/status",
            "endpoints",
            "persistentvolumeclaims",
            "persistentvolumeclaims/status",
            "configmaps",
        ],
    ),
    on(
        READ,
        CORE,
        &[
            "limitranges",
            "resourcequotas",
            "bindings",
            "events",
            "pods/status",
            "resourcequotas/status",
            "namespaces/status",
            "replicationcontrollers/status",
            "pods/log",
        ],
    ),
    // In a namespace: that one.
    on(READ, CORE, &["namespaces"]),
    on(READ, DISCOVERY, &["endpointslices"]),
    on(
        READ,
        APPS,
        &[
            "controllerrevisions",
            "statefulsets",
            "statefulsets/status",
            "statefulsets/scale",
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/status",
            "deployments/scale",
            "replicasets",
            "replicasets/status",
            "replicasets/scale",
        ],
    ),
    on(READ, AUTOSCALING, &["horizontalpodautoscalers", "horizontalpodautoscalers/status"]),
    on(READ, BATCH, &["jobs", "cronjobs", "cronjobs/status", "jobs/status"]),
    on(
        READ,
        EXTENSIONS,
        &[
            "daemonsets",
            "daemonsets/status",
            "deployments",
            "deployments/scale",
            "deployments/status",
            "ingresses",
            "ingresses/status",
            "replicasets",
            "replicasets/scale",
            "replicasets/status",
            "replicationcontrollers/scale",
            "networkpolicies",
        ],
    ),
    on(READ, POLICY, &["poddisruptionbudgets", "poddisruptionbudgets/status"]),
    on(READ, NETWORKING, &["networkpolicies", "ingresses", "ingresses/status"]),
    on(READ, RESOURCE, &["resourceclaims", "resourceclaims/status", "resourceclaimtemplates"]),
];

pub const NODE: &[RuleData] = &[
    on(CREATE, AUTHENTICATION, &["tokenreviews"]),
    on(CREATE, AUTHORIZATION, &["subjectaccessreviews", "localsubjectaccessreviews"]),
    on(READ, CORE, &["services"]),
    on(&["create", "get", "list", "watch"], CORE, &["nodes"]),
    on(&["update", "patch"], CORE, &["nodes/status"]),
    on(&["update", "patch"], CORE, &["nodes"]),
    on(&["create", "update", "patch"], CORE, &["events"]),
    on(READ, CORE, &["pods"]),
    on(&["create", "delete"], CORE, &["pods"]),
    on(&["update", "patch"], CORE, &["pods/status"]),
    on(CREATE, CORE, &["pods/eviction"]),
    on(READ, CORE, &["secrets", "configmaps"]),
    on(GET, CORE, &["persistentvolumeclaims", "persistentvolumes"]),
    on(GET, CORE, &["endpoints"]),
    on(&["create", "get", "list", "watch"], CERTIFICATES, &["certificatesigningrequests"]),
    on(&["get", "create", "update", "patch", "delete"], COORDINATION, &["leases"]),
    on(GET, STORAGE, &["volumeattachments"]),
    on(&["get", "update", "patch"], CORE, &["persistentvolumeclaims/status"]),
    on(CREATE, CORE, &["serviceaccounts/token"]),
    on(READ, STORAGE, &["csidrivers"]),
    on(&["get", "create", "update", "patch", "delete"], STORAGE, &["csinodes"]),
    on(READ, &["node.k8s.io"], &["runtimeclasses"]),
    on(GET, RESOURCE, &["resourceclaims"]),
    on(
        &["deletecollection", "get", "list", "watch", "create", "update", "patch", "delete"],
        RESOURCE,
        &["resourceslices"],
    ),
];
