//! `pods/resize`: what the containers of a pod may use, while they run (`ValidatePodResize`).
//!
//! Cpu and memory may change, within the pod's quality of service class. The node's agent does what the pod then says.

use kontiki_model::Faults;
use kontiki_schema::managed::{ANY, Reach};
use serde_json::{Map, Value};

use super::annotations::MIRROR;
use super::resources::{qos_class, quantity};
use crate::tree::{at, keep, list, members, missing, remove, text};
use crate::{Edit, Subresource, metadata};

pub const EDIT: Edit = Edit { subresource: Subresource::Resize, reach: REACH, prepare, validate };

const REACH: Reach<'static> = Reach::Only(&[
    &["spec", "resources"],
    &["spec", "containers", ANY, "resources"],
    &["spec", "containers", ANY, "resizePolicy"],
    &["spec", "initContainers", ANY, "resources"],
    &["spec", "initContainers", ANY, "resizePolicy"],
]);

const LISTS: [&str; 2] = ["containers", "initContainers"];
const RESIZABLE: [&str; 2] = ["cpu", "memory"];
const IMMUTABLE: &str = "only cpu and memory resources are mutable";

/// Nothing else changes. Containers that come, go or change places are left for validation to tell.
fn prepare(new: &mut Value, old: &Value) {
    let same_length = |member: &&str| {
        let pointer = format!("/spec/{member}");
        list(new, &pointer).len() == list(old, &pointer).len()
    };
    if !LISTS.iter().all(same_length) {
        return;
    }
    let mut pod = old.clone();
    keep(&mut pod["metadata"], &new["metadata"], "managedFields");
    keep(&mut pod["spec"], &new["spec"], "resources");
    for member in LISTS {
        let wanted = list(new, &format!("/spec/{member}"));
        if !named_alike(wanted, list(old, &format!("/spec/{member}"))) {
            keep(&mut pod["spec"], &new["spec"], member);
            continue;
        }
        let containers = pod.pointer_mut(&format!("/spec/{member}")).and_then(Value::as_array_mut);
        for (container, wanted) in containers.into_iter().flatten().zip(wanted) {
            keep(container, wanted, "resources");
            keep(container, wanted, "resizePolicy");
        }
    }
    *new = pod;
}

fn named_alike(new: &[Value], old: &[Value]) -> bool {
    new.iter().zip(old).all(|(new, old)| text(new, "/name") == text(old, "/name"))
}

fn validate(new: &Value, old: &Value, faults: &mut Faults) {
    metadata::validate_update(new, old, faults);
    super::validate(new, faults);
    if at(old, "/metadata/annotations").get(MIRROR).is_some() {
        faults.forbidden("", "static pods cannot be resized");
        return;
    }
    if text(old, "/spec/os/name") == "windows" {
        faults.forbidden("", "windows pods cannot be resized");
        return;
    }
    let class = match text(old, "/status/qosClass") {
        "" => qos_class(old).name(),
        class => class,
    };
    if class != qos_class(new).name() {
        let detail = "Pod QOS Class may not change as a result of resizing";
        faults.invalid("spec", text(new, "/status/qosClass"), detail);
    }
    if !is_supported(old) {
        faults.forbidden("spec", "Pod running on node without support for resize");
    }
    whole_pod(new, old, faults);
    if !in_order(new, old, faults) {
        return;
    }
    for member in LISTS {
        let pointer = format!("/spec/{member}");
        for (index, (new, old)) in list(new, &pointer).iter().zip(list(old, &pointer)).enumerate() {
            container(new, old, member, index, faults);
        }
    }
    if faults.is_empty() && !only_resources_differ(new, old) {
        faults.forbidden("spec", IMMUTABLE);
    }
}

/// A node that can resize says what its running containers may use.
fn is_supported(pod: &Value) -> bool {
    let running = list(pod, "/status/containerStatuses").iter().find(|status| !missing(status, "/state/running"));
    running.is_none_or(|status| !missing(status, "/resources"))
}

