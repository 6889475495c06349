//! Annotations that say something of a pod (`ValidatePodSpecificAnnotations`): in a Pod, and in templates of pods.

use std::cell::LazyCell;
use std::collections::HashSet;

use kontiki_model::Faults;
use serde_json::{Value, json};

use super::security;
use crate::tree::{at, list, list_mut, members, missing, object, text};
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

/// Whoever runs a new pod reads fields alone, so profiles that annotations ask for become fields.
pub fn confine(pod: &mut Value) {
    let asked = members(pod, "/metadata/annotations").any(|(key, _)| key.starts_with(APP_ARMOR_OF_CONTAINER));
    if !asked || !is_confinable(pod) {
        return;
    }
    let annotations = at(pod, "/metadata/annotations").clone();
    let of_pod = at(pod, "/spec/securityContext/appArmorProfile").clone();
    for containers in CONTAINERS {
        for container in list_mut(pod, containers) {
            let profile = annotated(&annotations, text(container, "/name")).and_then(app_armor_profile);
            let unsaid = missing(container, "/securityContext/appArmorProfile");
            if let Some(profile) = profile.filter(|profile| unsaid && *profile != of_pod) {
                object(container, "securityContext")["appArmorProfile"] = profile;
            }
        }
    }
}

/// The containers whose profile an annotation has set, or would have set if it said one.
pub fn confined(pod: &Value) -> Vec<&str> {
    let (annotations, of_pod) = (at(pod, "/metadata/annotations"), at(pod, "/spec/securityContext/appArmorProfile"));
    let mut out = Vec::new();
    for container in CONTAINERS.into_iter().flat_map(|containers| list(pod, containers)).filter(|_| is_confinable(pod))
    {
        let (name, own) = (text(container, "/name"), at(container, "/securityContext/appArmorProfile"));
        let Some(annotation) = annotated(annotations, name) else { continue };
        let applies = match app_armor_profile(annotation) {
            Some(profile) => profile == *own && profile != *of_pod,
            None => own.is_null(),
        };
        if applies {
            out.push(name);
        }
    }
    out
}

fn is_confinable(pod: &Value) -> bool {
    text(pod, "/spec/os/name") != "windows"
}

fn annotated<'a>(annotations: &'a Value, container: &str) -> Option<&'a str> {
    annotations.get(format!("{APP_ARMOR_OF_CONTAINER}{container}"))?.as_str()
}

/// The field that says what an annotation does, if that is valid.
fn app_armor_profile(annotation: &str) -> Option<Value> {
    let profile = match (annotation, annotation.strip_prefix("localhost/")) {
        ("unconfined", _) => json!({"type": "Unconfined"}),
        ("runtime/default", _) => json!({"type": "RuntimeDefault"}),
        (_, Some(name)) => json!({"type": "Localhost", "localhostProfile": name}),
        (_, None) => return None,
    };
    let mut faults = Faults::default();
    security::app_armor(&profile, "", &mut faults);
    faults.is_empty().then_some(profile)
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
