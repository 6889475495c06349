//! Policies read their parameters as the server does: who writes one must be allowed to read them.

use kontiki_kinds::Kinds;
use kontiki_model::{Faults, Key, Status};
use serde_json::Value;

use super::{Giving, Question, decide};
use crate::{
    core::Core,
    failure,
    request::Identity,
    route::{ResourceInfo, Target},
};

/// Of a policy: all objects of the kind of its parameters.
pub(super) fn of_policy(core: &Core, giving: &Giving<'_>) -> Result<(), Status> {
    let kind = &giving.new["spec"]["paramKind"];
    if kind.is_null() || giving.old.is_some_and(|old| old["spec"]["paramKind"] == *kind) {
        return Ok(());
    }
    if may_get(core, giving.author, resources(kind, &giving.kinds), "*", "*")? {
        return Ok(());
    }
    let why = format!(
        "user {} must have \"get\" permission on all objects of the referenced paramKind (kind={}, apiVersion={})",
        told(giving.author),
        text(kind, "kind"),
        text(kind, "apiVersion"),
    );
    Err(refused(giving, "spec.paramKind", why))
}

/// Of a binding: what it names of the kind that its policy, one of `policies`, asks for.
pub(super) fn of_binding(
    core: &Core,
    giving: &Giving<'_>,
    policies: &str,
    stored: impl Fn(&Key) -> Result<Option<Value>, Status>,
) -> Result<(), Status> {
    let spec = &giving.new["spec"];
    let same = |old: &Value| ["paramRef", "policyName"].iter().all(|member| old["spec"][*member] == spec[*member]);
    let reference = &spec["paramRef"];
    if reference.is_null() || giving.old.is_some_and(same) {
        return Ok(());
    }
    // Whatever a policy asks for that is yet to be written.
    let policy = stored(&Key::new(policies, "", text(spec, "policyName")))?.unwrap_or_default();
    let wanted = resources(&policy["spec"]["paramKind"], &giving.kinds);
    if may_get(core, giving.author, wanted, text(reference, "namespace"), text(reference, "name"))? {
        return Ok(());
    }
    let why =
        format!("user {} does not have \"get\" permission on the object referenced by paramRef", told(giving.author));
    Err(refused(giving, "spec.paramRef", why))
}

/// The resource of a kind of parameters; all of them as far as it is not known.
fn resources(kind: &Value, kinds: &Kinds) -> ResourceInfo {
    let (mut group, mut version, mut resource) = ("*".to_owned(), "*".to_owned(), "*".to_owned());
    if let Some(api_version) = kind["apiVersion"].as_str() {
        let (of, name) = api_version.split_once('/').unwrap_or(("", api_version));
        (group, version) = (of.to_owned(), name.to_owned());
        if let Some(found) = kinds.by_gvk(&group, &version, text(kind, "kind")) {
            found.resource.clone_into(&mut resource);
        }
    }
    ResourceInfo { group, version, resource, ..ResourceInfo::default() }
}

fn may_get(core: &Core, identity: &Identity, of: ResourceInfo, namespace: &str, name: &str) -> Result<bool, Status> {
    let target = Target::Resource(ResourceInfo { namespace: namespace.to_owned(), name: name.to_owned(), ..of });
    Ok(decide(core, Question { identity, verb: "get", target: &target, field_selector: "" })?.allowed)
}

fn refused(giving: &Giving<'_>, field: &str, why: String) -> Status {
    let mut faults = Faults::default();
    faults.forbidden(field, why);
    failure::invalid(giving.kind, text(&giving.new["metadata"], "name"), &faults)
}

/// As Go prints a user.
fn told(Identity { user, uid, groups, extra, .. }: &Identity) -> String {
    let mut extra: Vec<String> = extra.iter().map(|(key, values)| format!("{key}:[{}]", values.join(" "))).collect();
    extra.sort_unstable();
    format!("&{{{user} {uid} [{}] map[{}]}}", groups.join(" "), extra.join(" "))
}

fn text<'v>(value: &'v Value, member: &str) -> &'v str {
    value[member].as_str().unwrap_or_default()
}
