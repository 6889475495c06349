//! Roles and bindings as the authorizer asks them: by who is bound, not by name. Pure; kept up to date by `crate::follow`.

use std::{collections::HashMap, sync::Arc};

use kontiki_model::Key;
use serde_json::Value;

use super::{Decision, rule::Rule};
use crate::{follow::Followed, request::Identity, route::Target};

pub const GROUP: &str = "rbac.authorization.k8s.io";

/// The resources that say who may do what, as the store names them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resource {
    ClusterRoleBindings,
    ClusterRoles,
    RoleBindings,
    Roles,
}

/// All roles and bindings there are.
#[derive(Debug, Default)]
pub struct Rbac {
    /// By namespace (empty: of the cluster) and name.
    roles: HashMap<String, HashMap<String, Arc<[Rule]>>>,
    /// By namespace; those of the cluster hold everywhere.
    bindings: HashMap<String, Bindings>,
}

/// The bindings of one namespace, or of the cluster.
#[derive(Debug, Default)]
struct Bindings {
    by_name: HashMap<String, Arc<Binding>>,
    users: HashMap<String, Vec<Bound>>,
    groups: HashMap<String, Vec<Bound>>,
}

/// A binding, and the subject because of which it is looked at.
#[derive(Clone, Debug)]
struct Bound {
    binding: Arc<Binding>,
    subject: usize,
}

#[derive(Debug)]
struct Binding {
    namespace: String,
    name: String,
    role: RoleRef,
    subjects: Vec<Subject>,
}

/// The role that a binding gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RoleRef {
    /// Of the cluster, not of the binding's namespace.
    pub cluster: bool,
    pub name: String,
}

#[derive(Debug)]
enum Subject {
    User(String),
    Group(String),
    ServiceAccount { namespace: String, name: String },
}

/// What somebody may do somewhere.
#[derive(Debug, Default)]
pub struct Held {
    pub rules: Vec<Rule>,
    /// Roles that bindings name and nobody made.
    pub absent: Vec<String>,
}

impl Resource {
    pub const ALL: [Resource; 4] =
        [Resource::ClusterRoleBindings, Resource::ClusterRoles, Resource::RoleBindings, Resource::Roles];

    pub fn plural(self) -> &'static str {
        match self {
            Resource::ClusterRoleBindings => "clusterrolebindings",
            Resource::ClusterRoles => "clusterroles",
            Resource::RoleBindings => "rolebindings",
            Resource::Roles => "roles",
        }
    }

    /// Its name in store keys.
    pub fn stored(self) -> String {
        format!("{}.{GROUP}", self.plural())
    }

    fn is_role(self) -> bool {
        match self {
            Resource::ClusterRoles | Resource::Roles => true,
            Resource::ClusterRoleBindings | Resource::RoleBindings => false,
        }
    }

    fn in_cluster(self) -> bool {
        match self {
            Resource::ClusterRoles | Resource::ClusterRoleBindings => true,
            Resource::RoleBindings | Resource::Roles => false,
        }
    }
}

impl Followed for Rbac {
    fn resources() -> Vec<String> {
        Resource::ALL.map(Resource::stored).to_vec()
    }

    /// An object that cannot be read gives nobody anything.
    fn set(&mut self, resource: usize, namespace: &str, name: &str, object: Option<&Value>) {
        Rbac::set(self, Resource::ALL[resource], namespace, name, object);
    }

    fn clear(&mut self, resource: usize) {
        Rbac::clear(self, Resource::ALL[resource]);
    }
}

impl Rbac {
    /// Takes in an object, or that there is none any more.
    pub fn set(&mut self, resource: Resource, namespace: &str, name: &str, object: Option<&Value>) {
        if resource.is_role() {
            let roles = self.roles.entry(namespace.to_owned()).or_default();
            match object {
                Some(role) => roles.insert(name.to_owned(), Rule::list(role).into()),
                None => roles.remove(name),
            };
            if roles.is_empty() {
                self.roles.remove(namespace);
            }
            return;
        }
        let bindings = self.bindings.entry(namespace.to_owned()).or_default();
        bindings.set(name, object.map(|object| Binding::read(namespace, name, object)));
        if bindings.by_name.is_empty() {
            self.bindings.remove(namespace);
        }
    }

