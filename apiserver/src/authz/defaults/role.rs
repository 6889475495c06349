//! How default roles and bindings are written down, and the objects that come of it.

use serde_json::{Map, Value, json};

use super::{GROUP, Resource};

/// An object that every cluster has.
#[derive(Debug)]
pub struct Default {
    pub resource: Resource,
    pub namespace: &'static str,
    pub object: Value,
}

type Words = &'static [&'static str];

/// A role's name and rules.
pub struct RoleData {
    pub name: &'static str,
    /// The role that takes these rules in: `admin`, `edit`, `view`.
    pub part_of: &'static str,
    pub rules: Rules,
}

pub enum Rules {
    Of(&'static [RuleData]),
    /// Those of all roles that are part of this one.
    Gathered,
}

/// Words in any order: objects have them sorted.
#[derive(Clone, Copy)]
pub struct RuleData {
    verbs: Words,
    groups: Words,
    resources: Words,
    names: Words,
    paths: Words,
}

pub enum To {
    Users(Words),
    Groups(Words),
    /// Service accounts in `kube-system`.
    Accounts(Words),
    /// A user, and service accounts in `kube-system`.
    UserAndAccounts(&'static str, Words),
    Nobody,
}

pub const CORE: Words = &[""];
pub const READ: Words = &["get", "list", "watch"];
pub const LIST: Words = &["list", "watch"];
pub const READ_UPDATE: Words = &["get", "list", "watch", "update", "patch"];
pub const WRITE: Words = &["create", "update", "patch", "delete", "deletecollection"];
pub const READ_WRITE: Words = &["get", "list", "watch", "create", "update", "patch", "delete", "deletecollection"];
pub const EVENTS: RuleData = on(&["create", "update", "patch"], &["", "events.k8s.io"], &["events"]);

pub const fn role(name: &'static str, rules: &'static [RuleData]) -> RoleData {
    RoleData { name, part_of: "", rules: Rules::Of(rules) }
}

pub const fn on(verbs: Words, groups: Words, resources: Words) -> RuleData {
    RuleData { verbs, groups, resources, names: &[], paths: &[] }
}

pub const fn on_named(verbs: Words, groups: Words, resources: Words, names: Words) -> RuleData {
    RuleData { verbs, groups, resources, names, paths: &[] }
}

pub const fn on_paths(verbs: Words, paths: Words) -> RuleData {
    RuleData { verbs, groups: &[], resources: &[], names: &[], paths }
}

impl RoleData {
    pub fn cluster_role(&self) -> Default {
        let aggregate = |to: &str| format!("rbac.authorization.k8s.io/aggregate-to-{to}");
        let mut object = object("ClusterRole", self.name);
        if !self.part_of.is_empty() {
            object["metadata"]["labels"][aggregate(self.part_of)] = "true".into();
        }
        match self.rules {
            Rules::Of(list) => object["rules"] = rules(list),
            Rules::Gathered => {
                object["rules"] = Value::Null;
                let labels: Map<String, Value> = [(aggregate(self.name), "true".into())].into_iter().collect();
                object["aggregationRule"] = json!({"clusterRoleSelectors": [{"matchLabels": labels}]});
            }
        }
        Default { resource: Resource::ClusterRoles, namespace: "", object }
    }

    pub fn role_in(&self, namespace: &'static str) -> Default {
        let mut made = self.cluster_role();
        made.object["kind"] = "Role".into();
        Default { resource: Resource::Roles, namespace, ..made }
    }
}

pub fn rules(list: &[RuleData]) -> Value {
    list.iter().map(RuleData::value).collect()
}

impl RuleData {
    fn value(&self) -> Value {
        let members = [
            ("verbs", self.verbs),
            ("apiGroups", self.groups),
            ("resources", self.resources),
            ("resourceNames", self.names),
            ("nonResourceURLs", self.paths),
        ];
        let mut rule = Map::new();
        for (member, words) in members.into_iter().filter(|(_, words)| !words.is_empty()) {
            let mut words = words.to_vec();
            words.sort_unstable();
            rule.insert(member.to_owned(), words.into());
        }
        Value::Object(rule)
    }
}

/// A binding of a cluster role in the whole cluster.
pub fn bind(name: &str, role: &str, to: &To) -> Default {
    let mut object = object("ClusterRoleBinding", name);
    if let Some(subjects) = to.subjects() {
        object["subjects"] = subjects;
    }
    object["roleRef"] = json!({"apiGroup": GROUP, "kind": "ClusterRole", "name": role});
    Default { resource: Resource::ClusterRoleBindings, namespace: "", object }
}

/// A binding of a namespace's own role there.
pub fn bind_in(namespace: &'static str, name: &str, role: &str, to: &To) -> Default {
    let mut made = bind(name, role, to);
    made.object["kind"] = "RoleBinding".into();
    made.object["roleRef"]["kind"] = "Role".into();
    Default { resource: Resource::RoleBindings, namespace, ..made }
}

impl To {
    fn subjects(&self) -> Option<Value> {
        let named = |kind: &'static str, names: Words| -> Vec<Value> {
            names.iter().map(|name| json!({"kind": kind, "apiGroup": GROUP, "name": name})).collect()
        };
        let accounts = |names: Words| -> Vec<Value> {
            let account = |name| json!({"kind": "ServiceAccount", "name": name, "namespace": "kube-system"});
            names.iter().map(account).collect()
        };
        let subjects = match self {
            To::Users(names) => named("User", names),
            To::Groups(names) => named("Group", names),
            To::Accounts(names) => accounts(names),
            To::UserAndAccounts(user, names) => {
                let mut all = vec![json!({"kind": "User", "apiGroup": GROUP, "name": user})];
                all.extend(accounts(names));
                all
            }
            To::Nobody => return None,
        };
        Some(subjects.into())
    }
}

fn object(kind: &str, name: &str) -> Value {
    json!({
        "apiVersion": format!("{GROUP}/v1"),
        "kind": kind,
        "metadata": {
            "name": name,
            "labels": {"kubernetes.io/bootstrapping": "rbac-defaults"},
            "annotations": {"rbac.authorization.kubernetes.io/autoupdate": "true"},
        },
    })
}
