//! Annotations that say something of a pod (`ValidatePodSpecificAnnotations`): in a Pod, and in templates of pods.

use std::cell::LazyCell;
use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::Value;

use crate::tree::{at, list, members, text};
use crate::volumes::paths::relative;

pub const MIRROR: &str = "kubernetes.io/config.mirror";
const DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
pub const SECCOMP_OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
pub const SECCOMP_OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";
const CONTAINERS: [&str; 3] = ["/spec/initContainers", "/spec/containers", "/spec/ephemeralContainers"];
pub const APP_ARMOR_OF_CONTAINER: &str = "container.apparmor.security.beta.kubernetes.io/";

/// The annotations of `object`, a Pod or a template; `path` is where they stand.
pub fn validate(object: &Value, path: &str, faults: &mut Faults) {
    let containers = LazyCell::new(|| {
        let of = |member| list(object, member).iter().map(|container| text(container, "/name"));
        CONTAINERS.into_iter().flat_map(of).collect::<HashSet<_>>()
    });
    for (key, value) in members(object, "/metadata/annotations") {
        let value = value.as_str().unwrap_or_default();
        let place = format!("{path}[{key}]");
        match key.as_str() {
            MIRROR if text(object, "/spec/nodeName").is_empty() => {
                faults.invalid(place, value, "must set spec.nodeName if mirror pod annotation is set");
            }
            DELETION_COST if !is_cost(value) => faults.invalid(place, value, "must be a 32bit integer"),
            // These stand below the annotations, not in them.
            SECCOMP_OF_POD => seccomp(value, &format!("{path}.{key}"), faults),
            key if key.starts_with(SECCOMP_OF_CONTAINER) => seccomp(value, &format!("{path}.{key}"), faults),
            key => {
                if let Some(container) = key.strip_prefix(APP_ARMOR_OF_CONTAINER) {
                    if !containers.contains(container) {
                        faults.invalid(place.as_str(), container, "container not found");
                    }
                    app_armor(value, &place, faults);
                }
            }
        }
    }
}

/// What is only said when a pod is made.
pub fn validate_update(new: &Value, old: &Value, faults: &mut Faults) {
    const PATH: &str = "metadata.annotations";
    let (now, before) = (at(new, "/metadata/annotations"), at(old, "/metadata/annotations"));
    let what = |key: &str| match key {
        MIRROR => Some("mirror pod annotation"),
        key if key.starts_with(APP_ARMOR_OF_CONTAINER) => Some("AppArmor annotations"),
        _ => None,
    };
    for (key, _) in members(before, "").filter(|(key, value)| now.get(key.as_str()) != Some(value)) {
        if let Some(what) = what(key) {
            faults.forbidden(format!("{PATH}[{key}]"), format!("may not remove or update {what}"));
        }
    }
    for (key, _) in members(now, "").filter(|(key, _)| before.get(key.as_str()).is_none()) {
        if let Some(what) = what(key) {
            faults.forbidden(format!("{PATH}[{key}]"), format!("may not add {what}"));
        }
    }
}

/// An integer as it is printed.
fn is_cost(value: &str) -> bool {
    let first = value.bytes().next().unwrap_or_default();
    value.parse::<i32>().is_ok() && (value == "0" || first == b'-' || (b'1'..=b'9').contains(&first))
}

fn seccomp(profile: &str, path: &str, faults: &mut Faults) {
    match (profile, profile.strip_prefix("localhost/")) {
        ("runtime/default" | "docker/default" | "unconfined", _) => {}
        (_, Some(file)) => relative(file, path, faults),
        (_, None) => faults.invalid(path, profile, "must be a valid seccomp profile"),
    }
}

fn app_armor(profile: &str, path: &str, faults: &mut Faults) {
    if !matches!(profile, "" | "runtime/default" | "unconfined") && !profile.starts_with("localhost/") {
        faults.invalid(path, profile, format!("invalid AppArmor profile name: {profile:?}"));
    }
}