    /// Forgets all objects of a resource.
    pub fn clear(&mut self, resource: Resource) {
        let of = |namespace: &String| namespace.is_empty() == resource.in_cluster();
        match resource.is_role() {
            true => self.roles.retain(|namespace, _| !of(namespace)),
            false => self.bindings.retain(|namespace, _| !of(namespace)),
        }
    }

    /// Whether a binding allows it, and which. Nothing here denies expressly.
    pub fn decide(&self, identity: &Identity, verb: &str, target: &Target) -> Decision {
        let namespace = match target {
            Target::Resource(asked) => asked.namespace.as_str(),
            Target::Path(_) => "",
        };
        let mut absent = Vec::new();
        for bound in self.bound(identity, namespace) {
            match self.rules(&bound.binding) {
                Some(rules) if rules.iter().any(|rule| rule.allows(verb, target)) => {
                    return Decision::allowed(format!("RBAC: allowed by {bound}"));
                }
                Some(_) => {}
                None => absent.push(bound.binding.role.not_found()),
            }
        }
        Decision::no_opinion(match told(absent) {
            none if none.is_empty() => none,
            faults => format!("RBAC: {faults}"),
        })
    }

    /// All that bindings give an identity in a namespace (empty: in the cluster alone).
    pub fn held(&self, identity: &Identity, namespace: &str) -> Held {
        let mut held = Held::default();
        for bound in self.bound(identity, namespace) {
            match self.rules(&bound.binding) {
                Some(rules) => held.rules.extend(rules.iter().cloned()),
                None => held.absent.push(bound.binding.role.not_found()),
            }
        }
        held
    }

    fn bound<'a>(&'a self, identity: &'a Identity, namespace: &'a str) -> impl Iterator<Item = &'a Bound> {
        let places = [Some(""), Some(namespace).filter(|namespace| !namespace.is_empty())];
        let bindings = places.into_iter().flatten().filter_map(|place| self.bindings.get(place));
        bindings.flat_map(move |bindings| {
            let user = bindings.users.get(&identity.user);
            let groups = identity.groups.iter().filter_map(|group| bindings.groups.get(group));
            user.into_iter().chain(groups).flatten()
        })
    }

    fn rules(&self, binding: &Binding) -> Option<&Arc<[Rule]>> {
        let namespace = if binding.role.cluster { "" } else { &binding.namespace };
        self.roles.get(namespace)?.get(&binding.role.name)
    }
}

impl Bindings {
    fn set(&mut self, name: &str, binding: Option<Binding>) {
        if let Some(old) = self.by_name.remove(name) {
            self.forget(&old);
        }
        let Some(binding) = binding.map(Arc::new) else { return };
        for (subject, one) in binding.subjects.iter().enumerate() {
            let bound = Bound { binding: binding.clone(), subject };
            let (who, name) = match one {
                Subject::User(name) => (&mut self.users, name.clone()),
                Subject::Group(name) => (&mut self.groups, name.clone()),
                Subject::ServiceAccount { namespace, name } => {
                    (&mut self.users, format!("system:serviceaccount:{namespace}:{name}"))
                }
            };
            let list = who.entry(name).or_default();
            let place = list.partition_point(|other| other.binding.name < bound.binding.name);
            list.insert(place, bound);
        }
        self.by_name.insert(name.to_owned(), binding);
    }

    fn forget(&mut self, old: &Arc<Binding>) {
        for who in [&mut self.users, &mut self.groups] {
            who.retain(|_, list| {
                list.retain(|bound| !Arc::ptr_eq(&bound.binding, old));
                !list.is_empty()
            });
        }
    }
}

