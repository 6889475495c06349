//! Roles inside of the system's own namespaces, and who has them.

use super::role::{CORE, Default, EVENTS, READ, RoleData, To, bind_in, on, on_named, role};

const SYSTEM: &str = "kube-system";
const PUBLIC: &str = "kube-public";

const CONFIGMAPS: &[&str] = &["configmaps"];

pub fn roles() -> Vec<Default> {
    ROLES.iter().map(|(namespace, role)| role.role_in(namespace)).collect()
}

pub fn bindings() -> Vec<Default> {
    BINDINGS.iter().map(|(namespace, name, role, to)| bind_in(namespace, name, role, to)).collect()
}

static ROLES: &[(&str, RoleData)] = &[
    (
        SYSTEM,
        role(
            "extension-apiserver-authentication-reader",
            &[on_named(READ, CORE, CONFIGMAPS, &["extension-apiserver-authentication"])],
        ),
    ),
    (SYSTEM, role("system:controller:bootstrap-signer", &[on(READ, CORE, &["secrets"])])),
    (SYSTEM, role("system:controller:cloud-provider", &[on(&["create", "get", "list", "watch"], CORE, CONFIGMAPS)])),
    (
        SYSTEM,
        role("system:controller:token-cleaner", &[on(&["get", "list", "watch", "delete"], CORE, &["secrets"]), EVENTS]),
    ),
    (
        SYSTEM,
        role(
            "system::leader-locking-kube-controller-manager",
            &[
                on(&["watch"], CORE, CONFIGMAPS),
                on_named(&["get", "update"], CORE, CONFIGMAPS, &["kube-controller-manager"]),
            ],
        ),
    ),
    (
        SYSTEM,
        role(
            "system::leader-locking-kube-scheduler",
            &[on(&["watch"], CORE, CONFIGMAPS), on_named(&["get", "update"], CORE, CONFIGMAPS, &["kube-scheduler"])],
        ),
    ),
    (
        PUBLIC,
        role(
            "system:controller:bootstrap-signer",
            &[on(READ, CORE, CONFIGMAPS), on_named(&["update"], CORE, CONFIGMAPS, &["cluster-info"]), EVENTS],
        ),
    ),
];

static BINDINGS: &[(&str, &str, &str, To)] = &[
    (
        SYSTEM,
        "system::extension-apiserver-authentication-reader",
        "extension-apiserver-authentication-reader",
        To::Users(&["system:kube-controller-manager", "system:kube-scheduler"]),
    ),
    (
        SYSTEM,
        "system::leader-locking-kube-controller-manager",
        "system::leader-locking-kube-controller-manager",
        To::UserAndAccounts("system:kube-controller-manager", &["kube-controller-manager"]),
    ),
    (
        SYSTEM,
        "system::leader-locking-kube-scheduler",
        "system::leader-locking-kube-scheduler",
        To::UserAndAccounts("system:kube-scheduler", &["kube-scheduler"]),
    ),
    (
        SYSTEM,
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        To::Accounts(&["bootstrap-signer"]),
    ),
    (SYSTEM, "system:controller:cloud-provider", "system:controller:cloud-provider", To::Accounts(&["cloud-provider"])),
    (SYSTEM, "system:controller:token-cleaner", "system:controller:token-cleaner", To::Accounts(&["token-cleaner"])),
    (
        PUBLIC,
        "system:controller:bootstrap-signer",
        "system:controller:bootstrap-signer",
        To::Accounts(&["bootstrap-signer"]),
    ),
];