/// What the pod's containers may use together.
fn whole_pod(new: &Value, old: &Value, faults: &mut Faults) {
    let (new, old) = (at(new, "/spec/resources"), at(old, "/spec/resources"));
    let set =
        |resources: &Value| ["/requests", "/limits"].iter().any(|pointer| members(resources, pointer).next().is_some());
    if !set(new) && !set(old) {
        return;
    }
    if !old.is_null() && new.is_null() {
        faults.forbidden("spec.resources", "pod-level resources cannot be removed");
        return;
    }
    removed(new, old, "spec.resources", "pod-level resource", faults);
    if !same(&without_resizable(new), &without_resizable(old)) {
        faults.forbidden("spec", "only cpu and memory resources are mutable at pod-level");
    }
}

fn in_order(new: &Value, old: &Value, faults: &mut Faults) -> bool {
    let mut in_order = true;
    for member in LISTS {
        let pointer = format!("/spec/{member}");
        let (new, old) = (list(new, &pointer), list(old, &pointer));
        if new.len() != old.len() {
            faults.forbidden(format!("spec.{member}"), format!("{member} may not be added or removed on resize"));
            in_order = false;
            continue;
        }
        for (index, _) in new.iter().zip(old).enumerate().filter(|(_, (new, old))| new["name"] != old["name"]) {
            let detail = format!("{member} may not be renamed or reordered on resize");
            faults.forbidden(format!("spec.{member}[{index}].name"), detail);
            in_order = false;
        }
    }
    in_order
}

fn container(new: &Value, old: &Value, member: &str, index: usize, faults: &mut Faults) {
    let path = format!("spec.{member}[{index}]");
    removed(at(new, "/resources"), at(old, "/resources"), &format!("{path}.resources"), "resource", faults);
    let mut rest = new.clone();
    rest["resources"] = without_resizable(at(new, "/resources"));
    let mut rest_before = old.clone();
    rest_before["resources"] = without_resizable(at(old, "/resources"));
    let otherwise = !same(&rest, &rest_before);
    if member == "containers" {
        if otherwise {
            faults.forbidden("spec", IMMUTABLE);
        }
        return;
    }
    if otherwise {
        faults.forbidden(path.as_str(), "only cpu and memory resources for init or sidecar containers are mutable");
    }
    let restarts = list(new, "/resizePolicy").iter().any(|one| text(one, "/restartPolicy") == "RestartContainer");
    if !same(new, old) && text(new, "/restartPolicy") != "Always" && restarts {
        let detail = "non-sidecar init containers with a resize policy of RestartContainer cannot be resized";
        faults.forbidden(path, detail);
    }
}

/// What was asked for, or limited, stays so.
fn removed(new: &Value, old: &Value, path: &str, what: &str, faults: &mut Faults) {
    for member in ["requests", "limits"] {
        let left = at(new, &format!("/{member}"));
        if members(old, &format!("/{member}")).any(|(name, _)| left.get(name).is_none()) {
            faults.forbidden(format!("{path}.{member}"), format!("{what} {member} cannot be removed"));
        }
    }
}

fn only_resources_differ(new: &Value, old: &Value) -> bool {
    let rest = |pod: &Value| {
        let mut spec = pod["spec"].clone();
        for member in LISTS.iter().chain(&["resources"]) {
            remove(&mut spec, member);
        }
        spec
    };
    same(&rest(new), &rest(old))
}

fn without_resizable(resources: &Value) -> Value {
    let mut rest = resources.clone();
    for member in ["requests", "limits"] {
        let held = rest.get_mut(member).and_then(Value::as_object_mut);
        held.into_iter().for_each(|held| held.retain(|name, _| !RESIZABLE.contains(&name.as_str())));
    }
    rest
}

/// Equal as the API counts: what is empty is absent, and quantities are what they amount to.
fn same(one: &Value, other: &Value) -> bool {
    meaning(one) == meaning(other)
}

fn meaning(value: &Value) -> Value {
    match value {
        Value::Object(members) => {
            let kept = members.iter().map(|(name, value)| (name.clone(), meaning(value)));
            let empty = |value: &Value| match value {
                Value::Null => true,
                Value::Array(list) => list.is_empty(),
                Value::Object(members) => members.is_empty(),
                Value::Bool(_) | Value::Number(_) | Value::String(_) => false,
            };
            Value::Object(kept.filter(|(_, value)| !empty(value)).collect::<Map<_, _>>())
        }
        Value::Array(list) => list.iter().map(meaning).collect(),
        Value::String(text) if text.starts_with(|first: char| first.is_ascii_digit()) => {
            quantity(value).map_or_else(|| value.clone(), |quantity| quantity.to_string().into())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}