impl Binding {
    fn read(namespace: &str, name: &str, object: &Value) -> Self {
        let subjects = object["subjects"].as_array().into_iter().flatten();
        Binding {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            role: RoleRef::read(object),
            subjects: subjects.filter_map(|subject| Subject::read(namespace, subject)).collect(),
        }
    }
}

impl RoleRef {
    pub fn read(binding: &Value) -> Self {
        let text = |member: &str| binding["roleRef"][member].as_str().unwrap_or_default();
        RoleRef { cluster: text("kind") == "ClusterRole", name: text("name").to_owned() }
    }

    /// The role's key, for a binding in this namespace.
    pub fn key(&self, namespace: &str) -> Key {
        let namespace = if self.cluster { "" } else { namespace };
        Key::new(self.resource().stored(), namespace, &*self.name)
    }

    pub fn resource(&self) -> Resource {
        if self.cluster { Resource::ClusterRoles } else { Resource::Roles }
    }

    fn kind(&self) -> &'static str {
        if self.cluster { "ClusterRole" } else { "Role" }
    }

    fn not_found(&self) -> String {
        format!("{}.{GROUP} {:?} not found", self.kind().to_lowercase(), self.name)
    }
}

impl Subject {
    /// `None` for what validation lets nobody write.
    fn read(namespace: &str, subject: &Value) -> Option<Self> {
        let text = |member: &str| subject[member].as_str().unwrap_or_default().to_owned();
        let name = text("name");
        match subject["kind"].as_str()? {
            "User" => Some(Subject::User(name)),
            "Group" => Some(Subject::Group(name)),
            "ServiceAccount" => {
                let own = text("namespace");
                Some(Subject::ServiceAccount {
                    namespace: if own.is_empty() { namespace.to_owned() } else { own },
                    name,
                })
            }
            _ => None,
        }
    }
}

impl std::fmt::Display for Bound {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Binding { namespace, name, role, subjects } = &*self.binding;
        match namespace.as_str() {
            "" => write!(f, "ClusterRoleBinding {name:?}")?,
            namespace => write!(f, "RoleBinding {:?}", format!("{name}/{namespace}"))?,
        }
        write!(f, " of {} {:?} to ", role.kind(), role.name)?;
        match &subjects[self.subject] {
            Subject::User(name) => write!(f, "User {name:?}"),
            Subject::Group(name) => write!(f, "Group {name:?}"),
            Subject::ServiceAccount { namespace, name } => {
                write!(f, "ServiceAccount {:?}", format!("{name}/{namespace}"))
            }
        }
    }
}

