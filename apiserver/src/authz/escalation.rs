//! Nobody gives what they do not hold: who writes a role holds its rules, or may `escalate`; who binds one holds its
//! rules, or may `bind` it; who writes a policy may read what it reads.

use kontiki_kinds::{Grants, Kinds};
use kontiki_model::{Key, Status};
use serde_json::Value;

use super::{
    Question, cover, decide, holding, parameters,
    rbac::{GROUP, RoleRef, told},
    rule::Rule,
};
use crate::{
    authn::MASTERS,
    core::Core,
    failure::{self, Qualified},
    request::Identity,
    route::{ResourceInfo, Target},
};

/// A write of an object that gives permissions.
pub(crate) struct Giving<'a> {
    pub grants: Grants,
    pub author: &'a Identity,
    /// The object's resource, its namespace (empty: the cluster) and the name in the request's path.
    pub of: Qualified<'static>,
    /// Its kind.
    pub kind: Qualified<'static>,
    /// What is served where it is written.
    pub kinds: Kinds,
    pub namespace: &'a str,
    pub path_name: &'a str,
    pub new: &'a Value,
    pub old: Option<&'a Value>,
}

/// `stored` finds the role or the policy that a binding names.
pub(crate) fn check(
    core: &Core,
    giving: &Giving<'_>,
    stored: impl Fn(&Key) -> Result<Option<Value>, Status>,
) -> Result<(), Status> {
    if giving.author.in_group(MASTERS) || giving.old.is_some_and(|old| only_bookkeeping(giving.new, old)) {
        return Ok(());
    }
    match giving.grants {
        Grants::Rules => {
            if giving.may(core, "escalate", giving.of.resource, giving.path_name)? {
                return Ok(());
            }
            giving.held(core, &Rule::list(giving.new))?;
            let gathers = |role: &Value| !role["aggregationRule"].is_null();
            // What will be gathered is not known, and may be anything.
            if gathers(giving.new) || giving.old.is_some_and(gathers) {
                giving.held(core, &Rule::full())?;
            }
            Ok(())
        }
        Grants::Role => {
            let reference = RoleRef::read(giving.new);
            let resource = reference.resource().plural();
            if giving.may(core, "bind", resource, &reference.name)? {
                return Ok(());
            }
            let given = stored(&reference.key(giving.namespace))?;
            let of = Qualified { group: GROUP, resource };
            let given = given.ok_or_else(|| failure::not_found(of, &reference.name))?;
            giving.held(core, &Rule::list(&given))
        }
        Grants::Parameters => parameters::of_policy(core, giving),
        Grants::ParametersOf(policies) => parameters::of_binding(core, giving, policies, stored),
    }
}

impl Giving<'_> {
    fn may(&self, core: &Core, verb: &str, resource: &str, name: &str) -> Result<bool, Status> {
        let target = Target::Resource(ResourceInfo {
            group: GROUP.to_owned(),
            version: "*".to_owned(),
            namespace: self.namespace.to_owned(),
            resource: resource.to_owned(),
            name: name.to_owned(),
            ..ResourceInfo::default()
        });
        Ok(decide(core, Question { identity: self.author, verb, target: &target, field_selector: "" })?.allowed)
    }

    /// Whether the author holds these rules where they are given.
    fn held(&self, core: &Core, rules: &[Rule]) -> Result<(), Status> {
        let holding = holding(core, self.author, self.namespace)?;
        let missing = cover::missing(&holding.rules, rules);
        if missing.is_empty() {
            return Ok(());
        }
        let Identity { user, groups, .. } = self.author;
        let mut why = format!(
            "user {user:?} (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
            cover::quoted(groups),
            missing.join("\n")
        );
        if !holding.incomplete.is_empty() {
            why.push_str(&format!("; resolution errors: [{}]", told(holding.incomplete)));
        }
        let name = self.new["metadata"]["name"].as_str().unwrap_or_default();
        Err(failure::forbidden(self.of, name, &why))
    }
}

/// Owners and finalizers alone change: the garbage collector gives nobody anything.
fn only_bookkeeping(new: &Value, old: &Value) -> bool {
    let rest = |object: &Value| {
        let mut object = object.clone();
        if let Some(metadata) = object["metadata"].as_object_mut() {
            for member in ["finalizers", "managedFields", "ownerReferences", "resourceVersion"] {
                metadata.remove(member);
            }
        }
        object
    };
    rest(new) == rest(old)
}
