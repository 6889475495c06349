//! Seccomp filters system calls: it must not be switched off, and at the higher level must be switched on.

use std::collections::BTreeSet;

use serde_json::Value;

use super::{Subject, Violation, context, words};
use crate::tree::{at, text};

const REASON: &str = "seccompProfile";
const OF_POD: &str = "seccomp.security.alpha.kubernetes.io/pod";
const OF_CONTAINER: &str = "container.seccomp.security.alpha.kubernetes.io/";

/// Before there was a field, annotations said it.
pub fn annotations(pod: Subject<'_>) -> Option<Violation> {
    let keys = pod.containers().map(|container| format!("{OF_CONTAINER}{}", text(container, "/name")));
    let bad = std::iter::once(OF_POD.to_owned()).chain(keys).filter_map(|key| {
        let value = at(pod.metadata, "/annotations").get(&key)?.as_str()?;
        let allowed = matches!(value, "runtime/default" | "docker/default") || value.starts_with("localhost/");
        (!allowed).then(|| format!("{key}={value:?}"))
    });
    let bad: Vec<String> = bad.collect::<BTreeSet<_>>().into_iter().collect();
    (!bad.is_empty()).then(|| {
        let word = words::plural("annotation", "annotations", bad.len());
        Violation { reason: REASON, detail: format!("forbidden {word} {}", bad.join(", ")) }
    })
}

/// What a security context says of the filter.
#[derive(PartialEq)]
enum Said<'a> {
    Nothing,
    Filter,
    NoFilter(&'a str),
}

fn said(context: &Value) -> Said<'_> {
    let profile = at(context, "/seccompProfile");
    match text(profile, "/type") {
        _ if profile.is_null() => Said::Nothing,
        "RuntimeDefault" | "Localhost" => Said::Filter,
        other => Said::NoFilter(other),
    }
}

pub fn profile(pod: Subject<'_>) -> Option<Violation> {
    let off = |said: &Said<'_>| matches!(said, Said::NoFilter(_));
    let bad = pod.named(|container| off(&said(context(container))));
    let sayers = words::sayers(off(&said(pod.context())), &bad)?;
    let contexts = std::iter::once(pod.context()).chain(pod.containers().map(context));
    let types: BTreeSet<&str> = contexts
        .filter_map(|context| match said(context) {
            Said::NoFilter(kind) => Some(kind),
            Said::Nothing | Said::Filter => None,
        })
        .collect();
    let types = words::quoted(types);
    Some(Violation {
        reason: REASON,
        detail: format!("{sayers} must not set securityContext.seccompProfile.type to {types}"),
    })
}

pub fn profile_missing(pod: Subject<'_>) -> Option<Violation> {
    profile(pod).or_else(|| {
        let of_pod = said(pod.context()) == Said::Filter;
        let silent = pod.named(|container| !of_pod && said(context(container)) == Said::Nothing);
        (!silent.is_empty()).then(|| {
            let containers = words::containers(&silent);
            let what = r#"must set securityContext.seccompProfile.type to "RuntimeDefault" or "Localhost""#;
            Violation { reason: REASON, detail: format!("pod or {containers} {what}") }
        })
    })
}