/// Faults as Kubernetes tells several: each once.
pub fn told(mut faults: Vec<String>) -> String {
    let mut seen = std::collections::HashSet::new();
    faults.retain(|fault| seen.insert(fault.clone()));
    match faults.as_slice() {
        [] => String::new(),
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::{authz::rule::tests::target, route::ResourceInfo};

    fn rules(verbs: &[&str], resources: &[&str]) -> Value {
        json!({"rules": [{"verbs": verbs, "apiGroups": [""], "resources": resources}]})
    }

    fn binding(kind: &str, role: &str, subjects: Value) -> Value {
        json!({"roleRef": {"kind": kind, "name": role}, "subjects": subjects})
    }

    fn rbac() -> Rbac {
        let mut rbac = Rbac::default();
        rbac.set(Resource::Roles, "a", "reader", Some(&rules(&["get"], &["pods"])));
        rbac.set(Resource::ClusterRoles, "", "lister", Some(&rules(&["list"], &["pods"])));
        let alice = json!([{"kind": "User", "name": "alice"}]);
        rbac.set(Resource::RoleBindings, "a", "one", Some(&binding("Role", "reader", alice.clone())));
        rbac.set(
            Resource::RoleBindings,
            "b",
            "two",
            Some(&binding(
                "ClusterRole",
                "lister",
                json!([
            {"kind": "Group", "name": "team"}, {"kind": "ServiceAccount", "name": "robot"},
            {"kind": "ServiceAccount", "namespace": "c", "name": "robot"}]),
            )),
        );
        rbac.set(
            Resource::ClusterRoleBindings,
            "",
            "all",
            Some(&binding(
                "ClusterRole",
                "lister",
                json!([
            {"kind": "User", "name": "root"}]),
            )),
        );
        rbac.set(Resource::RoleBindings, "c", "broken", Some(&binding("Role", "none", alice)));
        rbac
    }

    fn ask(rbac: &Rbac, user: &str, groups: &[&str], verb: &str, namespace: &str) -> (bool, String) {
        let groups = groups.iter().map(|group| (*group).to_owned()).collect();
        let identity = Identity { user: user.to_owned(), groups, ..Identity::default() };
        let Target::Resource(asked) = target("-/pods") else { unreachable!("a resource") };
        let asked = Target::Resource(ResourceInfo { namespace: namespace.to_owned(), ..asked });
        let Decision { allowed, reason } = rbac.decide(&identity, verb, &asked);
        (allowed, reason)
    }

    #[test]
    fn bindings_give_roles_to_their_subjects_where_they_hold() {
        let rbac = rbac();
        let no = (false, String::new());
        let yes = |reason: &str| (true, format!("RBAC: allowed by {reason}"));
        let cases = [
            (("alice", &[][..], "get", "a"), yes("RoleBinding \"one/a\" of Role \"reader\" to User \"alice\"")),
            (("alice", &[], "list", "a"), no.clone()),
            (("alice", &[], "get", "b"), no.clone()),
            (("alice", &[], "get", ""), no.clone()),
            (("alice", &[], "get", "c"), (false, "RBAC: role.rbac.authorization.k8s.io \"none\" not found".to_owned())),
            (("bob", &["team"], "list", "b"), yes("RoleBinding \"two/b\" of ClusterRole \"lister\" to Group \"team\"")),
            (("bob", &["team"], "list", ""), no.clone()),
            (("team", &[], "list", "b"), no.clone()),
            (
                ("system:serviceaccount:b:robot", &[], "list", "b"),
                yes("RoleBinding \"two/b\" of ClusterRole \"lister\" to ServiceAccount \"robot/b\""),
            ),
            (
                ("system:serviceaccount:c:robot", &[], "list", "b"),
                yes("RoleBinding \"two/b\" of ClusterRole \"lister\" to ServiceAccount \"robot/c\""),
            ),
            (("system:serviceaccount:a:robot", &[], "list", "b"), no.clone()),
            (("root", &[], "list", ""), yes("ClusterRoleBinding \"all\" of ClusterRole \"lister\" to User \"root\"")),
            (("root", &[], "list", "z"), yes("ClusterRoleBinding \"all\" of ClusterRole \"lister\" to User \"root\"")),
        ];
        for ((user, groups, verb, namespace), expected) in cases {
            assert_eq!(ask(&rbac, user, groups, verb, namespace), expected, "{user} {verb} {namespace}");
        }
    }

    #[test]
    fn what_is_taken_away_no_longer_counts() {
        let mut rbac = rbac();
        let may = |rbac: &Rbac, user: &str, verb: &str, namespace: &str| ask(rbac, user, &[], verb, namespace).0;
        rbac.set(
            Resource::RoleBindings,
            "a",
            "one",
            Some(&binding("Role", "reader", json!([{"kind": "User", "name": "carol"}]))),
        );
        assert!(!may(&rbac, "alice", "get", "a") && may(&rbac, "carol", "get", "a"));
        rbac.set(Resource::Roles, "a", "reader", None);
        assert!(!may(&rbac, "carol", "get", "a"));
        rbac.clear(Resource::RoleBindings);
        assert!(may(&rbac, "root", "list", "b") && rbac.bindings.len() == 1);
        rbac.set(Resource::ClusterRoleBindings, "", "all", None);
        assert!(!may(&rbac, "root", "list", "b") && rbac.bindings.is_empty());
    }
}
